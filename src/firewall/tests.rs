use super::*;

fn firewall(text: &str) -> Firewall {
    let text = format!("[firewall]\n{text}");
    let sources = config::Sources { text: Some(&text), ..config::Sources::default() };
    Firewall::new(&config::load(&sources).unwrap()).unwrap()
}

fn at(seconds: u64) -> Moment {
    Moment { now_ms: seconds * 1_000, unix_s: seconds as i64 }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn lists_decide_before_rates() {
    let firewall = firewall(
        "requests_per_minute = 1\nburst = 1\nallow = [\"10.0.0.0/8\"]\ndeny = [\"10.1.0.0/16\", \
         \"192.0.2.0/24\"]\n",
    );
    let peer = |text: &str| SocketAddr::new(ip(text), 1);
    for (address, taken) in [("10.1.0.1", true), ("192.0.2.9", false), ("198.51.100.1", true)] {
        assert_eq!(firewall.accepts(peer(address), 0), taken, "{address}");
    }
    assert!(matches!(firewall.admit(ip("192.0.2.9"), b"/", at(1)), Err(Refusal::Denied(_))));
    assert!(firewall.admit(ip("2001:db8::1"), b"/", at(1)).is_ok());
    let refused = firewall.admit(ip("2001:db8::2"), b"/", at(1));
    assert!(matches!(refused, Err(Refusal::TooOften("address", _))), "{refused:?}");
    assert!(firewall.admit(ip("2001:db8:0:1::2"), b"/", at(1)).is_ok());
    assert_eq!(firewall.stats().get(Counter::RateLimited), 1);
}

#[test]
fn routes_have_limits_of_their_own() {
    let firewall = firewall(
        "routes = [{ path = \"/v1/*\", requests_per_minute = 1, burst = 2 },\n { path = \"/x\", \
         requests_per_minute = 1, burst = 1 }]\n",
    );
    let admits = |path: &[u8]| firewall.admit(ip("192.0.2.1"), path, at(1)).is_ok();
    assert!(admits(b"/v1/chat") && admits(b"/v1/messages") && !admits(b"/v1/chat"));
    assert!(admits(b"/x") && !admits(b"/x"));
    assert!((0..9).all(|_| admits(b"/xy")));
}

#[test]
fn lists_change_at_run_time_and_older_snapshots_do_not() {
    let mut changed = firewall("");
    let before = changed.clone();
    let range = Cidr::parse("192.0.2.0/24").unwrap();
    assert!(changed.deny(&range, Some(5), "test"));
    assert!(changed.admit(ip("192.0.2.1"), b"/", at(5)).is_err());
    assert!(changed.admit(ip("192.0.2.1"), b"/", at(6)).is_ok());
    assert!(before.admit(ip("192.0.2.1"), b"/", at(5)).is_ok());
    assert!(changed.forget(&range, at(5)) && !changed.forget(&range, at(5)));
    assert!(changed.attacked(ip("192.0.2.1"), 100, at(7)).is_some());
    assert!(changed.admit(ip("192.0.2.1"), b"/", at(8)).is_err());
    assert!(changed.forget(&range, at(8)));
    assert!(changed.admit(ip("192.0.2.1"), b"/", at(8)).is_ok());
}

/// A look-up among a hundred thousand ranges, of both families. The bound of the issue holds for
/// optimized code; here it only must not be out of proportion.
#[test]
fn lookups_among_many_ranges_are_quick() {
    let mut set = AddressSet::default();
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    while set.len() < 100_000 {
        let number = random();
        let address = match number & 3 {
            0 => IpAddr::V6((u128::from(number >> 2) << 64 | u128::from(0x2000_u16) << 112).into()),
            _ => IpAddr::V4(
                (number >> 16).to_le_bytes()[..4].try_into().map(|b: [u8; 4]| b).unwrap().into(),
            ),
        };
        let prefix =
            if address.is_ipv4() { 16 + (number % 17) as u8 } else { 48 + (number % 17) as u8 };
        set.insert(&Cidr::parse(&format!("{address}/{prefix}")).unwrap(), Note::permanent());
    }
    let probes: Vec<u128> =
        (0..4096).map(|_| canonical(IpAddr::V4(((random() >> 16) as u32).into()))).collect();
    let mut best = u128::MAX;
    let mut found = 0;
    for _ in 0..20 {
        let begun = std::time::Instant::now();
        found = probes.iter().filter(|&&probe| set.contains(probe, 0)).count();
        best = best.min(begun.elapsed().as_nanos() / probes.len() as u128);
    }
    println!("a look-up among 100,000 ranges: {best} ns ({found} of {} found)", probes.len());
    let limit = if cfg!(debug_assertions) { 50_000 } else { 200 };
    assert!(best < limit, "{best} ns");
}
