//! How one object names another: by id, or by the external id its writer gave it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::object::Kind;
use crate::ids::Uid;

/// A reference in a spec or in a URL.
///
/// Text forms: an id (`pln_01…`), `ext:<external id>`, `ext:<source>~<external id>`, or a bare external id.
/// Use-cases resolve every reference to [`Ref::Id`] before an object is stored, so stored specs hold ids only.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ref {
    /// Resolved: the object itself.
    Id(Kind, Uid),
    /// An external id; without a source, the writer's own source is tried first, then any source in which it is unique.
    External {
        /// Namespace of the writer.
        source: Option<String>,
        /// The id in that namespace.
        id: String,
    },
}

impl Ref {
    /// The object's id when the reference is resolved.
    pub fn uid(&self) -> Option<Uid> {
        match self {
            Self::Id(_, uid) => Some(*uid),
            Self::External { .. } => None,
        }
    }

    /// The object's id; the nil id when unresolved. Stored specs are always resolved.
    pub fn resolved(&self) -> Uid {
        self.uid().unwrap_or(Uid::NIL)
    }

    /// A bare external id in the writer's own source.
    pub fn external(id: impl Into<String>) -> Self {
        Self::External { source: None, id: id.into() }
    }
}

impl FromStr for Ref {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("ext:") {
            let (source, id) = match rest.split_once('~') {
                Some((source, id)) => (Some(source.to_owned()), id),
                None => (None, rest),
            };
            if id.is_empty() || source.as_ref().is_some_and(String::is_empty) {
                return Err(format!(
                    "`{text}` names nothing: write ext:<external id> or ext:<source>~<external id>"
                ));
            }
            return Ok(Self::External { source, id: id.to_owned() });
        }
        if let Some((kind, uid)) = Kind::parse_id(text) {
            return Ok(Self::Id(kind, uid));
        }
        if text.is_empty() || text.len() > 255 {
            return Err("a reference is an id or an external id of 1 to 255 bytes".to_owned());
        }
        Ok(Self::external(text))
    }
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(kind, uid) => write!(f, "{}_{}", kind.prefix(), uid.base32()),
            Self::External { source: Some(source), id } => write!(f, "ext:{source}~{id}"),
            Self::External { source: None, id } => write!(f, "ext:{id}"),
        }
    }
}

impl fmt::Debug for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Ref {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ref {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_read_back_from_every_form() {
        for text in ["pln_01jd3v8m4q7z00000000000000", "ext:home-300", "ext:netdefs~home-300"] {
            assert_eq!(text.parse::<Ref>().unwrap().to_string(), text);
        }
        assert_eq!("home-300".parse::<Ref>().unwrap(), Ref::external("home-300"));
        assert!("ext:".parse::<Ref>().is_err());
        assert!("ext:~x".parse::<Ref>().is_err());
    }
}
