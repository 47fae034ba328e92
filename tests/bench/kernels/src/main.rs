//! `make kernel-bench`: every kernel beside the best libraries, in one run.
//!
//! usage: kernel-bench [--rounds N] [--job NAME]...
//!
//! The contenders of one row take turns, round by round, so that a change of clock or load meets all of
//! them; a turn is shorter than a time slice, so that most turns of a busy machine are whole ones. A figure is the median over the rounds; a ratio is the median of the rounds' own ratios, with the
//! tenth and ninetieth percentile behind it.

mod contest;
mod crc;
mod http;
mod json;
mod libraries;
mod memory;

use contest::Settings;
use neurohttp::kernel;

fn main() {
    let mut settings = Settings { rounds: 101, round_ns: 200_000 };
    let mut jobs: Vec<String> = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| usage());
        match argument.as_str() {
            "--rounds" => settings.rounds = value().parse().unwrap_or_else(|_| usage()),
            "--job" => jobs.push(value()),
            // `cargo bench` and `cargo run` users pass this by habit.
            "--bench" => {}
            _ => usage(),
        }
    }
    println!("{}", contest::machine());
    println!("{}", kernel::report());
    let wanted = |job: &str| jobs.is_empty() || jobs.iter().any(|name| name == job);
    if wanted("crc32") {
        crc::ieee(&settings);
    }
    if wanted("crc32c") {
        crc::castagnoli(&settings);
    }
    if wanted("json_index") {
        json::index(&settings);
    }
    if wanted("json_find") {
        json::find(&settings);
    }
    if wanted("head") {
        http::head(&settings);
    }
    if wanted("copy") {
        memory::copy(&settings);
    }
    if wanted("search") {
        memory::search(&settings);
    }
    if wanted("json_escape") {
        json::escape(&settings);
    }
    if wanted("is_utf8") {
        json::utf8(&settings);
    }
}

fn usage() -> ! {
    eprintln!("usage: kernel-bench [--rounds N] [--job NAME]...");
    std::process::exit(2)
}
