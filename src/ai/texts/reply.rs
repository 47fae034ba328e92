//! The text of whole answers, in the dialects that pass through.
#![forbid(unsafe_code)]

use super::{Edit, Edits, Look};
use crate::ai::dialect::Dialect;
use crate::ai::tree::{self, Node};
use crate::base::error::Failure;

/// Has `look` see the text of a whole answer, once for each choice, as one text. The body with the
/// edit, if there is one: the new text stands where the first piece stood.
///
/// # Errors
/// What `look` says.
pub fn edit_reply(
    dialect: Dialect,
    body: &[u8],
    look: Look<'_>,
) -> Result<Option<Vec<u8>>, Failure> {
    let Ok(root) = tree::parse(body) else { return Ok(None) };
    let mut edits = Edits::default();
    let choices = || root.get("choices").map(Node::items).unwrap_or_default();
    match dialect {
        Dialect::OpenAiChat => {
            for choice in choices() {
                let text = choice.path(&["message", "content"]);
                one(&mut edits, text.into_iter().collect(), look)?;
            }
        }
        Dialect::OpenAiCompletions => {
            for choice in choices() {
                one(&mut edits, choice.get("text").into_iter().collect(), look)?;
            }
        }
        Dialect::AnthropicMessages => {
            let blocks = root.get("content").map(Node::items).unwrap_or_default();
            one(&mut edits, texts(blocks, "text").collect(), look)?;
        }
        Dialect::OpenAiResponses => {
            let items = root.get("output").map(Node::items).unwrap_or_default();
            let parts = items.iter().filter_map(|item| item.get("content"));
            let found = parts.flat_map(|parts| texts(parts.items(), "output_text"));
            one(&mut edits, found.collect(), look)?;
        }
        Dialect::OpenAiEmbeddings
        | Dialect::AnthropicCountTokens
        | Dialect::NativeChat
        | Dialect::OldChat => {}
    }
    if edits.is_empty() {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(body.len());
    edits.render(&root, &mut out);
    Ok(Some(out))
}

fn texts<'n, 'a>(
    parts: &'n [Node<'a>],
    kind: &'static str,
) -> impl Iterator<Item = &'n Node<'a>> + use<'n, 'a> {
    let of_kind = parts.iter().filter(move |part| part.text_of("type") == Some(kind));
    of_kind.filter_map(|part| part.get("text"))
}

fn one(edits: &mut Edits, pieces: Vec<&Node<'_>>, look: Look<'_>) -> Result<(), Failure> {
    if pieces.is_empty() {
        return Ok(());
    }
    let text: String = pieces.iter().filter_map(|piece| piece.text()).collect();
    if let Some(mut new) = look("assistant", &text)? {
        for piece in pieces {
            edits.set(piece, Edit::Text(std::mem::take(&mut new)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrong: a text that passes unseen, or a piece of the old one left behind.
    #[test]
    fn the_whole_text_is_seen_once_and_replaced() {
        use Dialect::*;
        for (dialect, body, expected) in [
            (
                OpenAiChat,
                r#"{"id":"x","choices":[{"message":{"content":"a"}},{"message":{"content":null}}]}"#,
                r#"{"id":"x","choices":[{"message":{"content":"<a>"}},{"message":{"content":null}}]}"#,
            ),
            (OpenAiCompletions, r#"{"choices":[{"text":"a"}]}"#, r#"{"choices":[{"text":"<a>"}]}"#),
            (
                AnthropicMessages,
                r#"{"content":[{"type":"thinking","thinking":"t"},{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#,
                r#"{"content":[{"type":"thinking","thinking":"t"},{"type":"text","text":"<ab>"},{"type":"text","text":""}]}"#,
            ),
            (
                OpenAiResponses,
                r#"{"output":[{"type":"reasoning"},{"content":[{"type":"output_text","text":"a"}]}]}"#,
                r#"{"output":[{"type":"reasoning"},{"content":[{"type":"output_text","text":"<a>"}]}]}"#,
            ),
        ] {
            let mut look = |_: &'static str, text: &str| Ok(Some(format!("<{text}>")));
            let out = edit_reply(dialect, body.as_bytes(), &mut look).unwrap().unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
