//! How long a start takes: with what stands in SQLite, and with the node's own image; and what a CRM's write costs then.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::seed::{Population, States};
use crate::statistics::median;

/// Writes timed, one after the other.
const WRITES: u32 = 200;

/// Starts a daemon twice on one state; the numbers for machines and for people.
pub(crate) fn measure(
    population: &Population,
    states: &mut States,
    workers: usize,
) -> anyhow::Result<(Value, String)> {
    let daemon = Daemon::start(states.copy(population)?, workers)?;
    let (from_database, resident) = (daemon.ready_secs, daemon.resident_bytes());
    wait_for_image(&daemon)?;
    let daemon = daemon.restart(workers)?;
    let (from_image, resident_image) = (daemon.ready_secs, daemon.resident_bytes());
    let mut times = Vec::new();
    for number in 0..WRITES {
        let number = number * (population.subscribers / WRITES).max(1) % population.subscribers.max(1);
        let body = json!({"source": "load", "spec": {"subscriber": format!("c{number}"), "plan": "load", "max_sessions": 2}});
        times.push(daemon.put(&format!("/v1/services/ext:load~s{number}?adopt=true"), &body.to_string())?);
    }
    let write_ms = median(times.clone()) * 1e3;
    let slowest_ms = times.iter().fold(0.0, |slowest: f64, time| slowest.max(*time)) * 1e3;
    let each = |bytes: u64| bytes as f64 / f64::from(population.subscribers.max(1));
    let line = format!(
        "start   {} subscribers: ready in {from_database:.2} s from SQLite ({:.0} bytes resident each), in {from_image:.2} s from the \
         node image ({:.0} bytes each); a write by the API {write_ms:.2} ms, slowest of {WRITES} {slowest_ms:.2} ms",
        population.subscribers,
        each(resident),
        each(resident_image),
    );
    let value = json!({
        "subscribers": population.subscribers,
        "ready_from_database_secs": from_database,
        "ready_from_image_secs": from_image,
        "resident_bytes": resident,
        "resident_from_image_bytes": resident_image,
        "write_median_ms": write_ms,
        "write_slowest_ms": slowest_ms,
    });
    Ok((value, line))
}

/// The image is written soon after the start; it appears under its name only when it is whole.
fn wait_for_image(daemon: &Daemon) -> anyhow::Result<()> {
    let image = daemon.state().join("snapshot.image");
    for _ in 0..1_200 {
        if image.exists() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    None.context("the daemon wrote no node image within two minutes")
}
