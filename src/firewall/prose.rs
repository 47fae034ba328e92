//! Whether a text reads like something a person wrote about a subject.
//!
//! Attacks are made of keywords, numbers and signs; questions and explanations hold the small words
//! of a language. Words that are also words of SQL or a shell are not counted. Scripts without
//! blanks are recognised by their letters.

/// Small words of English that no attack needs.
const WORDS: &[&[u8]] = &[
    b"the",
    b"an",
    b"how",
    b"to",
    b"of",
    b"my",
    b"you",
    b"what",
    b"please",
    b"can",
    b"this",
    b"that",
    b"with",
    b"why",
    b"does",
    b"write",
    b"explain",
    b"it",
    b"be",
    b"should",
    b"your",
    b"me",
    b"we",
    b"would",
    b"could",
    b"but",
    b"there",
    b"following",
    b"give",
    b"difference",
    b"example",
    b"are",
    b"was",
    b"will",
    b"these",
    b"they",
    b"have",
    b"has",
    b"been",
    b"about",
    b"which",
    b"also",
    b"because",
    b"without",
    b"its",
    b"our",
    b"their",
    b"using",
    b"our",
    b"works",
    b"mean",
    b"means",
    b"between",
    b"i",
    b"is",
    b"when",
    b"for",
    b"need",
    b"want",
    b"help",
    b"error",
    b"getting",
    b"der",
    b"die",
    b"das",
    b"und",
    b"ist",
    b"nicht",
    b"ein",
    b"eine",
    b"wie",
    b"ich",
    b"mit",
    b"le",
    b"les",
    b"est",
    b"une",
    b"que",
    b"pour",
    b"dans",
    b"comment",
    b"avec",
    b"el",
    b"los",
    b"una",
    b"como",
    b"por",
    b"para",
    b"con",
];

/// Words that questions to a model begin with, as far as no attack does.
const ASKING: &[&[u8]] = &[
    b"write",
    b"explain",
    b"fix",
    b"convert",
    b"compare",
    b"implement",
    b"refactor",
    b"summarize",
    b"translate",
    b"generate",
    b"debug",
    b"review",
    b"optimize",
    b"describe",
    b"make",
    b"build",
    b"add",
    b"find",
    b"design",
    b"rewrite",
    b"improve",
    b"what",
    b"why",
    b"how",
    b"can",
    b"could",
    b"is",
    b"are",
    b"does",
    b"do",
    b"given",
    b"analyze",
    b"help",
    b"please",
    b"when",
    b"where",
    b"which",
    b"who",
    b"tell",
    b"give",
    b"simplify",
    b"document",
    b"configure",
    b"test",
    b"suggest",
    b"identify",
];

/// Bytes that are looked at.
const BYTES_MAX: usize = 2048;

/// Whether a normalized text is prose.
pub fn is_prose(text: &[u8]) -> bool {
    let text = text.get(..BYTES_MAX).unwrap_or(text);
    let foreign = text.iter().filter(|byte| **byte >= 0xc0).count();
    if foreign >= 6 {
        return true;
    }
    let (mut words, mut small) = (0, 0);
    let mut before: &[u8] = b"";
    let mut at = 0;
    for word in text.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'\'') {
        let start = at;
        at += word.len() + 1;
        if word.is_empty() {
            continue;
        }
        words += 1;
        // A piece of a name, an address or a call is no word of a language.
        let is_joined = |byte: Option<&u8>, signs: &[u8]| byte.is_some_and(|it| signs.contains(it));
        let first = start.checked_sub(1).and_then(|before| text.get(before));
        if is_joined(first, b"._/:@=-$%&|") || is_joined(text.get(start + word.len()), b"_/@=$%&|(")
        {
            before = word;
            continue;
        }
        small += usize::from(WORDS.contains(&word));
        // The first word asks; a keyword between an article and a noun is spoken of.
        small += usize::from(words == 1 && ASKING.contains(&word));
        small += usize::from(before == b"create" && matches!(word, b"a" | b"an" | b"the"));
        before = word;
    }
    words >= 4 && small >= 2 && small * 12 >= words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_told_from_attacks() {
        for (text, want) in [
            ("how do i write a query like select * from users where name = 'x'?", true),
            ("explain what this regex does: ^<script.*$", true),
            ("请解释一下 ' or 1=1 -- 的意思", true),
            ("' union select username, password from users where 'a'='a", false),
            ("1; drop table users; --", false),
            ("<img src=x onerror=alert(1)>", false),
            ("; cat /etc/passwd | mail a@b", false),
        ] {
            assert_eq!(is_prose(text.as_bytes()), want, "{text}");
        }
    }
}
