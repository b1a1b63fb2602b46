//! What must not be written, and the one form in which RFCs are cited.

use super::source::Comment;

/// Words of unfinished work that a comment may not hold.
const LEFTOVERS: [&str; 4] = ["TODO", "FIXME", "XXX", "HACK"];

/// Beginnings of paths that exist on one machine only, and hosts that the project must not depend on. Each is
/// split, so that this file does not hold it.
const PLACES: [&str; 8] = [
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!("crates", ".io"),
    concat!("ghcr", ".io"),
    concat!("docker", ".io"),
    concat!("static.", "rust-lang.org"),
];

/// Comment lines that name unfinished work.
pub(crate) fn leftovers(comments: &[Comment]) -> Vec<(usize, String)> {
    let words = |text: &str| -> Option<&str> {
        let mut words = text.split(|c: char| !c.is_alphanumeric());
        words.find_map(|word| LEFTOVERS.into_iter().find(|leftover| *leftover == word))
    };
    let found = comments.iter().filter_map(|comment| Some((comment.line, words(&comment.text)?)));
    found
        .map(|(line, word)| (line, format!("{word}: finish it, or say in a sentence what is missing")))
        .collect()
}

/// Lines that name a place of one machine, or a registry.
pub(crate) fn places(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let named = PLACES.into_iter().find(|place| text.contains(place));
        found.extend(named.map(|place| (line, format!("{place}: a place outside the project"))));
    }
    found
}

/// Comment lines joined to paragraphs, because a citation may be wrapped.
pub(crate) fn paragraphs(comments: &[Comment]) -> Vec<Comment> {
    let mut paragraphs: Vec<Comment> = Vec::new();
    let mut next_line = 0;
    for comment in comments {
        match paragraphs.last_mut() {
            Some(last) if comment.line == next_line && !comment.text.is_empty() && !last.text.is_empty() => {
                last.text.push(' ');
                last.text.push_str(&comment.text);
            }
            _ => paragraphs.push(comment.clone()),
        }
        next_line = comment.line + 1;
    }
    paragraphs
}

/// Lines of a document as comments, so that its paragraphs can be read the same way.
pub(crate) fn document(text: &str) -> Vec<Comment> {
    let unmarked = |text: &str| text.trim().trim_start_matches('#').trim().to_owned();
    (1..).zip(text.lines()).map(|(line, text)| Comment { text: unmarked(text), line }).collect()
}

/// What is wrong with the citations of a paragraph; the form is `RFC 2131 §4.3.2`.
pub(crate) fn citation(text: &str) -> Option<&'static str> {
    let after = |at: usize| text[at..].chars().next();
    for (at, _) in text.match_indices("RFC") {
        let rest = &text[at + 3..];
        if rest.starts_with(|c: char| c.is_ascii_digit())
            || (rest.starts_with(['-', '_']) && rest[1..].starts_with(|c: char| c.is_ascii_digit()))
        {
            return Some("a space belongs between RFC and its number");
        }
        let number = rest.trim_start();
        let beyond = number.trim_start_matches(|c: char| c.is_ascii_digit());
        let beyond = beyond.trim_start_matches(',').trim_start();
        if number.len() > beyond.len()
            && ["section", "Section", "sec."].iter().any(|word| beyond.starts_with(word))
        {
            return Some("a section is written §, without a comma");
        }
    }
    for (at, _) in text.match_indices('§') {
        if !after(at + '§'.len_utf8()).is_some_and(|c| c.is_ascii_digit() || c.is_ascii_uppercase()) {
            return Some("the section's number belongs directly behind §");
        }
        if text[..at].ends_with(", ") && is_rfc_number(text[..at].trim_end_matches(", ")) {
            return Some("no comma belongs between an RFC's number and §");
        }
        if !text[..at].contains("RFC ") {
            return Some("§ of which RFC? the paragraph does not say");
        }
    }
    let sections = text.match_indices("ection ").filter(|(at, word)| {
        let number = &text[at + word.len()..];
        let beyond = number.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        number.len() > beyond.len() && beyond.trim_start().starts_with("of RFC")
    });
    sections.map(|_| "a section is written behind its RFC: RFC 2131 §4.3.2").next()
}

/// Whether a text ends in `RFC nnnn`.
fn is_rfc_number(text: &str) -> bool {
    let number = text.trim_end_matches(|c: char| c.is_ascii_digit());
    number.len() < text.len() && number.ends_with("RFC ")
}

#[test]
fn citations_have_one_form() {
    for fine in [
        "see RFC 2131 §4.3.2, §4.4 and RFC 3046 §2.1",
        "RFC 8415 §A, RFCs, an RFC's section and an RFC",
        "vectors/rfc2131.txt",
        "section 3 of the house rules",
    ] {
        assert_eq!(citation(fine), None, "{fine}");
    }
    for bad in [
        concat!("RFC", "2131 §4"),
        concat!("RFC", "-2131"),
        "RFC 2131 section 4",
        "RFC 2131, section 4",
        "RFC 2131, §4",
        "RFC 2131 § 4",
        "see §4.3",
        "Section 4.3 of RFC 2131",
    ] {
        assert!(citation(bad).is_some(), "{bad}");
    }
}

#[test]
fn a_wrapped_citation_is_one_paragraph() {
    let comments = super::source::read("//! so says (RFC 5080\n//! §2.2.2).\n\n// another\n").comments;
    let paragraphs: Vec<String> = paragraphs(&comments).into_iter().map(|comment| comment.text).collect();
    assert_eq!(paragraphs, ["so says (RFC 5080 §2.2.2).", "another"]);
}

#[test]
fn leftovers_are_words_in_comments() {
    let comments = super::source::read("// A TODO here\n// PXXX is not one\nlet todo = \"FIXME\";").comments;
    assert_eq!(leftovers(&comments).into_iter().map(|(line, _)| line).collect::<Vec<_>>(), [1]);
}
