//! Runs `tests/transcripts/dhcp4/*.txt` against the pure DHCPv4 core, a real ledger and a real journal in memory.
//!
//! Besides the lines of [`transcript`]: `DISCOVER|REQUEST|DECLINE|RELEASE|INFORM [client…] [field=value…]` is a packet,
//! see `packet`; `bytes 0x…` a raw one.

#![expect(clippy::unwrap_used, reason = "only tests call it: a panic is a failed test")]

#[path = "transcripts_dhcp4/packet.rs"]
mod packet;
#[path = "support/transcript/mod.rs"]
mod transcript;

use std::rc::Rc;

use lastmile::dhcp::v4::core::Dhcp4Core;
use lastmile::ids::{Entropy, SeededEntropy};
use transcript::node::{Node, Sent, Tell};

struct Dhcp4 {
    node: Node,
    core: Rc<Dhcp4Core>,
    heard: Vec<Sent>,
}

impl Dhcp4 {
    fn new() -> Self {
        Self { node: Node::new(), core: Rc::new(Dhcp4Core::new()), heard: Vec::new() }
    }

    fn run(&mut self, text: &str) -> String {
        let out = transcript::run(text, |line| self.step(line));
        self.node.check();
        out
    }

    fn step(&mut self, line: &str) -> Vec<String> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Some(outcomes) = self.node.step(verb, rest) {
            return outcomes;
        }
        match verb {
            "bytes" => {
                let bytes = transcript::octets(rest).unwrap();
                let source = "10.0.0.1:67".parse().unwrap();
                self.receive(&Sent { bytes, source, local: packet::SERVER.into() })
            }
            _ => self.receive(&packet::parse(line, &self.node.clients)),
        }
    }

    fn receive(&mut self, sent: &Sent) -> Vec<String> {
        self.heard.push(sent.clone());
        let request = sent.bytes.clone();
        let tell: Tell = Rc::new(move |reply, bytes, _| packet::describe(&request, reply, bytes));
        self.node.receive(&self.core, sent, &tell)
    }

    /// Hears everything again with bytes changed, which must end in a decision and never in anything worse.
    fn hear_garbled(&mut self, entropy: &dyn Entropy, times: usize) {
        for sent in std::mem::take(&mut self.heard) {
            for _ in 0..times {
                let mut garbled = sent.clone();
                let len = garbled.bytes.len();
                for _ in 0..=entropy.u64() % 3 {
                    let random = entropy.u64();
                    // Most changes go where the options are.
                    let from = if random.is_multiple_of(4) || len <= 240 { 0 } else { 240 };
                    let at = from + (random >> 8) as usize % (len - from).min(80);
                    garbled.bytes[at] = (random >> 40) as u8;
                }
                let outcomes = self.receive(&garbled);
                assert!(!outcomes[0].contains("undecided"), "{}", outcomes[0]);
            }
        }
        self.node.check();
    }
}

#[test]
fn every_transcript_comes_out_as_written() {
    transcript::compare("dhcp4", |text| Dhcp4::new().run(text));
}

#[test]
fn the_same_transcript_comes_out_the_same_twice() {
    transcript::repeat("dhcp4", |text| Dhcp4::new().run(text));
}

#[test]
fn garbled_requests_end_in_a_decision_and_give_no_address_twice() {
    for (seed, path) in transcript::files("dhcp4").iter().enumerate() {
        let mut dhcp = Dhcp4::new();
        dhcp.run(&std::fs::read_to_string(path).unwrap());
        dhcp.hear_garbled(&SeededEntropy::new(seed as u64), 100);
    }
}
