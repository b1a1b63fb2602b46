//! Every bound in the daemon, in one place, with the relations between them checked when it is compiled.

use std::ops::RangeInclusive;

/// Largest RADIUS packet (RFC 2865 §3), in bytes.
pub const RADIUS_PACKET_BYTES_MAX: usize = 4096;
/// Smallest RADIUS packet: the header alone (RFC 2865 §3), in bytes.
pub const RADIUS_PACKET_BYTES_MIN: usize = 20;
/// Largest value of one RADIUS attribute (RFC 2865 §5), in bytes.
pub const RADIUS_VALUE_BYTES_MAX: usize = 253;
/// Longest User-Password (RFC 2865 §5.2), in bytes.
pub const RADIUS_PASSWORD_BYTES_MAX: usize = 128;
/// Longest cleartext of a salt-encrypted attribute (RFC 2868 §3.5), in bytes: 15 blocks less the length octet.
pub const RADIUS_SALTED_BYTES_MAX: usize = 239;
/// Largest DHCPv4 message we accept or send, in bytes.
pub const DHCP4_MESSAGE_BYTES_MAX: usize = 1500;
/// Smallest DHCPv4 message: fixed header and magic cookie (RFC 2131 §2), in bytes.
pub const DHCP4_MESSAGE_BYTES_MIN: usize = 240;
/// Options, pads not counted, in one DHCPv4 message; a client sends about ten, a server about twenty.
pub const DHCP4_OPTIONS_MAX: usize = 64;
/// Shortest DHCPv4 message we send: a BOOTP relay may discard less (RFC 1542 §2.1), in bytes.
pub const DHCP4_PADDED_BYTES_MIN: usize = 300;
/// IP datagram every DHCPv4 client takes (RFC 2131 §2), and the least value of option 57 (RFC 2132 §9.10), in bytes.
pub const DHCP4_CLIENT_DATAGRAM_BYTES_MIN: u16 = 576;
/// Largest IP datagram we send to a DHCPv4 client, whatever its option 57 allows: one Ethernet frame, in bytes.
pub const DHCP4_CLIENT_DATAGRAM_BYTES_MAX: u16 = 1500;
/// IPv4 header without options and UDP header, in bytes.
pub const IPV4_UDP_HEADER_BYTES: u16 = 28;
/// How long an address stays offered to a client that does not ask for it, in seconds.
pub const DHCP_OFFER_SECS: u64 = 60;
/// Shortest lease that a client can ask for (option 51), in seconds; networks may be set to less.
pub const DHCP_LEASE_ASKED_SECS_MIN: u32 = 120;
/// Shortest remainder of a durable lease that is confirmed while the journal takes no records, in seconds.
pub const DHCP_LEASE_REMAINDER_SECS_MIN: u32 = 60;
/// Datagrams taken from or given to the kernel in one call.
pub const DATAGRAMS_PER_CALL_MAX: usize = 64;
/// Bytes kept for one received datagram; a longer one is truncated by the kernel and discarded by the decoder.
pub const DATAGRAM_BYTES_MAX: usize = 4096;
/// Longest single wait for room in a full send buffer, in milliseconds.
pub const SEND_WAIT_MS_MAX: i32 = 5;
/// Such waits in one flush; messages that then find no room are counted as failed.
pub const SEND_WAITS_PER_FLUSH_MAX: u32 = 4;
/// Sockets one worker waits for.
pub const SOCKETS_PER_WAITER_MAX: usize = 64;
/// A datagram that waited longer than this in the socket's buffer is dropped unread, in milliseconds: its sender has sent
/// it again since. Under overload this drops the oldest first.
pub const DATAGRAM_AGE_MS_MAX: u64 = 2_000;
/// A datagram that seems to have waited longer than this did not: the wall clock was stepped, in milliseconds. No socket's
/// buffer takes that long to be read.
pub const DATAGRAM_AGE_BELIEVED_MS_MAX: u64 = 60_000;

/// Batches that a worker takes from each socket after it was told to stop: as much as a socket's buffer holds, for more may
/// come all the while.
pub const STOP_BATCHES_PER_SOCKET_MAX: usize = 256;

/// How long an Accept without a Start takes up its slot where accounting is proven, in seconds (FIELD R2).
pub const CONFIRM_WINDOW_SECS: u64 = 120;
/// Session-Timeout for NASes whose accounting proves nothing, in seconds: the address must come back some day (FIELD R2).
pub const SESSION_TIMEOUT_DEFAULT_SECS: u32 = 86_400;

/// Requests that may wait for the journal at once, over all workers.
pub const COMMITS_IN_FLIGHT_MAX: usize = 16_384;
/// Records one group commit writes at most.
pub const COMMIT_BATCH_RECORDS_MAX: usize = 4096;
/// Largest journal record, header included, in bytes.
pub const JOURNAL_RECORD_BYTES_MAX: usize = 16_384;
/// A checkpoint is not made for fewer records than this, unless for their bytes or for the time that has passed: a start
/// reads up to a million records per second back, and a quarter of that while others want the processor.
pub const CHECKPOINT_RECORDS_MIN: u64 = 250_000;
/// Records that recovery hands to the thread that applies them at once.
pub const RECOVERY_PIECE_RECORDS: usize = 1_024;
/// Such pieces waiting: about ten megabytes.
pub const RECOVERY_PIECES_MAX: usize = 16;
/// Holders that a checkpoint copies before it lets packets have the shard again.
pub const CHECKPOINT_PIECE_HOLDERS: usize = 32;
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
/// After a commit of so many records or more, the next one waits for [`JOURNAL_GATHER_US`].
pub const JOURNAL_GATHER_RECORDS_MIN: u64 = 8;
/// How long a commit waits for more records under load, in microseconds: little beside what queueing costs then.
pub const JOURNAL_GATHER_US: u64 = 200;

/// Window in which a retransmission gets the answer already sent (RFC 5080 §2.2.2), in milliseconds. A later one is decided
/// again, which gives the same grant.
pub const DUPLICATE_WINDOW_MS: u64 = 5_000;
/// Time within which a request that is decided again, because the cache has forgotten it, is known to be the same, in
/// milliseconds: NASes give up sooner.
pub const RETRANSMISSION_MS_MAX: u64 = 60_000;
/// Entries of the duplicate cache, over all its shards.
pub const DUPLICATE_ENTRIES_MAX: usize = 65_536;
/// Bytes of cached replies, over all shards.
pub const DUPLICATE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Signed Access-Requests in a row that prove that a NAS signs all of them (FIELD R17).
pub const SIGNED_REQUESTS_MIN: u32 = 1_000;
/// Time over which they must have come, in seconds.
pub const SIGNED_FOR_SECS_MIN: u64 = 86_400;
/// NASes of which it is learned whether they sign; of more nothing is learned.
pub const NASES_LEARNED_MAX: usize = 16_384;
/// Rejects waiting for their delay at once, per worker; the next one is sent without delay.
pub const DELAYED_REJECTS_MAX: usize = 8_192;

/// Addresses or prefixes in one range of a pool; a longer range is cut off.
pub const POOL_RANGE_GRANTS_MAX: u32 = 1 << 22;
/// Slots that a holder may have beyond its limit because Accepts in them were never heard of again: bounds what one
/// login, tried from many lines, can hold.
pub const SUSPECT_SLOTS_MAX: usize = 4;

/// Decisions kept in memory for `lastmile why` and `GET /v1/decisions`.
pub const DECISIONS_MAX: usize = 65_536;
/// Accesses of which the last reject is remembered.
pub const LAST_OUTCOMES_MAX: usize = 65_536;
/// Time between two lines of the log about refusals of one kind, in milliseconds.
pub const REFUSAL_LOG_INTERVAL_MS: u64 = 60_000;
/// Lines of the log about refusals in such an interval.
pub const REFUSAL_LINES_MAX: usize = 100;
/// Kinds of refusals told apart at once: reason and NAS.
pub const REFUSAL_KINDS_MAX: usize = 1_024;
/// Newest decisions of one worker that the log looks at each second; the counters know the others.
pub const REFUSAL_LOOK_DECISIONS_MAX: usize = 1_024;
/// Longest text of a line in a decision, in bytes; journal records have it whole.
pub const DECISION_LINE_BYTES_MAX: usize = 128;

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
/// Longest body of a request that applies a whole set of definitions, in bytes.
pub const API_APPLY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Times a write is tried again because another writer was faster.
pub const API_COMMIT_ATTEMPTS_MAX: usize = 8;
/// Longest wait of a status request for a service to be in force, in milliseconds.
pub const API_STATUS_WAIT_MS_MAX: u64 = 25_000;
/// Time in which the head of an API request must have arrived, in milliseconds.
pub const API_HEAD_MS_MAX: u64 = 10_000;
/// API connections open at once, over all listeners.
pub const API_CONNECTIONS_MAX: usize = 512;
/// Labels of one object.
pub const LABELS_MAX: usize = 32;
/// Annotations of one object, names and values together, in bytes.
pub const ANNOTATIONS_BYTES_MAX: usize = 4096;
/// Names compared with an unknown reference, to find what was probably meant.
pub const NEAR_NAMES_MAX: usize = 1_000;
/// Objects, sessions or decisions that an explanation shows of each sort.
pub const WHY_ROWS_MAX: usize = 10;
/// Time after which tokens are read again, so that a revocation on another node is heard of, in milliseconds.
pub const TOKEN_CACHE_MS: u64 = 5_000;
/// Shortest time between two reads of the tokens because of an unknown one, in milliseconds.
pub const TOKEN_RELOAD_MS: u64 = 1_000;

/// Longest path of a Unix socket that every kernel we run on accepts (`sun_path`), in bytes.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Size of a journal segment that may be configured, in bytes.
pub const SEGMENT_BYTES_RANGE: RangeInclusive<u64> = 256 << 10..=1 << 30;
/// Wait of the journal for company that may be configured, in milliseconds.
pub const FLUSH_AFTER_MS_RANGE: RangeInclusive<u64> = 0..=100;
/// Worker threads of one server that may be configured; 0 means one per core. A ticket names its worker in eight bits, and
/// the daemon needs a lane of the journal besides theirs.
pub const WORKERS_RANGE: RangeInclusive<u64> = 0..=255;
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
/// Objects or rows in one page that storage reads at most.
pub const STORAGE_PAGE_ROWS_MAX: usize = 10_000;
/// Objects that the bulk read takes in one statement.
pub const STORAGE_SCAN_SLICE_ROWS: usize = 1_024;
/// Rows that one statement writes at most: bounds the text of its parameter.
pub const STORAGE_WRITE_ROWS_MAX: usize = 4_096;
/// Writes from which on a change counts as an import.
pub const STORAGE_IMPORT_ROWS_MIN: usize = 1_000;
/// Referrers that the refusal of a deletion names.
pub const STORAGE_REFERRERS_NAMED_MAX: usize = 10;
/// Time in which a database on the network must answer a short request, in milliseconds.
pub const DATABASE_ANSWER_MS: u64 = 5_000;
/// Further time for every row of a bulk request, in microseconds.
pub const DATABASE_ROW_ALLOWANCE_US: u64 = 2_000;
/// Time a transaction waits for another writer of the same database, in milliseconds.
pub const DATABASE_LOCK_MS: u64 = 4_000;
/// Time after which the database ends a transaction whose client says nothing, in milliseconds.
pub const DATABASE_IDLE_TRANSACTION_MS: u64 = 10_000;
/// Time after which the database itself cancels a statement, in milliseconds.
pub const DATABASE_STATEMENT_MS: u64 = 60_000;
/// Time between looks at a silent notification connection, and between attempts to open it again, in milliseconds.
pub const DATABASE_LISTENER_CHECK_MS: u64 = 15_000;
/// Time that bringing a schema up to date may take, in milliseconds.
pub const DATABASE_MIGRATION_MS: u64 = 600_000;
/// Connections to a database, the one that listens included.
pub const DATABASE_CONNECTIONS_MAX: u32 = 12;
/// Reading connections to an embedded database; writing has one.
pub const DATABASE_READERS_MAX: u32 = 4;
/// Pages that the writing connection of SQLite keeps in memory, in bytes.
pub const DATABASE_WRITER_CACHE_BYTES: usize = 64 << 20;
/// Pages of 4 KiB in SQLite's write-ahead log after which a commit copies them into the database. More of them at once are
/// fewer writes, but the journal's syncs wait behind the sync of all of them: with 8,192 a quarter of a second.
pub const DATABASE_CHECKPOINT_PAGES: u32 = 2_048;

/// Gaps that a snapshot lists; there may be more.
pub const SNAPSHOT_GAPS_MAX: usize = 1_000;
/// Objects that the publisher reads from storage in one answer.
pub const SNAPSHOT_READ_OBJECTS_MAX: usize = 10_000;
/// Clear bytes of records that one block of a snapshot image holds before it is sealed and written.
pub const SNAPSHOT_IMAGE_BLOCK_BYTES: usize = 1024 * 1024;
/// Largest sealed block of a snapshot image: a block, one record beyond it, and what sealing adds, in bytes.
pub const SNAPSHOT_IMAGE_SEALED_BYTES_MAX: usize = 4 * 1024 * 1024;

const _: () = assert!(SNAPSHOT_IMAGE_SEALED_BYTES_MAX > 2 * SNAPSHOT_IMAGE_BLOCK_BYTES);
const _: () = assert!(DATAGRAM_BYTES_MAX >= RADIUS_PACKET_BYTES_MAX);
const _: () = assert!(RADIUS_PASSWORD_BYTES_MAX <= RADIUS_VALUE_BYTES_MAX);
const _: () = assert!(RADIUS_SALTED_BYTES_MAX + 1 + 3 <= RADIUS_VALUE_BYTES_MAX);
const _: () = assert!(DATAGRAM_BYTES_MAX >= DHCP4_MESSAGE_BYTES_MAX);
const _: () = assert!(DHCP4_CLIENT_DATAGRAM_BYTES_MAX as usize <= DHCP4_MESSAGE_BYTES_MAX);
const _: () = assert!(SIGNED_REQUESTS_MIN <= u16::MAX as u32, "the count is kept in 16 bits");
const _: () = assert!(DHCP4_CLIENT_DATAGRAM_BYTES_MIN <= DHCP4_CLIENT_DATAGRAM_BYTES_MAX);
const _: () =
    assert!(DHCP4_PADDED_BYTES_MIN <= (DHCP4_CLIENT_DATAGRAM_BYTES_MIN - IPV4_UDP_HEADER_BYTES) as usize);
const _: () = assert!(COMMIT_BATCH_RECORDS_MAX <= COMMITS_IN_FLIGHT_MAX);
const _: () = assert!(API_PAGE_DEFAULT <= API_PAGE_MAX);
const _: () = assert!(API_STATUS_WAIT_MS_MAX < API_DEADLINE_MS);
const _: () = assert!(API_HEAD_MS_MAX < API_DEADLINE_MS);
const _: () = assert!(API_PAGE_MAX <= STORAGE_PAGE_ROWS_MAX);
const _: () = assert!(DATABASE_LOCK_MS < DATABASE_ANSWER_MS);
const _: () =
    assert!(COMMIT_BATCH_RECORDS_MAX <= u16::MAX as usize + 1, "a record's place in its batch is a u16");
const _: () = assert!(JOURNAL_RECORD_BYTES_MAX <= COMMIT_BATCH_BYTES_MAX);
const _: () = assert!(COMMIT_BATCH_BYTES_MAX <= COMMIT_QUEUE_BYTES_MAX);
const _: () = assert!(JOURNAL_SEGMENT_BYTES_MIN <= JOURNAL_SEGMENT_BYTES_DEFAULT);
const _: () = assert!(JOURNAL_SEGMENT_BYTES_DEFAULT <= JOURNAL_SEGMENT_BYTES_MAX);
/// Journal records that the applier reads at once.
pub const APPLIER_READ_RECORDS_MAX: usize = 20_000;
/// Their payloads, in bytes.
pub const APPLIER_READ_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Rows that the applier writes to storage in one transaction, but for those of what it read last: when it is behind, a
/// session that began, reported and ended meanwhile is written once. Another write waits for it.
pub const APPLIER_ROWS_MAX: usize = 30_000;
/// Journal records behind one such transaction, but for those that it read last.
pub const APPLIER_RECORDS_MAX: u64 = 1_000_000;
/// Rows of other nodes that the feed takes in one look.
pub const FEED_PAGE_ROWS_MAX: usize = 1_000;
/// Records that the feed submits to the journal together.
pub const FEED_GROUP_RECORDS_MAX: usize = 32;
/// Time between looks at the feed, in milliseconds.
pub const FEED_POLL_MS: u64 = 1_000;
/// Time before a row is looked at again that had to wait for the journal, in milliseconds.
pub const FEED_RETRY_MS: u64 = 50;

const _: () = assert!(FEED_PAGE_ROWS_MAX <= STORAGE_PAGE_ROWS_MAX);
const _: () = assert!(FEED_GROUP_RECORDS_MAX < *COMMITS_IN_FLIGHT_RANGE.start() as usize);
