use super::*;
use crate::http::testing::{Random, cuts, mutate};

/// An event that owns its text.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Event {
    event: Vec<u8>,
    data: Vec<u8>,
    id: Vec<u8>,
    retry: Option<u64>,
}

type Outcome = (Vec<Event>, Result<(), SseError>);

fn read_cut(bytes: &[u8], max: usize, ends: &[usize]) -> Outcome {
    let mut reader = SseReader::new(max);
    let mut events = Vec::new();
    let mut keep = |event: SseEvent<'_>| {
        events.push(Event {
            event: event.event.to_vec(),
            data: event.data.to_vec(),
            id: event.id.to_vec(),
            retry: event.retry,
        });
    };
    let mut start = 0;
    let mut result = Ok(());
    for &end in ends {
        result = reader.feed(&bytes[start..end], &mut keep);
        if result.is_err() {
            break;
        }
        start = end;
    }
    reader.finish(&mut keep);
    (events, result)
}

/// The outcome for the whole input, after checking that every cut gives the same one.
fn outcome(bytes: &[u8], max: usize) -> Outcome {
    let whole = read_cut(bytes, max, &[bytes.len()]);
    for ends in cuts(bytes.len()) {
        let cut = read_cut(bytes, max, &ends);
        assert_eq!(cut, whole, "cut {ends:?} of {:?}", String::from_utf8_lossy(bytes));
    }
    whole
}

/// Type and data of each event.
fn check(text: &str, expected: &[(&str, &str)]) {
    let (events, result) = outcome(text.as_bytes(), 1000);
    let expected: Vec<_> =
        expected.iter().map(|(event, data)| (event.as_bytes(), data.as_bytes())).collect();
    let events: Vec<_> =
        events.iter().map(|event| (event.event.as_slice(), event.data.as_slice())).collect();
    assert_eq!((events, result), (expected, Ok(())), "{text:?}");
}

/// What providers and the standard's own examples send.
#[test]
fn events_read_the_same_at_every_cut_and_line_end() {
    check("", &[]);
    check("data: a\n\n", &[("", "a")]);
    check("data: a\r\n\r\n", &[("", "a")]);
    check("data: a\r\r", &[("", "a")]);
    check("data: a\n\r\ndata: b\r\n\n", &[("", "a"), ("", "b")]);
    check("data:a\n\ndata:  b\n\n", &[("", "a"), ("", " b")]);
    check("event: x\ndata: {\"a\":1}\n\ndata: [DONE]\n\n", &[("x", "{\"a\":1}"), ("", "[DONE]")]);
    check("data: a\ndata: b\ndata\ndata:\n\n", &[("", "a\nb\n\n")]);
    check("data\n\ndata:\n\n", &[("", ""), ("", "")]);
    check(": comment\n\n:\n\ndata: a\n: c\ndata: b\n\n", &[("", "a\nb")]);
    check("event: x\n\ndata: a\n\n", &[("", "a")]);
    check("foo: bar\ndatax: y\nDATA: z\ndata: a:b\n\n", &[("", "a:b")]);
    check("\u{feff}data: a\n\n\u{feff}data: b\n\n", &[("", "a")]);
    check("\u{fefe}data: a\n\ndata: b\n\n", &[("", "b")]);
    check("data: \u{20ac}\u{1f600}\n\n", &[("", "\u{20ac}\u{1f600}")]);
    check("event: x\nevent: y\ndata: a\n\n", &[("y", "a")]);
    check("\n\n\n", &[]);
}

/// Providers leave out the last blank line, or the last line's end.
#[test]
fn the_last_event_counts() {
    check("data: a\n\ndata: b\n", &[("", "a"), ("", "b")]);
    check("data: a\n\nevent: e\ndata: b\ndata: c", &[("", "a"), ("e", "b\nc")]);
    check("data: a\r\n\r\ndata", &[("", "a"), ("", "")]);
    check("event: e\nid: 1", &[]);
    check("\u{feff}data: a", &[("", "a")]);
    assert_eq!(outcome(b"\xef\xbb", 10), (vec![], Ok(())));
    assert_eq!(outcome(b"\xef", 10), (vec![], Ok(())));
}

/// Ids last, times are numbers, and neither may be forged by a NUL or a sign.
#[test]
fn ids_and_retry() {
    let text = "id: 1\nretry: 250\ndata: a\n\ndata: b\n\nid: 2\0\nretry: -1\ndata: c\n\nid\ndata: d\n\n\
                retry: 99999999999999999999\n\nretry:\ndata: e\n\n";
    let (events, _) = outcome(text.as_bytes(), 1000);
    let seen: Vec<_> =
        events.iter().map(|event| (std::str::from_utf8(&event.id).unwrap(), event.retry)).collect();
    let expected = [("1", Some(250)), ("1", None), ("1", None), ("", None), ("", Some(u64::MAX))];
    assert_eq!(seen, expected);
}

/// An endless event must not grow a buffer; comments between events may be many.
#[test]
fn size_is_bounded() {
    let event = |data: usize| format!("data:{}\n\n", "x".repeat(data));
    assert_eq!(outcome(event(14).as_bytes(), 20).0.len(), 1);
    for data in [15, 16, 17, 2000] {
        let (events, result) = outcome(event(data).as_bytes(), 20);
        assert_eq!((events.len(), result), (0, Err(SseError::EventTooLarge)));
    }
    let lines = "data:\n".repeat(3) + "\n";
    assert_eq!(outcome(lines.as_bytes(), 18).0.len(), 1);
    let lines = "data:\n".repeat(300) + "\n";
    assert!(outcome(lines.as_bytes(), 17).1.is_err());
    assert_eq!(outcome(": ping\n".repeat(100).as_bytes(), 17), (vec![], Ok(())));
    let (events, result) = outcome(format!("data: a\n\n:{}", "c".repeat(50)).as_bytes(), 20);
    assert_eq!((events.len(), result), (1, Err(SseError::EventTooLarge)));
    let mut reader = SseReader::new(3);
    assert!(reader.feed(b"data: x", |_| {}).is_err());
    assert!(reader.feed(b"\n\n", |_| panic!("read on after an error")).is_err());
    reader.finish(|_| panic!("delivered after an error"));
}

/// A plain reader of the whole text, to compare with.
fn reference(text: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let text = text.strip_prefix(BOM).unwrap_or(text);
    let mut normalized = Vec::new();
    for (index, &byte) in text.iter().enumerate() {
        match byte {
            b'\r' => normalized.push(b'\n'),
            b'\n' if index > 0 && text[index - 1] == b'\r' => {}
            _ => normalized.push(byte),
        }
    }
    normalized.extend_from_slice(b"\n\n");
    let mut events = Vec::new();
    let (mut event, mut data) = (Vec::new(), None::<Vec<u8>>);
    for line in normalized.split(|&byte| byte == b'\n') {
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"" if line.is_empty() => {
                if let Some(data) = data.take() {
                    events.push((std::mem::take(&mut event), data));
                }
                event.clear();
            }
            b"event" => event = value.to_vec(),
            b"data" => match &mut data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => data = Some(value.to_vec()),
            },
            _ => {}
        }
    }
    events
}

/// However a stream is mangled and cut, it is read as the standard says.
#[test]
fn mutations_read_as_the_plain_reader_reads() {
    let seeds: [&[u8]; 2] = [
        b"\xef\xbb\xbfevent: a\ndata: 1\ndata: 2\r\n\r\n: c\n\ndata: 3\r\rid: 4\ndata: 5\n\n",
        b"data: {\"delta\":\"\xc3\xa9\"}\n\nevent:message_stop\ndata:{}\n\ndata: [DONE]\n\n",
    ];
    let dictionary: [&[u8]; 9] =
        [b"\n", b"\r", b"\r\n", b"\n\n", b"data", b"data:", b": ", b"event:x\n", b"\xef\xbb\xbf"];
    let mut random = Random::new(10);
    for round in 0..20_000 {
        let bytes = mutate(&mut random, seeds[round % seeds.len()], &dictionary);
        let at = random.below(bytes.len() + 1);
        let (events, _) = read_cut(&bytes, 1000, &[at, bytes.len()]);
        let events: Vec<_> = events.into_iter().map(|event| (event.event, event.data)).collect();
        assert_eq!(
            events,
            reference(&bytes),
            "cut at {at} of {:?}",
            String::from_utf8_lossy(&bytes)
        );
    }
}

/// What is written is one event with exactly this data, whatever is in it.
#[test]
fn written_events_come_back() {
    let write = |event: Option<&str>, data: &str| {
        let mut out = Vec::new();
        write_event(&mut out, event, data.as_bytes());
        String::from_utf8(out).unwrap()
    };
    assert_eq!(write(None, "[DONE]"), "data: [DONE]\n\n");
    assert_eq!(write(Some("x"), "a\nb"), "event: x\ndata: a\ndata: b\n\n");
    assert_eq!(write(None, "a\r\nb\rc\n"), "data: a\ndata: b\ndata: c\ndata: \n\n");
    assert_eq!(write(None, ""), "data: \n\n");
    assert_eq!(write(Some("x\ndata: forged\r\n\n\0y"), "a"), "event: xdata: forgedy\ndata: a\n\n");
    for data in ["", " a", "a\n\nb", "\n", "a: b", "data: x\n\n", "\u{20ac}"] {
        check(&write(Some("e"), data), &[("e", data)]);
    }
}
