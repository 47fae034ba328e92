//! The index of an HTTP header section, one byte at a time.

use crate::kernel::head::{BLOCK, Marks};

/// Puts the marks of `data`, which begins where a line does and at position `first`, into `marks`.
pub fn head_index(data: &[u8], first: u32, marks: &mut Marks) {
    marks.clear();
    let mut is_start = true;
    let mut is_name = true;
    let mut follows_control = false;
    for (position, &byte) in data.iter().enumerate() {
        if position % BLOCK == 0 && !marks.has_room() {
            return;
        }
        let ends_name = is_name && !is_usual_in_names(byte);
        let is_control = byte.is_ascii_control() && byte != b'\t' && byte != b'\n';
        let is_bare = byte == b'\n' && !follows_control;
        follows_control = is_control;
        if ends_name || is_control || is_bare {
            // The limits of heads are u32 themselves.
            marks.push(first.wrapping_add(position as u32));
        }
        if is_start && is_control {
            return;
        }
        is_start = byte == b'\n';
        is_name = is_start || (is_name && !ends_name);
    }
}

/// `tchar` of RFC 9110 section 5.6.2 without the vertical bar, for which the kernels' tables have no bit
/// left.
fn is_usual_in_names(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`~".contains(&byte)
}
