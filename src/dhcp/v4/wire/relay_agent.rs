//! Relay Agent Information (option 82): what the access node says of the line a request came from.
//!
//! ```text
//!  +-----+-----+----------+-----+-----+----------+
//!  | sub | len | value    | sub | len | value    | ...      no pad, no end
//!  +-----+-----+----------+-----+-----+----------+
//! ```
//!
//! RFC 3046 §2.0 (form), §2.2 (echo), §3.1, §3.2; RFC 3527, RFC 3993, RFC 4243, RFC 5010, RFC 5107, RFC 6607,
//! RFC 6925, RFC 8357.
//!
//! Invariants: a [`RelayAgent`] was read to its end; a sub-option with one size has it; one that names the
//! line or the network appears once. All bytes stay available for the echo, which copies the option as
//! received, unknown sub-options included (RFC 3046 §2.2). The one exception: a server that uses the VSS
//! sub-option (151) leaves VSS-Control (152) out of the echo, and so tells the relay that it did
//! (RFC 6607 §8); [`RelayAgent::without_vss_control`] makes that value.
//!
//! It does not trust: which relay may speak for which line is the core's matter.

use std::net::Ipv4Addr;

use super::WireError;
use super::code::sub;

/// Option 82, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayAgent<'a> {
    bytes: &'a [u8],
    circuit_id: Option<&'a [u8]>,
    remote_id: Option<&'a [u8]>,
}

/// A virtual subnet (RFC 6607).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtualSubnet<'a> {
    /// Type 0: a VPN name in NVT ASCII, not terminated.
    Name(&'a [u8]),
    /// Type 1: a VPN id (RFC 2685).
    VpnId([u8; 7]),
    /// Type 255: the global, default VPN.
    Global,
    /// Another type, or one of the above in a form that its definition does not give.
    Other(u8, &'a [u8]),
}

impl<'a> VirtualSubnet<'a> {
    /// From the value of sub-option 151 or option 221; none when it is empty.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (kind, rest) = value.split_first()?;
        Some(match (kind, rest) {
            (0, name) => Self::Name(name),
            (1, id) if id.len() == 7 => Self::VpnId(id.try_into().ok()?),
            (255, []) => Self::Global,
            (kind, rest) => Self::Other(*kind, rest),
        })
    }
}

/// Size of the sub-options that have one; none for the others.
const fn size_of_sub_option(code: u8) -> Option<usize> {
    match code {
        sub::LINK_SELECTION | sub::SERVER_ID_OVERRIDE => Some(4),
        sub::FLAGS => Some(1),
        sub::RELAY_SOURCE_PORT | sub::VIRTUAL_SUBNET_SELECTION_CONTROL => Some(0),
        _ => None,
    }
}

/// Whether a second one would make line or network ambiguous.
const fn appears_once(code: u8) -> bool {
    matches!(
        code,
        sub::CIRCUIT_ID
            | sub::REMOTE_ID
            | sub::LINK_SELECTION
            | sub::SUBSCRIBER_ID
            | sub::FLAGS
            | sub::SERVER_ID_OVERRIDE
            | sub::RELAY_ID
            | sub::RELAY_SOURCE_PORT
            | sub::VIRTUAL_SUBNET_SELECTION
            | sub::VIRTUAL_SUBNET_SELECTION_CONTROL
    )
}

impl<'a> RelayAgent<'a> {
    /// Checks the value of option 82.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut agent = Self { bytes, circuit_id: None, remote_id: None };
        let mut seen = super::OptionSet::EMPTY;
        let mut rest = bytes;
        while let [code, ref tail @ ..] = *rest {
            let Some((value, behind)) =
                tail.split_first().and_then(|(len, tail)| tail.split_at_checked(usize::from(*len)))
            else {
                return Err(WireError::SubOptionTruncated { code });
            };
            if size_of_sub_option(code).is_some_and(|size| size != value.len()) {
                return Err(WireError::SubOptionLength { code, len: value.len() as u8 });
            }
            if !seen.insert(code) && appears_once(code) {
                return Err(WireError::SubOptionRepeated { code });
            }
            match code {
                sub::CIRCUIT_ID => agent.circuit_id = named(value),
                sub::REMOTE_ID => agent.remote_id = named(value),
                _ => {}
            }
            rest = behind;
        }
        Ok(agent)
    }

    /// The value of option 82 as received.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// All sub-options in their order, known or not.
    pub fn sub_options(&self) -> SubOptions<'a> {
        SubOptions { rest: self.bytes }
    }

    /// The value of the first sub-option `code`.
    pub fn find(&self, code: u8) -> Option<&'a [u8]> {
        self.sub_options().find(|(found, _)| *found == code).map(|(_, value)| value)
    }

    fn address(&self, code: u8) -> Option<Ipv4Addr> {
        self.find(code).and_then(|value| <[u8; 4]>::try_from(value).ok()).map(Ipv4Addr::from)
    }

    /// The circuit the request came in by (RFC 3046 §3.1); none when empty.
    pub fn circuit_id(&self) -> Option<&'a [u8]> {
        self.circuit_id
    }

    /// The far end of the circuit (RFC 3046 §3.2); none when empty.
    pub fn remote_id(&self) -> Option<&'a [u8]> {
        self.remote_id
    }

    /// The subnet of the client, by an address in it, where it is not the one of `giaddr` (RFC 3527).
    pub fn link_selection(&self) -> Option<Ipv4Addr> {
        self.address(sub::LINK_SELECTION)
    }

    /// The subscriber, whatever the port (RFC 3993); none when empty.
    pub fn subscriber_id(&self) -> Option<&'a [u8]> {
        self.find(sub::SUBSCRIBER_ID).and_then(named)
    }

    /// Vendor data by enterprise number (RFC 4243), over all sub-options 9.
    pub fn vendor_specific(&self) -> impl Iterator<Item = Result<(u32, &'a [u8]), WireError>> {
        self.sub_options()
            .filter(|(code, _)| *code == sub::VENDOR_SPECIFIC)
            .flat_map(|(_, value)| VendorEntries { rest: value })
    }

    /// Whether the request reached the relay as unicast (RFC 5010); none when the relay does not say.
    pub fn unicast(&self) -> Option<bool> {
        self.find(sub::FLAGS).and_then(<[u8]>::first).map(|flags| flags & 0x80 != 0)
    }

    /// The server id to put in replies, so that renewals pass the relay too (RFC 5107).
    pub fn server_id_override(&self) -> Option<Ipv4Addr> {
        self.address(sub::SERVER_ID_OVERRIDE)
    }

    /// The relay itself (RFC 6925); none when empty.
    pub fn relay_id(&self) -> Option<&'a [u8]> {
        self.find(sub::RELAY_ID).and_then(named)
    }

    /// Whether replies go to the UDP port the request came from, and not to 67 (RFC 8357).
    pub fn relay_source_port(&self) -> bool {
        self.find(sub::RELAY_SOURCE_PORT).is_some()
    }

    /// The virtual subnet to allocate in (RFC 6607).
    pub fn virtual_subnet(&self) -> Option<VirtualSubnet<'a>> {
        self.find(sub::VIRTUAL_SUBNET_SELECTION).and_then(VirtualSubnet::parse)
    }

    /// Whether the relay wants to know if the server used the virtual subnet (RFC 6607).
    pub fn vss_control(&self) -> bool {
        self.find(sub::VIRTUAL_SUBNET_SELECTION_CONTROL).is_some()
    }

    /// The echo of a server that used the virtual subnet: all sub-options but VSS-Control, written to `out`;
    /// none when `out` is shorter than [`Self::bytes`].
    pub fn without_vss_control<'b>(&self, out: &'b mut [u8]) -> Option<&'b [u8]> {
        let out = out.get_mut(..self.bytes.len())?;
        let mut writer = RelayAgentWriter::new(out);
        for (code, value) in self.sub_options() {
            if code != sub::VIRTUAL_SUBNET_SELECTION_CONTROL {
                writer.sub_option(code, value);
            }
        }
        Some(writer.finish())
    }
}

/// An identity without bytes names nothing: two lines that both send it would be one.
fn named(value: &[u8]) -> Option<&[u8]> {
    (!value.is_empty()).then_some(value)
}

/// Sub-options of option 82, see [`RelayAgent::sub_options`].
#[derive(Clone, Debug)]
pub struct SubOptions<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for SubOptions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let [code, len, ref tail @ ..] = *self.rest else {
            return None;
        };
        let (value, rest) = tail.split_at_checked(usize::from(len))?;
        self.rest = rest;
        Some((code, value))
    }
}

/// Enterprise number and data, repeated (RFC 4243).
struct VendorEntries<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for VendorEntries<'a> {
    type Item = Result<(u32, &'a [u8]), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let whole = std::mem::take(&mut self.rest);
        let entry = match *whole {
            [a, b, c, d, len, ref tail @ ..] => tail
                .split_at_checked(usize::from(len))
                .map(|(data, rest)| (u32::from_be_bytes([a, b, c, d]), data, rest)),
            _ => None,
        };
        let Some((enterprise, data, rest)) = entry else {
            return Some(Err(WireError::SubOptionTruncated { code: sub::VENDOR_SPECIFIC }));
        };
        self.rest = rest;
        Some(Ok((enterprise, data)))
    }
}

/// Writes the value of option 82 as a relay would: for tests, the load generator and the demo.
#[derive(Debug)]
pub struct RelayAgentWriter<'b> {
    out: &'b mut [u8],
    len: usize,
}

impl<'b> RelayAgentWriter<'b> {
    /// Starts an empty value in `out`.
    pub fn new(out: &'b mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    /// Appends a sub-option; false, and nothing written, when it has more than 255 bytes or does not fit.
    pub fn sub_option(&mut self, code: u8, value: &[u8]) -> bool {
        let Ok(len) = u8::try_from(value.len()) else {
            return false;
        };
        let end = self.len.saturating_add(2).saturating_add(value.len());
        let Some([code_at, len_at, value_at @ ..]) = self.out.get_mut(self.len..end) else {
            return false;
        };
        (*code_at, *len_at) = (code, len);
        value_at.copy_from_slice(value);
        self.len = end;
        true
    }

    /// The value written.
    pub fn finish(self) -> &'b [u8] {
        self.out.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_option_past_the_end_is_an_error_and_not_an_early_end() {
        for (bytes, code) in
            [(&[1][..], 1), (&[1, 1], 1), (&[1, 1, b'c', 2, 3, 0, 0], 2), (&[9, 0, 255], 255)]
        {
            assert_eq!(RelayAgent::parse(bytes), Err(WireError::SubOptionTruncated { code }));
        }
    }

    #[test]
    fn an_empty_circuit_id_names_no_line_but_is_kept() {
        let agent = RelayAgent::parse(&[1, 0, 2, 1, b'r']).unwrap();
        assert_eq!(agent.circuit_id(), None);
        assert_eq!(agent.find(1), Some(&[][..]));
        assert_eq!(agent.remote_id(), Some(&b"r"[..]));
    }

    #[test]
    fn a_second_circuit_id_is_refused_and_a_second_unknown_one_kept() {
        let error = RelayAgent::parse(&[1, 1, b'a', 1, 1, b'b']).unwrap_err();
        assert_eq!(error, WireError::SubOptionRepeated { code: 1 });
        let agent = RelayAgent::parse(&[200, 1, b'a', 200, 1, b'b']).unwrap();
        assert_eq!(agent.sub_options().count(), 2);
    }

    #[test]
    fn vendor_data_is_read_entry_by_entry_and_its_damage_is_local() {
        let agent = RelayAgent::parse(&[9, 9, 0, 0, 13, 233, 2, 7, 8, 0, 0, 1, 1, b'c']).unwrap();
        assert_eq!(agent.circuit_id(), Some(&b"c"[..]));
        let entries: Vec<_> = agent.vendor_specific().collect();
        assert_eq!(
            entries,
            [Ok((3561, &[7, 8][..])), Err(WireError::SubOptionTruncated { code: sub::VENDOR_SPECIFIC })]
        );
    }

    #[test]
    fn the_unicast_bit_is_the_first_of_the_flags() {
        let unicast = |bytes| RelayAgent::parse(bytes).unwrap().unicast();
        assert_eq!(
            (unicast(&[10, 1, 0x80]), unicast(&[10, 1, 0x7f]), unicast(&[])),
            (Some(true), Some(false), None)
        );
    }

    #[test]
    fn a_virtual_subnet_has_three_forms_and_keeps_the_others_raw() {
        assert_eq!(VirtualSubnet::parse(b"\0vpn"), Some(VirtualSubnet::Name(b"vpn")));
        assert_eq!(VirtualSubnet::parse(b"\x01abcdefg"), Some(VirtualSubnet::VpnId(*b"abcdefg")));
        assert_eq!(VirtualSubnet::parse(&[255]), Some(VirtualSubnet::Global));
        assert_eq!(VirtualSubnet::parse(b"\x01abc"), Some(VirtualSubnet::Other(1, b"abc")));
        assert_eq!(VirtualSubnet::parse(&[255, 0]), Some(VirtualSubnet::Other(255, &[0])));
        assert_eq!(VirtualSubnet::parse(&[]), None);
    }

    #[test]
    fn the_echo_of_a_server_that_used_the_virtual_subnet_lacks_vss_control_only() {
        let agent = RelayAgent::parse(&[1, 1, b'c', 152, 0, 151, 4, 0, b'v', b'p', b'n', 77, 0]).unwrap();
        assert!(agent.vss_control());
        assert_eq!(agent.virtual_subnet(), Some(VirtualSubnet::Name(b"vpn")));
        let mut out = [0; 32];
        let echo = agent.without_vss_control(&mut out).unwrap();
        assert_eq!(echo, [1, 1, b'c', 151, 4, 0, b'v', b'p', b'n', 77, 0]);
    }
}
