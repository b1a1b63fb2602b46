//! Rates in each vendor's words. Rates are bit/s integers everywhere else and are converted here, at the edge.
//!
//! MikroTik: Mikrotik-Rate-Limit "rx/tx" from the router's view, so upload first. Others: WISPr-Bandwidth-Max-Up and -Down in bit/s,
//! which are 32 bit: a rate above 4.294 Gbit/s is left out rather than wrapped (FIELD R21). Vendors whose boxes take named
//! profiles get Filter-Id or their own attributes from the plan.

use super::wire::encode::{EncodeError, PacketWriter};
use crate::model::plan::PlanSpec;
use crate::snapshot::types::Nas;

const VENDOR_MIKROTIK: u32 = 14_988;
const MIKROTIK_RATE_LIMIT: u8 = 8;
const VENDOR_WISPR: u32 = 14_122;
const WISPR_BANDWIDTH_MAX_UP: u8 = 7;
const WISPR_BANDWIDTH_MAX_DOWN: u8 = 8;

/// Appends the plan's rates for this NAS.
pub(super) fn write_rates(
    writer: &mut PacketWriter<'_>,
    nas: &Nas,
    plan: &PlanSpec,
) -> Result<(), EncodeError> {
    if plan.rate_up.is_none() && plan.rate_down.is_none() {
        return Ok(());
    }
    match &*nas.vendor {
        "mikrotik" => {
            let rate = |rate: Option<u64>| rate.map_or_else(|| "0".to_owned(), mikrotik_rate);
            let limit = format!("{}/{}", rate(plan.rate_up), rate(plan.rate_down));
            writer.vendor(VENDOR_MIKROTIK, MIKROTIK_RATE_LIMIT, limit.as_bytes())
        }
        "generic" | "accel-ppp" => {
            let pairs = [(WISPR_BANDWIDTH_MAX_UP, plan.rate_up), (WISPR_BANDWIDTH_MAX_DOWN, plan.rate_down)];
            for (kind, rate) in pairs {
                if let Some(rate) = rate.and_then(|rate| u32::try_from(rate).ok()) {
                    writer.vendor(VENDOR_WISPR, kind, &rate.to_be_bytes())?;
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// k is 1000 and M is 1,000,000 in RouterOS.
fn mikrotik_rate(rate: u64) -> String {
    if rate.is_multiple_of(1_000_000) {
        format!("{}M", rate / 1_000_000)
    } else if rate.is_multiple_of(1_000) {
        format!("{}k", rate / 1_000)
    } else {
        rate.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_written_in_the_largest_whole_unit() {
        assert_eq!(mikrotik_rate(300_000_000), "300M");
        assert_eq!(mikrotik_rate(1_500_000), "1500k");
        assert_eq!(mikrotik_rate(64_500), "64500");
    }
}
