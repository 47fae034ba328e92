//! The optimizer of the program: what it costs while nothing happens, and workers that follow the
//! processors there are.

use std::time::Duration;

use serde_json::Value;

use crate::admin::change;
use crate::support::process::Server;
use crate::support::wait_until;

fn optimizer(server: &Server) -> Value {
    server.connect().get("/stats").answer().json()["optimizer"].clone()
}

/// Wrong: with all levers on, a server to which nothing happens is busy with itself.
#[test]
fn at_rest_it_costs_less_than_a_thousandth_of_a_processor() {
    let server = Server::gateway(&[]);
    assert_eq!(server.connect().get("/health").answer().status, 200);
    assert_eq!(optimizer(&server)["enabled"], true);
    // What the requests have left behind is put away within half a second.
    std::thread::sleep(Duration::from_secs(2));
    let before = server.cpu_ns();
    assert!(before > 0);
    // The time that is measured: the levers look at what they need to see each five seconds.
    let time = Duration::from_secs(20);
    std::thread::sleep(time);
    let spent = Duration::from_nanos(server.cpu_ns() - before);
    eprintln!("{spent:?} in {time:?}");
    assert!(spent * 1_000 < time, "{spent:?} in {time:?}");
    server.stop();
}

/// The processors that this thread may use.
fn processors() -> Vec<usize> {
    let mut bits = [0_u64; 16];
    // SAFETY: the set is as long as is said, and bits to the system.
    let done = unsafe { libc::sched_getaffinity(0, size_of_val(&bits), bits.as_mut_ptr().cast()) };
    assert_eq!(done, 0);
    (0..1024).filter(|at| bits[at / 64] >> (at % 64) & 1 == 1).collect()
}

/// Wrong: workers go on fighting for processors that they may not use any more; they stay parked
/// when there are more again, or when the lever is off.
#[test]
fn workers_follow_the_processors_and_their_lever() {
    let all = processors();
    if all.len() < 2 {
        eprintln!("one processor: nothing to park");
        return;
    }
    let mut server = Server::gateway(&["server.workers=4", "admin.key=sk-operator"]);
    let awake = |server: &Server| optimizer(server)["workers"]["awake"].as_u64().unwrap();
    // The first look has been taken when the server listens.
    assert_eq!(awake(&server), 4);
    server.run_on(&all[..1]);
    let fewer = 4_usize.div_ceil(all.len()) as u64;
    wait_until("workers are parked", || awake(&server) == fewer);
    let stats = server.connect().get("/stats").answer().json();
    let workers = stats["workers"].as_array().unwrap();
    let parked = workers.iter().filter(|worker| worker["parked"] == true).count() as u64;
    assert_eq!(parked, 4 - fewer, "{stats}");
    for _ in 0..50 {
        assert_eq!(server.connect().get("/health").answer().status, 200);
    }
    let put = |server: &Server, on: bool| {
        let body = format!("{{\"value\": {on}}}");
        let answer = change(server, "PUT", "/admin/config/optimizer.workers", &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    put(&server, false);
    wait_until("all are awake", || awake(&server) == 4);
    put(&server, true);
    wait_until("workers are parked again", || awake(&server) == fewer);
    server.run_on(&all);
    wait_until("they wake with the processors", || awake(&server) == 4);
    let line = "optimizer: the limit of workers that take connections goes from";
    for told in [
        format!("{line} 4 to {fewer}: the process may use fewer processors"),
        format!("{line} {fewer} to 4: the lever is off"),
        format!("{line} {fewer} to 4: the process may use its processors again"),
    ] {
        server.line(|line| line.contains(&told));
    }
    server.stop();
}
