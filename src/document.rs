//! A TOML text as JSON values that remember where they stood.
//!
//! The configuration and the definitions of `netdefs/` are written by people, so every complaint about them names
//! file, line and column. [`Document::parse`] turns the text into the same JSON values that the API receives and keeps
//! a table from JSON pointer (RFC 6901) to [`Place`]. It reads from memory only and judges nothing but the syntax.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

use crate::model::decode::escape;

/// Where something stands in a text file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// File as the reader knows it.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1; 0 when the whole line is meant.
    pub column: u32,
}

impl Place {
    /// A whole line.
    pub fn line(file: &Arc<str>, line: u32) -> Self {
        Self { file: Arc::clone(file), line, column: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A parsed TOML text.
pub struct Document {
    file: Arc<str>,
    /// The content; always an object.
    pub value: Value,
    /// Syntax errors; the content is what could still be read.
    pub errors: Vec<(Place, String)>,
    places: BTreeMap<String, Place>,
}

impl fmt::Debug for Document {
    /// The name only: the content may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Document").field(&self.file).finish()
    }
}

impl Document {
    /// Parses `text`; `file` is only a name for messages.
    pub fn parse(file: &str, text: &str) -> Self {
        let file: Arc<str> = Arc::from(file);
        let lines = Lines::new(&file, text);
        let (table, errors) = DeTable::parse_recoverable(text);
        let errors = errors
            .iter()
            .map(|error| {
                let at = error.span().map_or(0, |span| span.start);
                (lines.place(at), error.message().to_owned())
            })
            .collect();
        let mut places = BTreeMap::new();
        let value = object(table.get_ref(), "", &lines, &mut places);
        Self { file, value, errors, places }
    }

    /// Where the member at `pointer` stands, or the nearest member around it.
    pub fn place(&self, pointer: &str) -> Place {
        let mut around = pointer;
        loop {
            if let Some(place) = self.places.get(around) {
                return place.clone();
            }
            match around.rsplit_once('/') {
                Some((parent, _)) => around = parent,
                None => {
                    return Place { file: Arc::clone(&self.file), line: 1, column: 1 };
                }
            }
        }
    }
}

fn object(
    table: &DeTable<'_>,
    pointer: &str,
    lines: &Lines<'_>,
    places: &mut BTreeMap<String, Place>,
) -> Value {
    let mut members = Map::new();
    for (key, value) in table {
        let name = key.get_ref();
        let pointer = format!("{pointer}/{}", escape(name));
        places.insert(pointer.clone(), lines.place(key.span().start));
        members.insert(name.clone().into_owned(), convert(value.get_ref(), &pointer, lines, places));
    }
    Value::Object(members)
}

/// Numbers and dates that JSON lacks become texts: no spec member is one, so its reader complains with the right place.
fn convert(
    value: &DeValue<'_>,
    pointer: &str,
    lines: &Lines<'_>,
    places: &mut BTreeMap<String, Place>,
) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Integer(integer) => {
            let (digits, radix) = (integer.as_str(), integer.radix());
            u64::from_str_radix(digits, radix)
                .map(Number::from)
                .or_else(|_| i64::from_str_radix(digits, radix).map(Number::from))
                .map_or_else(|_| Value::String(digits.to_owned()), Value::Number)
        }
        DeValue::Float(float) => float
            .as_str()
            .parse()
            .ok()
            .and_then(Number::from_f64)
            .map_or_else(|| Value::String(float.as_str().to_owned()), Value::Number),
        DeValue::Datetime(date) => Value::String(date.to_string()),
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .enumerate()
                .map(|(index, item)| {
                    let pointer = format!("{pointer}/{index}");
                    places.insert(pointer.clone(), lines.place(item.span().start));
                    convert(item.get_ref(), &pointer, lines, places)
                })
                .collect(),
        ),
        DeValue::Table(table) => object(table, pointer, lines, places),
    }
}

/// Byte offsets to lines and columns.
struct Lines<'a> {
    file: &'a Arc<str>,
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(file: &'a Arc<str>, text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Self { file, text, starts }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or("");
        Place {
            file: Arc::clone(self.file),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(before.chars().count()).unwrap_or(u32::MAX).saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_remembers_its_line_and_column() {
        let text = "[a]\nname = \"ąę\"\n  list = [\n  1, 2]\n[a.\"x/y\"]\nz = { q = 0x1f }\n";
        let document = Document::parse("f.toml", text);
        assert!(document.errors.is_empty());
        let at = |pointer| document.place(pointer).to_string();
        assert_eq!(at("/a"), "f.toml:1:2");
        assert_eq!(at("/a/name"), "f.toml:2:1");
        assert_eq!(at("/a/list"), "f.toml:3:3");
        assert_eq!(at("/a/list/1"), "f.toml:4:6");
        assert_eq!(at("/a/x~1y/z/q"), "f.toml:6:7");
        assert_eq!(at("/a/x~1y/z/absent"), "f.toml:6:1");
        assert_eq!(document.value.pointer("/a/x~1y/z/q"), Some(&Value::from(31)));
    }

    #[test]
    fn syntax_errors_and_repeated_keys_are_placed() {
        let document = Document::parse("f.toml", "a = 1\na = 2\nb = \n");
        let places: Vec<String> = document.errors.iter().map(|(place, _)| place.to_string()).collect();
        assert_eq!(places.len(), 2, "{:?}", document.errors);
        assert!(places.iter().any(|place| place.starts_with("f.toml:2:")));
        assert!(places.iter().any(|place| place.starts_with("f.toml:3:")));
    }
}
