//! What is wrong with the tables of a disk.

use super::read::{Corruption, header, sector, sectors};
use super::{Copy, Gpt, Mbr, TABLE_SECTORS, read_copy};
use crate::io::{ReadAt, ReadError};

/// Something a firmware, a kernel or a partitioning program may stumble over.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Sector 0 has no MBR.
    #[error("sector 0 does not end in 55 aa")]
    NoMbr,
    /// No MBR entry of type 0xee starts at sector 1, so that UEFI must not use the GPT.
    #[error("the MBR does not protect the GPT")]
    NotProtected,
    /// The protective entry is shorter than the disk.
    #[error("the protective entry covers {covers} sectors, the disk has {sectors}")]
    ProtectsPart {
        /// Sectors the entry covers.
        covers: u32,
        /// Sectors of the disk.
        sectors: u64,
    },
    /// A copy of the table cannot be read.
    #[error("{copy:?} table: {error}")]
    Unreadable {
        /// Which.
        copy: Copy,
        /// Why.
        error: ReadError<Corruption>,
    },
    /// The copies differ in what they say.
    #[error("primary and backup table say different things")]
    CopiesDiffer,
    /// The other copy is not where this one says.
    #[error("{copy:?} table says the other copy is in sector {says}, not {is}")]
    OtherCopy {
        /// Which copy says so.
        copy: Copy,
        /// Where it says the other one is.
        says: u64,
        /// Where it is.
        is: u64,
    },
    /// The usable range reaches into a table or leaves the disk.
    #[error("usable sectors {first} to {last} reach into a table")]
    Usable {
        /// First usable sector.
        first: u64,
        /// Last usable sector.
        last: u64,
    },
    /// A partition is empty or leaves the usable range.
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
    /// Two partitions have the same GUID.
    #[error("partitions {one} and {other} have the same GUID")]
    SameId {
        /// Number of one.
        one: u32,
        /// Number of the other.
        other: u32,
    },
}

/// Collects every problem of MBR and GPT. Only a source that cannot be read is an error.
pub fn check(source: &(impl ReadAt + ?Sized)) -> Result<Vec<Problem>, ReadError<Corruption>> {
    let mut problems = Vec::new();
    let have = sectors(source)?;
    match Mbr::from_bytes(&sector(source, 0)?) {
        None => problems.push(Problem::NoMbr),
        Some(mbr) => protection(&mbr, have, &mut problems),
    }
    let mut copies = Vec::new();
    for copy in [Copy::Primary, Copy::Backup] {
        match read_copy(source, copy) {
            Ok(gpt) => copies.push(gpt),
            Err(error @ ReadError::Io { .. }) => return Err(error),
            Err(error) => problems.push(Problem::Unreadable { copy, error }),
        }
        let (place, other) = match copy {
            Copy::Primary => (1, have.saturating_sub(1)),
            Copy::Backup => (have.saturating_sub(1), 1),
        };
        if let Ok(raw) = header(source, place)
            && raw.other_sector.get() != other
        {
            problems.push(Problem::OtherCopy { copy, says: raw.other_sector.get(), is: other });
        }
    }
    if let [primary, backup] = &copies[..]
        && primary != backup
    {
        problems.push(Problem::CopiesDiffer);
    }
    if let Some(gpt) = copies.first() {
        partitions(gpt, have, &mut problems);
    }
    Ok(problems)
}

fn protection(mbr: &Mbr, have: u64, problems: &mut Vec<Problem>) {
    match mbr.partitions.iter().find(|entry| entry.kind == 0xee && entry.first == 1) {
        None => problems.push(Problem::NotProtected),
        Some(entry) if entry.sectors != u32::MAX && u64::from(entry.sectors) + 1 != have => {
            problems.push(Problem::ProtectsPart { covers: entry.sectors, sectors: have });
        }
        Some(_) => {}
    }
}

fn partitions(gpt: &Gpt, have: u64, problems: &mut Vec<Problem>) {
    let (first, last) = (gpt.first_usable, gpt.last_usable);
    if first <= TABLE_SECTORS || last >= have.saturating_sub(TABLE_SECTORS) || first > last {
        problems.push(Problem::Usable { first, last });
    }
    for (index, one) in gpt.partitions.iter().enumerate() {
        if one.first > one.last || one.first < first || one.last > last {
            problems.push(Problem::Range { number: one.number, first: one.first, last: one.last });
        }
        for other in &gpt.partitions[index + 1..] {
            if one.first <= other.last && other.first <= one.last {
                problems.push(Problem::Overlap { one: one.number, other: other.number });
            }
            if one.id == other.id {
                problems.push(Problem::SameId { one: one.number, other: other.number });
            }
        }
    }
}
