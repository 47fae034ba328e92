//! XML bodies: names of elements, values of attributes, text, sections and comments, one by one. Its
//! own markup is no attack; entities and includes are, and rules about those read the whole.

use super::engine::Engine;
use super::scan::{Part, Scan};
use super::{inspect, place};

/// Something of a document that stands in its text.
const TEXT: Part<'_> = Part { place: place::TEXT, name: b"", is_prose: false, is_secret: false };

/// Reads a body.
pub fn read(engine: &Engine, scan: &mut Scan, text: &[u8]) {
    scan.value(engine, text, Part { place: place::XML, ..TEXT });
    // The element at hand: its text is told under this name.
    let mut name: &[u8] = b"";
    let mut rest = text;
    while !rest.is_empty() && !scan.is_decided() {
        let at = memchr::memchr(b'<', rest).unwrap_or(rest.len());
        let (between, markup) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        value(engine, scan, between, name);
        // Each kind of markup: what begins it, what ends it.
        let inner = [(&b"<!--"[..], &b"-->"[..]), (b"<![CDATA[", b"]]>"), (b"<?", b"?>")];
        let found = inner.iter().find_map(|(begin, end)| {
            let inner = markup.strip_prefix(*begin)?;
            let length = memchr::memmem::find(inner, end).unwrap_or(inner.len());
            let behind = inner.get(length + end.len()..).unwrap_or_default();
            Some((*begin, inner.get(..length)?, behind))
        });
        rest = match found {
            Some((b"<?", instruction, behind)) => {
                if !instruction.starts_with(b"xml ") {
                    let length = markup.len() - behind.len();
                    scan.value(engine, markup.get(..length).unwrap_or_default(), TEXT);
                }
                behind
            }
            Some((_, inner, behind)) => {
                value(engine, scan, inner, name);
                behind
            }
            None => match tag(engine, scan, markup, &mut name) {
                Some(behind) => behind,
                None => {
                    // No markup: whoever reads it otherwise may find something.
                    scan.value(engine, markup, TEXT);
                    return;
                }
            },
        };
    }
}

fn value<'a>(engine: &Engine, scan: &mut Scan, text: &'a [u8], name: &'a [u8]) {
    let is_prose = inspect::is_written(name);
    scan.value(engine, text.trim_ascii(), Part { name, is_prose, ..TEXT });
}

/// Reads a tag at the beginning of the text: what stands behind it. `None`: it has no end.
fn tag<'a>(
    engine: &Engine,
    scan: &mut Scan,
    text: &'a [u8],
    element: &mut &'a [u8],
) -> Option<&'a [u8]> {
    let Some(inner) = text.strip_prefix(b"<") else { return Some(text) };
    let is_name = |byte: &u8| !byte.is_ascii_whitespace() && !matches!(byte, b'>' | b'/' | b'=');
    let is_end = inner.first() == Some(&b'/');
    let inner = inner.strip_prefix(b"/").unwrap_or(inner);
    let length = inner.iter().take_while(|byte| is_name(byte)).count();
    let (name, mut rest) = inner.split_at_checked(length)?;
    *element = if is_end { b"" } else { name };
    if inspect::is_odd_name(name) {
        scan.value(engine, name, TEXT);
    }
    loop {
        // Between attributes; what stands alone is passed over.
        let at = rest.iter().position(|byte| matches!(byte, b'>' | b'=' | b'"' | b'\''))?;
        let before = rest.get(..at)?;
        let mark = rest.get(at)?;
        rest = rest.get(at + 1..)?;
        match mark {
            b'>' => return Some(rest),
            b'=' => {
                rest = rest.trim_ascii_start();
                let name = before.trim_ascii();
                let (length, skipped) = match rest.first()? {
                    quote @ (b'"' | b'\'') => {
                        rest = rest.get(1..)?;
                        (memchr::memchr(*quote, rest)?, 1)
                    }
                    _ => (rest.iter().position(|byte| !is_name(byte))?, 0),
                };
                let given = rest.get(..length)?;
                rest = rest.get(length + skipped..)?;
                // Where a name space or a schema is, everybody says in the same way.
                if !name.starts_with(b"xmlns") || !given.starts_with(b"http") {
                    scan.value(engine, given, Part { name, ..TEXT });
                }
            }
            quote => rest = rest.get(memchr::memchr(*quote, rest)? + 1..)?,
        }
    }
}
