use super::*;
use crate::http::testing::{Random, mutate};
use std::borrow::Cow;

/// The oracle.
fn serde_accepts(json: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(json).is_ok()
}

fn check(json: impl AsRef<[u8]>) -> bool {
    let json = json.as_ref();
    let accepted = validate(json).is_ok();
    assert_eq!(accepted, serde_accepts(json), "{:?}", String::from_utf8_lossy(json));
    accepted
}

/// A document that one reader takes and another refuses is how filters are passed.
#[test]
fn accepts_what_serde_accepts() {
    for json in [
        "null",
        " true\r\n\t",
        "false",
        "0",
        "-0",
        "1.5e-3",
        "\"\"",
        "[]",
        "{}",
        "[ ]",
        "{ }",
        "[1,2]",
        "{\"a\":{\"b\":[{}]}}",
        "\"\\u0000\\ud83d\\ude00\\\"\\/\"",
        "\"\u{7f}\u{e9}\u{10ffff}\"",
        "1e308",
        "1E+2",
        "1e-999",
        "0e999",
        "0.0e99999999999",
        "-1e-99999999999",
        "18446744073709551616",
        "{\"a\":1,\"a\":2}",
        "[1,\n[2 , 3]\t]",
    ] {
        assert!(check(json), "{json}");
    }
    for json in [
        "",
        " ",
        "nul",
        "nulll",
        "True",
        "NaN",
        "Infinity",
        "+1",
        "01",
        "-",
        "-a",
        "1.",
        ".5",
        "1e",
        "1e+",
        "1.e1",
        "0x1",
        "1_0",
        "00",
        "-00",
        "1 2",
        "[1 2]",
        "[1,]",
        "[,1]",
        "[",
        "]",
        "{",
        "}",
        "[}",
        "{]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{'a':1}",
        "{1:1}",
        "\"",
        "\"a",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\\ud800\\ud800\"",
        "\"\\ud800x\"",
        "\"\\ud800\\n\"",
        "\"\t\"",
        "\"\n\"",
        "\"\0\"",
        "\u{feff}{}",
        "{}x",
        "{}\0",
        "// a\n1",
        "[1]]",
        "{\"a\" 1}",
        "\u{a0}1",
        "1e309",
        "-1e309",
        "1e99999999999",
        "{\"a\":1 \"b\":2}",
        "\"a\"\"b\"",
        "\u{c}1",
    ] {
        assert!(!check(json), "{json}");
    }
    for json in [
        &b"\"\xff\""[..],
        b"\"\xc0\xaf\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xc3\"",
        b"\xff",
        b"{\"\xff\":1}",
    ] {
        assert!(!check(json));
    }
}

/// 127 levels pass, 128 fail: deeper ones would overflow the stack of readers that recurse.
#[test]
fn depth() {
    for levels in [1, 63, 64, 126, 127, 128, 129, 1000, 100_000] {
        let arrays = "[".repeat(levels) + &"]".repeat(levels);
        let objects = "{\"a\":".repeat(levels - 1) + "{" + &"}".repeat(levels);
        let mixed: String = (0..levels).map(|level| ["[", "{\"a\":"][level % 2]).collect();
        let closing: String = (0..levels).rev().map(|level| ["]", "}"][level % 2]).collect();
        for json in [arrays, objects, mixed + "1" + &closing] {
            assert_eq!(check(&json), levels <= 127, "{levels}");
        }
        let member = format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        let found = members(member.as_bytes(), &["a"], &mut [None]).is_ok();
        assert_eq!(found, levels <= 126);
        assert_eq!(found, serde_accepts(member.as_bytes()));
    }
}

/// Right at the largest double the verdict must still be the oracle's.
#[test]
fn numbers_at_the_edge() {
    let mut random = Random::new(11);
    let mut seen = [0; 2];
    for round in 0..20_000 {
        let digits = 1 + random.below(40);
        let mut number: String = (0..digits)
            .map(|index| match index {
                0 => char::from(b'1' + random.below(9) as u8),
                _ => char::from(b'0' + random.below(10) as u8),
            })
            .collect();
        if round % 3 == 0 {
            number = ["17976931348623157", "1797693134862315807", "18446744073709551615"]
                [random.below(3)]
            .to_owned()
                + &"0".repeat(random.below(3));
        }
        let point = random.below(number.len());
        if point > 0 && round % 2 == 0 {
            number.insert(point, '.');
        }
        let whole = number.find('.').unwrap_or(number.len()) as i64;
        let exponent = 309 - whole + random.below(4) as i64 - 2;
        let json = format!("{}{number}e{exponent}", ["", "-"][round % 2]);
        seen[usize::from(check(&json))] += 1;
    }
    assert!(seen[0] > 1000 && seen[1] > 1000, "{seen:?}");
    for zeros in [200, 290, 300, 305, 308, 309, 310, 400, 5000] {
        check("1".to_owned() + &"0".repeat(zeros));
        check(format!("-1{}.5", "0".repeat(zeros)));
        check(format!("1{}e-{zeros}", "0".repeat(zeros)));
        check(format!("0.{}1e{zeros}", "0".repeat(zeros)));
        check(format!("0.{}1e-{zeros}", "0".repeat(zeros)));
    }
    for shift in ["2147483647", "2147483648", "-2147483647", "-2147483648", "99999999999999"] {
        for significand in ["0", "0.0", "1", "0.01", "123456789012345678901234567890"] {
            check(format!("{significand}e{shift}"));
        }
    }
}

/// The oracle under fire.
#[test]
fn mutated_documents() {
    let seeds: [&[u8]; 3] = [
        br#"{"model":"fast","messages":[{"role":"user","content":"a \"b\" \u00e9 \ud83d\ude00"}],"stream":true}"#,
        b"{\"a\":[1,-2.5e3,true,null,{\"\\u0062\":\"\xc3\xa9\xf0\x9f\x98\x80\"}],\"c\":{}}",
        b" [ [ ] , { } , \"x\" , 0 , false ] ",
    ];
    let dictionary: [&[u8]; 22] = [
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\\u",
        b"\\ud800",
        b"\\udc00",
        b"null",
        b"1e309",
        b"0",
        b"-",
        b".",
        b" ",
        b"\n",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\"a\":1,",
        b"e5",
    ];
    let mut random = Random::new(12);
    let mut accepted = 0;
    for round in 0..60_000 {
        let json = mutate(&mut random, seeds[round % seeds.len()], &dictionary);
        accepted += usize::from(check(&json));
        if let Ok(serde_json::Value::Object(object)) = serde_json::from_slice(&json) {
            compare_members(&json, &object);
        } else {
            assert!(members(&json, &["a"], &mut [None]).is_err());
        }
    }
    assert!(accepted > 2_000, "the mutations are too wild to mean anything: {accepted}");
}

fn compare_members(json: &[u8], object: &serde_json::Map<String, serde_json::Value>) {
    let names = ["a", "c", "model", "messages", "stream", "b"];
    let mut found = [const { None }; 6];
    match members(json, &names, &mut found) {
        Ok(()) => {}
        Err(JsonError::Duplicate { .. }) => return,
        Err(error) => panic!("{error} in {:?}", String::from_utf8_lossy(json)),
    }
    for (name, range) in names.iter().zip(found) {
        let value = range.map(|range| serde_json::from_slice(&json[range]).unwrap());
        assert_eq!(value.as_ref(), object.get(*name));
    }
}

/// Raw values, by unescaped name.
#[test]
fn finds_members() {
    let json = br#" { "model" : "a\"b" , "x":{"stream":false}, "stre\u0061m":true,"n":[1 , 2] } "#;
    let mut found = [const { None }; 4];
    members(json, &["model", "stream", "n", "missing"], &mut found).unwrap();
    let raw: Vec<_> = found.iter().map(|range| range.clone().map(|range| &json[range])).collect();
    assert_eq!(raw, [Some(&br#""a\"b""#[..]), Some(b"true"), Some(b"[1 , 2]"), None]);

    let check = |json: &str, expected| {
        let result = members(json.as_bytes(), &["a", "b"], &mut [None, None]);
        assert_eq!(result, Err(expected), "{json}");
    };
    check(r#"{"b":1,"c":1,"c":2,"b":2}"#, JsonError::Duplicate { index: 1 });
    check(r#"{"a":1,"\u0061":2}"#, JsonError::Duplicate { index: 0 });
    check(
        r#"{"a":1,"a":2,}"#,
        JsonError::Syntax { offset: 13, what: "a member's name in quotes was expected" },
    );
    check("[1]", JsonError::NotAnObject);
    check("\"a\"", JsonError::NotAnObject);
    check("[1", JsonError::Syntax { offset: 2, what: "a comma or a closing bracket was expected" });
    check("{} {}", JsonError::Syntax { offset: 3, what: "nothing more was expected" });
    members(b"{}", &[], &mut []).unwrap();
}

/// Every member of the top level, and only of it.
#[test]
fn walks_members() {
    let json = br#"{"a":{"b":1},"c":"d","e\n":[]}"#;
    let mut seen = Vec::new();
    for_each_member(json, |member| {
        let text = |range| std::str::from_utf8(&json[range]).unwrap();
        seen.push((text(member.key), text(member.value)));
    })
    .unwrap();
    assert_eq!(seen, [("a", r#"{"b":1}"#), ("c", r#""d""#), (r"e\n", "[]")]);
}

/// Paths as the C API offers them.
#[test]
fn paths() {
    let json =
        br#" {"choices":[{"message":{"content":"hi"}}, 7],"a":1,"a":{"b":[2]},"0":"zero","":[]} "#;
    let find = |path: &str| {
        let range = find_path(json, path).unwrap();
        range.map(|range| std::str::from_utf8(&json[range]).unwrap())
    };
    for (path, expected) in [
        ("choices.0.message.content", Some("\"hi\"")),
        ("choices.1", Some("7")),
        ("choices.2", None),
        ("choices.01", None),
        ("choices.-1", None),
        ("choices.+1", None),
        ("choices.x", None),
        ("choices.", None),
        ("choices.99999999999999999999999", None),
        ("a.b.0", Some("2")),
        ("a.b.0.c", None),
        ("0", Some("\"zero\"")),
        ("missing", None),
    ] {
        assert_eq!(find(path), expected, "{path}");
    }
    assert_eq!(find(""), std::str::from_utf8(json).ok().map(str::trim));
    assert_eq!(find_path(b"{\"\":[5]}", ".0"), Ok(Some(5..6)));
    // A name with a backslash is spelt with two: what spells it as it stands means another.
    assert_eq!(find_path(br#"{"a\\n":1}"#, r"a\n"), Ok(Some(8..9)));
    assert_eq!(find_path(br#"{"a\n":1}"#, r"a\n"), Ok(None));
    assert_eq!(find_path(b"[]", "0"), Ok(None));
    assert!(find_path(b"{\"a\":1}x", "a").is_err());
}

/// Text must come out as it went in.
#[test]
fn strings_both_ways() {
    assert!(matches!(string(b"\"plain\xc3\xa9\""), Some(Cow::Borrowed("plain\u{e9}"))));
    assert_eq!(
        string(br#""\"\\\/\b\f\n\r\t\u0041\ud83d\ude00x""#).as_deref(),
        Some("\"\\/\x08\x0c\n\r\tA\u{1f600}x")
    );
    for bad in [
        "",
        "\"",
        "a",
        "1",
        "\"a",
        "\"a\" ",
        " \"a\"",
        "\"a\"b\"",
        "\"\\ud800\"",
        "\"\n\"",
        "\"\\\"",
    ] {
        assert_eq!(string(bad.as_bytes()), None, "{bad:?}");
    }
    let all: String =
        (0..0x250).filter_map(char::from_u32).chain("\u{2028}\u{1f600}".chars()).collect();
    for start in 0..20 {
        let text = all.get(start..).unwrap();
        let mut out = b"x".to_vec();
        escape_into(&mut out, text);
        assert_eq!(serde_json::to_string(text).unwrap().as_bytes(), &out[1..]);
        assert_eq!(string(&out[1..]).as_deref(), Some(text));
    }
}

/// The search must stop exactly where a plain one does.
#[test]
fn plain_search_is_exact() {
    for length in 0..30 {
        for at in 0..length {
            for byte in 0..=255u8 {
                let mut bytes = vec![b'a'; length];
                bytes[at] = byte;
                bytes[(at + 3) % length] |= 0x80;
                let plain = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
                let expected = bytes.iter().position(plain).unwrap_or(length);
                assert_eq!(text::end_of_plain(&bytes, 0), expected);
            }
        }
    }
}

/// A patched document keeps everything else.
#[test]
fn replaces() {
    assert_eq!(replace(b"{\"a\":1}", 5..6, b"\"xyz\""), b"{\"a\":\"xyz\"}");
    assert_eq!(replace(b"abc", 0..3, b""), b"");
    assert_eq!(replace(b"abc", 3..3, b"d"), b"abcd");
    assert_eq!(replace(b"abc", 2..99, b"d"), b"abd");
    assert_eq!(replace(b"abc", 98..99, b"d"), b"abcd");
    #[expect(clippy::reversed_empty_ranges, reason = "a range from elsewhere may be reversed")]
    let reversed = replace(b"abc", 2..1, b"d");
    assert_eq!(reversed, b"adbc");
}
