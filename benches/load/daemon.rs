//! The daemon under load: `lastmile serve` as it ships, on a state of its own.
//!
//! Default durability, applier and metrics on.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use lastmile::time::{Clock, SteadyClock};
use tempfile::TempDir;

/// A daemon started for one run, with its state.
pub(crate) struct Daemon {
    child: Child,
    state: Option<TempDir>,
    pub(crate) auth: SocketAddr,
    pub(crate) acct: SocketAddr,
    pub(crate) dhcp4: SocketAddr,
    metrics: SocketAddr,
    /// Seconds from start to ready.
    pub(crate) ready_secs: f64,
}

impl Daemon {
    /// Starts `lastmile serve` on a state.
    pub(crate) fn start(state: TempDir, workers: usize) -> anyhow::Result<Self> {
        let config = configure(state.path(), workers)?;
        let clock = SteadyClock::start();
        let mut child = Command::new(env!("CARGO_BIN_EXE_lastmile"))
            .args(["serve", "--print-listeners", "--config"])
            .arg(config)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the daemon")?;
        let listeners = read_listeners(&mut child)?;
        let ready_secs = seconds(&clock);
        let at = |name: &str| {
            let found = listeners.iter().find(|(known, _)| known == name).map(|(_, address)| *address);
            found.with_context(|| format!("the daemon printed no {name} listener"))
        };
        Ok(Self {
            auth: at("radius-auth")?,
            acct: at("radius-acct")?,
            dhcp4: at("dhcp4")?,
            metrics: at("metrics")?,
            child,
            state: Some(state),
            ready_secs,
        })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// One number of /metrics.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.metrics_text().unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
    }

    fn metrics_text(&self) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.metrics)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Waits until the applier has written everything; gives the backlog found and the seconds it took.
    pub(crate) fn drain(&self) -> (f64, f64) {
        let backlog = self.metric("lastmile_applier_lag_records");
        let clock = SteadyClock::start();
        while self.metric("lastmile_applier_lag_records") > 0.0 && seconds(&clock) < 1_800.0 {
            // Asking takes processor time from what is waited for.
            std::thread::sleep(Duration::from_millis(100));
        }
        (backlog, seconds(&clock))
    }

    /// Where its state lies.
    pub(crate) fn state(&self) -> &Path {
        self.state.as_ref().map_or(Path::new(""), TempDir::path)
    }

    /// Kills it and starts it again on the same state.
    pub(crate) fn restart(mut self, workers: usize) -> anyhow::Result<Self> {
        self.child.kill()?;
        self.child.wait()?;
        let state = self.state.take().context("the daemon has no state")?;
        Self::start(state, workers)
    }

    /// Sends one write of a CRM over the admin socket and gives its seconds; an error unless it was taken.
    pub(crate) fn put(&self, path: &str, body: &str) -> anyhow::Result<f64> {
        let mut stream = UnixStream::connect(self.state().join("run/admin.sock"))?;
        let request = format!(
            "PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len(),
        );
        let clock = SteadyClock::start();
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        anyhow::ensure!(answer.starts_with("HTTP/1.1 2"), "the write was refused: {answer}");
        Ok(seconds(&clock))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds since the clock was started.
fn seconds(clock: &SteadyClock) -> f64 {
    clock.now().tick.0 as f64 / 1e9
}

fn read_listeners(child: &mut Child) -> anyhow::Result<Vec<(String, SocketAddr)>> {
    let output = child.stdout.take().context("the daemon has no output")?;
    let mut listeners = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        if line == "ready" {
            return Ok(listeners);
        }
        let mut words = line.split_whitespace().skip(1);
        if let (Some(name), Some(Ok(address))) = (words.next(), words.next().map(str::parse)) {
            listeners.push((name.to_owned(), address));
        }
    }
    anyhow::bail!("the daemon ended before it was ready")
}

fn configure(state: &Path, workers: usize) -> anyhow::Result<PathBuf> {
    let path = state.join("lastmile.toml");
    let text = format!(
        "[node]\nstate = \"{state}\"\nrun = \"{state}/run\"\n\
         [radius]\nauth = [\"127.0.0.1:0\"]\nacct = [\"127.0.0.1:0\"]\nworkers = {workers}\n\
         [dhcp4]\nlisten = [\"127.0.0.1:0\"]\nworkers = {workers}\n\
         [api]\nlisten = \"127.0.0.1:0\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n[log]\nlevel = \"warn\"\n",
        state = state.display(),
    );
    fs::write(&path, text)?;
    Ok(path)
}
