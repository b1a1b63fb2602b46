//! The text format of RADIUS dictionaries, as FreeRADIUS and others write it.
//!
//! One definition per line: `ATTRIBUTE name number type [flags]`, `VALUE attribute name number`,
//! `VENDOR name id [format=t,l]`, and the blocks `BEGIN-VENDOR`/`END-VENDOR` and `BEGIN-TLV`/`END-TLV`. Values and members
//! of TLVs may be defined in another file than what they belong to, so both are checked after the last file. Includes are
//! refused: every file of the directory is read anyway.

use std::sync::Arc;

use super::dictionary::{Attribute, Dictionary, Flags, Hiding, Number, Type, Vendor};
use super::{NetdefsError, NetdefsProblem, SourceFile};
use crate::document::Place;
use crate::model::decode::nearest;

const TYPES: &[(&str, Type)] = &[
    ("string", Type::Text),
    ("text", Type::Text),
    ("octets", Type::Octets),
    ("ipaddr", Type::Ipv4Address),
    ("ipv4prefix", Type::Ipv4Prefix),
    ("ipv6addr", Type::Ipv6Address),
    ("ipv6prefix", Type::Ipv6Prefix),
    ("ifid", Type::InterfaceId),
    ("byte", Type::Byte),
    ("short", Type::Short),
    ("integer", Type::Integer),
    ("integer64", Type::Integer64),
    ("signed", Type::Signed),
    ("date", Type::Date),
    ("ether", Type::Ether),
    ("tlv", Type::Tlv),
    ("extended", Type::Extended),
    ("long-extended", Type::LongExtended),
    ("vsa", Type::Vendor),
];

const KEYWORDS: [&str; 7] =
    ["ATTRIBUTE", "VALUE", "VENDOR", "BEGIN-VENDOR", "END-VENDOR", "BEGIN-TLV", "END-TLV"];

/// Reads all files into one dictionary.
pub(super) fn read(files: &[SourceFile]) -> Result<Dictionary, NetdefsError> {
    let mut reader = Reader::default();
    for file in files {
        reader.file(file);
    }
    for (attribute, name, value, place) in std::mem::take(&mut reader.values) {
        if let Err(detail) = reader.dictionary.add_value(&attribute, &name, value, &place) {
            reader.problem(&place, detail);
        }
    }
    reader.check_parents();
    if reader.problems.is_empty() { Ok(reader.dictionary) } else { Err(NetdefsError::Wrong(reader.problems)) }
}

#[derive(Default)]
struct Reader {
    dictionary: Dictionary,
    values: Vec<(String, String, u64, Place)>,
    problems: Vec<NetdefsProblem>,
}

/// What `BEGIN-…` lines have opened.
enum Block {
    Vendor(u32, Place),
    Tlv(Number, Place),
}

impl Reader {
    fn problem(&mut self, place: &Place, detail: impl Into<String>) {
        self.problems.push(NetdefsProblem { place: place.clone(), detail: detail.into() });
    }

    fn file(&mut self, file: &SourceFile) {
        let name: Arc<str> = Arc::from(file.name.as_str());
        let mut blocks: Vec<Block> = Vec::new();
        for (index, line) in file.text.lines().enumerate() {
            let place = Place::line(&name, u32::try_from(index + 1).unwrap_or(u32::MAX));
            let words: Vec<&str> = line.split('#').next().unwrap_or("").split_ascii_whitespace().collect();
            if let Err(detail) = self.definition(&words, &place, &mut blocks) {
                self.problem(&place, detail);
            }
        }
        for block in blocks {
            let (Block::Vendor(_, place) | Block::Tlv(_, place)) = block;
            self.problem(&place, "this block is not closed before the end of the file");
        }
    }

    fn definition(&mut self, words: &[&str], place: &Place, blocks: &mut Vec<Block>) -> Result<(), String> {
        match words {
            [] => Ok(()),
            ["ATTRIBUTE", name, number, data, flags @ ..] => {
                let number = oid(number, blocks)?;
                self.check_width(number)?;
                self.dictionary.add_attribute(Attribute {
                    name: (*name).to_owned(),
                    number,
                    data: data_type(data)?,
                    flags: parse_flags(flags)?,
                    place: place.clone(),
                })
            }
            ["VALUE", attribute, name, value] => {
                let value = integer(value).ok_or_else(|| format!("`{value}` is not a number"))?;
                let (attribute, name) = ((*attribute).to_owned(), (*name).to_owned());
                self.values.push((attribute, name, value, place.clone()));
                Ok(())
            }
            ["VENDOR", name, id, format @ ..] => {
                let (type_bytes, length_bytes) = widths(format)?;
                self.dictionary.add_vendor(Vendor {
                    name: (*name).to_owned(),
                    id: integer(id)
                        .and_then(|id| u32::try_from(id).ok())
                        .filter(|id| *id != 0)
                        .ok_or_else(|| format!("`{id}` is not a vendor number"))?,
                    type_bytes,
                    length_bytes,
                    place: place.clone(),
                })
            }
            [keyword @ ("BEGIN-VENDOR" | "END-VENDOR" | "BEGIN-TLV" | "END-TLV"), name] => {
                self.block(keyword, name, place, blocks)
            }
            ["$INCLUDE" | "$INCLUDE-", ..] => {
                Err("files are not included by name: every *.dict file of the directory is read".to_owned())
            }
            [keyword, ..] if KEYWORDS.contains(keyword) => {
                Err(format!("{keyword} lacks a field, or has one too many"))
            }
            [other, ..] => {
                let hint = nearest(&other.to_ascii_uppercase(), &KEYWORDS)
                    .map(|near| format!("; did you mean {near}?"))
                    .unwrap_or_default();
                Err(format!("unknown keyword `{other}`{hint}"))
            }
        }
    }

    /// Opens or closes a block.
    fn block(&self, keyword: &str, name: &str, place: &Place, blocks: &mut Vec<Block>) -> Result<(), String> {
        let vendor = self.dictionary.vendor_named(name).map(|vendor| vendor.id);
        let attribute = self.dictionary.named(name);
        match keyword {
            "BEGIN-VENDOR" => {
                let vendor = vendor.ok_or_else(|| {
                    format!("vendor {name} is not defined above; begin with VENDOR {name} <number>")
                })?;
                blocks.push(Block::Vendor(vendor, place.clone()));
                Ok(())
            }
            "BEGIN-TLV" => {
                let tlv = attribute
                    .filter(|attribute| attribute.data == Type::Tlv)
                    .ok_or_else(|| format!("attribute {name} is not a tlv defined above"))?;
                blocks.push(Block::Tlv(tlv.number, place.clone()));
                Ok(())
            }
            _ => {
                let closes = match blocks.pop() {
                    Some(Block::Vendor(open, _)) => keyword == "END-VENDOR" && Some(open) == vendor,
                    Some(Block::Tlv(open, _)) => {
                        keyword == "END-TLV" && Some(open) == attribute.map(|attribute| attribute.number)
                    }
                    None => false,
                };
                if closes {
                    Ok(())
                } else {
                    Err(format!("{keyword} {name} closes no block that is open here"))
                }
            }
        }
    }

    /// Types must fit the vendor's type field.
    fn check_width(&self, number: Number) -> Result<(), String> {
        let bytes = self.dictionary.vendor(number.vendor).map_or(1, |vendor| vendor.type_bytes);
        let largest = match bytes {
            1 => u32::from(u8::MAX),
            2 => u32::from(u16::MAX),
            _ => u32::MAX,
        };
        if (1..=largest).contains(&number.kind) {
            Ok(())
        } else {
            Err(format!("type {} is out of range 1 to {largest}", number.kind))
        }
    }

    /// What stands inside a TLV or an extended attribute needs one around it.
    fn check_parents(&mut self) {
        let orphans: Vec<(Place, String)> = self
            .dictionary
            .attributes()
            .iter()
            .filter_map(|attribute| {
                let parent = attribute.number.parent()?;
                let around = self.dictionary.numbered(parent).map(|parent| parent.data);
                let fits = matches!(around, Some(Type::Tlv | Type::Extended | Type::LongExtended));
                let detail = format!(
                    "{} ({}) stands inside {parent}, which is no tlv or extended attribute",
                    attribute.name, attribute.number
                );
                (!fits).then(|| (attribute.place.clone(), detail))
            })
            .collect();
        for (place, detail) in orphans {
            self.problem(&place, detail);
        }
    }
}

/// `8`, `0x08` or `241.5.1`, inside whatever block is open.
fn oid(text: &str, blocks: &[Block]) -> Result<Number, String> {
    let wrong = || format!("`{text}` is not an attribute number");
    let mut parts = text.split('.').map(|part| integer(part).ok_or_else(wrong));
    let mut number = match blocks.last() {
        Some(Block::Tlv(number, _)) => *number,
        block => {
            let vendor = match block {
                Some(Block::Vendor(vendor, _)) => *vendor,
                _ => 0,
            };
            let kind = parts.next().ok_or_else(wrong)??;
            Number::new(vendor, u32::try_from(kind).map_err(|_| wrong())?)
        }
    };
    for part in parts {
        let kind = u8::try_from(part?).map_err(|_| wrong())?;
        number =
            number.member(kind).ok_or_else(|| format!("`{text}` is nested too deep, or has a 0 in it"))?;
    }
    Ok(number)
}

/// A length in brackets, as in `octets[16]`, is accepted; values of another length are shown as bytes anyway.
fn data_type(word: &str) -> Result<Type, String> {
    let name = word.split('[').next().unwrap_or(word);
    TYPES.iter().find(|(known, _)| *known == name).map(|(_, data)| *data).ok_or_else(|| {
        let known: Vec<&str> = TYPES.iter().map(|(known, _)| *known).collect();
        let hint = nearest(name, &known).map_or_else(
            || format!("known types: {}", known.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        format!("unknown type `{word}`; {hint}")
    })
}

fn parse_flags(words: &[&str]) -> Result<Flags, String> {
    let mut flags = Flags::default();
    for flag in words.iter().flat_map(|word| word.split(',')) {
        match flag {
            "has_tag" => flags.tag = true,
            "encrypt=1" => flags.hiding = Hiding::UserPassword,
            "encrypt=2" => flags.hiding = Hiding::TunnelPassword,
            "encrypt=3" => flags.hiding = Hiding::Other,
            "secret" => flags.secret = true,
            "concat" => flags.concat = true,
            "array" | "" => {}
            other => {
                return Err(format!(
                    "unknown flag `{other}`; known: has_tag, encrypt=1, encrypt=2, encrypt=3, concat, array, secret"
                ));
            }
        }
    }
    Ok(flags)
}

/// `format=t,l`: bytes of the type and of the length field.
fn widths(words: &[&str]) -> Result<(u8, u8), String> {
    match words {
        [] => Ok((1, 1)),
        [format] => {
            let wrong = || format!("`{format}` is not format=t,l with t one of 1, 2, 4 and l one of 0, 1, 2");
            let (kind, length) =
                format.strip_prefix("format=").and_then(|widths| widths.split_once(',')).ok_or_else(wrong)?;
            match (kind, length) {
                ("1" | "2" | "4", "0" | "1" | "2") => {
                    Ok((kind.parse().map_err(|_| wrong())?, length.parse().map_err(|_| wrong())?))
                }
                _ => Err(wrong()),
            }
        }
        _ => Err("VENDOR has a name, a number and at most a format".to_owned()),
    }
}

fn integer(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
