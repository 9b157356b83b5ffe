//! What the file header says: where the tables are, and what sections are called.

use super::layout::{HEADER, IDENT, SECTION, Shape};
use super::{Corruption, ElfError};
use crate::extent::{LONGEST_PATH, Source};
use crate::io::{ReadAt, wide};

/// Sections that are looked at; the objects of the largest programs have some ten thousand.
pub(super) const MOST_SECTIONS: u64 = 1 << 18;
/// Bytes of names that are read at a time.
const MOST_NAMES: u64 = 16 << 20;

const PN_XNUM: u64 = 0xffff;
const SHN_XINDEX: u64 = 0xffff;
/// The section that has no bytes in the file.
pub(super) const SHT_NOBITS: u64 = 8;

/// What is used of the file header.
pub(super) struct Header {
    pub(super) shape: Shape,
    /// `e_type`.
    pub(super) kind: u64,
    /// `e_machine`.
    pub(super) machine: u64,
    pub(super) programs: Table,
    pub(super) sections: Table,
    /// Index of the section that has the names.
    names: u64,
}

/// Where a table is.
#[derive(Clone, Copy)]
pub(super) struct Table {
    pub(super) start: u64,
    pub(super) stride: u64,
    pub(super) count: u64,
}

impl Header {
    /// The header of a file, and its length.
    pub(super) fn read(source: &Source) -> Result<(Self, u64), ElfError> {
        let mut bytes = [0; 64];
        read(source, 0, &mut bytes[..IDENT])?;
        let Some(shape) = Shape::of(&bytes) else {
            let ident = *bytes.first_chunk().expect("it has 64 bytes");
            return Err(ElfError::Corrupt { at: 0, kind: Corruption::Identification(ident) });
        };
        let len = IDENT + shape.len(&HEADER);
        read(source, 0, &mut bytes[..len])?;
        let [kind, machine, _, _, phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, names] =
            shape.values(&bytes[IDENT..], &HEADER);
        let mut header = Self {
            shape,
            kind,
            machine,
            programs: Table { start: phoff, stride: phentsize, count: phnum },
            sections: Table { start: shoff, stride: shentsize, count: if shoff == 0 { 0 } else { shnum } },
            names,
        };
        // What does not fit in the file header is in the first section header.
        if shoff != 0
            && (phnum == PN_XNUM || shnum == 0 || names == SHN_XINDEX)
            && let Some([_, _, _, _, _, size, link, info, _, _]) = header.section(source, 0)
        {
            header.programs.count = if phnum == PN_XNUM { info } else { phnum };
            header.sections.count = if shnum == 0 { size } else { shnum };
            header.names = if names == SHN_XINDEX { link } else { names };
        }
        Ok((header, wide(len)))
    }

    /// The values of a section header, if it lies in the file.
    pub(super) fn section(&self, source: &Source, index: u64) -> Option<[u64; 10]> {
        let mut bytes = [0; 64];
        let len = self.shape.len(&SECTION);
        let at = self.sections.stride.checked_mul(index)?.checked_add(self.sections.start)?;
        source.read_exact_at(&mut bytes[..len], at).ok()?;
        Some(self.shape.values(&bytes, &SECTION))
    }

    /// The bytes of the section that has the names of `count` sections.
    pub(super) fn names(&self, source: &Source, count: u64) -> Vec<u8> {
        if self.names == 0 || self.names >= count {
            return Vec::new();
        }
        let Some([_, _, _, _, start, size, ..]) = self.section(source, self.names) else { return Vec::new() };
        strings(source, start, size)
    }
}

/// The bytes of a table of strings, as far as they lie in the file and are not too many.
pub(super) fn strings(source: &Source, start: u64, len: u64) -> Vec<u8> {
    let Ok(size) = source.size() else { return Vec::new() };
    let len = len.min(size.saturating_sub(start)).min(MOST_NAMES);
    let mut all = vec![0; usize::try_from(len).expect("at most 16 MiB")];
    match source.read_exact_at(&mut all, start) {
        Ok(()) => all,
        Err(_) => Vec::new(),
    }
}

/// The string that begins at `at`, without its end.
pub(super) fn string(names: &[u8], at: u64) -> &[u8] {
    let name = usize::try_from(at).ok().and_then(|at| names.get(at..)).unwrap_or_default();
    let name = &name[..name.len().min(LONGEST_PATH)];
    name.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn read(source: &Source, at: u64, buf: &mut [u8]) -> Result<(), ElfError> {
    let len = wide(buf.len());
    source.read_exact_at(buf, at).map_err(|source| ElfError::Io { at, len, source })
}
