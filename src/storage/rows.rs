//! How values cross into SQL and back: one JSON text in, one JSON text out.
//!
//! Statements take one JSON document and answer with one, whatever the number of rows, so that the two dialects share
//! all of this code; what the applier writes into SQLite is the exception (see [`super::bulk`]). Rows go in as objects with named members and come back as arrays, whose order is the order of
//! the fields here.
//!
//! Invariants: ids, addresses and other bytes are hexadecimal text; unsigned 64-bit numbers keep their bits in a
//! signed column; [`Stamp::MAX`] is the largest signed number, so that times sort; U+0000 becomes U+FFFD, because
//! PostgreSQL cannot hold it and one hostile login must not stop the applier.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{EventRow, StorageError, StoredObject};
use crate::ids::{TenantId, Uid};
use crate::model::{Envelope, Kind};
use crate::time::Stamp;

/// Sixteen bytes as 32 hexadecimal digits: an id or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hex16(pub(super) u128);

impl Serialize for Hex16 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Hex16 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        if text.len() != 32 {
            return Err(D::Error::custom("not 32 hexadecimal digits"));
        }
        u128::from_str_radix(text, 16).map(Self).map_err(D::Error::custom)
    }
}

impl From<Uid> for Hex16 {
    fn from(uid: Uid) -> Self {
        Self(uid.0)
    }
}

impl From<Hex16> for Uid {
    fn from(hex: Hex16) -> Self {
        Self(hex.0)
    }
}

/// Any number of bytes as hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HexBytes<'a>(pub(super) Cow<'a, [u8]>);

impl HexBytes<'_> {
    /// The bytes themselves.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for HexBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(self.0.len() * 2);
        for byte in self.0.iter() {
            write!(text, "{byte:02x}").map_err(serde::ser::Error::custom)?;
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for HexBytes<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let digit = |symbol: u8| char::from(symbol).to_digit(16);
        let bytes: Option<Vec<u8>> =
            pairs.iter().map(|[high, low]| Some((digit(*high)? << 4 | digit(*low)?) as u8)).collect();
        match bytes {
            Some(bytes) if rest.is_empty() => Ok(Self(bytes.into())),
            _ => Err(D::Error::custom("not hexadecimal digits")),
        }
    }
}

/// A time as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Millis(pub(super) i64);

impl From<Stamp> for Millis {
    fn from(at: Stamp) -> Self {
        Self(i64::try_from(at.0).unwrap_or(i64::MAX))
    }
}

impl From<Millis> for Stamp {
    fn from(millis: Millis) -> Self {
        match millis.0 {
            i64::MAX => Self::MAX,
            millis => Self(millis.max(0).cast_unsigned()),
        }
    }
}

/// Text as both dialects can store it.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// A JSON document for a statement. The row types hold nothing that JSON cannot express.
pub(super) fn encode(value: &impl Serialize) -> Result<String, StorageError> {
    serde_json::to_string(value).map_err(|error| damaged("statement input", &error))
}

/// The rows of an answer.
pub(super) fn decode<'a, T: Deserialize<'a>>(what: &str, answer: &'a str) -> Result<Vec<T>, StorageError> {
    serde_json::from_str(answer).map_err(|error| damaged(what, &error))
}

/// A JSON value kept as text within a row.
pub(super) fn inner<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, StorageError> {
    serde_json::from_str(text).map_err(|error| damaged(what, &error))
}

pub(super) fn damaged(what: &str, why: &dyn std::fmt::Display) -> StorageError {
    StorageError::Damaged { what: what.to_owned(), why: why.to_string() }
}

/// One row of `object`.
#[derive(Serialize, Deserialize)]
pub(super) struct ObjectRow<'a> {
    tenant: Hex16,
    kind: Kind,
    id: Hex16,
    source: Option<Cow<'a, str>>,
    external_id: Option<Cow<'a, str>>,
    generation: i64,
    source_version: Option<i64>,
    #[serde(borrow)]
    labels: Cow<'a, str>,
    #[serde(borrow)]
    annotations: Cow<'a, str>,
    created_at: Millis,
    updated_at: Millis,
    #[serde(borrow)]
    updated_by: Cow<'a, str>,
    deleted_at: Option<Millis>,
    seq: i64,
    #[serde(borrow)]
    spec: Cow<'a, str>,
    sealed: Option<HexBytes<'a>>,
}

impl<'a> ObjectRow<'a> {
    pub(super) fn new(object: &'a StoredObject, seq: i64) -> Result<Self, StorageError> {
        let envelope = &object.envelope;
        Ok(Self {
            tenant: envelope.tenant.0.into(),
            kind: envelope.kind,
            id: envelope.id.into(),
            source: envelope.source.as_deref().map(clean),
            external_id: envelope.external_id.as_deref().map(clean),
            generation: envelope.generation.cast_signed(),
            source_version: envelope.source_version,
            labels: encode(&envelope.labels)?.into(),
            annotations: encode(&envelope.annotations)?.into(),
            created_at: envelope.created_at.into(),
            updated_at: envelope.updated_at.into(),
            updated_by: clean(&envelope.updated_by),
            deleted_at: envelope.deleted_at.map(Millis::from),
            seq,
            spec: clean(&object.spec_json),
            sealed: object.sealed.as_deref().map(|bytes| HexBytes(bytes.into())),
        })
    }

    fn object(self) -> Result<StoredObject, StorageError> {
        let notes = |text: &str| match text {
            "{}" => Ok(std::collections::BTreeMap::new()),
            text => inner("labels or annotations", text),
        };
        Ok(StoredObject {
            envelope: Envelope {
                kind: self.kind,
                id: self.id.into(),
                tenant: TenantId(self.tenant.into()),
                source: self.source.map(Cow::into_owned),
                external_id: self.external_id.map(Cow::into_owned),
                generation: self.generation.cast_unsigned(),
                source_version: self.source_version,
                labels: notes(&self.labels)?,
                annotations: notes(&self.annotations)?,
                created_at: self.created_at.into(),
                updated_at: self.updated_at.into(),
                updated_by: self.updated_by.into_owned(),
                deleted_at: self.deleted_at.map(Stamp::from),
                seq: self.seq.cast_unsigned(),
            },
            spec_json: self.spec.into_owned(),
            sealed: self.sealed.map(|bytes| bytes.0.into_owned()),
        })
    }
}

/// The objects of an answer.
pub(super) fn objects(answer: &str) -> Result<Vec<StoredObject>, StorageError> {
    decode::<ObjectRow<'_>>("object", answer)?.into_iter().map(ObjectRow::object).collect()
}

/// One row of `event`.
#[derive(Deserialize)]
struct StoredEvent {
    seq: i64,
    at: Millis,
    tenant: Hex16,
    kind: Kind,
    object: Hex16,
    action: String,
    actor: String,
    request: String,
}

/// The events of an answer.
pub(super) fn events(answer: &str) -> Result<Vec<EventRow>, StorageError> {
    let rows = decode::<StoredEvent>("event", answer)?;
    Ok(rows
        .into_iter()
        .map(|row| EventRow {
            seq: row.seq.cast_unsigned(),
            at: row.at.into(),
            tenant: TenantId(row.tenant.into()),
            kind: row.kind,
            object: row.object.into(),
            action: row.action,
            actor: row.actor,
            request: row.request,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_times_read_back_from_their_stored_form() {
        let bytes = HexBytes(vec![0, 0x9f, 0xff].into());
        let text = encode(&bytes).unwrap();
        assert_eq!(text, "\"009fff\"");
        for text in [text.as_str(), "\"009FFF\""] {
            assert_eq!(serde_json::from_str::<HexBytes<'_>>(text).unwrap(), bytes);
        }
        for text in ["\"0\"", "\"0g\"", "\"é\""] {
            assert!(serde_json::from_str::<HexBytes<'_>>(text).is_err(), "{text}");
        }
        for at in [Stamp::ZERO, Stamp(1_795_132_800_123), Stamp::MAX] {
            assert_eq!(Stamp::from(Millis::from(at)), at);
        }
    }

    #[test]
    fn a_nul_character_is_replaced_because_postgresql_cannot_hold_it() {
        assert_eq!(clean("a\0b"), "a\u{fffd}b");
        assert!(matches!(clean("ab"), Cow::Borrowed("ab")));
    }
}
