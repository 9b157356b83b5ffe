//! Path tables and boot catalogs, from bytes to values.

use zerocopy::FromBytes;

use super::layout::{BLOCK, RawBootEntry, RawSection, RawValidation};
use super::read::{Bytes, Corruption, Result, Volume};
use super::{Extent, eltorito};
use crate::io::{ReadAt, ReadError};

/// Images of a boot catalog we look at; a catalog of one block has room for 63.
const MOST_IMAGES: usize = 63;

/// 65535 entries with identifiers of 255 bytes.
const LARGEST_PATH_TABLE: u64 = 65_535 * 264;

/// An image in the boot catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootImage {
    /// 0 for BIOSes, 0xef for UEFI.
    pub platform: u8,
    /// Whether it may be booted.
    pub bootable: bool,
    /// Emulated medium, 0 for none.
    pub media: u8,
    /// First byte.
    pub at: u64,
    /// Sectors of 512 bytes to load; for UEFI the size, 0 for up to the end of the medium.
    pub sectors: u16,
}

/// Reads the boot catalog; empty if the volume has none.
pub fn boot_images(source: &(impl ReadAt + ?Sized), volume: &Volume) -> Result<Vec<BootImage>> {
    let bytes = Bytes::new(source)?;
    let Some(block) = volume.catalog else {
        return Ok(Vec::new());
    };
    let at = u64::from(block) * BLOCK;
    let catalog = bytes.block(block.into())?;
    let (validation, mut rest) = catalog.split_at(32);
    let Ok(raw) = RawValidation::read_from_bytes(validation) else {
        return Ok(Vec::new());
    };
    if raw.header != 1 || raw.key != [0x55, 0xaa] || eltorito::word_sum(validation) != 0 {
        let kind = Corruption::Catalog([validation[0], validation[1], validation[28], validation[29]]);
        return Err(ReadError::Corrupt { at, kind });
    }
    let mut images = Vec::new();
    let (mut platform, mut left, mut last) = (raw.platform, 1, false);
    while let Some((entry, tail)) = rest.split_at_checked(32)
        && images.len() < MOST_IMAGES
    {
        rest = tail;
        if left > 0 {
            if let Ok(raw) = RawBootEntry::read_from_bytes(entry) {
                images.push(boot_image(&raw, platform));
            }
            left -= 1;
        } else if let (0x90 | 0x91, false, Ok(raw)) = (entry[0], last, RawSection::read_from_bytes(entry)) {
            (platform, left, last) = (raw.platform, raw.entries.get(), raw.header == 0x91);
        } else {
            break;
        }
    }
    Ok(images)
}

fn boot_image(raw: &RawBootEntry, platform: u8) -> BootImage {
    BootImage {
        platform,
        bootable: raw.bootable == 0x88,
        media: raw.media,
        at: u64::from(raw.block.get()) * BLOCK,
        sectors: raw.sectors.get(),
    }
}

/// A directory in a path table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathEntry {
    pub(super) block: u32,
    /// Number of the parent, from 1.
    pub(super) parent: u16,
    pub(super) id: Vec<u8>,
}

/// Reads a path table; `None` where it ends in the middle of an entry.
pub(super) fn path_table<R: ReadAt + ?Sized>(
    bytes: &Bytes<'_, R>,
    place: Extent,
    big: bool,
) -> Result<Option<Vec<PathEntry>>> {
    bytes.inside(place.at, place.at, place.len)?;
    if place.len > LARGEST_PATH_TABLE {
        return Err(ReadError::Corrupt { at: place.at, kind: Corruption::PathTable(place.len) });
    }
    let mut table = vec![0; usize::try_from(place.len).unwrap_or(0)];
    bytes.fill(&mut table, place.at)?;
    let (mut rest, mut entries) = (&table[..], Vec::new());
    while let [length, _, a, b, c, d, e, f, tail @ ..] = rest {
        let length = usize::from(*length);
        let Some((id, tail)) = tail.split_at_checked(length) else {
            return Ok(None);
        };
        rest = tail.get(length % 2..).unwrap_or_default();
        let (block, parent) = if big {
            (u32::from_be_bytes([*a, *b, *c, *d]), u16::from_be_bytes([*e, *f]))
        } else {
            (u32::from_le_bytes([*a, *b, *c, *d]), u16::from_le_bytes([*e, *f]))
        };
        entries.push(PathEntry { block, parent, id: id.to_vec() });
    }
    Ok(rest.is_empty().then_some(entries))
}
