//! Where a pool's grants lie: offsets and addresses.
//!
//! An offset counts the pool's grants from the lowest address up, across its ranges. Ranges are sorted and overlapping
//! ones joined, so every address has one offset.

use std::ops::RangeInclusive;

use crate::limits::POOL_RANGE_GRANTS_MAX;
use crate::model::Prefix;
use crate::snapshot::types::Pool;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u128,
    /// Offset of `first`.
    base: u32,
    count: u32,
}

/// The ranges of one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    wide_len: u8,
    quarantine_ms: u64,
    draining: bool,
    runs: Vec<Run>,
    size: u32,
}

impl Layout {
    pub(super) fn of(pool: &Pool) -> Self {
        let mut layout = Self {
            wide_len: pool.wide_len.min(128),
            quarantine_ms: u64::from(pool.quarantine) * 1000,
            draining: pool.draining,
            ..Self::default()
        };
        let mut ranges: Vec<_> = pool
            .ranges
            .iter()
            .map(|range| (layout.align(range.first.first()), layout.align(range.last.first())))
            .collect();
        ranges.sort_unstable();
        let mut next = None;
        for (first, last) in ranges {
            let first = next.map_or(first, |next: u128| first.max(next));
            if last < first {
                continue;
            }
            let steps = ((last - first) >> layout.step_bits()).saturating_add(1);
            let count = u32::try_from(steps).unwrap_or(u32::MAX).min(POOL_RANGE_GRANTS_MAX);
            let count = count.min(u32::MAX - layout.size);
            layout.runs.push(Run { first, base: layout.size, count });
            layout.size += count;
            next = Some(last.saturating_add(1_u128.checked_shl(layout.step_bits()).unwrap_or(u128::MAX)));
        }
        layout
    }

    pub(super) const fn wide_len(&self) -> u8 {
        self.wide_len
    }

    /// How many grants there are.
    pub(super) const fn size(&self) -> u32 {
        self.size
    }

    pub(super) const fn quarantine_ms(&self) -> u64 {
        self.quarantine_ms
    }

    pub(super) const fn draining(&self) -> bool {
        self.draining
    }

    /// First and last address of each range.
    pub(super) fn spans(&self) -> Vec<(u128, u128)> {
        self.runs.iter().map(|run| (run.first, self.last_of(run))).collect()
    }

    pub(super) fn offset_of(&self, prefix: Prefix) -> Option<u32> {
        let (first, len) = prefix.raw();
        if len != self.wide_len {
            return None;
        }
        self.runs.iter().find_map(|run| {
            let steps = first.checked_sub(run.first)? >> self.step_bits();
            (steps < u128::from(run.count)).then(|| run.base + steps as u32)
        })
    }

    pub(super) fn prefix_of(&self, offset: u32) -> Option<Prefix> {
        let run = self.runs.iter().find(|run| offset >= run.base && offset - run.base < run.count)?;
        Prefix::from_raw(run.first + (u128::from(offset - run.base) << self.step_bits()), self.wide_len)
    }

    /// The offsets of all grants that overlap `prefix`, one run of them per range.
    pub(super) fn overlapping(&self, prefix: Prefix) -> impl Iterator<Item = RangeInclusive<u32>> + '_ {
        let (first, last) = (self.align(prefix.first()), self.align(prefix.last()));
        self.runs.iter().filter(|run| run.count > 0).filter_map(move |run| {
            let from = first.max(run.first);
            let to = last.min(self.align(self.last_of(run)));
            (from <= to).then(|| {
                let offset = |address: u128| run.base + ((address - run.first) >> self.step_bits()) as u32;
                offset(from)..=offset(to)
            })
        })
    }

    fn last_of(&self, run: &Run) -> u128 {
        let grants = u128::from(run.count.saturating_sub(1)) << self.step_bits();
        run.first + grants + (1_u128.checked_shl(self.step_bits()).unwrap_or(0)).wrapping_sub(1)
    }

    /// The first address of the grant that an address lies in.
    fn align(&self, address: u128) -> u128 {
        address & u128::MAX.checked_shl(self.step_bits()).unwrap_or(0)
    }

    const fn step_bits(&self) -> u32 {
        128 - self.wide_len as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{TenantId, Uid};
    use crate::model::pool::ExhaustedAction;
    use crate::snapshot::types::Space;

    fn pool(ranges: &[&str], wide_len: u8) -> Pool {
        Pool {
            id: Uid(1),
            name: "p".into(),
            space: Space { tenant: TenantId::DEFAULT, vrf: "".into() },
            network: Uid::NIL,
            class: "home".into(),
            group: None,
            ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
            wide_len,
            order: 0,
            quarantine: 300,
            exhausted_action: ExhaustedAction::default(),
            draining: false,
            seq: 0,
        }
    }

    #[test]
    fn every_offset_has_one_address_and_back_again() {
        let layout = Layout::of(&pool(&["10.0.0.9-10.0.0.12", "10.0.0.1-10.0.0.3"], 128));
        assert_eq!(layout.size(), 7);
        for offset in 0..7 {
            assert_eq!(layout.offset_of(layout.prefix_of(offset).unwrap()), Some(offset));
        }
        assert_eq!(layout.prefix_of(7), None);
        assert_eq!(layout.offset_of("10.0.0.4".parse().unwrap()), None);
    }

    #[test]
    fn ranges_that_overlap_count_each_address_once() {
        let layout = Layout::of(&pool(&["10.0.0.1-10.0.0.5", "10.0.0.4-10.0.0.8", "10.0.0.2-10.0.0.3"], 128));
        assert_eq!(layout.size(), 8);
        assert_eq!(layout.offset_of("10.0.0.8".parse().unwrap()), Some(7));
    }

    #[test]
    fn overlap_with_a_prefix_is_found_from_above_and_from_inside() {
        let layout = Layout::of(&pool(&["2001:db8:0:0000::/54", "2001:db8:0:8000::/55"], 56));
        assert_eq!(layout.size(), 6);
        let found = |text: &str| layout.overlapping(text.parse().unwrap()).collect::<Vec<_>>();
        assert_eq!(found("2001:db8::/48"), vec![0..=3, 4..=5]);
        assert_eq!(found("2001:db8:0:1ff::/64"), vec![1..=1]);
        assert_eq!(found("2001:db8:0:4000::/56"), vec![]);
    }
}
