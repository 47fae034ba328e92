//! What a load has come to, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use super::super::terminal::{bytes, count, duration, plain, rate};
use super::histogram::Histogram;
use super::options::Options;
use super::tally::{Tally, Trouble};

const QUANTILES: [(f64, &str); 6] =
    [(0.5, "p50"), (0.75, "p75"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (1.0, "max")];

/// For people.
pub(super) fn text(options: &Options, tally: &Tally, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(1e-9);
    let mut out = String::new();
    let url = &options.url;
    let _ = writeln!(
        out,
        "{} {}{}, {} connections, {:.1} s",
        options.method,
        url.base(),
        plain(&url.target),
        options.connections,
        seconds
    );
    let _ = writeln!(
        out,
        "  answers    {} ({}/s), {} received ({}/s)",
        count(tally.answers),
        rate(tally.answers as f64 / seconds),
        bytes(tally.bytes as f64),
        bytes(tally.bytes as f64 / seconds)
    );
    let classes: Vec<String> = tally
        .by_class
        .iter()
        .enumerate()
        .filter(|(_, n)| **n > 0)
        .map(|(class, n)| format!("{}xx {}", class + 1, count(*n)))
        .collect();
    if !classes.is_empty() {
        let _ = writeln!(out, "  status     {}", classes.join(", "));
    }
    quantiles(&mut out, "connect", &tally.connect);
    quantiles(&mut out, "latency", &tally.latency);
    if options.stream {
        let _ = writeln!(
            out,
            "  events     {} ({}/s)",
            count(tally.events),
            rate(tally.events as f64 / seconds)
        );
        quantiles(&mut out, "first", &tally.first_event);
        quantiles(&mut out, "gap", &tally.gap);
    }
    for (trouble, (times, said)) in &tally.troubles {
        let _ = writeln!(out, "  failed     {} {}: {}", count(*times), trouble.name(), plain(said));
    }
    out
}

fn quantiles(out: &mut String, name: &str, times: &Histogram) {
    if times.count() == 0 {
        return;
    }
    let mean = std::iter::once(format!("mean {}", duration(times.mean())));
    let all = QUANTILES.iter().map(|(q, name)| format!("{name} {}", duration(times.quantile(*q))));
    let parts: Vec<String> = mean.chain(all).collect();
    let _ = writeln!(out, "  {name:<10} {}", parts.join(", "));
}

/// For programs: one object, times in microseconds.
pub(super) fn json(options: &Options, tally: &Tally, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(1e-9);
    let times = |times: &Histogram| {
        let mut all = serde_json::Map::new();
        all.insert("count".to_owned(), json!(times.count()));
        for (q, name) in QUANTILES {
            all.insert(name.to_owned(), json!(times.quantile(q).round() as u64));
        }
        all
    };
    let troubles: serde_json::Map<String, serde_json::Value> = Trouble::ALL
        .iter()
        .map(|it| (it.name().to_owned(), json!(tally.troubles.get(it).map_or(0, |(n, _)| *n))))
        .collect();
    let mut told = json!({
        "url": format!("{}{}", options.url.base(), options.url.target),
        "method": options.method,
        "connections": options.connections,
        "seconds": seconds,
        "answers": tally.answers,
        "answers_per_second": tally.answers as f64 / seconds,
        "received_bytes": tally.bytes,
        "status": {
            "1xx": tally.by_class[0], "2xx": tally.by_class[1], "3xx": tally.by_class[2],
            "4xx": tally.by_class[3], "5xx": tally.by_class[4],
        },
        "connect_us": times(&tally.connect),
        "latency_us": times(&tally.latency),
        "failed": troubles,
    });
    if options.stream {
        told["events"] = json!(tally.events);
        told["events_per_second"] = json!(tally.events as f64 / seconds);
        told["first_event_us"] = times(&tally.first_event).into();
        told["gap_us"] = times(&tally.gap).into();
    }
    format!("{told}\n")
}
