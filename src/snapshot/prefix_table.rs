//! Longest-prefix match over the few prefixes that operators configure: NASes, relays, networks.
//!
//! One probe for each prefix length in use, longest first; the exact address is the first probe, and in most
//! installations the only one. Rebuilt as a whole when one of its objects changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::hash;
use super::trie::Trie;
use crate::model::Prefix;

#[derive(Debug)]
struct Row<V> {
    prefix: Prefix,
    values: Vec<Arc<V>>,
}

/// Values by prefix; several may share one.
#[derive(Debug)]
pub(super) struct PrefixTable<V> {
    rows: Trie<u64, Arc<Row<V>>>,
    /// Lengths in use in 128-bit terms, longest first.
    lens: Vec<u8>,
}

impl<V> Default for PrefixTable<V> {
    fn default() -> Self {
        Self { rows: Trie::default(), lens: Vec::new() }
    }
}

impl<V> PrefixTable<V> {
    /// Builds the table; values of one prefix keep the order in which they come.
    pub(super) fn build(entries: impl IntoIterator<Item = (Prefix, Arc<V>)>) -> Self {
        let mut rows: BTreeMap<Prefix, Vec<Arc<V>>> = BTreeMap::new();
        for (prefix, value) in entries {
            let row = rows.entry(prefix).or_default();
            // An object that lists an address twice is still one object.
            if !row.last().is_some_and(|last| Arc::ptr_eq(last, &value)) {
                row.push(value);
            }
        }
        let lens: BTreeSet<u8> = rows.keys().map(|prefix| prefix.raw().1).collect();
        let rows = rows
            .into_iter()
            .map(|(prefix, values)| (hash::of_prefix(prefix), Arc::new(Row { prefix, values })))
            .collect();
        Self { rows: Trie::from_entries(rows), lens: lens.into_iter().rev().collect() }
    }

    /// The values of each prefix that holds `address`, longest prefix first.
    pub(super) fn matches(&self, address: IpAddr) -> impl Iterator<Item = &[Arc<V>]> {
        let host = Prefix::host(address);
        // ::/0 covers the mapped range by its bits, but says nothing about IPv4.
        let shortest = if host.is_v4() { 96 } else { 0 };
        self.lens.iter().take_while(move |len| **len >= shortest).filter_map(move |len| {
            let prefix = shortened(host, *len)?;
            let row = self.rows.find(hash::of_prefix(prefix), |row| row.prefix == prefix)?;
            Some(row.values.as_slice())
        })
    }
}

/// The first `len` bits (in 128-bit terms) of a prefix that is at least as long.
pub(super) fn shortened(prefix: Prefix, len: u8) -> Option<Prefix> {
    let (first, old) = prefix.raw();
    if len > old {
        return None;
    }
    let host_bits = 128_u32.checked_sub(u32::from(len))?;
    let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
    Prefix::from_raw(first & mask, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_comes_first_and_families_stay_apart() {
        let entry = |prefix: &str, name: &str| (prefix.parse::<Prefix>().unwrap(), Arc::new(name.to_owned()));
        let table = PrefixTable::build([
            entry("10.0.0.0/8", "wide"),
            entry("10.1.0.0/16", "narrow"),
            entry("10.1.2.3", "host"),
            entry("10.1.2.3", "second"),
            entry("::/0", "everything v6"),
        ]);
        let found = |address: &str| -> Vec<Vec<String>> {
            table
                .matches(address.parse().unwrap())
                .map(|row| row.iter().map(ToString::to_string).collect())
                .collect()
        };
        assert_eq!(found("10.1.2.3"), [vec!["host", "second"], vec!["narrow"], vec!["wide"]]);
        assert_eq!(found("10.2.0.1"), [vec!["wide"]]);
        assert_eq!(found("192.0.2.1"), Vec::<Vec<String>>::new());
        assert_eq!(found("2001:db8::1"), [vec!["everything v6"]]);
    }
}
