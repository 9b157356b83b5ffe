//! Which byte of a disk is whose.

use super::layout::{ENTRY_SIZE, RawEntry, RawHeader, RawMbr, RawMbrPartition, SIGNATURE};
use super::{Guid, MbrPartition, SECTOR};
use crate::extent::{Container, Field, Parsed, Source, Structure, Unreadable, fields_of, prefixed};
use crate::io::ReadAt;

const FORMAT: &str = "disk";
/// Entries of a table that are looked at; hybrid images of other tools have 248.
const MOST_ENTRIES: u32 = 1024;

static MBR: Structure = Structure { name: "master boot record", fields: mbr };
static HEADER: Structure = Structure { name: "GPT header", fields: header };
static BACKUP: Structure = Structure { name: "backup GPT header", fields: header };
static ENTRIES: Structure = Structure { name: "GPT entries", fields: entries };
static BACKUP_ENTRIES: Structure = Structure { name: "backup GPT entries", fields: entries };
static PARTITION: Structure = Structure::plain("partition");

/// Where a table says that a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    pub(crate) number: u32,
    /// Its first byte.
    pub(crate) start: u64,
    /// Its length in bytes.
    pub(crate) len: u64,
}

/// The structure of a disk.
pub fn extents(source: &Source) -> Result<Parsed, Unreadable> {
    let mut disk = Container::new(FORMAT, source)?;
    for Partition { number, start, len } in claim(source, &mut disk) {
        let len = len.min(disk.size().saturating_sub(start));
        disk.part(&format!("partition {number}"), start, len, &PARTITION);
    }
    Ok(disk.finish())
}

/// Claims the tables of a disk, as far as they can be read; the partitions they name.
///
/// Checksums are not checked: whose a byte is does not depend on them.
pub(crate) fn claim(source: &(impl ReadAt + ?Sized), disk: &mut Container) -> Vec<Partition> {
    let mut partitions = Vec::new();
    let Some(raw) = read::<RawMbr>(source, 0).filter(|raw| raw.signature == [0x55, 0xaa]) else {
        return partitions;
    };
    disk.claim_own(0, SECTOR, &MBR);
    for (number, entry) in (1..).zip(&raw.partitions) {
        let used = entry.kind != 0 && entry.kind != MbrPartition::protective(0).kind;
        if used && entry.sectors.get() > 0 {
            let (start, len) =
                (u64::from(entry.first.get()) * SECTOR, u64::from(entry.sectors.get()) * SECTOR);
            partitions.push(Partition { number, start, len });
        }
    }
    let Some(primary) = table(source, disk, 1, (&HEADER, &ENTRIES)) else { return partitions };
    let last = source.size().unwrap_or(0) / SECTOR;
    table(source, disk, last.saturating_sub(1), (&BACKUP, &BACKUP_ENTRIES));
    // A hybrid disk has the same partitions in both tables; the GPT says more.
    primary
}

/// Claims the header in a sector and its entries.
fn table(
    source: &(impl ReadAt + ?Sized),
    disk: &mut Container,
    sector: u64,
    (header, entries): (&'static Structure, &'static Structure),
) -> Option<Vec<Partition>> {
    let at = sector.saturating_mul(SECTOR);
    let raw = read::<RawHeader>(source, at).filter(|raw| raw.signature == SIGNATURE)?;
    disk.claim_own(at, SECTOR, header);
    let count = raw.entry_count.get().min(MOST_ENTRIES);
    let size = u64::from(raw.entry_size.get()).clamp(u64::from(ENTRY_SIZE), SECTOR);
    let start = raw.entries_sector.get().saturating_mul(SECTOR);
    disk.claim_own(start, u64::from(count) * size, entries);
    let mut partitions = Vec::new();
    for number in 0..count {
        let Some(entry) = read::<RawEntry>(source, start.saturating_add(u64::from(number) * size)) else {
            break;
        };
        let sectors = entry.last.get().checked_sub(entry.first.get()).and_then(|less| less.checked_add(1));
        if let Some(sectors) = sectors.filter(|_| entry.kind != [0; 16]) {
            let start = entry.first.get().saturating_mul(SECTOR);
            partitions.push(Partition { number: number + 1, start, len: sectors.saturating_mul(SECTOR) });
        }
    }
    Some(partitions)
}

fn read<T: zerocopy::FromBytes + zerocopy::IntoBytes>(source: &(impl ReadAt + ?Sized), at: u64) -> Option<T> {
    let mut raw = T::new_zeroed();
    source.read_exact_at(raw.as_mut_bytes(), at).ok()?;
    Some(raw)
}

fn mbr(bytes: &[u8]) -> Vec<Field> {
    let mut all = fields_of!(bytes, 0, RawMbr { code, disk_id, reserved, partitions, signature });
    let Some(at) = all.iter().position(|field| field.name == "partitions") else { return all };
    let table = all.remove(at);
    for (number, entry) in (0_u64..4).zip(bytes[446..510].chunks_exact(16)) {
        let fields = fields_of!(
            entry,
            table.at + number * 16,
            RawMbrPartition { status, first_chs Place, kind, last_chs Place, first Place, sectors Place }
        );
        all.extend(fields.into_iter().map(|field| prefixed(field, &format!("entry {}", number + 1))));
    }
    all
}

fn header(bytes: &[u8]) -> Vec<Field> {
    let mut all = fields_of!(
        bytes,
        0,
        RawHeader {
            signature,
            revision,
            header_size,
            header_crc Checksum,
            reserved,
            this_sector Place,
            other_sector Place,
            first_usable,
            last_usable Place,
            disk,
            entries_sector Place,
            entry_count,
            entry_size,
            entries_crc Checksum,
        }
    );
    guids(&mut all, bytes, &["disk"]);
    let used = size_of::<RawHeader>();
    all.push(crate::extent::show(bytes, used, bytes.len().saturating_sub(used), "rest of the sector"));
    all
}

fn entries(bytes: &[u8]) -> Vec<Field> {
    let mut all = Vec::new();
    for (number, entry) in (0_u64..).zip(bytes.chunks_exact(128)) {
        let at = number * 128;
        let mut fields =
            fields_of!(entry, 0, RawEntry { kind, id, first Place, last Place, attributes, name });
        guids(&mut fields, entry, &["kind", "id"]);
        for mut field in fields {
            if field.name == "name" {
                let units = entry[56..].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
                let name: Vec<u16> = units.collect();
                field.value = format!("{:?}", String::from_utf16_lossy(&name).trim_end_matches('\0'));
            }
            field.at += at;
            all.push(prefixed(field, &format!("partition {}", number + 1)));
        }
    }
    all
}

fn guids(fields: &mut [Field], bytes: &[u8], names: &[&str]) {
    for field in fields.iter_mut().filter(|field| names.contains(&&*field.name)) {
        let at = usize::try_from(field.at).unwrap_or(usize::MAX);
        if let Some(raw) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            field.value = Guid::from_disk(*raw).to_string();
        }
    }
}

const _: () = assert!(size_of::<RawHeader>() < 512);
