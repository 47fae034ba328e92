//! The manual pages: neurohttp(1) of `--help`, neurohttp.toml(5) of the sample and the check,
//! libneurohttp(3) of the header.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::compare;
use crate::configuration::{rows, tables};
use crate::header;
use crate::roff::Page;
use crate::sample;
use crate::support::cc::succeed;
use crate::support::process::program;

const PAGES: [&str; 3] =
    ["docs/man/neurohttp.1", "docs/man/neurohttp.toml.5", "docs/man/libneurohttp.3"];

/// What `--help` says, taken apart.
struct Help {
    summary: String,
    /// Usage and what it does.
    commands: Vec<(String, String)>,
    options: Vec<(String, String)>,
    /// "Environment", "Exit status" and their like.
    further: Vec<(String, String)>,
}

fn help() -> Help {
    let text = succeed(program().arg("--help"));
    let mut lines = text.lines();
    let first = lines.next().unwrap();
    let summary = first.split_once(": ").unwrap().1.to_owned();
    let mut help = Help { summary, commands: Vec::new(), options: Vec::new(), further: Vec::new() };
    let mut part = "";
    for line in lines {
        let indent = line.len() - line.trim_start().len();
        let text = line.trim();
        if text.is_empty() {
            part = "";
        } else if indent == 0 && text.ends_with(':') {
            part = if text == "Usage:" { "usage" } else { "options" };
        } else if indent == 0 {
            match text.split_once(": ").filter(|(title, _)| {
                title.split(' ').count() <= 4 && title.starts_with(char::is_uppercase)
            }) {
                Some((title, rest)) => help.further.push((title.to_owned(), rest.to_owned())),
                None => {
                    let last = help.further.last_mut().unwrap();
                    last.1 = format!("{} {text}", last.1);
                }
            }
        } else {
            let list = if part == "usage" { &mut help.commands } else { &mut help.options };
            if indent < 12 {
                let (term, words) = text.split_once("  ").unwrap_or((text, ""));
                list.push((term.trim().to_owned(), words.trim().to_owned()));
            } else {
                let last = list.last_mut().unwrap();
                last.1 = format!("{} {text}", last.1).trim_start().to_owned();
            }
        }
    }
    help
}

fn neurohttp() -> String {
    let help = help();
    let mut page = Page::new("neurohttp", 1, &help.summary);
    page.section("SYNOPSIS");
    page.verbatim(help.commands.iter().map(|(usage, _)| usage.as_str()));
    page.section("COMMANDS");
    for (usage, words) in help.commands.iter().filter(|(_, words)| !words.is_empty()) {
        page.term(usage, words);
    }
    page.section("OPTIONS");
    for (option, words) in &help.options {
        page.term(option, words);
    }
    for (title, words) in &help.further {
        page.section(&title.to_uppercase());
        page.text(words);
    }
    page.section("SEE ALSO");
    page.text("`neurohttp.toml`(5), `libneurohttp`(3), and the documents in share/doc/neurohttp");
    page.finish()
}

fn configuration() -> String {
    let mut page = Page::new("neurohttp.toml", 5, "the configuration of neurohttp");
    page.section("DESCRIPTION");
    for paragraph in sample::opening() {
        page.paragraph(&paragraph);
    }
    page.section("TABLES");
    for (table, words) in tables() {
        page.subsection(&table.header.replace('`', ""));
        if let Some(words) = words.as_ref().filter(|words| !words.words.is_empty()) {
            page.text(&words.words);
        }
        for (key, default, text) in rows(&table, words.as_ref()) {
            let term = match default.is_empty() {
                true => key.name.to_owned(),
                false => format!("{} = {default}", key.name),
            };
            page.term(&term, if text.is_empty() { "See above." } else { &text });
        }
    }
    page.section("FILES");
    page.text("`/etc/neurohttp/neurohttp.toml`");
    page.section("SEE ALSO");
    page.text("`neurohttp`(1)");
    page.finish()
}

fn library() -> String {
    let mut page = Page::new("libneurohttp", 3, "an HTTP server made for AI traffic, as a library");
    page.section("SYNOPSIS");
    page.verbatim([
        "#include <neurohttp.h>",
        "",
        "cc server.c $(pkg-config --cflags --libs neurohttp)",
    ]);
    for section in header::opening() {
        page.section(&section.title);
        let mut text = String::new();
        let mut block: Vec<&str> = Vec::new();
        for line in section.lines.iter().map(String::as_str).chain([""]) {
            let is_block = line.starts_with("  ");
            if !is_block && !block.is_empty() {
                while block.last().is_some_and(|line| line.is_empty()) {
                    block.pop();
                }
                page.verbatim(std::mem::take(&mut block));
            }
            if (is_block || line.is_empty()) && !text.is_empty() {
                page.paragraph(&std::mem::take(&mut text));
            }
            if is_block {
                block.push(line.strip_prefix("    ").unwrap_or(line.trim_start()));
            } else if !line.is_empty() {
                text.push_str(if text.is_empty() { "" } else { " " });
                text.push_str(line);
            }
        }
    }
    for area in header::areas() {
        page.section(&area.title.to_uppercase());
        for entry in &area.entries {
            page.subsection(&entry.name);
            page.verbatim(entry.code.lines());
            for paragraph in &entry.words {
                page.paragraph(paragraph);
            }
        }
    }
    page.section("SEE ALSO");
    page.text("`neurohttp`(1), `neurohttp.toml`(5)");
    page.finish()
}

#[test]
fn the_pages_are_fresh() {
    compare(PAGES[0], &neurohttp());
    compare(PAGES[1], &configuration());
    compare(PAGES[2], &library());
}

/// What would break: a page that man(1) complains about or shows half of.
#[test]
fn the_pages_are_clean() {
    let fresh = [neurohttp(), configuration(), library()];
    for (page, text) in PAGES.iter().zip(&fresh) {
        for line in text.lines().filter(|line| line.starts_with('.') && !line.starts_with(".\\\""))
        {
            let known = ["TH", "SH", "SS", "PP", "ad", "nh", "TP", "IP", "RS", "RE", "nf", "fi"];
            let request = line[1..].split(' ').next().unwrap();
            assert!(known.contains(&request), "{page}: {line}");
        }
        for (tool, words) in [
            ("groff", &["-man", "-Tutf8", "-ww", "-z", "-K", "utf8"][..]),
            ("mandoc", &["-T", "lint", "-W", "error"]),
        ] {
            let started = Command::new(tool)
                .args(words)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn();
            let Ok(mut child) = started else {
                eprintln!("skipped: no {tool}");
                continue;
            };
            child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned()
                + &String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.is_empty(), "{tool} {page}: {said}");
        }
    }
}
