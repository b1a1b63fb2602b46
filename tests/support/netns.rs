//! Network namespaces of the test's own, joined by veth pairs. Addresses exist only inside; all of it goes with this value.

#![expect(clippy::unwrap_used, reason = "a network that cannot be made is a failed test")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::{note, skip};

/// Some namespaces.
pub(crate) struct Namespaces {
    prefix: String,
    names: Vec<&'static str>,
}

impl Namespaces {
    /// Makes namespaces with a loopback interface each, or says why there are none.
    pub(crate) fn make(names: &[&'static str]) -> Option<Self> {
        let mut made = Self { prefix: format!("lastmile-{}-", std::process::id()), names: Vec::new() };
        for name in names {
            let full = made.full(name);
            let added = Command::new("ip").args(["netns", "add", &full]).output();
            if !added.is_ok_and(|output| output.status.success()) {
                skip("network namespaces need root and iproute2");
                return None;
            }
            made.names.push(name);
            made.ip(name, "link set lo up");
        }
        Some(made)
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Runs `ip` with these words inside a namespace.
    pub(crate) fn ip(&self, name: &str, words: &str) {
        let mut command = Command::new("ip");
        command.args(["-n", &self.full(name)]).args(words.split_whitespace());
        let output = command.output().unwrap();
        assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Joins two namespaces: an interface of this name in each.
    pub(crate) fn join(&self, (one, interface): (&str, &str), (other, peer): (&str, &str)) {
        let other = self.full(other);
        self.ip(one, &format!("link add {interface} type veth peer name {peer} netns {other}"));
        self.ip(one, &format!("link set {interface} up"));
        let output = Command::new("ip").args(["-n", &other, "link", "set", peer, "up"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Program and arguments that run another program in a namespace.
    pub(crate) fn wrapper(&self, name: &str) -> Vec<String> {
        ["ip", "netns", "exec"].map(str::to_owned).into_iter().chain([self.full(name)]).collect()
    }

    /// Starts a program in a namespace.
    pub(crate) fn spawn(&self, name: &str, program: &str, arguments: &[&str]) -> Program {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.full(name), program]).args(arguments);
        Program::spawn(program, command)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", &self.full(name)]).status();
        }
    }
}

/// A running program whose lines on either output can be waited for.
pub(crate) struct Program {
    name: String,
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Program {
    fn spawn(name: &str, mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let from_errors = sender.clone();
        let (output, errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        std::thread::spawn(move || {
            BufReader::new(errors).lines().map_while(Result::ok).try_for_each(|line| from_errors.send(line))
        });
        Self { name: name.to_owned(), child, lines, said: Vec::new() }
    }

    /// Waits for a line that begins like this, takes it, and gives its rest. Other lines stay for later: what a program and
    /// its script say comes in no certain order.
    pub(crate) fn until_line(&mut self, begins: &str) -> String {
        loop {
            if let Some(at) = self.said.iter().position(|line| line.starts_with(begins)) {
                return self.said.remove(at)[begins.len()..].trim().to_owned();
            }
            match self.lines.recv_timeout(Duration::from_mins(1)) {
                Ok(line) => self.said.push(line),
                Err(error) => panic!("{} never said `{begins}` ({error}): {:#?}", self.name, self.said),
            }
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.said.extend(self.lines.try_iter());
            note(&format!("{} said: {:#?}", self.name, self.said));
        }
    }
}
