//! What the firewall costs: a browser's GET, a chat request, large bodies; look-ups among very many
//! ranges; the memory under very many addresses. Run by `make bench`.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use neurohttp::config::{Cidr, Config};
use neurohttp::exchange::{Peer, Request};
use neurohttp::firewall::{AddressSet, BodyProfile, Firewall, Moment, canonical};
use neurohttp::http::head::{self, HeadLimits, RequestHead};
use neurohttp::http::target::{self, Target};

fn request(head_text: &str, body: &[u8]) -> Request {
    let raw = format!("{head_text}\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n", body.len());
    let (mut parsed, mut target) = (RequestHead::new(), Target::new());
    let limits = HeadLimits::default();
    assert!(head::parse_request(raw.as_bytes(), &limits, &mut parsed).is_ok());
    assert!(target::resolve(&parsed, raw.as_bytes(), &mut target).is_ok());
    let mut request = Request::default();
    let peer = Peer::Tcp(SocketAddr::from(([127, 0, 0, 1], 1)));
    request.fill(raw.as_bytes(), &mut parsed, &mut target, peer, 1);
    request.body_mut().extend_from_slice(body);
    request
}

const BROWSER: &str = "GET /articles/2024/how-to-brew-coffee?page=2&utm_source=newsletter HTTP/1.1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.9,de;q=0.8\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.com/articles?topic=coffee\r\n\
    Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; _ga=GA1.1.1234567890.1700000000\r\n\
    Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nUpgrade-Insecure-Requests: 1";

/// CPU time of this thread, in nanoseconds: what others do on the machine counts less.
fn cpu_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is alive during the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The median of runs, in nanoseconds of CPU each.
fn median_ns(runs: usize, each: usize, mut what: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let began_ns = cpu_ns();
            (0..each).for_each(|_| what());
            (cpu_ns() - began_ns) as f64 / each as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[runs / 2]
}

const WORDS: &[&str] = &[
    "the",
    "quarterly",
    "report",
    "shows",
    "that",
    "customers",
    "prefer",
    "shorter",
    "answers",
    "and",
    "delivery",
    "within",
    "three",
    "days",
    "which",
    "our",
    "team",
    "has",
    "improved",
    "since",
];

fn prose(bytes: usize) -> String {
    let mut text = String::new();
    for (at, word) in WORDS.iter().cycle().enumerate() {
        if text.len() >= bytes {
            break;
        }
        text.push_str(word);
        text.push_str(if at % 11 == 10 { ". " } else { " " });
    }
    text
}

fn main() {
    let Ok(firewall) = Firewall::new(&Config::default()) else { return };
    let get = request(BROWSER, b"");
    let ns = median_ns(31, 2_000, || {
        black_box(firewall.inspect_head(black_box(&get)));
    });
    println!("browser GET           {:8.2} us", ns / 1e3);

    let json = "POST /v1/chat/completions HTTP/1.1\r\nContent-Type: application/json";
    let chat = format!(
        r#"{{"model":"gpt-4o","temperature":0.2,"messages":[{{"role":"system","content":"You are helpful."}},{{"role":"user","content":"{}"}}]}}"#,
        prose(1850)
    );
    let chat = request(json, chat.as_bytes());
    let ns = median_ns(31, 2_000, || {
        black_box(firewall.inspect_head(black_box(&chat)));
        black_box(firewall.inspect_body(black_box(&chat), BodyProfile::Model, 0));
    });
    println!("2 KB chat POST        {:8.2} us", ns / 1e3);

    let records: Vec<String> = (0..)
        .map(|at| {
            format!(
                r#"{{"id":{at},"name":"item-{at}","note":"{}","tags":["a","blue"]}}"#,
                prose(160)
            )
        })
        .take(1_000_000 / 215)
        .collect();
    let records = format!("[{}]", records.join(","));
    let plain = format!(r#"{{"q":"{}"}}"#, prose(1_000_000));
    let model = format!(r#"{{"messages":[{{"role":"user","content":"{}"}}]}}"#, prose(1_000_000));
    for (name, body, profile) in [
        ("1 MB chat body", &model, BodyProfile::Model),
        ("1 MB plain field", &plain, BodyProfile::Plain),
        ("1 MB plain records", &records, BodyProfile::Plain),
    ] {
        let request = request(json, body.as_bytes());
        let ns = median_ns(15, 4, || {
            black_box(firewall.inspect_body(black_box(&request), profile, 0));
        });
        println!("{name:20} {:8.0} MB/s", body.len() as f64 * 1e3 / ns);
    }

    let ranges: Vec<Cidr> = (0..100_000_u32)
        .filter_map(|at| {
            let ip = Ipv4Addr::from(at.wrapping_mul(2_654_435_761) & 0xffff_ff00);
            Cidr::parse(&format!("{ip}/{}", 12 + at % 21))
        })
        .collect();
    let set = AddressSet::of(&ranges);
    let mut at = 0_u32;
    let ns = median_ns(31, 100_000, || {
        at = at.wrapping_add(2_246_822_519);
        black_box(set.contains(canonical(IpAddr::V4(Ipv4Addr::from(at))), 0));
    });
    println!("look-up of {} ranges {ns:8.1} ns", set.len());

    let mut config = Config::default();
    config.firewall.requests_per_minute = 60;
    let Ok(firewall) = Firewall::new(&config) else { return };
    let before = resident_kib();
    let began = Instant::now();
    for at in 0..10_000_000_u32 {
        let moment = Moment { now_ms: u64::from(at) / 1_000, unix_s: 1_700_000_000 };
        let address = IpAddr::V4(Ipv4Addr::from(at.wrapping_mul(2_654_435_761)));
        black_box(firewall.admit(address, b"/", moment).is_ok());
    }
    println!(
        "10,000,000 addresses  {:8.1} ns each, {} remembered, {} KiB more",
        began.elapsed().as_nanos() as f64 / 1e7,
        firewall.memory().clients(),
        resident_kib().saturating_sub(before)
    );
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
