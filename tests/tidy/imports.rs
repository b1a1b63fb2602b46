//! What one file names of this crate: its `use` trees and its paths inline.

use std::collections::BTreeMap;

use super::source::{Token, matching};

/// One import: the line, and the absolute path it names.
#[derive(Debug)]
pub(crate) struct Import {
    /// Line of its first word, from 1.
    pub(crate) line: usize,
    /// From the crate's root.
    pub(crate) path: Vec<String>,
    /// The name it is made public under, where it is.
    pub(crate) public_as: Option<String>,
}

/// What the tokens of a module's file name of this crate; `modules` are all there are, with their files.
pub(crate) fn imports(
    modules: &BTreeMap<Vec<String>, String>,
    module: Vec<String>,
    tokens: &[Token],
) -> Vec<Import> {
    Walk { modules, module, inline_ends: Vec::new(), imports: Vec::new() }.run(tokens)
}

/// The path of a child module.
pub(crate) fn joined(module: &[String], name: &str) -> Vec<String> {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

/// A walk over one file's tokens that collects what they name of this crate.
struct Walk<'a> {
    modules: &'a BTreeMap<Vec<String>, String>,
    /// The module the walk is in, and for each inline one the token that closes it.
    module: Vec<String>,
    inline_ends: Vec<usize>,
    imports: Vec<Import>,
}

impl Walk<'_> {
    fn run(mut self, tokens: &[Token]) -> Vec<Import> {
        let mut at = 0;
        while at < tokens.len() {
            while self.inline_ends.last().is_some_and(|&end| at >= end) {
                self.inline_ends.pop();
                self.module.pop();
            }
            let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
            if text(at) == "mod" && text(at + 2) == "{" {
                self.module.push(text(at + 1).to_owned());
                self.inline_ends.push(matching(tokens, at + 2));
                at += 3;
            } else if text(at) == "use" {
                let public = at > 0 && (text(at - 1) == "pub" || is_restricted_pub(tokens, at));
                let end = at + tokens[at..].iter().take_while(|token| token.text != ";").count();
                self.tree(&tokens[at + 1..end], &[], public);
                at = end;
            } else if text(at + 1) == "::" && (at == 0 || text(at - 1) != "::") {
                let end = path_end(tokens, at);
                self.add(&tokens[at..end], None);
                at = end;
            } else {
                at += 1;
            }
        }
        self.imports
    }

    /// One tree of a `use`, under the path that leads to it.
    fn tree(&mut self, tokens: &[Token], prefix: &[Token], public: bool) {
        let brace = tokens.iter().position(|token| token.text == "{");
        let Some(brace) = brace else {
            let alias = tokens.iter().position(|token| token.text == "as");
            let path: Vec<Token> =
                prefix.iter().chain(&tokens[..alias.unwrap_or(tokens.len())]).cloned().collect();
            let last = path.iter().rev().find(|token| !matches!(token.text.as_str(), "::" | "self"));
            let name = alias.and_then(|at| tokens.get(at + 1)).or(last).map(|token| token.text.clone());
            self.add(&path, name.filter(|_| public));
            return;
        };
        let prefix: Vec<Token> = prefix.iter().chain(&tokens[..brace]).cloned().collect();
        let inside = &tokens[brace + 1..matching(tokens, brace) - 1];
        let (mut from, mut at) = (0, 0);
        while at <= inside.len() {
            match inside.get(at).map(|token| token.text.as_str()) {
                Some("{") => at = matching(inside, at),
                Some(",") | None => {
                    if from < at {
                        self.tree(&inside[from..at], &prefix, public);
                    }
                    at += 1;
                    from = at;
                }
                Some(_) => at += 1,
            }
        }
    }

    /// Notes a path, when it is one of this crate.
    fn add(&mut self, tokens: &[Token], public_as: Option<String>) {
        let Some(first) = tokens.first() else { return };
        let mut path = match first.text.as_str() {
            "crate" | "lastmile" => Vec::new(),
            "self" | "super" => self.module.clone(),
            name if self.modules.contains_key(&joined(&self.module, name)) => joined(&self.module, name),
            _ => return,
        };
        for (place, token) in tokens.iter().filter(|token| token.text != "::").enumerate() {
            match token.text.as_str() {
                "super" => drop(path.pop()),
                "self" | "*" => {}
                name if place > 0 => path.push(name.to_owned()),
                _ => {}
            }
        }
        self.imports.push(Import { line: first.line, path, public_as });
    }
}

/// Whether the `use` at `at` follows `pub(…)`.
fn is_restricted_pub(tokens: &[Token], at: usize) -> bool {
    let before = tokens[..at].iter().rev().take(6).map(|token| token.text.as_str());
    at > 0 && tokens[at - 1].text == ")" && before.take_while(|text| *text != ";").any(|text| text == "pub")
}

/// End of `a::b::c` that begins at `at`.
fn path_end(tokens: &[Token], at: usize) -> usize {
    let is_name = |at: usize| {
        tokens.get(at).is_some_and(|token| token.text.starts_with(|c: char| c.is_alphabetic() || c == '_'))
    };
    let mut end = at + 1;
    while tokens.get(end).is_some_and(|token| token.text == "::") && is_name(end + 1) {
        end += 2;
    }
    end
}
