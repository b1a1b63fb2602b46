//! DHCPv4.
//!
//! ```text
//!  socket ─► wire::Message ─► request ─► place, identify ─► entitlement, decide ─► reply ─► journal ─► socket
//!            bytes → view     what is    where from,        what it may have,     bytes     commit
//!                             wanted     and who            over the ledger
//! ```
//!
//! | RFC | what of it | where |
//! |---|---|---|
//! | RFC 951, RFC 1542 | BOOTP frame, 300-byte minimum | `wire::header`, `wire::encode` |
//! | RFC 2131 | message, overload, reply addressing | `wire` |
//! | RFC 2131 §4.3 | server behaviour | `request`, `decide` |
//! | RFC 2131 §4.4.5 | T1 and T2 | `super::lease_time` |
//! | RFC 2132 | option codes and forms | `wire::code`, `wire::option` |
//! | RFC 3011 | subnet selection, option 118: read, not honoured | `wire::header`, `place` |
//! | RFC 3046 | relay agent information, option 82 | `wire::relay_agent` |
//! | RFC 3396 | repeated and long options | `wire::option`, `wire::encode` |
//! | RFC 3442 | classless static routes, option 121 | `reply` |
//! | RFC 3527, 5107, 6607 | link selection, server id override, virtual subnets | `wire::relay_agent`, `place` |
//! | RFC 3993, 4243, 5010, 6925, 8357 | other sub-options of option 82 | `wire::relay_agent`, `wire::destination` |
//! | RFC 4361 | identifiers made of a DUID: compared as bytes, like any other | `wire::client_key`, `identify` |
//! | RFC 6842 | client identifier echoed in replies | `wire::encode` |
//!
//! # Deviations
//!
//! - Any structural fault discards the whole message with a named reason. Reading on past it would let a
//!   subscriber hide or shift the option 82 that a relay put behind their own options.
//! - Options 50, 51, 52, 53, 54, 57 and 118 have one size and may appear once. RFC 3396 §7 would concatenate
//!   repeats into a value of a size that is invalid anyway.
//! - Option 82 may be repeated only as RFC 3396 has to split it: every part but the last holds 255 bytes. Two
//!   short ones are what an access node makes that appends its own behind one the subscriber forged; joined,
//!   they would name a line that nobody vouches for. A sub-option that names the line or the network may
//!   appear once for the same reason.
//! - A missing END is tolerated, as is an option 82 without sub-options (RFC 3046 §2.0 asks for at least
//!   one): neither is ambiguous.
//! - Option 57 below 576 is ignored (RFC 2132 §9.10 calls it invalid) and clients that send it are served
//!   576.
//! - An empty option 61 counts as absent: it would give all such clients one identity.
//! - An empty circuit-id, remote-id, subscriber-id or relay-id counts as absent, though its bytes are echoed.
//! - Option 118 (RFC 3011) chooses no network: any CPE could send it. Relays say it with sub-option 5.
//! - Option 82 counts only from a listed relay that is trusted; from others it is echoed and nothing more.
//! - A DHCPNAK is sent only through a relay: a broadcast one (RFC 2131 §4.1) would not leave the server's link.
//! - A DHCPRELEASE without a relay must come from the address it gives back.
//! - A lease that ended is confirmed to a client that comes back for it, if nobody else has the address.
//! - A client may ask for a shorter lease, not for a longer one, nor for less than two minutes.
//! - Without a parameter list (option 55) a client gets all options of its network; with one, those and the mask, routes,
//!   router and name servers.
//!
//! # Not supported
//!
//! - Clients on the server's own link: a message without relay is served only from an address that we gave.
//! - Option overload in replies: it gains 192 bytes, and a client may read `file` as a boot file's name.
//! - Answers to BOOTP clients (no option 53): they cannot give an address back.
//! - Authentication (RFC 3118): its keys would have to be in every CPE; option 82 is what vouches for a line.
//! - Replies to DHCPLEASEQUERY, and DHCPFORCERENEW: their message types are read, but nothing writes them.
//! - Messages longer than `limits::DHCP4_MESSAGE_BYTES_MAX`.

pub mod core;
pub mod decide;
pub mod entitlement;
#[doc(hidden)]
pub mod fuzz;
pub mod identify;
pub mod place;
pub mod reply;
pub mod request;
pub mod wire;
