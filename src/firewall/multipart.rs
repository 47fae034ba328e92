//! Multipart forms: names, file names, and the values of fields that are no files.

use super::engine::Engine;
use super::scan::{Part, Scan};
use super::{inspect, place};

/// Parts of one body that are read.
const PARTS_MAX: usize = 256;

/// Reads a multipart form: names, file names, and the values of fields that are no files.
pub fn read(engine: &Engine, scan: &mut Scan, text: &[u8], kind_lower: &[u8], kind: Option<&[u8]>) {
    let part = Part { place: place::TEXT, name: b"", is_prose: true, is_secret: false };
    let Some(boundary) = boundary_of(kind_lower, kind.unwrap_or_default()) else {
        scan.value(engine, text, part);
        return;
    };
    let mark = [b"--", boundary].concat();
    let mut rest = text;
    for _ in 0..PARTS_MAX {
        let Some(start) = memchr::memmem::find(rest, &mark) else { return };
        rest = rest.get(start + mark.len()..).unwrap_or_default();
        let end = memchr::memmem::find(rest, &mark).unwrap_or(rest.len());
        let one = rest.get(..end).unwrap_or_default();
        read_part(engine, scan, one);
        if scan.is_decided() {
            return;
        }
    }
}

fn read_part(engine: &Engine, scan: &mut Scan, one: &[u8]) {
    let (head, value) = match memchr::memmem::find(one, b"\r\n\r\n") {
        Some(at) => (one.get(..at).unwrap_or_default(), one.get(at + 4..).unwrap_or_default()),
        None => return,
    };
    let value = value.strip_suffix(b"\r\n").unwrap_or(value);
    let part = Part { place: place::FORM, name: b"", is_prose: false, is_secret: false };
    let mut is_file = false;
    let mut name: &[u8] = b"";
    for line in head.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(file) = parameter(line, b"filename") {
            is_file = true;
            scan.value(engine, file, Part { place: place::FILE, name: b"filename", ..part });
        }
        if let Some(given) = parameter(line, b" name") {
            name = given;
            if inspect::is_odd_name(given) {
                scan.value(engine, given, Part { place: place::FORM | place::NAME, ..part });
            }
        }
    }
    if !is_file {
        let is_prose = inspect::is_written(name);
        scan.value(engine, value, Part { name, is_prose, ..part });
    }
}

/// The value of `name="…"` or `name=…` in a header line.
fn parameter<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let lower = line.to_ascii_lowercase();
    let start = memchr::memmem::find(&lower, name)? + name.len();
    let rest = line.get(start..)?;
    let rest = rest.strip_prefix(b"*").unwrap_or(rest).strip_prefix(b"=")?;
    match rest.strip_prefix(b"\"") {
        Some(quoted) => {
            // A quote that ends the line or a parameter ends the value; others are part of it.
            let end = memchr::memmem::find(quoted, b"\";")
                .or_else(|| memchr::memrchr(b'"', quoted))
                .unwrap_or(quoted.len());
            quoted.get(..end)
        }
        None => rest.split(|&byte| byte == b';').next(),
    }
}

fn boundary_of<'a>(lower: &[u8], kind: &'a [u8]) -> Option<&'a [u8]> {
    let start = memchr::memmem::find(lower, b"boundary=")? + 9;
    let value = kind.get(start..)?;
    let value = match value.strip_prefix(b"\"") {
        Some(quoted) => quoted.split(|&byte| byte == b'"').next()?,
        None => value.split(|&byte| byte == b';').next()?.trim_ascii(),
    };
    (!value.is_empty() && value.len() <= 70).then_some(value)
}
