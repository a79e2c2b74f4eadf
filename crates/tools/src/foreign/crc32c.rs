//! CRC-32C (Castagnoli), the checksum of TensorFlow's and LevelDB's files.

/// Tables for eight bytes at a time: `TABLES[k][b]` is the remainder of `b` followed by `k` zero bytes.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    /// The polynomial, with the lowest power in the highest bit.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            remainder = if remainder & 1 == 1 { remainder >> 1 ^ POLYNOMIAL } else { remainder >> 1 };
            bit += 1;
        }
        tables[0][byte] = remainder;
        byte += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut byte = 0;
        while byte < 256 {
            let previous = tables[k - 1][byte];
            tables[k][byte] = previous >> 8 ^ tables[0][(previous & 0xff) as usize];
            byte += 1;
        }
        k += 1;
    }
    tables
}

pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    let (chunks, tail) = bytes.as_chunks::<8>();
    let mut crc = !0u32;
    for chunk in chunks {
        let [a, b, c, d] = (crc ^ u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]])).to_le_bytes();
        let low = [a, b, c, d].into_iter().zip([7, 6, 5, 4]);
        let high = chunk[4..].iter().copied().zip([3, 2, 1, 0]);
        crc = low.chain(high).fold(0, |sum, (byte, k)| sum ^ TABLES[k][usize::from(byte)]);
    }
    !tail.iter().fold(crc, |crc, &byte| crc >> 8 ^ TABLES[0][usize::from(crc as u8 ^ byte)])
}

/// Returns true if `sum` is the stored form of the bytes' checksum. It is rotated and shifted, since data may
/// itself hold checksums. Fuzzing accepts any sum, to reach the code behind it.
pub(super) fn verify(bytes: &[u8], sum: u32) -> bool {
    cfg!(fuzzing) || sum == crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sums are those of RFC 3720, appendix B.4.
    #[test]
    fn known_sums() {
        assert_eq!(crc32c(&[]), 0);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&rising), 0x46dd_794e);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
