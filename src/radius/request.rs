//! What a request says, gathered in one walk over its attributes.
//!
//! Second step of the path, after [`wire`](super::wire): bytes become the few facts that identification and decisions use.
//! Attribute numbers are RFC 2865, 2866, 2869, 3162, 4818 and the vendors' own (DSL Forum RFC 4679, Redback, Unisphere ERX).
//! Nothing here is believed yet; the packet's signature is checked elsewhere.

use std::ops::RangeInclusive;

use smallvec::SmallVec;

use super::wire::attribute::{Attribute, kind};
use super::wire::packet::Packet;
use crate::journal::record::{Owner, Role};
use crate::model::decode::octets_to_text;
use crate::model::{Mac, Prefix};

const VENDOR_REDBACK: u32 = 2352;
const VENDOR_ADSL_FORUM: u32 = 3561;
const VENDOR_UNISPHERE: u32 = 4874;

/// Acct-Status-Type values (RFC 2866 §5.1).
pub mod status {
    /// Start.
    pub const START: u32 = 1;
    /// Stop.
    pub const STOP: u32 = 2;
    /// Interim-Update.
    pub const INTERIM_UPDATE: u32 = 3;
    /// Accounting-On.
    pub const ACCOUNTING_ON: u32 = 7;
    /// Accounting-Off.
    pub const ACCOUNTING_OFF: u32 = 8;
}

/// Service-Type Framed and Framed-Protocol PPP (RFC 2865 §5.6, §5.7).
pub mod framed {
    /// Framed-Protocol PPP.
    pub const PPP: u32 = 1;
    /// Service-Type Framed.
    pub const FRAMED: u32 = 2;
}

/// Counters of an Accounting-Request, 64 bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Octets from the subscriber.
    pub octets_in: u64,
    /// Octets to the subscriber.
    pub octets_out: u64,
    /// Packets from the subscriber.
    pub packets_in: u64,
    /// Packets to the subscriber.
    pub packets_out: u64,
}

/// NAS-Port-Type values of PPP in its forms: PPPoA, PPPoEoA, PPPoEoE, PPPoEoVLAN, PPPoEoQinQ (RFC 4603 §2).
const PPP_PORT_TYPES: RangeInclusive<u32> = 30..=34;

/// Class values of one request that are looked at: a NAS returns those of the Accept, and each costs an HMAC.
const CLASSES_MAX: usize = 4;

/// The facts of a request. Byte slices point into the packet.
#[derive(Clone, Default)]
pub struct Facts<'a> {
    /// User-Name.
    pub login: Option<&'a [u8]>,
    /// User-Password, hidden.
    pub user_password: Option<&'a [u8]>,
    /// CHAP-Password.
    pub chap_password: Option<&'a [u8]>,
    /// CHAP-Challenge.
    pub chap_challenge: Option<&'a [u8]>,
    /// Whether there is an EAP-Message.
    pub eap: bool,
    /// Whether there is a Proxy-State.
    pub proxy_state: bool,
    /// Framed-Protocol.
    pub framed_protocol: Option<u32>,
    /// NAS-Port-Type.
    pub nas_port_type: Option<u32>,
    /// Calling-Station-Id.
    pub calling_station_id: Option<&'a [u8]>,
    /// NAS-Port-Id.
    pub nas_port_id: Option<&'a [u8]>,
    /// Agent circuit-id, from whichever vendor's attribute.
    pub circuit_id: Option<&'a [u8]>,
    /// Agent remote-id.
    pub remote_id: Option<&'a [u8]>,
    /// Class values.
    pub class: SmallVec<[&'a [u8]; 1]>,
    /// Acct-Status-Type.
    pub status: Option<u32>,
    /// Acct-Session-Id.
    pub acct_session_id: Option<&'a [u8]>,
    /// Acct-Session-Time in seconds.
    pub session_time: u32,
    /// Acct-Delay-Time in seconds.
    pub delay_time: u32,
    /// Event-Timestamp in seconds since the epoch.
    pub event_timestamp: Option<u32>,
    /// Acct-Terminate-Cause.
    pub cause: u32,
    /// Counters.
    pub counters: Counters,
    /// Addresses and prefixes.
    pub addresses: SmallVec<[(Role, Prefix); 3]>,
    /// Accounting attributes met so far, by type.
    met: u64,
}

impl std::fmt::Debug for Facts<'_> {
    /// Without what proves the subscriber: a CHAP response can be guessed at offline.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facts")
            .field("login", &self.login.map(octets_to_text))
            .field("status", &self.status)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl<'a> Facts<'a> {
    /// Walks the attributes once. Of repeated single-valued attributes the first counts (RFC 2865 §5).
    pub fn of(packet: &Packet<'a>) -> Self {
        let mut facts = Self::default();
        for attribute in packet.attributes() {
            facts.take(attribute);
        }
        facts
    }

    fn take(&mut self, attribute: Attribute<'a>) {
        let value = attribute.value;
        match attribute.kind {
            kind::USER_NAME => keep(&mut self.login, value),
            kind::USER_PASSWORD => keep(&mut self.user_password, value),
            kind::CHAP_PASSWORD => keep(&mut self.chap_password, value),
            kind::CHAP_CHALLENGE => keep(&mut self.chap_challenge, value),
            kind::EAP_MESSAGE => self.eap = true,
            kind::PROXY_STATE => self.proxy_state = true,
            kind::FRAMED_PROTOCOL => self.framed_protocol = self.framed_protocol.or(attribute.u32().ok()),
            kind::CALLING_STATION_ID => keep(&mut self.calling_station_id, value),
            kind::NAS_PORT_TYPE => self.nas_port_type = self.nas_port_type.or(attribute.u32().ok()),
            kind::NAS_PORT_ID => keep(&mut self.nas_port_id, value),
            kind::CLASS if self.class.len() < CLASSES_MAX => self.class.push(value),
            kind::FRAMED_IP_ADDRESS | kind::FRAMED_IPV6_PREFIX | kind::DELEGATED_IPV6_PREFIX => {
                self.take_address(attribute);
            }
            kind::VENDOR_SPECIFIC => self.take_vendor(attribute),
            _ => self.take_accounting(attribute),
        }
    }

    fn take_accounting(&mut self, attribute: Attribute<'a>) {
        let own = 1_u64.checked_shl(attribute.kind.into()).unwrap_or(0);
        if self.met & own != 0 {
            return;
        }
        self.met |= own;
        let number = || attribute.u32().unwrap_or(0);
        let counters = &mut self.counters;
        match attribute.kind {
            kind::ACCT_STATUS_TYPE => self.status = attribute.u32().ok(),
            kind::ACCT_SESSION_ID => self.acct_session_id = Some(attribute.value),
            kind::ACCT_SESSION_TIME => self.session_time = number(),
            kind::ACCT_DELAY_TIME => self.delay_time = number(),
            kind::EVENT_TIMESTAMP => self.event_timestamp = attribute.u32().ok(),
            kind::ACCT_TERMINATE_CAUSE => self.cause = number(),
            kind::ACCT_INPUT_OCTETS => counters.octets_in |= u64::from(number()),
            kind::ACCT_OUTPUT_OCTETS => counters.octets_out |= u64::from(number()),
            kind::ACCT_INPUT_GIGAWORDS => counters.octets_in |= u64::from(number()) << 32,
            kind::ACCT_OUTPUT_GIGAWORDS => counters.octets_out |= u64::from(number()) << 32,
            kind::ACCT_INPUT_PACKETS => counters.packets_in = u64::from(number()),
            kind::ACCT_OUTPUT_PACKETS => counters.packets_out = u64::from(number()),
            _ => {}
        }
    }

    fn take_address(&mut self, attribute: Attribute<'a>) {
        let found = match attribute.kind {
            // 255.255.255.254 and .255 ask for an address, they are none (RFC 2865 §5.8).
            kind::FRAMED_IP_ADDRESS => attribute
                .ipv4()
                .ok()
                .filter(|address| {
                    !address.is_unspecified() && !address.is_broadcast() && u32::from(*address) != 0xffff_fffe
                })
                .map(|address| (Role::V4, Prefix::v4(address))),
            kind::FRAMED_IPV6_PREFIX => {
                attribute.ipv6_prefix().ok().map(|prefix| (Role::Wan, Prefix::from(prefix)))
            }
            _ => attribute.ipv6_prefix().ok().map(|prefix| (Role::Delegated, Prefix::from(prefix))),
        };
        if let Some(found) = found.filter(|_| self.addresses.len() < 8) {
            self.addresses.push(found);
        }
    }

    fn take_vendor(&mut self, attribute: Attribute<'a>) {
        let Some(vendor) = attribute.vendor_specific() else { return };
        let Some(attributes) = vendor.attributes() else { return };
        for inner in attributes {
            match (vendor.vendor, inner.kind) {
                (VENDOR_ADSL_FORUM, 1) | (VENDOR_REDBACK, 97) | (VENDOR_UNISPHERE, 110) => {
                    keep(&mut self.circuit_id, inner.value);
                }
                (VENDOR_ADSL_FORUM, 2) | (VENDOR_REDBACK, 96) | (VENDOR_UNISPHERE, 182) => {
                    keep(&mut self.remote_id, inner.value);
                }
                _ => {}
            }
        }
    }

    /// MAC address of the subscriber's equipment: in Calling-Station-Id, which may carry more after it, else a User-Name
    /// that is one, unless the request is for PPP, where the subscriber chooses that.
    pub fn mac(&self) -> Option<Mac> {
        let calling = self
            .calling_station_id
            .and_then(|value| Mac::parse(value).or_else(|| value.get(..17).and_then(Mac::parse)));
        calling.or_else(|| self.login.filter(|_| !self.is_ppp()).and_then(Mac::parse))
    }

    /// Whether the request is for PPP, as Framed-Protocol or NAS-Port-Type tells.
    pub fn is_ppp(&self) -> bool {
        self.framed_protocol == Some(framed::PPP)
            || self.nas_port_type.is_some_and(|kind| PPP_PORT_TYPES.contains(&kind))
    }

    /// Line and MAC of the subscriber's equipment. Without either, the port stands for the line.
    pub fn owner(&self) -> Owner {
        let line = Owner::line_key(self.remote_id, self.circuit_id);
        let mac = self.mac().unwrap_or_default();
        if line == 0 && mac == Mac::default() {
            return Owner { line: Owner::line_key(self.calling_station_id, self.nas_port_id), mac };
        }
        Owner { line, mac }
    }

    /// The line as readable text, for history and decisions.
    pub fn line_text(&self) -> SmallVec<[u8; 24]> {
        let mut text = SmallVec::new();
        for part in [self.remote_id, self.circuit_id].into_iter().flatten() {
            if !text.is_empty() {
                text.push(b' ');
            }
            text.extend_from_slice(octets_to_text(part).as_bytes());
        }
        text
    }

    /// VLAN of the subscriber, where NAS-Port-Id shows it: `vlan101`, `…vlanid=11;…`, `…:501.1001` (inner last).
    pub fn vlan(&self) -> Option<u16> {
        let text = std::str::from_utf8(self.nas_port_id?).ok()?;
        let tail = ["vlanid=", "vlan"].iter().find_map(|mark| text.split_once(mark)).map(|(_, tail)| tail);
        let tail = tail.or_else(|| {
            text.rsplit_once(':').map(|(_, vlans)| vlans.rsplit_once('.').map_or(vlans, |(_, inner)| inner))
        })?;
        let digits = tail.split(|symbol: char| !symbol.is_ascii_digit()).next()?;
        digits.parse().ok().filter(|vlan| (1..=4094).contains(vlan))
    }
}

fn keep<'a>(place: &mut Option<&'a [u8]>, value: &'a [u8]) {
    if place.is_none() {
        *place = Some(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vlan_is_read_from_the_port_forms_that_nases_send() {
        let vlan =
            |text: &'static str| Facts { nas_port_id: Some(text.as_bytes()), ..Facts::default() }.vlan();
        assert_eq!(vlan("vlan101"), Some(101));
        assert_eq!(vlan("slot=0;subslot=0;port=16;vlanid=11;vlanid2=2328;"), Some(11));
        assert_eq!(vlan("1/1/4:501.1001"), Some(1001));
        assert_eq!(vlan("lag-1:300"), Some(300));
        assert_eq!(vlan("ether3"), None);
        assert_eq!(vlan("vlan4095"), None);
    }

    #[test]
    fn the_owner_is_the_line_else_the_mac_address_else_the_port() {
        let line = Facts {
            circuit_id: Some(b"c"),
            calling_station_id: Some(b"02:00:5e:00:53:01"),
            ..Facts::default()
        };
        assert_ne!(line.owner().line, 0);
        let mac = Facts { calling_station_id: Some(b"02-00-5E-00-53-01 extra"), ..Facts::default() };
        assert_eq!(mac.owner(), Owner { line: 0, mac: Mac([2, 0, 0x5e, 0, 0x53, 1]) });
        let port = Facts { nas_port_id: Some(b"ether3"), ..Facts::default() };
        assert_ne!(port.owner().line, 0);
        assert!(Facts::default().owner().is_unknown());
    }
}
