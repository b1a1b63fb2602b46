//! A DHCP relay that may speak for subscribers.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Prefix;
use super::decode::{Problems, Reader, boolean, name, parsed};
use super::object::Kind;
use super::reference::Ref;

/// Desired state of a relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RelaySpec {
    /// Addresses it relays from: giaddr or datagram source, single or prefixes.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<Prefix>,
    /// Scope of line identities: relays of one group share their circuit-ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The network of requests whose giaddr and link-selection lie in no network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub network: Option<Ref>,
    /// Whether its option 82 identifies lines; a relay that passes on what CPEs send must not.
    #[serde(default = "trusted")]
    pub trust_option82: bool,
}

const fn trusted() -> bool {
    true
}

impl RelaySpec {
    /// Decodes the spec; see [`super::Spec::decode`].
    pub fn decode(value: &Value, pointer: &str, problems: &mut Problems) -> Option<Self> {
        let mut reader = Reader::new(value, pointer, problems)?;
        let addresses = reader.list("addresses", parsed::<Prefix>);
        if addresses.is_empty() {
            reader.problem("addresses", "at least one address or prefix is required");
        }
        let group = reader.optional("group", name);
        let network = reader.optional("network", parsed::<Ref>);
        let trust_option82 = reader.optional("trust_option82", boolean).unwrap_or(true);
        reader.finish(|| Some(Self { addresses, group, network, trust_option82 }))
    }

    pub(super) fn refs(&self) -> Vec<(&'static str, Kind, &Ref)> {
        self.network.iter().map(|network| ("network", Kind::Network, network)).collect()
    }

    pub(super) fn refs_mut(&mut self) -> Vec<(&'static str, Kind, &mut Ref)> {
        self.network.iter_mut().map(|network| ("network", Kind::Network, network)).collect()
    }
}
