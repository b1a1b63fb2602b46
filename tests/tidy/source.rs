//! Rust source as the checks see it: words and marks without literals, comments apart, test code set aside.
//!
//! A reader of its own, not a compiler's: it knows exactly what the checks ask, and nothing else.

/// A word, a number, or a mark; `::` is one mark. Literals are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// Its text.
    pub(crate) text: String,
    /// Its line, from 1.
    pub(crate) line: usize,
}

/// One comment line, without its marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Comment {
    /// What it says.
    pub(crate) text: String,
    /// Its line, from 1.
    pub(crate) line: usize,
}

/// A file taken apart.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// All of it.
    pub(crate) tokens: Vec<Token>,
    /// All of its comments, in order.
    pub(crate) comments: Vec<Comment>,
}

/// Takes a file apart.
pub(crate) fn read(text: &str) -> Source {
    let chars: Vec<char> = text.chars().collect();
    let mut source = Source::default();
    let (mut at, mut line) = (0, 1);
    while let Some(&first) = chars.get(at) {
        let end = match first {
            '/' if chars.get(at + 1) == Some(&'/') => comment(&chars, at, line, &mut source),
            '/' if chars.get(at + 1) == Some(&'*') => block_comment(&chars, at, line, &mut source),
            '"' => quoted(&chars, at),
            '\'' => quote_or_lifetime(&chars, at),
            _ if first.is_alphanumeric() || first == '_' => word(&chars, at, line, &mut source),
            ':' if chars.get(at + 1) == Some(&':') => {
                source.tokens.push(Token { text: "::".to_owned(), line });
                at + 2
            }
            _ if first.is_whitespace() => at + 1,
            mark => {
                source.tokens.push(Token { text: mark.to_string(), line });
                at + 1
            }
        };
        line += chars[at..end.min(chars.len())].iter().filter(|&&read| read == '\n').count();
        at = end;
    }
    source
}

fn comment(chars: &[char], at: usize, line: usize, source: &mut Source) -> usize {
    let length = chars[at..].iter().position(|&read| read == '\n').unwrap_or(chars.len() - at);
    let text: String = chars[at..at + length].iter().collect();
    let text = text.trim_start_matches('/').trim_start_matches('!').trim().to_owned();
    source.comments.push(Comment { text, line });
    at + length
}

fn block_comment(chars: &[char], at: usize, line: usize, source: &mut Source) -> usize {
    let (mut depth, mut end) = (0_usize, at);
    while end < chars.len() {
        match (chars[end], chars.get(end + 1)) {
            ('/', Some('*')) => (depth, end) = (depth + 1, end + 2),
            ('*', Some('/')) => (depth, end) = (depth - 1, end + 2),
            _ => end += 1,
        }
        if depth == 0 {
            break;
        }
    }
    let text: String = chars[at..end].iter().collect();
    for (below, text) in text.lines().enumerate() {
        source.comments.push(Comment { text: text.trim().to_owned(), line: line + below });
    }
    end
}

/// End of a string with escapes that opens at `at`.
fn quoted(chars: &[char], at: usize) -> usize {
    let mut end = at + 1;
    while end < chars.len() && chars[end] != '"' {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    end + 1
}

/// End of a character, or of the mark that begins a lifetime.
fn quote_or_lifetime(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            let from = at + 3;
            chars
                .get(from..)
                .and_then(|rest| rest.iter().position(|&c| c == '\''))
                .map_or(from, |n| from + n + 1)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}

/// A word, or a literal that begins like one: `r"…"`, `br#"…"#`, `b'…'`, `r#type`.
fn word(chars: &[char], at: usize, line: usize, source: &mut Source) -> usize {
    let length =
        chars[at..].iter().position(|&c| !(c.is_alphanumeric() || c == '_')).unwrap_or(chars.len() - at);
    let (text, end) = (chars[at..at + length].iter().collect::<String>(), at + length);
    let prefix = matches!(text.as_str(), "r" | "b" | "c" | "br" | "cr");
    let hashes = chars[end..].iter().take_while(|&&c| c == '#').count();
    match chars.get(end + hashes) {
        Some('"') if prefix && text.contains('r') => return raw(chars, end + hashes + 1, hashes),
        Some('"') if prefix && hashes == 0 => return quoted(chars, end),
        Some('\'') if text == "b" && hashes == 0 => return quote_or_lifetime(chars, end),
        _ => {}
    }
    source.tokens.push(Token { text, line });
    end
}

/// End of a raw string whose text begins at `from`.
fn raw(chars: &[char], from: usize, hashes: usize) -> usize {
    (from..chars.len())
        .find(|&end| {
            chars[end] == '"' && chars[end + 1..].iter().take_while(|&&c| c == '#').count() >= hashes
        })
        .map_or(chars.len(), |end| end + 1 + hashes)
}

/// The tokens that are compiled without `cfg(test)`.
pub(crate) fn product(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let end = attribute_end(tokens, at);
        if end == at || !is_for_tests(&tokens[at..end]) {
            let end = end.max(at + 1);
            kept.extend_from_slice(&tokens[at..end]);
            at = end;
            continue;
        }
        at = end;
        while attribute_end(tokens, at) > at {
            at = attribute_end(tokens, at);
        }
        at = item_end(tokens, at);
    }
    kept
}

/// End of the outer attribute at `at`; `at` itself when there is none.
pub(crate) fn attribute_end(tokens: &[Token], at: usize) -> usize {
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    if is(at, "#") && is(at + 1, "[") { matching(tokens, at + 1) } else { at }
}

fn is_for_tests(attribute: &[Token]) -> bool {
    let has = |text: &str| attribute.iter().any(|token| token.text == text);
    attribute.get(2).is_some_and(|token| token.text == "cfg") && has("test") && !has("not")
}

/// End of the item at `at`: its block, or its semicolon.
fn item_end(tokens: &[Token], at: usize) -> usize {
    let before_block = tokens[at..].iter().take_while(|token| token.text != "{" && token.text != ";");
    let is_use = before_block.take(5).any(|token| token.text == "use");
    let mut end = at;
    while let Some(token) = tokens.get(end) {
        match token.text.as_str() {
            ";" => return end + 1,
            "{" if !is_use => return matching(tokens, end),
            "(" | "[" | "{" => end = matching(tokens, end),
            _ => end += 1,
        }
    }
    end
}

/// One past the bracket that closes the one at `at`.
pub(crate) fn matching(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0_usize;
    for (end, token) in tokens.iter().enumerate().skip(at) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return end + 1;
        }
    }
    tokens.len()
}

#[test]
fn literals_comments_and_lifetimes_are_told_apart() {
    let text = r##"fn a<'x>(b: &'x str) { /* one /* two */ */ let c = ['"', '\'', '\u{7b}']; r#"crate::z"#; b"\"{" } // d"##;
    let source = read(text);
    let words: Vec<&str> = source.tokens.iter().map(|token| token.text.as_str()).collect();
    assert_eq!(words.join(" "), "fn a < x > ( b : & x str ) { let c = [ , , ] ; ; }");
    assert_eq!(source.comments.len(), 2);
    assert_eq!(source.comments[1].text, "d");
}

#[test]
fn test_items_are_set_aside_whatever_their_form() {
    let text = "#[cfg(test)] mod far; #[cfg(test)] #[x] mod tests { use a::{b}; } #[cfg(test)] use c::{d, e};
        #[cfg(not(test))] fn kept(f: [u8; 4]) {} #[cfg(any(test, y))] fn gone(f: [u8; 4]) -> u8 { 1 } fn last() {}";
    let words: Vec<String> = product(&read(text).tokens).into_iter().map(|token| token.text).collect();
    assert!(!words.iter().any(|text| ["mod", "use", "gone"].contains(&text.as_str())), "{words:?}");
    assert_eq!(words.iter().filter(|text| *text == "fn").count(), 2);
    assert!(words.contains(&"kept".to_owned()) && words.contains(&"last".to_owned()));
}
