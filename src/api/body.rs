//! Request bodies: JSON whose size and depth are known before anything is parsed.
//!
//! A parser that recurses over what a stranger sent can be made to overflow its stack. The depth is therefore counted
//! first, by a scan that neither recurses nor allocates.

use serde_json::Value;

use super::problem::Failure;
use crate::limits::API_JSON_DEPTH_MAX;

/// Counts brackets outside strings; false when they are nested deeper than allowed.
pub fn depth_is_allowed(bytes: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > API_JSON_DEPTH_MAX {
                    return false;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// Refuses a body that is nested too deep.
pub fn check_depth(bytes: &[u8]) -> Result<(), Failure> {
    if depth_is_allowed(bytes) {
        return Ok(());
    }
    Err(Failure::MalformedJson(format!("nested deeper than {API_JSON_DEPTH_MAX} levels")))
}

/// Parses a body of allowed depth.
pub fn parse(bytes: &[u8]) -> Result<Value, Failure> {
    check_depth(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| {
        // The parser's own text may quote the input, which may hold a secret; its position does not.
        let (line, column) = (error.line(), error.column());
        Failure::MalformedJson(match error.classify() {
            serde_json::error::Category::Eof if bytes.is_empty() => "the body is empty".to_owned(),
            serde_json::error::Category::Eof => format!("it ends too early, at line {line} column {column}"),
            _ => format!("line {line} column {column}"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_but_not_those_in_strings() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(depth_is_allowed(deep(API_JSON_DEPTH_MAX).as_bytes()));
        assert!(!depth_is_allowed(deep(API_JSON_DEPTH_MAX + 1).as_bytes()));
        assert!(!depth_is_allowed("[".repeat(200_000).as_bytes()));
        assert!(depth_is_allowed(format!("{{\"a\": \"{}\"}}", "[".repeat(100)).as_bytes()));
        assert!(depth_is_allowed(format!("\"\\\"{}\"", "{".repeat(100)).as_bytes()));
        assert!(!depth_is_allowed(format!("\"\\\\\"{}", "{".repeat(100)).as_bytes()));
    }

    #[test]
    fn a_malformed_body_is_located_and_not_quoted() {
        let failure = parse(b"{\"secret\": hunter22}").unwrap_err();
        let text = failure.to_string();
        assert!(text.contains("line 1 column"), "{text}");
        assert!(!text.contains("hunter22"), "{text}");
        assert!(parse(b"").unwrap_err().to_string().contains("empty"));
        assert!(parse(&[0xff, 0xfe]).is_err());
    }
}
