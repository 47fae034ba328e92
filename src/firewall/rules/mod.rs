//! The built-in rules, one file per family of attacks.
//!
//! Literals and expressions meet normalized text: small letters, single blanks, decoded. A literal may
//! begin with a mark that stands for several beginnings: `@Q` a quote or closing bracket with or
//! without a blank, `@D` a digit and a blank, `@S` a semicolon with or without a blank, `@N` a line
//! break.

mod code;
mod command;
mod directory;
mod files;
mod lines;
mod markup;
mod nosql;
mod sql;
mod template;

use super::engine::Spec;

/// All of them.
pub fn all() -> impl Iterator<Item = Spec> {
    [
        sql::RULES,
        markup::RULES,
        command::RULES,
        code::RULES,
        files::RULES,
        template::RULES,
        nosql::RULES,
        directory::RULES,
        lines::RULES,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// The literals of a rule, marks expanded.
pub fn literals(spec: &Spec) -> Vec<String> {
    let mut all = Vec::new();
    for literal in spec.literals {
        let (beginnings, rest): (&[&str], &str) = match literal.split_at_checked(2) {
            Some(("@Q", rest)) => {
                (&["'", "\"", "`", ")", "' ", "\" ", "` ", ") ", "'\n", "\"\n", ")\n"], rest)
            }
            Some(("@D", rest)) => {
                (&["0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "6 ", "7 ", "8 ", "9 ", "1\n"], rest)
            }
            Some(("@S", rest)) => (&[";", "; ", ";\n"], rest),
            Some(("@N", rest)) => (&["\n"], rest),
            _ => (&[""], literal),
        };
        all.extend(beginnings.iter().map(|beginning| format!("{beginning}{rest}")));
    }
    all
}

/// A rule of everywhere.
const fn rule(
    id: &'static str,
    score: u8,
    literals: &'static [&'static str],
    pattern: &'static str,
) -> Spec {
    Spec { id, score, places: super::place::ALL, is_hard: false, literals, pattern }
}

/// A rule that prose does not soften.
const fn hard(
    id: &'static str,
    score: u8,
    literals: &'static [&'static str],
    pattern: &'static str,
) -> Spec {
    Spec { is_hard: true, ..rule(id, score, literals, pattern) }
}

/// A rule of some places.
const fn within(places: u16, spec: Spec) -> Spec {
    Spec { places, ..spec }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::engine::compile;

    /// Wrong: a rule that can never be met, or two of one name.
    #[test]
    fn every_rule_is_well_formed() {
        let mut names = Vec::new();
        for spec in all() {
            assert!(spec.id.contains('.') && !names.contains(&spec.id), "{}", spec.id);
            names.push(spec.id);
            assert!((1..=20).contains(&spec.score), "{}", spec.id);
            assert!(
                compile(spec.pattern).is_ok(),
                "{}: {:?}",
                spec.id,
                compile(spec.pattern).err()
            );
            for literal in literals(&spec) {
                assert!(literal.len() >= 2, "{}: {literal:?}", spec.id);
                assert_eq!(literal, literal.to_lowercase(), "{}", spec.id);
                assert!(!literal.contains("  "), "{}: {literal:?}", spec.id);
            }
        }
        println!("{} built-in rules", names.len());
    }
}
