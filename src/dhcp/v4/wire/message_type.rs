//! The DHCP message types (option 53).
//!
//! RFC 2132 §9.6 and the registry "DHCP Message Type 53 Values": RFC 3203, RFC 4388, RFC 6926, RFC 7724.

use std::fmt;

macro_rules! message_types {
    ($($(#[$doc:meta])* $variant:ident = $value:literal, $name:literal;)+) => {
        /// What a message is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum MessageType {
            $($(#[$doc])* $variant = $value,)+
        }

        impl MessageType {
            /// All assigned types, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// From the byte in option 53; none when it is not assigned.
            pub const fn from_wire(value: u8) -> Option<Self> {
                match value {
                    $($value => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The byte in option 53.
            pub const fn wire(self) -> u8 {
                self as u8
            }

            /// The name as in the registry.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

message_types! {
    /// A client looks for servers.
    Discover = 1, "DHCPDISCOVER";
    /// A server offers an address.
    Offer = 2, "DHCPOFFER";
    /// A client accepts, confirms or extends.
    Request = 3, "DHCPREQUEST";
    /// A client found the address in use.
    Decline = 4, "DHCPDECLINE";
    /// A server commits.
    Ack = 5, "DHCPACK";
    /// A server refuses.
    Nak = 6, "DHCPNAK";
    /// A client gives the address back.
    Release = 7, "DHCPRELEASE";
    /// A client that has an address asks for configuration only.
    Inform = 8, "DHCPINFORM";
    /// A server makes a client renew (RFC 3203).
    ForceRenew = 9, "DHCPFORCERENEW";
    /// A relay asks about a lease (RFC 4388).
    LeaseQuery = 10, "DHCPLEASEQUERY";
    /// The address is the server's and free (RFC 4388).
    LeaseUnassigned = 11, "DHCPLEASEUNASSIGNED";
    /// The server does not know (RFC 4388).
    LeaseUnknown = 12, "DHCPLEASEUNKNOWN";
    /// The lease asked about (RFC 4388).
    LeaseActive = 13, "DHCPLEASEACTIVE";
    /// A relay asks for many leases over TCP (RFC 6926).
    BulkLeaseQuery = 14, "DHCPBULKLEASEQUERY";
    /// End of a bulk answer (RFC 6926).
    LeaseQueryDone = 15, "DHCPLEASEQUERYDONE";
    /// A relay asks for lease changes as they happen (RFC 7724).
    ActiveLeaseQuery = 16, "DHCPACTIVELEASEQUERY";
    /// State of an active answer (RFC 7724).
    LeaseQueryStatus = 17, "DHCPLEASEQUERYSTATUS";
    /// Start of TLS on a leasequery connection (RFC 7724).
    Tls = 18, "DHCPTLS";
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eighteen_assigned_types_and_no_other_are_known() {
        let known: Vec<u8> = (0..=255).filter(|value| MessageType::from_wire(*value).is_some()).collect();
        assert_eq!(known, (1..=18).collect::<Vec<u8>>());
        for kind in MessageType::ALL {
            assert_eq!(MessageType::from_wire(kind.wire()), Some(*kind));
        }
    }
}
