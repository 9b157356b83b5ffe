//! Every field with its byte offset.

use zerocopy::FromBytes;

use super::layout::{RawEntry, RawHeader, RawMbr, RawMbrPartition};
use super::read::{Corruption, entries, header, sector, sectors};
use super::{Guid, SECTOR};
use crate::io::{ReadAt, ReadError};
use crate::raw::{Show, fields};

/// The text form of MBR and both copies of the GPT; free entries are left out. A copy that cannot be read is
/// printed as its error.
pub fn dump(source: &(impl ReadAt + ?Sized)) -> Result<String, ReadError<Corruption>> {
    let mut out = String::new();
    mbr(&mut out, &sector(source, 0)?);
    let last = sectors(source)?.saturating_sub(1);
    for (title, place) in [("GPT primary", 1), ("GPT backup", last)] {
        match header(source, place) {
            Ok(raw) => table(&mut out, source, title, place, &raw),
            Err(error) => out.push_str(&format!("{title}: {error}\n")),
        }
    }
    Ok(out)
}

fn mbr(out: &mut String, bytes: &[u8; 512]) {
    let Ok(raw) = RawMbr::read_from_bytes(bytes) else {
        return;
    };
    out.push_str("MBR\n");
    fields!(out, 0_u64, &raw, RawMbr { code, disk_id, reserved, partitions, signature });
}

impl Show for [RawMbrPartition; 4] {
    fn show(&self) -> String {
        let one = |raw: &RawMbrPartition| {
            let RawMbrPartition { status, first_chs, kind, last_chs, first, sectors } = raw;
            format!(
                "[status {status:02x} type {kind:02x} first {first} sectors {sectors} chs {first_chs:02x?} to {last_chs:02x?}]"
            )
        };
        self.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

fn table(out: &mut String, source: &(impl ReadAt + ?Sized), title: &str, place: u64, raw: &RawHeader) {
    out.push_str(&format!("{title}\n"));
    fields!(
        out,
        place.saturating_mul(SECTOR),
        raw,
        RawHeader {
            signature,
            revision,
            header_size,
            header_crc,
            reserved,
            this_sector,
            other_sector,
            first_usable,
            last_usable,
            disk,
            entries_sector,
            entry_count,
            entry_size,
            entries_crc,
        }
    );
    let entries = match entries(source, raw) {
        Ok(entries) => entries,
        Err(error) => return out.push_str(&format!("{title} entries: {error}\n")),
    };
    let mut at = raw.entries_sector.get().saturating_mul(SECTOR);
    for (number, bytes) in (1_u32..).zip(entries.chunks_exact(128)) {
        if let Ok(raw) = RawEntry::read_from_bytes(bytes)
            && bytes.iter().any(|byte| *byte != 0)
        {
            let (kind, id) = (Guid::from_disk(raw.kind), Guid::from_disk(raw.id));
            out.push_str(&format!("partition {number}: type {kind}, id {id}\n"));
            fields!(out, at, &raw, RawEntry { kind, id, first, last, attributes, name });
        }
        at = at.saturating_add(128);
    }
}
