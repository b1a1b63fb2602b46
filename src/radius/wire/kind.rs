//! Attribute type numbers we use, under their registry names.
//!
//! Re-exported as [`attribute::kind`](super::attribute::kind). Source: the IANA registry "RADIUS Types", with
//! the defining section beside each number. Vendor attributes are not here: they are data, in the
//! dictionaries.

macro_rules! kinds {
    ($($number:literal $constant:ident $name:literal $source:literal;)+) => {
        $(
            #[doc = concat!("`", $name, "` (", $source, ").")]
            pub const $constant: u8 = $number;
        )+

        /// The registry's name of an attribute type, if it is one of those above.
        pub const fn name(kind: u8) -> Option<&'static str> {
            match kind {
                $($number => Some($name),)+
                _ => None,
            }
        }

        /// The attribute type that the registry calls `name`, if it is one of those above.
        pub fn by_name(name: &str) -> Option<u8> {
            match name {
                $($name => Some($number),)+
                _ => None,
            }
        }
    };
}

kinds! {
    1 USER_NAME "User-Name" "RFC 2865 §5.1";
    2 USER_PASSWORD "User-Password" "RFC 2865 §5.2";
    3 CHAP_PASSWORD "CHAP-Password" "RFC 2865 §5.3";
    4 NAS_IP_ADDRESS "NAS-IP-Address" "RFC 2865 §5.4";
    5 NAS_PORT "NAS-Port" "RFC 2865 §5.5";
    6 SERVICE_TYPE "Service-Type" "RFC 2865 §5.6";
    7 FRAMED_PROTOCOL "Framed-Protocol" "RFC 2865 §5.7";
    8 FRAMED_IP_ADDRESS "Framed-IP-Address" "RFC 2865 §5.8";
    9 FRAMED_IP_NETMASK "Framed-IP-Netmask" "RFC 2865 §5.9";
    10 FRAMED_ROUTING "Framed-Routing" "RFC 2865 §5.10";
    11 FILTER_ID "Filter-Id" "RFC 2865 §5.11";
    12 FRAMED_MTU "Framed-MTU" "RFC 2865 §5.12";
    13 FRAMED_COMPRESSION "Framed-Compression" "RFC 2865 §5.13";
    14 LOGIN_IP_HOST "Login-IP-Host" "RFC 2865 §5.14";
    15 LOGIN_SERVICE "Login-Service" "RFC 2865 §5.15";
    18 REPLY_MESSAGE "Reply-Message" "RFC 2865 §5.18";
    22 FRAMED_ROUTE "Framed-Route" "RFC 2865 §5.22";
    24 STATE "State" "RFC 2865 §5.24";
    25 CLASS "Class" "RFC 2865 §5.25";
    26 VENDOR_SPECIFIC "Vendor-Specific" "RFC 2865 §5.26";
    27 SESSION_TIMEOUT "Session-Timeout" "RFC 2865 §5.27";
    28 IDLE_TIMEOUT "Idle-Timeout" "RFC 2865 §5.28";
    29 TERMINATION_ACTION "Termination-Action" "RFC 2865 §5.29";
    30 CALLED_STATION_ID "Called-Station-Id" "RFC 2865 §5.30";
    31 CALLING_STATION_ID "Calling-Station-Id" "RFC 2865 §5.31";
    32 NAS_IDENTIFIER "NAS-Identifier" "RFC 2865 §5.32";
    33 PROXY_STATE "Proxy-State" "RFC 2865 §5.33";
    40 ACCT_STATUS_TYPE "Acct-Status-Type" "RFC 2866 §5.1";
    41 ACCT_DELAY_TIME "Acct-Delay-Time" "RFC 2866 §5.2";
    42 ACCT_INPUT_OCTETS "Acct-Input-Octets" "RFC 2866 §5.3";
    43 ACCT_OUTPUT_OCTETS "Acct-Output-Octets" "RFC 2866 §5.4";
    44 ACCT_SESSION_ID "Acct-Session-Id" "RFC 2866 §5.5";
    45 ACCT_AUTHENTIC "Acct-Authentic" "RFC 2866 §5.6";
    46 ACCT_SESSION_TIME "Acct-Session-Time" "RFC 2866 §5.7";
    47 ACCT_INPUT_PACKETS "Acct-Input-Packets" "RFC 2866 §5.8";
    48 ACCT_OUTPUT_PACKETS "Acct-Output-Packets" "RFC 2866 §5.9";
    49 ACCT_TERMINATE_CAUSE "Acct-Terminate-Cause" "RFC 2866 §5.10";
    50 ACCT_MULTI_SESSION_ID "Acct-Multi-Session-Id" "RFC 2866 §5.11";
    51 ACCT_LINK_COUNT "Acct-Link-Count" "RFC 2866 §5.12";
    52 ACCT_INPUT_GIGAWORDS "Acct-Input-Gigawords" "RFC 2869 §5.1";
    53 ACCT_OUTPUT_GIGAWORDS "Acct-Output-Gigawords" "RFC 2869 §5.2";
    55 EVENT_TIMESTAMP "Event-Timestamp" "RFC 2869 §5.3";
    56 EGRESS_VLANID "Egress-VLANID" "RFC 4675 §2.1";
    57 INGRESS_FILTERS "Ingress-Filters" "RFC 4675 §2.2";
    58 EGRESS_VLAN_NAME "Egress-VLAN-Name" "RFC 4675 §2.3";
    59 USER_PRIORITY_TABLE "User-Priority-Table" "RFC 4675 §2.4";
    60 CHAP_CHALLENGE "CHAP-Challenge" "RFC 2865 §5.40";
    61 NAS_PORT_TYPE "NAS-Port-Type" "RFC 2865 §5.41";
    62 PORT_LIMIT "Port-Limit" "RFC 2865 §5.42";
    64 TUNNEL_TYPE "Tunnel-Type" "RFC 2868 §3.1";
    65 TUNNEL_MEDIUM_TYPE "Tunnel-Medium-Type" "RFC 2868 §3.2";
    66 TUNNEL_CLIENT_ENDPOINT "Tunnel-Client-Endpoint" "RFC 2868 §3.3";
    67 TUNNEL_SERVER_ENDPOINT "Tunnel-Server-Endpoint" "RFC 2868 §3.4";
    69 TUNNEL_PASSWORD "Tunnel-Password" "RFC 2868 §3.5";
    77 CONNECT_INFO "Connect-Info" "RFC 2869 §5.11";
    79 EAP_MESSAGE "EAP-Message" "RFC 2869 §5.13";
    80 MESSAGE_AUTHENTICATOR "Message-Authenticator" "RFC 2869 §5.14";
    81 TUNNEL_PRIVATE_GROUP_ID "Tunnel-Private-Group-ID" "RFC 2868 §3.6";
    82 TUNNEL_ASSIGNMENT_ID "Tunnel-Assignment-ID" "RFC 2868 §3.7";
    83 TUNNEL_PREFERENCE "Tunnel-Preference" "RFC 2868 §3.8";
    85 ACCT_INTERIM_INTERVAL "Acct-Interim-Interval" "RFC 2869 §5.16";
    87 NAS_PORT_ID "NAS-Port-Id" "RFC 2869 §5.17";
    88 FRAMED_POOL "Framed-Pool" "RFC 2869 §5.18";
    89 CHARGEABLE_USER_IDENTITY "Chargeable-User-Identity" "RFC 4372 §2.2";
    90 TUNNEL_CLIENT_AUTH_ID "Tunnel-Client-Auth-ID" "RFC 2868 §3.9";
    91 TUNNEL_SERVER_AUTH_ID "Tunnel-Server-Auth-ID" "RFC 2868 §3.10";
    92 NAS_FILTER_RULE "NAS-Filter-Rule" "RFC 4849 §2";
    95 NAS_IPV6_ADDRESS "NAS-IPv6-Address" "RFC 3162 §2.1";
    96 FRAMED_INTERFACE_ID "Framed-Interface-Id" "RFC 3162 §2.2";
    97 FRAMED_IPV6_PREFIX "Framed-IPv6-Prefix" "RFC 3162 §2.3";
    98 LOGIN_IPV6_HOST "Login-IPv6-Host" "RFC 3162 §2.4";
    99 FRAMED_IPV6_ROUTE "Framed-IPv6-Route" "RFC 3162 §2.5";
    100 FRAMED_IPV6_POOL "Framed-IPv6-Pool" "RFC 3162 §2.6";
    101 ERROR_CAUSE "Error-Cause" "RFC 5176 §3.5";
    123 DELEGATED_IPV6_PREFIX "Delegated-IPv6-Prefix" "RFC 4818 §3";
    126 OPERATOR_NAME "Operator-Name" "RFC 5580 §4.1";
    144 DS_LITE_TUNNEL_NAME "DS-Lite-Tunnel-Name" "RFC 6519 §4.1";
    168 FRAMED_IPV6_ADDRESS "Framed-IPv6-Address" "RFC 6911 §3.1";
    169 DNS_SERVER_IPV6_ADDRESS "DNS-Server-IPv6-Address" "RFC 6911 §3.2";
    170 ROUTE_IPV6_INFORMATION "Route-IPv6-Information" "RFC 6911 §3.3";
    171 DELEGATED_IPV6_PREFIX_POOL "Delegated-IPv6-Prefix-Pool" "RFC 6911 §3.4";
    172 STATEFUL_IPV6_ADDRESS_POOL "Stateful-IPv6-Address-Pool" "RFC 6911 §3.5";
    173 IPV6_6RD_CONFIGURATION "IPv6-6rd-Configuration" "RFC 6930 §4.1";
    241 EXTENDED_ATTRIBUTE_1 "Extended-Attribute-1" "RFC 6929 §3.1";
    242 EXTENDED_ATTRIBUTE_2 "Extended-Attribute-2" "RFC 6929 §3.2";
    243 EXTENDED_ATTRIBUTE_3 "Extended-Attribute-3" "RFC 6929 §3.3";
    244 EXTENDED_ATTRIBUTE_4 "Extended-Attribute-4" "RFC 6929 §3.4";
    245 EXTENDED_ATTRIBUTE_5 "Extended-Attribute-5" "RFC 6929 §3.5";
    246 EXTENDED_ATTRIBUTE_6 "Extended-Attribute-6" "RFC 6929 §3.6";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_number() {
        let named: Vec<u8> = (0..=255).filter(|kind| name(*kind).is_some()).collect();
        assert_eq!(named.len(), 89);
        for kind in named {
            assert_eq!(name(kind).and_then(by_name), Some(kind));
        }
        assert_eq!(by_name("User-Name"), Some(USER_NAME));
        assert_eq!(by_name("user-name"), None);
    }
}
