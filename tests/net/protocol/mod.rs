//! The protocol, row by row: bytes in, what must come back. Every row runs on a connection of its
//! own against one running program, whole and again in single bytes.
//!
//! What is expected is written as the statuses of the answers in order and then what becomes of
//! the connection:
//! - `open`: a further request on it is answered;
//! - `close`: the server closes it and nothing more is answered;
//! - `cut`: the row ends within a message; the client's end is then the end, without an answer to
//!   what is not whole.
//!
//! `200=text` also compares the body, escaped; `200h` is an answer to HEAD. In the rows each character
//! below U+0100 is one byte.

mod connection;
mod fields;
mod framing;
mod host;
mod limits;
mod line;
mod reflection;
mod routes;
mod target;

use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::{Duration, SystemTime};

use crate::support::cc::Link;
use crate::support::process::{Server, example};

/// The request that tells whether the connection still works.
const PROBE: &[u8] = b"GET /probe HTTP/1.1\r\nHost: h\r\nX-Request-Id: probe\r\n\r\n";

/// One program under test, and what went wrong so far.
pub struct Suite {
    server: Server,
    failures: String,
    rows: usize,
}

/// One answer as it came.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The values of a field.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.head
            .split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    fn has(&self, name: &str, value: &str) -> bool {
        self.values(name).iter().any(|found| found.eq_ignore_ascii_case(value))
    }
}

/// What a row brought.
pub struct Outcome {
    pub answers: Vec<Answer>,
    /// The probe was answered.
    pub is_open: bool,
}

impl Suite {
    /// Against the echo example: one route of a host for every method and path.
    pub fn echo() -> Suite {
        Suite::of(Server::start(example("echo", Link::Shared).arg("0")))
    }

    /// Against the program with its own routes and these settings.
    pub fn gateway(settings: &[&str]) -> Suite {
        Suite::of(Server::gateway(settings))
    }

    fn of(server: Server) -> Suite {
        Suite { server, failures: String::new(), rows: 0 }
    }

    /// Runs one row.
    pub fn row(&mut self, text: impl AsRef<str>, expected: &str) {
        let bytes = bytes_of(text.as_ref());
        // Whether a body is asked for depends on whether it is there already.
        let is_timed = text.as_ref().to_ascii_lowercase().contains("100-continue");
        self.run(&bytes, expected, false);
        if bytes.len() <= 400 && !is_timed {
            self.run(&bytes, expected, true);
        }
    }

    /// Runs rows that are expected to end alike.
    pub fn rows<T: AsRef<str>>(&mut self, expected: &str, rows: impl IntoIterator<Item = T>) {
        for row in rows {
            self.row(row, expected);
        }
    }

    /// Sends bytes and returns what came back, each answer checked by itself.
    pub fn send(&self, text: &str, heads: &[bool]) -> Result<Outcome, String> {
        exchange(self.server.port, &bytes_of(text), heads, false, false)
    }

    /// Reports what went wrong, if anything did; the server must end well too.
    pub fn end(self, rows_min: usize) {
        let failures = self.failures.lines().count();
        assert!(failures == 0, "{failures} rows failed:\n{}", self.failures);
        assert!(self.rows >= rows_min, "only {} rows were run", self.rows);
        self.server.stop();
    }

    fn run(&mut self, bytes: &[u8], expected: &str, bytewise: bool) {
        self.rows += 1;
        let tokens: Vec<&str> = expected.split_whitespace().collect();
        let heads: Vec<bool> = tokens.iter().map(|token| token.ends_with('h')).collect();
        let is_cut = tokens.last() == Some(&"cut");
        let got = exchange(self.server.port, bytes, &heads, is_cut, bytewise)
            .and_then(|outcome| compare(&outcome, &tokens, is_cut));
        if let Err(what) = got {
            let how = if bytewise { ", byte by byte" } else { "" };
            let row = bytes[..bytes.len().min(300)].escape_ascii();
            let _ = writeln!(self.failures, "\"{row}\": {what}, expected {expected:?}{how}");
        }
    }
}

fn bytes_of(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("a character is one byte")).collect()
}

/// A GET request with these header lines beside Host.
pub fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n")
}

/// A POST request with these header lines and what follows the head.
pub fn post(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n{body}")
}

/// A request with this request line.
pub fn line(line: &str) -> String {
    format!("{line}\r\nHost: h\r\n\r\n")
}

/// A POST request with a chunked body.
pub fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

fn compare(outcome: &Outcome, expected: &[&str], is_cut: bool) -> Result<(), String> {
    let mut got: Vec<String> = Vec::new();
    for (index, answer) in outcome.answers.iter().enumerate() {
        let mut token = answer.status.to_string();
        let wanted = expected.get(index).copied().unwrap_or_default();
        if wanted.contains('=') {
            token += &format!("={}", answer.body.escape_ascii());
        } else if wanted.ends_with('h') {
            token.push('h');
        }
        got.push(token);
    }
    let end = match (outcome.is_open, is_cut) {
        (_, true) => "cut",
        (true, _) => "open",
        _ => "close",
    };
    got.push(end.to_owned());
    if got == expected { Ok(()) } else { Err(format!("got {:?}", got.join(" "))) }
}

fn exchange(
    port: u16,
    bytes: &[u8],
    heads: &[bool],
    is_cut: bool,
    bytewise: bool,
) -> Result<Outcome, String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|e| e.to_string())?;
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    let probe: &[u8] = if is_cut { b"" } else { PROBE };
    // A server that has refused the beginning may have closed before the rest was sent.
    if bytewise {
        for byte in bytes {
            let _ = stream.write_all(std::slice::from_ref(byte));
        }
        let _ = stream.write_all(probe);
    } else {
        let _ = stream.write_all(&[bytes, probe].concat());
    }
    if is_cut {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut received = Vec::new();
    let mut outcome = Outcome { answers: Vec::new(), is_open: false };
    loop {
        while let Some((answer, size)) =
            parse(&received, heads.get(outcome.answers.len()) == Some(&true))?
        {
            received.drain(..size);
            check(&answer)?;
            if answer.has("x-request-id", "probe") {
                outcome.is_open = true;
                return if received.is_empty() {
                    Ok(outcome)
                } else {
                    Err("more came than was asked for".into())
                };
            }
            outcome.answers.push(answer);
        }
        let mut buffer = [0; 16384];
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => received.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => {
                let statuses: Vec<u16> = outcome.answers.iter().map(|it| it.status).collect();
                return Err(format!("{error} after {statuses:?}"));
            }
        }
    }
    if !received.is_empty() {
        return Err(format!("closed within an answer: \"{}\"", received.escape_ascii()));
    }
    if let Some(last) = outcome.answers.last()
        && !is_cut
        && !last.has("connection", "close")
    {
        return Err("closed without Connection: close".into());
    }
    Ok(outcome)
}

/// The first whole answer in `bytes` and its size.
fn parse(bytes: &[u8], to_head: bool) -> Result<Option<(Answer, usize)>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8(bytes[..end].to_vec()).map_err(|_| "a head outside UTF-8")?;
    let mut answer = Answer { status: 0, head, body: Vec::new() };
    let first = answer.head.split("\r\n").next().unwrap_or_default();
    let code = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..4));
    let code = code.and_then(|code| code.strip_suffix(' ')).ok_or("a malformed status line")?;
    answer.status = code.parse().map_err(|_| "a malformed status code")?;
    let mut at = end + 4;
    let lengths = answer.values("content-length");
    let codings = answer.values("transfer-encoding");
    let bodiless = to_head || answer.status < 200 || [204, 304].contains(&answer.status);
    match (&lengths[..], &codings[..]) {
        ([], []) if bodiless => {}
        ([_], []) | ([], ["chunked"]) if bodiless && to_head => {}
        ([length], []) if !bodiless => {
            let length: usize = length.parse().map_err(|_| "a malformed length")?;
            let Some(body) = bytes.get(at..at + length) else { return Ok(None) };
            answer.body = body.to_vec();
            at += length;
        }
        ([], ["chunked"]) if !bodiless => loop {
            let Some(size_end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
            let size = std::str::from_utf8(&bytes[at..at + size_end]).unwrap_or("");
            let size = usize::from_str_radix(size, 16).map_err(|_| "a malformed chunk size")?;
            at += size_end + 2;
            let Some(data) = bytes.get(at..at + size + 2) else { return Ok(None) };
            if !data.ends_with(b"\r\n") {
                return Err("a chunk that does not end".into());
            }
            answer.body.extend_from_slice(&data[..size]);
            at += size + 2;
            if size == 0 {
                break;
            }
        },
        _ => return Err(format!("framing in doubt: {:?}", answer.head)),
    }
    Ok(Some((answer, at)))
}

/// What holds for every answer.
fn check(answer: &Answer) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what}: {:?}", answer.head));
    for line in answer.head.split("\r\n").skip(1) {
        let name = line.split(':').next().unwrap_or_default();
        let is_token = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !line.contains(':') || !is_token {
            return wrong("a malformed field");
        }
    }
    if answer.head.bytes().any(|byte| byte < b' ' && byte != b'\r' && byte != b'\n')
        || answer.head.replace("\r\n", "").contains(['\r', '\n'])
    {
        return wrong("a control character");
    }
    if answer.status < 200 {
        return Ok(());
    }
    if !matches!(&answer.values("date")[..], [date] if is_now(date)) {
        return wrong("no current Date");
    }
    if answer.values("connection").len() > 1 {
        return wrong("more than one Connection");
    }
    if answer.status >= 400 && !answer.body.is_empty() {
        let json: serde_json::Value =
            serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
        if !json["error"]["message"].is_string() || !json["error"]["type"].is_string() {
            return wrong("no error object");
        }
    }
    if answer.status == 405 && answer.values("allow").len() != 1 {
        return wrong("405 without Allow");
    }
    Ok(())
}

/// Whether this is an IMF-fixdate of about now.
fn is_now(date: &str) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    (now - 3..=now + 3).any(|second| imf_fixdate(second) == date)
}

/// RFC 9110 section 5.6.7, counted day by day.
fn imf_fixdate(seconds: u64) -> String {
    const MONTHS: [(&str, u64); 12] = [
        ("Jan", 31),
        ("Feb", 28),
        ("Mar", 31),
        ("Apr", 30),
        ("May", 31),
        ("Jun", 30),
        ("Jul", 31),
        ("Aug", 31),
        ("Sep", 30),
        ("Oct", 31),
        ("Nov", 30),
        ("Dec", 31),
    ];
    let days = seconds / 86_400;
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(days % 7) as usize];
    let is_leap = |year: u64| {
        (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
    };
    let (mut year, mut day) = (1970, days);
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 0;
    loop {
        let length = MONTHS[month].1 + u64::from(month == 1 && is_leap(year));
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let name = MONTHS[month].0;
    format!("{weekday}, {:02} {name} {year} {hour:02}:{minute:02}:{second:02} GMT", day + 1)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
