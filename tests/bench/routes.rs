//! How long a look-up takes in the table of routes, and that it does not grow with the table:
//! `make bench`, or `cargo bench --bench routes`.

use std::hint::black_box;
use std::time::Instant;

use neurohttp::exchange::Params;
use neurohttp::http::method::Method;
use neurohttp::route::{Found, Table};

/// Look-ups of one measurement, and measurements of which the quickest counts: what disturbs a
/// measurement only makes it longer.
const LOOK_UPS: usize = 100_000;
const ROUNDS: usize = 9;

fn main() {
    println!("{:>8} {:>12} {:>12} {:>12}", "routes", "static ns", "params ns", "miss ns");
    for size in [10_usize, 100, 1_000, 10_000] {
        let mut table = Table::default();
        // Half of them static, half with two parameters, as an API has them.
        for route in 0..size / 2 {
            let area = route % 97;
            let fixed = format!("/api/v1/area{area}/resource{route}/settings");
            let open = format!("/api/v2/area{area}/:owner/kind{route}/:item");
            table.insert("GET", &fixed, route).expect("a static route");
            table.insert("GET", &open, route).expect("a route with parameters");
        }
        let paths = |make: &dyn Fn(usize) -> String| -> Vec<String> {
            // Not in the order of the table: neighbours would be in the cache.
            (0..size / 2).map(|n| make(n.wrapping_mul(7919) % (size / 2))).collect()
        };
        let fixed = paths(&|n| format!("/api/v1/area{}/resource{n}/settings", n % 97));
        let open = paths(&|n| format!("/api/v2/area{}/someone/kind{n}/item-{n}", n % 97));
        let miss = paths(&|n| format!("/api/v3/area{}/nothing{n}", n % 97));
        println!(
            "{size:>8} {:>12.1} {:>12.1} {:>12.1}",
            quickest(&table, &fixed, true),
            quickest(&table, &open, true),
            quickest(&table, &miss, false)
        );
    }
}

/// Nanoseconds of one look-up.
fn quickest(table: &Table<usize>, paths: &[String], is_there: bool) -> f64 {
    let mut params = Params::new();
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for path in paths.iter().cycle().take(LOOK_UPS) {
            let path = black_box(path.as_bytes());
            let found = table.find(Method::Get, b"GET", path, &mut params);
            assert_eq!(matches!(found, Found::Route(_)), is_there);
        }
        best = best.min(began.elapsed().as_nanos() as f64 / LOOK_UPS as f64);
    }
    best
}
