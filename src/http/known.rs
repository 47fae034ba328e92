//! The field names this server acts on or often meets, each as a small number.
//!
//! A name is looked up once, when its line is read; afterwards a comparison of bytes is enough.
//! The look-up is one hash over length, first and last byte into a table that is built at compile
//! time without collisions, then one comparison.
#![forbid(unsafe_code)]

use super::chars;

/// Declares [`Known`] and its table of lower-case names from one list.
macro_rules! known {
    ($($name:ident $text:literal)*) => {
        /// A known field name, or [`Known::Other`].
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "each variant is the field name it spells")]
        pub enum Known { #[default] Other, $($name,)* }

        /// Name by number; the first is that of `Other`.
        const NAMES: &[&str] = &["", $($text,)*];

        /// Variant by number.
        const VARIANTS: &[Known] = &[Known::Other, $(Known::$name,)*];
    };
}

known! {
    Host "host"
    Connection "connection"
    ContentLength "content-length"
    TransferEncoding "transfer-encoding"
    Expect "expect"
    ContentType "content-type"
    Authorization "authorization"
    XApiKey "x-api-key"
    XRequestId "x-request-id"
    UserAgent "user-agent"
    Accept "accept"
    AcceptEncoding "accept-encoding"
    AcceptLanguage "accept-language"
    Cookie "cookie"
    SetCookie "set-cookie"
    Origin "origin"
    Referer "referer"
    Date "date"
    Server "server"
    KeepAlive "keep-alive"
    ProxyConnection "proxy-connection"
    ProxyAuthorization "proxy-authorization"
    ProxyAuthenticate "proxy-authenticate"
    WwwAuthenticate "www-authenticate"
    Te "te"
    Trailer "trailer"
    Upgrade "upgrade"
    RetryAfter "retry-after"
    ContentEncoding "content-encoding"
    ContentRange "content-range"
    Range "range"
    XForwardedFor "x-forwarded-for"
    XForwardedHost "x-forwarded-host"
    XForwardedProto "x-forwarded-proto"
    XRealIp "x-real-ip"
    Forwarded "forwarded"
    Via "via"
    CacheControl "cache-control"
    Pragma "pragma"
    Location "location"
    Vary "vary"
    Allow "allow"
    Etag "etag"
    LastModified "last-modified"
    IfMatch "if-match"
    IfNoneMatch "if-none-match"
    IfModifiedSince "if-modified-since"
    IfUnmodifiedSince "if-unmodified-since"
    Age "age"
    Expires "expires"
    AltSvc "alt-svc"
    AnthropicVersion "anthropic-version"
    AnthropicBeta "anthropic-beta"
    OpenaiOrganization "openai-organization"
    OpenaiProject "openai-project"
    IdempotencyKey "idempotency-key"
}

/// A set of known names is one `u64`.
const _: () = assert!(VARIANTS.len() <= 64);

/// Bytes of the longest known name.
const NAME_BYTES_MAX: usize = 24;

const SLOTS: usize = 256;

/// Mixes length, first and last byte. The bytes are folded to lower case: every known name holds
/// letters, digits and hyphens only.
#[inline(always)]
const fn slot_of(length: usize, first: u8, last: u8) -> usize {
    let key = (length as u32) << 16 | ((first | 0x20) as u32) << 8 | (last | 0x20) as u32;
    (key.wrapping_mul(MULTIPLIER) >> 24) as usize
}

/// `count` bytes from `from` on, the first one lowest.
const fn word(name: &[u8], from: usize, count: usize) -> u64 {
    let mut word = 0;
    let mut at = 0;
    while at < count {
        word |= (name[from + at] as u64) << (at * 8);
        at += 1;
    }
    word
}

/// Found by trying; the table below does not compile with one that collides.
const MULTIPLIER: u32 = 0x2437_f75b;

/// A slot of the table: a name in words, the first byte lowest. Below eight bytes one, with zeros behind the
/// end; else its first eight bytes, its last eight, and above sixteen bytes those from the ninth on.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Slot {
    words: [u64; NAME_BYTES_MAX / 8],
    /// The bits of each word that the case of letters changes.
    case: [u64; NAME_BYTES_MAX / 8],
    /// The bits of the first word that belong to the name.
    kept: u64,
    length: u8,
    known: Known,
}

static TABLE: [Slot; SLOTS] = {
    const NONE: [u64; NAME_BYTES_MAX / 8] = [0; NAME_BYTES_MAX / 8];
    let empty = Slot { words: NONE, case: NONE, kept: 0, length: 0, known: Known::Other };
    let mut table = [empty; SLOTS];
    let mut index = 1;
    while index < NAMES.len() {
        let name = NAMES[index].as_bytes();
        assert!(name.len() <= NAME_BYTES_MAX);
        let length = name.len();
        let words = if length < 8 {
            [word(name, 0, length), 0, 0]
        } else {
            let middle = if length > 16 { word(name, 8, 8) } else { 0 };
            [word(name, 0, 8), word(name, length - 8, 8), middle]
        };
        let slot = slot_of(name.len(), name[0], name[name.len() - 1]);
        assert!(matches!(table[slot].known, Known::Other), "two known names share a slot");
        table[slot] = Slot {
            words,
            case: [
                chars::case_bits(words[0]),
                chars::case_bits(words[1]),
                chars::case_bits(words[2]),
            ],
            kept: if length < 8 { (1 << (length * 8)) - 1 } else { u64::MAX },
            length: name.len() as u8,
            known: VARIANTS[index],
        };
        index += 1;
    }
    table
};

impl Known {
    /// The variant of a field name, in any case of letters.
    #[inline]
    pub fn from_name(name: &[u8]) -> Known {
        Known::from_start(name, name)
    }

    /// The same for a name that `line` begins with. What follows it there lets it be read a word at a time.
    #[inline(always)]
    pub(super) fn from_start(line: &[u8], name: &[u8]) -> Known {
        let length = name.len();
        // No known name is a single byte.
        let &[first, .., last] = name else { return Known::Other };
        let slot = &TABLE[slot_of(length, first, last) % SLOTS];
        if usize::from(slot.length) != length {
            return Known::Other;
        }
        let is = |index: usize, text: u64| text | slot.case[index] == slot.words[index];
        let head = match line.first_chunk() {
            Some(&word) => u64::from_le_bytes(word),
            None => chars::short_word(line),
        };
        if !is(0, head & slot.kept) {
            return Known::Other;
        }
        if let Some(&tail) = name.last_chunk() {
            let is_middle = || chars::word_at(name, 8).is_some_and(|middle| is(2, middle));
            if !is(1, u64::from_le_bytes(tail)) || (length > 16 && !is_middle()) {
                return Known::Other;
            }
        }
        slot.known
    }

    /// Its name in lower case; empty for [`Known::Other`].
    #[inline]
    pub fn name(self) -> &'static str {
        NAMES[self as usize]
    }

    /// Whether the field concerns one connection only and is never passed on (RFC 9110 section
    /// 7.6.1). Fields named by Connection come on top.
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Known::Connection
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::ProxyAuthorization
                | Known::ProxyAuthenticate
                | Known::Te
                | Known::Trailer
                | Known::TransferEncoding
                | Known::Upgrade
        )
    }

    /// Whether it decides the framing of a message or the fate of its connection. These stand
    /// first in the list.
    #[inline(always)]
    pub(super) fn is_framing(self) -> bool {
        (Known::Host as u8..=Known::Expect as u8).contains(&(self as u8))
    }

    /// Its bit in a set of known names.
    #[inline(always)]
    pub(super) fn bit(self) -> u64 {
        1 << self as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that is not recognised loses its meaning, a wrong one gains a false one.
    #[test]
    fn names_are_found_in_any_case() {
        for &known in &VARIANTS[1..] {
            let name = known.name();
            assert_eq!(Known::from_name(name.as_bytes()), known);
            assert_eq!(Known::from_name(name.to_uppercase().as_bytes()), known);
            for behind in ["", ":", ": 1", ": a value of some words"] {
                let line = format!("{}{behind}", name.to_uppercase());
                let (name, _) = line.as_bytes().split_at(name.len());
                assert_eq!(Known::from_start(line.as_bytes(), name), known, "{line}");
            }
            assert_ne!(known.bit(), 0);
            for index in 0..name.len() {
                let mut other = name.as_bytes().to_vec();
                other[index] ^= 0x40;
                assert_eq!(Known::from_name(&other), Known::Other);
                other.remove(index);
                assert_ne!(Known::from_name(&other), known);
            }
        }
        assert_eq!(Known::from_name(b""), Known::Other);
        assert_eq!(Known::from_name(b"x"), Known::Other);
    }
}
