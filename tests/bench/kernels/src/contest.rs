//! Contenders that take turns on the same input, and the table of what came out.

use std::time::Instant;

pub struct Settings {
    /// How often each contender has its turn; a fifth of it above 8 MB.
    pub rounds: usize,
    /// About how long one turn lasts.
    pub round_ns: u64,
}

/// One row of a table: a job on an input of one size.
pub struct Contest<'a> {
    bytes: usize,
    contenders: Vec<Contender<'a>>,
}

struct Contender<'a> {
    name: String,
    is_ours: bool,
    call: Box<dyn FnMut() + 'a>,
    /// Nanoseconds per call, one entry a round.
    ns: Vec<f64>,
}

impl<'a> Contest<'a> {
    pub fn new(bytes: usize) -> Contest<'a> {
        Contest { bytes, contenders: Vec::new() }
    }

    /// What the data path uses. The first of these is compared with the best rival.
    pub fn ours(&mut self, name: &str, call: impl FnMut() + 'a) {
        self.add(name, true, call);
    }

    pub fn rival(&mut self, name: &str, call: impl FnMut() + 'a) {
        self.add(name, false, call);
    }

    fn add(&mut self, name: &str, is_ours: bool, call: impl FnMut() + 'a) {
        let (name, call) = (name.to_owned(), Box::new(call));
        self.contenders.push(Contender { name, is_ours, call, ns: Vec::new() });
    }

    /// Runs the rounds.
    pub fn run(mut self, settings: &Settings) -> Outcome {
        let counts: Vec<u64> = self
            .contenders
            .iter_mut()
            .map(|one| calls_in(&mut one.call, settings.round_ns))
            .collect();
        // Inputs that fill a turn many times over get fewer of them.
        let rounds =
            if self.bytes > 8 << 20 { settings.rounds.div_ceil(5) } else { settings.rounds };
        for _ in 0..rounds {
            for (one, &count) in self.contenders.iter_mut().zip(&counts) {
                let ns = time(&mut one.call, count) / count as f64;
                one.ns.push(ns);
            }
        }
        let lines = self
            .contenders
            .into_iter()
            .map(|one| Line { name: one.name, is_ours: one.is_ours, ns: one.ns })
            .collect();
        Outcome { bytes: self.bytes, lines }
    }
}

fn time(call: &mut impl FnMut(), count: u64) -> f64 {
    let start = Instant::now();
    for _ in 0..count {
        call();
    }
    start.elapsed().as_nanos() as f64
}

/// How many calls fill one turn.
fn calls_in(call: &mut impl FnMut(), round_ns: u64) -> u64 {
    let mut count = 1;
    loop {
        let ns = time(call, count);
        if ns > round_ns as f64 / 4.0 {
            return ((count as f64 * round_ns as f64 / ns) as u64).max(1);
        }
        count *= 2;
    }
}

struct Line {
    name: String,
    is_ours: bool,
    ns: Vec<f64>,
}

impl Line {
    fn median_ns(&self) -> f64 {
        quantile(self.ns.clone(), 0.5)
    }
}

pub struct Outcome {
    bytes: usize,
    lines: Vec<Line>,
}

impl Outcome {
    /// Ours against the best rival: its name, and the tenth, fiftieth and ninetieth percentile of how many
    /// times faster we are.
    fn ratio(&self) -> Option<(&str, [f64; 3])> {
        let ours = self.lines.iter().find(|line| line.is_ours)?;
        let rivals = self.lines.iter().filter(|line| !line.is_ours);
        let best = rivals.min_by(|a, b| a.median_ns().total_cmp(&b.median_ns()))?;
        let ratios: Vec<f64> =
            best.ns.iter().zip(&ours.ns).map(|(best, ours)| best / ours).collect();
        Some((&best.name, [0.1, 0.5, 0.9].map(|at| quantile(ratios.clone(), at))))
    }
}

/// Prints a job: contenders down, sizes across, in GB/s; then the ratios, and our cycles per byte.
pub fn print(job: &str, outcomes: &[Outcome]) {
    let sizes: Vec<String> = outcomes.iter().map(|outcome| size(outcome.bytes)).collect();
    println!("| {job}, GB/s | {} |", sizes.join(" | "));
    println!("|---|{}", "---:|".repeat(sizes.len()));
    let mut names: Vec<&str> = Vec::new();
    for line in outcomes.iter().flat_map(|outcome| &outcome.lines) {
        if !names.contains(&line.name.as_str()) {
            names.push(&line.name);
        }
    }
    let row = |name: &str, cell: &dyn Fn(&Outcome) -> Option<String>| {
        let cells: Vec<String> =
            outcomes.iter().map(|outcome| cell(outcome).unwrap_or_default()).collect();
        println!("| {name} | {} |", cells.join(" | "));
    };
    for name in names {
        row(name, &|outcome| {
            let line = outcome.lines.iter().find(|line| line.name == name)?;
            Some(format!("{:.2}", outcome.bytes as f64 / line.median_ns()))
        });
    }
    if outcomes.iter().any(|outcome| outcome.ratio().is_some()) {
        row("**ours / best rival** (p10–p90)", &|outcome| {
            let (_, [low, middle, high]) = outcome.ratio()?;
            Some(format!("**{middle:.2}** ({low:.2}–{high:.2})"))
        });
        row("best rival", &|outcome| Some(outcome.ratio()?.0.to_owned()));
        let ghz = tsc_ghz();
        row("ours, TSC cycles per byte", &|outcome| {
            let ours = outcome.lines.iter().find(|line| line.is_ours)?;
            Some(format!("{:.3}", ours.median_ns() * ghz? / outcome.bytes as f64))
        });
    }
    println!();
}

fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KB", (bytes + 512) / 1024),
        _ => format!("{} MB", (bytes + 524_288) / 1_048_576),
    }
}

fn quantile(mut values: Vec<f64>, at: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * at).round() as usize]
}

/// The rate of the time-stamp counter; it is the nominal clock, not the momentary one.
fn tsc_ghz() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    {
        static GHZ: std::sync::OnceLock<f64> = std::sync::OnceLock::new();
        Some(*GHZ.get_or_init(|| {
            // SAFETY: RDTSC exists on every x86-64 CPU.
            let ticks = || unsafe { std::arch::x86_64::_rdtsc() };
            let (start, first) = (Instant::now(), ticks());
            while start.elapsed().as_millis() < 20 {}
            (ticks() - first) as f64 / start.elapsed().as_nanos() as f64
        }))
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}

/// One line on where this runs.
pub fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        info.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split(": ").nth(1))
            .unwrap_or("?")
            .to_owned()
    };
    format!(
        "machine: {} (family {} model {}); ratios above 1: ours is faster",
        field("model name"),
        field("cpu family"),
        field("model\t")
    )
}

/// A chat request of about `length` bytes: messages of up to 2.5 KB with newlines, quotes, code and some
/// text beyond ASCII; the member `user` comes last.
pub fn chat(length: usize) -> Vec<u8> {
    let text = "Explain how an event loop keeps many connections moving.\\n- It said \\\"ready\\\" for each \
                one; na\u{ef}ve code waits \u{2014} and why?\\n```c\\nint n = epoll_wait(ep, ev, 64, -1);\\n```\\n";
    let mut json = String::from(
        "{\"model\": \"gpt-4o-mini\", \"stream\": true, \"temperature\": 0.7, \"max_tokens\": 1024, \
         \"messages\": [{\"role\": \"system\", \"content\": \"You are a helpful assistant.\"}",
    );
    let mut is_user = true;
    while json.len() + 100 < length {
        let room = (length - json.len() - 60).min(2500);
        let body =
            if room < text.len() { "x".repeat(room) } else { text.repeat(room / text.len()) };
        let role = if is_user { "user" } else { "assistant" };
        json.push_str(&format!(", {{\"role\": \"{role}\", \"content\": \"{body}\"}}"));
        is_user = !is_user;
    }
    json.push_str("], \"user\": \"u-1\"}");
    json.into_bytes()
}

/// The same amount of JSON without long strings: many short members, numbers and arrays.
pub fn dense(length: usize) -> Vec<u8> {
    let mut json = String::from("{\"rows\": [");
    let mut id = 1000;
    while json.len() + 100 < length {
        id += 7;
        json.push_str(&format!(
            "{{\"id\":{id},\"name\":\"n{id}\",\"tags\":[\"a\",\"bc\"],\"score\":{}.5,\"ok\":true}},",
            id % 100
        ));
    }
    json.push_str("{}], \"user\": \"u-1\"}");
    json.into_bytes()
}

/// Bytes without a pattern, the same in each run.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}
