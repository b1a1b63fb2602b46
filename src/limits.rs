//! Every bound in the daemon, in one place, with the relations between them checked when it is compiled.

use std::ops::RangeInclusive;

/// Largest RADIUS packet (RFC 2865 §3), in bytes.
pub const RADIUS_PACKET_BYTES_MAX: usize = 4096;
/// Smallest RADIUS packet: the header alone (RFC 2865 §3), in bytes.
pub const RADIUS_PACKET_BYTES_MIN: usize = 20;
/// Largest DHCPv4 message we accept or send, in bytes.
pub const DHCP4_MESSAGE_BYTES_MAX: usize = 1500;
/// Smallest DHCPv4 message: fixed header and magic cookie (RFC 2131 §2), in bytes.
pub const DHCP4_MESSAGE_BYTES_MIN: usize = 240;
/// Datagrams taken from or given to the kernel in one call.
pub const DATAGRAMS_PER_CALL_MAX: usize = 64;
/// Bytes kept for one received datagram; a longer one is truncated by the kernel and discarded by the decoder.
pub const DATAGRAM_BYTES_MAX: usize = 4096;

/// Requests that may wait for the journal at once, over all workers.
pub const COMMITS_IN_FLIGHT_MAX: usize = 16_384;
/// Records one group commit writes at most.
pub const COMMIT_BATCH_RECORDS_MAX: usize = 4096;
/// Largest journal record, header included, in bytes.
pub const JOURNAL_RECORD_BYTES_MAX: usize = 16_384;

/// Window in which a retransmission gets the answer already sent (RFC 5080 §2.2.2), in milliseconds.
pub const DUPLICATE_WINDOW_MS: u64 = 5_000;
/// Entries of the duplicate cache, over all its shards.
pub const DUPLICATE_ENTRIES_MAX: usize = 65_536;
/// Bytes of cached replies, over all shards.
pub const DUPLICATE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Rejects waiting for their delay at once, per worker; the next one is sent without delay.
pub const DELAYED_REJECTS_MAX: usize = 8_192;

/// Decisions kept in memory for `lastmile why` and `GET /v1/decisions`.
pub const DECISIONS_MAX: usize = 65_536;

/// Longest API request body, in bytes.
pub const API_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Deepest nesting of an API request body (CVE-2026-3608 in a peer: a nested body overflowed its stack).
pub const API_JSON_DEPTH_MAX: usize = 32;
/// Objects in one page of a list unless the caller asks for another number.
pub const API_PAGE_DEFAULT: usize = 100;
/// Objects in one page of a list at most.
pub const API_PAGE_MAX: usize = 1_000;
/// Time an API request may take, in milliseconds.
pub const API_DEADLINE_MS: u64 = 30_000;

/// Longest path of a Unix socket that every kernel we run on accepts (`sun_path`), in bytes.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Size of a journal segment that may be configured, in bytes.
pub const SEGMENT_BYTES_RANGE: RangeInclusive<u64> = 256 << 10..=1 << 30;
/// Wait of the journal for company that may be configured, in milliseconds.
pub const FLUSH_AFTER_MS_RANGE: RangeInclusive<u64> = 0..=100;
/// Worker threads of one server that may be configured; 0 means one per core.
pub const WORKERS_RANGE: RangeInclusive<u64> = 0..=256;
/// Threads of the control plane that may be configured.
pub const API_WORKERS_RANGE: RangeInclusive<u64> = 1..=64;
/// Receive buffer of one socket that may be configured, in bytes.
pub const RECEIVE_BUFFER_BYTES_RANGE: RangeInclusive<u64> = 64 << 10..=1 << 30;
/// Decisions kept in memory that may be configured.
pub const DECISIONS_RANGE: RangeInclusive<u64> = 1..=4_194_304;
/// Entries of the duplicate cache that may be configured.
pub const DUPLICATE_ENTRIES_RANGE: RangeInclusive<u64> = 1_024..=1_048_576;
/// Requests waiting for the journal at once that may be configured.
pub const COMMITS_IN_FLIGHT_RANGE: RangeInclusive<u64> = 64..=65_536;
/// Retention of history that may be configured, in days.
pub const RETENTION_DAYS_RANGE: RangeInclusive<u64> = 1..=3_650;

/// Largest dictionary, option table or definition file, in bytes.
pub const NETDEFS_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of one value that are rendered for people; the rest is counted only.
pub const RENDERED_BYTES_MAX: usize = 1_024;
/// Deepest nesting of TLVs in a RADIUS attribute (RFC 6929 §2.3 allows as many as fit; registries use two).
pub const TLV_DEPTH_MAX: usize = 4;

const _: () = assert!(DATAGRAM_BYTES_MAX >= RADIUS_PACKET_BYTES_MAX);
const _: () = assert!(DATAGRAM_BYTES_MAX >= DHCP4_MESSAGE_BYTES_MAX);
const _: () = assert!(COMMIT_BATCH_RECORDS_MAX <= COMMITS_IN_FLIGHT_MAX);
const _: () = assert!(API_PAGE_DEFAULT <= API_PAGE_MAX);
