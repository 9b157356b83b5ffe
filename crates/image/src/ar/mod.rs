//! `ar` archives in the dialect of deb(5): short names in the header, decimal sizes, no extensions.
//!
//! The archive is the eight bytes `!<arch>\n` and then members, each a header of 60 bytes and its data, padded to an
//! even length. The `//`, `/123` and `#1/123` forms for long names are refused: dpkg does not know them either, and
//! what is verified here has to be what dpkg unpacks. They are understood by [`extents`] only, which unpacks nothing.

mod extents;
mod names;

pub use extents::extents;

use crate::io::{ReadAt, ReadError, wide};

/// The first eight bytes of every archive.
pub const MAGIC: &[u8; 8] = b"!<arch>\n";
/// The first eight bytes of an archive of GNU that has headers and tables only: its members are files beside it.
const THIN: &[u8; 8] = b"!<thin>\n";
/// Length of a member header in bytes.
const HEADER: u64 = 60;

/// Why an archive could not be read.
pub type ArError = ReadError<Corruption>;

/// The rule of the format that the bytes break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// The archive does not start with [`MAGIC`].
    #[error("magic is {0:02x?}, not \"!<arch>\\n\"")]
    Magic([u8; 8]),
    /// The header does not end with a grave accent and a newline.
    #[error("member header ends with {0:02x?}, not \"`\\n\"")]
    HeaderEnd([u8; 2]),
    /// The name is empty, longer than 15 bytes, an extension, or has bytes outside printable ASCII.
    #[error("member name {:?} is not 1 to 15 printable characters without a slash", String::from_utf8_lossy(.0))]
    Name([u8; 16]),
    /// The name is said to be elsewhere, as GNU or BSD do it, and nothing is there.
    #[error("member name {:?} leads nowhere", String::from_utf8_lossy(.0))]
    Elsewhere([u8; 16]),
    /// A numeric field holds something else than digits and trailing spaces.
    #[error("field {field} of the member header is {:?}", String::from_utf8_lossy(.value))]
    Number {
        /// Name of the field in ar(5).
        field: &'static str,
        /// Its bytes.
        value: Vec<u8>,
    },
    /// The member goes on past the end of the archive.
    #[error("member needs {need} bytes, the archive has {have}")]
    Truncated {
        /// Offset of the first byte after the member.
        need: u64,
        /// Length of the archive in bytes.
        have: u64,
    },
}

/// One member: its header fields and where its data lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name without padding and without the optional trailing slash: 1 to 15 bytes of printable ASCII.
    pub name: String,
    /// Modification time in seconds since 1970-01-01 UTC, 0 to 999999999999.
    pub mtime: u64,
    /// Owning user, 0 to 999999.
    pub uid: u32,
    /// Owning group, 0 to 999999.
    pub gid: u32,
    /// File type and permissions, below 2^24.
    pub mode: u32,
    /// Offset of the header in the archive.
    pub header_at: u64,
    /// Offset of the first data byte in the archive.
    pub start: u64,
    /// Length of the data in bytes. The data lies wholly inside the archive.
    pub size: u64,
}

/// Reads members one after the other.
#[derive(Debug)]
pub struct Members<R> {
    source: R,
    size: u64,
    next: u64,
    /// Whether files lie outside of it.
    thin: bool,
}

/// A header, and where the data of its member lies: wholly inside the archive.
#[derive(Debug)]
struct Head {
    raw: [u8; 60],
    at: u64,
    start: u64,
    size: u64,
}

impl Head {
    /// The number in a field.
    fn number(&self, field: &'static str, range: std::ops::Range<usize>, radix: u32) -> Result<u64, ArError> {
        let wrong = || Corruption::Number { field, value: self.raw[range.clone()].to_vec() };
        number(&self.raw[range.clone()], radix).ok_or_else(|| corrupt(self.at, wrong()))
    }
}

impl<R: ReadAt> Members<R> {
    /// Checks the magic of the archive.
    pub fn new(source: R) -> Result<Self, ArError> {
        let members = Self::of_any(source)?;
        if members.thin {
            return Err(corrupt(0, Corruption::Magic(*THIN)));
        }
        Ok(members)
    }

    /// The same for an archive that may be thin.
    fn of_any(source: R) -> Result<Self, ArError> {
        let size = source.size().map_err(|source| ReadError::Io { at: 0, len: 0, source })?;
        let mut magic = [0; 8];
        if size < wide(magic.len()) {
            return Err(corrupt(0, Corruption::Truncated { need: wide(magic.len()), have: size }));
        }
        read(&source, &mut magic, 0)?;
        if &magic != MAGIC && &magic != THIN {
            return Err(corrupt(0, Corruption::Magic(magic)));
        }
        Ok(Self { source, size, next: wide(magic.len()), thin: &magic == THIN })
    }

    /// The next member; `None` at the end of the archive.
    pub fn next_member(&mut self) -> Result<Option<Member>, ArError> {
        let Some(head) = self.next_head()? else { return Ok(None) };
        // At most six digits each, eight of them octal for the mode: all fit.
        let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let name = name(&head.raw[..16]);
        Ok(Some(Member {
            name: name.ok_or_else(|| corrupt(head.at, Corruption::Name(first_16(&head.raw))))?,
            mtime: head.number("date", 16..28, 10)?,
            uid: small(head.number("uid", 28..34, 10)?),
            gid: small(head.number("gid", 34..40, 10)?),
            mode: small(head.number("mode", 40..48, 8)?),
            header_at: head.at,
            start: head.start,
            size: head.size,
        }))
    }

    /// The next header, of which only the end and the size were looked at; `None` at the end of the archive.
    fn next_head(&mut self) -> Result<Option<Head>, ArError> {
        let at = self.next;
        // The last member may go without its padding byte.
        if at >= self.size {
            return Ok(None);
        }
        let start = at + HEADER;
        if start > self.size {
            return Err(corrupt(at, Corruption::Truncated { need: start, have: self.size }));
        }
        let mut raw = [0; 60];
        read(&self.source, &mut raw, at)?;
        if raw[58..] != *b"`\n" {
            return Err(corrupt(at, Corruption::HeaderEnd([raw[58], raw[59]])));
        }
        let mut head = Head { raw, at, start, size: 0 };
        if raw[48..58] == *b"          " {
            let value = raw[48..58].to_vec();
            return Err(corrupt(at, Corruption::Number { field: "size", value }));
        }
        head.size = head.number("size", 48..58, 10)?;
        // Only tables are in a thin archive.
        if self.thin && !matches!(raw[..16].trim_ascii_end(), b"/" | b"/SYM64/" | b"//") {
            head.size = 0;
        }
        // Ten digits cannot overflow 64 bits.
        let end = start + head.size;
        if end > self.size {
            return Err(corrupt(at, Corruption::Truncated { need: end, have: self.size }));
        }
        self.next = end + head.size % 2;
        Ok(Some(head))
    }
}

fn first_16(header: &[u8; 60]) -> [u8; 16] {
    std::array::from_fn(|index| header[index])
}

/// The name in a header field: up to trailing spaces, then without one trailing slash, as dpkg does it.
fn name(field: &[u8]) -> Option<String> {
    let trimmed = field.trim_ascii_end();
    let trimmed = trimmed.strip_suffix(b"/").unwrap_or(trimmed);
    let good = (1..=15).contains(&trimmed.len())
        && trimmed.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'/')
        && !trimmed.starts_with(b"#1");
    if good { String::from_utf8(trimmed.to_vec()).ok() } else { None }
}

/// Digits and then spaces; a blank field is 0.
fn number(field: &[u8], radix: u32) -> Option<u64> {
    let digits = field.iter().position(|byte| *byte == b' ').unwrap_or(field.len());
    let (digits, rest) = field.split_at(digits);
    if rest.iter().any(|byte| *byte != b' ') {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| {
        let digit = char::from(*digit).to_digit(radix)?;
        value.checked_mul(u64::from(radix))?.checked_add(u64::from(digit))
    })
}

fn read(source: &impl ReadAt, buf: &mut [u8], at: u64) -> Result<(), ArError> {
    source.read_exact_at(buf, at).map_err(|source| ReadError::Io { at, len: wide(buf.len()), source })
}

fn corrupt(at: u64, kind: Corruption) -> ArError {
    ReadError::Corrupt { at, kind }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An archive of these members, as dpkg-deb writes it.
    pub(crate) fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for (name, data) in members {
            out.extend(
                format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 7, 0, 0, "100644", data.len()).bytes(),
            );
            out.extend_from_slice(data);
            out.resize(out.len().next_multiple_of(2), b'\n');
        }
        out
    }

    fn list(bytes: &[u8]) -> Result<Vec<Member>, ArError> {
        let mut members = Members::new(bytes)?;
        std::iter::from_fn(|| members.next_member().transpose()).collect()
    }

    #[test]
    fn members_lie_where_the_headers_say() {
        let bytes = archive(&[("debian-binary", b"2.0\n"), ("odd/", b"abc"), ("last", b"")]);
        let found = list(&bytes).unwrap();
        let short: Vec<_> = found.iter().map(|m| (m.name.as_str(), m.start, m.size)).collect();
        assert_eq!(short, [("debian-binary", 68, 4), ("odd", 132, 3), ("last", 196, 0)]);
        assert_eq!((found[0].mtime, found[0].mode, found[0].header_at), (7, 0o100_644, 8));
    }

    #[test]
    fn the_last_padding_byte_may_be_missing() {
        let mut bytes = archive(&[("a", b"abc")]);
        bytes.pop();
        assert_eq!(list(&bytes).unwrap().len(), 1);
    }

    #[test]
    fn every_broken_rule_is_named() {
        let good = archive(&[("a", b"abc")]);
        let broken = |at: usize, with: &[u8]| {
            let mut bytes = good.clone();
            bytes[at..at + with.len()].copy_from_slice(with);
            list(&bytes).unwrap_err().to_string()
        };
        assert_eq!(
            broken(0, b"!<thin>\n"),
            "corrupt at byte 0x0: magic is [21, 3c, 74, 68, 69, 6e, 3e, 0a], not \"!<arch>\\n\""
        );
        assert_eq!(broken(66, b"xy"), "corrupt at byte 0x8: member header ends with [78, 79], not \"`\\n\"");
        assert_eq!(
            broken(56, b"9999999999"),
            "corrupt at byte 0x8: member needs 10000000067 bytes, the archive has 72"
        );
        assert_eq!(
            broken(56, b"-1"),
            "corrupt at byte 0x8: field size of the member header is \"-1        \""
        );
        assert_eq!(
            broken(56, b" 3"),
            "corrupt at byte 0x8: field size of the member header is \" 3        \""
        );
        for name in ["//", "/12", "#1/20", "a/b", "sixteen-letters-", "a\0", ""] {
            let message = broken(8, format!("{name:<16}").as_bytes());
            assert!(message.starts_with("corrupt at byte 0x8: member name "), "{name}: {message}");
        }
        assert!(list(&good[..40]).is_err());
        assert!(list(b"!<arc").is_err());
        assert!(list(MAGIC).unwrap().is_empty());
    }

    #[test]
    fn mutated_archives_never_panic() {
        let good = archive(&[("debian-binary", b"2.0\n"), ("control.tar", b"abc"), ("data.tar", b"defgh")]);
        crate::mutation::mutations(&good, 3_000, |bytes| {
            if let Ok(members) = list(bytes) {
                assert!(members.iter().all(|m| m.start + m.size <= wide(bytes.len())));
            }
        });
    }
}
