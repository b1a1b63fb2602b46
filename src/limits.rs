//! Every bound in the daemon, in one place, with the relations between them checked when it is compiled.

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
/// Bytes before the first record of a journal segment: one page, so that no header shares a sector with a record.
pub const JOURNAL_HEADER_BYTES: usize = 4096;
/// Smallest journal segment, in bytes.
pub const JOURNAL_SEGMENT_BYTES_MIN: u64 = 256 * 1024;
/// Largest journal segment, in bytes.
pub const JOURNAL_SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Journal segment unless configured otherwise, in bytes.
pub const JOURNAL_SEGMENT_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
/// Bytes one group commit writes at most: any batch fits an empty segment of any permitted size.
pub const COMMIT_BATCH_BYTES_MAX: usize = JOURNAL_SEGMENT_BYTES_MIN as usize - JOURNAL_HEADER_BYTES;
/// Payload bytes that may wait for the journal at once, over all lanes.
pub const COMMIT_QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Lanes of a journal: one per thread that submits.
pub const JOURNAL_LANES_MAX: usize = 256;
/// Journal on disk, all segments together, unless configured otherwise, in bytes.
pub const JOURNAL_BACKLOG_BYTES_DEFAULT: u64 = 8 * 1024 * 1024 * 1024;
/// Longest time a record that nobody waits for stays unwritten unless configured otherwise, in milliseconds.
pub const JOURNAL_FLUSH_AFTER_MS: u64 = 5;
/// Time between two attempts of an unavailable journal to write again unless configured otherwise, in
/// milliseconds.
pub const JOURNAL_PROBE_AFTER_MS: u64 = 1_000;

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

const _: () = assert!(DATAGRAM_BYTES_MAX >= RADIUS_PACKET_BYTES_MAX);
const _: () = assert!(DATAGRAM_BYTES_MAX >= DHCP4_MESSAGE_BYTES_MAX);
const _: () = assert!(COMMIT_BATCH_RECORDS_MAX <= COMMITS_IN_FLIGHT_MAX);
const _: () = assert!(API_PAGE_DEFAULT <= API_PAGE_MAX);
const _: () = assert!(
    COMMIT_BATCH_RECORDS_MAX <= u16::MAX as usize + 1,
    "a record's place in its batch is a u16"
);
const _: () = assert!(JOURNAL_RECORD_BYTES_MAX <= COMMIT_BATCH_BYTES_MAX);
const _: () = assert!(COMMIT_BATCH_BYTES_MAX <= COMMIT_QUEUE_BYTES_MAX);
const _: () = assert!(JOURNAL_SEGMENT_BYTES_MIN <= JOURNAL_SEGMENT_BYTES_DEFAULT);
const _: () = assert!(JOURNAL_SEGMENT_BYTES_DEFAULT <= JOURNAL_SEGMENT_BYTES_MAX);
