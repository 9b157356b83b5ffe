//! Every structure with its byte offset.

use zerocopy::FromBytes;

use super::geometry::Width;
use super::layout::{
    DIRECTORY, FREE, LABEL, LONG_NAME, RawBoot, RawBoot32, RawEntry, RawInfo, RawLongName, RawNames,
};
use super::read::{Corruption, Result, Table, Volume, fill, open};
use crate::io::{ReadAt, ReadError};
use crate::iso9660::Extent;
use crate::raw::fields;

/// The text form of a file system: boot sector, runs of the allocation table, all directories. The bytes of files
/// are not looked at.
pub fn dump(source: &(impl ReadAt + ?Sized)) -> Result<String> {
    let volume = open(source)?;
    let table = Table::read(source, &volume, 0)?;
    let mut out = String::new();
    boot(&mut out, source, &volume)?;
    runs(&mut out, &volume, &table);
    // No directory comes up twice: more bytes of directories than bytes of image mean a loop.
    let mut left = volume.size;
    let root = match volume.width {
        Width::Fat32 => chain(&volume, &table, volume.root_cluster),
        _ => vec![volume.root],
    };
    let mut waiting = vec![root];
    while let Some(extents) = waiting.pop() {
        let len: u64 = extents.iter().map(|extent| extent.len).sum();
        let at = extents.first().map_or(0, |extent| extent.at);
        left = left.checked_sub(len).ok_or(ReadError::Corrupt { at, kind: Corruption::Deep })?;
        out.push_str(&format!("directory at {at:08x}\n"));
        let below = waiting.len();
        directory(&mut out, source, &volume, &table, &extents, &mut waiting)?;
        waiting[below..].reverse();
    }
    Ok(out)
}

fn boot(out: &mut String, source: &(impl ReadAt + ?Sized), volume: &Volume) -> Result<()> {
    let mut sector = [0; 512];
    fill(source, &mut sector, 0)?;
    let (parameters, mut rest) = sector.split_at(36);
    boot_parameters(out, parameters);
    let mut at = 36_u64;
    if volume.width == Width::Fat32
        && let Ok((raw, tail)) = RawBoot32::read_from_prefix(rest)
    {
        let raw = &raw;
        fields!(
            out,
            at,
            raw,
            RawBoot32 { table_sectors, flags, version, root_cluster, info_sector, backup_sector, reserved }
        );
        (at, rest) = (at + 28, tail);
    }
    if let Ok((raw, rest)) = RawNames::read_from_prefix(rest) {
        fields!(out, at, &raw, RawNames { drive, reserved, signature, serial, label, kind });
        out.push_str(&format!("{:08x}  code = {}\n", at + 26, crate::raw::show_bytes(rest)));
    }
    match volume.width {
        Width::Fat32 => info(out, source, volume),
        _ => Ok(()),
    }
}

/// The parameters that all widths share.
fn boot_parameters(out: &mut String, bytes: &[u8]) {
    let Ok(raw) = RawBoot::read_from_bytes(bytes) else {
        return;
    };
    out.push_str("boot sector\n");
    fields!(
        out,
        0_u64,
        &raw,
        RawBoot {
            jump,
            maker,
            bytes_per_sector,
            sectors_per_cluster,
            reserved_sectors,
            tables,
            root_entries,
            sectors_16,
            media,
            table_sectors_16,
            sectors_per_track,
            heads,
            hidden_sectors,
            sectors_32,
        }
    );
}

/// The sector behind the boot sector of FAT32.
fn info(out: &mut String, source: &(impl ReadAt + ?Sized), volume: &Volume) -> Result<()> {
    let mut sector = [0; 512];
    // A file system of so many clusters has more than two sectors.
    fill(source, &mut sector, volume.sector)?;
    if let Ok(raw) = RawInfo::read_from_bytes(&sector) {
        out.push_str("free clusters\n");
        let raw = &raw;
        fields!(
            out,
            volume.sector,
            raw,
            RawInfo { lead, reserved, signature, free_clusters, next_free, reserved_2, trail }
        );
    }
    Ok(())
}

/// The table as runs of clusters that follow each other.
fn runs(out: &mut String, volume: &Volume, table: &Table) {
    out.push_str(&format!("{:08x}  table of {} clusters\n", volume.table_at, volume.clusters));
    let last = u32::try_from(volume.clusters + 1).unwrap_or(u32::MAX);
    let mut cluster = 2;
    while cluster <= last {
        let first = cluster;
        while cluster < last && table.entry(cluster) == cluster + 1 {
            cluster += 1;
        }
        match table.entry(cluster) {
            0 if cluster == first => {}
            entry if Table::is_end(entry) => out.push_str(&format!("          {first} to {cluster}, end\n")),
            entry => out.push_str(&format!("          {first} to {cluster}, then {entry:#x}\n")),
        }
        cluster += 1;
    }
}

/// The bytes of a chain as far as it makes sense.
fn chain(volume: &Volume, table: &Table, first: u32) -> Vec<Extent> {
    let mut extents = Vec::new();
    let mut cluster = first;
    for _ in 0..volume.clusters {
        let number = u64::from(cluster);
        if number < 2 || number >= volume.clusters + 2 {
            break;
        }
        extents.push(Extent { at: volume.data_at + (number - 2) * volume.cluster, len: volume.cluster });
        cluster = table.entry(cluster);
    }
    extents
}

fn directory(
    out: &mut String,
    source: &(impl ReadAt + ?Sized),
    volume: &Volume,
    table: &Table,
    extents: &[Extent],
    waiting: &mut Vec<Vec<Extent>>,
) -> Result<()> {
    let mut bytes = [0; 32];
    for extent in extents {
        for offset in (0..extent.len).step_by(32) {
            let at = extent.at + offset;
            fill(source, &mut bytes, at)?;
            if bytes[0] == 0 {
                return Ok(());
            }
            let Ok(raw) = RawEntry::read_from_bytes(&bytes) else {
                continue;
            };
            if raw.attributes & 0x3f == LONG_NAME
                && let Ok(raw) = RawLongName::read_from_bytes(&bytes)
            {
                let raw = &raw;
                fields!(
                    out,
                    at,
                    raw,
                    RawLongName { sequence, name_1, attributes, kind, checksum, name_2, cluster, name_3 }
                );
                continue;
            }
            let cluster = u32::from(raw.cluster_high.get()) << 16 | u32::from(raw.cluster_low.get());
            let is_dir = raw.attributes & (DIRECTORY | LABEL) == DIRECTORY && raw.name[0] != b'.';
            if is_dir && raw.name[0] != FREE {
                waiting.push(chain(volume, table, cluster));
            }
            entry(out, at, &raw);
        }
    }
    Ok(())
}

fn entry(out: &mut String, at: u64, raw: &RawEntry) {
    fields!(
        out,
        at,
        raw,
        RawEntry {
            name,
            attributes,
            lower_case,
            created_fine,
            created_time,
            created_date,
            accessed_date,
            cluster_high,
            modified_time,
            modified_date,
            cluster_low,
            size,
        }
    );
}
