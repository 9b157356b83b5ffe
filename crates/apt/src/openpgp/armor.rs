//! ASCII armor (RFC 9580, section 6), read strictly.

use super::lines::Lines;
use super::{Framing, FramingRule};

/// Armor headers that are written by known programs. None of them means anything here.
const HEADERS: [&str; 5] = ["Version", "Comment", "MessageID", "Hash", "Charset"];

/// Decodes the block whose `BEGIN` line was just taken from `lines`, up to and including its `END` line.
pub(super) fn decode(lines: &mut Lines<'_>, kind: &'static str) -> Result<Vec<u8>, Framing> {
    loop {
        match lines.next() {
            None => return Err(lines.breaks(FramingRule::Unclosed { kind })),
            Some("") => break,
            Some(line) if is_header(line) => {}
            Some(_) => return Err(lines.breaks(FramingRule::ArmorHeader)),
        }
    }
    let end = format!("-----END PGP {kind}-----");
    let mut digits = Vec::new();
    let mut checksum = None;
    loop {
        let line = lines.next().ok_or_else(|| lines.breaks(FramingRule::Unclosed { kind }))?;
        if line == end {
            break;
        }
        if checksum.is_some() {
            return Err(lines.breaks(FramingRule::AfterChecksum));
        }
        if let Some(digits) = line.strip_prefix('=') {
            let bytes = base64(digits.as_bytes()).filter(|bytes| bytes.len() == 3);
            checksum = Some(bytes.ok_or_else(|| lines.breaks(FramingRule::Checksum))?);
            continue;
        }
        // `digits` holds whole lines only, so padding may not occur in any but the last.
        if line.is_empty() || digits.last() == Some(&b'=') {
            return Err(lines.breaks(FramingRule::Base64));
        }
        digits.extend_from_slice(line.as_bytes());
    }
    let bytes = base64(&digits).ok_or_else(|| lines.breaks(FramingRule::Base64))?;
    match checksum {
        Some(checksum) if checksum != crc24(&bytes) => Err(lines.breaks(FramingRule::Checksum)),
        _ => Ok(bytes),
    }
}

fn is_header(line: &str) -> bool {
    line.split_once(": ").is_some_and(|(key, _)| HEADERS.contains(&key))
}

/// Decodes base64 with padding, without blanks, and without bits that no byte uses.
fn base64(digits: &[u8]) -> Option<Vec<u8>> {
    if digits.is_empty() || !digits.len().is_multiple_of(4) {
        return None;
    }
    let padding = digits.iter().rev().take_while(|&&digit| digit == b'=').count();
    if padding > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() / 4 * 3);
    let data = &digits[..digits.len() - padding];
    for quad in data.chunks(4) {
        let mut bits = 0u32;
        for &digit in quad {
            bits = bits << 6 | u32::from(value(digit)?);
        }
        let missing = 4 - quad.len();
        bits <<= 6 * missing;
        let [_, bytes @ ..] = bits.to_be_bytes();
        let (used, unused) = bytes.split_at(3 - missing);
        if unused.iter().any(|&byte| byte != 0) {
            return None;
        }
        out.extend_from_slice(used);
    }
    Some(out)
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// The checksum of RFC 9580, section 6.1.1.
fn crc24(bytes: &[u8]) -> [u8; 3] {
    let crc = bytes.iter().fold(0x00b7_04ce_u32, |mut crc, &byte| {
        crc ^= u32::from(byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x0100_0000 != 0 {
                crc ^= 0x0186_4cfb;
            }
        }
        crc
    });
    let [_, bytes @ ..] = crc.to_be_bytes();
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: &str = "SIGNATURE";

    fn read(body: &str) -> Result<Vec<u8>, Framing> {
        decode(&mut Lines::new(body.as_bytes())?, KIND)
    }

    fn write(bytes: &[u8]) -> String {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let encode = |bytes: &[u8]| -> String {
            let quads = bytes.chunks(3).map(|chunk| {
                let mut word = [0; 4];
                word[1..=chunk.len()].copy_from_slice(chunk);
                let bits = u32::from_be_bytes(word);
                let digit = |n: u32| char::from(DIGITS[(bits >> (18 - 6 * n) & 63) as usize]);
                (0..4).map(|n| if n as usize > chunk.len() { '=' } else { digit(n) }).collect::<String>()
            });
            quads.collect()
        };
        let lines: Vec<String> = encode(bytes)
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8(line.to_vec()).unwrap())
            .collect();
        format!("\n{}\n={}\n-----END PGP SIGNATURE-----\n", lines.join("\n"), encode(&crc24(bytes)))
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // Computed with the sample code of RFC 4880, section 6.1.
        assert_eq!(crc24(b""), [0xb7, 0x04, 0xce]);
        assert_eq!(crc24(b"123456789"), [0x21, 0xcf, 0x02]);
    }

    #[test]
    fn each_rule_refuses() {
        let good = write(b"hello");
        assert_eq!(read(&good).unwrap(), b"hello");
        assert_eq!(read(&good.replace("\n=", "\n-----END PGP SIGNATURE-----\n=")).unwrap(), b"hello");
        assert_eq!(read(&format!("Version: 1\nComment: x: y\n{good}")).unwrap(), b"hello");
        for (from, to, message) in [
            ("aGVsbG8=", "aGVsbG9=", "line 4: base64 is malformed"),
            ("aGVsbG8=", "aGVsbG8", "line 4: base64 is malformed"),
            ("aGVsbG8=", "aGVs=bG8", "line 4: base64 is malformed"),
            ("aGVsbG8=", "aGVsbG8= ", "line 4: base64 is malformed"),
            ("aGVsbG8=", "aGVs\n\nbG8=", "line 3: base64 is malformed"),
            ("aGVsbG8=", "aGVsbG8=\naGVs", "line 3: base64 is malformed"),
            ("aGVsbG8=", "-GVsbG8=", "line 4: base64 is malformed"),
            ("aGVsbG8=", "aGVsbA==", "line 4: checksum does not match"),
            ("\n=", "\n=A", "line 3: checksum does not match"),
            ("\n-----END", "\naaaa\n-----END", "line 4: line after the checksum"),
            (
                "-----END PGP SIGNATURE-----\n",
                "-----END PGP MESSAGE-----\n",
                "line 4: line after the checksum",
            ),
            ("-----END PGP SIGNATURE-----\n", "", "line 3: SIGNATURE block is not closed"),
            ("\naGVsbG8=", "aGVsbG8=", "line 1: not an armor header"),
            ("\naGVsbG8=", "Key: x\n\naGVsbG8=", "line 1: not an armor header"),
            ("\naGVsbG8=", " \naGVsbG8=", "line 1: not an armor header"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert_eq!(read(&bad).unwrap_err().to_string(), message, "{bad}");
        }
        assert_eq!(
            read("\n-----END PGP SIGNATURE-----\n").unwrap_err().to_string(),
            "line 2: base64 is malformed"
        );
        assert_eq!(read("").unwrap_err().to_string(), "line 0: SIGNATURE block is not closed");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes in prop::collection::vec(any::<u8>(), 1..300)) {
            prop_assert_eq!(read(&write(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn no_text_panics(text in "[a-zA-Z+/=\n: -]{0,80}") {
            let _ = read(&text);
        }
    }
}
