//! Numbers about numbers: a histogram of latencies within a run, the median over runs.
//!
//! The histogram counts in log-linear buckets: exact below 128 ns, within 1.6 % above, constant time to record.
//! It has a bucket for every `u64`, so nothing is clipped; it does not keep the samples.

/// Each power of two is cut into this many buckets.
const PARTS: u64 = 64;
const PART_BITS: u32 = PARTS.trailing_zeros();
const BUCKETS: usize = ((u64::BITS - PART_BITS) as usize + 1) * PARTS as usize;

/// Counts of values by size.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Box<[u64]>,
    total: u64,
    highest: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into_boxed_slice(), total: 0, highest: 0 }
    }
}

impl Histogram {
    /// Counts one value.
    pub(crate) fn record(&mut self, value: u64) {
        if let Some(count) = self.counts.get_mut(bucket_of(value)) {
            *count += 1;
        }
        self.total += 1;
        self.highest = self.highest.max(value);
    }

    /// Values counted.
    pub(crate) fn len(&self) -> u64 {
        self.total
    }

    /// The value that `share` of all values (0 to 1) do not exceed, rounded up to its bucket's end; 0 when
    /// nothing was counted.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let wanted = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return last_of(bucket).min(self.highest);
            }
        }
        self.highest
    }
}

/// Below twice `PARTS` a bucket is one value; each further power of two doubles the width of its buckets.
fn bucket_of(value: u64) -> usize {
    let doublings = (u64::BITS - value.leading_zeros()).saturating_sub(PART_BITS + 1);
    (u64::from(doublings) * PARTS + (value >> doublings)) as usize
}

fn last_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let doublings = (bucket / PARTS).saturating_sub(1);
    let first = u128::from(bucket - doublings * PARTS) << doublings;
    u64::try_from(first + (1_u128 << doublings) - 1).unwrap_or(u64::MAX)
}

/// The middle value, or the mean of the middle two; 0 without any.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match (values.get(low), values.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => 0.0,
    }
}
