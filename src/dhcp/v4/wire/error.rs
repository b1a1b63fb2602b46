//! Why bytes are not a DHCPv4 message we can act on.
//!
//! Each fault has a reason word: the label of its discard counter and what `lastmile why` shows.

/// A fault in a received message. The message is discarded as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Less than the fixed header and the cookie (RFC 2131 §2).
    #[error(
        "message has {len} bytes, fewer than the 240 of the fixed header; look for a fragmenting or truncating hop"
    )]
    Truncated {
        /// Bytes received.
        len: usize,
    },
    /// More than we take.
    #[error("message has {len} bytes, more than the {} we accept", crate::limits::DHCP4_MESSAGE_BYTES_MAX)]
    TooLong {
        /// Bytes received.
        len: usize,
    },
    /// `op` is neither BOOTREQUEST nor BOOTREPLY (RFC 2131 §2).
    #[error("op is {op}, neither 1 (request) nor 2 (reply)")]
    BadOp {
        /// The byte received.
        op: u8,
    },
    /// `hlen` is more than the 16 bytes of `chaddr` (RFC 2131 §2).
    #[error("hlen is {hlen}, more than the 16 bytes of chaddr")]
    HardwareAddressTooLong {
        /// The byte received.
        hlen: u8,
    },
    /// The options do not start with 99.130.83.99 (RFC 2131 §3).
    #[error(
        "the four bytes before the options are not the DHCP cookie: BOOTP vendor data or not DHCP at all"
    )]
    BadCookie,
    /// An option's length runs past the field it is in.
    #[error("option {code} runs past the end of its field; options behind it cannot be trusted")]
    OptionTruncated {
        /// Option code.
        code: u8,
    },
    /// An option of one size has another.
    #[error("option {code} has {len} bytes, not the size its definition gives")]
    OptionLength {
        /// Option code.
        code: u8,
        /// Bytes received.
        len: u8,
    },
    /// An option that cannot be concatenated appears again.
    #[error("option {code} appears more than once and is not one that may be split")]
    OptionRepeated {
        /// Option code.
        code: u8,
    },
    /// More options than any device sends.
    #[error("message has more than {} options", crate::limits::DHCP4_OPTIONS_MAX)]
    TooManyOptions,
    /// Option 52 holds something else than 1, 2 or 3 (RFC 2132 §9.3).
    #[error("option overload is {value}, not 1, 2 or 3")]
    BadOverload {
        /// The byte received.
        value: u8,
    },
    /// Option 53 holds an unassigned number (RFC 2132 §9.6).
    #[error("message type {value} is not assigned")]
    UnknownMessageType {
        /// The byte received.
        value: u8,
    },
    /// An option in parts does not fit the buffer it should be joined in.
    #[error("a split option has {len} bytes, more than the {room} of the buffer to join it in")]
    JoinedTooLong {
        /// Bytes of the option.
        len: usize,
        /// Bytes of the buffer.
        room: usize,
    },
    /// A sub-option's length runs past option 82.
    #[error("sub-option {code} runs past the end of option 82; check the relay's option 82 format")]
    SubOptionTruncated {
        /// Sub-option code.
        code: u8,
    },
    /// A sub-option of one size has another.
    #[error("sub-option {code} of option 82 has {len} bytes, not the size its definition gives")]
    SubOptionLength {
        /// Sub-option code.
        code: u8,
        /// Bytes received.
        len: u8,
    },
    /// A sub-option that names the line or the network appears again.
    #[error("sub-option {code} appears more than once in option 82: the line would be ambiguous")]
    SubOptionRepeated {
        /// Sub-option code.
        code: u8,
    },
    /// Option 82 appears more than once though it was not too long for one.
    #[error(
        "option 82 appears more than once: one of them may be forged; let the access node replace, not append"
    )]
    RelayAgentRepeated,
}

impl WireError {
    /// The discard's name, stable across versions.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Truncated { .. } => "dhcp4-truncated",
            Self::TooLong { .. } => "dhcp4-too-long",
            Self::BadOp { .. } => "dhcp4-bad-op",
            Self::HardwareAddressTooLong { .. } => "dhcp4-bad-hlen",
            Self::BadCookie => "dhcp4-bad-cookie",
            Self::OptionTruncated { .. } => "dhcp4-option-truncated",
            Self::OptionLength { .. } => "dhcp4-option-length",
            Self::OptionRepeated { .. } => "dhcp4-option-repeated",
            Self::TooManyOptions => "dhcp4-too-many-options",
            Self::BadOverload { .. } => "dhcp4-bad-overload",
            Self::UnknownMessageType { .. } => "dhcp4-unknown-message-type",
            Self::JoinedTooLong { .. } => "dhcp4-joined-too-long",
            Self::SubOptionTruncated { .. } => "dhcp4-sub-option-truncated",
            Self::SubOptionLength { .. } => "dhcp4-sub-option-length",
            Self::SubOptionRepeated { .. } => "dhcp4-sub-option-repeated",
            Self::RelayAgentRepeated => "dhcp4-relay-agent-repeated",
        }
    }
}
