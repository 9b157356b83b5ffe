//! Which page of a database is whose.

use std::collections::BTreeSet;

use zerocopy::{FromZeros, IntoBytes};

use super::layout::{
    Cell, HEADER, HEADER_LEN, INDEX, INDEX_NODE, INTERIOR_INDEX, INTERIOR_TABLE, LEAF_INDEX, LEAF_TABLE,
    LOCK_BYTE, RawHeader, SCHEMA, TABLE, TABLE_NODE, cells, long, varint,
};
use super::{Corruption, SqliteError};
use crate::extent::{Container, Owner, Parsed, Source, Structure, Unreadable};
use crate::io::{ReadAt, ReadError, wide};

const FORMAT: &str = "sqlite";

static OVERFLOW: Structure = Structure::plain("rest of a row");
static FREE_LIST: Structure = Structure::plain("list of free pages");
static FREE: Structure = Structure::plain("free page");
static POINTERS: Structure = Structure::plain("pointer map");
static LOCKS: Structure = Structure::plain("page for locks");
static LOST: Structure = Structure::plain("page in no tree");

/// The structure of a database.
///
/// # Errors
/// If the header cannot be believed. Everything else that is wrong is among [`Parsed::faults`].
pub fn extents(source: &Source) -> Result<Parsed, Unreadable> {
    let found = Container::new(FORMAT, source)?;
    let mut claims = Claims::new(source, found).map_err(|error| Unreadable::new(FORMAT, &error))?;
    claims.all();
    Ok(claims.found.finish())
}

/// A page of a tree that is still to be looked at.
struct Waiting {
    page: u32,
    owner: Owner,
}

struct Claims<'a> {
    source: &'a Source,
    found: Container,
    raw: RawHeader,
    page: u64,
    /// Bytes of a page that are in use.
    usable: usize,
    /// Pages that were met: each is read once.
    seen: BTreeSet<u32>,
}

impl<'a> Claims<'a> {
    fn new(source: &'a Source, found: Container) -> Result<Self, SqliteError> {
        let mut raw = RawHeader::new_zeroed();
        let io = |source| ReadError::Io { at: 0, len: wide(HEADER_LEN), source };
        source.read_exact_at(raw.as_mut_bytes(), 0).map_err(io)?;
        // The largest size does not fit (section 1.3.2).
        let page = if raw.page_size.get() == 1 { 65_536 } else { u64::from(raw.page_size.get()) };
        let usable = page.saturating_sub(raw.reserved_per_page.into());
        // Section 1.3.4: no less than 480 bytes of a page are in use.
        if !page.is_power_of_two() || page < 512 || usable < 480 {
            let kind = Corruption::Field { field: "page_size", value: page };
            return Err(ReadError::Corrupt { at: 16, kind });
        }
        let usable = usize::try_from(usable).expect("at most 64 KiB");
        Ok(Self { source, found, raw, page, usable, seen: BTreeSet::new() })
    }

    fn all(&mut self) {
        self.found.claim_own(0, wide(HEADER_LEN), &HEADER);
        self.fixed();
        let schema = self.found.owner(b"sqlite_schema");
        let mut waiting = vec![Waiting { page: 1, owner: schema }];
        while let Some(next) = waiting.pop() {
            let told = self.tree(&next, schema, &mut waiting);
            self.tell(told);
        }
        let told = self.free();
        self.tell(told);
        // Each page is an extent, so that it is compared with the one at its place.
        let size = self.found.size();
        for number in (1..=size.div_ceil(self.page)).filter_map(|number| u32::try_from(number).ok()) {
            if !self.seen.contains(&number) {
                self.found.claim_own((u64::from(number) - 1) * self.page, self.page, &LOST);
            }
        }
    }

    fn tell(&mut self, result: Result<(), SqliteError>) {
        if let Err(error) = result {
            self.found.note(&error);
        }
    }

    /// Pages whose numbers follow from their size.
    fn fixed(&mut self) {
        let size = self.found.size();
        self.found.claim_own(LOCK_BYTE / self.page * self.page, self.page, &LOCKS);
        if self.raw.largest_root.get() == 0 {
            return;
        }
        // Each map has as many entries of 5 bytes as fit, of the pages behind it (section 1.8).
        let step = wide(self.usable) / 5 + 1;
        let mut number = 2;
        while let Ok(page) = u32::try_from(number) {
            let at = (number - 1) * self.page;
            if at >= size {
                break;
            }
            self.seen.insert(page);
            self.found.claim_own(at, self.page, &POINTERS);
            number += step;
        }
    }

    /// The bytes of a page that was not met before, and where it is.
    fn read(&mut self, number: u32) -> Result<(u64, Vec<u8>), SqliteError> {
        let at = u64::from(number).saturating_sub(1) * self.page;
        let size = self.found.size();
        if number == 0 || at + self.page > size || !self.seen.insert(number) {
            return Err(ReadError::Corrupt { at, kind: Corruption::Page(number) });
        }
        let mut bytes = vec![0; usize::try_from(self.page).expect("at most 64 KiB")];
        let io = |source| ReadError::Io { at, len: self.page, source };
        self.source.read_exact_at(&mut bytes, at).map_err(io)?;
        Ok((at, bytes))
    }

    /// Claims a page of a tree, and what its cells lead to.
    fn tree(&mut self, next: &Waiting, schema: Owner, waiting: &mut Vec<Waiting>) -> Result<(), SqliteError> {
        let Waiting { page, owner } = *next;
        let (at, bytes) = self.read(page)?;
        let base = if page == 1 { HEADER_LEN } else { 0 };
        let (kind, cells) = cells(&bytes, base, self.usable);
        let structure = match kind {
            _ if page == 1 => &SCHEMA,
            LEAF_TABLE => &TABLE,
            LEAF_INDEX => &INDEX,
            INTERIOR_TABLE => &TABLE_NODE,
            INTERIOR_INDEX => &INDEX_NODE,
            other => {
                self.found.claim(at, self.page, &LOST, owner);
                let kind = Corruption::Field { field: "kind of the page", value: other.into() };
                return Err(ReadError::Corrupt { at, kind });
            }
        };
        self.found.claim(at + wide(base), self.page - wide(base), structure, owner);
        for cell in &cells {
            waiting.extend(cell.child.map(|page| Waiting { page, owner }));
            if let Some(first) = cell.overflow {
                self.overflow(first, owner)?;
            }
            if owner == schema
                && kind == LEAF_TABLE
                && let Some((name, page)) = named(&bytes, cell)
            {
                let owner = self.found.owner(name);
                waiting.push(Waiting { page, owner });
            }
        }
        if matches!(kind, INTERIOR_TABLE | INTERIOR_INDEX) {
            waiting.extend(long(&bytes, base + 8).map(|page| Waiting { page, owner }));
        }
        Ok(())
    }

    /// Claims the pages that a row goes on to.
    fn overflow(&mut self, first: u32, owner: Owner) -> Result<(), SqliteError> {
        let mut next = first;
        while next != 0 {
            let (at, bytes) = self.read(next)?;
            self.found.claim(at, self.page, &OVERFLOW, owner);
            next = long(&bytes, 0).unwrap_or(0);
        }
        Ok(())
    }

    /// Claims what is free (section 1.5).
    fn free(&mut self) -> Result<(), SqliteError> {
        let mut next = self.raw.first_freelist_page.get();
        while next != 0 {
            let (at, bytes) = self.read(next)?;
            self.found.claim_own(at, self.page, &FREE_LIST);
            next = long(&bytes, 0).unwrap_or(0);
            let count = usize::try_from(long(&bytes, 4).unwrap_or(0)).unwrap_or(usize::MAX);
            for entry in bytes[8..].as_chunks().0.iter().take(count) {
                let number = u32::from_be_bytes(*entry);
                let inside = number > 0 && u64::from(number) * self.page <= self.found.size();
                if inside && self.seen.insert(number) {
                    self.found.claim_own((u64::from(number) - 1) * self.page, self.page, &FREE);
                }
            }
        }
        Ok(())
    }
}

/// The name of a table or index, and the first page of its tree, by its row in the schema (sections 2.1 and 2.6).
fn named<'a>(page: &'a [u8], cell: &Cell) -> Option<(&'a [u8], u32)> {
    let record = page.get(cell.payload.clone())?;
    let (header, mut at) = varint(record, 0)?;
    let mut from = usize::try_from(header).ok()?;
    let mut columns = [&[][..]; 4];
    for column in &mut columns {
        let (kind, next) = varint(record, at)?;
        let len = match kind {
            0..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            8..=11 => 0,
            kind => (kind - 12) / 2,
        };
        let end = from.checked_add(usize::try_from(len).ok()?)?;
        *column = record.get(from..end)?;
        (at, from) = (next, end);
        // The number 1 has no bytes.
        if kind == 9 {
            *column = &[1];
        }
    }
    let root =
        columns[3].iter().try_fold(0_u32, |sum, byte| Some(sum.checked_mul(256)? + u32::from(*byte)))?;
    // Views and triggers have no pages.
    (root > 1).then_some((columns[1], root))
}
