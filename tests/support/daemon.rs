//! The built daemon, as a process of the test's own: directories, configuration, listeners, log, metrics, end.
//!
//! Listeners take ports that the kernel chooses; the daemon prints them. Nothing here waits for time to pass: a test waits for
//! a printed line, a packet, the end of the process, or a condition that metrics or health show.

#![expect(clippy::unwrap_used, reason = "a daemon that cannot be run is a failed test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is written to the configuration, and how the daemon is run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Directory of state, run files and configuration; the test removes it.
    pub(crate) directory: PathBuf,
    /// Keys by `table.key`, as TOML values.
    keys: BTreeMap<(String, String), String>,
    /// Program and arguments before the daemon's own.
    pub(crate) wrapper: Vec<String>,
    /// Environment besides the test's own.
    pub(crate) environment: Vec<(String, String)>,
}

impl Settings {
    /// All listeners on loopback with ports of the kernel's choice, state below `directory`, no definitions.
    pub(crate) fn new(directory: &Path) -> Self {
        let mut settings = Self {
            directory: directory.to_owned(),
            keys: BTreeMap::new(),
            wrapper: Vec::new(),
            environment: Vec::new(),
        };
        for (key, value) in [
            ("radius.auth", "[\"127.0.0.1:0\"]"),
            ("radius.acct", "[\"127.0.0.1:0\"]"),
            ("dhcp4.listen", "[\"127.0.0.1:0\"]"),
            ("api.listen", "\"127.0.0.1:0\""),
            ("metrics.listen", "\"127.0.0.1:0\""),
            // Small segments: they are written ahead, and a test's disk has better uses.
            ("journal.segment", "\"1MiB\""),
        ] {
            settings.set(key, value);
        }
        settings.set_text("node.state", &directory.join("state").display().to_string());
        settings.set_text("node.run", &directory.join("run").display().to_string());
        settings
    }

    /// Sets `table.key` to a TOML value.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        let (table, name) = key.split_once('.').unwrap();
        self.keys.insert((table.to_owned(), name.to_owned()), value.to_owned());
    }

    /// Sets `table.key` to a string.
    pub(crate) fn set_text(&mut self, key: &str, value: &str) {
        self.set(key, &format!("{value:?}"));
    }

    /// The same with definitions from a directory.
    #[must_use]
    pub(crate) fn with_definitions(mut self, directory: &Path) -> Self {
        self.set_text("netdefs.dir", &directory.display().to_string());
        self
    }

    /// The same without definitions: the database or the node's image has what is needed.
    #[must_use]
    pub(crate) fn without_definitions(mut self) -> Self {
        self.keys.remove(&("netdefs".to_owned(), "dir".to_owned()));
        self
    }

    /// What the command line prints when it asks the running daemon.
    pub(crate) fn command_line(&self, arguments: &[&str]) -> String {
        let socket = self.directory.join("run/admin.sock");
        let output = Command::new(env!("CARGO_BIN_EXE_lastmile"))
            .args(arguments)
            .arg("--socket")
            .arg(socket)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    /// URL of the SQLite database of these settings.
    pub(crate) fn sqlite_url(&self) -> String {
        format!("sqlite:{}", self.directory.join("state/lastmile.db").display())
    }

    fn write(&self) -> PathBuf {
        use std::fmt::Write;
        let mut text = String::new();
        let mut table = "";
        for ((in_table, name), value) in &self.keys {
            if in_table != table {
                table = in_table;
                let _ = writeln!(text, "[{table}]");
            }
            let _ = writeln!(text, "{name} = {value}");
        }
        std::fs::create_dir_all(&self.directory).unwrap();
        let path = self.directory.join("lastmile.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts the daemon and waits until it is ready; fails with its log when it is not.
    pub(crate) fn start(&self) -> Daemon {
        match self.try_start() {
            Ok(daemon) => daemon,
            Err(failed) => panic!("the daemon did not start ({:?}):\n{}", failed.status, failed.log),
        }
    }

    /// Starts the daemon and waits until it is ready or has ended.
    pub(crate) fn try_start(&self) -> Result<Daemon, NotStarted> {
        let config = self.write();
        let program = env!("CARGO_BIN_EXE_lastmile").to_owned();
        let mut line = self.wrapper.iter().cloned().chain([program]);
        let mut command = Command::new(line.next().unwrap());
        command.args(line).arg("serve").arg("--config").arg(&config).arg("--print-listeners");
        // The tests' own environment may configure a daemon that runs on this machine.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LASTMILE_") {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().cloned());
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = collect(child.stderr.take().unwrap());
        let lines = lines_of(child.stdout.take().unwrap());
        let mut daemon = Daemon { child, lines, log, listeners: BTreeMap::new() };
        loop {
            match daemon.lines.recv_timeout(START_PATIENCE) {
                Ok(line) if line == "ready" => return Ok(daemon),
                Ok(line) => daemon.note_listener(&line),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = daemon.child.wait().unwrap();
                    return Err(NotStarted { status: Some(status), log: daemon.log() });
                }
                Err(RecvTimeoutError::Timeout) => return Err(NotStarted { status: None, log: daemon.log() }),
            }
        }
    }
}

/// How long a start may take on a busy machine before the test gives up.
const START_PATIENCE: Duration = Duration::from_mins(1);
/// How long a stop may take before the test gives up.
const STOP_PATIENCE: Duration = Duration::from_mins(1);

/// A daemon that ended, or did not get ready, at its start.
#[derive(Debug)]
pub(crate) struct NotStarted {
    /// How it ended; none when it still ran.
    pub(crate) status: Option<ExitStatus>,
    /// What it logged.
    pub(crate) log: String,
}

/// A running daemon; it ends with this value, also when the test panics.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    lines: Receiver<String>,
    log: Arc<Mutex<String>>,
    listeners: BTreeMap<String, SocketAddr>,
}

impl Daemon {
    fn note_listener(&mut self, line: &str) {
        let mut words = line.split_whitespace().skip(1);
        if let (Some(name), Some(Ok(address))) = (words.next(), words.next().map(str::parse)) {
            self.listeners.entry(name.to_owned()).or_insert(address);
        }
    }

    /// Address of a listener: `radius-auth`, `radius-acct`, `dhcp4`, `api` or `metrics`.
    pub(crate) fn listener(&self, name: &str) -> SocketAddr {
        *self.listeners.get(name).unwrap_or_else(|| panic!("no listener {name} in {:?}", self.listeners))
    }

    /// Number of the process.
    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Everything logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Ends the process as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the process to end and waits until it has.
    pub(crate) fn terminate(self) -> ExitStatus {
        self.terminate_and_log().0
    }

    /// The same, with everything that it logged.
    pub(crate) fn terminate_and_log(mut self) -> (ExitStatus, String) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        match self.lines.recv_timeout(STOP_PATIENCE) {
            Err(RecvTimeoutError::Disconnected) => (self.child.wait().unwrap(), self.log()),
            other => panic!("the daemon did not end ({other:?}):\n{}", self.log()),
        }
    }

    /// Sends SIGHUP.
    pub(crate) fn reload(&self) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, rustix::process::Signal::HUP).unwrap();
    }

    /// Body of a page of the metrics listener, with its status.
    pub(crate) fn page(&self, path: &str) -> (u16, String) {
        http(self.listener("metrics"), path).unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.log()))
    }

    /// What `/health/ready` says.
    pub(crate) fn health(&self) -> String {
        self.page("/health/ready").1
    }

    /// All metrics as they are now.
    pub(crate) fn metrics(&self) -> Exposition {
        Exposition(self.page("/metrics").1)
    }

    /// Asks until `condition` has an answer; fails with the log when it never has.
    pub(crate) fn until<T>(&self, what: &str, mut condition: impl FnMut(&Self) -> Option<T>) -> T {
        for _ in 0..POLLS_MAX {
            if let Some(found) = condition(self) {
                return found;
            }
            // Decides nothing: it leaves the processor to the daemon between two looks.
            std::thread::park_timeout(POLL_PAUSE);
        }
        panic!("never happened: {what}\n{}\n{}\n{}", self.health(), self.metrics().0, self.log());
    }

    /// Waits until storage has everything that the journal has.
    pub(crate) fn until_drained(&self) {
        self.until("storage has all of the journal", |daemon| {
            let metrics = daemon.metrics();
            (metrics.sum("lastmile_applier_lag_records", &[]) == 0).then_some(())
        });
    }
}

const POLLS_MAX: usize = 3_000;
const POLL_PAUSE: Duration = Duration::from_millis(20);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            super::note(&format!("log of the daemon:\n{}", self.log()));
        }
    }
}

/// Metrics in the Prometheus text format.
#[derive(Debug)]
pub(crate) struct Exposition(pub(crate) String);

impl Exposition {
    /// Sum over all series of a metric that have these labels; 0 when there is none.
    #[expect(clippy::cast_sign_loss, reason = "what is counted here is never below zero")]
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let series = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (set, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            let has = |(label, wanted): &(&str, &str)| set.contains(&format!("{label}=\"{wanted}\""));
            labels.iter().all(has).then(|| value.parse::<f64>().unwrap())
        });
        series.sum::<f64>() as u64
    }
}

/// A GET over HTTP/1.1 on a connection of its own: status and body.
fn http(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(connection, "GET {path} HTTP/1.1\r\nhost: daemon\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((status, body))
}

fn lines_of(stdout: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A full pipe would stop the daemon, so somebody always reads.
fn collect(stderr: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let log = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut log = into.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
    log
}
