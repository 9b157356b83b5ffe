//! What is wrong with a file system.

use zerocopy::FromBytes;

use super::geometry::Width;
use super::layout::{RawBoot32, RawInfo};
use super::read::{Corruption, Table, Volume, fill, open, read_used};
use crate::io::{ReadAt, ReadError, wide};

/// Something a firmware or a kernel may stumble over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A structure cannot be read.
    #[error("{0}")]
    Unreadable(ReadError<Corruption>),
    /// The copies of the allocation table differ.
    #[error("allocation tables differ at cluster {0}")]
    TablesDiffer(u32),
    /// The first entry does not repeat the media type.
    #[error("first entry of the table is {0:#x}")]
    Media(u32),
    /// Clusters that are neither free nor part of a file.
    #[error("{0} clusters belong to no file")]
    Lost(u64),
    /// The second copy of the boot sector differs (FAT32).
    #[error("copy of the boot sector differs")]
    BootCopy,
    /// The number of free clusters is wrong (FAT32).
    #[error("{says} clusters are said to be free, {is} are")]
    Free {
        /// As stored.
        says: u32,
        /// As counted.
        is: u64,
    },
    /// The file system was not closed, or its disk had errors.
    #[error("volume is marked dirty")]
    Dirty,
}

/// Collects the problems of a file system. Only a source that cannot be read is an error.
pub fn check(source: &(impl ReadAt + ?Sized)) -> Result<Vec<Problem>, ReadError<Corruption>> {
    let mut problems = Vec::new();
    match all(source, &mut problems) {
        Err(error @ ReadError::Io { .. }) => return Err(error),
        Err(error) => problems.push(Problem::Unreadable(error)),
        Ok(()) => {}
    }
    Ok(problems)
}

fn all(source: &(impl ReadAt + ?Sized), problems: &mut Vec<Problem>) -> Result<(), ReadError<Corruption>> {
    let volume = open(source)?;
    let table = Table::read(source, &volume, 0)?;
    let last = u32::try_from(volume.clusters + 1).unwrap_or(u32::MAX);
    if volume.tables == 2 {
        let copy = Table::read(source, &volume, 1)?;
        let differs = (0..=last).find(|cluster| table.entry(*cluster) != copy.entry(*cluster));
        problems.extend(differs.map(Problem::TablesDiffer));
    }
    if table.entry(0) & 0xff < 0xf0 {
        problems.push(Problem::Media(table.entry(0)));
    }
    // The two highest bits of the second entry: closed properly, no disk errors. FAT12 has none.
    let clean = match volume.width {
        Width::Fat12 => 0,
        Width::Fat16 => 0x0000_c000,
        Width::Fat32 => 0x0c00_0000,
    };
    if table.entry(1) & clean != clean {
        problems.push(Problem::Dirty);
    }
    let taken = wide((2..=last).filter(|cluster| table.entry(*cluster) != 0).count());
    if volume.width == Width::Fat32 {
        companions(source, &volume, volume.clusters - taken, problems)?;
    }
    let (_, owned) = read_used(source, &volume)?;
    if let Some(lost @ 1..) = taken.checked_sub(owned) {
        problems.push(Problem::Lost(lost));
    }
    Ok(())
}

/// The second copy of the boot sector, and the count of free clusters.
fn companions(
    source: &(impl ReadAt + ?Sized),
    volume: &Volume,
    free: u64,
    problems: &mut Vec<Problem>,
) -> Result<(), ReadError<Corruption>> {
    let (mut boot, mut other) = ([0; 512], [0; 512]);
    fill(source, &mut boot, 0)?;
    let Ok((raw, _)) = RawBoot32::read_from_prefix(&boot[36..]) else {
        return Ok(());
    };
    let place = |sector: u16| {
        let at = u64::from(sector) * volume.sector;
        (1..u16::MAX).contains(&sector).then_some(at).filter(|at| *at < volume.table_at)
    };
    if let Some(at) = place(raw.backup_sector.get()) {
        fill(source, &mut other, at)?;
        if other != boot {
            problems.push(Problem::BootCopy);
        }
    }
    if let Some(at) = place(raw.info_sector.get()) {
        fill(source, &mut other, at)?;
        // All ones stand for "not known".
        if let Ok(info) = RawInfo::read_from_bytes(&other)
            && info.free_clusters.get() != u32::MAX
            && u64::from(info.free_clusters.get()) != free
        {
            problems.push(Problem::Free { says: info.free_clusters.get(), is: free });
        }
    }
    Ok(())
}
