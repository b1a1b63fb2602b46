//! Addresses or delegated prefixes of a network that the ledger may choose from.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::Prefix;
use super::decode::{Problems, Reader, boolean, name, number, parsed, word};
use super::object::Kind;
use super::reference::Ref;

/// A contiguous run of addresses or of equal-sized prefixes, inclusive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub first: Prefix,
    /// Last address.
    pub last: Prefix,
}

impl FromStr for Range {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((first, last)) = text.split_once('-') {
            let first: Prefix = first.trim().parse()?;
            let last: Prefix = last.trim().parse()?;
            if !first.is_host() || !last.is_host() || first.is_v4() != last.is_v4() || first > last {
                return Err(format!(
                    "`{text}` is not a range: write first-last, both addresses of one family"
                ));
            }
            return Ok(Self { first, last });
        }
        let prefix: Prefix = text.parse()?;
        let host = |number| Prefix::from_raw(number, 128).ok_or_else(|| format!("`{text}` is not a prefix"));
        Ok(Self { first: host(prefix.first())?, last: host(prefix.last())? })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl fmt::Debug for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Range {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a newcomer gets when every address is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExhaustedAction {
    /// No answer: the NAS or client tries elsewhere.
    #[default]
    Silence,
    /// Access-Reject; on DHCP the same as silence.
    Reject,
}

/// Desired state of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PoolSpec {
    /// The network its addresses belong to.
    #[schema(value_type = String)]
    pub network: Ref,
    /// Pool class, as plans name it.
    pub class: String,
    /// NAS or relay group it serves; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// `first-last` or a prefix, each range inside the network.
    #[schema(value_type = Vec<String>)]
    pub ranges: Vec<Range>,
    /// Length of each grant: 32 for IPv4 addresses, for example 56 for delegated prefixes.
    pub prefix_len: u8,
    /// Order among the pools of a class: lower first.
    #[serde(default)]
    pub order: u16,
    /// Seconds an address rests after its holder left, 0 to 86,400.
    #[serde(default = "quarantine")]
    pub quarantine: u32,
    /// What a newcomer gets when this pool and those after it are full.
    #[serde(default)]
    pub exhausted_action: ExhaustedAction,
    /// A draining pool renews what it granted and grants nothing new.
    #[serde(default)]
    pub draining: bool,
}

const fn quarantine() -> u32 {
    300
}

const ACTIONS: &[(&str, ExhaustedAction)] =
    &[("silence", ExhaustedAction::Silence), ("reject", ExhaustedAction::Reject)];

impl PoolSpec {
    /// Decodes the spec; see [`super::Spec::decode`].
    pub fn decode(value: &Value, pointer: &str, problems: &mut Problems) -> Option<Self> {
        let mut reader = Reader::new(value, pointer, problems)?;
        let network = reader.required("network", parsed::<Ref>);
        let class = reader.required("class", name);
        let group = reader.optional("group", name);
        let ranges = reader.list("ranges", parsed::<Range>);
        let v4 = ranges.first().is_none_or(|range| range.first.is_v4());
        let prefix_len =
            reader.optional("prefix_len", number(1..=128)).map_or(if v4 { 32 } else { 64 }, |len| len as u8);
        let order = reader.optional("order", number(0..=65_535)).unwrap_or(0) as u16;
        let quarantine =
            reader.optional("quarantine", number(0..=86_400)).map_or_else(quarantine, |secs| secs as u32);
        let exhausted_action = reader.optional("exhausted_action", word(ACTIONS)).unwrap_or_default();
        let draining = reader.optional("draining", boolean).unwrap_or(false);
        if ranges.is_empty() {
            reader.problem("ranges", "at least one range is required");
        }
        for range in &ranges {
            if let Err(detail) = check_range(range, v4, prefix_len) {
                reader.problem("ranges", detail);
            }
        }
        reader.finish(|| {
            Some(Self {
                network: network?,
                class: class?,
                group,
                ranges,
                prefix_len,
                order,
                quarantine,
                exhausted_action,
                draining,
            })
        })
    }

    pub(super) fn refs(&self) -> Vec<(&'static str, Kind, &Ref)> {
        vec![("network", Kind::Network, &self.network)]
    }

    pub(super) fn refs_mut(&mut self) -> Vec<(&'static str, Kind, &mut Ref)> {
        vec![("network", Kind::Network, &mut self.network)]
    }

    /// Length of each grant in 128-bit terms.
    pub fn wide_len(&self) -> u8 {
        if self.ranges.first().is_some_and(|range| range.first.is_v4()) {
            self.prefix_len + 96
        } else {
            self.prefix_len
        }
    }
}

/// Grants that one pool may hold at most: bounds the memory of its bitmap (512 KiB).
const GRANTS_PER_RANGE_MAX: u128 = 1 << 22;

fn check_range(range: &Range, v4: bool, prefix_len: u8) -> Result<(), String> {
    if range.first.is_v4() != v4 {
        return Err("a pool holds addresses of one family".to_owned());
    }
    if v4 && prefix_len != 32 {
        return Err("an IPv4 pool grants single addresses: prefix_len 32".to_owned());
    }
    let size_bits = 128 - u32::from(if v4 { prefix_len + 96 } else { prefix_len });
    let size = 1_u128.checked_shl(size_bits).unwrap_or(u128::MAX);
    let span = range.last.first() - range.first.first();
    if !range.first.first().is_multiple_of(size) || span % size != size - 1 {
        return Err(format!("{range} is not a whole number of aligned /{prefix_len} prefixes"));
    }
    if span / size >= GRANTS_PER_RANGE_MAX {
        return Err(format!(
            "{range} holds more than {GRANTS_PER_RANGE_MAX} grants; split it or grant larger prefixes"
        ));
    }
    Ok(())
}
