//! Which byte of a catalog is whose.

use super::{Corruption, MoError};
use crate::extent::{Container, Field, LONGEST_PATH, Parsed, Role, Source, Structure, Unreadable, show};
use crate::io::{ReadAt, wide};

const FORMAT: &str = "mo";
const HEADER_LEN: usize = 28;
/// Strings that are looked at.
const MOST_STRINGS: u64 = 1 << 20;
/// Whose the translation of the empty string is: it says who translated, and when.
const CATALOG_HEADER: &[u8] = b"(header)";

static HEADER: Structure = Structure { name: "catalog header", fields: header };
static ORIGINAL_PLACE: Structure = Structure { name: "place of an original", fields: place };
static TRANSLATION_PLACE: Structure = Structure { name: "place of a translation", fields: place };
static ORIGINAL: Structure = Structure::plain("original");
static TRANSLATION: Structure = Structure::plain("translation");
static END: Structure = Structure::plain("end of a translation");
static HASHES: Structure = Structure::plain("hash table");

/// The structure of a catalog: each string and what says where it is belong to the original.
///
/// # Errors
/// If the header or a table of places is not whole. Everything else that is wrong is among [`Parsed::faults`].
pub fn extents(source: &Source) -> Result<Parsed, Unreadable> {
    let mut found = Container::new(FORMAT, source)?;
    let mut catalog = Catalog::open(source, found.size()).map_err(|error| Unreadable::new(FORMAT, &error))?;
    found.claim_own(0, wide(HEADER_LEN), &HEADER);
    for number in 0..catalog.count {
        if let Err(error) = catalog.string(&mut found, number) {
            found.note(&error);
        }
    }
    let (start, len) = catalog.hashes;
    found.claim_own(start, len, &HASHES);
    Ok(found.finish())
}

struct Catalog<'a> {
    source: &'a Source,
    size: u64,
    big: bool,
    count: u64,
    /// Where the tables of places begin: of originals, and of translations.
    tables: [u64; 2],
    /// First byte and length of the hash table.
    hashes: (u64, u64),
}

impl<'a> Catalog<'a> {
    fn open(source: &'a Source, size: u64) -> Result<Self, MoError> {
        let mut raw = [0; HEADER_LEN];
        if size < wide(HEADER_LEN) {
            return Err(MoError::Corrupt { at: 0, kind: Corruption::Short(size) });
        }
        read(source, &mut raw, 0)?;
        let big = raw[0] == 0x95;
        let mut numbers = raw.chunks_exact(4).map(|raw| number(raw, big));
        let mut next = || numbers.next().unwrap_or(0);
        let [_, _, count, originals, translations, hashes, hashes_at] = std::array::from_fn(|_| next());
        let tables = [originals, translations];
        for at in tables {
            check(at, "table of places", 8 * count, size)?;
        }
        let count = count.min(MOST_STRINGS);
        Ok(Self { source, size, big, count, tables, hashes: (hashes_at, 4 * hashes) })
    }

    /// Claims an original and its translation.
    fn string(&mut self, found: &mut Container, number: u64) -> Result<(), MoError> {
        let entries = self.tables.map(|table| table + 8 * number);
        let [(original, original_len), (translation, translation_len)] =
            [self.place(entries[0])?, self.place(entries[1])?];
        check(original, "original", original_len, self.size)?;
        let mut path = vec![0; usize::try_from(original_len).unwrap_or(LONGEST_PATH).min(LONGEST_PATH)];
        read(self.source, &mut path, original)?;
        // Behind a zero is the plural.
        let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
        let owner = found.owner(if path.is_empty() { CATALOG_HEADER } else { path });
        found.claim(entries[0], 8, &ORIGINAL_PLACE, owner);
        found.claim(entries[1], 8, &TRANSLATION_PLACE, owner);
        found.claim(original, original_len + 1, &ORIGINAL, owner);
        check(translation, "translation", translation_len, self.size)?;
        if translation_len > 0 {
            let file = found.file(owner);
            found.data(file, translation, translation_len, &TRANSLATION);
        }
        found.claim(translation + translation_len, 1, &END, owner);
        Ok(())
    }

    /// First byte and length of a string.
    fn place(&self, at: u64) -> Result<(u64, u64), MoError> {
        let mut raw = [0; 8];
        read(self.source, &mut raw, at)?;
        Ok((number(&raw[4..], self.big), number(&raw[..4], self.big)))
    }
}

fn number(raw: &[u8], big: bool) -> u64 {
    let join = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    if big { raw.iter().fold(0, join) } else { raw.iter().rev().fold(0, join) }
}

fn check(at: u64, what: &'static str, len: u64, size: u64) -> Result<(), MoError> {
    // Each is below 2^36.
    if at + len > size {
        return Err(MoError::Corrupt { at, kind: Corruption::Behind { what, len, size } });
    }
    Ok(())
}

fn read(source: &Source, buf: &mut [u8], at: u64) -> Result<(), MoError> {
    let len = wide(buf.len());
    source.read_exact_at(buf, at).map_err(|source| MoError::Io { at, len, source })
}

fn header(bytes: &[u8]) -> Vec<Field> {
    let names = [
        "signature",
        "revision",
        "strings",
        "place of the originals",
        "place of the translations",
        "size of the hash table",
        "place of the hash table",
    ];
    let places = (0..).step_by(4).zip(names);
    let mut all: Vec<Field> = places.map(|(at, name)| show(bytes, at, 4, name)).collect();
    all[3..].iter_mut().for_each(|field| field.role = Role::Place);
    all
}

fn place(bytes: &[u8]) -> Vec<Field> {
    let mut all = vec![show(bytes, 0, 4, "length"), show(bytes, 4, 4, "place")];
    all.iter_mut().for_each(|field| field.role = Role::Place);
    all
}
