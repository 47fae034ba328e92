//! Which parts of a request are read, and as what.

use super::engine::Engine;
use super::scan::{Part, Scan};
use super::{json, multipart, place, xml};
use crate::exchange::Request;
use crate::http::decoding::Decoder;
use crate::http::head::Known;

/// Fields of one query or form that are read one by one.
const FIELDS_MAX: usize = 4096;
/// A scheme of Authorization.
const BASIC: &[u8] = b"basic ";
/// Fields among which those of one name are found.
const REPEATED_MAX: usize = 32;
/// What is read of a body in a content coding, decoded: so many times its size, within these bounds.
const DECODED_RATIO: usize = 16;
const DECODED_BYTES_LEAST: usize = 64 << 10;
const DECODED_BYTES_MAX: usize = 1 << 20;
/// Bytes that are decoded at a time: not even they grow beyond that.
const DECODED_STEP: usize = 512;
/// Bytes at the beginning of a body that tell whether it is text.
const SAMPLE_BYTES: usize = 512;

/// How a body is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyProfile {
    /// Every field is structure.
    Plain,
    /// A request to a model: the text of messages is language.
    Model,
}

/// Reads target and header fields.
pub fn head(engine: &Engine, scan: &mut Scan, request: &Request) {
    let target = request.target_text();
    let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
    let part = |place, name| Part { place, name, is_prose: false, is_secret: false };
    if path.len() > 1 {
        scan.value(engine, path, part(place::PATH, b""));
    }
    fields(engine, scan, request.query(), place::QUERY);
    for field in &request.head().fields {
        let (name, value) = (field.name.of(request.raw()), field.value.of(request.raw()));
        match field.known {
            // What the parser has checked already.
            Known::Host
            | Known::Connection
            | Known::ContentLength
            | Known::TransferEncoding
            | Known::Expect => continue,
            Known::Cookie => cookies(engine, scan, value),
            Known::UserAgent => {
                scan.value(engine, value, part(place::HEADER | place::AGENT, name));
            }
            Known::Referer | Known::Origin => {
                let (page, query) = page_and_query(value);
                scan.value(engine, page, part(place::LINK, name));
                if !query.is_empty() {
                    scan.soften(true);
                    scan.value(engine, query, part(place::LINK, name));
                    scan.soften(false);
                }
            }
            Known::Authorization | Known::ProxyAuthorization | Known::XApiKey => {
                let part = Part { is_secret: true, ..part(place::HEADER, name) };
                scan.value(engine, value, part);
                // Name and password are Base64 behind the scheme (RFC 7617).
                if let Some((scheme, pair)) = value.split_at_checked(BASIC.len())
                    && scheme.eq_ignore_ascii_case(BASIC)
                {
                    scan.value(engine, pair, part);
                }
            }
            known => {
                if known == Known::Other && is_odd_name(name) {
                    scan.value(engine, name, part(place::HEADER | place::NAME, b""));
                }
                scan.value(engine, value, part(place::HEADER, name));
            }
        }
        if scan.is_decided() {
            return;
        }
    }
}

/// Parts a link from its query, when it is one as browsers write it: what somebody looked for on
/// another page is that page's to judge.
fn page_and_query(link: &[u8]) -> (&[u8], &[u8]) {
    let is_odd = |byte: &u8| {
        matches!(byte, b'"' | b'\'' | b'<' | b'>' | b'`' | b'{' | b'}' | b'|' | b'\\' | b'^' | b';')
            || *byte == b'$'
            || !byte.is_ascii_graphic()
    };
    let is_link = link.starts_with(b"http://") || link.starts_with(b"https://");
    match memchr::memchr(b'?', link) {
        Some(at) if is_link && !link.iter().any(is_odd) => link.split_at(at),
        _ => (link, b""),
    }
}

fn cookies(engine: &Engine, scan: &mut Scan, value: &[u8]) {
    for pair in value.split(|&byte| byte == b';').take(FIELDS_MAX) {
        let pair = pair.trim_ascii();
        let (name, value) = match memchr::memchr(b'=', pair) {
            Some(at) => {
                (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default())
            }
            None => (&[][..], pair),
        };
        let part = |place, name| Part { place, name, is_prose: false, is_secret: true };
        if is_odd_name(name) {
            scan.value(engine, name, part(place::COOKIE | place::NAME, b""));
        }
        scan.value(engine, value, part(place::COOKIE, name));
    }
    // A separator of shell commands ends a cookie too: so the whole is read once more.
    if memchr::memchr2(b'\'', b'|', value).is_some() || memchr::memchr2(b'`', b'$', value).is_some()
    {
        let part = Part { place: place::COOKIE, name: b"", is_prose: false, is_secret: true };
        scan.value(engine, value, part);
    }
}

/// Reads the fields of a query or form.
pub fn fields(engine: &Engine, scan: &mut Scan, text: &[u8], place: u16) {
    if text.is_empty() {
        return;
    }
    let mut unplussed = Vec::new();
    let mut rest = Some(text);
    for _ in 0..FIELDS_MAX {
        let Some(pair) = next_pair(&mut rest) else { break };
        let (name, value) = name_and_value(pair);
        let part = Part { place, name: b"", is_prose: false, is_secret: false };
        if is_odd_name(name) {
            // Without a value it may be one itself (`?../etc/passwd`).
            let as_name = if value.is_empty() { place } else { place | place::NAME };
            let name = plus_to_blank(name, &mut unplussed);
            scan.value(engine, name, Part { place: as_name, ..part });
        }
        let is_prose = place == place::FORM && is_written(name);
        let value = plus_to_blank(value, &mut unplussed);
        scan.value(engine, value, Part { name, is_prose, ..part });
        if scan.is_decided() {
            return;
        }
    }
    if let Some(rest) = rest {
        scan.value(engine, rest, Part { place, name: b"", is_prose: false, is_secret: false });
    }
    repeated(engine, scan, text, place);
}

fn next_pair<'a>(rest: &mut Option<&'a [u8]>) -> Option<&'a [u8]> {
    let text = (*rest)?;
    let (pair, behind) = match memchr::memchr(b'&', text) {
        Some(at) => (text.get(..at)?, text.get(at + 1..)),
        None => (text, None),
    };
    *rest = behind;
    Some(pair)
}

fn name_and_value(pair: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'=', pair) {
        Some(at) => pair
            .split_at_checked(at)
            .map_or((pair, &[]), |(name, value)| (name, value.get(1..).unwrap_or_default())),
        None => (pair, &[]),
    }
}

/// Fields of one name are one value to some frameworks, with commas between: an attack in pieces.
fn repeated(engine: &Engine, scan: &mut Scan, text: &[u8], place: u16) {
    let mut pairs = [(&[][..], &[][..]); REPEATED_MAX];
    let mut rest = Some(text);
    let mut count = 0;
    for slot in &mut pairs {
        let Some(pair) = next_pair(&mut rest) else { break };
        *slot = name_and_value(pair);
        count += 1;
    }
    let pairs = pairs.get(..count).unwrap_or_default();
    for (at, (name, value)) in pairs.iter().enumerate() {
        let is_same = |other: &&(&[u8], &[u8])| other.0 == *name;
        let (before, behind) = pairs.split_at_checked(at + 1).unwrap_or_default();
        let is_first = before.iter().filter(is_same).count() == 1;
        if !is_first || !behind.iter().any(|other| is_same(&other)) {
            continue;
        }
        let mut joined = value.to_vec();
        for (_, value) in behind.iter().filter(is_same) {
            joined.push(b',');
            joined.extend_from_slice(value);
        }
        joined.iter_mut().filter(|byte| **byte == b'+').for_each(|byte| *byte = b' ');
        let is_prose = place == place::FORM && is_written(name);
        scan.value(engine, &joined, Part { place, name, is_prose, is_secret: false });
    }
}

fn plus_to_blank<'a>(text: &'a [u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
    if memchr::memchr(b'+', text).is_none() {
        return text;
    }
    buffer.clear();
    buffer.extend(text.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }));
    buffer
}

/// Whether a name is more than a word.
pub fn is_odd_name(name: &[u8]) -> bool {
    let mut before = 0;
    name.iter().any(|&byte| {
        let is_plain = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let is_double = byte == b'_' && before == b'_';
        before = byte;
        !is_plain || is_double
    })
}

/// The longest name that is asked whether it is that of a secret, in bytes.
const SECRET_BYTES_MAX: usize = 64;

/// Whether a field, member or header of this name holds a password, a key or the like.
pub fn holds_secret(name: &[u8]) -> bool {
    let mut small = [0; SECRET_BYTES_MAX];
    let Some(small) = small.get_mut(..name.len()) else { return true };
    small.copy_from_slice(name);
    small.make_ascii_lowercase();
    let parts = ["passw", "passphrase", "pwd", "secret", "token", "auth", "credential", "session"];
    parts.iter().any(|part| memchr::memmem::find(small, part.as_bytes()).is_some())
        || small == b"pass"
        || small.ends_with(b"key")
}

/// The longest name of a field that holds no writing, in bytes.
const STRUCTURE_BYTES_MAX: usize = 9;

/// Whether people write in a field of this name.
pub fn is_written(name: &[u8]) -> bool {
    let mut small = [0; STRUCTURE_BYTES_MAX];
    let Some(small) = small.get_mut(..name.len()) else { return true };
    small.copy_from_slice(name);
    small.make_ascii_lowercase();
    !matches!(
        &*small,
        b"id"
            | b"uid"
            | b"user"
            | b"username"
            | b"user_name"
            | b"login"
            | b"email"
            | b"mail"
            | b"password"
            | b"passwd"
            | b"pass"
            | b"pwd"
            | b"file"
            | b"filename"
            | b"path"
            | b"url"
            | b"uri"
            | b"link"
            | b"href"
            | b"src"
            | b"host"
            | b"hostname"
            | b"ip"
            | b"addr"
            | b"address"
            | b"domain"
            | b"port"
            | b"model"
            | b"key"
            | b"token"
            | b"sort"
            | b"order"
            | b"orderby"
            | b"order_by"
            | b"page"
            | b"limit"
            | b"offset"
            | b"redirect"
            | b"next"
            | b"return"
            | b"callback"
            | b"template"
            | b"cmd"
            | b"exec"
            | b"command"
            | b"lang"
            | b"locale"
            | b"dir"
            | b"folder"
            | b"include"
            | b"action"
            | b"type"
            | b"role"
            | b"status"
            | b"category"
            | b"cat"
            | b"product"
            | b"webhook"
            | b"endpoint"
            | b"image"
            | b"avatar"
            | b"date"
            | b"filter"
            | b"column"
            | b"field"
            | b"table"
            | b"ref"
            | b"session"
            | b"sid"
            | b"account"
            | b"code"
            | b"phone"
            | b"view"
            | b"theme"
            | b"format"
    )
}

/// Reads a body.
pub fn body(engine: &Engine, scan: &mut Scan, request: &Request, profile: BodyProfile) {
    let text = request.body();
    if text.is_empty() {
        return;
    }
    let mut decoded = Vec::new();
    // Once: who names many codings must not have us work for each.
    if request.header_values(b"content-encoding").any(|it| decode(it, text, &mut decoded)) {
        plain_body(engine, scan, request, &decoded, profile);
    }
    plain_body(engine, scan, request, text, profile);
}

/// Decodes what a handler behind us may decode, as far as it is read. False: nothing can be read.
pub(super) fn decode(coding: &[u8], text: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let Some(mut decoder) = Decoder::new(coding, DECODED_BYTES_MAX) else { return false };
    // Little must not become much: text shrinks to a tenth, hardly to less.
    let bytes_max = (text.len() * DECODED_RATIO).clamp(DECODED_BYTES_LEAST, DECODED_BYTES_MAX);
    for piece in text.chunks(DECODED_STEP) {
        let Ok(more) = decoder.feed(piece) else { break };
        out.extend_from_slice(&more);
        if out.len() >= bytes_max {
            out.truncate(bytes_max);
            break;
        }
    }
    !out.is_empty()
}

fn plain_body(
    engine: &Engine,
    scan: &mut Scan,
    request: &Request,
    text: &[u8],
    profile: BodyProfile,
) {
    let given = request.known(Known::ContentType).unwrap_or_default();
    let kind = given.to_ascii_lowercase();
    let has = |part: &[u8]| memchr::memmem::find(&kind, part).is_some();
    let first = text.trim_ascii_start().first();
    let part = Part { place: place::TEXT, name: b"", is_prose: true, is_secret: false };
    let is_json = matches!(first, Some(b'{' | b'['));
    if has(b"multipart/") && !is_json {
        // Files for models come so too; their fields are read like those of any form.
        multipart::read(engine, scan, text, given);
    } else if profile == BodyProfile::Model || has(b"json") || is_json {
        json::read(engine, scan, text, profile);
    } else if has(b"x-www-form-urlencoded") {
        fields(engine, scan, text, place::FORM);
    } else if kind.is_empty() || has(b"text/") || has(b"xml") || has(b"javascript") || is_text(text)
    {
        if !has(b"xml")
            && !has(b"text/")
            && memchr::memchr(b'=', text).is_some()
            && memchr::memchr(b'\n', text).is_none()
        {
            fields(engine, scan, text, place::FORM);
        } else if has(b"xml") && !has(b"html") && !has(b"svg") {
            xml::read(engine, scan, text);
        } else {
            let is_prose = !has(b"xml");
            scan.value(engine, text, Part { is_prose, ..part });
        }
    }
}

/// Whether a body of a type that we do not know begins as text does.
fn is_text(text: &[u8]) -> bool {
    let sample = text.get(..SAMPLE_BYTES).unwrap_or(text);
    sample.iter().all(|byte| *byte >= 0x20 || byte.is_ascii_whitespace())
        && std::str::from_utf8(sample).map_or_else(|e| e.error_len().is_none(), |_| true)
}
