//! The layer rule: which file imports which, and whether the table of rows allows it.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{Import, imports, joined};
use super::source;

/// Files that rustc starts from.
const ROOTS: [&str; 2] = ["src/lib.rs", "src/main.rs"];

/// The table in layers.txt.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<String>,
    /// Path or directory → index of its row.
    entries: BTreeMap<String, usize>,
    /// (from, to) that are allowed against the rows.
    pub(crate) exceptions: Vec<(String, String)>,
    /// Files below the effects that may lift the ban of clocks, randomness, sockets and environment.
    pub(crate) sources: Vec<String>,
    /// Files that may print.
    pub(crate) prints: Vec<String>,
}

impl Table {
    /// Reads the table; a line that means nothing is a fault of the table.
    pub(crate) fn read(text: &str) -> Self {
        let mut table = Self::default();
        let mut section = "";
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim_end();
            let entry = line.trim_start();
            if entry.is_empty() {
                continue;
            }
            let with_reason = || {
                let (entry, reason) = entry.split_once(": ").unwrap_or_else(|| panic!("no reason: {line}"));
                assert!(!reason.is_empty(), "no reason: {line}");
                entry.to_owned()
            };
            match (section, line.starts_with(' ')) {
                (_, false) => {
                    section = line.split_whitespace().next().unwrap_or_default();
                    table.rows.extend(line.strip_prefix("row ").map(ToOwned::to_owned));
                }
                ("row", true) => {
                    let before = table.entries.insert(entry.to_owned(), table.rows.len() - 1);
                    assert!(before.is_none(), "{entry} stands in the table twice");
                }
                ("exceptions", true) => {
                    let pair = with_reason();
                    let (from, to) = pair.split_once(" -> ").unwrap_or_else(|| panic!("no arrow: {line}"));
                    table.exceptions.push((from.to_owned(), to.to_owned()));
                }
                ("sources", true) => table.sources.push(with_reason()),
                ("prints", true) => table.prints.push(with_reason()),
                _ => panic!("unknown section {section}"),
            }
        }
        table
    }

    /// The entry that decides about a file: the longest that matches.
    fn entry(&self, file: &str) -> Option<(&str, usize)> {
        let matching = self.entries.iter().filter(|(entry, _)| covers(entry, file));
        matching.max_by_key(|(entry, _)| entry.len()).map(|(entry, &row)| (entry.as_str(), row))
    }

    /// Whether a file belongs to the effects or to a row below them in the table.
    pub(crate) fn may_touch_the_world(&self, file: &str) -> bool {
        let effects = self.rows.iter().position(|row| row == "effects");
        self.entry(file).zip(effects).is_some_and(|((_, row), effects)| row >= effects)
    }
}

/// Whether an entry of the table means a file.
pub(crate) fn covers(entry: &str, file: &str) -> bool {
    if entry.ends_with('/') { file.starts_with(entry) } else { file == entry }
}

/// All files of src as modules that import each other.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// Module path → file.
    modules: BTreeMap<Vec<String>, String>,
    imports: BTreeMap<String, Vec<Import>>,
}

impl Graph {
    /// Builds it from paths like `src/model/pool.rs` and their texts: what the product is compiled from.
    pub(crate) fn build(files: &BTreeMap<String, String>) -> Self {
        let present: BTreeMap<Vec<String>, &String> =
            files.keys().map(|file| (module_of(file), file)).collect();
        let mut graph = Self::default();
        let mut products = Vec::new();
        let mut left: Vec<Vec<String>> = ROOTS.iter().map(|root| module_of(root)).collect();
        while let Some(module) = left.pop() {
            let Some(&file) = present.get(&module) else { continue };
            let product = source::product(&source::read(&files[file]).tokens);
            let base = if ROOTS.contains(&file.as_str()) { Vec::new() } else { module.clone() };
            let declared = product.windows(3).filter(|of| of[0].text == "mod" && of[2].text == ";");
            left.extend(declared.map(|of| joined(&base, &of[1].text)));
            graph.modules.insert(module, file.clone());
            products.push((file, product));
        }
        for (file, product) in products {
            let imports = imports(&graph.modules, module_of(file), &product);
            graph.imports.insert(file.clone(), imports);
        }
        graph
    }

    /// The product's files: without those that only tests have, or nobody.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.imports.keys().map(String::as_str)
    }

    /// The file that a path's name comes from, followed through re-exports.
    fn file_of(&self, path: &[String], depth: usize) -> Option<&str> {
        let known = (0..=path.len()).rev().find(|&length| self.modules.contains_key(&path[..length]))?;
        let (file, rest) = (&self.modules[&path[..known]], &path[known..]);
        let through = rest.first().and_then(|name| {
            let imports = self.imports.get(file)?;
            imports.iter().find(|import| import.public_as.as_ref() == Some(name))
        });
        match through {
            Some(import) if depth < 8 => {
                let onward: Vec<String> = import.path.iter().chain(&rest[1..]).cloned().collect();
                self.file_of(&onward, depth + 1)
            }
            _ => Some(file),
        }
    }

    /// Every import of another file as (from, line, to), contents pages' own children left out.
    fn edges(&self) -> Vec<(&str, usize, &str)> {
        let mut edges = Vec::new();
        for (from, imports) in &self.imports {
            for import in imports {
                let Some(to) = self.file_of(&import.path, 0) else { continue };
                let inside = import.path.starts_with(&module_of(from));
                let contents = import.public_as.is_some() && inside && is_contents_page(from);
                if to != from && !contents {
                    edges.push((from.as_str(), import.line, to));
                }
            }
        }
        edges
    }

    /// Everything that the table forbids, or does not know.
    pub(crate) fn faults(&self, table: &Table) -> Vec<String> {
        let mut faults = Vec::new();
        let mut needed = BTreeSet::new();
        let mut within: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
        for file in self.files().filter(|file| table.entry(file).is_none()) {
            faults.push(format!("{file}: in no row of tests/tidy/layers.txt"));
        }
        for (from, line, to) in self.edges() {
            let (Some((entry, row)), Some((to_entry, to_row))) = (table.entry(from), table.entry(to)) else {
                continue;
            };
            let pair = (from.to_owned(), to.to_owned());
            if table.exceptions.contains(&pair) {
                needed.insert(pair);
            } else if to_row > row {
                let (row, to_row) = (&table.rows[row], &table.rows[to_row]);
                faults.push(format!("{from}:{line}: {row} imports {to} of {to_row}"));
            } else if to_row == row && entry != to_entry {
                within.entry(entry).or_default().entry(to_entry).or_insert(format!("{from}:{line}"));
            }
        }
        for exception in &table.exceptions {
            let both = [&exception.0, &exception.1].iter().all(|file| self.imports.contains_key(*file));
            if both && !needed.contains(exception) {
                faults.push(format!("{} -> {}: an exception that nothing needs", exception.0, exception.1));
            }
        }
        faults.extend(cycle(&within).map(|cycle| format!("a cycle within a row: {cycle}")));
        faults
    }
}

/// A cycle among entries of the same row, with the imports that make it.
fn cycle(within: &BTreeMap<&str, BTreeMap<&str, String>>) -> Option<String> {
    let mut left = within.clone();
    // What imports nothing that is left is in no cycle.
    while let Some(free) = left
        .iter()
        .find(|(_, targets)| targets.keys().all(|to| !left.contains_key(to)))
        .map(|(&entry, _)| entry)
    {
        left.remove(free);
    }
    let mut at = *left.keys().next()?;
    let mut seen: Vec<(&str, String)> = Vec::new();
    while !seen.iter().any(|(entry, _)| *entry == at) {
        let (to, place) = left[at].iter().find(|(to, _)| left.contains_key(*to))?;
        seen.push((at, format!("{at} -> {to} ({place})")));
        at = to;
    }
    let steps = seen.into_iter().skip_while(|(entry, _)| *entry != at).map(|(_, step)| step);
    Some(steps.collect::<Vec<_>>().join(", "))
}

/// `src/a/b.rs` and `src/a/b/mod.rs` are the module a::b; lib.rs and main.rs are the root.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    // The binary is a root of its own that nothing imports.
    if path == "lib" { Vec::new() } else { path.split('/').map(ToOwned::to_owned).collect() }
}

fn is_contents_page(file: &str) -> bool {
    file.ends_with("/mod.rs") || file == "src/lib.rs"
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "row low\n    src/a.rs\n    src/b/\nrow high\n    src/b/top.rs\n    src/c.rs\n    src/lib.rs
exceptions\n    src/a.rs -> src/c.rs: known\n";

    fn faults(files: &[(&str, &str)]) -> Vec<String> {
        let lib = ("src/lib.rs", "mod a; mod b; mod c; mod d;");
        let files = files.iter().chain([&lib]);
        let files = files.map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
        Graph::build(&files).faults(&Table::read(TABLE))
    }

    #[test]
    fn an_import_from_a_row_below_in_the_table_is_named_with_its_place() {
        let top = ("src/b/top.rs", "pub struct Top;");
        for text in [
            "use crate::b::top::Top;",
            "use crate::{a, b::{self, top::{Top as T}}};",
            "use super::b::top;",
            "fn f() { crate::b::top::new() }",
            "mod inside { use super::super::b::top::Top; }",
        ] {
            let found = faults(&[("src/a.rs", text), ("src/b/mod.rs", "mod top;"), top]);
            assert_eq!(found, ["src/a.rs:1: low imports src/b/top.rs of high"], "{text}");
        }
    }

    #[test]
    fn a_contents_page_hides_no_import_and_may_show_its_children() {
        let page = ("src/b/mod.rs", "mod top;\npub use top::{Top, Low as Other};");
        let top = ("src/b/top.rs", "pub struct Top;");
        assert!(faults(&[page, top, ("src/c.rs", "use crate::b::Top;")]).is_empty());
        let found = faults(&[page, top, ("src/a.rs", "use crate::b::Other;")]);
        assert_eq!(found, ["src/a.rs:1: low imports src/b/top.rs of high"]);
        let used = ("src/b/mod.rs", "mod top;\nuse top::Top;");
        assert_eq!(faults(&[used, top]), ["src/b/mod.rs:2: low imports src/b/top.rs of high"]);
    }

    #[test]
    fn tests_may_import_anything() {
        let text =
            "#[cfg(test)] mod far; #[cfg(test)] mod tests { use crate::b::top::Top; } // crate::b::top";
        let far = ("src/a/far.rs", "use crate::b::top::Top;");
        assert!(
            faults(&[("src/a.rs", text), far, ("src/b/mod.rs", "mod top;"), ("src/b/top.rs", "")]).is_empty()
        );
    }

    #[test]
    fn a_cycle_within_a_row_is_shown_with_its_imports() {
        let found = faults(&[
            ("src/a.rs", "use crate::b::x::X;"),
            ("src/b/mod.rs", "mod x;"),
            ("src/b/x.rs", "use crate::a::A;"),
        ]);
        assert_eq!(
            found,
            ["a cycle within a row: src/a.rs -> src/b/ (src/a.rs:1), src/b/ -> src/a.rs (src/b/x.rs:1)"]
        );
    }

    #[test]
    fn an_unknown_file_and_a_stale_exception_are_faults() {
        let found = faults(&[("src/a.rs", ""), ("src/c.rs", ""), ("src/d.rs", "")]);
        assert_eq!(
            found,
            [
                "src/d.rs: in no row of tests/tidy/layers.txt",
                "src/a.rs -> src/c.rs: an exception that nothing needs"
            ]
        );
        assert!(faults(&[("src/a.rs", "use crate::c;"), ("src/c.rs", "")]).is_empty());
    }
}
