//! Table to bytes.

use std::io::{self, Write};

use zerocopy::IntoBytes;

use super::layout::{ENTRY_SIZE, HEADER_SIZE, REVISION, RawEntry, RawHeader, SIGNATURE};
use super::{ENTRIES, Gpt, Mbr, Partition, SECTOR, TABLE_SECTORS, crc32};
use crate::io::ReadAt;

/// Why a table cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk has no room for both copies of the table.
    #[error("a disk of {0} sectors has no room for a partition table")]
    DiskTooSmall(u64),
    /// The usable range reaches into a copy of the table.
    #[error("usable sectors {first} to {last} reach into the table of a disk of {sectors} sectors")]
    Usable {
        /// First usable sector.
        first: u64,
        /// Last usable sector.
        last: u64,
        /// Sectors of the disk.
        sectors: u64,
    },
    /// Numbers are not ascending, or not from 1 to 128.
    #[error("partition number {number} does not follow {before} or is not in 1 to 128")]
    Number {
        /// The number that is wrong.
        number: u32,
        /// The number of the partition before, 0 for none.
        before: u32,
    },
    /// The partition is empty or leaves the usable range.
    #[error("partition {number} from sector {first} to {last} is not inside the usable sectors")]
    Range {
        /// Number of the partition.
        number: u32,
        /// Its first sector.
        first: u64,
        /// Its last sector.
        last: u64,
    },
    /// Two partitions share sectors.
    #[error("partitions {one} and {other} overlap")]
    Overlap {
        /// Number of one.
        one: u32,
        /// Number of the other.
        other: u32,
    },
    /// The label is longer than 36 UTF-16 units or holds a NUL.
    #[error("partition {number} cannot be called {name:?}")]
    Name {
        /// Number of the partition.
        number: u32,
        /// The label.
        name: String,
    },
    /// The content of a partition is longer than the partition.
    #[error("{size} bytes do not fit into partition {number}")]
    TooLong {
        /// Number of the partition.
        number: u32,
        /// Bytes of the content.
        size: u64,
    },
    /// The content of a partition could not be read.
    #[error("cannot read the content of partition {number}")]
    Content {
        /// Number of the partition.
        number: u32,
        /// What the source said.
        source: io::Error,
    },
    /// The output could not be written.
    #[error("cannot write the disk")]
    Output(#[source] io::Error),
}

impl Gpt {
    /// The first copy: header and entries, to be put at sector 1.
    pub fn primary(&self) -> Result<Vec<u8>, WriteError> {
        let entries = self.entries()?;
        let mut bytes = self.header(1, self.sectors.saturating_sub(1), 2, &entries);
        bytes.extend_from_slice(&entries);
        Ok(bytes)
    }

    /// The second copy: entries and header, to be put [`TABLE_SECTORS`] before the end of the disk.
    pub fn backup(&self) -> Result<Vec<u8>, WriteError> {
        let mut bytes = self.entries()?;
        let first = self.sectors.saturating_sub(TABLE_SECTORS);
        bytes.extend_from_slice(&self.header(self.sectors.saturating_sub(1), 1, first, &bytes));
        Ok(bytes)
    }

    /// Refuses what no firmware should meet; everything [`super::check`] calls a problem of one copy.
    fn validate(&self) -> Result<(), WriteError> {
        if self.sectors < 2 * TABLE_SECTORS + 2 {
            return Err(WriteError::DiskTooSmall(self.sectors));
        }
        let (first, last) = (self.first_usable, self.last_usable);
        if first <= TABLE_SECTORS || last >= self.sectors - TABLE_SECTORS || first > last {
            return Err(WriteError::Usable { first, last, sectors: self.sectors });
        }
        let mut before = 0;
        for partition in &self.partitions {
            let &Partition { number, first, last, .. } = partition;
            if number <= before || number > ENTRIES {
                return Err(WriteError::Number { number, before });
            }
            before = number;
            if first > last || first < self.first_usable || last > self.last_usable {
                return Err(WriteError::Range { number, first, last });
            }
        }
        let mut by_place: Vec<&Partition> = self.partitions.iter().collect();
        by_place.sort_by_key(|partition| partition.first);
        for pair in by_place.windows(2) {
            if pair[0].last >= pair[1].first {
                return Err(WriteError::Overlap { one: pair[0].number, other: pair[1].number });
            }
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<u8>, WriteError> {
        self.validate()?;
        let mut bytes = Vec::with_capacity(16_384);
        let mut next = self.partitions.iter().peekable();
        for number in 1..=ENTRIES {
            match next.next_if(|partition| partition.number == number) {
                Some(partition) => bytes.extend_from_slice(entry(partition)?.as_bytes()),
                None => bytes.extend_from_slice(&[0; 128]),
            }
        }
        Ok(bytes)
    }

    fn header(&self, this: u64, other: u64, entries_at: u64, entries: &[u8]) -> Vec<u8> {
        let mut raw = RawHeader {
            signature: SIGNATURE,
            revision: REVISION.into(),
            header_size: HEADER_SIZE.into(),
            header_crc: 0.into(),
            reserved: 0.into(),
            this_sector: this.into(),
            other_sector: other.into(),
            first_usable: self.first_usable.into(),
            last_usable: self.last_usable.into(),
            disk: self.disk.to_disk(),
            entries_sector: entries_at.into(),
            entry_count: ENTRIES.into(),
            entry_size: ENTRY_SIZE.into(),
            entries_crc: crc32(entries).into(),
        };
        raw.header_crc = crc32(raw.as_bytes()).into();
        let mut sector = raw.as_bytes().to_vec();
        sector.resize(512, 0);
        sector
    }
}

fn entry(partition: &Partition) -> Result<RawEntry, WriteError> {
    let mut name = [0; 72];
    let units: Vec<u16> = partition.name.encode_utf16().collect();
    if units.len() > 36 || units.contains(&0) {
        return Err(WriteError::Name { number: partition.number, name: partition.name.clone() });
    }
    for (place, unit) in name.chunks_exact_mut(2).zip(units) {
        place.copy_from_slice(&unit.to_le_bytes());
    }
    Ok(RawEntry {
        kind: partition.kind.to_disk(),
        id: partition.id.to_disk(),
        first: partition.first.into(),
        last: partition.last.into(),
        attributes: partition.attributes.into(),
        name,
    })
}

/// Writes a whole disk: `mbr`, both copies of `gpt`, and the contents of partitions, zeros everywhere else.
///
/// `contents` holds (partition number, bytes) by ascending place on the disk; a partition that is not named is
/// zeros. Returns the number of bytes written, which is the size of the disk.
pub fn write(
    mbr: &Mbr,
    gpt: &Gpt,
    contents: &[(u32, &dyn ReadAt)],
    out: &mut impl Write,
) -> Result<u64, WriteError> {
    let (primary, backup) = (gpt.primary()?, gpt.backup()?);
    out.write_all(&mbr.to_bytes()).map_err(WriteError::Output)?;
    out.write_all(&primary).map_err(WriteError::Output)?;
    let mut at = (1 + TABLE_SECTORS) * SECTOR;
    for &(number, content) in contents {
        let partition = gpt.partitions.iter().find(|partition| partition.number == number);
        let partition = partition.ok_or(WriteError::Number { number, before: 0 })?;
        let size = content.size().map_err(|source| WriteError::Content { number, source })?;
        let start = partition.first.saturating_mul(SECTOR);
        if size > (partition.last - partition.first + 1).saturating_mul(SECTOR) || start < at {
            return Err(WriteError::TooLong { number, size });
        }
        zeros(out, start - at)?;
        copy(out, number, content, size)?;
        at = start + size;
    }
    let end = (gpt.sectors - TABLE_SECTORS) * SECTOR;
    zeros(out, end - at)?;
    out.write_all(&backup).map_err(WriteError::Output)?;
    Ok(gpt.sectors * SECTOR)
}

fn copy(out: &mut impl Write, number: u32, content: &dyn ReadAt, size: u64) -> Result<(), WriteError> {
    let mut buffer = vec![0; 1 << 16];
    let mut at = 0;
    while at < size {
        let take = usize::try_from(size - at).unwrap_or(usize::MAX).min(buffer.len());
        let part = &mut buffer[..take];
        content.read_exact_at(part, at).map_err(|source| WriteError::Content { number, source })?;
        out.write_all(part).map_err(WriteError::Output)?;
        at += crate::io::wide(part.len());
    }
    Ok(())
}

fn zeros(out: &mut impl Write, count: u64) -> Result<(), WriteError> {
    io::copy(&mut io::Read::take(io::repeat(0), count), out).map_err(WriteError::Output)?;
    Ok(())
}
