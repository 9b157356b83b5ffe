//! What a file of no format that is understood probably is: a word for people, by its first bytes.

use std::io;

use crate::io::{ReadAt, wide};

/// Bytes that are looked at.
const LOOKED_AT: usize = 4096;

/// First bytes of files that live systems hold, and what they are called. The sources are the formats' own descriptions, and
/// for what has none the programs that write them.
static SIGNATURES: &[(&[u8], &str)] = &[
    (b"#!", "script"),
    (b"%PDF-", "pdf"),
    (b"%!PS", "postscript"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF8", "gif"),
    (b"wOF2", "woff2"),
    (b"wOFF", "woff"),
    (b"OTTO", "opentype"),
    (b"\0\x01\0\0\0", "truetype"),
    (b"ttcf", "truetype-collection"),
    (b"TZif", "tzif"),
    // term(5): numbers of 16 and of 32 bits.
    (b"\x1a\x01", "terminfo"),
    (b"\x1e\x02", "terminfo"),
    (b"GVariant", "gvdb"),
    (b"\xca\xfe\xba\xbe", "java-class"),
    (b"LPKSHHRH", "journal"),
    (b"KSLPHHRH", "hwdb"),
    (b"\xde\x02\x01\x09", "locale-archive"),
    // OpenPGP (RFC 9580, 4.2): a public key, in the old and in the new form of headers.
    (b"\x99", "openpgp"),
    (b"\xc6", "openpgp"),
    (b"-----BEGIN ", "pem"),
    (b"OggS", "ogg"),
    (b"fLaC", "flac"),
    (b"RIFF", "riff"),
    (b"<?xml", "xml"),
    (b"\xce\x9a\x57\x13", "gdbm"),
    (b"\xcf\x9a\x57\x13", "gdbm"),
    // systemd-boot, GRUB and the kernel sign so.
    (b"\x30\x82", "der"),
    (b"glibc-ld.so.cache", "ld.so.cache"),
    (b"ld.so-", "ld.so.cache"),
    (b"pst0", "perl-storable"),
];

/// A word for what `source` probably is: `empty`, `text`, or a name from a signature; nothing if there is no telling.
pub(crate) fn guess(source: &(impl ReadAt + ?Sized)) -> io::Result<Option<&'static str>> {
    let size = source.size()?;
    if size == 0 {
        return Ok(Some("empty"));
    }
    let mut start = [0; LOOKED_AT];
    let start = &mut start[..usize::try_from(size).unwrap_or(LOOKED_AT).min(LOOKED_AT)];
    source.read_exact_at(start, 0)?;
    let known = SIGNATURES.iter().find(|(signature, _)| start.starts_with(signature));
    // A signature of one byte may begin a text, too.
    Ok(match known {
        Some((signature, name)) if signature.len() > 1 => Some(*name),
        _ if is_text(start, wide(start.len()) < size) => Some("text"),
        known => known.map(|(_, name)| *name),
    })
}

/// Whether all is UTF-8 without control characters but those of lines and pages; the last character may be `cut`.
fn is_text(bytes: &[u8], cut: bool) -> bool {
    let whole = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if cut && error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    whole.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t' | '\r' | '\x0c' | '\x1b'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_a_word_for_people() {
        let of = |bytes: &[u8]| guess(bytes).unwrap();
        assert_eq!(of(b""), Some("empty"));
        assert_eq!(of("Grüße\n".as_bytes()), Some("text"));
        assert_eq!(of(b"#!/bin/sh\n"), Some("script"));
        assert_eq!(of(b"TZif2\0\0\0"), Some("tzif"));
        assert_eq!(of(b"\x99\x01\x0d\x04"), Some("openpgp"));
        assert_eq!(of(b"\0\0\0\0"), None);
        assert_eq!(of(b"\xff\xfe"), None);
        // A character across the end of what is looked at.
        let long = "é".repeat(3000);
        assert_eq!((of(long.as_bytes()), of(&long.as_bytes()[1..])), (Some("text"), None));
        assert_eq!(of(&[b"x", long.as_bytes()].concat()), Some("text"));
    }
}
