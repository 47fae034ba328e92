//! Multipart forms: names, file names, fields of part heads, and the values of fields that are no
//! files. Parsers disagree about odd ones: what may be read in several ways is read in each.

use super::engine::Engine;
use super::scan::{Part, Scan};
use super::{inspect, place};

/// Parts of one body that are read one by one.
const PARTS_MAX: usize = 256;
/// The longest head of a part.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// A part whose value is text without a name.
const TEXT: Part<'_> = Part { place: place::TEXT, name: b"", is_prose: true, is_secret: false };

/// Reads a body whose Content-Type is `kind`.
pub fn read(engine: &Engine, scan: &mut Scan, text: &[u8], kind: &[u8]) {
    let Some(boundary) = boundary_of(kind) else {
        scan.value(engine, text, TEXT);
        return;
    };
    let mark = [b"--", boundary].concat();
    let finder = memchr::memmem::Finder::new(&mark);
    let Some(start) = finder.find(text) else {
        scan.value(engine, text, TEXT);
        return;
    };
    let mut rest = text.get(start + mark.len()..).unwrap_or_default();
    for _ in 0..PARTS_MAX {
        let end = finder.find(rest);
        read_part(engine, scan, rest.get(..end.unwrap_or(rest.len())).unwrap_or_default());
        let Some(end) = end.filter(|_| !scan.is_decided()) else { return };
        rest = rest.get(end + mark.len()..).unwrap_or_default();
    }
    scan.value(engine, rest, TEXT);
}

/// The head of a part and its value, whether its lines end in CR LF or in LF alone.
fn split(one: &[u8]) -> Option<(&[u8], &[u8])> {
    let near = one.get(..HEAD_BYTES_MAX).unwrap_or(one);
    for at in memchr::memchr_iter(b'\n', near) {
        let behind = one.get(at + 1..).unwrap_or_default();
        // The first line is what is left of the boundary's.
        if let Some(value) = behind.strip_prefix(b"\n").or_else(|| behind.strip_prefix(b"\r\n")) {
            return Some((one.get(..at).unwrap_or_default(), value));
        }
    }
    None
}

fn read_part(engine: &Engine, scan: &mut Scan, one: &[u8]) {
    let Some((head, value)) = split(one) else {
        // The end, or something that only a tolerant parser reads.
        if !one.starts_with(b"--") {
            scan.value(engine, one, TEXT);
        }
        return;
    };
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    let value = value.strip_suffix(b"\r").unwrap_or(value);
    let part = Part { place: place::FORM, name: b"", is_prose: false, is_secret: false };
    let mut is_file = false;
    let mut name: &[u8] = b"";
    let is_disposition = |line: &&[u8]| {
        line.get(..19).is_some_and(|start| start.eq_ignore_ascii_case(b"content-disposition"))
    };
    for line in head.split(|&byte| byte == b'\n') {
        let line = line.trim_ascii();
        if !is_disposition(&line) && !line.contains(&b'=') {
            let at = memchr::memchr(b':', line).map_or(0, |at| at + 1);
            scan.value(
                engine,
                line.get(at..).unwrap_or_default(),
                Part { place: place::HEADER, ..part },
            );
            continue;
        }
        let mut rest = line;
        while let Some((key, given, after)) = parameter(rest) {
            rest = after;
            if key.eq_ignore_ascii_case(b"filename") || key.eq_ignore_ascii_case(b"filename*") {
                // Without a name it is a field to many.
                is_file |= !given.is_empty();
                scan.value(engine, given, Part { place: place::FILE, name: b"filename", ..part });
            } else if key.eq_ignore_ascii_case(b"name") || key.eq_ignore_ascii_case(b"name*") {
                name = given;
                if inspect::is_odd_name(given) {
                    scan.value(engine, given, Part { place: place::FORM | place::NAME, ..part });
                }
            } else {
                scan.value(engine, given, Part { place: place::HEADER, ..part });
            }
        }
        scan.value(engine, rest, Part { place: place::HEADER, ..part });
    }
    if !is_file {
        let is_prose = inspect::is_written(name);
        scan.value(engine, value, Part { name, is_prose, ..part });
    }
}

/// The next `name="…"` or `name=…` of a header line: its name, its value, and what follows.
fn parameter(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let at = memchr::memchr(b'=', line)?;
    let (before, behind) = (line.get(..at)?, line.get(at + 1..)?);
    let name = before.rsplit(|byte| matches!(byte, b';' | b',' | b':')).next()?.trim_ascii();
    let behind = behind.trim_ascii_start();
    let (value, rest) = match behind.strip_prefix(b"\"") {
        Some(quoted) => {
            // A quote that ends the line or a parameter ends the value; others are part of it.
            let end = memchr::memmem::find(quoted, b"\";")
                .or_else(|| memchr::memrchr(b'"', quoted))
                .unwrap_or(quoted.len());
            quoted.split_at_checked(end)?
        }
        None => {
            let end = memchr::memchr(b';', behind).unwrap_or(behind.len());
            behind.split_at_checked(end)?
        }
    };
    let rest = rest.strip_prefix(b"\"").unwrap_or(rest);
    Some((name, value, rest.strip_prefix(b";").unwrap_or(rest)))
}

/// The boundary, unless there are several.
fn boundary_of(kind: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    let mut rest = kind;
    while let Some((name, value, after)) = parameter(rest) {
        rest = after;
        if name.eq_ignore_ascii_case(b"boundary") {
            let value = value.trim_ascii();
            if found.is_some() || value.is_empty() || value.len() > 70 {
                return None;
            }
            found = Some(value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_they_are_written() {
        for (line, want) in [
            ("form-data; name=\"a\"", Some(("name", "a"))),
            ("form-data;name=a; filename=b", Some(("name", "a"))),
            ("form-data; NAME = \"a;b\"; x=1", Some(("NAME", "a;b"))),
            ("form-data; name=\"a\"b\"", Some(("name", "a\"b"))),
            ("form-data; name=\"a", Some(("name", "a"))),
            ("form-data", None),
        ] {
            let got = parameter(line.as_bytes()).map(|(name, value, _)| (name, value));
            let want = want.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            assert_eq!(got, want, "{line}");
        }
        assert_eq!(boundary_of(b"multipart/form-data; x=y; boundary=\"a;b\""), Some(&b"a;b"[..]));
        assert_eq!(boundary_of(b"multipart/form-data; Boundary = b "), Some(&b"b"[..]));
        assert_eq!(boundary_of(b"multipart/form-data; boundary=a; boundary=b"), None);
    }
}
