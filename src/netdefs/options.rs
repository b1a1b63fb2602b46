//! DHCPv4 options by code: what a value must look like and how it is shown.
//!
//! The codec treats options as bytes. This table, read from `netdefs/dhcp/options4.toml`, serves people: it renders what
//! was sent ([`OptionTable::render4`]) and refuses values that no client could read before they are written into a
//! network ([`OptionTable::check4`]). Options in several pieces are joined before they come here (RFC 3396 §7). Both
//! functions are total on any bytes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::option_values::{addresses, bytes, client_id, domains, listed, pieces, routes};
use super::{NetdefsError, NetdefsProblem};
use crate::document::Document;
use crate::model::decode::{Problems, Reader, text, word};

/// Data types of options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionType {
    /// One address.
    Ipv4,
    /// One or more addresses.
    Ipv4List,
    /// One or more pairs of addresses.
    Ipv4Pairs,
    /// 1 byte, unsigned.
    U8,
    /// 2 bytes, unsigned.
    U16,
    /// 4 bytes, unsigned.
    U32,
    /// 4 bytes, signed.
    I32,
    /// One or more of 2 bytes, unsigned.
    U16List,
    /// 0 or 1.
    Flag,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
    /// No value.
    Empty,
    /// Option codes.
    Codes,
    /// Type byte and identifier (RFC 2132 §9.14).
    ClientId,
    /// Compressed domain names (RFC 3397 §2).
    DomainList,
    /// Classless routes (RFC 3442).
    Routes,
    /// Sub-options of code, length, value.
    Encapsulated,
    /// Never shown.
    Secret,
}

const TYPES: &[(&str, OptionType)] = &[
    ("ipv4", OptionType::Ipv4),
    ("ipv4-list", OptionType::Ipv4List),
    ("ipv4-pairs", OptionType::Ipv4Pairs),
    ("u8", OptionType::U8),
    ("u16", OptionType::U16),
    ("u32", OptionType::U32),
    ("i32", OptionType::I32),
    ("u16-list", OptionType::U16List),
    ("flag", OptionType::Flag),
    ("text", OptionType::Text),
    ("bytes", OptionType::Bytes),
    ("empty", OptionType::Empty),
    ("codes", OptionType::Codes),
    ("client-id", OptionType::ClientId),
    ("domain-list", OptionType::DomainList),
    ("routes", OptionType::Routes),
    ("encapsulated", OptionType::Encapsulated),
    ("secret", OptionType::Secret),
];

/// One option or sub-option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionDefinition {
    /// Its name in the registry.
    pub name: String,
    /// Its data type.
    pub data: OptionType,
    /// The document that defines it.
    pub defined: String,
    /// Names of its values.
    pub values: BTreeMap<u8, String>,
    /// Its sub-options by code.
    pub inside: BTreeMap<u8, OptionDefinition>,
}

/// The options that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptionTable(BTreeMap<u8, OptionDefinition>);

impl OptionTable {
    /// Reads the table; `file` is only a name for messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, NetdefsError> {
        let document = Document::parse(file, text);
        let mut found: Vec<NetdefsProblem> = document
            .errors
            .iter()
            .map(|(place, detail)| NetdefsProblem { place: place.clone(), detail: detail.clone() })
            .collect();
        let mut problems = Problems::default();
        let mut options = BTreeMap::new();
        for (key, value) in document.value.as_object().into_iter().flatten() {
            let pointer = format!("/{}", crate::model::decode::escape(key));
            match code(key) {
                Some(code) => {
                    options.extend(definition(value, &pointer, &mut problems).map(|option| (code, option)));
                }
                None => problems.add(
                    pointer,
                    "validation-failed",
                    format!("`{key}` is not an option code from 1 to 254"),
                ),
            }
        }
        found.extend(problems.0.iter().map(|problem| NetdefsProblem {
            place: document.place(&problem.pointer),
            detail: problem.detail.clone(),
        }));
        if found.is_empty() { Ok(Self(options)) } else { Err(NetdefsError::Wrong(found)) }
    }

    /// The option with this code.
    pub fn option(&self, code: u8) -> Option<&OptionDefinition> {
        self.0.get(&code)
    }

    /// Every option, by code.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &OptionDefinition)> {
        self.0.iter().map(|(code, option)| (*code, option))
    }

    /// The value of an option as text; one that is unknown or does not fit its type as `0x…` or as printable text.
    pub fn render4(&self, code: u8, value: &[u8]) -> String {
        self.shown(self.option(code), value)
    }

    /// The option as `Name = value`; an unknown one as `Option <code> = …`.
    pub fn describe4(&self, code: u8, value: &[u8]) -> String {
        pair("Option", code, self.option(code), &self.render4(code, value))
    }

    /// Whether a client could read this value; the error says what would be right. Unknown options may hold anything.
    pub fn check4(&self, code: u8, value: &[u8]) -> Result<(), String> {
        let Some(option) = self.option(code) else {
            return Ok(());
        };
        let fits = match option.data {
            OptionType::Bytes | OptionType::Secret => !value.is_empty(),
            OptionType::Text => !value.is_empty() && !value.contains(&0),
            OptionType::Encapsulated => pieces(value).1.is_empty(),
            _ => self.typed(option, value).is_some(),
        };
        if fits {
            Ok(())
        } else {
            let expected = expected(option.data);
            Err(format!(
                "option {code} ({}) is {expected} ({}), got a value of length {}",
                option.name,
                option.defined,
                value.len()
            ))
        }
    }

    fn shown(&self, option: Option<&OptionDefinition>, value: &[u8]) -> String {
        option.and_then(|option| self.typed(option, value)).unwrap_or_else(|| bytes(value))
    }

    /// `None` when the value does not fit the type.
    fn typed(&self, option: &OptionDefinition, value: &[u8]) -> Option<String> {
        match option.data {
            OptionType::Ipv4 => (value.len() == 4).then(|| addresses(value)).flatten(),
            OptionType::Ipv4List => addresses(value),
            OptionType::Ipv4Pairs => value.len().is_multiple_of(8).then(|| addresses(value)).flatten(),
            OptionType::U8 => match value {
                [number] => Some(option.values.get(number).cloned().unwrap_or_else(|| number.to_string())),
                _ => None,
            },
            OptionType::U16 => Some(u16::from_be_bytes(value.try_into().ok()?).to_string()),
            OptionType::U32 => Some(u32::from_be_bytes(value.try_into().ok()?).to_string()),
            OptionType::I32 => Some(i32::from_be_bytes(value.try_into().ok()?).to_string()),
            OptionType::U16List => {
                let (numbers, []) = value.as_chunks::<2>() else {
                    return None;
                };
                let numbers = numbers.iter().map(|number| u16::from_be_bytes(*number).to_string());
                listed(numbers)
            }
            OptionType::Flag => match value {
                [0] => Some("off".to_owned()),
                [1] => Some("on".to_owned()),
                _ => None,
            },
            OptionType::Text => {
                // Many clients end their texts with NULs, which receivers delete (RFC 2132 §2).
                let text = std::str::from_utf8(value).ok()?.trim_end_matches('\0');
                let shown = !text.is_empty() && !text.chars().any(char::is_control);
                shown.then(|| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
            }
            OptionType::Bytes => Some(bytes(value)),
            OptionType::Empty => value.is_empty().then(|| "present".to_owned()),
            OptionType::Codes => listed(value.iter().map(|code| match self.option(*code) {
                Some(option) => format!("{code} {}", option.name),
                None => code.to_string(),
            })),
            OptionType::ClientId => client_id(value),
            OptionType::DomainList => listed(domains(value)?.into_iter()),
            OptionType::Routes => listed(routes(value)?.into_iter()),
            OptionType::Encapsulated => Some(self.encapsulated(option, value)),
            OptionType::Secret => Some("<secret>".to_owned()),
        }
    }

    fn encapsulated(&self, option: &OptionDefinition, value: &[u8]) -> String {
        let (inside, rest) = pieces(value);
        let mut shown: Vec<String> = inside
            .into_iter()
            .map(|(code, value)| {
                let definition = option.inside.get(&code);
                pair("Sub-option", code, definition, &self.shown(definition, value))
            })
            .collect();
        if !rest.is_empty() {
            shown.push(format!("<malformed, {} bytes>", rest.len()));
        }
        format!("{{ {} }}", shown.join(", "))
    }
}

fn code(key: &str) -> Option<u8> {
    key.parse().ok().filter(|code| (1..=254).contains(code))
}

/// One table; members whose name is a number are its sub-options.
fn definition(value: &Value, pointer: &str, problems: &mut Problems) -> Option<OptionDefinition> {
    let mut own = value.clone();
    let mut inside = BTreeMap::new();
    let mut values = BTreeMap::new();
    if let Value::Object(members) = &mut own {
        if let Some(Value::Object(names)) = members.remove("values") {
            for (number, name) in names {
                match (number.parse::<u8>(), text(&name)) {
                    (Ok(number), Ok(name)) => {
                        values.insert(number, name);
                    }
                    _ => problems.add(
                        format!("{pointer}/values/{number}"),
                        "validation-failed",
                        "expected a number from 0 to 255 and its name",
                    ),
                }
            }
        }
        let codes: Vec<(u8, String)> =
            members.keys().filter_map(|key| Some((code(key)?, key.clone()))).collect();
        for (code, key) in codes {
            let pointer = format!("{pointer}/{key}");
            let member = members.remove(&key).unwrap_or_default();
            // Registries nest one level deep; a deeper table is reported as an unknown member.
            if pointer.matches('/').count() > 2 {
                problems.add(pointer, "unknown-field", "sub-options have no sub-options");
            } else {
                inside.extend(definition(&member, &pointer, problems).map(|option| (code, option)));
            }
        }
    }
    let mut reader = Reader::new(&own, pointer, problems)?;
    let name = reader.required("name", text);
    let data = reader.required("type", word(TYPES));
    let defined = reader.required("defined", text);
    reader.finish(|| Some(OptionDefinition { name: name?, data: data?, defined: defined?, values, inside }))
}

fn pair(what: &str, code: u8, option: Option<&OptionDefinition>, value: &str) -> String {
    match option {
        Some(option) => format!("{} = {value}", option.name),
        None => format!("{what} {code} = {value}"),
    }
}

fn expected(data: OptionType) -> &'static str {
    match data {
        OptionType::Ipv4 => "one IPv4 address: 4 bytes",
        OptionType::Ipv4List => "a list of IPv4 addresses: 4 bytes each",
        OptionType::Ipv4Pairs => "a list of pairs of IPv4 addresses: 8 bytes each",
        OptionType::U8 => "a number of 1 byte",
        OptionType::U16 => "a number of 2 bytes",
        OptionType::U32 | OptionType::I32 => "a number of 4 bytes",
        OptionType::U16List => "a list of numbers: 2 bytes each",
        OptionType::Flag => "0x00 or 0x01",
        OptionType::Text => "text without NUL",
        OptionType::Bytes | OptionType::Secret => "at least 1 byte",
        OptionType::Empty => "an option without value",
        OptionType::Codes => "a list of option codes: 1 byte each",
        OptionType::ClientId => "a type byte and an identifier",
        OptionType::DomainList => "a list of domain names in DNS wire form",
        OptionType::Routes => "a list of routes: length, destination, next hop",
        OptionType::Encapsulated => "a list of sub-options: code, length, value",
    }
}
