//! RADIUS: authentication, accounting and dynamic authorization between Lastmile and the access network.
//!
//! ```text
//!   datagram ─► wire::packet ─► wire::integrity ─► identify ─► decide ─► journal ─► wire::encode ─► datagram
//!               checked view    who signed it                                       attributes, M-A,
//!                               wire::hiding: passwords                             authenticator
//! ```
//!
//! | RFC | what | where |
//! |---|---|---|
//! | RFC 2865 | packets, attributes, hidden and CHAP passwords | [`packet`], [`attribute`], [`hiding`] |
//! | RFC 2866 | accounting, its Request Authenticator | [`integrity`], [`encode`] |
//! | RFC 2868 | tags, Tunnel-Password | [`attribute`], [`append`], [`hiding`] |
//! | RFC 2869, RFC 3579 | Message-Authenticator, EAP-Message framing | [`integrity`], [`packet`] |
//! | RFC 3162, RFC 4818, RFC 6911 | IPv6 attributes | [`attribute`], [`append`] |
//! | RFC 2548 | salt-encrypted MS-MPPE keys | [`hiding`], [`append`] |
//! | RFC 5176 | CoA and Disconnect packets | [`integrity`], [`encode`] |
//! | RFC 5997 | Status-Server | [`integrity`], [`encode`] |
//! | RFC 6929 | extended attributes, fragments, extended vendor-specific | [`extended`], [`append`] |
//! | RFC 8044 | data types | [`attribute`], [`append`] |
//!
//! [`append`]: wire::append
//! [`attribute`]: wire::attribute
//! [`encode`]: wire::encode
//! [`extended`]: wire::extended
//! [`hiding`]: wire::hiding
//! [`integrity`]: wire::integrity
//! [`packet`]: wire::packet
//!
//! Not supported, on purpose:
//!
//! - RADIUS over TCP, TLS or DTLS (RFC 6613, RFC 6614, RFC 7360) and RADIUS/1.1 (RFC 9765): the codec is of
//!   datagrams. Their packets have the same form, so a stream transport would reuse it.
//! - Packets over 4096 bytes (RFC 7930) and fragmented authorization (RFC 7499): no access equipment sends them.
//! - EAP methods: EAP-Message is framed and its integrity enforced, nothing more.
//! - MS-CHAP: its check is a credential decision and belongs to the core; the codec hands out the values.
//! - Nested attribute groups: RFC 6929 `tlv` values are handed out as raw bytes for the dictionary to walk.

pub mod acct;
pub mod auth;
mod credential;
pub mod duplicate;
mod entitlement;
#[doc(hidden)]
pub mod fuzz;
mod gate;
mod identify;
mod lookahead;
mod port;
mod reject;
mod reply;
pub mod request;
pub mod signatures;
mod vendor;
pub mod wire;

pub use acct::AcctCore;
pub use auth::AuthCore;
pub use port::HeldReply;
