//! `docs/c-api.md`: the header as a page.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use crate::compare;
use crate::header;
use crate::support::stage::root;

const OPENING: &str = "\
<!-- Made of include/neurohttp.h by `make docs`; do not edit. -->
# The C API

What `neurohttp.h` declares, in the header's words. Programs that show it: `c_examples/`.

";

fn capital(title: &str) -> String {
    let mut letters = title.chars();
    let first = letters.next().unwrap().to_uppercase().to_string();
    first + &letters.as_str().to_lowercase()
}

fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn page() -> String {
    let mut out = OPENING.to_owned();
    let areas = header::areas();
    for area in &areas {
        let names: Vec<_> = area
            .entries
            .iter()
            .filter(|entry| {
                entry.name.starts_with("nh_") && entry.code.contains(&format!("{}(", entry.name))
            })
            .map(|entry| format!("[{0}](#{0})", entry.name))
            .collect();
        let link = format!("[{}](#{})", area.title, anchor(&area.title));
        let _ = match names.is_empty() {
            true => writeln!(out, "- {link}"),
            false => writeln!(out, "- {link}: {}", names.join(", ")),
        };
    }
    for section in header::opening() {
        let _ = write!(out, "\n## {}\n\n", capital(&section.title));
        for (index, line) in section.lines.iter().enumerate() {
            // What is indented there is a list of words or code: both want a blank line before.
            let before = index.checked_sub(1).map(|index| section.lines[index].as_str());
            let is_block = line.starts_with("  ");
            let was_block = before.is_some_and(|line| line.starts_with("  "));
            if before.is_some_and(|line| !line.is_empty())
                && is_block != was_block
                && !line.is_empty()
            {
                out.push('\n');
            }
            match line.strip_prefix("  ") {
                Some(_) if !line.starts_with("    ") => {
                    let _ = writeln!(out, "    {}", line.trim_start());
                }
                _ => {
                    let _ = writeln!(out, "{line}");
                }
            }
        }
    }
    for area in &areas {
        let _ = write!(out, "\n## {}\n", area.title);
        for entry in &area.entries {
            let _ = write!(out, "\n### {}\n\n", entry.name);
            for line in entry.code.lines() {
                let _ = writeln!(out, "{}", format!("    {line}").trim_end());
            }
            for paragraph in &entry.words {
                let _ = write!(out, "\n{paragraph}\n");
            }
        }
    }
    out
}

#[test]
fn the_page_is_fresh() {
    compare("docs/c-api.md", &page());
}

/// What would break: a function that the page leaves out.
#[test]
fn every_agreed_function_is_on_it() {
    let names: BTreeSet<String> = header::areas()
        .into_iter()
        .flat_map(|area| area.entries.into_iter().map(|entry| entry.name))
        .collect();
    let list = fs::read_to_string(root().join("tests/abi/nh_symbols.txt")).unwrap();
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split('(').next().unwrap().rsplit([' ', '*']).next().unwrap();
        assert!(names.contains(name), "{name} is not in docs/c-api.md");
    }
}
