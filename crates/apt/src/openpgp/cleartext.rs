//! The cleartext signature framework (RFC 9580, section 7), split strictly.
//!
//! The rules are those of apt's `SplitClearSignedFile`, made after CVE-2013-1051, CVE-2016-1252 and CVE-2019-3462, or
//! stricter. There is one signed text and one signature block and nothing else in the file: what is returned is
//! all that the file says.

use super::lines::Lines;
use super::{Framing, FramingRule, armor};
use crate::release::MAX_SIZE;

/// Most bytes of signature packets; Debian's three signatures take about 1200.
const MAX_SIGNATURES: usize = 64 * 1024;

/// A cleartext-signed file in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// The signed text: LF between lines and not after the last, blanks at line ends removed, dash-escapes undone.
    pub(super) text: Vec<u8>,
    /// The decoded signature packets.
    pub(super) signatures: Vec<u8>,
}

/// Takes a cleartext-signed file apart, or says in which line it is not one.
pub(super) fn split(file: &[u8]) -> Result<Split, Framing> {
    if file.len() as u64 > MAX_SIZE {
        return Err(Framing { line: 0, rule: FramingRule::TooLong { size: file.len() as u64 } });
    }
    let mut lines = Lines::new(file)?;
    if lines.next() != Some("-----BEGIN PGP SIGNED MESSAGE-----") {
        return Err(lines.breaks(FramingRule::Start));
    }
    loop {
        match lines.next() {
            None => return Err(lines.breaks(FramingRule::NoSignature)),
            Some("") => break,
            Some(line) if is_hash_header(line) => {}
            Some(_) => return Err(lines.breaks(FramingRule::MessageHeader)),
        }
    }
    let mut text = Vec::with_capacity(file.len());
    let mut first = true;
    loop {
        let line = lines.next().ok_or_else(|| lines.breaks(FramingRule::NoSignature))?;
        if line == "-----BEGIN PGP SIGNATURE-----" {
            break;
        }
        let line = line.trim_end_matches([' ', '\t']);
        let content = match line.strip_prefix("- ") {
            Some(escaped) => escaped,
            None if line.starts_with('-') => return Err(lines.breaks(FramingRule::Dash)),
            None => line,
        };
        if !first {
            text.push(b'\n');
        }
        first = false;
        text.extend_from_slice(content.as_bytes());
    }
    let signatures = armor::decode(&mut lines, "SIGNATURE")?;
    if lines.next().is_some() {
        return Err(lines.breaks(FramingRule::AfterEnd));
    }
    if signatures.len() > MAX_SIGNATURES {
        return Err(lines.breaks(FramingRule::SignaturesTooLong { size: signatures.len() }));
    }
    Ok(Split { text, signatures })
}

/// The text of a signed file, whoever signed it; `None` if it is none.
pub(crate) fn text_of(file: &[u8]) -> Option<Vec<u8>> {
    split(file).ok().map(|parts| parts.text)
}

/// `Hash: SHA256, SHA512`, the only header the framework knows. Which hash counts is in the signature itself.
fn is_hash_header(line: &str) -> bool {
    let name = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    line.strip_prefix("Hash: ")
        .is_some_and(|list| list.split(',').map(|word| word.trim_matches(' ')).all(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256, SHA512\n\na: 1\t\r\n- -b  \n- c\n\n\
                        -----BEGIN PGP SIGNATURE-----\n\naGVsbG8=\n-----END PGP SIGNATURE-----\n";

    #[test]
    fn text_is_what_was_signed() {
        let parts = split(GOOD.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(parts.text).unwrap(), "a: 1\n-b\nc\n");
        assert_eq!(parts.signatures, b"hello");
        let empty = "-----BEGIN PGP SIGNED MESSAGE-----\n\n-----BEGIN PGP SIGNATURE-----\n\naGVsbG8=\n\
                     -----END PGP SIGNATURE-----";
        assert_eq!(split(empty.as_bytes()).unwrap().text, b"");
    }

    #[test]
    fn every_cut_is_refused() {
        // The last newline may be missing.
        for end in 0..GOOD.len() - 1 {
            assert!(split(&GOOD.as_bytes()[..end]).is_err(), "{end}");
        }
        assert!(split(GOOD.trim_end().as_bytes()).is_ok());
    }

    #[test]
    fn changed_bytes_never_panic() {
        for at in 0..GOOD.len() {
            for byte in [0, b'\n', b'\r', b'-', b' ', 0xff] {
                let mut bad = GOOD.as_bytes().to_vec();
                bad[at] = byte;
                let _ = split(&bad);
            }
        }
    }
}
