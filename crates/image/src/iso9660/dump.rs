//! Every structure with its byte offset.

use std::collections::BTreeSet;

use zerocopy::FromBytes;

use super::layout::{BLOCK, RawBootEntry, RawBootRecord, RawRecord, RawSection, RawValidation, RawVolume};
use super::read::{Bytes, Corruption, Record, Result, RootAt, Volume, open, records};
use super::tables::path_table;
use super::{Extent, attributes};
use crate::gpt;
use crate::io::{ReadAt, ReadError};
use crate::raw::{fields, show_bytes};

/// The text form of an image: partition tables if there are any, volume descriptors, boot catalog, path tables and
/// all directories with their system use entries. The bytes of files are not looked at.
pub fn dump(source: &(impl ReadAt + ?Sized)) -> Result<String> {
    let mut out = String::new();
    let bytes = Bytes::new(source)?;
    let volume = open(source)?;
    let mut sector = [0; 512];
    bytes.fill(&mut sector, 0)?;
    if sector != [0; 512] {
        match gpt::dump(source) {
            Ok(text) => out.push_str(&text),
            Err(error) => out.push_str(&format!("partition tables: {error}\n")),
        }
    }
    for (at, block) in bytes.descriptors()? {
        descriptor(&mut out, at, &block);
        path_tables(&mut out, &bytes, &block)?;
    }
    if let Some(block) = volume.catalog {
        catalog(&mut out, u64::from(block) * BLOCK, &bytes.block(block.into())?);
    }
    let mut seen = BTreeSet::new();
    for (title, root) in [("primary", Some(volume.primary)), ("Joliet", volume.supplementary)] {
        let Some(root) = root else { continue };
        let mut waiting = vec![root];
        while let Some(dir) = waiting.pop() {
            let at = u64::from(dir.block) * BLOCK;
            if !seen.insert(dir.block) {
                return Err(ReadError::Corrupt { at, kind: Corruption::Loop(dir.block) });
            }
            bytes.inside(at, at, dir.size.into())?;
            out.push_str(&format!("{title} directory in block {}\n", dir.block));
            let below = waiting.len();
            directory(&mut out, &bytes, &volume, dir, &mut waiting)?;
            waiting[below..].reverse();
        }
    }
    Ok(out)
}

fn descriptor(out: &mut String, at: u64, block: &[u8; 2048]) {
    if block[0] == 0
        && let Ok(raw) = RawBootRecord::read_from_bytes(block)
    {
        out.push_str("boot record\n");
        return fields!(out, at, &raw, RawBootRecord { kind, id, version, system, unused, catalog, rest });
    }
    let Ok(raw) = RawVolume::read_from_bytes(block) else {
        return;
    };
    if raw.kind == 255 {
        return out.push_str(&format!("{at:08x}  terminator {}\n", show_bytes(&block[..7])));
    }
    out.push_str("volume descriptor\n");
    fields!(
        out,
        at,
        &raw,
        RawVolume {
            kind,
            id,
            version,
            flags,
            system,
            volume,
            unused,
            blocks,
            escape,
            set_size,
            sequence,
            block_size,
            path_table_size,
            path_table_l,
            path_table_l_copy,
            path_table_m,
            path_table_m_copy,
            root,
            volume_set,
            publisher,
            preparer,
            application,
            copyright_file,
            abstract_file,
            bibliographic_file,
            created,
            modified,
            expires,
            effective,
            structure_version,
            reserved,
            application_use,
            rest,
        }
    );
}

fn path_tables<R: ReadAt + ?Sized>(out: &mut String, bytes: &Bytes<'_, R>, block: &[u8; 2048]) -> Result<()> {
    let Ok(raw) = RawVolume::read_from_bytes(block) else {
        return Ok(());
    };
    if !matches!(raw.kind, 1 | 2) {
        return Ok(());
    }
    for (title, at, big) in [("L", raw.path_table_l.get(), false), ("M", raw.path_table_m.get(), true)] {
        let place = Extent { at: u64::from(at) * BLOCK, len: raw.path_table_size.get().into() };
        out.push_str(&format!("{:08x}  path table {title}\n", place.at));
        match path_table(bytes, place, big)? {
            None => out.push_str("          does not end with an entry\n"),
            Some(entries) => {
                for (number, entry) in (1_u32..).zip(entries) {
                    let id = show_bytes(&entry.id);
                    out.push_str(&format!(
                        "          {number}: block {} parent {} {id}\n",
                        entry.block, entry.parent
                    ));
                }
            }
        }
    }
    Ok(())
}

fn catalog(out: &mut String, at: u64, block: &[u8; 2048]) {
    out.push_str("boot catalog\n");
    let used = block.rchunks_exact(32).skip_while(|entry| entry.iter().all(|byte| *byte == 0)).count();
    let mut left = 1;
    for (index, bytes) in (0_u64..).zip(block.chunks_exact(32)).take(used) {
        let at = at + index * 32;
        if index == 0
            && let Ok(raw) = RawValidation::read_from_bytes(bytes)
        {
            fields!(out, at, &raw, RawValidation { header, platform, reserved, maker, checksum, key });
        } else if left > 0
            && let Ok(raw) = RawBootEntry::read_from_bytes(bytes)
        {
            left -= 1;
            let raw = &raw;
            fields!(
                out,
                at,
                raw,
                RawBootEntry {
                    bootable,
                    media,
                    load_segment,
                    system,
                    unused,
                    sectors,
                    block,
                    criteria_kind,
                    criteria
                }
            );
        } else if let Ok(raw) = RawSection::read_from_bytes(bytes) {
            left = raw.entries.get();
            fields!(out, at, &raw, RawSection { header, platform, entries, section_id });
        }
    }
}

fn directory<R: ReadAt + ?Sized>(
    out: &mut String,
    bytes: &Bytes<'_, R>,
    volume: &Volume,
    dir: RootAt,
    waiting: &mut Vec<RootAt>,
) -> Result<()> {
    records(bytes, dir, |record| {
        line(out, record);
        if record.is_dir() && !record.is_special() {
            waiting.push(RootAt { block: record.raw.block.get(), size: record.raw.size.get() });
        }
        for (at, entry) in attributes::read(bytes, record, volume.skip)?.entries {
            let (signature, data) = entry.split_at(2);
            let text = String::from_utf8_lossy(signature).into_owned();
            out.push_str(&format!("{at:08x}    {text} {}\n", show_bytes(data)));
        }
        Ok(())
    })
}

fn line(out: &mut String, record: &Record<'_>) {
    use crate::raw::Show;
    let RawRecord { length, xattr_blocks, block, size, time, flags, unit, gap, volume, id_length } =
        &record.raw;
    out.push_str(&format!(
        "{:08x}  {} length {length} xattr {xattr_blocks} block {} size {} time {} flags {flags:02x} unit {unit} gap {gap} volume {} id_length {id_length}\n",
        record.at,
        show_bytes(record.id),
        block.show(),
        size.show(),
        time.show(),
        volume.show(),
    ));
}
