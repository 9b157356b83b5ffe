//! Sparse files as GNU tar stores them (its manual, "Storing Sparse Files"): the pieces that are no holes behind each other, and
//! a map of where they belong: in the header and blocks behind it (old GNU), in PAX records (0.0, 0.1) or in front of the data (1.0).

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

use super::{BLOCK, Corruption, number};
use crate::extent::Source;
use crate::io::{Cursor, Window, wide};

/// Pieces of one file, or of all files of an archive, that are looked at.
pub(super) const MOST_PIECES: usize = 1 << 20;

/// What a sparse file is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sparse {
    /// Its length in bytes, holes included.
    pub(super) size: u64,
    /// Where its pieces belong: first byte and length. `None` if the data begins with that.
    pub(super) pieces: Option<Vec<(u64, u64)>>,
}

/// What PAX records say of a sparse file.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    pub(super) name: Option<Vec<u8>>,
    size: Option<u64>,
    in_data: bool,
    offset: u64,
    pieces: Vec<(u64, u64)>,
}

impl Keys {
    /// Takes a record in: `key` is what follows `GNU.sparse.`. `None` if the value is none for it.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let number = || decimal(value);
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(number()?),
            b"major" => self.in_data = number()? > 0,
            b"offset" => self.offset = number()?,
            b"numbytes" => self.pieces.push((self.offset, number()?)),
            b"map" => {
                let numbers: Option<Vec<u64>> = value.split(|byte| *byte == b',').map(decimal).collect();
                self.pieces = numbers?.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
            }
            // How many pieces there are is seen, too.
            _ => {}
        }
        Some(())
    }

    /// What they say, if they are about a sparse file.
    pub(super) fn finish(self) -> Option<Sparse> {
        Some(Sparse { size: self.size?, pieces: (!self.in_data).then_some(self.pieces) })
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// The pieces in a header of old GNU form (`sp` in the header, or a block behind it), and whether a block of more follows.
pub(super) fn old(block: &[u8; 512], first: bool, pieces: &mut Vec<(u64, u64)>) -> Result<bool, Corruption> {
    let (table, more) = if first { (&block[386..482], block[482]) } else { (&block[..504], block[504]) };
    for entry in table.chunks_exact(24).take_while(|entry| entry[12] != 0) {
        pieces.push((old_number(&entry[..12])?, old_number(&entry[12..])?));
    }
    Ok(more != 0)
}

/// The length of a file in a header of old GNU form.
pub(super) fn old_size(block: &[u8; 512]) -> Result<u64, Corruption> {
    old_number(&block[483..495])
}

fn old_number(field: &[u8]) -> Result<u64, Corruption> {
    let wrong = || Corruption::Number { field: "sparse", value: field.to_vec() };
    number::parse(field).and_then(|value| u64::try_from(value).ok()).ok_or_else(wrong)
}

/// Where the pieces of a file lie in the archive: how long the map in front of them is, and of each where it belongs.
pub(super) type Layout = (u64, Vec<(u64, u64)>);

/// The pieces of a file whose body has `stored` bytes from `start` on.
pub(super) fn layout(source: &Source, sparse: Sparse, (start, stored): (u64, u64)) -> Option<Layout> {
    let size = sparse.size;
    let (map, pieces) = match sparse.pieces {
        Some(pieces) => (0, pieces),
        None => {
            let body = Window::new(Arc::clone(source), start, stored);
            in_data(BufReader::new(Cursor::new(body, 0)))?
        }
    };
    let (mut at, mut sum) = (0, 0_u64);
    for (offset, len) in &pieces {
        let end = offset.checked_add(*len).filter(|end| *offset >= at && *end <= size)?;
        (at, sum) = (end, sum.checked_add(*len)?);
    }
    let fits = pieces.len() <= MOST_PIECES && i64::try_from(size).is_ok() && map.checked_add(sum)? == stored;
    fits.then_some((map, pieces))
}

/// The map that data begins with, in lines of decimal numbers and whole blocks, and its length.
fn in_data(mut body: impl BufRead) -> Option<Layout> {
    let mut read = 0;
    let mut number = || {
        let mut line = Vec::new();
        (&mut body).take(24).read_until(b'\n', &mut line).ok()?;
        read += wide(line.len());
        decimal(line.strip_suffix(b"\n")?)
    };
    let count = usize::try_from(number()?).ok().filter(|count| *count <= MOST_PIECES)?;
    let mut pieces = Vec::new();
    for _ in 0..count {
        pieces.push((number()?, number()?));
    }
    Some((read.next_multiple_of(BLOCK), pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(size: u64, pieces: &[(u64, u64)], stored: u64) -> bool {
        let source: Source = Arc::new(Vec::new());
        layout(&source, Sparse { size, pieces: Some(pieces.to_vec()) }, (0, stored)).is_some()
    }

    #[test]
    fn pieces_follow_each_other_and_are_what_is_stored() {
        assert!(laid(100, &[(0, 10), (10, 5), (90, 10), (100, 0)], 25));
        assert!(laid(100, &[], 0));
        for (size, pieces, stored) in [
            (100, &[(0, 10)][..], 11),
            (100, &[(95, 10)], 10),
            (100, &[(50, 10), (0, 10)], 20),
            (100, &[(50, 10), (59, 10)], 20),
            (u64::MAX, &[(u64::MAX - 1, 2)], 2),
            (u64::MAX, &[], 0),
        ] {
            assert!(!laid(size, pieces, stored), "{size} {pieces:?} {stored}");
        }
    }

    #[test]
    fn a_map_in_front_of_the_data_takes_whole_blocks() {
        let map = |text: &str| in_data(format!("{text}{}", "\0".repeat(600)).as_bytes());
        assert_eq!(map("2\n0\n5\n100\n7\n"), Some((512, vec![(0, 5), (100, 7)])));
        assert_eq!(map("0\n"), Some((512, vec![])));
        let long = format!("200\n{}", "1000000\n1\n".repeat(200));
        assert_eq!(map(&long).unwrap().0, 2048);
        for bad in
            ["", "2\n0\n", "x\n", "-1\n", "99999999999999999999999999\n", "18446744073709551615\n", "\n"]
        {
            assert_eq!(map(bad), None, "{bad}");
        }
    }

    #[test]
    fn records_of_each_version_say_the_same() {
        let keys = |records: &[(&str, &str)]| {
            let mut keys = Keys::default();
            for (key, value) in records {
                keys.set(key.as_bytes(), value.as_bytes())?;
            }
            keys.finish()
        };
        let found = Some(Sparse { size: 100, pieces: Some(vec![(0, 5), (90, 10)]) });
        let places = [("offset", "0"), ("numbytes", "5"), ("offset", "90"), ("numbytes", "10")];
        assert_eq!(keys(&[&[("size", "100"), ("numblocks", "2")], &places[..]].concat()), found);
        assert_eq!(keys(&[("size", "100"), ("map", "0,5,90,10")]), found);
        let new = keys(&[("major", "1"), ("minor", "0"), ("name", "x"), ("realsize", "100")]);
        assert_eq!(new, Some(Sparse { size: 100, pieces: None }));
        assert_eq!(keys(&[("name", "x")]), None);
        assert_eq!(keys(&[("size", "1"), ("map", "0,")]), None);
    }
}
