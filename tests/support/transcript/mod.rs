//! Transcripts: text files whose names are the behaviour, run line by line against pure cores, a real ledger and a real
//! journal in memory.
//!
//! - what it is about, up to the first empty line; `#` begins a comment;
//! - the lines of [`node`], which every protocol has: objects, time, journal;
//! - packets, which are the protocol's own;
//! - `-> …` what came of it. `UPDATE=1` writes these lines anew, for review in the diff.

#![expect(clippy::unwrap_used, reason = "only tests call it: a panic is a failed test")]

pub(crate) mod node;
pub(crate) mod record;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

const MARK: &str = "-> ";

/// The transcripts of a protocol, by name.
pub(crate) fn files(protocol: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(protocol);
    let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|kind| kind == "txt")).collect();
    files.sort();
    files
}

/// The transcript with what `step` makes of each of its lines.
pub(crate) fn run(text: &str, mut step: impl FnMut(&str) -> Vec<String>) -> String {
    let (prose, script) = text.split_once("\n\n").unwrap();
    let mut out = format!("{prose}\n\n");
    for line in script.lines().filter(|line| !line.starts_with(MARK)) {
        out.push_str(line);
        out.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        for outcome in step(line) {
            out.push_str(MARK);
            out.push_str(&outcome);
            out.push('\n');
        }
    }
    out
}

/// Runs every transcript of a protocol and compares, or writes anew.
pub(crate) fn compare(protocol: &str, run: impl Fn(&str) -> String) {
    let update = std::env::vars().any(|(name, value)| name == "UPDATE" && value == "1");
    let mut wrong = Vec::new();
    for path in files(protocol) {
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

/// Runs every transcript of a protocol twice: nothing but the transcript decides what comes out.
pub(crate) fn repeat(protocol: &str, run: impl Fn(&str) -> String) {
    for path in files(protocol) {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(run(&text), run(&text), "{}", path.display());
    }
}

/// Splits at spaces outside of quotes.
pub(crate) fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for symbol in line.chars() {
        quoted ^= symbol == '"';
        if symbol == ' ' && !quoted {
            words.push(String::new());
        } else {
            words.last_mut().unwrap().push(symbol);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The fields of a packet. Those of its clients come first; a later client replaces fields of an earlier one, and the
/// packet those of its clients. `-NAME` takes a field away; one that the packet itself repeats stays repeated.
pub(crate) fn fields(line: &str, clients: &HashMap<String, String>) -> Vec<(String, String)> {
    let (mut inherited, mut own) = (Vec::new(), Vec::new());
    for word in words(line) {
        if let Some((name, value)) = word.split_once('=') {
            inherited.retain(|(known, _): &(String, String)| known != name);
            own.push((name.to_owned(), value.to_owned()));
        } else if let Some(name) = word.strip_prefix('-') {
            inherited.retain(|(known, _)| known != name);
        } else {
            let client = clients.get(&word).unwrap_or_else(|| panic!("no client {word}"));
            let of_client = fields(client, clients);
            inherited.retain(|(known, _)| of_client.iter().all(|(name, _)| name != known));
            inherited.extend(of_client);
        }
    }
    inherited.extend(own);
    inherited
}

/// The bytes of `0x…`.
pub(crate) fn octets(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?;
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    Some((0..digits.len()).step_by(2).map(byte).collect())
}
