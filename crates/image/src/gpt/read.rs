//! Bytes to table. Every field is checked before it is believed.

use std::io;

use zerocopy::FromBytes;

use super::layout::{ENTRY_SIZE, RawEntry, RawHeader, SIGNATURE};
use super::{Gpt, Guid, Mbr, Partition, SECTOR, crc32};
use crate::io::{ReadAt, ReadError};

/// Entries we are willing to read; the specification asks for 128, hybrid images of other tools have 248.
const MOST_ENTRIES: u32 = 1024;

/// The rule that was broken, with the values that broke it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corruption {
    /// The image is not even one sector, or a table lies outside it.
    #[error("sector {sector} is outside an image of {sectors} sectors")]
    Outside {
        /// The sector asked for.
        sector: u64,
        /// Sectors of the image.
        sectors: u64,
    },
    /// There is no header.
    #[error("signature is {0:02x?}, not EFI PART")]
    Signature([u8; 8]),
    /// The header size is not from 92 to 512.
    #[error("header size is {0}")]
    HeaderSize(u32),
    /// The checksum of the header is wrong.
    #[error("header checksum is {stored:08x}, computed {computed:08x}")]
    HeaderCrc {
        /// As stored.
        stored: u32,
        /// As it should be.
        computed: u32,
    },
    /// The checksum of the entries is wrong.
    #[error("checksum of the entries is {stored:08x}, computed {computed:08x}")]
    EntriesCrc {
        /// As stored.
        stored: u32,
        /// As it should be.
        computed: u32,
    },
    /// The header says that it lies elsewhere.
    #[error("header in sector {found} says it is in sector {says}")]
    Place {
        /// Where it was found.
        found: u64,
        /// Where it says it is.
        says: u64,
    },
    /// More entries than any disk has.
    #[error("{0} entries")]
    Entries(u32),
    /// The label is not UTF-16.
    #[error("name of partition {0} is not UTF-16")]
    Name(u32),
}

type Result<T> = std::result::Result<T, ReadError<Corruption>>;

/// What the tables of a disk say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Sector 0, if it ends in 55 aa.
    pub mbr: Option<Mbr>,
    /// The primary GPT, if sector 1 starts like one.
    pub gpt: Option<Gpt>,
}

/// Which copy of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Copy {
    /// Header in sector 1.
    Primary,
    /// Header in the last sector.
    Backup,
}

/// Reads MBR and primary GPT. A disk without either is no error; a GPT that is damaged is.
pub fn read(source: &(impl ReadAt + ?Sized)) -> Result<Disk> {
    let mbr = Mbr::from_bytes(&sector(source, 0)?);
    let signature = sectors(source)? > 1 && sector(source, 1)?.starts_with(&SIGNATURE);
    let gpt = if signature { Some(read_copy(source, Copy::Primary)?) } else { None };
    Ok(Disk { mbr, gpt })
}

/// Reads one copy of the GPT.
pub fn read_copy(source: &(impl ReadAt + ?Sized), copy: Copy) -> Result<Gpt> {
    let place = match copy {
        Copy::Primary => 1,
        Copy::Backup => sectors(source)?.saturating_sub(1),
    };
    let header = header(source, place)?;
    let entries = entries(source, &header)?;
    let sectors = header.this_sector.get().max(header.other_sector.get()).saturating_add(1);
    let mut partitions = Vec::new();
    for (number, raw) in (1..).zip(entries.chunks_exact(128)) {
        let Ok(raw) = RawEntry::read_from_bytes(raw) else {
            break;
        };
        if raw.kind != [0; 16] {
            let at = header.entries_sector.get().saturating_mul(SECTOR);
            partitions.push(partition(number, &raw).map_err(|kind| ReadError::Corrupt { at, kind })?);
        }
    }
    Ok(Gpt {
        disk: Guid::from_disk(header.disk),
        sectors,
        first_usable: header.first_usable.get(),
        last_usable: header.last_usable.get(),
        partitions,
    })
}

pub(super) fn sectors(source: &(impl ReadAt + ?Sized)) -> Result<u64> {
    let size = source.size().map_err(|source| ReadError::Io { at: 0, len: 0, source })?;
    Ok(size / SECTOR)
}

pub(super) fn sector(source: &(impl ReadAt + ?Sized), number: u64) -> Result<[u8; 512]> {
    let mut bytes = [0; 512];
    let have = sectors(source)?;
    let at = number.saturating_mul(SECTOR);
    if number >= have {
        return Err(ReadError::Corrupt { at, kind: Corruption::Outside { sector: number, sectors: have } });
    }
    read_at(source, &mut bytes, at)?;
    Ok(bytes)
}

fn read_at(source: &(impl ReadAt + ?Sized), buf: &mut [u8], at: u64) -> Result<()> {
    let len = crate::io::wide(buf.len());
    source.read_exact_at(buf, at).map_err(|source: io::Error| ReadError::Io { at, len, source })
}

pub(super) fn header(source: &(impl ReadAt + ?Sized), place: u64) -> Result<RawHeader> {
    let bytes = sector(source, place)?;
    let at = place.saturating_mul(SECTOR);
    let corrupt = |kind| ReadError::Corrupt { at, kind };
    let Ok((raw, _)) = RawHeader::read_from_prefix(&bytes) else {
        return Err(corrupt(Corruption::HeaderSize(0)));
    };
    if raw.signature != SIGNATURE {
        return Err(corrupt(Corruption::Signature(raw.signature)));
    }
    let size = raw.header_size.get();
    let covered = usize::try_from(size).ok().filter(|size| (92..=512).contains(size));
    let covered = covered.ok_or_else(|| corrupt(Corruption::HeaderSize(size)))?;
    let mut blank = bytes;
    blank[16..20].fill(0);
    let (stored, computed) = (raw.header_crc.get(), crc32(&blank[..covered]));
    if stored != computed {
        return Err(corrupt(Corruption::HeaderCrc { stored, computed }));
    }
    if raw.this_sector.get() != place {
        return Err(corrupt(Corruption::Place { found: place, says: raw.this_sector.get() }));
    }
    Ok(raw)
}

pub(super) fn entries(source: &(impl ReadAt + ?Sized), header: &RawHeader) -> Result<Vec<u8>> {
    let first = header.entries_sector.get();
    let at = first.saturating_mul(SECTOR);
    let corrupt = |kind| ReadError::Corrupt { at, kind };
    if header.entry_size.get() != ENTRY_SIZE {
        return Err(ReadError::Unsupported { at, feature: "entry size other than 128" });
    }
    let count = header.entry_count.get();
    if count > MOST_ENTRIES {
        return Err(corrupt(Corruption::Entries(count)));
    }
    let bytes = u64::from(count) * u64::from(ENTRY_SIZE);
    let have = sectors(source)?;
    if first.checked_add(bytes.div_ceil(SECTOR)).is_none_or(|end| end > have) {
        return Err(corrupt(Corruption::Outside { sector: first, sectors: have }));
    }
    let mut entries = vec![0; usize::try_from(bytes).unwrap_or(0)];
    read_at(source, &mut entries, at)?;
    let (stored, computed) = (header.entries_crc.get(), crc32(&entries));
    if stored != computed {
        return Err(corrupt(Corruption::EntriesCrc { stored, computed }));
    }
    Ok(entries)
}

fn partition(number: u32, raw: &RawEntry) -> std::result::Result<Partition, Corruption> {
    let units = raw.name.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let name = char::decode_utf16(units.take_while(|unit| *unit != 0));
    Ok(Partition {
        number,
        kind: Guid::from_disk(raw.kind),
        id: Guid::from_disk(raw.id),
        first: raw.first.get(),
        last: raw.last.get(),
        attributes: raw.attributes.get(),
        name: name.collect::<std::result::Result<_, _>>().map_err(|_| Corruption::Name(number))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with one field of the primary header or its first entry changed and both checksums made right again.
    fn read_with(at: usize, bytes: &[u8]) -> Result<Gpt> {
        let mut gpt = Gpt::new(Guid::LINUX, 100);
        let (kind, id) = (Guid::ESP, Guid::LINUX);
        let name = "EFI".to_owned();
        gpt.partitions = vec![Partition { number: 1, kind, id, first: 40, last: 47, attributes: 0, name }];
        let mut disk = Vec::new();
        super::super::write(&Mbr::protective(100), &gpt, &[], &mut disk).unwrap();
        disk[at..at + bytes.len()].copy_from_slice(bytes);
        let entries = crc32(&disk[1024..1024 + 16_384]).to_le_bytes();
        disk[512 + 88..512 + 92].copy_from_slice(&entries);
        disk[512 + 16..512 + 20].fill(0);
        let header = crc32(&disk[512..512 + 92]).to_le_bytes();
        disk[512 + 16..512 + 20].copy_from_slice(&header);
        read_copy(&disk, Copy::Primary)
    }

    #[test]
    fn fields_are_not_believed_because_the_checksum_is_right() {
        let error = |at, bytes: &[u8]| read_with(at, bytes).unwrap_err().to_string();
        assert!(read_with(0, b"").is_ok());
        assert_eq!(error(512 + 80, &[0xff; 4]), "corrupt at byte 0x400: 4294967295 entries");
        assert_eq!(error(512 + 81, &[4]), "corrupt at byte 0x400: 1152 entries");
        assert_eq!(error(512 + 84, &[0, 1]), "unsupported feature at byte 0x400: entry size other than 128");
        assert_eq!(
            error(512 + 72, &[0xff; 8]),
            "corrupt at byte 0xffffffffffffffff: sector 18446744073709551615 is outside an image of 100 sectors"
        );
        assert_eq!(error(512 + 24, &[2]), "corrupt at byte 0x200: header in sector 1 says it is in sector 2");
        assert_eq!(error(512 + 12, &[91]), "corrupt at byte 0x200: header size is 91");
        assert_eq!(
            error(1024 + 56, &[0, 0xdc, b'x', 0]),
            "corrupt at byte 0x400: name of partition 1 is not UTF-16"
        );
    }
}
