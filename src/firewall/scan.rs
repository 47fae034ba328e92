//! Finds attacks in values: one automaton over all literals, then a rule's expression around the
//! place where one of its literals stands.
//!
//! Every value is normalized once and read once by the automaton. Where it finds a literal, the
//! expression of that rule runs over a window around it; a window is not searched twice, so the work
//! of a rule is bounded by the length of the value.
//!
//! Each rule that is found adds its score once per request. In fields where people write, a value
//! that reads like prose softens the rules that prose about attacks would meet.

use std::ops::ControlFlow;

use aho_corasick::automaton::OverlappingState;
use aho_corasick::{Anchored, Input};
use regex_automata::hybrid::dfa::Cache;

use super::engine::{Engine, Rule};
use super::normalize::{Normalizer, Seen};
use super::{base64, inspect, place, prose, redirect, shell, ssrf};

/// Bytes before a literal that its rule may look at.
const WINDOW_BEFORE: usize = 64;
/// Bytes behind it.
const WINDOW_AFTER: usize = 256;
/// Bytes searched at once, so that dense literals do not search the same bytes again and again.
const WINDOW_STEP: usize = 1024;
/// Values longer than this are not read a second way (as a shell would, as Base64).
const SECOND_LOOK_BYTES_MAX: usize = 4096;
/// Encodings within each other that are read.
const ENCODINGS_MAX: usize = 2;
/// What a finding shows of the bytes that were found.
const SHOWN_BYTES_MAX: usize = 48;
/// Findings kept of one request.
const FINDINGS_MAX: usize = 16;
/// The score at which nothing more is looked for.
const SCORE_ENOUGH: u32 = 20;
/// Where the sign of a condition stands behind its `or`, in bytes.
const CONDITION_BYTES: usize = 24;
/// Those signs, and digits.
const SIGNS: [bool; 256] = {
    let mut table = [false; 256];
    let signs = b"0123456789=<>'\"#(!~*";
    let mut at = 0;
    while at < signs.len() {
        table[signs[at] as usize] = true;
        at += 1;
    }
    table
};
/// A field of OAuth: programs on a user's machine are sent back to their own port there (RFC 8252), and
/// nobody but the user's browser follows it.
const REDIRECT: &[u8] = b"redirect_uri";
/// Automata whose states a scan keeps from request to request.
const CACHES_MAX: usize = 24;
/// What prose may come to by rules that prose meets: it is told, never refused.
const PROSE_SCORE_MAX: u32 = 3;

/// How an object of Java begins, as bytes and as the letters that those are in Latin-1.
const JAVA_MARKS: [&[u8]; 2] = [b"\xac\xed", b"\xc2\xac\xc3\xad"];
/// How objects in Base64 or hexadecimal digits begin: of Java, gzip, .NET, Python, Ruby.
const OBJECTS: [&[u8; 4]; 10] =
    [b"ro0a", b"aced", b"h4si", b"aaea", b"yv66", b"gasv", b"bahv", b"bahb", b"bahu", b"bahs"];

/// Whether what looks like a word may be an object in some code.
fn begins_object(text: &[u8]) -> bool {
    text.first_chunk::<4>().is_some_and(|four| OBJECTS.contains(&four))
}

/// Whether a value is a word that no rule looks at, nor in any other reading.
fn is_short_word(raw: &[u8]) -> bool {
    let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    raw.len() < base64::BYTES_MIN
        && raw.iter().all(is_of_word)
        && !raw.first_chunk::<4>().is_some_and(|four| begins_object(&four.to_ascii_lowercase()))
}

/// A part of a request in which something was found.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// Its place.
    pub place: u16,
    /// The name of the field, header, cookie or member; empty when it has none.
    pub name: &'a [u8],
    /// People write here: prose is expected.
    pub is_prose: bool,
    /// It may hold a secret: nothing of it is shown.
    pub is_secret: bool,
}

/// One rule that was found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule's name.
    pub rule: Box<str>,
    /// Where.
    pub part: Box<str>,
    /// What it added.
    pub score: u32,
    /// The bytes it met, escaped and cut.
    pub shown: Box<str>,
    /// The rule only tells.
    pub is_dry: bool,
}

/// What one request has come to so far. Reused by its worker.
#[derive(Default)]
pub struct Scan {
    normalizer: Normalizer,
    decoded: Normalizer,
    /// What a value in Base64 holds.
    inner: Vec<u8>,
    squeezed: Vec<u8>,
    /// The states of each rule's automaton that were needed so far.
    caches: Vec<Option<Box<Cache>>>,
    caches_made: usize,
    /// Which engine they belong to.
    engine: usize,
    /// Up to where each rule has searched the value at hand; only rules in `touched` are not 0.
    searched: Vec<u32>,
    touched: Vec<u16>,
    fired: Vec<u64>,
    score: u32,
    /// The value at hand is somebody else's: it is told rather than refused.
    is_soft: bool,
    /// The part of the score that prose has come to.
    prose_score: u32,
    findings: Vec<Finding>,
}

impl Scan {
    /// Ready for a request.
    pub fn begin(&mut self, engine: &Engine) {
        if self.engine != engine.number {
            self.engine = engine.number;
            self.caches.clear();
            self.caches_made = 0;
            self.caches.resize_with(engine.rules.len(), || None);
        }
        self.fired.clear();
        self.fired.resize(engine.rules.len().div_ceil(64) + 1, 0);
        self.searched.clear();
        self.searched.resize(engine.rules.len(), 0);
        self.touched.clear();
        self.score = 0;
        self.prose_score = 0;
        self.findings.clear();
    }

    /// Gives memory back that a large request took, in bytes kept.
    pub fn shrink(&mut self, bytes_max: usize) {
        self.normalizer.shrink(bytes_max);
        self.decoded.shrink(bytes_max);
        if self.inner.capacity() > bytes_max {
            self.inner = Vec::new();
        }
        if self.caches_made > CACHES_MAX {
            self.caches.iter_mut().for_each(|cache| *cache = None);
            self.caches_made = 0;
        }
    }

    /// The score so far.
    pub fn score(&self) -> u32 {
        self.score + self.prose_score.min(PROSE_SCORE_MAX)
    }

    /// What was found.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether looking further would change nothing.
    pub fn is_decided(&self) -> bool {
        self.score >= SCORE_ENOUGH
    }

    /// Whether the values that follow are told rather than refused, but for rules that count
    /// everywhere.
    pub fn soften(&mut self, is_soft: bool) {
        self.is_soft = is_soft;
    }

    /// Reads one value.
    pub fn value(&mut self, engine: &Engine, raw: &[u8], part: Part<'_>) {
        if raw.is_empty() || self.is_decided() {
            return;
        }
        // Attacks need more than a word, but the names of scanners, files and members do not.
        const WORDS: u16 = place::AGENT | place::NAME | place::FILE | place::PATH;
        // An operator's own rule may be about a mere word.
        let reads_words = part.place & WORDS != 0 || !engine.custom.is_empty();
        if !reads_words && is_short_word(raw) {
            return;
        }
        let mut normalizer = std::mem::take(&mut self.normalizer);
        let (text, seen) = normalizer.run(raw);
        let is_read = reads_words || !seen.plain;
        if is_read || memchr::memchr(b'.', text).is_some() || begins_object(text) {
            self.text(engine, text, &seen, part);
        }
        if raw.len() <= SECOND_LOOK_BYTES_MAX {
            self.second_look(engine, text, &seen, part);
            if seen.split {
                let joined = normalizer.joined(raw);
                self.literals(engine, joined, part, None);
            }
            self.encoded(engine, raw, part);
        }
        self.normalizer = normalizer;
    }

    /// What a shell makes of it.
    fn second_look(&mut self, engine: &Engine, text: &[u8], seen: &Seen, part: Part<'_>) {
        if seen.quoted && shell::squeeze(text, &mut self.squeezed) {
            let squeezed = std::mem::take(&mut self.squeezed);
            self.shell(engine, &squeezed, part);
            self.literals(engine, &squeezed, part, Some("cmd."));
            self.squeezed = squeezed;
        }
    }

    /// What a value in Base64 holds, and what that holds.
    fn encoded(&mut self, engine: &Engine, raw: &[u8], part: Part<'_>) {
        let mut inner = std::mem::take(&mut self.inner);
        let mut is_text = base64::text(raw, &mut inner);
        for _ in 0..ENCODINGS_MAX {
            if !is_text {
                break;
            }
            let mut decoded = std::mem::take(&mut self.decoded);
            let (text, seen) = decoded.run(&inner);
            self.text(engine, text, &seen, part);
            self.decoded = decoded;
            let within = std::mem::take(&mut inner);
            is_text = base64::text(&within, &mut inner);
        }
        self.inner = inner;
    }

    fn text(&mut self, engine: &Engine, text: &[u8], seen: &Seen, part: Part<'_>) {
        let broken = if seen.broken { place::BROKEN } else { 0 };
        let part = Part { place: part.place | broken, ..part };
        self.literals(engine, text, part, None);
        if seen.separator {
            self.shell(engine, text, part);
        }
        if part.place & ssrf::PLACES != 0
            && let Some(range) = ssrf::find(text)
            && !(part.name == REDIRECT && ssrf::is_loopback(text))
        {
            self.by_name(engine, "ssrf.internal", text, range, part);
        }
        if part.place & redirect::PLACES != 0
            && let Some(range) = redirect::find(text, part.name)
        {
            self.by_name(engine, "redirect.outward", text, range, part);
        }
        // The NUL behind the mark of an object is gone.
        if seen.nul
            && let Some(at) = JAVA_MARKS.iter().find_map(|mark| memchr::memmem::find(text, mark))
        {
            self.by_name(engine, "java.serialized", text, at..at + 2, part);
        }
        if seen.nul
            && part.place & (place::QUERY | place::FORM | place::COOKIE | place::HEADER) != 0
        {
            self.by_name(engine, "protocol.nul", text, 0..text.len().min(16), part);
        }
        if seen.overlong {
            self.by_name(engine, "protocol.overlong", text, 0..text.len().min(16), part);
        }
    }

    fn shell(&mut self, engine: &Engine, text: &[u8], part: Part<'_>) {
        if part.place & shell::PLACES == 0 {
            return;
        }
        if let Some((range, is_sure)) = shell::find(text) {
            let name = if is_sure { "cmd.command" } else { "cmd.line" };
            self.by_name(engine, name, text, range, part);
        }
    }

    /// Runs the automaton; `only` keeps to rules whose names begin so.
    fn literals(&mut self, engine: &Engine, text: &[u8], part: Part<'_>, only: Option<&str>) {
        engine.gate.each(text, |start| {
            self.literals_at(engine, text, start, part, only);
            if self.is_decided() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        for number in self.touched.drain(..) {
            if let Some(place) = self.searched.get_mut(usize::from(number)) {
                *place = 0;
            }
        }
    }

    /// The literals that begin here, and their rules.
    fn literals_at(
        &mut self,
        engine: &Engine,
        text: &[u8],
        start: usize,
        part: Part<'_>,
        only: Option<&str>,
    ) {
        let end = (start + engine.longest).min(text.len());
        let input = Input::new(text).span(start..end).anchored(Anchored::Yes);
        let mut state = OverlappingState::start();
        loop {
            if engine.literals.try_find_overlapping(input.clone(), &mut state).is_err() {
                return;
            }
            let Some(hit) = state.get_match() else { return };
            let Some(rules) = engine.wanted.get(hit.pattern().as_usize()) else { continue };
            for &number in rules {
                let number = usize::from(number);
                let Some(rule) = engine.rules.get(number) else { continue };
                if rule.places & part.place == 0
                    || self.has_fired(number)
                    || only.is_some_and(|prefix| !rule.id.starts_with(prefix))
                {
                    continue;
                }
                if rule.pattern.is_empty() {
                    self.fire(engine, number, text, hit.range(), part);
                } else if let Some(range) = self.search(rule, number, text, hit.range()) {
                    self.fire(engine, number, text, range, part);
                }
            }
        }
    }

    fn search(
        &mut self,
        rule: &Rule,
        number: usize,
        text: &[u8],
        hit: std::ops::Range<usize>,
    ) -> Option<std::ops::Range<usize>> {
        // Between words of prose `or` and `and` are everywhere; what makes a condition of them is near.
        if !rule.is_own && hit.len() <= 4 && text.get(hit.end - 1) == Some(&b' ') {
            let behind = text.get(hit.end..).unwrap_or_default();
            let behind = behind.get(..CONDITION_BYTES).unwrap_or(behind);
            if !behind.iter().any(|&byte| SIGNS[usize::from(byte)]) {
                return None;
            }
        }
        let searched = self.searched.get_mut(number)?;
        let wanted_end = (hit.end + WINDOW_AFTER).min(text.len());
        if *searched as usize >= wanted_end {
            return None;
        }
        if *searched == 0 {
            self.touched.push(number as u16);
        }
        let start = hit.start.saturating_sub(WINDOW_BEFORE);
        let end = match wanted_end + WINDOW_STEP {
            end if end < text.len() && *searched > 0 => end,
            _ => wanted_end,
        };
        *searched = u32::try_from(end).unwrap_or(u32::MAX);
        let automaton = rule.automaton()?;
        let place = self.caches.get_mut(number)?;
        self.caches_made += usize::from(place.is_none());
        let cache = place.get_or_insert_with(|| Box::new(automaton.create_cache()));
        let input = regex_automata::Input::new(text).span(start..end).earliest(true);
        let found = automaton.try_search_fwd(cache, &input).ok().flatten()?;
        Some(hit.start.min(found.offset())..found.offset())
    }

    fn has_fired(&self, number: usize) -> bool {
        self.fired.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    fn by_name(
        &mut self,
        engine: &Engine,
        name: &str,
        text: &[u8],
        range: std::ops::Range<usize>,
        part: Part<'_>,
    ) {
        let found = engine.rules.iter().position(|rule| &*rule.id == name);
        if let Some(number) = found
            && !self.has_fired(number)
        {
            self.fire(engine, number, text, range, part);
        }
    }

    fn fire(
        &mut self,
        engine: &Engine,
        number: usize,
        text: &[u8],
        range: std::ops::Range<usize>,
        part: Part<'_>,
    ) {
        let Some(rule) = engine.rules.get(number) else { return };
        if let Some(word) = self.fired.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
        let mut score = u32::from(rule.score);
        let is_language = part.is_prose && prose::is_prose(text);
        if rule.is_dry {
            score = 0;
        } else if !rule.is_hard && (self.is_soft || is_language) {
            score = score * 2 / 5;
            self.prose_score += score;
        } else {
            self.score += score;
        }
        if self.findings.len() < FINDINGS_MAX {
            let bytes = text.get(range).unwrap_or_default();
            // Neither a secret nor what somebody wrote belongs into a log.
            let is_told = !part.is_secret && !is_language && !inspect::holds_secret(part.name);
            let bytes = if is_told { bytes } else { b"" };
            let shown = bytes.get(..SHOWN_BYTES_MAX).unwrap_or(bytes).escape_ascii().to_string();
            self.findings.push(Finding {
                rule: rule.id.clone(),
                part: part.to_string().into(),
                score,
                shown: shown.into(),
                is_dry: rule.is_dry,
            });
        }
    }
}

impl std::fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = match self.place & !(place::AGENT | place::NAME | place::BROKEN) {
            place::PATH => "path",
            place::QUERY => "query",
            place::FORM => "form",
            place::JSON => "json",
            place::HEADER | place::LINK => "header",
            place::COOKIE => "cookie",
            place::FILE => "file",
            place::XML => "xml",
            _ => "body",
        };
        f.write_str(place)?;
        let name = self.name.get(..SHOWN_BYTES_MAX).unwrap_or(self.name);
        if name.is_empty() { Ok(()) } else { write!(f, ".{}", name.escape_ascii()) }
    }
}
