//! Names as GNU and BSD write them (ar(5) of FreeBSD; binutils, `bfd/archive.c`): beyond 16 bytes they lie elsewhere.
//!
//! GNU: `name/`; `/123` for what begins at byte 123 of the member `//` and ends with `/` and a line feed; `/` and `/SYM64/` are
//! tables of symbols. BSD: `#1/20` for a name in the first 20 bytes of the data.

use super::{ArError, Corruption, Head, Members, corrupt, first_16, number, read};
use crate::extent::LONGEST_PATH;
use crate::io::ReadAt;

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A file with this name.
    File(Vec<u8>),
    /// Which member has which symbol.
    Symbols,
    /// Names of other members.
    Names,
}

/// A member, whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) role: Role,
    /// Offset of the header in the archive.
    pub(super) header_at: u64,
    /// Length of the name between header and data.
    pub(super) name_len: u64,
    /// Offset of the first data byte behind the name, and number of them.
    pub(super) data: (u64, u64),
}

/// Where the names of GNU lie: first byte and length.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Names {
    start: u64,
    len: u64,
}

impl<R: ReadAt> Members<R> {
    /// The next member in any dialect; `None` at the end of the archive. `names` is the default before the first one.
    pub(super) fn next_of_any(&mut self, names: &mut Names) -> Result<Option<Found>, ArError> {
        let Some(head) = self.next_head()? else { return Ok(None) };
        let field = head.raw[..16].trim_ascii_end();
        let mut found =
            Found { role: Role::Symbols, header_at: head.at, name_len: 0, data: (head.start, head.size) };
        found.role = match field {
            b"/" | b"/SYM64/" => Role::Symbols,
            b"//" => {
                *names = Names { start: head.start, len: head.size };
                Role::Names
            }
            _ => {
                let (name, len) = self.name(&head, field, *names)?;
                found.name_len = len;
                found.data = (head.start + len, head.size - len);
                Role::File(name)
            }
        };
        Ok(Some(found))
    }

    /// The name of a file, and how many bytes of its data that takes.
    fn name(&self, head: &Head, field: &[u8], names: Names) -> Result<(Vec<u8>, u64), ArError> {
        let nowhere = || corrupt(head.at, Corruption::Elsewhere(first_16(&head.raw)));
        if let Some(len) = field.strip_prefix(b"#1/") {
            let len = digits(len).filter(|len| *len <= head.size).ok_or_else(nowhere)?;
            let mut name = self.bytes(head.start, len)?;
            name.truncate(name.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
            return if name.is_empty() { Err(nowhere()) } else { Ok((name, len)) };
        }
        if let Some(offset) = field.strip_prefix(b"/").and_then(digits) {
            let left = names.len.checked_sub(offset).ok_or_else(nowhere)?;
            let mut name = self.bytes(names.start + offset, left)?;
            let end = name.iter().position(|byte| matches!(byte, b'\n' | 0)).ok_or_else(nowhere)?;
            name.truncate(end);
            let name = name.strip_suffix(b"/").unwrap_or(&name);
            return if name.is_empty() { Err(nowhere()) } else { Ok((name.to_vec(), 0)) };
        }
        match field.strip_suffix(b"/").unwrap_or(field) {
            b"" => Err(corrupt(head.at, Corruption::Name(first_16(&head.raw)))),
            name => Ok((name.to_vec(), 0)),
        }
    }

    /// At most so many bytes, and no more than a name can have.
    fn bytes(&self, at: u64, len: u64) -> Result<Vec<u8>, ArError> {
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(LONGEST_PATH);
        let mut bytes = vec![0; len];
        read(&self.source, &mut bytes, at).map(|()| bytes)
    }
}

/// A number that must be there.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() { None } else { number(text, 10) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::archive;
    use super::*;
    use crate::io::wide;

    fn list(bytes: &[u8]) -> Result<Vec<Found>, ArError> {
        let (mut members, mut names) = (Members::new(bytes)?, Names::default());
        std::iter::from_fn(|| members.next_of_any(&mut names).transpose()).collect()
    }

    fn sample() -> Vec<u8> {
        archive(&[
            ("/", b"\0\0\0\0"),
            ("//", b"a-name-of-23-characters/\nanother, with words/\n"),
            ("short/", b"1"),
            ("/25", b"22"),
            ("/0", b""),
            ("#1/20", b"name of BSD\0\0\0\0\0\0\0\0\0data"),
            ("a b", b"333"),
        ])
    }

    #[test]
    fn names_of_gnu_and_bsd_are_found() {
        let file = |name: &str| Role::File(name.as_bytes().to_vec());
        let found: Vec<_> =
            list(&sample()).unwrap().into_iter().map(|one| (one.role, one.name_len, one.data.1)).collect();
        let expected = [
            (Role::Symbols, 0, 4),
            (Role::Names, 0, 46),
            (file("short"), 0, 1),
            (file("another, with words"), 0, 2),
            (file("a-name-of-23-characters"), 0, 0),
            (file("name of BSD"), 20, 4),
            (file("a b"), 0, 3),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_thin_archive_has_tables_and_no_files() {
        let mut bytes = archive(&[("/", b"\0\0\0\0"), ("//", b"dir/long name.o/\n")]);
        bytes[..8].copy_from_slice(b"!<thin>\n");
        for _ in 0..2 {
            bytes.extend(format!("{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", "/0", 7, 0, 0, "644", 777).bytes());
        }
        let (mut members, mut names) = (Members::of_any(&bytes[..]).unwrap(), Names::default());
        let all: Vec<_> = std::iter::from_fn(|| members.next_of_any(&mut names).unwrap()).collect();
        let sizes: Vec<u64> = all.iter().map(|one| one.data.1).collect();
        assert_eq!(sizes, [4, 17, 0, 0]);
        assert_eq!(all[3].role, Role::File(b"dir/long name.o".to_vec()));
        // dpkg knows none.
        assert!(Members::new(&bytes[..]).is_err());
    }

    #[test]
    fn names_that_are_nowhere_are_told() {
        for (name, data) in [("/7", &b""[..]), ("#1/5", b"1234"), ("#1/2", b"\0\0"), ("#1/x", b"")] {
            let message = list(&archive(&[(name, data)])).unwrap_err().to_string();
            assert_eq!(
                message,
                format!("corrupt at byte 0x8: member name {:?} leads nowhere", format!("{name:<16}"))
            );
        }
        for offset in ["/3", "/4", "/99999999999999"] {
            assert!(list(&archive(&[("//", b"a/\nb"), (offset, b"")])).is_err(), "{offset}");
        }
    }

    #[test]
    fn mutated_archives_never_panic() {
        crate::mutation::mutations(&sample(), 3_000, |bytes| {
            let found = list(bytes).unwrap_or_default();
            assert!(found.iter().all(|one| one.data.0 + one.data.1 <= wide(bytes.len())));
        });
    }
}
