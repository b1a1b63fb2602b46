//! The server under load as its own process, and the CPU time of processes.
//!
//! A separate process makes the server's CPU its own: `/proc/<pid>/stat` counts it exactly, whatever the
//! generator spends. The server ends when its standard input does, so it never outlives the generator.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// Microseconds in one clock tick of `/proc/<pid>/stat`: the kernel's ABI fixes 100 ticks per second.
const TICK_US: u64 = 10_000;

/// A running server: our own, or one that was there.
pub(crate) struct Server {
    child: Option<Child>,
    pid: Option<u32>,
    /// Where it answers.
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Runs this binary again with `arguments`; its first line of output must be the address it answers on.
    pub(crate) fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let binary = std::env::current_exe().context("cannot find this binary to run it as the server")?;
        let mut child = Command::new(binary)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the server process")?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let address = line
            .trim()
            .parse()
            .with_context(|| format!("the server did not print its address, but `{}`", line.trim()))?;
        Ok(Self { pid: Some(child.id()), child: Some(child), address })
    }

    /// A server that runs already and is left running; without its `pid` its CPU time reads 0.
    pub(crate) fn running(address: SocketAddr, pid: Option<u32>) -> anyhow::Result<Self> {
        anyhow::ensure!(
            address.ip().is_loopback(),
            "{address} is not on loopback: load stays on this machine"
        );
        Ok(Self { child: None, pid, address })
    }

    /// CPU time it has used, in microseconds.
    pub(crate) fn cpu_us(&self) -> u64 {
        self.pid.map_or(0, |pid| cpu_us_of(&pid.to_string()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

/// CPU time this process has used, in microseconds.
pub(crate) fn own_cpu_us() -> u64 {
    cpu_us_of("self")
}

/// User and system time, all threads; 0 when the process is gone.
fn cpu_us_of(pid: &str) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces; fields are counted from behind it (proc_pid_stat(5)).
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>()
        * TICK_US
}
