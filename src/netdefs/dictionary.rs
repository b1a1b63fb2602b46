//! RADIUS attributes by number and by name: what a value means and how it is shown.
//!
//! Codecs know numbers only. This table serves people: it names what was decoded, renders values
//! ([`Dictionary::render`]) and finds the number of a name that an operator wrote. It is read from text dictionaries
//! (`netdefs/radius/*.dict`) once; two entries for one name or number are an error that names both places. Numbers follow
//! RFC 2865 §5, TLVs and extended attributes RFC 6929 §2.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::{NetdefsError, SourceFile, dictionary_text};
use crate::document::Place;

/// The number of an attribute: vendor, type, and types inside TLVs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number {
    /// Vendor (IANA private enterprise number); 0 for the standard space.
    pub vendor: u32,
    /// Type in that space.
    pub kind: u32,
    /// Types inside it, outermost first; 0 means none.
    pub inside: [u8; 3],
}

impl Number {
    /// A number without TLVs.
    pub const fn new(vendor: u32, kind: u32) -> Self {
        Self { vendor, kind, inside: [0; 3] }
    }

    /// The number of a member of this TLV; `None` when it would be nested too deep, or 0.
    pub fn member(self, kind: u8) -> Option<Self> {
        let mut member = self;
        let free = member.inside.iter_mut().find(|inside| **inside == 0)?;
        *free = kind;
        (kind != 0).then_some(member)
    }

    /// The TLV this number stands in.
    pub fn parent(self) -> Option<Self> {
        let mut parent = self;
        let last = parent.inside.iter_mut().rev().find(|inside| **inside != 0)?;
        *last = 0;
        Some(parent)
    }
}

impl fmt::Display for Number {
    /// `26.<vendor>.<type>` for vendors, `<type>[.<type>…]` otherwise.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.vendor != 0 {
            write!(f, "26.{}.", self.vendor)?;
        }
        write!(f, "{}", self.kind)?;
        self.inside.iter().take_while(|inside| **inside != 0).try_for_each(|inside| write!(f, ".{inside}"))
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Data types (RFC 8044 §3, under the names of the text format).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `string`: text.
    Text,
    /// `octets`: bytes.
    Octets,
    /// `ipaddr`: IPv4 address.
    Ipv4Address,
    /// `ipv4prefix`: reserved byte, length, address.
    Ipv4Prefix,
    /// `ipv6addr`: IPv6 address.
    Ipv6Address,
    /// `ipv6prefix`: reserved byte, length, up to 16 bytes.
    Ipv6Prefix,
    /// `ifid`: 8 bytes.
    InterfaceId,
    /// `byte`: unsigned, 1 byte.
    Byte,
    /// `short`: unsigned, 2 bytes.
    Short,
    /// `integer`: unsigned, 4 bytes.
    Integer,
    /// `integer64`: unsigned, 8 bytes.
    Integer64,
    /// `signed`: signed, 4 bytes.
    Signed,
    /// `date`: seconds since 1970, 4 bytes.
    Date,
    /// `ether`: MAC address, 6 bytes.
    Ether,
    /// `tlv`: members of type, length, value (RFC 6929 §2.3).
    Tlv,
    /// `extended`: a type byte before the value (RFC 6929 §2.1).
    Extended,
    /// `long-extended`: a type and a flags byte before the value (RFC 6929 §2.2).
    LongExtended,
    /// `vsa`: vendor and its own attributes (RFC 2865 §5.26).
    Vendor,
}

/// How a value is hidden on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hiding {
    /// Not at all.
    #[default]
    None,
    /// `encrypt=1`: like User-Password (RFC 2865 §5.2).
    UserPassword,
    /// `encrypt=2`: like Tunnel-Password, with salt (RFC 2868 §3.5).
    TunnelPassword,
    /// `encrypt=3`: a vendor's own way.
    Other,
}

/// What stands beside the type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// A tag octet comes first (RFC 2868 §3).
    pub tag: bool,
    /// How the value is hidden.
    pub hiding: Hiding,
    /// Never shown, though not hidden on the wire; our addition to the format.
    pub secret: bool,
    /// Values longer than one attribute continue in the next.
    pub concat: bool,
}

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: Number,
    /// Its data type.
    pub data: Type,
    /// Tag, hiding, concatenation.
    pub flags: Flags,
    /// Where it is defined.
    pub place: Place,
}

impl Attribute {
    /// Whether its value must not be shown.
    pub fn is_secret(&self) -> bool {
        self.flags.secret || self.flags.hiding != Hiding::None
    }
}

/// One vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vendor {
    /// Its name.
    pub name: String,
    /// IANA private enterprise number.
    pub id: u32,
    /// Bytes of a type field: 1, 2 or 4.
    pub type_bytes: u8,
    /// Bytes of a length field: 0, 1 or 2.
    pub length_bytes: u8,
    /// Where it is defined.
    pub place: Place,
}

/// Attributes, vendors and named values.
#[derive(Clone, Debug, Default)]
pub struct Dictionary {
    attributes: Vec<Attribute>,
    by_number: HashMap<Number, usize>,
    by_name: HashMap<String, usize>,
    vendors: BTreeMap<u32, Vendor>,
    values: BTreeMap<(usize, u64), (String, Place)>,
    values_by_name: HashMap<(usize, String), (u64, Place)>,
}

impl Dictionary {
    /// Reads text dictionaries; definitions may refer to those of any other file.
    pub fn parse(files: &[SourceFile]) -> Result<Self, NetdefsError> {
        dictionary_text::read(files)
    }

    /// The attribute with this vendor (0 for the standard space) and type.
    pub fn attribute(&self, vendor: u32, kind: u32) -> Option<&Attribute> {
        self.numbered(Number::new(vendor, kind))
    }

    /// The attribute with this number, also inside TLVs.
    pub fn numbered(&self, number: Number) -> Option<&Attribute> {
        self.attributes.get(*self.by_number.get(&number)?)
    }

    /// The attribute with this name, whatever its letter case.
    pub fn named(&self, name: &str) -> Option<&Attribute> {
        self.attributes.get(*self.by_name.get(&folded(name))?)
    }

    /// Every attribute, in the order of the files.
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// The vendor with this IANA number.
    pub fn vendor(&self, id: u32) -> Option<&Vendor> {
        self.vendors.get(&id)
    }

    /// The vendor with this name, whatever its letter case.
    pub fn vendor_named(&self, name: &str) -> Option<&Vendor> {
        self.vendors.values().find(|vendor| vendor.name.eq_ignore_ascii_case(name))
    }

    /// The name of one value of an attribute.
    pub fn value_name(&self, number: Number, value: u64) -> Option<&str> {
        let index = *self.by_number.get(&number)?;
        self.values.get(&(index, value)).map(|(name, _)| name.as_str())
    }

    /// The value of an attribute that has this name, whatever its letter case.
    pub fn value_named(&self, number: Number, name: &str) -> Option<u64> {
        let index = *self.by_number.get(&number)?;
        self.values_by_name.get(&(index, folded(name))).map(|(value, _)| *value)
    }

    /// Adds an attribute, or says where the one it collides with is.
    pub(super) fn add_attribute(&mut self, attribute: Attribute) -> Result<(), String> {
        let taken = [self.by_number.get(&attribute.number), self.by_name.get(&folded(&attribute.name))];
        if let Some(other) = taken.into_iter().flatten().find_map(|index| self.attributes.get(*index)) {
            return Err(format!(
                "attribute {} ({}) is already defined as {} ({}) at {}",
                attribute.name, attribute.number, other.name, other.number, other.place
            ));
        }
        let index = self.attributes.len();
        self.by_number.insert(attribute.number, index);
        self.by_name.insert(folded(&attribute.name), index);
        self.attributes.push(attribute);
        Ok(())
    }

    /// Adds a vendor, or says where the one it collides with is.
    pub(super) fn add_vendor(&mut self, vendor: Vendor) -> Result<(), String> {
        let other = self.vendor(vendor.id).or_else(|| self.vendor_named(&vendor.name));
        if let Some(other) = other {
            return Err(format!(
                "vendor {} ({}) is already defined as {} ({}) at {}",
                vendor.name, vendor.id, other.name, other.id, other.place
            ));
        }
        self.vendors.insert(vendor.id, vendor);
        Ok(())
    }

    /// Adds a named value, or says what is wrong with it.
    pub(super) fn add_value(
        &mut self,
        attribute: &str,
        name: &str,
        value: u64,
        place: &Place,
    ) -> Result<(), String> {
        let index = *self.by_name.get(&folded(attribute)).ok_or_else(|| self.unknown(attribute))?;
        let data = self.attributes.get(index).map(|attribute| attribute.data);
        let largest = match data {
            Some(Type::Byte) => u64::from(u8::MAX),
            Some(Type::Short) => u64::from(u16::MAX),
            Some(Type::Integer | Type::Signed) => u64::from(u32::MAX),
            Some(Type::Integer64) => u64::MAX,
            _ => {
                return Err(format!("attribute {attribute} is no number, so its values have no names"));
            }
        };
        if value > largest {
            return Err(format!("{value} is too large for attribute {attribute}"));
        }
        if let Some((other, at)) = self.values.get(&(index, value)) {
            return Err(format!("value {value} of {attribute} is already named {other} at {at}"));
        }
        if let Some((other, at)) = self.values_by_name.get(&(index, folded(name))) {
            return Err(format!("value {name} of {attribute} is already {other} at {at}"));
        }
        self.values.insert((index, value), (name.to_owned(), place.clone()));
        self.values_by_name.insert((index, folded(name)), (value, place.clone()));
        Ok(())
    }

    /// What to say of an attribute that is defined nowhere.
    fn unknown(&self, name: &str) -> String {
        let names: Vec<&str> = self.attributes.iter().map(|attribute| attribute.name.as_str()).collect();
        let hint = crate::model::decode::nearest(name, &names)
            .map(|near| format!("; did you mean {near}?"))
            .unwrap_or_default();
        format!("attribute {name} is defined nowhere{hint}")
    }
}

fn folded(name: &str) -> String {
    name.to_ascii_lowercase()
}
