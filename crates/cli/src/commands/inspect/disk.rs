//! Partition tables.

use selfsame_image::ReadAt;
use selfsame_image::gpt::{self, Guid, Mbr, MbrPartition, SECTOR};
use selfsame_image::io::Window;

use super::part::Part;
use super::{Error, within};

/// Describes a disk and what is in its partitions.
pub fn describe(source: &dyn ReadAt, part: Part, depth: u32) -> Result<Part, Error> {
    let disk = gpt::read(source)?;
    let Some(gpt) = &disk.gpt else {
        return Ok(disk.mbr.iter().fold(part, |part, mbr| mbr_partitions(source, mbr, part, depth)));
    };
    let mut part = part.fact("disk id", gpt.disk.to_string());
    for problem in gpt::check(source)? {
        part = part.fact("problem", problem.to_string());
    }
    Ok(gpt.partitions.iter().fold(part, |part, partition| {
        let at = partition.first.saturating_mul(SECTOR);
        let size = (partition.last + 1).saturating_sub(partition.first).saturating_mul(SECTOR);
        let inner = Part::new(format!("partition {}", partition.number)).at(at).size(size);
        let inner = inner.fact("kind", kind(partition.kind)).fact("label", partition.name.as_str());
        let inner = inner.fact("id", partition.id.to_string());
        part.part(inside(source, at, size, inner, depth))
    }))
}

/// The tables of a hybrid image, whose partitions are described elsewhere.
pub fn tables(source: &dyn ReadAt) -> Result<Vec<Part>, Error> {
    let disk = gpt::read(source)?;
    let mut parts = Vec::new();
    if let Some(mbr) = disk.mbr {
        let used = |partition: &MbrPartition| *partition != MbrPartition::UNUSED;
        let entries = mbr.partitions.iter().enumerate().filter(|(_, partition)| used(partition));
        let table = Part::new("master boot record")
            .fact("boot code", if mbr.code == [0; 440] { "no" } else { "yes" });
        parts.push(
            entries.fold(table, |table, (index, partition)| table.part(mbr_partition(index, partition))),
        );
    }
    if let Some(gpt) = disk.gpt {
        let table = Part::new("GUID partition table").fact("disk id", gpt.disk.to_string());
        parts.push(gpt.partitions.iter().fold(table, |table, partition| {
            let size = (partition.last + 1).saturating_sub(partition.first).saturating_mul(SECTOR);
            let inner = Part::new(format!("partition {}", partition.number));
            let inner = inner.at(partition.first.saturating_mul(SECTOR)).size(size);
            table.part(inner.fact("kind", kind(partition.kind)).fact("label", partition.name.as_str()))
        }));
    }
    Ok(parts)
}

fn mbr_partitions(source: &dyn ReadAt, mbr: &Mbr, part: Part, depth: u32) -> Part {
    let part = part.fact("disk id", format!("{:08x}", mbr.disk_id));
    let entries =
        mbr.partitions.iter().enumerate().filter(|(_, partition)| **partition != MbrPartition::UNUSED);
    entries.fold(part, |part, (index, partition)| {
        let (at, size) = (u64::from(partition.first) * SECTOR, u64::from(partition.sectors) * SECTOR);
        part.part(inside(source, at, size, mbr_partition(index, partition), depth))
    })
}

fn mbr_partition(index: usize, partition: &MbrPartition) -> Part {
    let part = Part::new(format!("partition {}", index + 1));
    let part = part.at(u64::from(partition.first) * SECTOR).size(u64::from(partition.sectors) * SECTOR);
    let kind = match partition.kind {
        0x00 => "0x00 (none)".to_owned(),
        0xee => "0xee (protects a GUID partition table)".to_owned(),
        0xef => "0xef (EFI system partition)".to_owned(),
        other => format!("{other:#04x}"),
    };
    let part = part.fact("kind", kind);
    if partition.active { part.fact("active", "yes") } else { part }
}

/// Looks into a partition, unless it begins where the disk itself does: that would be the disk again.
fn inside(source: &dyn ReadAt, at: u64, size: u64, part: Part, depth: u32) -> Part {
    if at == 0 { part } else { within(&Window::new(source, at, size), part, depth + 1) }
}

fn kind(guid: Guid) -> String {
    let name = match guid {
        Guid::ESP => "EFI system partition",
        Guid::BASIC_DATA => "basic data",
        Guid::LINUX => "Linux file system",
        _ => return guid.to_string(),
    };
    format!("{guid} ({name})")
}
