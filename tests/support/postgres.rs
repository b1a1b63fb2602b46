//! A PostgreSQL server of the test's own: temporary directory, loopback port, no durability.

#![expect(clippy::unwrap_used, reason = "a test's server that cannot be started is a failed test")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::skip;

/// A running server; it ends with this value, also when the test panics.
pub(crate) struct TestPostgres {
    programs: PathBuf,
    directory: tempfile::TempDir,
    port: u16,
    server: Option<Child>,
}

impl TestPostgres {
    /// Starts a server, or says why there is none to start.
    pub(crate) fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            skip("no PostgreSQL server under /usr/lib/postgresql");
            return None;
        };
        if is_root() && user().is_none() {
            skip("running as root without an unprivileged user for PostgreSQL");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        if let Some(user) = user().filter(|_| is_root()) {
            std::os::unix::fs::chown(directory.path(), Some(user), Some(user)).unwrap();
        }
        let mut postgres = Self { programs, directory, port: free_port(), server: None };
        let made = postgres
            .command("initdb")
            .args(["--auth=trust", "--username=lastmile", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .arg("--pgdata")
            .arg(postgres.data())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        postgres.restart();
        Some(postgres)
    }

    /// URL of the database that every server has.
    pub(crate) fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// Makes an empty database and returns its URL.
    pub(crate) fn fresh_database(&self, name: &str) -> String {
        let port = self.port.to_string();
        let made = self
            .command("createdb")
            .args(["--host=127.0.0.1", "--username=lastmile", "--port", &port, name])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        self.url_of(name)
    }

    /// Port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends the server at once, as a crash would.
    pub(crate) fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let id = server.id().to_string();
            let _ = Command::new("kill").args(["-QUIT", &id]).status();
            let _ = server.wait();
        }
    }

    /// Starts the server again on the same port with the same data.
    pub(crate) fn restart(&mut self) {
        self.stop();
        let mut server = self
            .command("postgres")
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.directory.path())
            .args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let ready = log.by_ref().map_while(Result::ok).any(|line| {
            let ready = line.contains("ready to accept connections");
            said.push(line);
            ready
        });
        self.server = Some(server);
        assert!(ready, "the server did not start: {said:#?}");
        // A full pipe would stop the server.
        std::thread::spawn(move || log.for_each(drop));
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://lastmile@127.0.0.1:{}/{database}", self.port)
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A PostgreSQL program, as a user that may run it: the server refuses to be root.
    fn command(&self, program: &str) -> Command {
        let path = self.programs.join(program);
        let mut command = match user().filter(|_| is_root()) {
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg("--clear-groups");
                command.arg(path);
                command
            }
            None => Command::new(path),
        };
        command.current_dir(self.directory.path()).env("LC_ALL", "C");
        command
    }
}

impl Drop for TestPostgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The newest installed version's directory of programs.
fn programs() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|programs| programs.join("initdb").exists() && programs.join("postgres").exists())
        .collect();
    versions.sort();
    versions.pop()
}

fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|own| own.uid() == 0)
}

/// Number of an unprivileged user.
fn user() -> Option<u32> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    ["postgres", "nobody"].into_iter().find_map(|name| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        line.split(':').nth(2)?.parse().ok()
    })
}

#[expect(clippy::disallowed_methods, reason = "a test picks a free port by binding one")]
fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
