//! The start-up self-test: a table against the reference on fixed vectors, in well under a millisecond.
//!
//! It guards against a CPU, hypervisor or emulator that announces an instruction and computes something
//! else. The thorough comparison is tests/kernels.

use super::json::{Marks, State};
use super::{Kernels, head, scalar};

/// Longer than the widest loop of any kernel, with a remainder.
const LENGTH_MAX: usize = 4300;

/// Runs each job of a table once around every loop it has. The error is the name of the first job that
/// differs from the reference.
pub(super) fn run(table: &Kernels) -> Result<(), &'static str> {
    let data = vector();
    copy(table, &data).ok_or("copy")?;
    crc32(table, &data).ok_or("crc32")?;
    crc32c(table, &data).ok_or("crc32c")?;
    head_index(table).ok_or("head_index")?;
    json_escape(table, &data).ok_or("json_escape")?;
    json_index(table).ok_or("json_index")?;
    is_utf8(table).ok_or("is_utf8")
}

/// Short, as copies past the caches are too long for a start-up: those are left to tests/kernels.
fn copy(table: &Kernels, data: &[u8]) -> Option<()> {
    let mut to = [0; LENGTH_MAX];
    (table.copy.call)(&mut to, data);
    same(&to[..], data)
}

fn crc32(table: &Kernels, data: &[u8]) -> Option<()> {
    // The published check value ties the reference itself.
    same((table.crc32.call)(0, b"123456789"), 0xCBF4_3926)?;
    for length in [15, 16, 63, 64, 127, 255, 256, 500, 600, 1100, LENGTH_MAX] {
        let data = data.get(..length)?;
        let expected = scalar::crc32::crc32_update(7, data);
        same((table.crc32.call)(7, data), expected)?;
    }
    Some(())
}

fn crc32c(table: &Kernels, data: &[u8]) -> Option<()> {
    same((table.crc32c.call)(0, b"123456789"), 0xE306_9283)?;
    for length in [5, 15, 16, 63, 64, 255, 256, 500, 600, 1100, LENGTH_MAX] {
        let data = data.get(..length)?;
        let expected = scalar::crc32::crc32c_update(7, data);
        same((table.crc32c.call)(7, data), expected)?;
    }
    Some(())
}

/// Lines of all lengths over several blocks, right and wrong, with an end within a block and without one.
fn head_index(table: &Kernels) -> Option<()> {
    let part = b"Host: a.example\r\nX-Long-Name_1!: a value, of some words\tand a tab\r\n:\n\0\x7f|a \xc3\xa9\r\n";
    let mut section = [b'v'; 300];
    for at in [0, 90, 200] {
        section.get_mut(at..at + part.len())?.copy_from_slice(part);
    }
    for length in [300, 257, 128, 70] {
        let mut marks = [head::Marks::new(), head::Marks::new()];
        for is_last_line in [false, true] {
            let section = section.get_mut(..length)?;
            if is_last_line {
                section.get_mut(length - 5..length - 1)?.copy_from_slice(b"\r\n\r\n");
            }
            let [expected, found] = &mut marks;
            scalar::head_index::head_index(section, 77, expected);
            (table.head_index.call)(section, 77, found);
            same(found.positions(), expected.positions())?;
        }
    }
    Some(())
}

/// Noise, in which every byte to escape comes up, and plain text.
fn json_escape(table: &Kernels, data: &[u8]) -> Option<()> {
    for text in [data, data.get(..40)?, &[b'a'; 100]] {
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        scalar::json_escape::json_escape(&mut expected, text);
        (table.json_escape.call)(&mut found, text);
        same(found, expected)?;
    }
    Some(())
}

/// A document with every kind of mark, twice over with a long plain string between.
fn json_index(table: &Kernels) -> Option<()> {
    let part = br#"{"a\\\"b":[1.5e3,true , null],"u":"\u00e9\/\n","x":"quite a long string without anything to see"}"#;
    let mut text = [b' '; 512];
    for at in [0, 300] {
        text.get_mut(at..at + part.len())?.copy_from_slice(part);
    }
    text.get_mut(120..180)?.fill(b'x');
    let mut results = [(State::default(), Marks::new()), (State::default(), Marks::new())];
    let (blocks, _) = text.as_chunks();
    for (call, (state, marks)) in
        [scalar::json_index::json_index, table.json_index.call].iter().zip(&mut results)
    {
        call(state, blocks, marks);
        state.bad = u64::from(state.bad != 0);
    }
    let [(expected_state, expected), (found_state, found)] = results;
    same(found_state, expected_state)?;
    same(found.positions(), expected.positions())?;
    same(found.unicode(), expected.unicode())
}

fn is_utf8(table: &Kernels) -> Option<()> {
    let mut text = [b'a'; 300];
    for at in [5, 61, 126, 250] {
        text.get_mut(at..at + 4)?.copy_from_slice("\u{1f600}".as_bytes());
    }
    same((table.is_utf8.call)(&text), true)?;
    for at in [0, 63, 64, 129, 255, 299] {
        let mut wrong = text;
        *wrong.get_mut(at)? = 0xc3;
        same((table.is_utf8.call)(&wrong), false)?;
    }
    Some(())
}

fn same<T: PartialEq>(found: T, expected: T) -> Option<()> {
    (found == expected).then_some(())
}

/// Bytes without a short period (a linear congruential generator; multiplier from Knuth's MMIX).
fn vector() -> [u8; LENGTH_MAX] {
    let mut state = 1u64;
    std::array::from_fn(|_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{CpuLevel, Job, at};

    // A kernel that computes something else must be caught and named.
    #[test]
    fn names_the_job_that_differs() {
        let mut table = at(CpuLevel::Scalar).unwrap();
        assert_eq!(run(&table), Ok(()));
        table.crc32 = Job { implementation: "broken", call: |crc, data| crc ^ data.len() as u32 };
        assert_eq!(run(&table), Err("crc32"));
    }
}
