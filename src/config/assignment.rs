//! Single assignments from outside a document: variables such as `NEUROHTTP_SERVER__LISTEN`, and
//! `--set server.listen=…` with its kin from C.
#![forbid(unsafe_code)]

use super::ConfigError;
use super::draft::Draft;
use super::node::{At, Entry, Node, Value, parse_value};
use super::parts::{self, Form};
use super::schema::Shape;
use super::values::{nearest, shown, unknown_key};

/// What variables that set a key begin with.
const PREFIX: &str = "NEUROHTTP_";

/// Applies every variable that sets a key, in the order of their names.
pub(crate) fn apply_environment(
    draft: &mut Draft,
    environment: &[(String, String)],
) -> Result<(), ConfigError> {
    let mut variables: Vec<(&str, &str)> = environment
        .iter()
        .filter(|(name, _)| path_of(name).is_some())
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    // The system gives them in no order of its own; what an error names should not change.
    variables.sort_unstable();
    variables.into_iter().try_for_each(|(name, value)| apply_variable(draft, name, value))
}

/// Applies `section.key` or `provider.NAME.key`.
pub(crate) fn apply_set(draft: &mut Draft, path: &str, text: &str) -> Result<(), ConfigError> {
    let at = At::named(shown(path));
    let Some((part, rest)) = path.split_once('.') else {
        return Err(at.error("names no key, expected SECTION.KEY or TABLE.NAME.KEY"));
    };
    let Some(form) = parts::form(part) else {
        return Err(at.error(format!(
            "unknown table `{}`, expected {}",
            shown(part),
            nearest(part, &parts::names())
        )));
    };
    let (name, key) = match (form, rest.rsplit_once('.')) {
        (Form::Single, _) => ("", rest),
        (Form::Listed, _) => return Err(no_names(&at, part)),
        (Form::Named | Form::Free, Some((name, key))) if !name.is_empty() => (name, key),
        (Form::Named | Form::Free, _) => {
            return Err(at.error(format!("names no table, expected {part}.NAME.KEY")));
        }
    };
    if form == Form::Free && key.is_empty() {
        return Err(at.error(format!("names no key, expected {part}.NAME.KEY")));
    }
    assign(draft, &at, form, Path { part, name, key }, text)
}

/// A key's table, the table's name if it has one, and the key.
struct Path<'a> {
    part: &'a str,
    name: &'a str,
    key: &'a str,
}

fn assign(
    draft: &mut Draft,
    at: &At,
    form: Form,
    path: Path<'_>,
    text: &str,
) -> Result<(), ConfigError> {
    let shape = match form {
        Form::Free => Shape::Toml,
        _ => {
            let keys = draft.keys(path.part);
            match keys.iter().find(|spec| spec.name == path.key) {
                Some(spec) => spec.shape,
                None => {
                    return Err(unknown_key(at, path.key, &format!("`{}`", path.part), keys));
                }
            }
        }
    };
    let node = read_text(at, shape, text)?;
    let entry = Entry { key: path.key.to_owned(), at: at.clone(), node };
    match form {
        Form::Single => draft.set_single(path.part, &entry),
        Form::Named => draft.set_named(path.part, path.name, &entry),
        Form::Free => draft.set_plugin(path.name, entry),
        Form::Listed => Err(no_names(at, path.part)),
    }
}

fn no_names(at: &At, part: &str) -> ConfigError {
    at.error(format!("[[{part}]] has no names to set one by, expected it in a file"))
}

fn apply_variable(draft: &mut Draft, variable: &str, text: &str) -> Result<(), ConfigError> {
    let at = At::named(shown(variable));
    let Some((part, rest)) = path_of(variable) else {
        return Ok(());
    };
    let Some((part, form)) = parts::PARTS.iter().copied().find(|(name, _)| plain(name) == part)
    else {
        let part = part.to_ascii_lowercase();
        return Err(at.error(format!(
            "unknown table `{}`, expected {}",
            shown(&part),
            nearest(&part, &parts::names())
        )));
    };
    let (name, key) = match form {
        Form::Listed => return Err(no_names(&at, part)),
        Form::Single => (String::new(), single_key(draft, part, &rest)),
        Form::Named => named_key(draft, &at, part, &rest)?,
        Form::Free => plugin_key(draft, &at, &rest)?,
    };
    assign(draft, &at, form, Path { part, name: &name, key: &key }, text)
}

/// The key of a single table; what matches none stays, for the error.
fn single_key(draft: &mut Draft, part: &str, rest: &str) -> String {
    let known = draft.keys(part).iter().find(|spec| plain(spec.name) == rest);
    known.map_or_else(|| rest.to_ascii_lowercase(), |spec| spec.name.to_owned())
}

/// Name and key of `NAME__KEY`. The key is matched from the end: a name may hold `__` too.
fn named_key(
    draft: &mut Draft,
    at: &At,
    part: &str,
    rest: &str,
) -> Result<(String, String), ConfigError> {
    let known = draft.keys(part).iter().find_map(|spec| {
        let name = rest.strip_suffix(&plain(spec.name))?.strip_suffix("__")?;
        Some((name, spec.name))
    });
    let (name, key) = match (known, rest.rsplit_once("__")) {
        (Some((name, key)), _) => (name, key.to_owned()),
        (None, Some((name, key))) => (name, key.to_ascii_lowercase()),
        (None, None) => ("", String::new()),
    };
    if name.is_empty() {
        return Err(
            at.error(format!("names no table, expected {PREFIX}{}__NAME__KEY", plain(part)))
        );
    }
    let names = draft.table_names(part);
    Ok((the_one(at, part, name, names.iter().map(String::as_str))?, key))
}

fn plugin_key(draft: &Draft, at: &At, rest: &str) -> Result<(String, String), ConfigError> {
    let Some((name, key)) =
        rest.rsplit_once("__").filter(|(name, key)| !name.is_empty() && !key.is_empty())
    else {
        return Err(at.error(format!("names no key, expected {PREFIX}PLUGIN__NAME__KEY")));
    };
    let name = the_one(at, "plugin", name, draft.plugins.keys().map(String::as_str))?;
    let keys = draft.plugins.get(&name).map(Vec::as_slice).unwrap_or_default();
    let key = the_one(at, "plugin", key, keys.iter().map(|entry| entry.key.as_str()))?;
    Ok((name, key))
}

/// The known name that reads like `name` in a variable; none: `name` itself in lower case.
fn the_one<'a>(
    at: &At,
    part: &str,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> Result<String, ConfigError> {
    let mut alike = known.filter(|known| plain(known) == name);
    match (alike.next(), alike.next()) {
        (None, _) => Ok(name.to_ascii_lowercase()),
        (Some(only), None) => Ok(only.to_owned()),
        (Some(first), Some(second)) => Err(at.error(format!(
            "means both `{part}.{}` and `{part}.{}`, expected one of them set in another way",
            shown(first),
            shown(second)
        ))),
    }
}

/// Table and rest of a variable that sets a key; `None` for any other variable.
fn path_of(variable: &str) -> Option<(String, String)> {
    // Most of an environment is not ours: look before the copy.
    if !variable.get(..PREFIX.len())?.eq_ignore_ascii_case(PREFIX) {
        return None;
    }
    let name = plain(variable);
    let (part, rest) = name.get(PREFIX.len()..)?.split_once("__")?;
    Some((part.to_owned(), rest.to_owned()))
}

/// A name as variables spell it: upper case, `_` for all but letters and digits.
fn plain(name: &str) -> String {
    name.chars()
        .map(|letter| match letter.to_ascii_uppercase() {
            letter @ ('A'..='Z' | '0'..='9') => letter,
            _ => '_',
        })
        .collect()
}

/// The value that plain text means for a key of this shape.
fn read_text(at: &At, shape: Shape, text: &str) -> Result<Node, ConfigError> {
    let parsed = || parse_value(at, text.trim());
    let plain = |text: &str| Node { at: at.clone(), value: Value::Text(text.to_owned()) };
    Ok(match shape {
        Shape::Toml | Shape::TomlList => parsed().unwrap_or_else(|| plain(text)),
        Shape::Text => parsed()
            .filter(|node| matches!(node.value, Value::Text(_)))
            .unwrap_or_else(|| plain(text)),
        Shape::TextList => match parsed().filter(|node| matches!(node.value, Value::List(_))) {
            Some(list) => list,
            None => Node { at: at.clone(), value: Value::List(split_list(at, text)?) },
        },
    })
}

/// The elements of a list written with commas; an element may be a quoted TOML string.
fn split_list(at: &At, text: &str) -> Result<Vec<Node>, ConfigError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    // All quoted: commas inside the quotes are text.
    if text.contains(['"', '\''])
        && let Some(Node { value: Value::List(items), .. }) = parse_value(at, &format!("[{text}]"))
        && items.iter().all(|item| matches!(item.value, Value::Text(_)))
    {
        return Ok(items);
    }
    text.split(',')
        .map(|item| {
            let item = item.trim();
            // A TOML list with a slip in it must not become odd texts: `["a", b]`, `[a`.
            let is_broken = item.contains('"')
                || item.starts_with('[') != item.contains(']')
                || (item.starts_with('[') && item.ends_with(']'));
            if is_broken {
                return Err(at.error("not a list, expected TOML or texts between commas"));
            }
            Ok(Node { at: at.clone(), value: Value::Text(item.to_owned()) })
        })
        .collect()
}
