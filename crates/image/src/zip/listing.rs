//! The entries of an archive with all places that they have, for whoever changes it.

use super::directory::{Directory, Entry, descriptor_len, local_len};
use super::extents::{DEFLATED, DESCRIBED, ENCRYPTED, MOST_ENTRIES, STORED};
use super::{Corruption, ZipError};
use crate::io::ReadAt;

/// How the data of an entry is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packed {
    /// Not at all.
    Stored,
    /// As deflate data.
    Deflated,
    /// In another way.
    Other,
}

/// An entry. All its places are inside of the file.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) name: Vec<u8>,
    /// First byte and length of its entry in the central directory.
    pub(crate) central: (u64, u64),
    /// First byte and length of its local header.
    pub(crate) local: (u64, u64),
    /// First byte and length of its data.
    pub(crate) data: (u64, u64),
    /// Length of the data descriptor behind that, if there is one.
    pub(crate) descriptor: u64,
    /// Length of what is packed in its data.
    pub(crate) plain: u64,
    pub(crate) packed: Packed,
    pub(crate) encrypted: bool,
    /// Whether its lengths follow on its data.
    pub(crate) described: bool,
}

impl Listed {
    /// First byte behind all that it has outside of the central directory.
    pub(crate) fn end(&self) -> u64 {
        self.data.0 + self.data.1 + self.descriptor
    }
}

/// An archive.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    /// In the order of the central directory.
    pub(crate) entries: Vec<Listed>,
    /// First byte of the central directory, and of what follows it.
    pub(crate) directory: (u64, u64),
    /// First byte and length of the zip64 end record, if there is one.
    pub(crate) record_64: Option<(u64, u64)>,
    /// First byte and length of the end record.
    pub(crate) record: (u64, u64),
    /// What is added to an offset in the archive, modulo 2^64, to get one in the file.
    pub(crate) base: u64,
}

/// Lists an archive.
///
/// # Errors
/// If anything cannot be read: what is not understood as a whole is not to be changed.
pub(crate) fn list(source: &dyn ReadAt) -> Result<Listing, ZipError> {
    let size = source.size().map_err(|source| ZipError::Io { at: 0, len: 0, source })?;
    let found = Directory::find(source, size)?;
    let (mut entries, mut at) = (Vec::new(), found.start);
    while let Some(entry) = found.entry(source, at)? {
        if entries.len() == MOST_ENTRIES {
            return Err(ZipError::Unsupported { at, feature: "as many entries in one archive" });
        }
        let len = entry.len;
        entries.push(listed(source, size, (at, entry))?);
        at += len;
    }
    let Directory { start, end, record_64, record, base } = found;
    Ok(Listing { entries, directory: (start, end), record_64, record, base })
}

fn listed(source: &dyn ReadAt, size: u64, (at, entry): (u64, Entry)) -> Result<Listed, ZipError> {
    let local = (entry.local, local_len(source, entry.local)?);
    let data = (local.0.saturating_add(local.1), entry.packed);
    let behind = |len| ZipError::Corrupt { at: data.0, kind: Corruption::Behind { len, size } };
    let end = data.0.checked_add(data.1).filter(|end| *end <= size).ok_or_else(|| behind(data.1))?;
    let described = entry.flags & DESCRIBED != 0;
    let descriptor = if described { descriptor_len(source, end, &entry) } else { 0 };
    let packed = match entry.method {
        STORED => Packed::Stored,
        DEFLATED => Packed::Deflated,
        _ => Packed::Other,
    };
    let (plain, encrypted) = (entry.plain, entry.flags & ENCRYPTED != 0);
    let central = (at, entry.len);
    Ok(Listed { name: entry.name, central, local, data, descriptor, plain, packed, encrypted, described })
}
