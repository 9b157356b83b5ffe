//! Which byte of an archive is whose.

use std::collections::BTreeMap;

use super::directory::{Directory, Entry, descriptor_len, local_len};
use super::layout::{
    CENTRAL_ENTRY, DESCRIPTOR, END_LOCATOR, END_RECORD, END_RECORD_64, LOCAL_HEADER, LOCATOR,
};
use super::{Corruption, ZipError};
use crate::codec::inflated;
use crate::extent::{
    Container, Label, Member, Members, Owner, Parsed, Piece, Room, Source, Structure, Unreadable,
};

const FORMAT: &str = "zip";
/// Entries that are looked at.
pub(super) const MOST_ENTRIES: usize = 1 << 20;
/// Plain bytes that one byte of deflate data can hold at most (RFC 1951: 258 bytes for two bits).
const MOST_DEFLATE: u64 = 1032;

// Compression methods (APPNOTE 4.4.5) and flags (4.4.4).
pub(super) const STORED: u16 = 0;
pub(super) const DEFLATED: u16 = 8;
pub(super) const ENCRYPTED: u16 = 1 | 0x40 | 0x2000;
pub(super) const DESCRIBED: u16 = 8;

static DATA: Structure = Structure::plain("data");
static ENCRYPTED_DATA: Structure = Structure::plain("encrypted data");
static PREFIX: Structure = Structure::plain("data in front of the archive");
static GAP: Structure = Structure::plain("gap");
static CENTRAL_REST: Structure = Structure::plain("central directory");
static BEHIND: Structure = Structure::plain("data behind the archive");

/// The structure of an archive.
///
/// # Errors
/// If no central directory is found. Everything else that is wrong is among [`Parsed::faults`].
pub fn extents(source: &Source, room: &Room) -> Result<Parsed, Unreadable> {
    let found = Container::new(FORMAT, source)?;
    let directory = Directory::find(source, found.size()).map_err(|error| Unreadable::new(FORMAT, &error))?;
    let mut claims = Claims { source, found, directory, deflated: BTreeMap::new(), room: room.plain };
    claims.all();
    let mut parsed = claims.found.finish();
    parsed.held = claims.deflated.values().sum();
    parsed.members = Box::new(Inside { packed: parsed.members, deflated: claims.deflated });
    Ok(parsed)
}

struct Claims<'a> {
    source: &'a Source,
    found: Container,
    directory: Directory,
    /// Lengths of members that are deflated.
    deflated: BTreeMap<u32, u64>,
    /// How many bytes more they may have.
    room: u64,
}

impl Claims<'_> {
    fn all(&mut self) {
        let Directory { start, end, record_64, record, .. } = self.directory;
        self.found.claim_own(record.0, record.1, &END_RECORD);
        if let Some((at, len)) = record_64 {
            self.found.claim_own(at, len, &END_RECORD_64);
            self.found.claim_own(record.0 - LOCATOR, LOCATOR, &END_LOCATOR);
        }
        let mut entries = self.entries();
        self.found.claim_own(start, end - start, &CENTRAL_REST);
        entries.sort_by_key(|(entry, _)| entry.local);
        let (mut first, mut reach) = (start, 0);
        for (entry, owner) in &entries {
            match self.entry(entry, *owner, reach) {
                Ok(behind) => {
                    first = first.min(entry.local);
                    reach = reach.max(behind);
                }
                Err(error) => self.found.note(&error),
            }
        }
        let size = self.found.size();
        self.found.claim_own(0, first, &PREFIX);
        let behind = record.0 + record.1;
        self.found.claim_own(0, behind, &GAP);
        self.found.claim_own(behind, size - behind, &BEHIND);
    }

    /// The entries of the central directory, as far as they can be read.
    fn entries(&mut self) -> Vec<(Entry, Owner)> {
        let (mut all, mut at) = (Vec::new(), self.directory.start);
        while all.len() < MOST_ENTRIES {
            match self.directory.entry(self.source, at) {
                Ok(Some(mut entry)) => {
                    let name = std::mem::take(&mut entry.name);
                    let owner = match &*name {
                        b"" => self.found.owner(format!("entry {}", all.len() + 1).as_bytes()),
                        name => self.found.owner(name),
                    };
                    self.found.claim(at, entry.len, &CENTRAL_ENTRY, owner);
                    at += entry.len;
                    all.push((entry, owner));
                }
                Ok(None) => return all,
                Err(error) => {
                    self.found.note(&error);
                    return all;
                }
            }
        }
        self.found.note(&ZipError::Unsupported { at, feature: "as many entries in one archive" });
        all
    }

    /// Claims what an entry has outside the central directory; where that ends.
    ///
    /// What lies in front of `reach` belongs to another entry: then this one is no file inside, so that all of them together
    /// are not longer than the archive, before they are decompressed.
    fn entry(&mut self, entry: &Entry, owner: Owner, reach: u64) -> Result<u64, ZipError> {
        let size = self.found.size();
        let local_len = local_len(self.source, entry.local)?;
        self.found.claim(entry.local, local_len, &LOCAL_HEADER, owner);
        let data = entry.local.saturating_add(local_len);
        let end = data.checked_add(entry.packed).filter(|end| *end <= size).ok_or({
            ZipError::Corrupt { at: data, kind: Corruption::Behind { len: entry.packed, size } }
        })?;
        let Directory { start, end: tables_end, record_64, record, .. } = self.directory;
        // The central directory may be in front of the data, as Mozilla has it.
        let tables = [(start, tables_end - start), record, record_64.unwrap_or(record)];
        let apart = |(at, len): (u64, u64)| end <= at || entry.local >= at.saturating_add(len);
        let alone = entry.local >= reach && tables.into_iter().all(apart);
        let told = if alone && entry.packed > 0 { self.data(entry, owner, data) } else { Ok(()) };
        let structure = if entry.flags & ENCRYPTED != 0 { &ENCRYPTED_DATA } else { &DATA };
        self.found.claim(data, entry.packed, structure, owner);
        let mut behind = end;
        if entry.flags & DESCRIBED != 0 {
            let len = descriptor_len(self.source, end, entry);
            self.found.claim(end, len, &DESCRIPTOR, owner);
            behind += len;
        }
        told.map(|()| behind)
    }

    /// Makes a file inside of the data of an entry, if it can be read.
    fn data(&mut self, entry: &Entry, owner: Owner, start: u64) -> Result<(), ZipError> {
        let Entry { method, packed, plain, .. } = *entry;
        if entry.flags & ENCRYPTED != 0 || !matches!(method, STORED | DEFLATED) {
            return Ok(());
        }
        let possible = match method {
            STORED => plain == packed,
            // At least two bytes say that there is nothing.
            _ => packed >= 2 && plain <= packed.saturating_mul(MOST_DEFLATE),
        };
        if !possible {
            let kind = Corruption::Lengths { packed, plain, method };
            return Err(ZipError::Corrupt { at: start, kind });
        }
        if method == STORED {
            let file = self.found.file(owner);
            self.found.data(file, start, packed, &DATA);
        } else if plain > 0 {
            let Some(room) = self.room.checked_sub(plain) else {
                let feature = "entries that hold more bytes than there is room for";
                return Err(ZipError::Unsupported { at: start, feature });
            };
            self.room = room;
            let file = self.found.file(owner);
            self.found.data(file, start, packed, &DATA);
            self.deflated.insert(file, plain);
        }
        Ok(())
    }
}

/// The files in an archive.
struct Inside {
    /// As they lie in it.
    packed: Box<dyn Members>,
    /// Lengths of those that are deflated.
    deflated: BTreeMap<u32, u64>,
}

impl Members for Inside {
    fn open(&self, member: u32) -> Result<Member, Unreadable> {
        let packed = self.packed.open(member)?;
        match self.deflated.get(&member) {
            Some(plain) => {
                let opened = inflated(packed.source, *plain);
                opened.map(Member::from).map_err(|error| Unreadable::new("deflate data", &error))
            }
            None => Ok(packed),
        }
    }

    fn label(&self, member: u32) -> Label<'_> {
        self.packed.label(member)
    }

    fn count(&self) -> u32 {
        self.packed.count()
    }

    fn pieces(&self, member: u32) -> Result<Vec<Piece>, Unreadable> {
        let mut pieces = self.packed.pieces(member)?;
        if let Some(plain) = self.deflated.get(&member) {
            for piece in &mut pieces {
                (piece.plain, piece.part) = (false, (0, *plain));
            }
        }
        Ok(pieces)
    }
}
