//! DHCPv4 option and sub-option codes that the server reads or writes by name.
//!
//! Names as in the registries "BOOTP Vendor Extensions and DHCP Options" and "DHCP Relay Agent Sub-Option
//! Codes". Other options are served by number from the option tables; nothing here limits them.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)+) => {
        $($(#[$doc])* pub const $name: u8 = $value;)+
    };
}

codes! {
    /// Pad (RFC 2132 §3.1): one byte, no length.
    PAD = 0;
    /// Subnet Mask (RFC 2132 §3.3).
    SUBNET_MASK = 1;
    /// Router (RFC 2132 §3.5).
    ROUTER = 3;
    /// Domain Server (RFC 2132 §3.8).
    DOMAIN_SERVER = 6;
    /// Hostname (RFC 2132 §3.14).
    HOSTNAME = 12;
    /// Domain Name (RFC 2132 §3.17).
    DOMAIN_NAME = 15;
    /// Interface MTU (RFC 2132 §5.1).
    MTU_INTERFACE = 26;
    /// Broadcast Address (RFC 2132 §5.3).
    BROADCAST_ADDRESS = 28;
    /// NTP Servers (RFC 2132 §8.3).
    NTP_SERVERS = 42;
    /// Vendor Specific (RFC 2132 §8.4).
    VENDOR_SPECIFIC = 43;
    /// Address Request (RFC 2132 §9.1).
    ADDRESS_REQUEST = 50;
    /// Address Time (RFC 2132 §9.2): the lease, in seconds.
    ADDRESS_TIME = 51;
    /// Overload (RFC 2132 §9.3).
    OVERLOAD = 52;
    /// DHCP Msg Type (RFC 2132 §9.6).
    DHCP_MSG_TYPE = 53;
    /// DHCP Server Id (RFC 2132 §9.7).
    DHCP_SERVER_ID = 54;
    /// Parameter List (RFC 2132 §9.8).
    PARAMETER_LIST = 55;
    /// DHCP Message (RFC 2132 §9.9): text for a person, in a NAK or DECLINE.
    DHCP_MESSAGE = 56;
    /// DHCP Max Msg Size (RFC 2132 §9.10).
    DHCP_MAX_MSG_SIZE = 57;
    /// Renewal Time, T1, in seconds (RFC 2132 §9.11).
    RENEWAL_TIME = 58;
    /// Rebinding Time, T2, in seconds (RFC 2132 §9.12).
    REBINDING_TIME = 59;
    /// Class Id: the vendor class (RFC 2132 §9.13).
    CLASS_ID = 60;
    /// Client Id (RFC 2132 §9.14).
    CLIENT_ID = 61;
    /// Server-Name: the TFTP server (RFC 2132 §9.4).
    SERVER_NAME = 66;
    /// Bootfile-Name (RFC 2132 §9.5).
    BOOTFILE_NAME = 67;
    /// User-Class (RFC 3004).
    USER_CLASS = 77;
    /// Client FQDN (RFC 4702).
    CLIENT_FQDN = 81;
    /// Relay Agent Information (RFC 3046).
    RELAY_AGENT_INFORMATION = 82;
    /// IPv6-Only Preferred (RFC 8925).
    IPV6_ONLY_PREFERRED = 108;
    /// DHCP Captive-Portal (RFC 8910).
    DHCP_CAPTIVE_PORTAL = 114;
    /// Auto-Config (RFC 2563).
    AUTO_CONFIG = 116;
    /// Subnet Selection (RFC 3011).
    SUBNET_SELECTION = 118;
    /// Domain Search (RFC 3397).
    DOMAIN_SEARCH = 119;
    /// Classless Static Route (RFC 3442).
    CLASSLESS_STATIC_ROUTE = 121;
    /// V-I Vendor Class (RFC 3925).
    VENDOR_IDENTIFYING_CLASS = 124;
    /// V-I Vendor-Specific Information (RFC 3925).
    VENDOR_IDENTIFYING_INFORMATION = 125;
    /// DHCPv4 Virtual Subnet Selection (RFC 6607).
    VIRTUAL_SUBNET_SELECTION = 221;
    /// End (RFC 2132 §3.2): one byte, no length.
    END = 255;
}

/// Sub-options of option 82.
pub mod sub {
    codes! {
        /// Agent Circuit ID (RFC 3046 §3.1).
        CIRCUIT_ID = 1;
        /// Agent Remote ID (RFC 3046 §3.2).
        REMOTE_ID = 2;
        /// DOCSIS Device Class (RFC 3256).
        DOCSIS_DEVICE_CLASS = 4;
        /// Link Selection (RFC 3527).
        LINK_SELECTION = 5;
        /// Subscriber-ID (RFC 3993).
        SUBSCRIBER_ID = 6;
        /// RADIUS Attributes (RFC 4014).
        RADIUS_ATTRIBUTES = 7;
        /// Authentication (RFC 4030).
        AUTHENTICATION = 8;
        /// Vendor-Specific Information (RFC 4243).
        VENDOR_SPECIFIC = 9;
        /// Relay Agent Flags (RFC 5010).
        FLAGS = 10;
        /// Server Identifier Override (RFC 5107).
        SERVER_ID_OVERRIDE = 11;
        /// Relay Agent Identifier (RFC 6925).
        RELAY_ID = 12;
        /// DHCPv4 Relay Source Port (RFC 8357).
        RELAY_SOURCE_PORT = 19;
        /// DHCPv4 Virtual Subnet Selection (RFC 6607).
        VIRTUAL_SUBNET_SELECTION = 151;
        /// DHCPv4 Virtual Subnet Selection Control (RFC 6607).
        VIRTUAL_SUBNET_SELECTION_CONTROL = 152;
    }
}
