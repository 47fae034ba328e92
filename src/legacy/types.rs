//! The structs of the old headers, byte for byte (x86-64 glibc). Sizes, alignments and offsets are
//! asserted when this file is compiled and compared with `tests/abi/layout.txt` by a test; a C
//! program made from the same file checks the headers.
//!
//! Enums of the headers are plain integers here: a host may pass any value.

use std::ffi::{c_char, c_double, c_int, c_ulong, c_void};

/// Declares structs with the offset of each field, asserts both, and lists them in `LAYOUT`.
macro_rules! c_structs {
    ($(
        $(#[$doc:meta])*
        struct $name:ident = $c_name:literal in $header:literal, size $size:literal align $align:literal {
            $($offset:literal $field:ident : $type:ty,)*
        }
    )*) => {
        $(
            $(#[$doc])*
            ///
            /// cbindgen:ignore
            #[repr(C)]
            #[allow(missing_docs, reason = "the fields are documented in the header")]
            pub struct $name { $(pub $field: $type,)* }

            const _: () = {
                assert!(size_of::<$name>() == $size);
                assert!(align_of::<$name>() == $align);
                $(assert!(std::mem::offset_of!($name, $field) == $offset);)*
            };
        )*

        /// One row per struct and field, as `tests/abi/layout.txt` writes them.
        #[cfg(test)]
        fn layout_rows() -> Vec<String> {
            fn size_of_field<S, F>(_: fn(&S) -> &F) -> usize { size_of::<F>() }
            let mut rows = Vec::new();
            $(
                rows.push(format!(concat!($header, " ", $c_name, " size {} align {}"), $size, $align));
                $(
                    let field = stringify!($field).trim_start_matches("r#").trim_end_matches('_');
                    let size = size_of_field(|s: &$name| &s.$field);
                    rows.push(format!(concat!($header, " ", $c_name, ".{} offset {} size {}"), field, $offset, size));
                )*
            )*
            rows
        }
    };
}

/// `int (*)(Server *, HTTPRequest *, RouteResponse *)`.
pub type Handler =
    Option<unsafe extern "C" fn(*mut Server, *mut HttpRequest, *mut RouteResponse) -> c_int>;
/// `MiddlewareFunc`.
pub type Middleware = Option<unsafe extern "C" fn(*mut HttpRequest, *mut RouteResponse) -> c_int>;
/// `StreamDataCallback`.
pub type StreamDataCallback = Option<unsafe extern "C" fn(*const c_char, usize, *mut c_void)>;
/// `StreamErrorCallback`.
pub type StreamErrorCallback = Option<unsafe extern "C" fn(c_int, *mut c_void)>;

c_structs! {
    /// `Config` of config.h.
    struct Config = "Config" in "config.h", size 568 align 8 {
        0 port: c_int,
        4 thread_count: c_int,
        8 max_connections: c_int,
        12 request_timeout: c_int,
        16 buffer_size: c_int,
        24 log_file: *mut c_char,
        32 api_keys: [*mut c_char; 64],
        544 api_key_count: c_int,
        548 enable_cache: c_int,
        552 cache_size: c_int,
        556 cache_ttl: c_int,
        560 enable_firewall: c_int,
        564 enable_optimization: c_int,
    }

    /// `JSONValue` of parser.h; the union is seen through its `str` member.
    struct JsonValue = "JSONValue" in "parser.h", size 32 align 8 {
        0 type_: c_int,
        8 key: *mut c_char,
        16 value: *mut c_char,
        24 value_type: c_int,
    }

    /// `HTTPRequest` of parser.h.
    struct HttpRequest = "HTTPRequest" in "parser.h", size 312 align 8 {
        0 method: c_int,
        8 path: *mut c_char,
        16 query_string: *mut c_char,
        24 headers: [*mut c_char; 32],
        280 header_count: c_int,
        288 body: *mut c_char,
        296 body_length: usize,
        304 content_type: *mut c_char,
    }

    /// `RouteResponse` of parser.h.
    struct RouteResponse = "RouteResponse" in "parser.h", size 312 align 8 {
        0 status_code: c_int,
        8 status_message: *mut c_char,
        16 headers: [*mut c_char; 32],
        272 header_count: c_int,
        280 data: *mut c_char,
        288 length: usize,
        296 is_streaming: c_int,
        304 stream_data: *mut c_void,
    }

    /// `Route` of router.h. Our table is not made of it; hosts may be.
    struct Route = "Route" in "router.h", size 296 align 8 {
        0 path: *mut c_char,
        8 method: c_int,
        16 handler: Handler,
        24 next: *mut Route,
        32 param_count: c_int,
        36 param_names: [[c_char; 32]; 8],
    }

    /// `RouteHashTable` of router.h. Our table is not one; hosts may have one.
    struct RouteHashTable = "RouteHashTable" in "router.h", size 2104 align 8 {
        0 buckets: [*mut Route; 256],
        2048 lock: libc::pthread_rwlock_t,
    }

    /// `Server` of server.h: allocated by the host and read by it at any time.
    struct Server = "Server" in "server.h", size 120 align 8 {
        0 server_fd: c_int,
        4 port: u16,
        8 thread_count: c_int,
        16 thread_pool: *mut c_void,
        24 connection_pool: *mut c_void,
        32 request_queue: *mut c_void,
        40 max_connections: c_int,
        44 active_connections: c_int,
        48 epoll_fds: *mut c_int,
        56 thread: libc::pthread_t,
        64 reaper_thread: libc::pthread_t,
        72 running: c_int,
        80 stats: ServerStats,
    }

    /// `CacheEntry` of cache.h. No function hands one out; hosts may use the type.
    struct CacheEntry = "CacheEntry" in "cache.h", size 48 align 8 {
        0 key: *mut c_char,
        8 value: *mut c_char,
        16 value_size: usize,
        24 timestamp: i64,
        32 ttl: i64,
        40 access_count: c_int,
    }

    /// `FirewallEntry` of firewall.h. No function hands one out.
    struct FirewallEntry = "FirewallEntry" in "firewall.h", size 48 align 8 {
        0 ip_address: *mut c_char,
        8 request_count: c_int,
        16 last_request: i64,
        24 is_blocked: c_int,
        32 block_start_time: i64,
        40 suspicious_score: c_int,
    }

    /// `WhitelistEntry` of firewall.h. No function hands one out.
    struct WhitelistEntry = "WhitelistEntry" in "firewall.h", size 24 align 8 {
        0 ip_address: *mut c_char,
        8 permanent: c_int,
        16 expiry_time: i64,
    }

    /// `BlacklistEntry` of firewall.h. No function hands one out.
    struct BlacklistEntry = "BlacklistEntry" in "firewall.h", size 280 align 8 {
        0 ip_address: *mut c_char,
        8 reason: c_int,
        12 description: [c_char; 256],
        272 added_time: i64,
    }

    /// `AttackPattern` of firewall.h.
    struct AttackPattern = "AttackPattern" in "firewall.h", size 272 align 8 {
        0 pattern: [c_char; 256],
        256 severity: c_int,
        264 last_detected: i64,
    }

    /// `RateLimitConfig` of firewall.h.
    struct RateLimitConfig = "RateLimitConfig" in "firewall.h", size 20 align 4 {
        0 max_requests_per_minute: c_int,
        4 block_duration_minutes: c_int,
        8 suspicious_threshold: c_int,
        12 brute_force_threshold: c_int,
        16 brute_force_window_seconds: c_int,
    }

    /// `FirewallStats` of firewall.h.
    struct FirewallStats = "FirewallStats" in "firewall.h", size 72 align 8 {
        0 total_requests: c_ulong,
        8 blocked_requests: c_ulong,
        16 suspicious_activities: c_ulong,
        24 brute_force_attempts: c_ulong,
        32 invalid_api_keys: c_ulong,
        40 attack_pattern_hits: c_ulong,
        48 active_entries: c_int,
        52 whitelisted_ips: c_int,
        56 blacklisted_ips: c_int,
        64 start_time: i64,
    }

    /// `PerformanceData` of optimizer.h.
    struct PerformanceData = "PerformanceData" in "optimizer.h", size 64 align 8 {
        0 timestamp: i64,
        8 cpu_usage: c_double,
        16 memory_usage: c_double,
        24 requests_per_second: u64,
        32 avg_response_time: c_double,
        40 active_connections: c_int,
        44 thread_pool_utilization: c_int,
        48 network_usage: c_double,
        56 error_rate: c_double,
    }

    /// `StreamStats` of stream.h.
    #[derive(Clone, Copy, Default)]
    struct StreamStats = "StreamStats" in "stream.h", size 56 align 8 {
        0 bytes_sent: u64,
        8 bytes_received: u64,
        16 chunks_sent: u64,
        24 operations_count: u64,
        32 total_time_ns: u64,
        40 bytes_written: u64,
        48 bytes_read: u64,
    }

    /// `StreamConfig` of stream.h; the `bool` members are bytes, for a host may leave anything there.
    #[derive(Clone, Copy)]
    struct StreamConfig = "StreamConfig" in "stream.h", size 24 align 8 {
        0 buffer_size: usize,
        8 chunked_encoding: u8,
        12 timeout_ms: u32,
        16 non_blocking: u8,
        17 priority: u8,
    }

    /// `StreamData` of stream.h.
    struct StreamData = "StreamData" in "stream.h", size 192 align 8 {
        0 client_fd: c_int,
        8 buffer: *mut c_char,
        16 buffer_size: usize,
        24 buffer_position: usize,
        32 is_active: u8,
        33 chunked_encoding: u8,
        40 mutex: libc::pthread_mutex_t,
        80 config: StreamConfig,
        104 stats: StreamStats,
        160 data_callback: StreamDataCallback,
        168 error_callback: StreamErrorCallback,
        176 user_data: *mut c_void,
        184 last_activity_ns: u64,
    }

    /// `StreamBuffer` of stream.h.
    struct StreamBuffer = "StreamBuffer" in "stream.h", size 144 align 8 {
        0 data: *mut c_char,
        8 size: usize,
        16 pos: usize,
        24 capacity: usize,
        32 mutex: libc::pthread_mutex_t,
        72 stats: StreamStats,
        128 auto_expand: u8,
        136 max_capacity: usize,
    }

    /// `Array` of utils.h.
    struct Array = "Array" in "utils.h", size 24 align 8 {
        0 items: *mut *mut c_void,
        8 size: usize,
        16 capacity: usize,
    }

    /// `KeyValuePair` of utils.h.
    struct KeyValuePair = "KeyValuePair" in "utils.h", size 16 align 8 {
        0 key: *mut c_char,
        8 value: *mut c_char,
    }

    /// `Dictionary` of utils.h.
    struct Dictionary = "Dictionary" in "utils.h", size 24 align 8 {
        0 items: *mut KeyValuePair,
        8 size: usize,
        16 capacity: usize,
    }

    /// `string_pool_t` of utils.h.
    struct StringPool = "string_pool_t" in "utils.h", size 24 align 8 {
        0 buffer: *mut c_char,
        8 size: usize,
        16 used: usize,
    }

    /// `cpu_features_t` of asm_utils.h.
    struct CpuFeatures = "cpu_features_t" in "asm_utils.h", size 3 align 1 {
        0 sse42: u8,
        1 avx2: u8,
        2 avx512: u8,
    }

    /// `ModelStats` of ai/stats.h.
    struct ModelStats = "ModelStats" in "ai/stats.h", size 72 align 8 {
        0 model_name: *mut c_char,
        8 total_requests: u64,
        16 successful_requests: u64,
        24 failed_requests: u64,
        32 avg_response_time: c_double,
        40 min_response_time: c_double,
        48 max_response_time: c_double,
        56 total_tokens_processed: u64,
        64 last_used: i64,
    }

    /// `Token` of ai/tokenizer.h.
    struct Token = "Token" in "ai/tokenizer.h", size 16 align 8 {
        0 text: *mut c_char,
        8 id: c_int,
        12 type_: c_int,
    }
}

/// The anonymous `stats` member of [`Server`].
///
/// cbindgen:ignore
#[repr(C)]
#[allow(missing_docs, reason = "the fields are documented in the header")]
pub struct ServerStats {
    pub total_requests: u64,
    pub total_responses: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub avg_response_time: c_double,
}

/// Methods of parser.h by their number; 7 is HTTP_UNKNOWN.
pub const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"];
/// HTTP_UNKNOWN.
pub const METHOD_UNKNOWN: c_int = 7;

#[cfg(test)]
mod tests {
    use super::*;

    /// A field that moves breaks every compiled host: the table and the structs must agree.
    #[test]
    fn structs_match_the_layout_table() {
        let table = include_str!("../../tests/abi/layout.txt");
        let mut expected: Vec<&str> = table
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .filter(|line| !line.contains("Server.stats."))
            .collect();
        let mut rows = layout_rows();
        expected.sort_unstable();
        rows.sort_unstable();
        assert_eq!(rows, expected);
    }

    #[test]
    fn counters_of_a_server_stand_where_the_table_says() {
        let table = include_str!("../../tests/abi/layout.txt");
        let base = std::mem::offset_of!(Server, stats);
        for (field, offset) in [
            ("total_requests", std::mem::offset_of!(ServerStats, total_requests)),
            ("total_responses", std::mem::offset_of!(ServerStats, total_responses)),
            ("bytes_sent", std::mem::offset_of!(ServerStats, bytes_sent)),
            ("bytes_received", std::mem::offset_of!(ServerStats, bytes_received)),
            ("avg_response_time", std::mem::offset_of!(ServerStats, avg_response_time)),
        ] {
            let row = format!("server.h Server.stats.{field} offset {} size 8", base + offset);
            assert!(table.lines().any(|line| line == row), "{row}");
        }
    }
}
