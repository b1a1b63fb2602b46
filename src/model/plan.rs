//! Network policy: rates, pool classes, timeouts.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::decode::{Problems, Reader, name, number, text};
use crate::limits::RADIUS_VALUE_BYTES_MAX;

/// Desired state of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PlanSpec {
    /// Towards the subscriber, in bit/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_down: Option<u64>,
    /// From the subscriber, in bit/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_up: Option<u64>,
    /// Class of pools for IPv4 addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_class_v4: Option<String>,
    /// Class of pools for WAN prefixes (Framed-IPv6-Prefix).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_class_wan: Option<String>,
    /// Class of pools for delegated prefixes (Delegated-IPv6-Prefix).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_class_pd: Option<String>,
    /// VRF; the default VRF when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,
    /// Session-Timeout in seconds, 60 to 2,592,000; none when absent, unless the NAS needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_timeout: Option<u32>,
    /// Idle-Timeout in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<u32>,
    /// Acct-Interim-Interval in seconds, 60 to 86,400 (RFC 2869 §5.16 asks for at least 600); 900 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interim: Option<u32>,
    /// Simultaneous sessions, 1 to 16; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<u8>,
    /// Filter-Id, as the NAS knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_id: Option<String>,
    /// Reply-Message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_message: Option<String>,
}

impl PlanSpec {
    /// Decodes the spec; see [`super::Spec::decode`].
    pub fn decode(value: &Value, pointer: &str, problems: &mut Problems) -> Option<Self> {
        let mut reader = Reader::new(value, pointer, problems)?;
        let rate = || number(1_000..=10_000_000_000_000);
        let seconds = |from, to| number(from..=to);
        let spec = Self {
            rate_down: reader.optional("rate_down", rate()),
            rate_up: reader.optional("rate_up", rate()),
            pool_class_v4: reader.optional("pool_class_v4", name),
            pool_class_wan: reader.optional("pool_class_wan", name),
            pool_class_pd: reader.optional("pool_class_pd", name),
            vrf: reader.optional("vrf", name),
            session_timeout: reader
                .optional("session_timeout", seconds(60, 2_592_000))
                .map(|secs| secs as u32),
            idle_timeout: reader.optional("idle_timeout", seconds(60, 2_592_000)).map(|secs| secs as u32),
            interim: reader.optional("interim", seconds(60, 86_400)).map(|secs| secs as u32),
            max_sessions: reader.optional("max_sessions", number(1..=16)).map(|count| count as u8),
            filter_id: reader.optional("filter_id", text),
            reply_message: reader.optional("reply_message", text),
        };
        // One attribute carries it, and a filter that cannot be sent would leave the subscriber unfiltered or unanswered.
        let filter = spec.filter_id.as_deref();
        if filter.is_some_and(|filter| !(1..=RADIUS_VALUE_BYTES_MAX).contains(&filter.len())) {
            reader.problem("filter_id", "a Filter-Id has 1 to 253 bytes");
        }
        reader.finish(|| Some(spec))
    }
}
