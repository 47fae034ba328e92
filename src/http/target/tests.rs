use super::*;
use crate::http::head::{HeadLimits, parse_request};
use crate::http::testing::{Random, mutate};

/// The path and query of a target, or the error.
fn outcome(target: &str) -> Result<(String, String), HeadError> {
    let method = if target == "*" { "OPTIONS" } else { "GET" };
    let bytes = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
    let mut head = RequestHead::new();
    parse_request(&bytes, &HeadLimits::default(), &mut head)?;
    // Storage that holds another target must not show through.
    let mut resolved = Target { decoded: b"/old".to_vec(), is_decoded: true, ..Target::new() };
    resolve(&head, &bytes, &mut resolved)?;
    assert_eq!(resolved.query_span().of(&bytes), resolved.query(&bytes));
    assert_eq!(resolved.has_query(), target.contains('?'));
    let path = String::from_utf8(resolved.path(&bytes).to_vec()).unwrap();
    let query = String::from_utf8(resolved.query(&bytes).to_vec()).unwrap();
    Ok((path, query))
}

fn check(target: &str, path: &str, query: &str) {
    assert_eq!(outcome(target), Ok((path.to_owned(), query.to_owned())), "{target}");
}

/// One meaning for each path, whoever looks at it.
#[test]
fn paths() {
    for target in [
        "/",
        "/a",
        "/v1/chat/completions",
        "/a/",
        "/a//b",
        "//a",
        "/a.b",
        "/a./.b".trim_end_matches("/.b"),
        "/a..b/c..",
        "/-._~!$&'()*+,;=:@",
    ] {
        check(target, target, "");
    }
    for (target, path) in [
        ("/%61%2d%7E", "/a-~"),
        ("/%41%C3%A9%e2%82%ac", "/A\u{e9}\u{20ac}"),
        ("/a%20b+c", "/a b+c"),
        ("/%3F%23%25", "/?#%"),
        ("/a%2Fb%2fc", "/a%2Fb%2Fc"),
        ("/a%252Fb", "/a%2Fb"),
        ("/a%5Cb", "/a\\b"),
        ("/.", "/"),
        ("/./", "/"),
        ("/./a", "/a"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/a/../b", "/b"),
        ("/a/b/../../c", "/c"),
        ("/a/./b/./", "/a/b/"),
        ("/a//../b", "/a/b"),
        ("//..", "/"),
        ("/a/%2e", "/a/"),
        ("/a/%2E%2e/b", "/b"),
        ("/a/.%2e", "/"),
        ("/...", "/..."),
        ("/.a/..b", "/.a/..b"),
        ("/a%2F.b", "/a%2F.b"),
        ("/a%2F...", "/a%2F..."),
        ("/%7B%22a%22%7D", "/{\"a\"}"),
        ("http://a", "/"),
        ("http://a/", "/"),
        ("http://a/b/../c", "/c"),
        ("*", "*"),
    ] {
        check(target, path, "");
    }
    for (target, path, query) in [
        ("/?", "/", ""),
        ("/a?b=c", "/a", "b=c"),
        ("/a?b?c/../d", "/a", "b?c/../d"),
        ("/%61?%61%zz", "/a", "%61%zz"),
        ("http://a?b", "/", "b"),
        ("http://a/c?b", "/c", "b"),
        ("/?[x]={y}|\\^`", "/", "[x]={y}|\\^`"),
    ] {
        check(target, path, query);
    }
}

/// What a second decoder or a file system would understand otherwise is refused.
#[test]
fn hostile_paths() {
    for (targets, error) in [
        (
            &["/%", "/%4", "/%4g", "/%g4", "/a%", "/%%41", "/%u0041", "/% 41"][..7],
            HeadError::BadPercent,
        ),
        (&["/%00", "/a%00b", "/%0a", "/%0D%0A", "/%09", "/%1f", "/%7F"], HeadError::EncodedControl),
        (
            &[
                "/%ff",
                "/%c0%af",
                "/%c0%ae%c0%ae/",
                "/%e0%80%af",
                "/%ed%a0%80",
                "/%f5%80%80%80",
                "/%c3",
            ],
            HeadError::PathNotUtf8,
        ),
        (
            &[
                "/..",
                "/../",
                "/../a",
                "/a/../..",
                "/a/../../b",
                "/./..",
                "/%2e%2e",
                "/.%2E/a",
                "/a/..%2Fb",
                "/..%2f..%2fetc/passwd",
                "/a/%2e%2e%2fb",
                "/a%2F..",
                "/a%2F..%2Fb",
                "/a%2f.",
                "/.%2fa",
                "/a/..%5Cb",
                "/a%5c..",
                "/a%5C.%5Cb",
                "/a/..%252Fb",
                "/a%252f..",
                "/a/..%25252fb",
                "/a/%252e%252e/b",
                "/a/%252e%252e",
                "/a/%25%32%65",
                "/a/.%252e/b",
                "/a/..%255cb",
                "/%252e",
                "/a%2F%252e%252e%2Fb",
            ],
            HeadError::AboveRoot,
        ),
        (&["/a\\b", "/[a]", "/{a}", "/a|b", "/a^b", "/a`b", "/..\\a"], HeadError::BadTarget),
    ] {
        for target in targets {
            assert_eq!(outcome(target), Err(error), "{target}");
        }
    }
}

/// Whatever is resolved has no dot segment, no control character and begins with a slash; and to
/// resolve the result again changes nothing.
#[test]
fn mutations_never_escape() {
    let seeds =
        ["/a/b/../c%2Fd?x=y", "/%2e%2e/%41/./b//", "http://a/%C3%A9/..", "/v1/models/a%2Fb"];
    let dictionary: [&[u8]; 12] =
        [b"/", b"..", b".", b"%2e", b"%2F", b"%5c", b"%25", b"//", b"/../", b"%c0", b"%00", b"?"];
    let mut random = Random::new(9);
    let mut accepted = 0;
    for round in 0..40_000 {
        let bytes = mutate(&mut random, seeds[round % seeds.len()].as_bytes(), &dictionary);
        let Ok(target) = String::from_utf8(bytes) else {
            continue;
        };
        let Ok((path, _)) = outcome(&target) else {
            continue;
        };
        accepted += 1;
        assert!(path.starts_with('/'), "{target:?} gave {path:?}");
        assert!(!path.split('/').any(|segment| segment == "." || segment == ".."), "{target:?}");
        assert!(!path.bytes().any(|byte| byte < 0x20 || byte == 0x7f), "{target:?}");
        let separators = path.replace("%2F", "/").replace("%2f", "/").replace('\\', "/");
        let hidden = separators.split('/').any(|segment| segment == "." || segment == "..");
        assert!(!hidden, "{target:?} gave {path:?}");
    }
    assert!(accepted > 5_000, "the mutations are too wild to mean anything: {accepted}");
}

/// The fine print of the C API about queries.
#[test]
fn query_values() {
    let value = |query: &str, name: &str| {
        let mut out = b"old".to_vec();
        let found = query_value(query.as_bytes(), name.as_bytes(), &mut out);
        assert!(found || out.is_empty());
        found.then(|| String::from_utf8(out).unwrap())
    };
    let query = "a=1&b=x+y%20z&a=2&d&e=&%66=%67&g=%zz%4&h=a=b&&=n&i+j=k&l=%2B";
    for (name, expected) in [
        ("a", Some("1")),
        ("b", Some("x y z")),
        ("c", None),
        ("d", Some("")),
        ("e", Some("")),
        ("f", Some("g")),
        ("g", Some("%zz%4")),
        ("h", Some("a=b")),
        ("", Some("n")),
        ("i j", Some("k")),
        ("l", Some("+")),
        ("A", None),
    ] {
        assert_eq!(value(query, name).as_deref(), expected, "{name:?}");
    }
    assert_eq!(value("", "a"), None);
    assert_eq!(value("", ""), None);
    assert_eq!(value("&&", ""), None);
}
