//! The structural index of JSON and the verdict on its strings, one byte at a time.

use crate::kernel::json::{Block, Marks, State};

/// Puts the marks of `blocks` into `marks`, which has room for them; positions count from the first block.
pub fn json_index(state: &mut State, blocks: &[Block], marks: &mut Marks) {
    marks.clear();
    for (position, &byte) in (0u32..).zip(blocks.as_flattened()) {
        let is_escaped = state.escaped != 0;
        state.escaped = u64::from(byte == b'\\' && !is_escaped);
        if is_escaped {
            match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                b'u' => marks.push_unicode(position),
                _ => state.bad = 1,
            }
        }
        let is_quote = byte == b'"' && !is_escaped;
        if state.in_string != 0 {
            if is_quote {
                state.in_string = 0;
            } else if byte < 0x20 {
                state.bad = 1;
            }
            continue;
        }
        let follows_word = state.word != 0;
        state.word = 0;
        match byte {
            b'"' if is_quote => {
                state.in_string = u64::MAX;
                if !follows_word {
                    marks.push_position(position);
                }
            }
            b'{' | b'}' | b'[' | b']' | b':' | b',' => marks.push_position(position),
            b' ' | b'\t' | b'\n' | b'\r' => {}
            _ => {
                state.word = 1;
                if !follows_word {
                    marks.push_position(position);
                }
            }
        }
    }
}
