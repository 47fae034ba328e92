//! Traps that bit gateways, for every provider's format at once; tests/README.md lists them all.

use super::{Wire, codec};
use crate::ai::chat::{Collector, Delta, Part};
use crate::base::error::Failure;

const WIRES: [Wire; 4] = [Wire::OpenAi, Wire::Anthropic, Wire::Gemini, Wire::Ollama];

/// A text, then the provider's own error inside the stream.
fn broken(wire: Wire) -> &'static str {
    match wire {
        Wire::OpenAi => concat!(
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"é😀\"}}]}\n\n",
            "data: {\"error\":{\"message\":\"it bröke\",\"type\":\"server_error\",\"code\":503}}\n\n",
        ),
        Wire::Anthropic => concat!(
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n",
            "event: ping\ndata: {\"type\":\"ping\"}\n\n",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,",
            "\"delta\":{\"type\":\"text_delta\",\"text\":\"é😀\"}}\n\n",
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",",
            "\"message\":\"it bröke\"}}\n\n",
        ),
        Wire::Gemini => concat!(
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"é😀\"}]}}]}\n\n",
            "data: {\"error\":{\"code\":503,\"message\":\"it bröke\",\"status\":\"UNAVAILABLE\"}}\n\n",
        ),
        _ => "{\"message\":{\"content\":\"é😀\"},\"done\":false}\n{\"error\":\"it bröke\"}\n",
    }
}

/// What came of a stream in these pieces: its text, and how it ended.
fn read(wire: Wire, pieces: &[&[u8]]) -> (String, Result<bool, Failure>) {
    let mut decoder = codec(wire).unwrap().stream_decoder();
    let mut text = String::new();
    let mut on = |delta| {
        if let Delta::Text(more) = delta {
            text.push_str(&more);
        }
    };
    let fed = pieces.iter().try_for_each(|piece| decoder.feed(piece, &mut on));
    let ended = fed.and_then(|()| decoder.finish(&mut on));
    (text, ended)
}

/// Wrong: an error inside a 200 stream that passes for its end, or one that depends on the cut.
#[test]
fn an_error_inside_a_stream_is_found_at_every_cut() {
    for wire in WIRES {
        for end in ["\n", "\r\n", "\r"] {
            // Lines of JSON end in LF.
            if wire == Wire::Ollama && end == "\r" {
                continue;
            }
            let stream = broken(wire).replace('\n', end);
            for cut in 0..=stream.len() {
                let (head, tail) = stream.as_bytes().split_at(cut);
                let (text, ended) = read(wire, &[head, tail]);
                assert_eq!(text, "é😀", "{wire:?} cut at {cut}");
                assert_eq!(ended.unwrap_err().message, "it bröke", "{wire:?} cut at {cut}");
            }
            let single: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
            assert_eq!(read(wire, &single).1.unwrap_err().message, "it bröke");
        }
    }
}

/// Wrong: half an answer that passes for a whole one, wherever it breaks off.
#[test]
fn a_stream_that_breaks_off_is_never_whole() {
    for wire in WIRES {
        let stream = broken(wire);
        let error = stream.rfind(if wire == Wire::Ollama { "\n{" } else { "\n\n" }).unwrap();
        let good = match wire {
            Wire::Ollama => error + 1,
            _ => stream[..error].rfind("\n\n").unwrap() + 2,
        };
        for cut in 0..=good {
            let (_, ended) = read(wire, &[&stream.as_bytes()[..cut]]);
            assert_ne!(ended.ok(), Some(true), "{wire:?} cut at {cut}");
        }
    }
}

/// Wrong: a comment or a ping between events that disturbs them.
#[test]
fn comments_and_pings_change_nothing_at_any_cut() {
    let openai = concat!(
        ": keep-alive\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n:\n\n",
        "event: ping\ndata:\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"b\"},\"finish_reason\":\"stop\"}]}\n: x\n\n",
        "data: [DONE]\n\n",
    );
    let anthropic = concat!(
        "event: ping\ndata: {\"type\": \"ping\"}\n\n: comment\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n",
        "event: ping\ndata: {\"type\": \"ping\"}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"b\"}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}",
    );
    for (wire, stream) in [(Wire::OpenAi, openai), (Wire::Anthropic, anthropic)] {
        for cut in 0..=stream.len() {
            let (head, tail) = stream.as_bytes().split_at(cut);
            let (text, ended) = read(wire, &[head, tail]);
            assert_eq!((text.as_str(), ended), ("ab", Ok(true)), "{wire:?} cut at {cut}");
        }
    }
}

/// Wrong: arguments that come apart, or none where a program expects an object.
#[test]
fn arguments_in_fragments_join_at_every_cut_and_empty_ones_are_an_object() {
    let chunk = |calls: &str| {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":[{calls}]}}}}]}}\n\n"
        )
    };
    let stream = [
        chunk(r#"{"index":0,"id":"a","function":{"name":"f","arguments":""}},{"index":1,"id":"b","function":{"name":"g","arguments":""}}"#),
        chunk(r#"{"index":1,"function":{"arguments":"{\"y\":"}},{"index":0,"function":{"arguments":"{\"é\":"}}"#),
        chunk(r#"{"index":0,"function":{"arguments":"1.0}"}}"#),
        chunk(r#"{"index":1,"function":{"arguments":"2}"}},{"index":2,"id":"c","function":{"name":"h"}}"#),
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n".to_owned(),
    ]
    .concat();
    for cut in 0..=stream.len() {
        let (head, tail) = stream.as_bytes().split_at(cut);
        let mut decoder = codec(Wire::OpenAi).unwrap().stream_decoder();
        let mut collector = Collector::new();
        for piece in [head, tail] {
            decoder.feed(piece, &mut |delta| collector.add(&delta)).unwrap();
        }
        decoder.finish(&mut |delta| collector.add(&delta)).unwrap();
        let calls: Vec<(String, String)> = collector
            .reply()
            .parts
            .into_iter()
            .filter_map(|part| match part {
                Part::ToolCall(call) => Some((call.name, call.arguments)),
                _ => None,
            })
            .collect();
        let expected = [("f", "{\"é\":1.0}"), ("g", "{\"y\":2}"), ("h", "{}")];
        assert_eq!(calls, expected.map(|(n, a)| (n.to_owned(), a.to_owned())), "cut at {cut}");
    }
}
