//! `include/neurohttp.h` as words: its opening page, and each declaration with its comment, by area.

use std::fs;

use crate::support::stage::root;

/// A declaration with its comment.
pub struct Entry {
    /// The function, type or constant.
    pub name: String,
    /// C, as it stands in the header.
    pub code: String,
    /// Paragraphs of the comment, each one line; a list's item is a paragraph that begins with `- `.
    pub words: Vec<String>,
}

/// What one file of `src/ffi` declares.
pub struct Area {
    pub title: String,
    pub entries: Vec<Entry>,
}

/// A section of the opening page.
pub struct Section {
    pub title: String,
    /// Lines as they stand there, without the comment's edge.
    pub lines: Vec<String>,
}

fn text() -> String {
    fs::read_to_string(root().join("include/neurohttp.h")).unwrap()
}

/// The sections of the opening page.
pub fn opening() -> Vec<Section> {
    let text = text();
    let comment = text.split("*/").next().unwrap();
    let mut sections: Vec<Section> = Vec::new();
    for line in comment.lines().skip(1) {
        let line = line.strip_prefix(" *").unwrap_or(line);
        let line = line.strip_prefix(' ').unwrap_or(line).trim_end();
        let is_title = !line.is_empty() && line.chars().all(|c| c.is_ascii_uppercase() || c == ' ');
        if is_title && !line.starts_with(' ') {
            sections.push(Section { title: line.to_owned(), lines: Vec::new() });
        } else if let Some(section) = sections.last_mut() {
            section.lines.push(line.to_owned());
        }
    }
    for section in &mut sections {
        while section.lines.last().is_some_and(String::is_empty) {
            section.lines.pop();
        }
        while section.lines.first().is_some_and(String::is_empty) {
            section.lines.remove(0);
        }
    }
    sections
}

/// Everything the header declares, by the file of `src/ffi` that it comes from.
pub fn areas() -> Vec<Area> {
    let text = text();
    let body = text.split_once("#define NEUROHTTP_H").unwrap().1;
    let mut entries = Vec::new();
    // Members of a struct have comments too, which are not at the edge: they stay part of its code.
    for piece in body.split("\n/**").skip(1) {
        let (comment, code) = piece.split_once("*/").unwrap();
        let code = declaration(code);
        entries.push(Entry { name: name(&code), code, words: paragraphs(comment) });
    }
    let mut areas: Vec<Area> = Vec::new();
    for (title, source) in sources() {
        let (own, rest) = entries.into_iter().partition(|entry| declares(&source, &entry.name));
        entries = rest;
        areas.push(Area { title, entries: own });
    }
    let left: Vec<_> = entries.iter().map(|entry| &entry.name).collect();
    assert!(left.is_empty(), "nothing in src/ffi declares {left:?}");
    areas.retain(|area| !area.entries.is_empty());
    areas
}

/// Title and text of each file of `src/ffi` that the header is made of, in its order.
fn sources() -> Vec<(String, String)> {
    let list = fs::read_to_string(root().join("tests/header.rs")).unwrap();
    let list = list.split_once("const SOURCES").unwrap().1.split_once("];").unwrap().0;
    list.lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","))
        .map(|name| {
            let file = root().join("src/ffi").join(name).with_extension("rs");
            let source = fs::read_to_string(file).unwrap();
            let mut title = source.lines().next().unwrap().strip_prefix("//! ").unwrap();
            title = title.split_once(". ").map_or(title, |(first, _)| first);
            (title.trim_end_matches('.').to_owned(), source)
        })
        .collect()
}

fn declares(source: &str, name: &str) -> bool {
    if name == "NH_ZERO_TERMINATED" {
        return source.starts_with("//! Memory");
    }
    let ends = |c: char| !(c.is_alphanumeric() || c == '_');
    [" fn ", "pub struct ", "pub union ", "pub type ", "pub const "].iter().any(|kind| {
        source.match_indices(&format!("{kind}{name}")).any(|(at, found)| {
            let line = source[..at].rsplit('\n').next().unwrap_or_default();
            source[at + found.len()..].starts_with(ends) && !line.trim_start().starts_with("//")
        })
    })
}

/// The code behind a comment, up to its end.
fn declaration(code: &str) -> String {
    let code = code.trim_start();
    if code.starts_with("#define") {
        return code.lines().next().unwrap().to_owned();
    }
    let first = code.find(';').unwrap();
    match code.find('{') {
        Some(open) if open < first => {
            let close = code.find("\n}").unwrap();
            let end = close + code[close..].find(';').unwrap();
            without_references(&code[..=end])
        }
        _ => code[..=first].to_owned(),
    }
}

/// A struct without the comments that only send the reader on.
fn without_references(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some((before, after)) = rest.split_once("    /**") {
        let (comment, next) = after.split_once("*/").unwrap();
        out.push_str(before);
        match comment.contains("which see.") {
            true => rest = next.trim_start_matches('\n'),
            false => {
                out.push_str("    /**");
                out.push_str(comment);
                out.push_str("*/");
                rest = next;
            }
        }
    }
    out + rest
}

fn name(code: &str) -> String {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let last = |text: &str| {
        let end = text.trim_end_matches(|c| !word(c));
        let start = end.rfind(|c| !word(c)).map_or(0, |at| at + 1);
        end[start..].to_owned()
    };
    if let Some(rest) = code.strip_prefix("#define ") {
        return rest.split(' ').next().unwrap().to_owned();
    }
    let is_callback = code.starts_with("typedef") && !code.contains('{');
    if let Some((_, after)) = code.split_once("(*").filter(|_| is_callback) {
        return after.split(')').next().unwrap().to_owned();
    }
    if code.starts_with("typedef") {
        return last(code);
    }
    last(code.split('(').next().unwrap())
}

/// A comment without its edges, each paragraph in one line.
fn paragraphs(comment: &str) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    for line in comment.lines() {
        let line = line.trim().trim_start_matches('*').trim();
        let last = paragraphs.last_mut().unwrap();
        if line.is_empty() {
            if !last.is_empty() {
                paragraphs.push(String::new());
            }
        } else if line.starts_with("- ") && !last.is_empty() {
            paragraphs.push(line.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(line);
        }
    }
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    paragraphs
}
