//! Which byte of a file system is whose.

use zerocopy::FromBytes;

use super::geometry::Width;
use super::layout::{
    DIRECTORY, FREE, LABEL, LONG_NAME, RawBoot, RawBoot32, RawEntry, RawInfo, RawLongName, RawNames,
};
use super::read::{Corruption, LongName, Table, Volume, fill, open, short_name};
use super::time;
use crate::epoch::civil;
use crate::extent::{
    Container, Field, LONGEST_PATH, Owner, Parsed, Role, Source, Structure, Unreadable, fields_of, show,
};
use crate::io::{ReadError, wide};

const FORMAT: &str = "fat";
/// Bytes of a directory entry.
const ENTRY: u64 = 32;

static BOOT: Structure = Structure { name: "boot sector", fields: boot };
static BACKUP: Structure = Structure { name: "backup boot sector", fields: boot };
static INFO: Structure = Structure { name: "FSInfo sector", fields: info };
static RESERVED: Structure = Structure::plain("reserved sectors");
static TABLE_12: Structure = Structure { name: "allocation table", fields: table_12 };
static TABLE_16: Structure = Structure { name: "allocation table", fields: table_16 };
static TABLE_32: Structure = Structure { name: "allocation table", fields: table_32 };
static RECORD: Structure = Structure { name: "directory entry", fields: entries };
static DELETED: Structure = Structure { name: "deleted directory entry", fields: entries };
static DIRECTORY_END: Structure = Structure::plain("end of directory");
static DATA: Structure = Structure::plain("data");
static SLACK: Structure = Structure::plain("slack of the last cluster");
static CLUSTERS: Structure = Structure::plain("free clusters");
static BEHIND: Structure = Structure::plain("data behind the file system");

/// The structure of a file system.
///
/// # Errors
/// If the boot sector cannot be believed. Everything else that is wrong is among [`Parsed::faults`].
pub fn extents(source: &Source) -> Result<Parsed, Unreadable> {
    let failed = |error: ReadError<Corruption>| Unreadable::new(FORMAT, &error);
    let volume = open(source).map_err(failed)?;
    let table = Table::read(source, &volume, 0).map_err(failed)?;
    let mut claims = Claims {
        source,
        used: vec![false; usize::try_from(volume.clusters + 2).unwrap_or(0)],
        volume,
        table,
        found: Container::new(FORMAT, source)?,
    };
    claims.all();
    Ok(claims.found.finish())
}

struct Claims<'a> {
    source: &'a Source,
    volume: Volume,
    table: Table,
    /// Clusters that belong to something.
    used: Vec<bool>,
    found: Container,
}

/// A directory that is still to be read.
struct Waiting {
    ranges: Vec<(u64, u64)>,
    path: Vec<u8>,
}

impl Claims<'_> {
    fn note(&mut self, at: u64, kind: Corruption) {
        self.found.note(&ReadError::Corrupt { at, kind });
    }

    fn all(&mut self) {
        let Volume { width, sector, table_at, table_len, tables, root, root_cluster, data_at, .. } =
            self.volume;
        self.found.claim_own(0, sector, &BOOT);
        let mut first = [0; 512];
        if width == Width::Fat32
            && fill(self.source, &mut first, 0).is_ok()
            && let Ok((more, _)) = RawBoot32::read_from_prefix(&first[36..])
        {
            let place = |number: u16| u64::from(number).saturating_mul(sector);
            let (info, backup) = (place(more.info_sector.get()), place(more.backup_sector.get()));
            self.found.claim_own(info, sector, &INFO);
            self.found.claim_own(backup, sector, &BACKUP);
            if backup > 0 {
                self.found.claim_own(backup + info, sector, &INFO);
            }
        }
        self.found.claim_own(0, table_at, &RESERVED);
        let structure = match width {
            Width::Fat12 => &TABLE_12,
            Width::Fat16 => &TABLE_16,
            Width::Fat32 => &TABLE_32,
        };
        for number in 0..u64::from(tables) {
            self.found.claim_own(table_at + number * table_len, table_len, structure);
        }
        let ranges = match width {
            Width::Fat32 => self.chain(root_cluster, 0),
            _ => vec![(root.at, root.len)],
        };
        let mut waiting = vec![Waiting { ranges, path: Vec::new() }];
        // A cluster belongs to one directory only, so this ends.
        while let Some(directory) = waiting.pop() {
            let below = waiting.len();
            self.directory(&directory, &mut waiting);
            waiting[below..].reverse();
        }
        self.found.claim_own(data_at, self.volume.size - data_at, &CLUSTERS);
        self.found.claim_own(self.volume.size, self.found.size() - self.volume.size, &BEHIND);
    }

    /// The bytes of the chain that begins with `first`, as far as it leads; `at` is where that was said.
    fn chain(&mut self, first: u32, at: u64) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let (mut cluster, mut from) = (first, first);
        loop {
            let number = u64::from(cluster);
            let used = usize::try_from(cluster).ok().filter(|index| *index >= 2);
            let Some(used) = used.and_then(|index| self.used.get_mut(index)) else {
                self.note(at, Corruption::Chain { cluster: from, entry: cluster });
                return ranges;
            };
            if std::mem::replace(used, true) {
                self.note(at, Corruption::Shared(cluster));
                return ranges;
            }
            let start = self.volume.data_at + (number - 2) * self.volume.cluster;
            match ranges.last_mut() {
                Some((at, len)) if *at + *len == start => *len += self.volume.cluster,
                _ => ranges.push((start, self.volume.cluster)),
            }
            let next = self.table.entry(cluster);
            if Table::is_end(next) {
                return ranges;
            }
            (from, cluster) = (cluster, next);
        }
    }

    fn directory(&mut self, directory: &Waiting, waiting: &mut Vec<Waiting>) {
        let own = self.found.owner(if directory.path.is_empty() { b"/" } else { &directory.path });
        // The parts of a long name, which lie before the entry, but not always right before it.
        let (mut long, mut parts) = (LongName::default(), Vec::new());
        let places = directory.ranges.iter().flat_map(|(start, len)| (*start..start + len).step_by(32));
        for at in places {
            let mut bytes = [0; 32];
            if fill(self.source, &mut bytes, at).is_err() || bytes[0] == 0 {
                break;
            }
            let Ok(raw) = RawEntry::read_from_bytes(&bytes) else { break };
            if bytes[0] == FREE {
                self.found.claim(at, ENTRY, &DELETED, own);
                (long, parts) = (LongName::default(), Vec::new());
                continue;
            }
            if raw.attributes & 0x3f == LONG_NAME {
                parts.push(at);
                let part = RawLongName::read_from_bytes(&bytes).ok();
                if part.and_then(|part| long.add(&part)).is_none() {
                    self.note(at, Corruption::LongName);
                    long = LongName::default();
                }
                continue;
            }
            let spelled = std::mem::take(&mut long).finish(&raw.name).unwrap_or_else(|| {
                self.note(at, Corruption::LongName);
                None
            });
            let name = spelled.unwrap_or_else(|| short_name(&raw));
            parts.push(at);
            self.entry(&raw, &std::mem::take(&mut parts), &name, directory, own, waiting);
        }
        for (start, len) in &directory.ranges {
            self.found.claim(*start, *len, &DIRECTORY_END, own);
        }
    }

    /// Claims an entry, whose parts lie at `parts`, and what it leads to.
    fn entry(
        &mut self,
        raw: &RawEntry,
        parts: &[u64],
        name: &[u8],
        directory: &Waiting,
        own: Owner,
        waiting: &mut Vec<Waiting>,
    ) {
        let special =
            raw.attributes & LABEL != 0 || raw.name.starts_with(b". ") || raw.name.starts_with(b"..");
        let slash = if directory.path.is_empty() { &b""[..] } else { b"/" };
        let path = [&directory.path, slash, name].concat();
        let owner = if special { own } else { self.found.owner(&path) };
        for run in parts.chunk_by(|a, b| *a + ENTRY == *b) {
            self.found.claim(run[0], wide(run.len()) * ENTRY, &RECORD, owner);
        }
        let at = parts.last().copied().unwrap_or_default();
        if special {
            return;
        }
        let cluster = u32::from(raw.cluster_high.get()) << 16 | u32::from(raw.cluster_low.get());
        let is_dir = raw.attributes & DIRECTORY != 0;
        if cluster == 0 && !is_dir {
            return;
        }
        let ranges = self.chain(cluster, at);
        if is_dir {
            match path.len() {
                0..=LONGEST_PATH => waiting.push(Waiting { ranges, path }),
                _ => self.note(at, Corruption::Deep),
            }
            return;
        }
        let (mut left, clusters) = (u64::from(raw.size.get()), wide(ranges.len()));
        let file = self.found.file(owner);
        for (start, len) in ranges {
            let used = left.min(len);
            if used > 0 {
                self.found.data(file, start, used, &DATA);
            }
            self.found.claim(start + used, len - used, &SLACK, owner);
            left -= used;
        }
        if left > 0 {
            self.note(at, Corruption::Length { size: raw.size.get(), clusters });
        }
    }
}

fn boot(bytes: &[u8]) -> Vec<Field> {
    let mut all = fields_of!(
        bytes,
        0,
        RawBoot {
            jump,
            maker,
            bytes_per_sector,
            sectors_per_cluster,
            reserved_sectors,
            tables,
            root_entries,
            sectors_16 Place,
            media,
            table_sectors_16 Place,
            sectors_per_track,
            heads,
            hidden_sectors Place,
            sectors_32 Place,
        }
    );
    let is_32 = bytes.get(22..24) == Some(&[0, 0]);
    let mut at = 36;
    if is_32 {
        let rest = bytes.get(at..).unwrap_or_default();
        all.extend(fields_of!(
            rest,
            wide(at),
            RawBoot32 { table_sectors Place, flags, version, root_cluster Place, info_sector, backup_sector, reserved }
        ));
        at += size_of::<RawBoot32>();
    }
    let rest = bytes.get(at..).unwrap_or_default();
    all.extend(fields_of!(rest, wide(at), RawNames { drive, reserved, signature, serial, label, kind }));
    at += size_of::<RawNames>();
    all.push(show(bytes, at, 510_usize.saturating_sub(at), "boot code"));
    all.push(show(bytes, 510, 2, "end signature"));
    all
}

fn info(bytes: &[u8]) -> Vec<Field> {
    fields_of!(
        bytes,
        0,
        RawInfo { lead, reserved, signature, free_clusters Place, next_free Place, reserved_2, trail }
    )
}

/// One field for each entry that is not free.
fn table(bytes: &[u8], width: usize, entry: impl Fn(usize) -> u32) -> Vec<Field> {
    // Widths are in half bytes.
    (0..bytes.len() * 2 / width)
        .filter_map(|cluster| {
            let value = entry(cluster);
            let (at, len) = (wide(cluster * width / 2), wide(width.div_ceil(2)));
            let name = format!("entry of cluster {cluster}").into();
            (value != 0).then(|| Field { at, len, name, value: format!("{value:#x}"), role: Role::Place })
        })
        .collect()
}

fn table_12(bytes: &[u8]) -> Vec<Field> {
    table(bytes, 3, |cluster| {
        let first = cluster + cluster / 2;
        let pair = u16::from_le_bytes([bytes[first], bytes.get(first + 1).copied().unwrap_or(0)]);
        u32::from(if cluster % 2 == 0 { pair & 0xfff } else { pair >> 4 })
    })
}

fn table_16(bytes: &[u8]) -> Vec<Field> {
    table(bytes, 4, |cluster| u32::from(u16::from_le_bytes([bytes[2 * cluster], bytes[2 * cluster + 1]])))
}

fn table_32(bytes: &[u8]) -> Vec<Field> {
    table(bytes, 8, |cluster| {
        let mut raw = [0; 4];
        raw.copy_from_slice(&bytes[4 * cluster..4 * cluster + 4]);
        u32::from_le_bytes(raw)
    })
}

/// The parts of a long name, and the entry they belong to.
fn entries(bytes: &[u8]) -> Vec<Field> {
    let mut all = Vec::new();
    for (number, entry) in (0_u64..).zip(bytes.chunks_exact(32)) {
        let at = number * ENTRY;
        if entry[11] & 0x3f == LONG_NAME {
            let fields = fields_of!(
                entry,
                at,
                RawLongName { sequence, name_1, attributes, kind, checksum Checksum, name_2, cluster, name_3 }
            );
            let part =
                |field: Field| Field { name: format!("long name {number}: {}", field.name).into(), ..field };
            all.extend(fields.into_iter().map(part));
            continue;
        }
        let mut fields = fields_of!(
            entry,
            at,
            RawEntry {
                name,
                attributes,
                lower_case,
                created_fine,
                created_time,
                created_date,
                accessed_date,
                cluster_high Place,
                modified_time,
                modified_date,
                cluster_low Place,
                size Place,
            }
        );
        if let Ok(raw) = RawEntry::read_from_bytes(entry) {
            let moment = |date: u16, time: u16| {
                u32::try_from(time::seconds(date, time))
                    .map_or_else(|_| "none".to_owned(), |at| civil(at).to_string())
            };
            let created = moment(raw.created_date.get(), raw.created_time.get());
            let modified = moment(raw.modified_date.get(), raw.modified_time.get());
            for field in &mut fields {
                match &*field.name {
                    "created_time" | "created_date" => field.value = format!("{} ({created})", field.value),
                    "modified_time" | "modified_date" => {
                        field.value = format!("{} ({modified})", field.value)
                    }
                    _ => {}
                }
            }
        }
        all.extend(fields);
    }
    all
}
