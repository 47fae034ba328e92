//! Every bound of the system that is not configuration, named with its unit.

/// Fields in one head; more are answered with 431.
pub const HEADER_FIELDS_MAX: u16 = 128;

/// Connections that a list of them shows at most.
pub const CONNECTIONS_SHOWN_MAX: usize = 10_000;

/// What one read takes from a socket at most, in bytes.
pub const READ_BYTES: usize = 64 * 1024;

/// A longer prompt is screened by the guard where it may take its time, in bytes.
pub const SCREENED_ON_LOOP_BYTES_MAX: usize = 64 * 1024;

/// What a read takes at most that may bring the head of a request, in bytes: the rest of a large
/// body is then read to where it stays.
pub const FIRST_READ_BYTES: usize = 16 * 1024;

/// From this on the rest of a body with a length is read to where it stays, in bytes.
pub const DIRECT_BODY_BYTES_MIN: u64 = 8 * 1024;

/// Pipelined bytes that wait in memory while an answer is under way, in bytes. More stays in the
/// kernel until there is room.
pub const PIPELINED_BYTES_MAX: usize = 128 * 1024;

/// Response bytes that wait for a slow client before its pipelined requests are left unread, and
/// before the source of a stream is stopped, in bytes.
pub const OUTPUT_HIGH_BYTES: usize = 256 * 1024;

/// A stopped source goes on when no more than this waits, in bytes.
pub const OUTPUT_LOW_BYTES: usize = 64 * 1024;

/// Answers collected before they are written within one turn, in bytes.
pub const BATCH_BYTES: usize = 64 * 1024;

/// Bytes of an early answered body that are read and dropped before the connection is closed.
pub const DRAIN_BYTES_MAX: u64 = 256 * 1024;

/// How long a closed connection waits for the peer's end, in milliseconds (RFC 9112 section 9.6).
pub const LINGER_MS: u64 = 2_000;

/// Body bytes of one C stream that wait in its queue. A write of up to this many always fits an
/// empty queue.
pub const STREAM_QUEUE_BYTES: usize = 64 * 1024;

/// Events taken from epoll in one turn.
pub const EVENTS_PER_TURN: usize = 256;

/// Connections accepted in one turn before the others get theirs.
pub const ACCEPTS_PER_TURN: usize = 64;

/// Requests answered on one connection in one turn before the others get theirs.
pub const REQUESTS_PER_TURN: usize = 256;

/// How long accepting pauses when no descriptor is left, in milliseconds.
pub const ACCEPT_PAUSE_MS: u64 = 100;

/// Of each kind of memory that a worker keeps for reuse, how much at the most, in bytes: what a
/// thousand requests under way at once need.
pub const POOLED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The same of room for large bodies: what a crowd of long prompts needs.
pub const POOLED_BODIES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Connection buffers that a worker keeps however long nobody needs them, in bytes.
pub const KEPT_BUFFERS_BYTES: usize = 512 * 1024;

/// The same of exchanges.
pub const KEPT_EXCHANGES_BYTES: usize = 384 * 1024;

/// The same of calls to models.
pub const KEPT_CALLS_BYTES: usize = 256 * 1024;

/// A pooled buffer that has grown beyond this is given back to the allocator, in bytes.
pub const POOLED_BUFFER_BYTES_MAX: usize = 128 * 1024;

/// Bodies up to this are kept with their exchange, in bytes.
pub const SMALL_BODY_BYTES_MAX: usize = 16 * 1024;

/// A body's room that has grown beyond this is given back to the allocator, in bytes.
pub const POOLED_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Buffers for reading that a worker keeps: the end of an answer, read into one, may lead to the
/// client's next request, read into another.
pub const SCRATCHES_MAX: usize = 2;

/// A request to an upstream up to this size goes out in one piece, in bytes.
pub const JOINED_BYTES_MAX: usize = 4 * 1024;

/// A kept call's head that has grown beyond this is given back to the allocator, in bytes.
pub const POOLED_HEAD_BYTES_MAX: usize = 2 * 1024;

/// Streamed answers of one worker that are compressed at once: an encoder holds up to about a
/// megabyte. Beyond it they go out as they are.
pub const CODED_STREAMS_MAX: usize = 128;

/// How long an idle thread of the blocking pool waits for work before it ends, in milliseconds.
pub const POOL_THREAD_IDLE_MS: u64 = 10_000;

/// An upstream's error body that is read and handed on, in bytes.
pub const UPSTREAM_ERROR_BYTES_MAX: usize = 256 * 1024;

/// What one piece of a compressed answer may grow to, in bytes.
pub const DECODED_PIECE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A whole answer that must be translated, or what is kept of a stream until its end, in bytes.
pub const UPSTREAM_ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The beginning of an event that is held until its end comes, in bytes.
pub const HELD_EVENT_BYTES_MAX: usize = 64 * 1024;

/// Head of an upstream's answer, in bytes.
pub const UPSTREAM_HEAD_BYTES_MAX: u32 = 64 * 1024;

/// Interim answers (1xx) of an upstream before the real one.
pub const UPSTREAM_INTERIM_MAX: u8 = 8;

/// One change that an operator asks for, in bytes.
pub const ADMIN_BODY_BYTES_MAX: u64 = 256 * 1024;

/// How long one change of the configuration waits for another, in milliseconds.
pub const RELOAD_TURN_MS: u64 = 30_000;

/// How long nothing must happen to the files of a configuration before they are read anew, and how
/// long that is waited for at most, in milliseconds.
pub const WATCH_QUIET_MS: u64 = 100;
/// See [`WATCH_QUIET_MS`].
pub const WATCH_LATEST_MS: u64 = 2_000;
/// How long somebody who writes such a file is waited for after each write, in milliseconds.
pub const WATCH_WRITER_MS: u64 = 5_000;
/// Links on the way to such a file whose folders are watched.
pub const WATCH_LINKS_MAX: usize = 8;

/// How long an unused connection to an upstream is kept, in milliseconds.
pub const UPSTREAM_KEPT_MS: u64 = 55_000;

/// How long one address may take before the next is tried beside it, in milliseconds (RFC 8305
/// section 5).
pub const NEXT_ADDRESS_MS: u64 = 250;

/// How long a resolved name is used before it is looked up again, in milliseconds.
pub const RESOLVED_MS: u64 = 30_000;

/// Addresses of one name that are tried.
pub const ADDRESSES_MAX: usize = 16;

/// Bytes of an answer that wait for a client before its upstream is left unread.
pub const RELAY_HIGH_BYTES: usize = 256 * 1024;

/// Time for work on an answer that is done on the blocking pool, in milliseconds.
pub const WORK_MS: u64 = 60_000;

/// A request whose tokens are counted on the loop, in bytes; a larger one goes to the pool.
pub const COUNTED_ON_LOOP_BYTES_MAX: usize = 16 * 1024;

/// What a model of the host program has said and the worker has not taken, in bytes.
pub const GENERATION_QUEUE_BYTES: usize = 64 * 1024;

/// Handles of ended generations that are kept so that late calls on them are answered.
pub const GENERATIONS_REMEMBERED: usize = 64;
/// What a kept answer takes beside its bytes, in bytes.
pub const KEPT_OVERHEAD_BYTES: usize = 256;

/// Bytes of an answer that several requests share: what all have read goes when it is longer.
pub const FLIGHT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A call of the host program up to this size is remembered byte for byte, in bytes.
pub const ALIAS_BYTES_MAX: usize = 64 * 1024;

/// Requests of clients that are remembered byte for byte, and the largest of them, in bytes: at
/// most 4 MiB together.
pub const SPELLINGS: usize = 256;
/// See [`SPELLINGS`].
pub const SPELLING_BYTES_MAX: usize = 16 * 1024;

/// Targets of one model.
pub const TARGETS_MAX: usize = 64;

/// How long a request that probes a broken target keeps others from it at most, in milliseconds.
pub const PROBE_MS_MAX: u64 = 60_000;

/// A `Retry-After` up to this is waited for before the same target is tried again, in
/// milliseconds; a longer one is the client's to wait for.
pub const RETRY_AFTER_WAIT_MS_MAX: u64 = 2_000;

/// Longest pause before a further try, in milliseconds.
pub const BACKOFF_MS_MAX: u64 = 10_000;

/// Further tries that one worker may spend at once beyond what its requests have earned.
pub const RETRY_RESERVE: u64 = 100;

/// How many tries of that reserve come back each second.
pub const RETRIES_PER_SECOND: u64 = 10;

/// Length of the cycle in which targets take turns.
pub const TURNS_MAX: usize = 1024;

/// Time that counts at least between two measured latencies of a target, in milliseconds: under
/// load each answer still moves its mean by a hundredth.
pub const LATENCY_STEP_MS: u64 = 100;

/// Log lines that wait to be written, in bytes; what does not fit is counted and dropped.
pub const LOG_WAITING_BYTES_MAX: usize = 1 << 20;

/// How long the end of a server waits for its log to be written, in milliseconds.
pub const LOG_FLUSH_MS: u64 = 1_000;

/// How long the log's thread lets lines gather after it has written some: at most that late is a
/// line.
pub const LOG_REST_MS: u64 = 10;

/// Spans that wait for a collector; more are dropped.
pub const SPANS_WAITING_MAX: usize = 4_096;

/// Spans that are sent at once.
pub const SPANS_SENT_MAX: usize = 512;

/// How long a collector has to take a delivery, in milliseconds.
pub const TELEMETRY_MS: u64 = 10_000;

/// How long the end of a server waits for the last deliveries, in milliseconds.
pub const TELEMETRY_FLUSH_MS: u64 = 2_000;

/// Connections of one worker after which their memory is given back when they have gone.
pub const CROWD_CONNECTIONS: usize = 256;

/// How long after they have gone, in milliseconds.
pub const TRIM_AFTER_MS: u64 = 500;

/// Panics of one worker within [`WORKER_PANICS_MS`] after which it is not replaced any more.
pub const WORKER_PANICS_MAX: usize = 5;

/// How long a worker's panic counts, in milliseconds.
pub const WORKER_PANICS_MS: u64 = 60_000;

/// Hosts' routes and middlewares.
pub const ROUTES_MAX: usize = 100_000;
/// Parameters of one route pattern.
pub const ROUTE_PARAMS_MAX: usize = 16;
/// Length of a route pattern, in bytes.
pub const ROUTE_PATTERN_BYTES_MAX: usize = 4096;
/// Middlewares before and after, each.
pub const MIDDLEWARES_MAX: usize = 256;
/// Plugins of one server.
pub const PLUGINS_MAX: usize = 256;
/// How long the unloading of a plugin waits for calls that are inside it, in milliseconds.
pub const PLUGIN_LEAVE_MS: u64 = 30_000;

const _: () = {
    assert!(OUTPUT_LOW_BYTES < OUTPUT_HIGH_BYTES);
    assert!(STREAM_QUEUE_BYTES <= OUTPUT_HIGH_BYTES);
    assert!(BATCH_BYTES <= OUTPUT_HIGH_BYTES);
    assert!(READ_BYTES <= PIPELINED_BYTES_MAX);
};
