//! Manual pages in man(7).

/// A page in the making.
pub struct Page(String);

/// Text as roff shows it: what stands between backticks is bold.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for (index, piece) in text.split('`').enumerate() {
        if index > 0 {
            out.push_str(if index % 2 == 1 { "\\fB" } else { "\\fR" });
        }
        for c in piece.chars() {
            match c {
                '\\' => out.push_str("\\e"),
                '-' => out.push_str("\\-"),
                '^' => out.push_str("\\(ha"),
                '~' => out.push_str("\\(ti"),
                c if c.is_ascii() => out.push(c),
                c => out.push_str(&format!("\\[u{:04X}]", c as u32)),
            }
        }
    }
    if text.split('`').count().is_multiple_of(2) {
        out.push_str("\\fR");
    }
    if out.starts_with(['.', '\'']) { format!("\\&{out}") } else { out }
}

/// The argument of a request, quoted.
fn quoted(text: &str) -> String {
    format!("\"{}\"", inline(text).replace('"', "\\(dq"))
}

impl Page {
    /// A page called NAME(SECTION), with its one line.
    pub fn new(name: &str, section: u8, summary: &str) -> Page {
        let mut page = Page(String::from(".\\\" Made by `make docs`; do not edit.\n"));
        let version = env!("CARGO_PKG_VERSION");
        page.line(&format!(
            ".TH {} {section} \"\" \"neurohttp {version}\" \"NeuroHTTP\"",
            quoted(&name.to_uppercase())
        ));
        // Code words are long: blanks would gape, and a name must not be broken.
        page.line(".ad l");
        page.line(".nh");
        page.section("NAME");
        page.line(&format!("{} \\- {}", inline(name), inline(summary)));
        page
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    pub fn section(&mut self, title: &str) {
        self.line(&format!(".SH {}", quoted(title)));
    }

    pub fn subsection(&mut self, title: &str) {
        self.line(&format!(".SS {}", quoted(title)));
    }

    /// A paragraph, wrapped at blanks so that the file can be read too.
    pub fn paragraph(&mut self, text: &str) {
        self.line(".PP");
        self.text(text);
    }

    /// A term, and what is said of it.
    pub fn term(&mut self, term: &str, text: &str) {
        self.line(".TP");
        self.line(&format!("\\fB{}\\fR", inline(term)));
        self.text(text);
    }

    /// Words after a term or a heading.
    pub fn text(&mut self, text: &str) {
        let mut line = String::new();
        // The escapes of a word stay together: they hold no blank.
        for word in inline(text).split(' ').filter(|word| !word.is_empty()) {
            if !line.is_empty() && line.len() + word.len() > 90 {
                let whole = std::mem::take(&mut line);
                self.line(&whole);
            }
            if line.is_empty() {
                if word.starts_with(['.', '\'']) {
                    line.push_str("\\&");
                }
            } else {
                line.push(' ');
            }
            line.push_str(word);
        }
        if !line.is_empty() {
            self.line(&line);
        }
    }

    /// Lines as they are.
    pub fn verbatim<'a>(&mut self, lines: impl IntoIterator<Item = &'a str>) {
        self.line(".PP");
        self.line(".RS 4");
        self.line(".nf");
        for line in lines {
            // Backticks are themselves here.
            let line = line.replace('`', "\u{1}");
            let line = inline(&line).replace('\u{1}', "\\(ga");
            self.line(if line.is_empty() { "\\&" } else { &line });
        }
        self.line(".fi");
        self.line(".RE");
    }

    pub fn finish(self) -> String {
        self.0
    }
}
