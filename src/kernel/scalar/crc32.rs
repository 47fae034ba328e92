//! CRC-32, reflected, with the register inverted at both ends (IEEE 802.3; RFC 1952 section 8 gives the
//! same sum in C).

/// The polynomial of IEEE 802.3, zlib, gzip and PNG, lowest degree in the highest bit.
const IEEE: u32 = 0xEDB8_8320;

/// The polynomial of RFC 3720 (iSCSI), appendix B.4, found by Castagnoli; the crc32 instruction's.
const CASTAGNOLI: u32 = 0x82F6_3B78;

/// How many bytes one step of the fast path takes.
const SLICES: usize = 16;

/// `TABLES[k][b]`: what byte `b` contributes when `k` further bytes follow it.
static IEEE_TABLES: [[u32; 256]; SLICES] = tables(IEEE);
static CASTAGNOLI_TABLES: [[u32; 256]; SLICES] = tables(CASTAGNOLI);

/// Adds `data` to the CRC-32 (IEEE) of what came before it; 0 begins a new sum.
pub fn crc32_update(crc: u32, data: &[u8]) -> u32 {
    update(&IEEE_TABLES, crc, data)
}

/// Adds `data` to the CRC-32C (Castagnoli) of what came before it; 0 begins a new sum.
pub fn crc32c_update(crc: u32, data: &[u8]) -> u32 {
    update(&CASTAGNOLI_TABLES, crc, data)
}

fn update(tables: &[[u32; 256]; SLICES], crc: u32, data: &[u8]) -> u32 {
    let (chunks, rest) = data.as_chunks::<SLICES>();
    let mut crc = !crc;
    for chunk in chunks {
        let mut next = 0;
        for (index, &byte) in chunk.iter().enumerate() {
            let carried = if index < 4 { crc.to_le_bytes()[index] } else { 0 };
            next ^= tables[SLICES - 1 - index][usize::from(byte ^ carried)];
        }
        crc = next;
    }
    for &byte in rest {
        crc = crc >> 8 ^ tables[0][usize::from(byte ^ crc.to_le_bytes()[0])];
    }
    !crc
}

const fn tables(polynomial: u32) -> [[u32; 256]; SLICES] {
    let mut tables = [[0; 256]; SLICES];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { polynomial } else { 0 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut slice = 1;
    while slice < SLICES {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[slice - 1][byte];
            tables[slice][byte] = before >> 8 ^ tables[0][before as usize & 0xff];
            byte += 1;
        }
        slice += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, one bit at a time.
    fn bitwise(polynomial: u32, crc: u32, data: &[u8]) -> u32 {
        let mut crc = !crc;
        for &byte in data {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = crc >> 1 ^ if crc & 1 == 1 { polynomial } else { 0 };
            }
        }
        !crc
    }

    // Everything else is compared with this function: it must be the published sum.
    #[test]
    fn published_values() {
        let check = |data: &[u8], expected: u32| assert_eq!(crc32_update(0, data), expected);
        check(b"", 0);
        check(b"123456789", 0xCBF4_3926);
        check(b"The quick brown fox jumps over the lazy dog", 0x414F_A339);
        check(&[0; 32], 0x190A_55AD);
        check(&[0xff; 32], 0xFF6C_AB0B);
        // RFC 3720 appendix B.4, read as numbers.
        let check = |data: &[u8], expected: u32| assert_eq!(crc32c_update(0, data), expected);
        check(b"", 0);
        check(b"123456789", 0xE306_9283);
        check(&[0; 32], 0x8A91_36AA);
        check(&[0xff; 32], 0x62A8_AB43);
    }

    // The table walk must equal the definition at every length around its step and from any start.
    #[test]
    fn equals_the_definition() {
        let data: Vec<u8> = (0..200u32).map(|i| (i * 73 + 11) as u8).collect();
        for length in 0..data.len() {
            for start in [0, 1, 0xdead_beef, u32::MAX] {
                let data = &data[..length];
                assert_eq!(crc32_update(start, data), bitwise(IEEE, start, data), "{length}");
                assert_eq!(
                    crc32c_update(start, data),
                    bitwise(CASTAGNOLI, start, data),
                    "{length}"
                );
            }
        }
    }

    // A sum may be taken in pieces, cut anywhere.
    #[test]
    fn pieces_join() {
        let data = b"a sum may be taken in pieces, cut anywhere it pleases the caller";
        for cut in 0..=data.len() {
            let (head, tail) = data.split_at(cut);
            assert_eq!(crc32_update(crc32_update(0, head), tail), crc32_update(0, data));
        }
    }
}
