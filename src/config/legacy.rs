//! The old configuration files: `key = value` lines, read as the old program read them.
//!
//! Blanks around key and value are dropped, the first `=` divides, a line that begins with `#` is
//! a comment. There are no quotes, sections or inline comments; what is not understood is
//! ignored, and a number is what `atoi` makes of it. Later lines win.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::draft::Draft;
use super::node::At;
use super::{ConfigError, Listen, Secret};

/// Old files keep this many keys and ignore further ones.
const API_KEYS_MAX: usize = 64;

/// An old configuration: the values as the old struct holds them, unchecked.
#[derive(Clone, PartialEq, Eq)]
pub struct LegacyConf {
    /// TCP port on all IPv4 addresses.
    pub port: i32,
    /// Workers.
    pub thread_count: i32,
    /// Connections at once.
    pub max_connections: i32,
    /// Milliseconds.
    pub request_timeout: i32,
    /// Bytes.
    pub buffer_size: i32,
    /// Path of the log file.
    pub log_file: Option<String>,
    /// Keys in the order of the file, at most 64.
    pub api_keys: Vec<String>,
    /// Not 0: on.
    pub enable_cache: i32,
    /// Entries.
    pub cache_size: i32,
    /// Seconds.
    pub cache_ttl: i32,
    /// Not 0: on.
    pub enable_firewall: i32,
    /// Not 0: on.
    pub enable_optimization: i32,
    /// Line and column of the port, both from 1; 0: not set by a file.
    port_place: (usize, usize),
}

impl Default for LegacyConf {
    fn default() -> LegacyConf {
        LegacyConf {
            port: 8080,
            thread_count: 4,
            max_connections: 1024,
            request_timeout: 30_000,
            buffer_size: 8192,
            log_file: None,
            api_keys: Vec::new(),
            enable_cache: 1,
            cache_size: 1000,
            cache_ttl: 3600,
            enable_firewall: 1,
            enable_optimization: 1,
            port_place: (0, 0),
        }
    }
}

// The keys are left out: a log line must not show them.
impl std::fmt::Debug for LegacyConf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LegacyConf")
            .field("port", &self.port)
            .field("thread_count", &self.thread_count)
            .field("max_connections", &self.max_connections)
            .field("api_keys", &self.api_keys.len())
            .finish_non_exhaustive()
    }
}

/// Reads an old file over the old defaults. Nothing in it is an error.
pub fn parse_conf(text: &str) -> LegacyConf {
    let mut conf = LegacyConf::default();
    conf.apply(text);
    conf
}

impl LegacyConf {
    /// Reads a further file over what is there: its lines win, its keys come after.
    pub fn apply(&mut self, text: &str) {
        for (index, line) in text.split('\n').enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let value = value.trim_ascii();
            match key.trim_ascii() {
                "port" => {
                    self.port = atoi(value);
                    self.port_place = (index + 1, column_of(line, value));
                }
                "thread_count" => self.thread_count = atoi(value),
                "max_connections" => self.max_connections = atoi(value),
                "request_timeout" => self.request_timeout = atoi(value),
                "buffer_size" => self.buffer_size = atoi(value),
                "log_file" => self.log_file = Some(value.to_owned()),
                "enable_cache" => self.enable_cache = atoi(value),
                "cache_size" => self.cache_size = atoi(value),
                "cache_ttl" => self.cache_ttl = atoi(value),
                "enable_firewall" => self.enable_firewall = atoi(value),
                "enable_optimization" => self.enable_optimization = atoi(value),
                "api_key" if self.api_keys.len() < API_KEYS_MAX => {
                    self.api_keys.push(value.to_owned());
                }
                _ => {}
            }
        }
    }

    /// Turns the last file read into settings. `name` is that file's, for errors and notes. Only a
    /// port that is none is an error; other numbers that cannot be are replaced and noted.
    pub(crate) fn lay_over(&self, draft: &mut Draft, name: &str) -> Result<(), ConfigError> {
        let (line, column) = self.port_place;
        let place = if line > 0 { format!("{name}:{line}:{column}") } else { name.to_owned() };
        let at = At::named(place);
        let Ok(port) = u16::try_from(self.port) else {
            return Err(at.error(format!("`port` is {}, expected 0 to 65535", self.port)));
        };
        let notes = &mut draft.config.notes;
        let mut within =
            |key: &str, value: i32, low: u32, high: u32, otherwise: u32| match u32::try_from(value)
                .ok()
                .filter(|value| (low..=high).contains(value))
            {
                Some(value) => value,
                None => {
                    notes.push(format!("old `{key}` is {value}: {otherwise} is used"));
                    otherwise
                }
            };
        let config = &mut draft.config.server;
        config.workers = within("thread_count", self.thread_count, 0, 1024, 0);
        config.max_connections =
            within("max_connections", self.max_connections, 1, 10_000_000, 1024);
        config.listen = vec![Listen::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port))];

        let timeouts = &mut draft.config.timeouts;
        timeouts.body = within("request_timeout", self.request_timeout, 1, 86_400_000, 30_000);
        // The old program had no limit for the head: a long one would invite slow clients.
        timeouts.header = timeouts.body.min(super::Timeouts::default().header);

        let cache = &mut draft.config.cache;
        cache.enable = self.enable_cache != 0 && self.cache_size > 0 && self.cache_ttl > 0;
        if cache.enable {
            cache.max_entries = within("cache_size", self.cache_size, 1, 1_000_000_000, 1000);
            cache.ttl = within("cache_ttl", self.cache_ttl, 1, 31_536_000, 31_536_000);
        }
        draft.config.firewall.enable = self.enable_firewall != 0;
        draft.config.optimizer.enable = self.enable_optimization != 0;
        draft.config.log.file = self.log_file.clone().unwrap_or_default();
        let keys = self.api_keys.iter().filter(|key| !key.is_empty());
        draft.config.auth.keys = keys.map(Secret::new).collect();
        draft.config.auth.open = true;
        draft.config.legacy = true;
        draft.marks.insert("server.listen".to_owned(), at);
        for part in ["server", "cache", "auth", "log"] {
            draft.marks.insert(part.to_owned(), At::named(name));
        }
        Ok(())
    }
}

/// The column, from 1, at which `part` begins in the line that holds it.
fn column_of(line: &str, part: &str) -> usize {
    let start = part.as_ptr().addr().saturating_sub(line.as_ptr().addr());
    line.get(..start).map_or(1, |before| before.chars().count() + 1)
}

/// C's `atoi`: leading blanks, a sign, digits; 0 without any; kept in 64 bits, then cut to 32.
fn atoi(text: &str) -> i32 {
    let text = text.trim_start_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => (-1, text.get(1..).unwrap_or_default()),
        Some(b'+') => (1, text.get(1..).unwrap_or_default()),
        _ => (1, text),
    };
    let value = digits.bytes().take_while(u8::is_ascii_digit).fold(0i64, |value, digit| {
        value.saturating_mul(10).saturating_add(sign * i64::from(digit - b'0'))
    });
    value as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrong: an old file means something else than it did.
    #[test]
    fn numbers_are_what_atoi_makes_of_them() {
        fn check(text: &str, expected: i32) {
            assert_eq!(atoi(text), expected, "{text:?}");
        }
        check("80", 80);
        check("  +80 # no comment", 80);
        check("-1", -1);
        check("8080abc", 8080);
        check("abc", 0);
        check("", 0);
        check("4294967376", 80);
        check("99999999999999999999", -1);
        check("-99999999999999999999", 0);
    }

    /// Wrong: the grammar of old files is not theirs.
    #[test]
    fn the_old_grammar_is_kept() {
        let conf = parse_conf(
            "# port = 1\r\n\
             \tport = 9090 \r\n\
             # = x\n\
             api_key = a=b\n\
             api_key =\"quoted\" # kept\n\
             log_file = logs/my file.log\n\
             no equals sign\n\
             [section]\n\
             unknown = 1\n\
             enable_cache = 0\n\
             thread_count = 2\n\
             thread_count = 3",
        );
        assert_eq!(conf.port, 9090);
        assert_eq!(conf.api_keys, ["a=b", "\"quoted\" # kept"]);
        assert_eq!(conf.log_file.as_deref(), Some("logs/my file.log"));
        assert_eq!((conf.enable_cache, conf.thread_count), (0, 3));
        assert_eq!(conf.cache_size, 1000);
    }

    /// Wrong: an old file with many keys overflows the old struct's array.
    #[test]
    fn the_first_64_keys_count() {
        let text: String = (0..70).map(|index| format!("api_key = k{index}\n")).collect();
        let conf = parse_conf(&text);
        assert_eq!(conf.api_keys.len(), 64);
        assert_eq!(conf.api_keys.last().map(String::as_str), Some("k63"));
    }
}
