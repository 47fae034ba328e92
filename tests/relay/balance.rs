//! What strategies and second attempts gain, over real sockets: bounded simulations whose upstreams
//! take known times. Compared are runs on the same machine in the same minute.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::routing::model;
use crate::upstream::{GOOD, Gateway, Upstream, provider};

const CHAT: &str = "/v1/chat/completions";
const ASK: &str = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}"#;
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Transfer-Encoding: chunked\r\n\r\n";
const REST: &str = "f\r\ndata: {\"a\":1}\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";

/// An upstream whose answer to its nth request has its first token after `delay(n)` milliseconds.
fn taking(delay: impl Fn(usize) -> u64 + Send + Sync + 'static) -> (Upstream, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let upstream = Upstream::start(move |peer| {
        while peer.request().is_some() {
            let number = counter.fetch_add(1, Ordering::SeqCst);
            peer.send(HEAD);
            // What a model takes is what is simulated.
            std::thread::sleep(Duration::from_millis(delay(number)));
            if !peer.try_send(REST) {
                return;
            }
        }
    });
    (upstream, asked)
}

/// `count` requests of `clients` at once; returns the times to the first token, sorted.
fn run(gateway: &Gateway, clients: usize, count: usize) -> Vec<Duration> {
    let times = Mutex::new(Vec::new());
    let left = AtomicUsize::new(count);
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = gateway.connect();
                while left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                    .is_ok()
                {
                    let began = Instant::now();
                    client.post(CHAT, ASK);
                    let head = client.head();
                    assert_eq!(head.status, 200);
                    let first = client.chunk().expect("a token");
                    times.lock().unwrap().push(began.elapsed());
                    let mut all = first;
                    while let Some(chunk) = client.chunk() {
                        all.extend_from_slice(&chunk);
                    }
                    assert_eq!(all, b"data: {\"a\":1}\n\ndata: [DONE]\n\n", "once and whole");
                }
            });
        }
    });
    let mut times = times.into_inner().unwrap();
    times.sort();
    times
}

fn mean(times: &[Duration]) -> Duration {
    times.iter().sum::<Duration>() / times.len() as u32
}

#[test]
fn least_latency_and_least_busy_beat_round_robin_on_an_uneven_pair() {
    let mut means = Vec::new();
    for strategy in ["round_robin", "least_latency", "least_busy"] {
        let (quick, of_quick) = taking(|_| 4);
        let (slow, of_slow) = taking(|_| 80);
        let keys = format!("strategy = \"{strategy}\"");
        let gateway = Gateway::with(&model(&[slow.port, quick.port], &keys));
        means.push(mean(&run(&gateway, 6, 180)));
        let counts = (of_quick.load(Ordering::SeqCst), of_slow.load(Ordering::SeqCst));
        match strategy {
            "round_robin" => assert_eq!(counts, (90, 90)),
            _ => assert!(counts.0 > 2 * counts.1, "{strategy} {counts:?}"),
        }
    }
    eprintln!("mean times to the first token: {means:?}");
    assert!(means[1] < means[0] * 2 / 3 && means[2] < means[0] * 2 / 3, "{means:?}");
}

#[test]
fn second_attempts_cut_the_tail_for_few_more_requests() {
    const COUNT: usize = 600;
    let mut p99 = Vec::new();
    for share in [0, 6] {
        let (upstream, asked) = taking(|number| if number % 20 == 7 { 600 } else { 8 });
        let keys = format!("[hedge]\nshare = {share}\n");
        let gateway = Gateway::with(&model(&[upstream.port], &keys));
        // The first hundred teach what late is.
        run(&gateway, 6, 100);
        let times = run(&gateway, 6, COUNT);
        p99.push(times[COUNT * 99 / 100]);
        let more = asked.load(Ordering::SeqCst) - COUNT - 100;
        eprintln!("share {share}: p99 {:?}, {more} more requests", p99[p99.len() - 1]);
        assert!(more * 100 <= (COUNT + 100) * 6, "{more} more requests than {COUNT}");
    }
    assert!(p99[0] >= 3 * p99[1], "{p99:?}");
}

/// The percent of the weight that each target of the model has.
fn percents(gateway: &Gateway) -> Vec<u64> {
    let models = gateway.connect().get("/admin/models").answer().json();
    let models = models["models"].as_array().unwrap().clone();
    let model = models.iter().find(|model| model["name"] == "m").unwrap();
    let targets = model["targets"].as_array().unwrap();
    targets.iter().map(|target| target["weight_percent"].as_u64().unwrap()).collect()
}

/// Wrong: a target that has become slow gets as much as ever, or never again when it is well; it
/// happens in silence; or it happens although it is switched off.
#[test]
fn requests_leave_a_target_that_has_become_slow_and_come_back() {
    let mut means = Vec::new();
    for is_on in [false, true] {
        let delay_ms = Arc::new(AtomicU64::new(8));
        let of_second = Arc::clone(&delay_ms);
        let (first, _) = taking(|_| 8);
        let (second, _) = taking(move |_| of_second.load(Ordering::SeqCst));
        let keys = format!("strategy = \"round_robin\"\n[optimizer]\nweights = {is_on}");
        let gateway = Gateway::with(&model(&[first.port, second.port], &keys));
        let until = |what: &str, is_so: &dyn Fn(&[u64]) -> bool| {
            let began = Instant::now();
            while !is_so(&percents(&gateway)) {
                assert!(began.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
                run(&gateway, 4, 60);
            }
        };
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(3) {
            run(&gateway, 4, 60);
        }
        assert_eq!(percents(&gateway), [100, 100]);
        delay_ms.store(150, Ordering::SeqCst);
        if is_on {
            until("it has less", &|all| all[0] == 100 && all[1] <= 25);
        } else {
            run(&gateway, 4, 120);
            assert_eq!(percents(&gateway), [100, 100]);
        }
        means.push(mean(&run(&gateway, 4, 120)));
        if !is_on {
            continue;
        }
        delay_ms.store(8, Ordering::SeqCst);
        until("it has all again", &|all| all == [100, 100]);
        // Off: it has all of it at once, however slow it is. On again: less once more.
        delay_ms.store(150, Ordering::SeqCst);
        until("it has less again", &|all| all[1] <= 50);
        gateway.server.set("a test", "optimizer.weights", "false").unwrap();
        assert_eq!(percents(&gateway), [100, 100]);
        run(&gateway, 4, 120);
        assert_eq!(percents(&gateway), [100, 100]);
        assert_eq!(gateway.optimizer()["weights"]["enabled"], false);
        gateway.server.set("a test", "optimizer.weights", "true").unwrap();
        until("it has less a third time", &|all| all[0] == 100 && all[1] <= 50);
        let stats = gateway.optimizer();
        let decisions = stats["decisions"].as_array().unwrap();
        for reason in ["it is slower than it was", "it is well again", "the lever is off"] {
            let told = decisions.iter().any(|it| {
                it["lever"].as_str().unwrap().starts_with("the weight of ")
                    && it["reason"] == reason
            });
            assert!(told, "{reason}: {decisions:?}");
        }
        assert_eq!(stats["weights"]["enabled"], true);
    }
    eprintln!("mean times to the first token while one is slow, without and with: {means:?}");
    assert!(means[1] < means[0] * 2 / 3, "{means:?}");
}

/// An upstream that works on four requests at once, for 20 ms each; the others wait.
fn narrow() -> Upstream {
    let places = Arc::new((Mutex::new(4), Condvar::new()));
    Upstream::start(move |peer| {
        while peer.request().is_some() {
            let (free, changed) = &*places;
            let mut free = changed.wait_while(free.lock().unwrap(), |free| *free == 0).unwrap();
            *free -= 1;
            drop(free);
            // What a model takes is what is simulated.
            std::thread::sleep(Duration::from_millis(20));
            *places.0.lock().unwrap() += 1;
            changed.notify_one();
            if !peer.try_send(GOOD) {
                return;
            }
        }
    })
}

/// So many clients ask again and again until `is_over`; one that is refused waits a moment. Returns
/// how many were answered and refused.
fn crowd(gateway: &Gateway, clients: usize, is_over: &(dyn Fn() -> bool + Sync)) -> [usize; 2] {
    let counts = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let body = r#"{"model":"up/m","messages":[{"role":"user","content":"x"}]}"#;
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = gateway.connect();
                while !is_over() {
                    let answer = client.post(CHAT, body).answer();
                    let was_refused = answer.status == 503;
                    assert!(was_refused || answer.status == 200, "{}", answer.status);
                    counts[usize::from(was_refused)].fetch_add(1, Ordering::SeqCst);
                    if was_refused {
                        // The pause of a client that has been told to come later.
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            });
        }
    });
    counts.map(AtomicUsize::into_inner)
}

/// Wrong: a crowd before a narrow upstream only waits, in silence; or the limit stays although it is
/// switched off; or there is none any more when it is on again.
#[test]
fn a_crowd_before_a_narrow_upstream_is_limited_while_the_lever_is_on() {
    let upstream = narrow();
    let keys = "[cache]\nenable = false\n[firewall]\nenable = false\n[breaker]\nfailures = 0\n";
    let gateway = Gateway::with(&provider("up", upstream.port, keys));
    let lever = || gateway.optimizer()["limits"]["provider up, worker 0"]["limit"].clone();
    let refused = || gateway.optimizer()["refused"]["upstreams"].as_u64().unwrap();
    let within = |seconds: u64| {
        let began = Instant::now();
        move || began.elapsed() > Duration::from_secs(seconds)
    };
    for round in 0..2 {
        // What is usual is learned while there is no crowd.
        assert_eq!(crowd(&gateway, 3, &within(4))[1], 0);
        let too_late = within(60);
        let before = refused();
        crowd(&gateway, 64, &|| too_late() || (lever().is_u64() && refused() > before + 50));
        assert!(lever().is_u64() && refused() > before + 50, "{round}: {}", gateway.optimizer());
        gateway.server.set("a test", "optimizer.upstreams", "false").unwrap();
        let too_late = within(60);
        crowd(&gateway, 3, &|| too_late() || lever().is_null());
        assert!(lever().is_null(), "{round}: {}", gateway.optimizer());
        assert_eq!(crowd(&gateway, 64, &within(2))[1], 0);
        gateway.server.set("a test", "optimizer.upstreams", "true").unwrap();
    }
    let decisions = gateway.optimizer()["decisions"].clone();
    for reason in ["first bytes take twice their usual time", "the lever is off"] {
        let told = decisions.as_array().unwrap().iter().any(|it| it["reason"] == reason);
        assert!(told, "{reason}: {decisions}");
    }
}
