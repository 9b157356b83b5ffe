//! Which byte of an image is whose.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::attributes::{self, Attributes};
use super::layout::{BLOCK, RawBootEntry, RawBootRecord, RawRecord, RawSection, RawValidation, RawVolume};
use super::read::{Bytes, Corruption, Item, Names, Record, RootAt, Volume, open, records};
use super::{Extent, boot_images, time};
use crate::epoch::civil;
use crate::extent::{
    Container, Field, LONGEST_PATH, Parsed, Role, Source, Structure, Unreadable, fields_of, show,
};
use crate::gpt;
use crate::io::{ReadError, Window, wide};
use crate::raw::{Show, show_bytes};

const FORMAT: &str = "iso9660";
/// Sectors 0 to 15 of 2048 bytes: not ISO 9660's (ECMA-119, 6.2.1).
const SYSTEM_AREA: u64 = 16 * BLOCK;

static SYSTEM: Structure = Structure::plain("system area");
static VOLUME: Structure = Structure { name: "volume descriptor", fields: volume };
static JOLIET: Structure = Structure { name: "Joliet volume descriptor", fields: volume };
static BOOT_RECORD: Structure = Structure { name: "boot record", fields: boot_record };
static TERMINATOR: Structure = Structure::plain("volume descriptor set terminator");
static PATH_TABLE: Structure = Structure { name: "path table", fields: path_table_little };
static PATH_TABLE_BIG: Structure = Structure { name: "path table, big-endian", fields: path_table_big };
static CATALOG: Structure = Structure { name: "boot catalog", fields: catalog };
static RECORD: Structure = Structure { name: "directory record", fields: record };
static JOLIET_RECORD: Structure = Structure { name: "Joliet directory record", fields: record };
static SYSTEM_USE: Structure = Structure { name: "system use entry", fields: system_use };
static DIRECTORY_END: Structure = Structure::plain("end of directory block");
static DATA: Structure = Structure::plain("data");
static SLACK: Structure = Structure::plain("slack of the last block");
static BOOT_IMAGE: Structure = Structure::plain("boot image");
static PARTITION: Structure = Structure::plain("partition");
static PADDING: Structure = Structure::plain("padding behind the volume");

/// The structure of an image.
///
/// # Errors
/// If the volume descriptors cannot be believed. Everything else that is wrong is among [`Parsed::faults`].
pub fn extents(source: &Source) -> Result<Parsed, Unreadable> {
    let failed = |error: ReadError<Corruption>| Unreadable::new(FORMAT, &error);
    let volume = open(source).map_err(failed)?;
    let bytes = Bytes::new(source).map_err(failed)?;
    let mut found = Container::new(FORMAT, source)?;
    Claims { source, bytes, volume: &volume, base: 0, found: &mut found }.all();
    Ok(found.finish())
}

struct Claims<'a> {
    source: &'a Source,
    bytes: Bytes<'a, Source>,
    volume: &'a Volume,
    /// Where the volume begins in the image.
    base: u64,
    found: &'a mut Container,
}

impl Claims<'_> {
    fn all(&mut self) {
        self.hierarchies();
        if let Some(block) = self.volume.catalog {
            self.found.claim_own(u64::from(block) * BLOCK, BLOCK, &CATALOG);
        }
        self.partitions();
        self.boot_images();
        self.found.claim_own(0, SYSTEM_AREA, &SYSTEM);
        let end = u64::from(self.volume.blocks) * BLOCK;
        self.found.claim_own(end, self.bytes.size.saturating_sub(end), &PADDING);
    }

    /// Descriptors, tables and directories.
    fn hierarchies(&mut self) {
        self.descriptors();
        let names = if self.volume.names == Names::RockRidge { Names::RockRidge } else { Names::Plain };
        self.tree(self.volume.primary, names, &RECORD);
        if let Some(root) = self.volume.supplementary {
            self.tree(root, Names::Joliet, &JOLIET_RECORD);
        }
    }

    fn descriptors(&mut self) {
        let all = self.bytes.descriptors();
        let all = all.unwrap_or_else(|error| {
            self.found.note(&error);
            Vec::new()
        });
        for (at, block) in all {
            let structure = match block[0] {
                0 => &BOOT_RECORD,
                1 => &VOLUME,
                2 => &JOLIET,
                255 => &TERMINATOR,
                _ => continue,
            };
            self.found.claim_own(self.base + at, BLOCK, structure);
            let Ok((raw, _)) = <RawVolume as zerocopy::FromBytes>::read_from_prefix(&block) else { continue };
            if !matches!(block[0], 1 | 2) {
                continue;
            }
            let size = u64::from(raw.path_table_size.get());
            for (block, structure) in [
                (raw.path_table_l.get(), &PATH_TABLE),
                (raw.path_table_l_copy.get(), &PATH_TABLE),
                (raw.path_table_m.get(), &PATH_TABLE_BIG),
                (raw.path_table_m_copy.get(), &PATH_TABLE_BIG),
            ] {
                if block != 0 {
                    self.found.claim_own(self.base + u64::from(block) * BLOCK, size, structure);
                }
            }
        }
    }

    /// One hierarchy of directories, each record as the entry's own.
    fn tree(&mut self, root: RootAt, names: Names, structure: &'static Structure) {
        let (mut seen, mut waiting) = (BTreeSet::new(), vec![(root, b"/".to_vec())]);
        while let Some((dir, path)) = waiting.pop() {
            if path.len() > LONGEST_PATH || !seen.insert(dir.block) {
                let kind =
                    if path.len() > LONGEST_PATH { Corruption::Deep } else { Corruption::Loop(dir.block) };
                self.found.note(&ReadError::Corrupt { at: u64::from(dir.block) * BLOCK, kind });
                continue;
            }
            let below = waiting.len();
            match self.directory(dir, &path, names, structure) {
                Ok(found) => waiting.extend(found),
                Err(error) => self.found.note(&error),
            }
            waiting[below..].reverse();
        }
    }

    /// Claims the records of one directory and the files they name; the directories in it.
    fn directory(
        &mut self,
        dir: RootAt,
        path: &[u8],
        names: Names,
        structure: &'static Structure,
    ) -> Result<Vec<(RootAt, Vec<u8>)>, ReadError<Corruption>> {
        let own = self.found.owner(path);
        // The file whose next part the next record has.
        let (mut below, mut open) = (Vec::new(), None);
        let Self { bytes, volume, base, found: all, .. } = self;
        let result = records(bytes, dir, |record| {
            let found = match names {
                Names::RockRidge => attributes::read(bytes, record, volume.skip)?,
                _ => attributes::Found::default(),
            };
            let (at, len) = (record.at, u64::from(record.raw.length));
            let places: Vec<_> = found.entries.iter().map(|(at, entry)| (*at, wide(entry.len()))).collect();
            let item = Item::new(record, found.attributes, names)?;
            let owner = match item.special {
                true => own,
                false => all.owner(&joined(path, item.name.as_deref().unwrap_or_default())),
            };
            all.claim(*base + at, len, structure, owner);
            for (entry, len) in places.into_iter().filter(|(entry, _)| !(at..at + len).contains(entry)) {
                all.claim(*base + entry, len, &SYSTEM_USE, owner);
            }
            if item.special || item.attributes.relocated {
                return Ok(());
            }
            if let Some(place) = child(bytes, &item.attributes)?.or(item.dir) {
                below.push((place, all.path(owner).to_vec()));
                return Ok(());
            }
            let file = open.take().unwrap_or_else(|| all.file(owner));
            for Extent { at, len } in &item.extents {
                all.data(file, *base + at, *len, &DATA);
                let end = (*base + at).saturating_add(*len);
                all.claim(end, end.next_multiple_of(BLOCK) - end, &SLACK, owner);
            }
            open = item.continued.then_some(file);
            Ok(())
        });
        all.claim(*base + u64::from(dir.block) * BLOCK, u64::from(dir.size), &DIRECTORY_END, own);
        result.map(|()| below)
    }

    /// Partition tables, and partitions that are not files.
    fn partitions(&mut self) {
        for partition in gpt::claim(self.source, self.found) {
            let (start, end) = (partition.start, partition.start.saturating_add(partition.len));
            // A partition that starts before or right behind the system area is the volume itself, whose directories may be
            // there once more, with blocks counted from its start.
            if start <= SYSTEM_AREA || end > self.bytes.size {
                self.again(start);
                continue;
            }
            self.found.part(&format!("partition {}", partition.number), start, partition.len, &PARTITION);
        }
    }

    /// The volume as it is seen in a partition that starts at `start`, if it can be.
    fn again(&mut self, start: u64) {
        let Some(len) = self.bytes.size.checked_sub(start).filter(|_| start > 0) else { return };
        let source: Source = Arc::new(Window::new(Arc::clone(self.source), start, len));
        if let (Ok(volume), Ok(bytes)) = (open(&source), Bytes::new(&source)) {
            let found = &mut *self.found;
            Claims { source: &source, bytes, volume: &volume, base: start, found }.hierarchies();
        }
    }

    fn boot_images(&mut self) {
        let images = boot_images(self.source, self.volume);
        let images = images.unwrap_or_else(|error| {
            self.found.note(&error);
            Vec::new()
        });
        for (number, image) in (1..).zip(images) {
            let name = format!("boot image {number}");
            self.found.part(&name, image.at, u64::from(image.sectors) * 512, &BOOT_IMAGE);
        }
    }
}

/// The directory that an entry stands in for (RRIP, CL entry).
fn child(
    bytes: &Bytes<'_, Source>,
    attributes: &Attributes,
) -> Result<Option<RootAt>, ReadError<Corruption>> {
    let Some(block) = attributes.child else { return Ok(None) };
    let first = bytes.block(block.into())?;
    let record = Record::parse(&first, 0, u64::from(block) * BLOCK)?;
    Ok(Some(RootAt { block, size: record.map_or(0, |record| record.raw.size.get()) }))
}

fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    let slash = if path.ends_with(b"/") { &b""[..] } else { b"/" };
    [path, slash, name].concat()
}

fn volume(bytes: &[u8]) -> Vec<Field> {
    let mut all = fields_of!(
        bytes,
        0,
        RawVolume {
            kind,
            id,
            version,
            flags,
            system,
            volume,
            unused,
            blocks Place,
            escape,
            set_size,
            sequence,
            block_size,
            path_table_size Place,
            path_table_l Place,
            path_table_l_copy Place,
            path_table_m Place,
            path_table_m_copy Place,
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
    for field in all.iter_mut().filter(|field| field.len == 17) {
        let at = usize::try_from(field.at).unwrap_or(usize::MAX);
        let seconds = bytes.get(at..at + 17).and_then(time::from_long);
        if let Some(seconds) = seconds.and_then(|seconds| u32::try_from(seconds).ok()) {
            field.value = format!("{} ({})", civil(seconds), field.value);
        }
    }
    all
}

fn boot_record(bytes: &[u8]) -> Vec<Field> {
    fields_of!(bytes, 0, RawBootRecord { kind, id, version, system, unused, catalog Place, rest })
}

fn catalog(bytes: &[u8]) -> Vec<Field> {
    let (mut all, mut left) = (Vec::new(), 1);
    for (index, entry) in bytes.chunks_exact(32).enumerate() {
        let at = wide(index * 32);
        let fields = match entry[0] {
            _ if index == 0 => {
                fields_of!(entry, at, RawValidation { header, platform, reserved, maker, checksum Checksum, key })
            }
            _ if left > 0 => {
                left -= 1;
                fields_of!(
                    entry,
                    at,
                    RawBootEntry {
                        bootable,
                        media,
                        load_segment,
                        system,
                        unused,
                        sectors,
                        block Place,
                        criteria_kind,
                        criteria,
                    }
                )
            }
            0x90 | 0x91 => {
                left = u16::from_le_bytes([entry[2], entry[3]]);
                fields_of!(entry, at, RawSection { header, platform, entries, section_id })
            }
            _ => vec![show(bytes, index * 32, 32, "rest")],
        };
        all.extend(fields.into_iter().map(|field| numbered(field, index)));
    }
    all
}

/// The same names come again in each entry.
fn numbered(mut field: Field, index: usize) -> Field {
    field.name = format!("entry {index}: {}", field.name).into();
    field
}

fn path_table(bytes: &[u8], number: fn([u8; 4]) -> u32, parent: fn([u8; 2]) -> u16) -> Vec<Field> {
    let (mut all, mut at, mut count) = (Vec::new(), 0, 1);
    while let Some([length, _, a, b, c, d, e, f, tail @ ..]) = bytes.get(at..) {
        let length = usize::from(*length);
        let Some(id) = tail.get(..length) else { break };
        let whole = (8 + length + length % 2).min(bytes.len() - at);
        let value =
            format!("{} in block {}, parent {}", show_bytes(id), number([*a, *b, *c, *d]), parent([*e, *f]));
        let name = format!("directory {count}").into();
        all.push(Field { at: wide(at), len: wide(whole), name, value, role: Role::Place });
        (at, count) = (at + whole, count + 1);
    }
    all
}

fn path_table_little(bytes: &[u8]) -> Vec<Field> {
    path_table(bytes, u32::from_le_bytes, u16::from_le_bytes)
}

fn path_table_big(bytes: &[u8]) -> Vec<Field> {
    path_table(bytes, u32::from_be_bytes, u16::from_be_bytes)
}

fn record(bytes: &[u8]) -> Vec<Field> {
    let mut all = fields_of!(
        bytes,
        0,
        RawRecord {
            length,
            xattr_blocks,
            block Place,
            size Place,
            time,
            flags,
            unit,
            gap,
            volume,
            id_length,
        }
    );
    for field in all.iter_mut().filter(|field| field.name == "time") {
        field.value = short(&bytes[18..25]);
    }
    let Ok(Some(record)) = Record::parse(bytes, 0, 0) else { return all };
    all.push(show(bytes, 33, record.id.len(), "identifier"));
    all.extend(entries(record.system_use, usize::from(record.raw.length) - record.system_use.len()));
    all
}

fn system_use(bytes: &[u8]) -> Vec<Field> {
    entries(bytes, 0)
}

/// System use entries, the first of which lies at `base`.
fn entries(bytes: &[u8], base: usize) -> Vec<Field> {
    let (mut all, mut at) = (Vec::new(), 0);
    while let Some([a, b, length, ..]) = bytes.get(at..)
        && *a != 0
        && *length >= 4
    {
        let Some(entry) = bytes.get(at..at + usize::from(*length)) else { break };
        let data = &entry[4..];
        let signature = String::from_utf8_lossy(&[*a, *b]).into_owned();
        let number = |index: usize| {
            let bytes = data.get(index * 8..)?.first_chunk::<4>()?;
            Some(u32::from_le_bytes(*bytes))
        };
        let numbers: &[(&str, bool)] = match &[*a, *b] {
            b"PX" => &[("mode", true), ("links", false), ("uid", false), ("gid", false), ("serial", false)],
            b"PN" => &[("device, high", false), ("device, low", false)],
            b"CE" => &[("block", false), ("offset", false), ("length", false)],
            _ => &[],
        };
        if numbers.is_empty() {
            let value = match (&[*a, *b], data) {
                (b"TF", [flags, times @ ..]) if flags & 0x80 == 0 => {
                    let times: Vec<_> = times.chunks_exact(7).map(short).collect();
                    format!("{flags:#x} {}", times.join(" "))
                }
                // What it leads to, as far as this entry says.
                (b"SL", [_, components @ ..]) => match attributes::link(components) {
                    Some(target) => format!("\"{}\" ({})", target.escape_ascii(), show_bytes(data)),
                    None => show_bytes(data),
                },
                _ => show_bytes(data),
            };
            let (at, len) = (wide(base + at), wide(entry.len()));
            all.push(Field { at, len, name: signature.clone().into(), value, role: Role::Value });
        }
        for (index, (name, octal)) in numbers.iter().enumerate() {
            let Some(value) = number(index) else { break };
            let role = if signature == "CE" || *name == "serial" { Role::Place } else { Role::Value };
            all.push(Field {
                at: wide(base + at + 4 + index * 8),
                len: 8,
                name: format!("{signature} {name}").into(),
                value: if *octal { format!("{value:#o}") } else { value.to_string() },
                role,
            });
        }
        at += entry.len();
    }
    all
}

/// A short time as date, with its bytes where they say more.
fn short(bytes: &[u8]) -> String {
    let Some(raw) = bytes.first_chunk::<7>() else { return show_bytes(bytes) };
    match u32::try_from(time::from_short(*raw)) {
        Ok(seconds) if raw[6] == 0 && time::short(seconds) == *raw => civil(seconds).to_string(),
        _ => raw.show(),
    }
}
