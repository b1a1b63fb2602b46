//! The house rules that no compiler knows: layers, lengths, headers, leftovers, citations.

#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

mod imports;
mod layers;
mod source;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use layers::{Graph, Table, covers};
use source::{Token, attribute_end, product, read};

/// Longest source file, in lines.
const FILE_LINES_MAX: usize = 600;

/// What clippy.toml must keep out of the cores.
const BANNED: [&str; 8] = [
    "std::time::SystemTime::now",
    "std::time::Instant::now",
    "getrandom::fill",
    "std::net::UdpSocket::bind",
    "std::net::TcpListener::bind",
    "tokio::net::UdpSocket::bind",
    "std::env::var",
    "std::process::exit",
];

fn table() -> Table {
    Table::read(include_str!("layers.txt"))
}

/// Files under a directory of the repository with one of these endings, by their path in it.
fn files(under: &str, endings: &[&str]) -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    let mut left = vec![root.join(under)];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            left.extend(entries.map(|entry| entry.unwrap().path()));
        } else if endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)) {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            found.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
    found
}

/// All Rust files of the repository.
fn rust_files() -> BTreeMap<String, String> {
    let found: BTreeMap<_, _> =
        ["src", "tests", "benches"].map(|under| files(under, &[".rs"])).into_iter().flatten().collect();
    assert!(found.len() > 50, "the walk found {} files only", found.len());
    found
}

/// All text of the repository that people write.
fn texts() -> BTreeMap<String, String> {
    const ENDINGS: [&str; 10] =
        [".rs", ".md", ".txt", ".toml", ".sql", ".dict", ".service", ".sysusers", ".tmpfiles", "run"];
    let mut found = BTreeMap::new();
    for under in ["src", "tests", "benches", "docs", "netdefs", "migrations", "systemd", ".ci"] {
        found.extend(files(under, &ENDINGS));
    }
    for entry in std::fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "md" || ending == "toml") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            found.insert(name, std::fs::read_to_string(path).unwrap());
        }
    }
    found
}

fn is_rust(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|ending| ending == "rs")
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Places of a macro's name before its `!`, or of a word by itself.
fn lines_of<'a>(
    tokens: &'a [Token],
    names: &'a [&str],
    mark: &'a str,
) -> impl Iterator<Item = (usize, &'a str)> {
    tokens.iter().enumerate().filter_map(move |(at, token)| {
        let followed = mark.is_empty() || tokens.get(at + 1).is_some_and(|next| next.text == mark);
        (followed && names.contains(&token.text.as_str())).then_some((token.line, token.text.as_str()))
    })
}

/// Attributes with the names they hold.
fn attributes(tokens: &[Token]) -> impl Iterator<Item = &[Token]> {
    tokens.iter().enumerate().filter(|(_, token)| token.text == "#").filter_map(|(at, _)| {
        let inner = tokens.get(at + 1).is_some_and(|token| token.text == "!");
        let from = if inner { at + 1 } else { at };
        let end = if inner { source::matching(tokens, at + 2) } else { attribute_end(tokens, from) };
        (end > from).then(|| &tokens[at..end])
    })
}

#[test]
fn every_file_imports_only_from_its_row_and_the_rows_above_it() {
    let src = files("src", &[".rs"]);
    let graph = Graph::build(&src);
    assert!(graph.files().count() > 50);
    report(&graph.faults(&table()));
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let mut faults = Vec::new();
    for (file, text) in rust_files() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(format!("{file}: {lines} lines, {FILE_LINES_MAX} at most: split it by concept"));
        }
    }
    report(&faults);
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    let bare = |text: &str| !text.starts_with("//! ");
    let without = rust_files().into_iter().filter(|(_, text)| bare(text));
    report(&without.map(|(file, _)| format!("{file}: no //! header on its first line")).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_over() {
    let mut faults = Vec::new();
    for (file, text) in rust_files() {
        let source = read(&text);
        for (line, what) in words::leftovers(&source.comments) {
            faults.push(format!("{file}:{line}: {what}"));
        }
        for (line, name) in lines_of(&source.tokens, &["todo", "unimplemented", "dbg"], "!") {
            faults.push(format!("{file}:{line}: {name}!"));
        }
        for attribute in attributes(&source.tokens) {
            if let [_, _, name, end] = attribute
                && name.text == "ignore"
                && end.text == "]"
            {
                faults.push(format!("{file}:{}: #[ignore] without a reason", name.line));
            }
        }
    }
    report(&faults);
}

#[test]
fn only_what_speaks_to_people_prints() {
    let table = table();
    let src = files("src", &[".rs"]);
    let graph = Graph::build(&src);
    let mut faults = Vec::new();
    for file in graph.files().filter(|file| !table.prints.iter().any(|entry| covers(entry, file))) {
        let product = product(&read(&src[file]).tokens);
        for (line, name) in lines_of(&product, &["println", "print", "eprintln", "eprint"], "!") {
            faults.push(format!("{file}:{line}: {name}!: log it, or return it"));
        }
    }
    report(&faults);
}

#[test]
fn clippy_keeps_clocks_randomness_sockets_and_environment_out() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let clippy = std::fs::read_to_string(root.join("clippy.toml")).unwrap();
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let clippy: toml::Table = clippy.parse().unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let banned = clippy["disallowed-methods"].as_array().unwrap();
    for path in BANNED {
        assert!(banned.iter().any(|method| method["path"].as_str() == Some(path)), "clippy.toml lost {path}");
    }
    assert_eq!(clippy["too-many-lines-threshold"].as_integer(), Some(70));
    let lints = &manifest["lints"];
    for lint in [
        "disallowed_methods",
        "unwrap_used",
        "expect_used",
        "print_stdout",
        "allow_attributes_without_reason",
    ] {
        assert_eq!(lints["clippy"][lint].as_str(), Some("warn"), "{lint}");
    }
    assert_eq!(lints["rust"]["unsafe_code"].as_str(), Some("deny"));
}

#[test]
fn below_the_effects_no_file_lifts_the_ban() {
    let table = table();
    let src = files("src", &[".rs"]);
    let graph = Graph::build(&src);
    let mut faults = Vec::new();
    for file in graph.files() {
        let tokens = read(&src[file]).tokens;
        let free = table.may_touch_the_world(file) || table.sources.iter().any(|entry| covers(entry, file));
        for attribute in attributes(&product(&tokens)).filter(|_| !free) {
            for (line, name) in lines_of(attribute, &["disallowed_methods", "disallowed_types"], "") {
                faults.push(format!(
                    "{file}:{line}: lifts {name}: take time, randomness and sockets as values"
                ));
            }
        }
        let unsafe_here = ["src/net/batch.rs", "src/prefetch.rs"].contains(&file);
        for (line, name) in lines_of(&tokens, &["unsafe", "unsafe_code"], "").filter(|_| !unsafe_here) {
            faults
                .push(format!("{file}:{line}: {name} belongs in src/net/batch.rs and src/prefetch.rs only"));
        }
    }
    report(&faults);
}

#[test]
fn names_say_what_a_thing_is() {
    let mut faults = Vec::new();
    for (file, text) in files("src", &[".rs"]) {
        let tokens = read(&text).tokens;
        for pair in tokens.windows(2) {
            let (keyword, name) = (pair[0].text.as_str(), pair[1].text.as_str());
            let vague = match keyword {
                "fn" => name.starts_with("get_"),
                "struct" | "enum" | "trait" => {
                    ["Manager", "Helper", "Util", "Utils"].iter().any(|ending| name.ends_with(ending))
                }
                "mod" => ["util", "utils", "helpers", "misc", "common"].contains(&name),
                _ => false,
            };
            if vague {
                faults.push(format!("{file}:{}: {keyword} {name}", pair[1].line));
            }
        }
    }
    report(&faults);
}

#[test]
fn citations_have_the_form_rfc_number_section() {
    let mut faults = Vec::new();
    for (file, text) in texts() {
        // The checks' own counterexamples.
        if file == "tests/tidy/words.rs" {
            continue;
        }
        let comments = if is_rust(&file) { read(&text).comments } else { words::document(&text) };
        for paragraph in words::paragraphs(&comments) {
            if let Some(what) = words::citation(&paragraph.text) {
                faults.push(format!("{file}:{}: {what}", paragraph.line));
            }
        }
    }
    report(&faults);
}

#[test]
fn nothing_names_a_place_outside_the_project() {
    let mut faults = Vec::new();
    for (file, text) in texts() {
        faults.extend(words::places(&text).into_iter().map(|(line, what)| format!("{file}:{line}: {what}")));
    }
    report(&faults);
}
