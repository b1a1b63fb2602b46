//! The daemon of the demo: this very program as a child process, on loopback, with the example definitions.
//!
//! It runs `lastmile serve` as an operator would, so the demo shows the same wiring and can kill it as hard as a power cut.
//! Its state lies in a directory of its own, which is removed at the end unless the caller named it.
//!
//! Invariant: the child never outlives the value that started it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use tokio::sync::mpsc;

use super::DemoFailure;
use crate::config;
use crate::ids::{Entropy, SystemEntropy};
use crate::netdefs;

/// A first start migrates a database and fills journal segments, on a slow disk.
const START_WAIT: Duration = Duration::from_mins(1);
/// A stop finishes what was taken.
const STOP_WAIT: Duration = Duration::from_secs(30);
/// Lines of the daemon's log shown when it does not start.
const LOG_LINES: usize = 12;

/// The directory in which the daemon of the demo lives.
pub(super) struct Home {
    path: PathBuf,
    temporary: bool,
}

impl Home {
    /// The named directory, or a temporary one; with configuration and definitions in it. Definitions that are there stay,
    /// so that they can be edited between two runs.
    pub(super) fn open(state: Option<&Path>) -> Result<Self, DemoFailure> {
        let home = if let Some(path) = state {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make", path))?;
            let path = path.canonicalize().map_err(failed("find", path))?;
            Self { path, temporary: false }
        } else {
            let name = format!("lastmile-demo-{:016x}", SystemEntropy.u64());
            let path = std::env::temp_dir().join(name);
            DirBuilder::new().mode(0o700).create(&path).map_err(failed("make", &path))?;
            Self { path, temporary: true }
        };
        home.write_definitions()?;
        let config = home.config();
        fs::write(&config, home.config_text()).map_err(failed("write", &config))?;
        Ok(home)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The generated configuration.
    pub(super) fn config(&self) -> PathBuf {
        self.path.join("lastmile.toml")
    }

    /// Whether it goes away at the end.
    pub(super) fn is_temporary(&self) -> bool {
        self.temporary
    }

    /// Leaves the CRM's token where only its owner can read it, for commands to try.
    pub(super) fn write_token(&self, token: &str) -> Result<PathBuf, DemoFailure> {
        let path = self.path.join("crm.token");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("write", &path))?;
        io::Write::write_all(&mut file, token.as_bytes()).map_err(failed("write", &path))?;
        Ok(path)
    }

    fn write_definitions(&self) -> Result<(), DemoFailure> {
        let directory = self.path.join("netdefs");
        fs::create_dir_all(&directory).map_err(failed("make", &directory))?;
        for file in netdefs::example_isp() {
            let path = directory.join(file.name.rsplit('/').next().unwrap_or(&file.name));
            if !path.exists() {
                fs::write(&path, file.text.as_bytes()).map_err(failed("write", &path))?;
            }
        }
        Ok(())
    }

    /// Ports are the kernel's choice: another daemon on this machine does not disturb.
    fn config_text(&self) -> String {
        let quoted = |name: &str| toml::Value::from(self.path.join(name).display().to_string()).to_string();
        format!(
            "# Written by `lastmile demo`; every key is in docs/config.md.\n\
             [node]\nid = 1\nname = \"demo\"\nstate = {state}\nrun = {run}\n\n\
             [journal]\nsegment = \"1MiB\"\n\n\
             [radius]\nauth = [\"127.0.0.1:0\"]\nacct = [\"127.0.0.1:0\"]\nworkers = 2\n\n\
             [dhcp4]\nlisten = [\"127.0.0.1:0\"]\nworkers = 2\n\n\
             [api]\nlisten = \"127.0.0.1:0\"\n\n\
             [metrics]\nlisten = \"127.0.0.1:0\"\n\n\
             [netdefs]\ndir = {netdefs}\n",
            state = quoted("state"),
            run = quoted("run"),
            netdefs = quoted("netdefs"),
        )
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.temporary {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Where the daemon listens, as it printed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listeners {
    pub(super) auth: SocketAddr,
    pub(super) acct: SocketAddr,
    pub(super) dhcp4: SocketAddr,
    pub(super) api: SocketAddr,
    pub(super) metrics: SocketAddr,
    pub(super) socket: PathBuf,
}

impl Listeners {
    /// Reads the lines `listening <name> <address>`; the error names what is missing.
    fn read(lines: &[String]) -> Result<Self, &'static str> {
        let find = |name: &'static str| {
            let rest =
                |line: &String| Some(line.strip_prefix("listening ")?.strip_prefix(name)?.trim().to_owned());
            lines.iter().find_map(rest).ok_or(name)
        };
        let address = |name| find(name).and_then(|text| text.parse().map_err(|_| name));
        Ok(Self {
            auth: address("radius-auth ")?,
            acct: address("radius-acct ")?,
            dhcp4: address("dhcp4 ")?,
            api: address("api ")?,
            metrics: address("metrics ")?,
            socket: PathBuf::from(find("socket ")?),
        })
    }
}

/// A running daemon.
pub(super) struct Daemon {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// Where it listens.
    pub(super) listeners: Listeners,
}

impl Daemon {
    /// Starts a daemon on this home and waits until it is ready.
    pub(super) async fn start(home: &Home) -> Result<Self, DemoFailure> {
        let log = home.path().join("daemon.log");
        let mut child = Running(Some(spawn(home, &log)?));
        let stdout = child.0.as_mut().and_then(|child| child.stdout.take());
        let mut lines = read_lines(stdout)?;
        let mut seen = Vec::new();
        let ready = async {
            while let Some(line) = lines.recv().await {
                if line == "ready" {
                    return true;
                }
                seen.push(line);
            }
            false
        };
        let ready = tokio::time::timeout(START_WAIT, ready).await;
        let listeners = match ready {
            Ok(true) => Listeners::read(&seen).map_err(|missing| format!("no listener called {missing}")),
            Ok(false) => Err("it ended".to_owned()),
            Err(_) => Err(format!("it was not ready after {} s", START_WAIT.as_secs())),
        };
        match (listeners, child.0.take()) {
            (Ok(listeners), Some(child)) => Ok(Self { child, lines, listeners }),
            (listeners, child) => {
                drop(Running(child));
                let why = listeners.err().unwrap_or_default();
                Err(DemoFailure::NotStarted { why, log: last_lines(&log) })
            }
        }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power cut would: SIGKILL, nothing is finished, nothing flushed.
    pub(super) fn kill(mut self) -> Result<(), DemoFailure> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map(|_| ()).map_err(|source| DemoFailure::Io { doing: "kill the daemon".to_owned(), source })
    }

    /// Ends it as `systemctl stop` would, and gives its exit status in words.
    pub(super) async fn stop(mut self) -> Result<String, DemoFailure> {
        let failed = |source| DemoFailure::Io { doing: "stop the daemon".to_owned(), source };
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .map_err(|errno| failed(io::Error::from(errno)))?;
        // Its standard output ends when it does.
        let ended = async { while self.lines.recv().await.is_some() {} };
        if tokio::time::timeout(STOP_WAIT, ended).await.is_err() {
            return Err(DemoFailure::NotStopped { seconds: STOP_WAIT.as_secs() });
        }
        self.child.wait().map(|status| status.to_string()).map_err(failed)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A child that ends when nobody took it.
struct Running(Option<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end(child);
        }
    }
}

fn end(child: &mut Child) {
    // Already gone is as good.
    let _ = child.kill();
    let _ = child.wait();
}

fn spawn(home: &Home, log: &Path) -> Result<Child, DemoFailure> {
    let failed = |source| DemoFailure::Io { doing: "start the daemon".to_owned(), source };
    let program = std::env::current_exe().map_err(failed)?;
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(log).map_err(failed)?;
    let mut command = Command::new(program);
    command
        .arg("serve")
        .arg("--config")
        .arg(home.config())
        .arg("--print-listeners")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        // Ctrl-C in the terminal is for the demo, which then stops its daemon in order.
        .process_group(0);
    // What is set for a real daemon on this machine must not reach this one.
    for (name, _) in config::environment().filter(|(name, _)| name.starts_with("LASTMILE_")) {
        command.env_remove(name);
    }
    command.env_remove("NOTIFY_SOCKET").env_remove("CREDENTIALS_DIRECTORY");
    command.spawn().map_err(failed)
}

/// Lines as they come, from a thread: a child's pipe can be read no other way without more of tokio.
fn read_lines(stdout: Option<ChildStdout>) -> Result<mpsc::Receiver<String>, DemoFailure> {
    let (sender, receiver) = mpsc::channel(64);
    let read = move || {
        let lines = stdout.map(|stdout| BufReader::new(stdout).lines());
        for line in lines.into_iter().flatten().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("daemon-output".to_owned()).spawn(read);
    thread.map(|_| receiver).map_err(|source| DemoFailure::Io { doing: "start a thread".to_owned(), source })
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n")
}

fn failed(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> DemoFailure {
    let doing = format!("{doing} {}", path.display());
    move |source| DemoFailure::Io { doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_home_holds_a_valid_configuration_and_is_removed() {
        let home = Home::open(None).unwrap();
        let path = home.path().to_owned();
        let loaded = config::Config::load(&home.config(), std::iter::empty());
        assert!(loaded.is_ok(), "{}", loaded.err().map(|error| error.to_string()).unwrap_or_default());
        let options = netdefs::Netdefs::load(None).unwrap().options4;
        assert!(netdefs::definitions::load(&path.join("netdefs"), &options).is_ok());
        drop(home);
        assert!(!path.exists());
    }

    #[test]
    fn listeners_are_read_from_what_the_daemon_prints() {
        let mut lines: Vec<String> = [
            "listening radius-auth 127.0.0.1:1",
            "listening radius-acct 127.0.0.1:2",
            "listening dhcp4 127.0.0.1:3",
            "listening api 127.0.0.1:4",
            "listening metrics 127.0.0.1:5",
            "listening socket /tmp/a b/admin.sock",
        ]
        .map(str::to_owned)
        .into();
        let read = Listeners::read(&lines).unwrap();
        assert_eq!((read.dhcp4.port(), read.socket.to_str()), (3, Some("/tmp/a b/admin.sock")));
        lines.remove(3);
        assert_eq!(Listeners::read(&lines), Err("api "));
    }
}
