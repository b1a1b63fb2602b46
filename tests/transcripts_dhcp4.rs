//! Runs `tests/transcripts/dhcp4/*.txt` against the pure DHCPv4 core, a real ledger and a real journal in memory.
//!
//! The file's name is the behaviour. Its lines, in order:
//!
//! - what it is about, up to the first empty line; `#` begins a comment;
//! - `network|pool|plan|service|access|relay NAME {json}` writes an object, references being names; `delete NAME`;
//! - `client NAME field=value …` names fields for use in packets;
//! - `DISCOVER|REQUEST|DECLINE|RELEASE|INFORM [client…] [field=value…]` is a packet, see `packet`; `bytes 0x…` a raw one;
//! - `wait 900s`, `sweep`, `restart` (the ledger is rebuilt from the journal);
//! - `journal refuses|takes|fails|holds|commits`;
//! - `-> …` what came of it. `UPDATE=1` writes these lines anew, for review in the diff.

#![expect(clippy::unwrap_used, reason = "only tests call it: a panic is a failed test")]

#[path = "transcripts_dhcp4/node.rs"]
mod node;
#[path = "transcripts_dhcp4/packet.rs"]
mod packet;
#[path = "transcripts_dhcp4/record.rs"]
mod record;

use std::path::{Path, PathBuf};

use lastmile::ids::SeededEntropy;

const MARK: &str = "-> ";

fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/dhcp4");
    let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|kind| kind == "txt")).collect();
    files.sort();
    files
}

/// The transcript with the expectations that the core fulfils.
fn run(text: &str) -> String {
    run_on(&mut node::Node::new(), text)
}

fn run_on(node: &mut node::Node, text: &str) -> String {
    let (prose, script) = text.split_once("\n\n").unwrap();
    let mut out = format!("{prose}\n\n");
    for line in script.lines().filter(|line| !line.starts_with(MARK)) {
        out.push_str(line);
        out.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        for outcome in node.step(line) {
            out.push_str(MARK);
            out.push_str(&outcome);
            out.push('\n');
        }
    }
    node.check();
    out
}

#[test]
fn every_transcript_comes_out_as_written() {
    let update = std::env::vars().any(|(name, value)| name == "UPDATE" && value == "1");
    let mut wrong = Vec::new();
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let ran = run(&text);
        if ran == text {
            continue;
        }
        if update {
            // In one step: the other tests read the files meanwhile.
            let new = path.with_extension("new");
            std::fs::write(&new, ran).unwrap();
            std::fs::rename(new, path).unwrap();
        } else {
            let at = text.lines().zip(ran.lines()).take_while(|(had, has)| had == has).count();
            let line = |text: &str| text.lines().nth(at).unwrap_or("(end)").to_owned();
            wrong.push(format!("{name}:{}\n  expected {}\n  came     {}", at + 1, line(&text), line(&ran)));
        }
    }
    assert!(wrong.is_empty(), "UPDATE=1 writes these anew:\n{}", wrong.join("\n"));
}

#[test]
fn the_same_transcript_comes_out_the_same_twice() {
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(run(&text), run(&text), "{}", path.display());
    }
}

#[test]
fn garbled_requests_end_in_a_decision_and_give_no_address_twice() {
    for (seed, path) in files().iter().enumerate() {
        let mut node = node::Node::new();
        run_on(&mut node, &std::fs::read_to_string(path).unwrap());
        node.hear_garbled(&SeededEntropy::new(seed as u64), 100);
        node.check();
    }
}
