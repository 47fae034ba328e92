use super::*;
use crate::http::testing::{Random, cuts, mutate};

/// The data, the bytes consumed and whether the body ended; or the error and where it showed.
type Outcome = Result<(Vec<u8>, usize, bool), (BodyError, usize)>;

/// Feeds reads that end at `ends`, as a connection does.
fn decode_cut(body: Body, bytes: &[u8], ends: &[usize]) -> Outcome {
    let mut decoder = BodyDecoder::new(body);
    let mut data = Vec::new();
    let mut position = 0;
    for &end in ends {
        while position < end && !decoder.is_done() {
            let input = &bytes[position..end];
            let piece = decoder.decode(input).map_err(|error| (error, end))?;
            assert!(piece.consumed <= input.len() && piece.data.end <= piece.consumed);
            assert!(piece.consumed > 0, "no progress");
            assert_eq!(piece.done, decoder.is_done());
            data.extend_from_slice(&input[piece.data]);
            position += piece.consumed;
        }
    }
    Ok((data, position, decoder.is_done()))
}

/// The outcome for the whole input, after checking every cut: the same data, the same end, and an
/// error at its first byte.
fn outcome(body: Body, bytes: &[u8]) -> Result<(Vec<u8>, usize, bool), BodyError> {
    let bytewise: Vec<usize> = (1..=bytes.len()).collect();
    let expected = decode_cut(body, bytes, &bytewise);
    for ends in cuts(bytes.len()) {
        let cut = decode_cut(body, bytes, &ends);
        match (&expected, &cut) {
            (Err((expected, _)), Err((error, _))) => assert_eq!(expected, error),
            _ => assert_eq!(cut, expected, "cut {ends:?} of {:?}", String::from_utf8_lossy(bytes)),
        }
    }
    expected.map_err(|(error, _)| error)
}

fn chunked(text: &str, data: &str) {
    let expected = Ok((data.as_bytes().to_vec(), text.len(), true));
    assert_eq!(outcome(Body::Chunked, text.as_bytes()), expected, "{text:?}");
}

fn refused(text: impl AsRef<[u8]>, error: BodyError) {
    let text = text.as_ref();
    let outcome = outcome(Body::Chunked, text);
    assert_eq!(outcome, Err(error), "{:?}", String::from_utf8_lossy(text));
}

/// A length is the whole story; what follows is the next message.
#[test]
fn lengths_and_no_body() {
    for body in [Body::None, Body::Length(0)] {
        assert!(BodyDecoder::new(body).is_done());
        assert_eq!(outcome(body, b"GET /"), Ok((vec![], 0, true)));
    }
    assert_eq!(outcome(Body::Length(3), b"abcdef"), Ok((b"abc".to_vec(), 3, true)));
    assert_eq!(outcome(Body::Length(9), b"abcdef"), Ok((b"abcdef".to_vec(), 6, false)));
    let mut decoder = BodyDecoder::new(Body::Length(u64::MAX));
    assert_eq!(decoder.announced(), u64::MAX);
    assert_eq!(decoder.decode(b"abc"), Ok(Piece { consumed: 3, data: 0..3, done: false }));
    assert_eq!(decoder.announced(), u64::MAX - 3);
    assert_eq!(decoder.end_of_input(), Err(BodyError::ClosedEarly));
}

/// Only such a body may end with the connection.
#[test]
fn until_close() {
    assert_eq!(outcome(Body::UntilClose, b"0\r\n\r\n"), Ok((b"0\r\n\r\n".to_vec(), 5, false)));
    let mut decoder = BodyDecoder::new(Body::UntilClose);
    decoder.decode(b"abc").unwrap();
    assert_eq!(decoder.end_of_input(), Ok(()));
    assert!(decoder.is_done());
    assert_eq!(decoder.end_of_input(), Ok(()));
    let text = b"5\r\nhello\r\n0\r\n\r\n";
    for end in 0..text.len() {
        let mut decoder = BodyDecoder::new(Body::Chunked);
        let mut position = 0;
        while position < end {
            position += decoder.decode(&text[position..end]).unwrap().consumed;
        }
        assert_eq!(decoder.end_of_input(), Err(BodyError::ClosedEarly), "{end}");
    }
}

/// What the grammar allows.
#[test]
fn chunks() {
    chunked("0\r\n\r\n", "");
    chunked("5\r\nhello\r\n0\r\n\r\n", "hello");
    chunked("5\r\nhello\r\n6\r\n world\r\n000\r\n\r\n", "hello world");
    chunked("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789");
    chunked("0000000000000001\r\nx\r\n0000000000000000\r\n\r\n", "x");
    chunked("2\r\n\r\n\r\n0\r\n\r\n", "\r\n");
    chunked("1;a\r\nx\r\n0;b\r\n\r\n", "x");
    chunked("1;a=b;c=\"d;\\\"\\\\\u{e9}\t\";e\r\nx\r\n0\r\n\r\n", "x");
    chunked("1 ; a = b\t;\tc\r\nx\r\n0\r\n\r\n", "x");
    chunked("1;a=\"\" ;b\r\nx\r\n0\r\n\r\n", "x");
    chunked("1\r\nx\r\n0\r\nA: b\r\nC:\r\ncontent-length: 7\r\nHost: x\r\n\r\n", "x");
    let mut decoder = BodyDecoder::new(Body::Chunked);
    let piece = decoder.decode(b"5\r\nhello\r\n0\r\n\r\nGET").unwrap();
    assert_eq!(piece, Piece { consumed: 15, data: 3..8, done: true });
    assert_eq!(decoder.decode(b"GET"), Ok(Piece { consumed: 0, data: 0..0, done: true }));
    let mut decoder = BodyDecoder::new(Body::Chunked);
    decoder.decode(b"ffffffffffffffff\r\nab").unwrap();
    assert_eq!(decoder.announced(), u64::MAX - 2);
}

/// Every deviation here has split some proxy from its server.
#[test]
fn broken_chunks() {
    for (text, error) in [
        ("\r\n", BodyError::BadChunkSize),
        ("\n", BodyError::BareLf),
        (" 1\r\n", BodyError::BadChunkSize),
        ("+1\r\n", BodyError::BadChunkSize),
        ("-1\r\n", BodyError::BadChunkSize),
        ("0x1\r\n", BodyError::BadChunkSize),
        ("1_0\r\n", BodyError::BadChunkSize),
        ("g\r\n", BodyError::BadChunkSize),
        ("1g\r\n", BodyError::BadChunkSize),
        ("1.\r\n", BodyError::BadChunkSize),
        ("1,1\r\n", BodyError::BadChunkSize),
        ("\u{ff11}\r\n", BodyError::BadChunkSize),
        (";a\r\n", BodyError::BadChunkSize),
        ("00000000000000000\r\n", BodyError::BadChunkSize),
        ("10000000000000000\r\n", BodyError::BadChunkSize),
        ("1\0\r\n", BodyError::BadChunkSize),
        ("1 \r\nx\r\n", BodyError::BadChunkExtension),
        ("1\t\r\nx\r\n", BodyError::BadChunkExtension),
        ("1 1\r\n", BodyError::BadChunkExtension),
        ("1\n", BodyError::BareLf),
        ("1\rx", BodyError::BareCr),
        ("1\r\r\n", BodyError::BareCr),
        ("1;\r\nx\r\n", BodyError::BadChunkExtension),
        ("1; \r\nx\r\n", BodyError::BadChunkExtension),
        ("1;;a\r\n", BodyError::BadChunkExtension),
        ("1;a=\r\n", BodyError::BadChunkExtension),
        ("1;a =\r\n", BodyError::BadChunkExtension),
        ("1;a \r\n", BodyError::BadChunkExtension),
        ("1;a=b \r\n", BodyError::BadChunkExtension),
        ("1;a=b c\r\n", BodyError::BadChunkExtension),
        ("1;=b\r\n", BodyError::BadChunkExtension),
        ("1;a=\"b\r\n", BodyError::BadChunkExtension),
        ("1;a=\"b\"c\r\n", BodyError::BadChunkExtension),
        ("1;a=\"\\\r\n", BodyError::BadChunkExtension),
        ("1;a=\"\x01\"\r\n", BodyError::BadChunkExtension),
        ("1;a\nx\r\n", BodyError::BareLf),
        ("1;a=\"\n\"\r\n", BodyError::BareLf),
        ("1;a\0\r\n", BodyError::BadChunkExtension),
        ("1;a\rx", BodyError::BareCr),
        ("1\r\nxx", BodyError::BadChunkEnd),
        ("1\r\nx\n", BodyError::BareLf),
        ("1\r\nx\rx", BodyError::BareCr),
        ("1\r\nx0\r\n\r\n", BodyError::BadChunkEnd),
        ("1\r\nx\r\n\r\n", BodyError::BadChunkSize),
        ("0\n\r\n", BodyError::BareLf),
        ("0\r\n\n", BodyError::BareLf),
        ("0\r\n\rx", BodyError::BareCr),
        ("0\r\n A: b\r\n", BodyError::BadTrailer),
        ("0\r\nA: b\r\n c\r\n", BodyError::BadTrailer),
        ("0\r\nA : b\r\n", BodyError::BadTrailer),
        ("0\r\n: b\r\n", BodyError::BadTrailer),
        ("0\r\nA\r\n", BodyError::BadTrailer),
        ("0\r\nA: \x01\r\n", BodyError::BadTrailer),
        ("0\r\nA: b\0\r\n", BodyError::BadTrailer),
        ("0\r\nA: b\n\r\n", BodyError::BareLf),
        ("0\r\nA: b\rC: d\r\n", BodyError::BareCr),
        ("0\r\nGET / HTTP/1.1\r\n", BodyError::BadTrailer),
    ] {
        refused(text, error);
    }
}

/// Every bound: at it, one over, a hundred times over.
#[test]
fn overhead_is_bounded() {
    let extension = |bytes: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(bytes - 1));
    let max = usize::from(CHUNK_EXTENSION_BYTES_MAX);
    let decode = |text: &str| decode_cut(Body::Chunked, text.as_bytes(), &[text.len()]);
    assert!(decode(&extension(max)).unwrap().2);
    for bytes in [max + 1, 100 * max] {
        let error = decode(&extension(bytes)).unwrap_err().0;
        assert_eq!(error, BodyError::ChunkExtensionTooLong);
    }

    // Each chunk brings 101 bytes of extension and makes up for one of them.
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(100));
    let fits = (CHUNK_OVERHEAD_BYTES_MAX as usize - 101) / 100 + 1;
    let (data, _, _) = decode(&chunk.repeat(fits)).unwrap();
    assert_eq!(data.len(), fits);
    for count in [fits + 1, 100 * fits] {
        let error = decode(&chunk.repeat(count)).unwrap_err().0;
        assert_eq!(error, BodyError::ChunkOverheadTooLarge);
    }
    // With as much data as extension a stream may last for ever.
    let fair = format!("80;{}\r\n{}\r\n", "e".repeat(100), "x".repeat(128));
    assert_eq!(decode(&fair.repeat(1000)).unwrap().0.len(), 128_000);

    let trailer = |bytes: usize| format!("0\r\nT:{}\r\n\r\n", "t".repeat(bytes - 6));
    let max = TRAILER_BYTES_MAX as usize;
    assert!(decode(&trailer(max)).unwrap().2);
    for bytes in [max + 1, max + 2, 100 * max] {
        assert_eq!(decode(&trailer(bytes)).unwrap_err().0, BodyError::TrailerTooLarge);
    }
}

/// A plain decoder for well-formed input, to compare with: whole input, no bounds.
fn reference(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut data = Vec::new();
    let mut position = 0;
    loop {
        let line = bytes[position..].windows(2).position(|pair| pair == b"\r\n")?;
        let text = String::from_utf8_lossy(&bytes[position..position + line]);
        let digits = text.split([';', ' ', '\t']).next()?;
        let size = usize::from_str_radix(digits, 16).ok()?;
        position += line + 2;
        if size == 0 {
            break;
        }
        data.extend_from_slice(bytes.get(position..position + size)?);
        position += size + 2;
    }
    while !bytes.get(position..)?.starts_with(b"\r\n") {
        position += bytes[position..].windows(2).position(|pair| pair == b"\r\n")? + 2;
    }
    Some((data, position + 2))
}

/// What is accepted must mean what it plainly says, however it is cut and mangled.
#[test]
fn mutations_mean_what_they_say() {
    let seeds: [&[u8]; 2] = [
        b"5\r\nhello\r\n10;a=\"b\"\r\n0123456789abcdef\r\n0\r\n\r\n",
        b"3 ; x = y\r\nabc\r\n0\r\nTrailer: value\r\nOther:\r\n\r\nnext",
    ];
    let dictionary: [&[u8]; 12] = [
        b"\r\n",
        b"\n",
        b"\r",
        b"0\r\n",
        b"1\r\nx\r\n",
        b";",
        b"=",
        b"\"",
        b"\\",
        b" ",
        b"f",
        b"0",
    ];
    let mut random = Random::new(8);
    let mut accepted = 0;
    for round in 0..20_000 {
        let bytes = mutate(&mut random, seeds[round % seeds.len()], &dictionary);
        let bytewise: Vec<usize> = (1..=bytes.len()).collect();
        let outcome = decode_cut(Body::Chunked, &bytes, &bytewise);
        let whole = decode_cut(Body::Chunked, &bytes, &[bytes.len()]);
        match (&whole, &outcome) {
            (Err((whole, _)), Err((error, _))) => assert_eq!(whole, error),
            _ => assert_eq!(whole, outcome),
        }
        if let Ok((data, consumed, true)) = whole {
            accepted += 1;
            assert_eq!(Some((data, consumed)), reference(&bytes), "{bytes:?}");
        }
    }
    assert!(accepted > 1_000, "the mutations are too wild to mean anything: {accepted}");
}
