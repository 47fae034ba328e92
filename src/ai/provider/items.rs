//! The items of a JSON array that comes as a stream, cut anywhere.
#![forbid(unsafe_code)]

use super::garbage;
use crate::base::error::Failure;

/// Largest item; images come in items too.
const ITEM_BYTES_MAX: usize = 16 << 20;

/// Collects bytes into the objects of an array; a lone object counts as an array of one.
#[derive(Debug, Default)]
pub(super) struct Items {
    /// The beginning of an item whose end has not come.
    held: Vec<u8>,
    /// An item has begun and not ended.
    is_open: bool,
    /// How many of its brackets are open.
    depth: usize,
    in_string: bool,
    /// The last byte was a backslash in a string.
    is_escaped: bool,
    place: Place,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Start,
    /// Behind `[` or a comma.
    Item,
    /// Behind an item.
    Comma,
    End,
}

impl Items {
    /// Takes in bytes; calls `on` with each object until it fails.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut on: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        while !bytes.is_empty() {
            if !self.is_open {
                bytes = self.between(bytes)?;
                continue;
            }
            let end = self.end_of_item(bytes);
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            bytes = rest;
            if self.held.len() + piece.len() > ITEM_BYTES_MAX {
                return Err(garbage("an item larger than 16 MiB"));
            }
            match end {
                Some(_) if self.held.is_empty() => on(piece)?,
                Some(_) => {
                    self.held.extend_from_slice(piece);
                    on(&std::mem::take(&mut self.held))?;
                }
                None => self.held.extend_from_slice(piece),
            }
        }
        Ok(())
    }

    /// Reads what stands between items, up to the first byte of the next one.
    fn between<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Failure> {
        for (at, byte) in bytes.iter().enumerate() {
            self.place = match (self.place, byte) {
                (place, b' ' | b'\t' | b'\n' | b'\r') => place,
                (Place::Start, b'[') => Place::Item,
                (Place::Comma, b',') => Place::Item,
                (Place::Item | Place::Comma, b']') => Place::End,
                (place @ (Place::Start | Place::Item), b'{') => {
                    self.place = if place == Place::Start { Place::End } else { Place::Comma };
                    self.is_open = true;
                    return Ok(bytes.get(at..).unwrap_or_default());
                }
                _ => return Err(garbage("neither an object nor the end of an array")),
            };
        }
        Ok(&[])
    }

    /// Where the open item ends, if it does.
    fn end_of_item(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.is_open = false;
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(pieces: &[&[u8]]) -> Result<Vec<String>, Failure> {
        let (mut items, mut found) = (Items::default(), Vec::new());
        for piece in pieces {
            items.feed(piece, |item| {
                found.push(String::from_utf8(item.to_vec()).unwrap());
                Ok(())
            })?;
        }
        Ok(found)
    }

    #[test]
    fn objects_come_apart_at_every_cut() {
        let first = r#"{"a":[{"b":"}]\"{é\\"},[]],"c":{}}"#;
        let text = format!(" [{first},\r\n{{}}\n,\n{first}\n]\n");
        let expected = [first, "{}", first];
        for cut in 0..=text.len() {
            let (head, tail) = text.as_bytes().split_at(cut);
            assert_eq!(items(&[head, tail]).unwrap(), expected, "{cut}");
        }
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(items(&single).unwrap(), expected);
        assert_eq!(items(&[first.as_bytes(), b" "]).unwrap(), [first]);
        assert!(items(&[b"[]"]).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_array_of_objects_is_refused() {
        for text in ["x", "[1]", "[{}{}]", "[{}],{}", "{}{}", "]", "[,", "[[]]"] {
            assert_eq!(items(&[text.as_bytes()]).unwrap_err().status, 502, "{text}");
        }
        let mut items = Items::default();
        items.feed(b"[{\"a\":\"", |_| Ok(())).unwrap();
        let piece = vec![b'x'; 1 << 20];
        let fed = (0..17).try_for_each(|_| items.feed(&piece, |_| Ok(())));
        assert_eq!(fed.unwrap_err().status, 502, "an endless item");
    }
}
