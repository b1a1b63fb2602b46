//! How long a lease lasts, and when its client asks again.
//!
//! Between *decide* and *reply*, for every address that is offered or leased. RFC 2131 §4.4.5 (T1 and T2), §3.5 (what a
//! client may ask for); defaults after the rule that a granted lease cannot be shortened, so that it is asked about often.
//!
//! Invariants: T1 ≤ T2 ≤ lease; a client's wish only ever shortens.

use crate::limits::{DHCP_LEASE_ASKED_SECS_MIN, DHCP_LEASE_REMAINDER_SECS_MIN};
use crate::model::network::NetworkSpec;

/// The times of one lease, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTime {
    /// How long the address is the client's.
    pub lease_secs: u32,
    /// T1: when it asks this server again.
    pub renew_secs: u32,
    /// T2: when it asks any server.
    pub rebind_secs: u32,
}

impl LeaseTime {
    /// What `network` gives a known or unknown client that asks for `asked_secs`, if it asks for a time at all.
    pub fn of(network: &NetworkSpec, known: bool, asked_secs: Option<u32>) -> Self {
        let longest = if known { network.lease_time } else { network.unknown_lease_time };
        let lease_secs = match asked_secs {
            Some(asked) => asked.max(DHCP_LEASE_ASKED_SECS_MIN).min(longest),
            None => longest,
        };
        Self::with_renewal(lease_secs, network.renew_time, network.lease_time)
    }

    /// The same lease when only `remaining_secs` of it may be promised; none when that is not worth an answer.
    pub fn within(self, remaining_secs: u64) -> Option<Self> {
        let remaining = u32::try_from(remaining_secs).unwrap_or(u32::MAX);
        if remaining >= self.lease_secs {
            return Some(self);
        }
        let worth = remaining >= DHCP_LEASE_REMAINDER_SECS_MIN;
        worth.then(|| Self::with_renewal(remaining, Some(self.renew_secs), self.lease_secs))
    }

    /// A lease of another length than `of_lease` keeps the proportion of T1.
    fn with_renewal(lease_secs: u32, renew_secs: Option<u32>, of_lease: u32) -> Self {
        let rebind_secs = scaled(lease_secs, 7, 8);
        let renew_secs = match renew_secs {
            Some(renew) => scaled(lease_secs, renew, of_lease.max(1)),
            None => lease_secs / 4,
        };
        Self { lease_secs, renew_secs: renew_secs.min(rebind_secs), rebind_secs }
    }
}

/// `secs` × `part` / `whole`, rounded down.
fn scaled(secs: u32, part: u32, whole: u32) -> u32 {
    let product = u64::from(secs).saturating_mul(u64::from(part));
    u32::try_from(product / u64::from(whole.max(1))).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, Problems, Spec};

    fn network(members: &serde_json::Value) -> NetworkSpec {
        let mut spec = serde_json::json!({"prefixes": ["192.0.2.0/24"]});
        spec.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let mut problems = Problems::default();
        match Spec::decode(Kind::Network, &spec, "", &mut problems) {
            Some(Spec::Network(network)) => network,
            _ => panic!("{problems:?}"),
        }
    }

    fn times(time: LeaseTime) -> (u32, u32, u32) {
        (time.lease_secs, time.renew_secs, time.rebind_secs)
    }

    #[test]
    fn a_network_without_times_leases_an_hour_and_is_asked_every_quarter() {
        let plain = network(&serde_json::json!({}));
        assert_eq!(times(LeaseTime::of(&plain, true, None)), (3600, 900, 3150));
        assert_eq!(times(LeaseTime::of(&plain, false, None)), (300, 75, 262));
    }

    #[test]
    fn a_client_may_shorten_its_lease_but_not_lengthen_it() {
        let plain = network(&serde_json::json!({"lease_time": 7200, "renew_time": 600}));
        assert_eq!(times(LeaseTime::of(&plain, true, Some(u32::MAX))), (7200, 600, 6300));
        assert_eq!(times(LeaseTime::of(&plain, true, Some(1200))), (1200, 100, 1050));
        assert_eq!(times(LeaseTime::of(&plain, true, Some(1))), (120, 10, 105));
        assert_eq!(LeaseTime::of(&plain, false, Some(1)).lease_secs, 120);
        let guests = network(&serde_json::json!({"unknown_lease_time": 60}));
        assert_eq!(LeaseTime::of(&guests, false, Some(1)).lease_secs, 60);
    }

    #[test]
    fn a_remainder_under_a_minute_is_not_worth_an_answer() {
        let hour = LeaseTime::of(&network(&serde_json::json!({})), true, None);
        assert_eq!(hour.within(9999), Some(hour));
        assert_eq!(hour.within(60).map(times), Some((60, 15, 52)));
        assert_eq!(hour.within(59), None);
    }

    #[test]
    fn the_renewal_time_never_passes_the_rebinding_time() {
        let late = network(&serde_json::json!({"lease_time": 1000, "renew_time": 999}));
        assert_eq!(times(LeaseTime::of(&late, true, None)), (1000, 875, 875));
    }
}
