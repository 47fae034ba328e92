//! Words that want to be instructions to the model against those it has.
//!
//! Phrases are sequences of words with room for others between, each with a weight; a text whose
//! weights come to the configured score is an injection. Case, width, invisible characters and
//! digits in place of letters make no difference. The phrases follow the literature: Perez and
//! Ribeiro 2022 ("Ignore Previous Prompt"), Greshake et al. 2023 (indirect injection), OWASP LLM01,
//! and the marks of chat templates.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Category;
use super::scan::{Found, OPEN_BYTES_MAX, Tail, Try, is_word};

/// A step of a phrase.
enum P {
    /// One of these words.
    W(&'static [&'static str]),
    /// Up to so many others.
    G(u8),
}

use P::{G, W};

struct Phrase {
    rule: &'static str,
    score: u32,
    steps: &'static [P],
}

const IGNORE: P =
    W(&["ignore", "disregard", "forget", "override", "overwrite", "bypass", "discard", "neglect"]);
const EARLIER: P = W(&[
    "previous",
    "prior",
    "above",
    "earlier",
    "preceding",
    "foregoing",
    "all",
    "any",
    "your",
    "former",
    "initial",
    "original",
    "existing",
    "system",
]);
const ORDERS: P = W(&[
    "instructions",
    "instruction",
    "prompt",
    "prompts",
    "rules",
    "directives",
    "directions",
    "guidelines",
    "commands",
    "programming",
    "policies",
    "training",
    "orders",
    "restrictions",
]);
const TELL: P = W(&[
    "reveal", "print", "show", "repeat", "output", "display", "leak", "dump", "disclose", "recite",
    "expose", "give", "tell",
]);
const HIDDEN: P = W(&[
    "system",
    "hidden",
    "secret",
    "initial",
    "original",
    "internal",
    "confidential",
    "developer",
]);
const NO: P = W(&["no", "without", "zero", "any", "free"]);
const LIMITS: P = W(&[
    "restrictions",
    "limitations",
    "filters",
    "guidelines",
    "censorship",
    "limits",
    "rules",
    "ethics",
    "boundaries",
]);

const PHRASES: &[Phrase] = &[
    Phrase { rule: "ignore_instructions", score: 5, steps: &[IGNORE, G(3), EARLIER, G(3), ORDERS] },
    Phrase {
        rule: "ignore_instructions",
        score: 5,
        steps: &[W(&["do"]), W(&["not"]), W(&["follow", "obey"]), G(2), EARLIER, G(2), ORDERS],
    },
    Phrase {
        rule: "ignore_everything",
        score: 5,
        steps: &[
            IGNORE,
            W(&["everything", "anything"]),
            G(2),
            W(&["above", "before", "said", "told", "previously", "written"]),
        ],
    },
    Phrase {
        rule: "reveal_prompt",
        score: 4,
        steps: &[TELL, G(4), HIDDEN, W(&["prompt", "prompts", "instructions", "message"])],
    },
    Phrase {
        rule: "reveal_prompt",
        score: 4,
        steps: &[TELL, G(2), W(&["your"]), W(&["prompt", "instructions"])],
    },
    Phrase {
        rule: "repeat_above",
        score: 4,
        steps: &[
            W(&["repeat", "print", "output"]),
            G(3),
            W(&["words", "text", "everything"]),
            G(1),
            W(&["above", "before"]),
        ],
    },
    Phrase {
        rule: "new_instructions",
        score: 3,
        steps: &[
            W(&["your"]),
            W(&["new"]),
            W(&["instructions", "task", "rules", "role", "goal", "objective"]),
            W(&["are", "is"]),
        ],
    },
    Phrase {
        rule: "new_role",
        score: 3,
        steps: &[
            W(&["from"]),
            W(&["now"]),
            W(&["on"]),
            G(1),
            W(&["you"]),
            G(2),
            W(&["are", "act", "behave", "respond", "must"]),
        ],
    },
    Phrase { rule: "new_role", score: 2, steps: &[W(&["you"]), W(&["are"]), W(&["now"])] },
    Phrase { rule: "no_limits", score: 3, steps: &[NO, G(2), LIMITS] },
    Phrase {
        rule: "no_longer_bound",
        score: 4,
        steps: &[
            W(&["no"]),
            W(&["longer"]),
            G(1),
            W(&["bound", "restricted", "limited", "constrained"]),
        ],
    },
    Phrase {
        rule: "pretend",
        score: 2,
        steps: &[
            W(&["pretend", "imagine", "roleplay", "act", "behave", "respond"]),
            G(3),
            W(&["unrestricted", "uncensored", "unfiltered", "jailbroken", "evil", "amoral", "dan"]),
        ],
    },
    Phrase {
        rule: "do_anything_now",
        score: 5,
        steps: &[W(&["do"]), W(&["anything"]), W(&["now"])],
    },
    Phrase {
        rule: "mode",
        score: 5,
        steps: &[
            W(&["developer", "jailbreak", "debug", "god", "dan", "unrestricted", "maintenance"]),
            W(&["mode"]),
            G(1),
            W(&["enabled", "activated", "on", "unlocked", "engaged"]),
        ],
    },
    Phrase {
        rule: "mode",
        score: 5,
        steps: &[
            W(&["enable", "activate", "enter"]),
            G(1),
            W(&["jailbreak", "god", "dan", "unrestricted"]),
            W(&["mode"]),
        ],
    },
    Phrase {
        rule: "stay_silent",
        score: 4,
        steps: &[
            W(&["do", "dont", "don"]),
            G(1),
            W(&["tell", "inform", "mention", "alert", "warn"]),
            G(3),
            W(&["user", "human", "anyone"]),
        ],
    },
    Phrase {
        rule: "send_away",
        score: 4,
        steps: &[
            W(&["send", "forward", "exfiltrate", "upload", "post", "email"]),
            G(4),
            W(&[
                "conversation",
                "history",
                "credentials",
                "password",
                "passwords",
                "secrets",
                "keys",
            ]),
            G(1),
            W(&["to"]),
        ],
    },
    Phrase {
        rule: "to_the_model",
        score: 3,
        steps: &[
            W(&["attention", "note", "message", "instructions"]),
            W(&["to", "for"]),
            G(1),
            W(&["ai", "llm", "assistant", "assistants", "chatbot", "gpt"]),
        ],
    },
    Phrase {
        rule: "fake_system",
        score: 3,
        steps: &[W(&["system"]), W(&["override", "alert", "update", "notice"])],
    },
    Phrase {
        rule: "ignore_instructions",
        score: 5,
        steps: &[
            W(&["ignoriere", "vergiss", "missachte"]),
            G(3),
            W(&["vorherigen", "bisherigen", "vorigen", "obigen", "alle"]),
            G(2),
            W(&["anweisungen", "anweisung", "regeln", "instruktionen", "vorgaben"]),
        ],
    },
    Phrase {
        rule: "ignore_instructions",
        score: 5,
        steps: &[
            W(&["ignorez", "ignore", "oubliez", "oublie"]),
            G(3),
            W(&["instructions", "consignes", "règles", "directives"]),
            G(1),
            W(&["précédentes", "precedentes", "antérieures", "ci"]),
        ],
    },
    Phrase {
        rule: "ignore_instructions",
        score: 5,
        steps: &[
            W(&["ignora", "ignore", "olvida", "olvide"]),
            G(3),
            W(&["instrucciones", "instruções", "reglas", "istruzioni", "órdenes"]),
            G(1),
            W(&["anteriores", "previas", "precedenti"]),
        ],
    },
];

/// Marks of chat templates and phrases of languages without blanks between words.
const LITERALS: &[(&str, &str, u32)] = &[
    ("<|im_start|>", "template_mark", 4),
    ("<|im_end|>", "template_mark", 4),
    ("<|system|>", "template_mark", 5),
    ("<|start_header_id|>", "template_mark", 4),
    ("<|eot_id|>", "template_mark", 4),
    ("<|endoftext|>", "template_mark", 4),
    ("<<SYS>>", "template_mark", 5),
    ("[INST]", "template_mark", 4),
    ("[/INST]", "template_mark", 4),
    ("[SYSTEM]", "template_mark", 3),
    ("### System:", "template_mark", 3),
    ("### Instruction:", "template_mark", 2),
    ("忽略之前", "ignore_instructions", 5),
    ("忽略以上", "ignore_instructions", 5),
    ("忽略先前", "ignore_instructions", 5),
    ("以前の指示を無視", "ignore_instructions", 5),
    ("これまでの指示を無視", "ignore_instructions", 5),
    ("이전 지시를 무시", "ignore_instructions", 5),
    ("игнорируй предыдущие", "ignore_instructions", 5),
    ("игнорируй все предыдущие", "ignore_instructions", 5),
];

/// The longest word of a phrase, in bytes; a longer one is another word.
const WORD_BYTES_MAX: usize = 24;
/// The most bytes between two words of a phrase.
const GAP_BYTES_MAX: usize = 16;
/// The longest phrase, in bytes.
const PHRASE_BYTES_MAX: usize = OPEN_BYTES_MAX - 1;

/// Which phrases a word begins.
static BEGINNINGS: LazyLock<HashMap<&'static [u8], Vec<usize>>> = LazyLock::new(|| {
    let mut map: HashMap<&'static [u8], Vec<usize>> = HashMap::new();
    for (index, phrase) in PHRASES.iter().enumerate() {
        if let Some(W(words)) = phrase.steps.first() {
            for word in *words {
                map.entry(word.as_bytes()).or_default().push(index);
            }
        }
    }
    map
});

fn found(rule: &'static str, len: usize, score: u32) -> Try {
    let category = Category::Injection;
    Try::Found(Found { category, rule, skip: 0, len, tail: Tail::None, score })
}

/// What begins at the beginning of `text`, behind the byte `before`.
pub fn at(text: &[u8], before: u8, is_end: bool) -> Try {
    let mut tried = Try::No;
    let first = text.first().copied().unwrap_or_default();
    if matches!(first, b'<' | b'[' | b'#') || first >= 0x80 {
        tried = literal(text, is_end);
    }
    if tried == Try::No && is_word(first) && !is_word(before) {
        tried = phrase(text, is_end);
    }
    tried
}

fn literal(text: &[u8], is_end: bool) -> Try {
    let mut is_open = false;
    for &(mark, rule, score) in LITERALS {
        let shared = text.len().min(mark.len());
        if text.get(..shared) == mark.as_bytes().get(..shared) {
            if shared == mark.len() {
                return found(rule, shared, score);
            }
            is_open = true;
        }
    }
    if is_open && !is_end { Try::Open } else { Try::No }
}

/// A word as it is compared.
struct Word {
    bytes: [u8; WORD_BYTES_MAX],
    len: usize,
    /// Where it ends in the text.
    end: usize,
    is_too_long: bool,
}

impl Word {
    fn text(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, byte: u8) {
        match self.bytes.get_mut(self.len) {
            Some(place) => {
                *place = byte;
                self.len += 1;
            }
            None => self.is_too_long = true,
        }
    }

    fn is(&self, word: &str) -> bool {
        !self.is_too_long && self.text() == word.as_bytes()
    }

    fn may_become(&self, word: &str) -> bool {
        !self.is_too_long && word.as_bytes().starts_with(self.text())
    }
}

/// Bytes of an invisible character at the beginning of `text`: zero-width blanks and joiners, soft
/// hyphens, direction marks.
fn invisible(text: &[u8]) -> usize {
    match text {
        [0xc2, 0xad, ..] => 2,
        [0xe2, 0x80, 0x8b..=0x8f | 0xaa..=0xae, ..]
        | [0xe2, 0x81, 0xa0..=0xa4, ..]
        | [0xef, 0xbb, 0xbf, ..] => 3,
        _ => 0,
    }
}

/// The word at the beginning of `text`.
fn word(text: &[u8]) -> Word {
    let mut word = Word { bytes: [0; WORD_BYTES_MAX], len: 0, end: 0, is_too_long: false };
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let skipped = invisible(rest);
        if skipped > 0 {
            at += skipped;
            continue;
        }
        match *rest {
            // Full width.
            [0xef, 0xbc, low @ 0xa1..=0xba, ..] => {
                word.push(low - 0xa1 + b'a');
                at += 3;
            }
            [0xef, 0xbd, low @ 0x81..=0x9a, ..] => {
                word.push(low - 0x81 + b'a');
                at += 3;
            }
            // Punctuation that is typed for that of ASCII, wide blanks.
            [0xe2, 0x80, ..] | [0xe3, 0x80, 0x80..=0x82, ..] => break,
            [0xc2, 0xa0, ..] => break,
            [b'\'', ..] if word.len > 0 => at += 1,
            [byte, ..] if byte.is_ascii_alphanumeric() || byte >= 0x80 => {
                word.push(byte.to_ascii_lowercase());
                at += 1;
            }
            _ => break,
        }
        word.end = at;
        if word.is_too_long {
            let is_more = |b: &&u8| b.is_ascii_alphanumeric() || **b >= 0x80;
            let rest = text.get(at..).unwrap_or_default();
            word.end += rest.iter().take(OPEN_BYTES_MAX).take_while(is_more).count();
            break;
        }
    }
    word.end = at.max(word.end);
    let has_letter = word.text().iter().any(|b| b.is_ascii_alphabetic());
    if has_letter {
        for byte in word.bytes.iter_mut().take(word.len) {
            *byte = match *byte {
                b'0' => b'o',
                b'1' => b'i',
                b'3' => b'e',
                b'4' => b'a',
                b'5' => b's',
                other => other,
            };
        }
    }
    word
}

/// Bytes between words at the beginning of `text`.
fn between(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty() && at <= GAP_BYTES_MAX) {
        at += match *rest {
            [0xe2, 0x80, _, ..] | [0xe3, 0x80, 0x80..=0x82, ..] => 3,
            [0xc2, 0xa0, ..] => 2,
            [byte, ..] if !byte.is_ascii_alphanumeric() && byte < 0x80 => 1,
            _ => break,
        };
    }
    at
}

fn phrase(text: &[u8], is_end: bool) -> Try {
    let text = text.get(..text.len().min(PHRASE_BYTES_MAX)).unwrap_or_default();
    let first = word(text);
    if first.end >= text.len() && !is_end {
        let may = BEGINNINGS.keys().any(|word| word.starts_with(first.text()));
        return if may && !first.is_too_long { Try::Open } else { Try::No };
    }
    let Some(phrases) = BEGINNINGS.get(first.text()).filter(|_| !first.is_too_long) else {
        return Try::No;
    };
    for phrase in phrases.iter().filter_map(|&index| PHRASES.get(index)) {
        let steps = phrase.steps.get(1..).unwrap_or_default();
        match go_on(text, first.end, steps, is_end) {
            Step::End(end) => return found(phrase.rule, end, phrase.score),
            // What comes decides, so that a text gives the same however it is cut.
            Step::Open => return Try::Open,
            Step::No => {}
        }
    }
    Try::No
}

enum Step {
    No,
    Open,
    End(usize),
}

/// Whether the words from `at` on take the steps. At most a few words are passed over, so the
/// depth and the branches are those of the phrase.
fn go_on(text: &[u8], at: usize, steps: &[P], is_end: bool) -> Step {
    let Some((step, later)) = steps.split_first() else { return Step::End(at) };
    let (most, later, wanted) = match (step, later) {
        (G(most), [W(words), later @ ..]) => (*most, later, *words),
        (W(words), later) => (0, later, *words),
        _ => return Step::No,
    };
    let mut from = at;
    for _ in 0..=most {
        let gap = between(text.get(from..).unwrap_or_default());
        let begin = from + gap;
        if begin >= text.len() {
            return if is_end || gap > GAP_BYTES_MAX { Step::No } else { Step::Open };
        }
        let next = word(text.get(begin..).unwrap_or_default());
        if gap == 0 || gap > GAP_BYTES_MAX || next.end == 0 {
            break;
        }
        let end = begin + next.end;
        if end >= text.len() && !is_end {
            let may = most > 0 || wanted.iter().any(|word| next.may_become(word));
            return if may { Step::Open } else { Step::No };
        }
        if wanted.iter().any(|word| next.is(word)) {
            match go_on(text, end, later, is_end) {
                Step::No => {}
                step => return step,
            }
        }
        from = end;
    }
    Step::No
}
