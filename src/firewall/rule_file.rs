//! Rules that an operator writes: TOML with one `[[rule]]` each, or the CSV of the old firewall.
//!
//! ```toml
//! [[rule]]
//! id = "shop.coupon"             # a name with a dot
//! score = 5                      # 1 to 20
//! parts = ["query", "form"]      # default: everywhere
//! literals = ["coupon="]         # one of them stands in every match; small letters
//! pattern = 'coupon=[0-9]{20,}'  # what must match around it; none: the literal is enough
//! dry_run = false                # only tell
//! ```

use serde::Deserialize;

use super::engine::{CustomRule, compile};
use super::place;

/// Rules of one file, at most.
const RULES_MAX: usize = 4096;
/// Bytes of a literal or expression, at most.
const TEXT_BYTES_MAX: usize = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<toml::Spanned<RuleTable>>,
}

/// A table of a rule, as it is written down.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleTable {
    id: String,
    #[serde(default = "default_score")]
    score: u8,
    #[serde(default)]
    parts: Vec<String>,
    literals: Vec<String>,
    #[serde(default)]
    pattern: String,
    #[serde(default)]
    dry_run: bool,
}

fn default_score() -> u8 {
    5
}

/// The bit of a part's name.
fn part_bit(name: &str) -> Option<u16> {
    Some(match name {
        "path" => place::PATH,
        "query" => place::QUERY,
        "form" => place::FORM,
        "json" => place::JSON,
        "header" => place::HEADER | place::LINK,
        "agent" => place::AGENT,
        "cookie" => place::COOKIE,
        "name" => place::NAME,
        "file" => place::FILE,
        "body" => place::TEXT,
        "all" => place::ALL,
        _ => return None,
    })
}

/// Reads a TOML rule file.
///
/// # Errors
/// `LINE:COL: what, what was expected`.
pub fn parse_toml(text: &str) -> Result<Vec<CustomRule>, String> {
    let file: File = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        format!("{}: {}", position(text, offset), error.message())
    })?;
    read_all(text, file.rule)
}

/// Reads the rules among the tables of a text.
///
/// # Errors
/// As those of [`parse_toml`].
pub(super) fn read_all(
    text: &str,
    tables: Vec<toml::Spanned<RuleTable>>,
) -> Result<Vec<CustomRule>, String> {
    if tables.len() > RULES_MAX {
        return Err(format!("1:1: {} rules, expected at most {RULES_MAX}", tables.len()));
    }
    let mut rules: Vec<CustomRule> = Vec::new();
    for table in tables {
        let at = position(text, table.span().start);
        let rule = read(table.into_inner()).map_err(|why| format!("{at}: {why}"))?;
        if rules.iter().any(|known| known.id == rule.id) {
            return Err(format!("{at}: rule {} is there twice", rule.id));
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn read(table: RuleTable) -> Result<CustomRule, String> {
    let id = table.id;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !id.contains('.') || id.len() > 64 || !id.bytes().all(is_name) {
        return Err(format!("rule id {id:?}, expected a name such as \"shop.coupon\""));
    }
    if !(1..=20).contains(&table.score) {
        return Err(format!("rule {id}: score {}, expected 1 to 20", table.score));
    }
    let mut places = 0;
    for part in &table.parts {
        places |= part_bit(part).ok_or_else(|| {
            format!(
                "rule {id}: part {part:?}, expected one of path, query, form, json, header, \
                 agent, cookie, name, file, body, all"
            )
        })?;
    }
    if places == 0 {
        places = place::ALL;
    }
    if table.literals.is_empty() {
        return Err(format!("rule {id}: no literals, expected at least one"));
    }
    let too_long = |text: &String| text.len() > TEXT_BYTES_MAX;
    if table.literals.iter().any(|it| it.len() < 2 || too_long(it)) || too_long(&table.pattern) {
        return Err(format!(
            "rule {id}: a literal or pattern of 2 to {TEXT_BYTES_MAX} bytes is expected"
        ));
    }
    if !table.pattern.is_empty() {
        compile(&table.pattern).map_err(|why| format!("rule {id}: pattern: {}", one_line(&why)))?;
    }
    let literals = table.literals.iter().map(|it| it.to_ascii_lowercase()).collect();
    Ok(CustomRule {
        id,
        score: table.score,
        places,
        is_dry: table.dry_run,
        literals,
        pattern: table.pattern,
    })
}

/// Reads `pattern,severity` lines, as the old firewall exports them: the severity, 1 to 10, after the
/// last comma; a pattern in quotes is unquoted as in RFC 4180. Empty lines, lines that begin with `#`
/// and a first line `pattern,severity` are passed over. A pattern has the same id wherever it comes
/// from, so that reading it again replaces it.
///
/// # Errors
/// `LINE:COL: what, what was expected`.
pub fn parse_csv(text: &str) -> Result<Vec<CustomRule>, String> {
    let mut rules: Vec<CustomRule> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let (number, line) = (index + 1, line.trim_end());
        if line.is_empty() || line.starts_with('#') || index == 0 && line == "pattern,severity" {
            continue;
        }
        let Some((pattern, severity)) = line.rsplit_once(',') else {
            return Err(format!("{number}:1: no comma, expected pattern,severity"));
        };
        let column = pattern.chars().count() + 2;
        let severity = severity.trim();
        let score =
            severity.parse::<u8>().ok().filter(|it| (1..=10).contains(it)).ok_or_else(|| {
                format!("{number}:{column}: severity {severity:?}, expected 1 to 10")
            })?;
        let pattern = pattern.trim();
        let quoted = pattern.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
        let pattern = match quoted {
            Some(inner) => inner.replace("\"\"", "\""),
            None => pattern.to_owned(),
        };
        if !(2..=TEXT_BYTES_MAX).contains(&pattern.len()) {
            let bytes = pattern.len();
            return Err(format!(
                "{number}:1: a pattern of {bytes} bytes, expected 2 to {TEXT_BYTES_MAX}"
            ));
        }
        if rules.len() >= RULES_MAX {
            return Err(format!("{number}:1: more than {RULES_MAX} patterns"));
        }
        let pattern = pattern.to_ascii_lowercase();
        let rule = CustomRule {
            id: format!("csv.{:08x}", crc32fast::hash(pattern.as_bytes())),
            // 10 blocks alone, 5 is logged.
            score: score.div_ceil(2),
            places: place::ALL,
            is_dry: false,
            literals: vec![pattern],
            pattern: String::new(),
        };
        rules.retain(|known| known.id != rule.id);
        rules.push(rule);
    }
    Ok(rules)
}

/// Reads the files of `firewall.rules`, given as path and text.
///
/// # Errors
/// `FILE:LINE:COL: what, what was expected`.
pub fn parse_files(files: &[(String, String)]) -> Result<Vec<CustomRule>, String> {
    let mut rules: Vec<CustomRule> = Vec::new();
    for (path, text) in files {
        let is_csv = path.rsplit_once('.').is_some_and(|(_, end)| end.eq_ignore_ascii_case("csv"));
        let read = if is_csv { parse_csv(text) } else { parse_toml(text) };
        for rule in read.map_err(|why| format!("{path}:{why}"))? {
            if !is_csv && rules.iter().any(|known| known.id == rule.id) {
                return Err(format!("{path}:1:1: rule {} is in a file before it too", rule.id));
            }
            rules.retain(|known| known.id != rule.id);
            rules.push(rule);
        }
    }
    Ok(rules)
}

/// Rules as a file that [`parse_toml`] reads back.
pub fn to_toml(rules: &[CustomRule]) -> String {
    let mut text = String::new();
    for rule in rules {
        let names =
            ["path", "query", "form", "json", "header", "agent", "cookie", "name", "file", "body"];
        let is_in = |name: &&&str| part_bit(name).is_some_and(|bit| rule.places & bit == bit);
        let parts: Vec<_> = names.iter().filter(is_in).map(|it| format!("{it:?}")).collect();
        let literals: Vec<_> =
            rule.literals.iter().map(|it| toml::Value::from(it.as_str()).to_string()).collect();
        text.push_str(&format!(
            "[[rule]]\nid = {:?}\nscore = {}\nparts = [{}]\nliterals = [{}]\npattern = {}\ndry_run = {}\n\n",
            rule.id,
            rule.score,
            parts.join(", "),
            literals.join(", "),
            toml::Value::from(rule.pattern.as_str()),
            rule.is_dry,
        ));
    }
    text
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// `LINE:COL` of a byte.
pub(super) fn position(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
    format!("{line}:{column}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_file_is_read_and_written() {
        let rules = parse_toml(
            "[[rule]]\nid = \"a.b\"\nliterals = [\"Foo\"]\n\n[[rule]]\nid = \"a.c\"\nscore = 3\n\
             parts = [\"query\", \"json\"]\nliterals = [\"x'\\\"y\"]\npattern = 'x.\"y[0-9]+'\ndry_run = true\n",
        )
        .unwrap();
        assert_eq!((rules[0].literals[0].as_str(), rules[0].places), ("foo", place::ALL));
        assert_eq!((rules[1].score, rules[1].is_dry), (3, true));
        assert_eq!(parse_toml(&to_toml(&rules[1..])).unwrap(), rules[1..]);
    }

    #[test]
    fn a_bad_rule_is_refused_with_place_and_reason() {
        for (text, want) in [
            ("[[rule]]\nid = 1\n", "2:6:"),
            ("[[rule]]\nid = \"ab\"\nliterals = [\"xx\"]\n", "1:1: rule id \"ab\""),
            ("\n[[rule]]\nid = \"a.b\"\nliterals = []\n", "2:1: rule a.b: no literals"),
            (
                "[[rule]]\nid = \"a.b\"\nliterals = [\"xx\"]\npattern = '(a'\n",
                "1:1: rule a.b: pattern: regex parse error",
            ),
            (
                "[[rule]]\nid = \"a.b\"\nliterals = [\"xx\"]\nparts = [\"moon\"]\n",
                "1:1: rule a.b: part \"moon\"",
            ),
            ("[[rule]]\nid = \"a.b\"\nliterals = [\"xx\"]\nscore = 0\n", "1:1: rule a.b: score 0"),
            ("[[rule]]\nid = \"a.b\"\nliterals = [\"xx\"]\nfoo = 1\n", "4:1: unknown field"),
            ("nonsense", "1:9:"),
        ] {
            let error = parse_toml(text).unwrap_err();
            assert!(error.starts_with(want), "{text:?}: {error}");
        }
    }

    #[test]
    fn csv_lines_become_rules() {
        let rules = parse_csv("pattern,severity\n# c\n UNION ,8\nx,y,3\n\n\"a\"\"b\",10\nx,y,4\n");
        let rules = rules.unwrap();
        let all: Vec<_> = rules.iter().map(|it| (it.literals[0].as_str(), it.score)).collect();
        assert_eq!(all, [("union", 4), ("a\"b", 5), ("x,y", 2)]);
        for (text, want) in [
            ("ab,3\nbad", "2:1: no comma"),
            ("ab,0", "1:4: severity \"0\""),
            ("ab,11", "1:4: severity"),
            ("a,3", "1:1: a pattern of 1 bytes"),
        ] {
            let error = parse_csv(text).unwrap_err();
            assert!(error.starts_with(want), "{text:?}: {error}");
        }
    }

    #[test]
    fn files_are_named_in_errors() {
        let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let toml = "[[rule]]\nid = \"a.b\"\nliterals = [\"xx\"]\n";
        let rules = parse_files(&[file("a.toml", toml), file("b.CSV", "yy,10")]).unwrap();
        assert_eq!(rules.len(), 2);
        let error = parse_files(&[file("a.toml", toml), file("b.csv", "yy,z")]).unwrap_err();
        assert!(error.starts_with("b.csv:1:4: severity"), "{error}");
        let error = parse_files(&[file("a.toml", toml), file("b.toml", toml)]).unwrap_err();
        assert!(error.starts_with("b.toml:1:1: rule a.b"), "{error}");
    }
}
