//! Links between the documents lead somewhere, and every document is in the index.

use std::fs;
use std::path::PathBuf;

use crate::support::stage::root;

/// Every page: those at the root, and `docs/`.
pub fn pages() -> Vec<PathBuf> {
    let folder = fs::read_dir(root().join("docs")).unwrap();
    let docs = folder.map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> =
        docs.filter(|path| path.extension().is_some_and(|it| it == "md")).collect();
    let others = ["README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "src/README.md"];
    pages.extend(others.map(|name| root().join(name)));
    pages.extend(["plugins/README.md", "c_examples/README.md"].map(|name| root().join(name)));
    pages.sort();
    pages
}

/// The names that headings of a page can be led to by.
fn anchors(text: &str) -> Vec<String> {
    let mut is_code = false;
    let mut anchors = Vec::new();
    for line in text.lines() {
        is_code ^= line.starts_with("```");
        if let Some(title) = line.strip_prefix('#').filter(|_| !is_code) {
            let title = title.trim_start_matches('#').trim();
            let kept =
                title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            anchors.push(kept.collect::<String>().to_lowercase().replace(' ', "-"));
        }
    }
    anchors
}

/// What would break: a reader who follows a link to nowhere.
#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let prose: String = text.split("```").step_by(2).collect();
        for link in prose.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if link.starts_with("http") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file.is_empty() {
                true => page.clone(),
                false => page.parent().unwrap().join(file),
            };
            let found = target.exists()
                && (anchor.is_empty()
                    || anchors(&fs::read_to_string(&target).unwrap())
                        .iter()
                        .any(|it| it == anchor));
            if !found {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What would break: a document that nobody finds.
#[test]
fn the_index_names_every_document() {
    let index = fs::read_to_string(root().join("docs/README.md")).unwrap();
    for page in pages() {
        let name = page.file_name().unwrap().to_str().unwrap();
        if page.parent() == Some(&root().join("docs")) && name != "README.md" {
            assert!(index.contains(&format!("]({name})")), "docs/README.md does not name {name}");
        }
    }
}
