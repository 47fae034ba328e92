//! The rules, ready to be run: one automaton over all literals, and behind each literal the rules
//! whose expressions look around it. Immutable; `scan` runs it.
//!
//! Expressions are automata too, without back-tracking: no input makes them slower than linear.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind, StartKind};
use regex_automata::hybrid::dfa::{self, DFA};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::syntax;

use super::gate::Gate;
use super::rules;

/// Bytes of one expression's automaton.
const NFA_BYTES_MAX: usize = 1 << 20;
/// Rules of an operator, of all files and calls.
const OWN_RULES_MAX: usize = 16_384;
/// Bytes that its states may take while it runs.
const CACHE_BYTES: usize = 128 * 1024;

/// A rule as it is written down.
#[derive(Clone, Copy)]
pub struct Spec {
    /// `family.name`.
    pub id: &'static str,
    /// What it adds to the score of a request.
    pub score: u8,
    /// Where it looks.
    pub places: u16,
    /// It counts in full in prose too.
    pub is_hard: bool,
    /// One of these stands in every match.
    pub literals: &'static [&'static str],
    /// What must match around it; empty: the literal is enough.
    pub pattern: &'static str,
}

/// A rule that the engine runs.
pub struct Rule {
    /// `family.name`.
    pub id: Box<str>,
    pub(super) score: u8,
    pub(super) places: u16,
    pub(super) is_hard: bool,
    /// It only tells.
    pub(super) is_dry: bool,
    /// An operator has added it.
    pub(super) is_own: bool,
    pub(super) pattern: Box<str>,
    compiled: OnceLock<Option<DFA>>,
}

impl Rule {
    pub(super) fn automaton(&self) -> Option<&DFA> {
        self.compiled.get_or_init(|| compile(&self.pattern).ok()).as_ref()
    }
}

/// A rule that an operator adds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CustomRule {
    /// Its name.
    pub id: String,
    /// 1 to 20.
    pub score: u8,
    /// Where it looks.
    pub places: u16,
    /// It only tells.
    pub is_dry: bool,
    /// One of these stands in every match, in small letters; at least one.
    pub literals: Vec<String>,
    /// What must match around it; empty: the literal is enough.
    pub pattern: String,
}

/// Compiles an expression as the engine runs it.
///
/// # Errors
/// Where and why it cannot be understood.
pub fn compile(pattern: &str) -> Result<DFA, String> {
    let syntax = syntax::Config::new().unicode(false).utf8(false).dot_matches_new_line(true);
    let nfa = thompson::Config::new()
        .which_captures(WhichCaptures::None)
        .utf8(false)
        .nfa_size_limit(Some(NFA_BYTES_MAX));
    // The cache is cleared when it is full, and never given up: matching stays linear.
    let config = dfa::Config::new().cache_capacity(CACHE_BYTES).skip_cache_capacity_check(true);
    let built = dfa::Builder::new().configure(config).syntax(syntax).thompson(nfa).build(pattern);
    built.map_err(|error| {
        // The source tells the place in the expression.
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        cause.to_string()
    })
}

/// Engines are numbered, so that nobody uses the states of another one's automata.
static ENGINES: AtomicUsize = AtomicUsize::new(1);

/// All rules, ready to be run. Immutable.
pub struct Engine {
    pub(super) rules: Vec<Rule>,
    pub(super) literals: AhoCorasick,
    pub(super) gate: Gate,
    /// Bytes of the longest literal.
    pub(super) longest: usize,
    /// Rules by the number of their literal.
    pub(super) wanted: Vec<Box<[u16]>>,
    pub(super) custom: Arc<[CustomRule]>,
    disabled: Arc<[String]>,
    dry: Arc<[String]>,
    /// Tells engines apart; 0 is none.
    pub(super) number: usize,
}

impl Engine {
    /// The built-in rules without those named in `disabled`, and an operator's own.
    ///
    /// # Errors
    /// What is wrong with an operator's rule.
    pub fn new(custom: Arc<[CustomRule]>, disabled: Arc<[String]>) -> Result<Engine, String> {
        Engine::with_dry(custom, disabled, Arc::from([]))
    }

    /// The same where the rules and families in `dry` only tell.
    ///
    /// # Errors
    /// What is wrong with an operator's rule.
    pub fn with_dry(
        custom: Arc<[CustomRule]>,
        disabled: Arc<[String]>,
        dry: Arc<[String]>,
    ) -> Result<Engine, String> {
        let mut rules = Vec::new();
        let mut literals: Vec<String> = Vec::new();
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut wanted: Vec<Vec<u16>> = Vec::new();
        let mut add = |literal: &str, rule: usize| {
            let number = *numbers.entry(literal.to_owned()).or_insert_with(|| {
                literals.push(literal.to_owned());
                wanted.push(Vec::new());
                literals.len() - 1
            });
            if let Some(rules) = wanted.get_mut(number) {
                rules.push(rule as u16);
            }
        };
        let is_named =
            |id: &str, names: &[String]| names.iter().any(|it| id == it || is_family(id, it));
        let is_on = |id: &str| !is_named(id, &disabled);
        for spec in rules::all().filter(|spec| is_on(spec.id)) {
            for literal in rules::literals(&spec) {
                add(&literal, rules.len());
            }
            rules.push(Rule {
                id: spec.id.into(),
                score: spec.score,
                places: spec.places,
                is_hard: spec.is_hard,
                is_dry: is_named(spec.id, &dry),
                is_own: false,
                pattern: spec.pattern.into(),
                compiled: OnceLock::new(),
            });
        }
        if custom.len() > OWN_RULES_MAX {
            let count = custom.len();
            return Err(format!("{count} rules in all, expected at most {OWN_RULES_MAX}"));
        }
        for rule in custom.iter() {
            if rule.literals.is_empty() || rule.literals.iter().any(|literal| literal.len() < 2) {
                return Err(format!("rule {}: a literal of two bytes or more is needed", rule.id));
            }
            let compiled = OnceLock::new();
            if !rule.pattern.is_empty() {
                let regex =
                    compile(&rule.pattern).map_err(|why| format!("rule {}: {why}", rule.id))?;
                let _ = compiled.set(Some(regex));
            }
            for literal in &rule.literals {
                add(&literal.to_ascii_lowercase(), rules.len());
            }
            rules.push(Rule {
                id: rule.id.as_str().into(),
                score: rule.score,
                places: rule.places,
                is_hard: true,
                is_dry: rule.is_dry || is_named(&rule.id, &dry),
                is_own: true,
                pattern: rule.pattern.as_str().into(),
                compiled,
            });
        }
        let gate = Gate::of(&literals);
        let longest = literals.iter().map(String::len).max().unwrap_or(0);
        let literals = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .start_kind(StartKind::Anchored)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .prefilter(false)
            .build(&literals)
            .map_err(|error| error.to_string())?;
        let wanted = wanted.into_iter().map(Vec::into_boxed_slice).collect();
        // Relaxed: only that the numbers differ matters.
        let number = ENGINES.fetch_add(1, Ordering::Relaxed);
        Ok(Engine { rules, literals, gate, longest, wanted, custom, disabled, dry, number })
    }

    /// An operator's rules.
    pub fn custom(&self) -> &Arc<[CustomRule]> {
        &self.custom
    }

    /// Rules and families that are switched off.
    pub fn disabled(&self) -> &Arc<[String]> {
        &self.disabled
    }

    /// Rules and families that only tell.
    pub fn dry(&self) -> &Arc<[String]> {
        &self.dry
    }

    /// The names of all rules.
    pub fn rule_ids(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| &*rule.id)
    }

    /// Bytes of the automaton.
    pub fn memory_bytes(&self) -> usize {
        self.literals.memory_usage()
    }
}

/// Whether `name` is the family of the rule.
fn is_family(id: &str, name: &str) -> bool {
    id.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
}
