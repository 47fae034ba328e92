//! Upstreams that die in every way, all at once and under load: each request has its documented
//! outcome, once, and who is dead costs the others little.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::routing::{provider_of, refusing, silent, status};
use crate::support::wait_until;
use crate::support::wire::{Answer, Connection};
use crate::upstream::{Gateway, Peer, Upstream, provider};

const CHAT: &str = "/v1/chat/completions";
const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Transfer-Encoding: chunked\r\n\r\n";

fn chunk(data: &str) -> String {
    let event = format!("data: {data}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len())
}

/// The number of a request.
fn number_in(text: &[u8]) -> usize {
    let text = String::from_utf8_lossy(text);
    let from = text.find("\"n").expect("a number") + 2;
    let digits = text[from..].find('"').expect("its end");
    text[from..from + digits].parse().unwrap()
}

/// The good answer to a request, which tells its number.
fn good(body: &[u8]) -> String {
    let number = number_in(body);
    let said = format!("{{\"says\":\"n{number}\"}}");
    if String::from_utf8_lossy(body).contains("\"stream\":true") {
        return format!("{STREAM_HEAD}{}{}0\r\n\r\n", chunk(&said), chunk("[DONE]"));
    }
    let fields = format!("Content-Type: application/json\r\nContent-Length: {}", said.len());
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{said}")
}

fn ask(model: &str, number: usize, is_stream: bool) -> String {
    let stream = if is_stream { "\"stream\":true," } else { "" };
    format!(
        "{{\"model\":\"{model}\",{stream}\"messages\":[{{\"role\":\"user\",\"content\":\"n{number}\"}}]}}"
    )
}

/// What the client of a model sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// The whole answer of the other target.
    Other,
    /// The beginning of its answer and the dialect's error; or, once it is left alone, `Other`.
    Cut,
    /// The whole answer of the only target.
    Own,
    /// The provider's 429 with its Retry-After.
    Limited,
}

struct Way {
    name: &'static str,
    outcome: Outcome,
    /// A whole answer dies in this way too.
    is_whole_too: bool,
    script: fn(&mut Peer, &AtomicUsize),
}

const WAYS: [Way; 11] = [
    Way {
        name: "reset-before-the-head",
        outcome: Outcome::Other,
        is_whole_too: true,
        script: |peer, _| {
            if peer.request().is_some() {
                peer.reset_on_close();
            }
        },
    },
    Way {
        name: "reset-within-the-head",
        outcome: Outcome::Other,
        is_whole_too: true,
        script: |peer, _| {
            if peer.request().is_some() {
                peer.send("HTTP/1.1 200 OK\r\nConte");
                peer.reset_on_close();
            }
        },
    },
    Way {
        name: "reset-after-the-head",
        outcome: Outcome::Other,
        is_whole_too: true,
        script: |peer, _| {
            if peer.request().is_some() {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
                peer.reset_on_close();
            }
        },
    },
    Way {
        name: "garbage",
        outcome: Outcome::Other,
        is_whole_too: true,
        script: |peer, _| {
            if peer.request().is_some() {
                peer.send("\x16\x03\x01\r\n\r\n");
                peer.expect_gone();
            }
        },
    },
    Way {
        name: "429-beside-another",
        outcome: Outcome::Other,
        is_whole_too: true,
        script: |peer, _| peer.answer_all(status(429, "Retry-After: 9\r\n").as_bytes()),
    },
    Way {
        name: "500",
        outcome: Outcome::Other,
        is_whole_too: true,
        script: |peer, _| peer.answer_all(status(500, "").as_bytes()),
    },
    Way {
        name: "stall-before-the-head",
        outcome: Outcome::Other,
        is_whole_too: false,
        script: |peer, _| {
            if peer.request().is_some() {
                peer.expect_gone();
            }
        },
    },
    Way {
        name: "stall-within-the-stream",
        outcome: Outcome::Cut,
        is_whole_too: false,
        script: |peer, _| {
            if let Some((_, body)) = peer.request() {
                let said = format!("{{\"says\":\"n{}\"}}", number_in(&body));
                peer.send(format!("{STREAM_HEAD}{}", chunk(&said)));
                peer.expect_gone();
            }
        },
    },
    Way {
        name: "cut-within-the-stream",
        outcome: Outcome::Cut,
        is_whole_too: false,
        script: |peer, _| {
            if let Some((_, body)) = peer.request() {
                let said = format!("{{\"says\":\"n{}\"}}", number_in(&body));
                peer.send(format!("{STREAM_HEAD}{}", chunk(&said)));
            }
        },
    },
    Way {
        name: "500-twice-and-then-well",
        outcome: Outcome::Own,
        is_whole_too: true,
        script: |peer, asked| {
            while let Some((_, body)) = peer.request() {
                if asked.fetch_add(1, Ordering::SeqCst) < 2 {
                    peer.send(status(500, ""));
                    continue;
                }
                // The first token takes its time.
                std::thread::sleep(Duration::from_millis(50));
                peer.send(good(&body));
            }
        },
    },
    Way {
        name: "429-alone",
        outcome: Outcome::Limited,
        is_whole_too: true,
        script: |peer, _| peer.answer_all(status(429, "Retry-After: 9\r\n").as_bytes()),
    },
];

fn check(way: &str, outcome: Outcome, number: usize, answer: &Answer) {
    let text = answer.text();
    let is_other = provider_of(answer) == "good";
    let said = format!("{{\"says\":\"n{number}\"}}");
    match outcome {
        Outcome::Limited => {
            assert_eq!(answer.status, 429, "{way}: {text}");
            assert_eq!(answer.header("retry-after").as_deref(), Some("9"), "{way}");
            return;
        }
        Outcome::Cut if !is_other => {
            assert_eq!(answer.status, 200, "{way}: {text}");
            let events = answer.events();
            assert_eq!(events.len(), 2, "{way}: {events:?}");
            assert_eq!(events[0], said, "{way}");
            assert!(events[1].contains("\"error\"") && !text.contains("[DONE]"), "{way}: {text}");
            return;
        }
        _ => {}
    }
    assert_eq!((answer.status, is_other), (200, outcome != Outcome::Own), "{way}: {text}");
    if answer.header("content-type").as_deref() == Some("text/event-stream") {
        assert_eq!(answer.events(), [said.as_str(), "[DONE]"], "{way}: once and whole");
    } else {
        assert_eq!(text, said, "{way}");
    }
}

/// Each of these requests at once on a connection of its own; nothing may follow an answer there.
fn all_at_once(gateway: &Gateway, asked: &[(&Way, usize, bool)]) {
    std::thread::scope(|scope| {
        for (way, number, is_stream) in asked {
            scope.spawn(move || {
                let mut client = gateway.connect();
                let answer = client.post(CHAT, &ask(way.name, *number, *is_stream)).answer();
                check(way.name, way.outcome, *number, &answer);
                let after = client.get("/health").answer();
                assert!(after.status == 200 && !after.text().contains("says"), "answered twice");
            });
        }
    });
}

/// Wrong: a request is lost or answered twice, with another's answer or with a lie; or a dead target
/// is waited for again.
#[test]
fn the_kill_matrix_under_load() {
    const EACH: usize = 24;
    let served: Arc<Mutex<HashMap<usize, usize>>> = Arc::default();
    let by_number = Arc::clone(&served);
    let other = Upstream::start(move |peer| {
        while let Some((_, body)) = peer.request() {
            *by_number.lock().unwrap().entry(number_in(&body)).or_default() += 1;
            peer.send(good(&body));
        }
    });
    let dead = silent();
    let mut text = provider("good", other.port, "connect_timeout = 60000\n")
        + &provider("refused", refusing(), "")
        + &provider("silent", dead.port, "connect_timeout = 300\n")
        + "[breaker]\npause = 60000\n[retry]\nbackoff = 10\n";
    let mut upstreams = Vec::new();
    for (index, way) in WAYS.iter().enumerate() {
        let asked = AtomicUsize::new(0);
        let upstream = Upstream::start(move |peer| (way.script)(peer, &asked));
        let timeouts = "first_token_timeout = 5000\nidle_timeout = 300\n";
        let timeouts = match way.name {
            "stall-before-the-head" => "first_token_timeout = 300\n",
            _ => timeouts,
        };
        text += &provider(&format!("bad{index}"), upstream.port, timeouts);
        upstreams.push(upstream);
    }
    let gone = |name| Way { name, outcome: Outcome::Other, is_whole_too: true, script: |_, _| {} };
    let (refused, mute) = (gone("refused"), gone("silent"));
    let ways: Vec<&Way> = WAYS.iter().chain([&refused, &mute]).collect();
    for (index, way) in ways.iter().enumerate() {
        let bad = match index.checked_sub(WAYS.len()) {
            None => format!("bad{index}"),
            Some(_) => way.name.to_owned(),
        };
        let is_alone = matches!(way.outcome, Outcome::Own | Outcome::Limited);
        let other = if is_alone { "" } else { ", { provider = \"good\", model = \"x\" }" };
        text += &format!(
            "[[model]]\nname = \"{}\"\ntargets = [{{ provider = \"{bad}\", model = \"x\" }}{other}]\n",
            way.name
        );
    }
    let gateway = Gateway::with_workers(&text, 2);
    let mut number = 0;
    let mut list = |chosen: &[&'_ str]| {
        let mut asked = Vec::new();
        for turn in 0..EACH {
            for way in ways.iter().filter(|way| chosen.is_empty() || chosen.contains(&way.name)) {
                number += 1;
                asked.push((*way, number, !way.is_whole_too || turn % 2 == 0));
            }
        }
        asked
    };
    all_at_once(&gateway, &list(&[]));
    // Who is known to be dead is not waited for: no further attempt there.
    let before = (gateway.number("timeouts"), gateway.calls("retries"));
    all_at_once(&gateway, &list(&["refused", "silent"]));
    assert_eq!((gateway.number("timeouts"), gateway.calls("retries")), before);
    let served = served.lock().unwrap();
    assert!(served.values().all(|times| *times == 1), "the other target was asked twice for one");
}

/// A model `m` with two targets, of which the second has all the time it needs.
fn two(first: u16, second: u16, keys: &str) -> String {
    let targets = "{ provider = \"p0\", model = \"x\" }, { provider = \"p1\", model = \"x\" }";
    provider("p0", first, "connect_timeout = 300\n")
        + &provider("p1", second, "connect_timeout = 60000\n")
        + &format!("[[model]]\nname = \"m\"\ntargets = [{targets}]\n{keys}")
}

/// Wrong: of many that are on their way to a target when it dies only some have their other target.
#[test]
fn everybody_on_the_way_to_a_dead_target_goes_elsewhere() {
    const COUNT: usize = 300;
    let dead = silent();
    for first in [dead.port, refusing()] {
        let second = Upstream::start(|peer| {
            while let Some((_, body)) = peer.request() {
                peer.send(good(&body));
            }
        });
        let keys = "[breaker]\npause = 60000\n[retry]\nbudget = 0\n";
        let gateway = Gateway::with(&two(first, second.port, keys));
        let mut clients: Vec<Connection> = (0..COUNT).map(|_| gateway.connect()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.post(CHAT, &ask("m", number, true));
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let answer = client.answer();
            let told = (answer.status, provider_of(&answer));
            assert_eq!(told, (200, "p1".to_owned()), "{}", answer.text());
            assert_eq!(answer.events()[0], format!("{{\"says\":\"n{number}\"}}"));
        }
        assert_eq!(gateway.calls("failed"), 0);
    }
}

/// Wrong: many requests find out together whether a broken target is well again, or wait for the one
/// that does.
#[test]
fn one_request_at_a_time_probes_whoever_comes_meanwhile() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let first = Upstream::start(move |peer| {
        while let Some((_, body)) = peer.request() {
            match counter.fetch_add(1, Ordering::SeqCst) {
                0..3 => peer.send(status(500, "")),
                // The probe hangs until its first token is due, or its client goes.
                3 => return peer.expect_gone(),
                _ => peer.send(good(&body)),
            }
        }
    });
    let second = Upstream::start(|peer| {
        while let Some((_, body)) = peer.request() {
            peer.send(good(&body));
        }
    });
    let keys = "[breaker]\nfailures = 3\npause = 30\n";
    let gateway = Gateway::with_workers(&two(first.port, second.port, keys), 4);
    for number in 0..3 {
        let answer = gateway.connect().post(CHAT, &ask("m", number, true)).answer();
        assert_eq!((answer.status, provider_of(&answer).as_str()), (200, "p1"));
    }
    let may_probe = || {
        let models = gateway.connect().get("/admin/models").answer().json();
        let models = models["models"].as_array().unwrap().clone();
        models.iter().any(|it| it["name"] == "m" && it["targets"][0]["open"] == true)
    };
    wait_until("its pause is over", may_probe);
    let mut clients: Vec<Connection> = (0..100).map(|_| gateway.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.post(CHAT, &ask("m", number, true));
    }
    // All but the one that probes are answered while it hangs.
    wait_until("all others have their answer", || {
        clients.retain_mut(|client| {
            if client.quiet_for(Duration::ZERO) {
                return true;
            }
            let answer = client.answer();
            assert_eq!((answer.status, provider_of(&answer).as_str()), (200, "p1"));
            false
        });
        clients.len() <= 1
    });
    assert_eq!((asked.load(Ordering::SeqCst), clients.len()), (4, 1), "one probe");
    // Its client goes: the next request probes, and closes the circuit.
    drop(clients);
    gateway.wait_cancelled(1);
    wait_until("the target is asked again", || {
        let answer = gateway.connect().post(CHAT, &ask("m", 7, true)).answer();
        assert_eq!(answer.status, 200);
        provider_of(&answer) == "p0"
    });
}

/// Wrong: a provider that fails is hit harder for failing.
#[test]
fn further_tries_of_all_requests_are_bounded_together() {
    const COUNT: usize = 300;
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let upstream = Upstream::start(move |peer| {
        while peer.request().is_some() {
            counter.fetch_add(1, Ordering::SeqCst);
            peer.send(status(500, ""));
        }
    });
    let text = provider("up", upstream.port, "connect_timeout = 60000\n")
        + "[retry]\nattempts = 5\nbackoff = 1\nbudget = 20\n[breaker]\nfailures = 0\n";
    let gateway = Gateway::with(&text);
    let began = std::time::Instant::now();
    let mut clients: Vec<Connection> = (0..COUNT).map(|_| gateway.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.post(CHAT, &ask("up/m", number, number % 2 == 0));
    }
    for client in &mut clients {
        assert_eq!(client.answer().status, 502);
    }
    // A reserve of 100, a fifth of the requests, and ten for each second.
    let seconds = began.elapsed().as_secs() as usize + 1;
    let more = asked.load(Ordering::SeqCst) - COUNT;
    eprintln!("{more} further tries of {COUNT} requests that all failed, in {seconds} s");
    assert!((100..=100 + COUNT / 5 + 10 * seconds).contains(&more), "{more} in {seconds} s");
    assert_eq!(gateway.calls("retries") as usize, more);
}
