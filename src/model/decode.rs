//! Decoding specs from JSON values so that *all* problems are reported at once, each with its pointer.
//!
//! A [`Reader`] walks one JSON object. Every accessor notes which member it consumed; [`Reader::finish`] reports the
//! rest as unknown, with the nearest known name as a suggestion. `netdefs/` files go through the same reader after
//! their TOML has been turned into JSON values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::secret::Secret;

/// One thing wrong with an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// RFC 6901 JSON pointer to the member.
    pub pointer: String,
    /// Stable code, such as `unknown-field`.
    pub code: &'static str,
    /// What is wrong and what would be right, for people.
    pub detail: String,
}

/// All problems found in one input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Adds one problem.
    pub fn add(&mut self, pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) {
        self.0.push(Problem { pointer: pointer.into(), code, detail: detail.into() });
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads the members of one JSON object.
#[derive(Debug)]
pub struct Reader<'a, 'p> {
    members: &'a Map<String, Value>,
    pointer: String,
    known: Vec<&'static str>,
    problems: &'p mut Problems,
    failed: bool,
}

impl<'a, 'p> Reader<'a, 'p> {
    /// Starts reading `value`, which must be an object.
    pub fn new(value: &'a Value, pointer: &str, problems: &'p mut Problems) -> Option<Self> {
        if let Value::Object(members) = value {
            Some(Self { members, pointer: pointer.to_owned(), known: Vec::new(), problems, failed: false })
        } else {
            problems.add(pointer, "validation-failed", format!("expected an object, got {}", kind_of(value)));
            None
        }
    }

    /// The raw member, unless absent or null.
    pub fn raw(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// Reports a problem with a member.
    pub fn problem(&mut self, name: &str, detail: impl Into<String>) {
        self.failed = true;
        let pointer = format!("{}/{}", self.pointer, escape(name));
        self.problems.add(pointer, "validation-failed", detail);
    }

    /// Pointer of a member.
    pub fn pointer(&self, name: &str) -> String {
        format!("{}/{}", self.pointer, escape(name))
    }

    /// The problem list, for nested readers.
    pub fn problems(&mut self) -> &mut Problems {
        self.problems
    }

    /// An optional member through `parse`, whose error text becomes the detail.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&'a Value) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.raw(name)?;
        match parse(value) {
            Ok(parsed) => Some(parsed),
            Err(detail) => {
                self.problem(name, detail);
                None
            }
        }
    }

    /// A required member; its absence is a problem.
    pub fn required<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&'a Value) -> Result<T, String>,
    ) -> Option<T> {
        if self.members.get(name).is_none_or(Value::is_null) {
            self.known.push(name);
            self.problem(name, "this member is required");
            return None;
        }
        self.optional(name, parse)
    }

    /// An optional list; each wrong item is a problem of its own.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        mut parse: impl FnMut(&'a Value) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(value) = self.raw(name) else {
            return Vec::new();
        };
        let Value::Array(items) = value else {
            self.problem(name, format!("expected a list, got {}", kind_of(value)));
            return Vec::new();
        };
        let mut parsed = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match parse(item) {
                Ok(item) => parsed.push(item),
                Err(detail) => {
                    self.failed = true;
                    let pointer = format!("{}/{}/{index}", self.pointer, escape(name));
                    self.problems.add(pointer, "validation-failed", detail);
                }
            }
        }
        parsed
    }

    /// Reports unknown members; `None` when anything at all was wrong.
    pub fn finish<T>(mut self, build: impl FnOnce() -> Option<T>) -> Option<T> {
        let unknown: Vec<&String> =
            self.members.keys().filter(|name| !self.known.contains(&name.as_str())).collect();
        for name in unknown {
            self.failed = true;
            let hint = nearest(name, &self.known).map_or_else(
                || format!("known members: {}", self.known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            let pointer = format!("{}/{}", self.pointer, escape(name));
            self.problems.add(pointer, "unknown-field", format!("unknown member `{name}`; {hint}"));
        }
        if self.failed { None } else { build() }
    }
}

/// RFC 6901 §3 escaping of one pointer segment.
pub fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The JSON type of a value, for messages.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The closest of `known` to `name`, when it is close enough to be a typing error.
pub fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|candidate| (edit_distance(name, candidate), *candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .map(|(_, candidate)| candidate)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().take(64).enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, right) in b.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or(usize::MAX);
            let before = row.get(j).copied().unwrap_or(usize::MAX);
            let cost = (diagonal + usize::from(left != *right)).min(above + 1).min(before + 1);
            if let Some(cell) = row.get_mut(j + 1) {
                *cell = cost;
            }
            diagonal = above;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

/// A string of at most 1,024 bytes without control characters.
pub fn text(value: &Value) -> Result<String, String> {
    let text = value.as_str().ok_or_else(|| format!("expected a string, got {}", kind_of(value)))?;
    if text.len() > 1024 {
        return Err("longer than 1,024 bytes".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("control characters are not allowed".to_owned());
    }
    Ok(text.to_owned())
}

/// A name of 1 to 64 letters, digits, `.`, `_` or `-`.
pub fn name(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    let valid = (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if valid {
        Ok(text)
    } else {
        Err(format!("`{text}` is not a name: 1 to 64 letters, digits, `.`, `_` or `-`"))
    }
}

/// A boolean.
pub fn boolean(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("expected true or false, got {}", kind_of(value)))
}

/// An unsigned number within `range`.
pub fn number(range: std::ops::RangeInclusive<u64>) -> impl Fn(&Value) -> Result<u64, String> {
    move |value| {
        value
            .as_u64()
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
    }
}

/// Anything that parses from its text form.
pub fn parsed<T>(value: &Value) -> Result<T, String>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text(value)?.parse().map_err(|error: T::Err| error.to_string())
}

/// An IPv4 address.
pub fn ipv4(value: &Value) -> Result<Ipv4Addr, String> {
    let text = text(value)?;
    text.parse().map_err(|_| format!("`{text}` is not an IPv4 address"))
}

/// An IPv6 address.
pub fn ipv6(value: &Value) -> Result<Ipv6Addr, String> {
    let text = text(value)?;
    text.parse().map_err(|_| format!("`{text}` is not an IPv6 address"))
}

/// An address of either family.
pub fn ip(value: &Value) -> Result<IpAddr, String> {
    let text = text(value)?;
    text.parse().map_err(|_| format!("`{text}` is not an IP address"))
}

/// One of a fixed set of words, each standing for a value.
pub fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Value) -> Result<T, String> {
    move |value| {
        let text = text(value)?;
        words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let hint =
                nearest(&text, &known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            format!("`{text}` is not one of: {}{hint}", known.join(", "))
        })
    }
}

/// Bytes as text: UTF-8 as it stands, anything else as `0x` followed by hexadecimal digits.
pub fn octets(value: &Value) -> Result<Vec<u8>, String> {
    let text = value.as_str().ok_or_else(|| format!("expected a string, got {}", kind_of(value)))?;
    if text.len() > 1024 {
        return Err("longer than 1,024 bytes".to_owned());
    }
    octets_from_text(text)
        .ok_or_else(|| "after 0x an even number of hexadecimal digits is expected".to_owned())
}

/// Reverses [`octets_to_text`].
pub fn octets_from_text(text: &str) -> Option<Vec<u8>> {
    let Some(digits) = text.strip_prefix("0x") else {
        return Some(text.as_bytes().to_vec());
    };
    if digits.len() % 2 != 0 || !digits.is_ascii() {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect()
}

/// Bytes as one readable, unambiguous text: printable ASCII as it stands, anything else as `0x…`.
pub fn octets_to_text(bytes: &[u8]) -> String {
    let printable = bytes.iter().all(|byte| (0x20..0x7f).contains(byte));
    if printable && !bytes.starts_with(b"0x") {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    bytes.iter().fold(String::from("0x"), |mut text, byte| {
        use std::fmt::Write;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A secret member: written as a string, read back only as `{"set": true}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SecretField {
    /// No secret.
    #[default]
    Absent,
    /// Keep what is stored: the writer sent back what it had read.
    Keep,
    /// This secret.
    Set(Secret),
}

impl SecretField {
    /// The secret, if one is set.
    pub fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Set(secret) => Some(secret),
            Self::Absent | Self::Keep => None,
        }
    }

    /// Whether no secret is set or kept.
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Decodes the member.
    pub fn decode(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(secret) if secret.is_empty() => Err("an empty secret protects nothing".to_owned()),
            Value::String(secret) if secret.len() > 128 => Err("longer than 128 bytes".to_owned()),
            Value::String(secret) => Ok(Self::Set(Secret::new(secret.as_bytes()))),
            Value::Object(members) if members.get("set") == Some(&Value::Bool(true)) => Ok(Self::Keep),
            _ => Err("expected a string, or {\"set\": true} to keep what is stored".to_owned()),
        }
    }
}

impl Serialize for SecretField {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        if self.is_absent() {
            return serializer.serialize_none();
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("set", &true)?;
        map.end()
    }
}

impl<'de> serde::Deserialize<'de> for SecretField {
    /// Stored specs say only whether a secret is set; the secret itself is sealed beside them.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Marker {
            set: bool,
        }
        let marker = Option::<Marker>::deserialize(deserializer)?;
        Ok(if marker.is_some_and(|marker| marker.set) { Self::Keep } else { Self::Absent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_of_an_object_is_reported_with_its_pointer() {
        let value = serde_json::json!({"nmae": "x", "count": 99, "items": ["10.0.0.1", "nonsense"]});
        let mut problems = Problems::default();
        let mut reader = Reader::new(&value, "/spec", &mut problems).unwrap();
        let _ = reader.required("name", name);
        let _ = reader.optional("count", number(0..=10));
        let _ = reader.list("items", ipv4);
        assert_eq!(reader.finish(|| Some(())), None);
        let pointers: Vec<&str> = problems.0.iter().map(|problem| problem.pointer.as_str()).collect();
        assert_eq!(pointers, ["/spec/name", "/spec/count", "/spec/items/1", "/spec/nmae"]);
        assert!(problems.0[3].detail.contains("did you mean `name`?"));
    }

    #[test]
    fn octets_have_one_readable_text_form() {
        for bytes in [&b"ge-1/0/1.0:43"[..], b"\x00\x06\x04\xb1", b"0x12", b""] {
            assert_eq!(octets_from_text(&octets_to_text(bytes)).as_deref(), Some(bytes));
        }
        assert_eq!(octets_to_text(b"\x00\x2a"), "0x002a");
        assert_eq!(octets_from_text("0x123"), None);
    }

    #[test]
    fn a_secret_member_is_never_serialized() {
        let field = SecretField::decode(&serde_json::json!("hunter2")).unwrap();
        assert_eq!(serde_json::to_string(&field).unwrap(), r#"{"set":true}"#);
        assert!(!format!("{field:?}").contains("hunter2"));
    }
}
