//! Query parameters: known ones only, and cursors that belong to their list.
//!
//! A cursor is opaque to callers: it carries the key of the last item and a hash of what was asked for, so that it cannot
//! be used with other filters, where it would skip items unnoticed.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::operation::Parameter;
use super::problem::Failure;
use super::target::decode;
use crate::app::Refusal;
use crate::limits::{API_PAGE_DEFAULT, API_PAGE_MAX};
use crate::model::decode::nearest;
use crate::time::Stamp;

/// Decoded parameters by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads the query of a URL; every parameter must be one of `known`, and occurs once.
    pub(super) fn parse(text: &str, known: &[Parameter]) -> Result<Self, Failure> {
        let mut found = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let plain = |text: &str| decode(&text.replace('+', " "));
            let (Some(name), Some(value)) = (plain(name), plain(value)) else {
                return Err(Refusal::filter(name, "broken percent-encoding").into());
            };
            let labels = known.iter().any(|parameter| parameter.name == "label.*");
            let is_label = labels && name.starts_with("label.");
            if !is_label && known.iter().all(|parameter| parameter.name != name) {
                return Err(unknown(&name, known));
            }
            if found.insert(name.clone(), value).is_some() {
                return Err(Refusal::filter(&name, "given twice").into());
            }
        }
        Ok(Self(found))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A parameter through its own parser.
    pub(super) fn parsed<T: std::str::FromStr>(&self, name: &str, what: &str) -> Result<Option<T>, Failure> {
        let parse = |text: &str| {
            text.parse().map_err(|_| Failure::from(Refusal::filter(name, format!("`{text}` is not {what}"))))
        };
        self.text(name).map(parse).transpose()
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.0.get(name).map(String::as_str) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Refusal::filter(name, "write true or false").into()),
        }
    }

    /// A time as RFC 3339 text.
    pub(super) fn stamp(&self, name: &str) -> Result<Option<Stamp>, Failure> {
        let parse = |text: &str| {
            let format = &time::format_description::well_known::Rfc3339;
            let at = time::OffsetDateTime::parse(text, format).ok();
            let millis = at.and_then(|at| u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok());
            let why = "write a time such as 2026-11-20T01:00:00Z";
            millis.map(Stamp).ok_or_else(|| Failure::from(Refusal::filter(name, why)))
        };
        self.text(name).map(parse).transpose()
    }

    /// Items of a page: what is asked for, coerced into the bounds.
    pub(super) fn limit(&self) -> Result<usize, Failure> {
        let limit = self.parsed::<u64>("limit", "a whole number")?;
        Ok(limit.map_or(API_PAGE_DEFAULT, |limit| limit.clamp(1, API_PAGE_MAX as u64) as usize))
    }

    /// Labels asked for by `label.<name>=<value>`.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let labels = self
            .0
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix("label.")?.to_owned(), value.clone())));
        labels.collect()
    }

    /// The key after which the page begins.
    pub(super) fn after(&self, operation: &str) -> Result<Option<String>, Failure> {
        let Some(cursor) = self.text("cursor") else { return Ok(None) };
        let bytes = from_hex(cursor).ok_or(Refusal::BadCursor)?;
        let (hash, after) = bytes.split_first_chunk::<8>().ok_or(Refusal::BadCursor)?;
        if *hash != self.fingerprint(operation) {
            return Err(Refusal::BadCursor.into());
        }
        Ok(Some(String::from_utf8(after.to_vec()).map_err(|_| Refusal::BadCursor)?))
    }

    /// The cursor of the page that follows `next`.
    pub(super) fn cursor(&self, operation: &str, next: &str) -> String {
        use std::fmt::Write;
        let bytes = self.fingerprint(operation).into_iter().chain(next.bytes());
        bytes.fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// What makes a list the same list: the operation and its filters, but not where the page begins or how long it is.
    fn fingerprint(&self, operation: &str) -> [u8; 8] {
        let mut hash = Sha256::new();
        hash.update(operation.as_bytes());
        for (name, value) in &self.0 {
            if !matches!(name.as_str(), "cursor" | "limit") {
                for part in [name, value] {
                    hash.update((part.len() as u64).to_be_bytes());
                    hash.update(part.as_bytes());
                }
            }
        }
        let digest: [u8; 32] = hash.finalize().into();
        digest.first_chunk().copied().unwrap_or_default()
    }
}

fn unknown(name: &str, known: &[Parameter]) -> Failure {
    let names: Vec<&str> = known.iter().map(|parameter| parameter.name).collect();
    let why = match nearest(name, &names) {
        Some(near) => format!("is not known; did you mean `{near}`?"),
        None if names.is_empty() => "is not known; there are none here".to_owned(),
        None => format!("is not known; known: {}", names.join(", ")),
    };
    let shown: String = name.chars().take(64).collect();
    Refusal::filter(&shown, why).into()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2).map(|pair| {
        let text = std::str::from_utf8(pair).ok().filter(|text| text.len() == 2)?;
        u8::from_str_radix(text, 16).ok()
    });
    digits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Parameter] = &[
        Parameter { name: "limit", kind: "integer", text: "" },
        Parameter { name: "cursor", kind: "string", text: "" },
        Parameter { name: "source", kind: "string", text: "" },
        Parameter { name: "label.*", kind: "string", text: "" },
    ];

    #[test]
    fn a_cursor_works_only_for_the_list_it_came_from() {
        let query = |text: &str| Query::parse(text, KNOWN).unwrap();
        let cursor = query("source=crm&limit=5").cursor("list_services", "key|1");
        let next = |text: &str| query(&format!("{text}&cursor={cursor}"));
        assert_eq!(next("source=crm&limit=9").after("list_services").unwrap().as_deref(), Some("key|1"));
        for (text, operation) in
            [("source=other", "list_services"), ("", "list_services"), ("source=crm", "list_plans")]
        {
            assert!(next(text).after(operation).is_err(), "{text} {operation}");
        }
        for wrong in ["zz", "00", "é0", "0011223344556677"] {
            assert!(query(&format!("cursor={wrong}")).after("list_services").is_err(), "{wrong}");
        }
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused_with_a_hint() {
        let refused = |text: &str| Query::parse(text, KNOWN).unwrap_err().to_string();
        assert!(refused("sorce=x").contains("did you mean `source`"));
        assert!(refused("source=a&source=b").contains("twice"));
        assert!(refused("source=%zz").contains("percent-encoding"));
        assert!(Query::parse("label.site=north+east", KNOWN).unwrap().labels()["site"] == "north east");
    }

    #[test]
    fn limits_are_coerced_and_times_read_in_any_zone() {
        let query = |text: &str| Query::parse(text, KNOWN).unwrap();
        assert_eq!(query("limit=0").limit().unwrap(), 1);
        assert_eq!(query("limit=99999").limit().unwrap(), API_PAGE_MAX);
        assert_eq!(query("").limit().unwrap(), API_PAGE_DEFAULT);
        assert!(query("limit=many").limit().is_err());
        let at = query("source=1970-01-01T01%3A00%3A00%2B01%3A00").stamp("source").unwrap();
        assert_eq!(at, Some(Stamp::ZERO));
    }
}
