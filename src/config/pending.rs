//! Keys whose part of the server does not exist yet. They are read and checked like all others;
//! set to something else than their default, they are warned about, or refused where ignoring
//! them would leave a server less safe than its operator believes. When a part is built, its rows
//! here go.
#![forbid(unsafe_code)]

use super::ConfigError;
use super::draft::Draft;
use super::node::At;
use super::parts::{self, Part};
use super::schema::{Scope, Section};
use super::values::shown;

/// What happens when a pending key is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Effect {
    /// It is noted.
    Warn,
    /// It is a configuration error.
    Refuse,
}
use Effect::{Refuse, Warn};

/// Table, key, effect. The key `*` stands for the table itself.
const PENDING: &[(&str, &str, Effect)] = &[
    ("key", "tokens_per_minute", Refuse),
    ("retry", "attempts", Warn),
    ("retry", "backoff", Warn),
    ("cache", "when", Warn),
    ("cache", "max_entries", Warn),
    ("cache", "max_bytes", Warn),
    ("cache", "ttl", Warn),
];

/// Notes or refuses what is set and does not exist yet.
pub(crate) fn check(draft: &mut Draft) -> Result<(), ConfigError> {
    for &(part, key, effect) in PENDING {
        for path in set_keys(draft, part, key) {
            let at = scope(draft).at(&path);
            report(draft, &at, &path, effect)?;
        }
    }
    Ok(())
}

/// The paths under which a pending key is set to something else than its default.
fn set_keys(draft: &mut Draft, part: &str, key: &str) -> Vec<String> {
    match parts::part(&mut draft.config, part) {
        Some(Part::Section(section)) => {
            if is_set(section, key) {
                vec![format!("{part}.{key}")]
            } else {
                Vec::new()
            }
        }
        Some(Part::Tables(tables)) => (0..tables.len())
            .filter_map(|index| {
                let path = match tables.name(index) {
                    "" => format!("{part}[{index}]"),
                    name => format!("{part}.{name}"),
                };
                match key {
                    "*" => Some(path),
                    _ => is_set(tables.get(index)?, key).then(|| format!("{path}.{key}")),
                }
            })
            .collect(),
        Some(Part::Plugins) => draft.plugins.keys().map(|name| format!("{part}.{name}")).collect(),
        None => Vec::new(),
    }
}

fn is_set(section: &dyn Section, key: &str) -> bool {
    let printed = section.printed();
    // What is switched off is not missed.
    let is_off = printed.iter().any(|it| it.key == "enable" && it.value == "false");
    !is_off && printed.iter().any(|it| it.key == key && !it.is_default)
}

fn report(draft: &mut Draft, at: &At, path: &str, effect: Effect) -> Result<(), ConfigError> {
    let path = shown(path);
    match effect {
        Warn => {
            draft.config.notes.push(format!("{at}: `{path}` has no effect in this version"));
            Ok(())
        }
        Refuse => Err(at.error(format!(
            "`{path}` is not available in this version and cannot be ignored safely, expected it \
             unset"
        ))),
    }
}

fn scope(draft: &Draft) -> Scope<'_> {
    static NONE: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    Scope { environment: &NONE, marks: &draft.marks }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrong: a row that names no key guards nothing.
    #[test]
    fn every_row_names_a_key() {
        let mut draft = Draft::default();
        for (part, key, _) in PENDING {
            assert!(parts::form(part).is_some(), "{part}");
            let known = *key == "*" || draft.keys(part).iter().any(|spec| spec.name == *key);
            assert!(known, "{part}.{key}");
        }
    }
}
