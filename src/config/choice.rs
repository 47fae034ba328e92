//! Settings that are one of a few words.
#![forbid(unsafe_code)]

use super::ConfigError;
use super::node::{Node, Value};
use super::schema::{Rule, Setting, Shape};
use super::values::{write_text, wrong_type};

/// Declares enums whose variants are words of the configuration.
macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $variant:ident = $word:literal,)* })*)
    => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
        pub enum $name { $($(#[$word_doc])* $variant,)* }

        impl $name {
            /// Its words, in the order of the variants.
            pub const WORDS: &'static [&'static str] = &[$($word,)*];

            /// The word in the configuration.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }

            /// The variant with this word.
            pub fn from_word(word: &str) -> Option<$name> {
                match word { $($word => Some($name::$variant),)* _ => None }
            }
        }

        impl Setting for $name {
            const SHAPE: Shape = Shape::Text;

            fn read(key: &str, node: &Node, _rule: Rule) -> Result<$name, ConfigError> {
                let expected = || format!("one of {}", $name::WORDS.join(", "));
                let Value::Text(word) = &node.value else {
                    return Err(wrong_type(key, node, &expected()));
                };
                $name::from_word(word).ok_or_else(|| {
                    let word = super::values::shown(word);
                    node.at.error(format!("`{key}` is \"{word}\", expected {}", expected()))
                })
            }

            fn write(&self, _rule: Rule, out: &mut String) {
                write_text(self.as_str(), out);
            }
        }
    )* };
}

choices! {
    /// How a model chooses among its targets.
    Strategy {
        /// In the order of the list.
        Priority = "priority",
        /// At random, by weight.
        Weighted = "weighted",
        /// One after the other, by weight.
        RoundRobin = "round_robin",
        /// The one that answered fastest of late.
        LeastLatency = "least_latency",
        /// The one with the fewest requests under way.
        LeastBusy = "least_busy",
        /// The same one for the same user or header.
        Hash = "hash",
    }

    /// What a target can do beyond plain chat.
    Capability {
        /// It calls tools.
        Tools = "tools",
        /// It sees images.
        Vision = "vision",
        /// It answers by a JSON schema.
        JsonSchema = "json_schema",
        /// It makes embeddings.
        Embeddings = "embeddings",
    }

    /// Which answers are cached.
    CacheWhen {
        /// Temperature 0 or a seed.
        Deterministic = "deterministic",
        /// All.
        Always = "always",
    }

    /// What becomes of a request of which something has no place at its provider.
    DroppedMembers {
        /// It goes on without; the answer's head names what was left out.
        Warn = "warn",
        /// It is answered with 400.
        Refuse = "refuse",
    }

    /// What the guard does about what it finds; the later, the stronger.
    GuardAction {
        /// It does not look.
        Off = "off",
        /// It tells in the log.
        Log = "log",
        /// It tells, and takes it out of the text.
        Redact = "redact",
        /// It tells, and refuses the request or the answer.
        Block = "block",
    }

    /// The importance of log messages.
    LogLevel {
        /// Something failed.
        Error = "error",
        /// Something is wrong, but it goes on.
        Warn = "warn",
        /// What an operator wants to know.
        Info = "info",
        /// What helps to find a fault.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }

    /// The form of log lines.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

/// What the strategy `hash` looks at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HashOn {
    /// `user` of the request.
    User,
    /// The header field of this name, in lower case.
    Header(String),
}

impl Setting for HashOn {
    const SHAPE: Shape = Shape::Text;

    fn read(key: &str, node: &Node, _rule: Rule) -> Result<HashOn, ConfigError> {
        const EXPECTED: &str = "\"user\" or \"header:NAME\"";
        let Value::Text(text) = &node.value else {
            return Err(wrong_type(key, node, EXPECTED));
        };
        if text == "user" {
            return Ok(HashOn::User);
        }
        match text.strip_prefix("header:") {
            Some(name) if is_token(name) => Ok(HashOn::Header(name.to_ascii_lowercase())),
            _ => {
                let text = super::values::shown(text);
                Err(node.at.error(format!("`{key}` is \"{text}\", expected {EXPECTED}")))
            }
        }
    }

    fn write(&self, _rule: Rule, out: &mut String) {
        match self {
            HashOn::User => write_text("user", out),
            HashOn::Header(name) => write_text(&format!("header:{name}"), out),
        }
    }
}

/// A field name (RFC 9110 section 5.1).
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
