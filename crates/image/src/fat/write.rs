//! Tree to bytes, from front to back.

use std::io::{self, Write};

use zerocopy::IntoBytes;

use super::geometry::Width;
use super::layout::{
    DIRECTORY, LABEL, LAST_PART, LONG_NAME, RawBoot, RawBoot32, RawEntry, RawInfo, RawLongName, RawNames,
    SECTOR, UNITS,
};
use super::names::{Names, checksum, is_short};
use super::plan::{Plan, Run, Target, plan};
use super::{Fat, Written, time};
use crate::io::wide;
use crate::iso9660::Extent;
use crate::tree::Contents;

/// Why a file system cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The name has characters that FAT does not have, or is too long.
    #[error("{} cannot be a name in FAT", String::from_utf8_lossy(.0))]
    Name(Vec<u8>),
    /// FAT does not tell upper case from lower case.
    #[error("{} differs from another name in case only", String::from_utf8_lossy(.0))]
    SameName(Vec<u8>),
    /// FAT has files and directories only.
    #[error("{} is neither a file nor a directory", String::from_utf8_lossy(.0))]
    Kind(Vec<u8>),
    /// FAT has no extended attributes.
    #[error("{} has extended attributes", String::from_utf8_lossy(.0))]
    Xattrs(Vec<u8>),
    /// FAT has no files of 4 GiB or more.
    #[error("{} is larger than a file in FAT can be", String::from_utf8_lossy(.0))]
    TooLong(Vec<u8>),
    /// A directory needs more than 65520 entries.
    #[error("a directory of {0} names is larger than one in FAT can be")]
    TooManyEntries(usize),
    /// The label is longer than 11 characters or has characters that short names do not have.
    #[error("{0:?} cannot be a label")]
    Label(String),
    /// No FAT file system has this size.
    #[error("no FAT file system of {0} bytes is possible")]
    Size(u64),
    /// The tree does not fit.
    #[error("the tree needs {need} bytes of {have}")]
    Full {
        /// Bytes in whole clusters.
        need: u64,
        /// Bytes of all clusters.
        have: u64,
    },
    /// The bytes of a file cannot be read.
    #[error("cannot read the content of {}", String::from_utf8_lossy(.path))]
    Content {
        /// The file.
        path: Vec<u8>,
        /// What the source said.
        source: io::Error,
    },
    /// The source of a file has another size than the tree says.
    #[error("content of {} has {found} bytes, not {expected}", String::from_utf8_lossy(.path))]
    Differs {
        /// The file.
        path: Vec<u8>,
        /// Size in the tree.
        expected: u64,
        /// Size of the source.
        found: u64,
    },
    /// The output cannot be written.
    #[error("cannot write the file system")]
    Output(#[source] io::Error),
}

/// Code for machines that try to boot the partition: `int 18h`, "no boot device", hands back to the BIOS.
const CODE: [u8; 4] = [0xcd, 0x18, 0xeb, 0xfe];
/// Name of the program that made the file system, as the boot sector has it.
const MAKER: [u8; 8] = *b"SELFSAME";
/// Media type: fixed disk.
const MEDIA: u8 = 0xf8;

/// Writes `fat` and returns where the files went. The bytes depend on the arguments alone.
pub fn write(fat: &Fat<'_>, contents: &dyn Contents, out: &mut impl Write) -> Result<Written, WriteError> {
    let label = label(&fat.label)?;
    let plan = plan(fat)?;
    let geometry = plan.geometry;
    let mut out = Output { out, at: 0 };
    out.put(&reserved_area(fat, &plan, label))?;
    let table = table(&plan);
    for _ in 0..2 {
        out.put(&table)?;
    }
    for index in 0..plan.dirs.len() {
        let end = out.at + plan.dir_size(index);
        out.put(&directory(fat, &plan, index, label))?;
        out.zeros_to(end)?;
    }
    let mut files = Vec::new();
    for file in plan.files.iter().filter(|file| file.run.count > 0) {
        let end = out.at + file.run.count * geometry.cluster();
        files.push((file.path.clone(), Extent { at: out.at, len: file.content.size }));
        let failed = |source| WriteError::Content { path: file.path.clone(), source };
        let source = contents.open(&file.content).map_err(failed)?;
        let found = source.size().map_err(failed)?;
        if found != file.content.size {
            return Err(WriteError::Differs { path: file.path.clone(), expected: file.content.size, found });
        }
        let mut buffer = vec![0; 1 << 16];
        let mut done = 0;
        while done < found {
            let take = usize::try_from(found - done).unwrap_or(usize::MAX).min(buffer.len());
            source.read_exact_at(&mut buffer[..take], done).map_err(failed)?;
            out.put(&buffer[..take])?;
            done += wide(take);
        }
        out.zeros_to(end)?;
    }
    let size = geometry.sectors * SECTOR;
    out.zeros_to(size)?;
    Ok(Written { size, width: geometry.width, files })
}

struct Output<'a, W> {
    out: &'a mut W,
    at: u64,
}

impl<W: Write> Output<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.at += wide(bytes.len());
        self.out.write_all(bytes).map_err(WriteError::Output)
    }

    fn zeros_to(&mut self, end: u64) -> Result<(), WriteError> {
        let mut zeros = io::Read::take(io::repeat(0), end - self.at);
        self.at = end;
        io::copy(&mut zeros, self.out).map_err(WriteError::Output)?;
        Ok(())
    }
}

/// Eleven bytes padded by spaces; `None` for no label.
fn label(text: &str) -> Result<Option<[u8; 11]>, WriteError> {
    let good = |byte: u8| byte == b' ' || is_short(byte);
    if text.len() > 11 || text.starts_with(' ') || !text.bytes().all(good) {
        return Err(WriteError::Label(text.to_owned()));
    }
    let mut label = [b' '; 11];
    label[..text.len()].copy_from_slice(text.as_bytes());
    Ok((!text.is_empty()).then_some(label))
}

/// The low 16 bits and the high 16 bits.
fn halves(value: u64) -> (u16, u16) {
    let [a, b, c, d, ..] = value.to_le_bytes();
    (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
}

/// A value of the geometry, which has been checked to fit.
fn small<T: TryFrom<u64>>(value: u64) -> T {
    T::try_from(value).unwrap_or_else(|_| unreachable!("{value} was checked by the geometry"))
}

/// The boot sector.
fn boot_sector(fat: &Fat<'_>, plan: &Plan, label: Option<[u8; 11]>) -> Vec<u8> {
    let geometry = &plan.geometry;
    let is_32 = geometry.width == Width::Fat32;
    let parameters: u8 = if is_32 { 90 } else { 62 };
    let boot = RawBoot {
        jump: [0xeb, parameters - 2, 0x90],
        maker: MAKER,
        bytes_per_sector: small::<u16>(SECTOR).into(),
        sectors_per_cluster: small(geometry.cluster_sectors),
        reserved_sectors: small::<u16>(geometry.reserved).into(),
        tables: 2,
        root_entries: small::<u16>(plan.root_entries()).into(),
        sectors_16: if is_32 { 0 } else { u16::try_from(geometry.sectors).unwrap_or(0) }.into(),
        media: MEDIA,
        table_sectors_16: if is_32 { 0 } else { small::<u16>(geometry.table) }.into(),
        sectors_per_track: 63.into(),
        heads: 255.into(),
        hidden_sectors: fat.hidden_sectors.into(),
        sectors_32: match u16::try_from(geometry.sectors) {
            Ok(_) if !is_32 => 0,
            _ => small::<u32>(geometry.sectors),
        }
        .into(),
    };
    let names = RawNames {
        drive: 0x80,
        reserved: 0,
        signature: 0x29,
        serial: fat.serial.into(),
        label: label.unwrap_or(*b"NO NAME    "),
        kind: match geometry.width {
            Width::Fat12 => *b"FAT12   ",
            Width::Fat16 => *b"FAT16   ",
            Width::Fat32 => *b"FAT32   ",
        },
    };
    let mut sector = boot.as_bytes().to_vec();
    if is_32 {
        let more = RawBoot32 {
            table_sectors: small::<u32>(geometry.table).into(),
            flags: 0.into(),
            version: 0.into(),
            root_cluster: small::<u32>(plan.dirs[0].run.first).into(),
            info_sector: 1.into(),
            backup_sector: 6.into(),
            reserved: [0; 12],
        };
        sector.extend_from_slice(more.as_bytes());
    }
    sector.extend_from_slice(names.as_bytes());
    sector.extend_from_slice(&CODE);
    sector.resize(510, 0);
    sector.extend_from_slice(&[0x55, 0xaa]);
    sector
}

/// Boot sector, and for FAT32 its companions and the second copy of both.
fn reserved_area(fat: &Fat<'_>, plan: &Plan, label: Option<[u8; 11]>) -> Vec<u8> {
    let geometry = &plan.geometry;
    let sector = boot_sector(fat, plan, label);
    let mut area = sector.clone();
    if geometry.width == Width::Fat32 {
        let mut group = [sector, info(plan)].concat();
        // The third sector is code that we do not have, but its signature is looked for.
        group.resize(3 * 512 - 2, 0);
        group.extend_from_slice(&[0x55, 0xaa]);
        area = group.clone();
        area.resize(6 * 512, 0);
        area.extend_from_slice(&group);
    }
    area.resize(small::<usize>(geometry.reserved * SECTOR), 0);
    area
}

/// How much is free, for FAT32.
fn info(plan: &Plan) -> Vec<u8> {
    let free = plan.geometry.clusters - plan.used;
    let raw = RawInfo {
        lead: *b"RRaA",
        reserved: [0; 480],
        signature: *b"rrAa",
        free_clusters: small::<u32>(free).into(),
        next_free: if free == 0 { u32::MAX } else { small::<u32>(plan.used + 2) }.into(),
        reserved_2: [0; 12],
        trail: [0, 0, 0x55, 0xaa],
    };
    raw.as_bytes().to_vec()
}

/// One file allocation table, padded to whole sectors.
fn table(plan: &Plan) -> Vec<u8> {
    let geometry = &plan.geometry;
    let mut table = Table { width: geometry.width, bytes: Vec::new(), half: None };
    // Entry 0 repeats the media type, entry 1 says that the file system is clean.
    table.push(0x0fff_ff00 | u32::from(MEDIA));
    table.push(0x0fff_ffff);
    for Run { first, count } in plan.runs().filter(|run| run.count > 0) {
        for next in first + 1..first + count {
            table.push(small(next));
        }
        table.push(0x0fff_ffff);
    }
    let mut bytes = table.finish();
    bytes.resize(small::<usize>(geometry.table * SECTOR), 0);
    bytes
}

/// Packs entries of 12, 16 or 32 bits.
struct Table {
    width: Width,
    bytes: Vec<u8>,
    /// The first of two entries of 12 bits.
    half: Option<u32>,
}

impl Table {
    fn push(&mut self, entry: u32) {
        let [a, b, _, _] = entry.to_le_bytes();
        match self.width {
            Width::Fat32 => self.bytes.extend_from_slice(&entry.to_le_bytes()),
            Width::Fat16 => self.bytes.extend_from_slice(&[a, b]),
            Width::Fat12 => match self.half.take() {
                None => self.half = Some(entry),
                Some(first) => {
                    let pair = first & 0xfff | (entry & 0xfff) << 12;
                    let [a, b, c, _] = pair.to_le_bytes();
                    self.bytes.extend_from_slice(&[a, b, c]);
                }
            },
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.half.is_some() {
            self.push(0);
        }
        self.bytes
    }
}

/// The entries of a directory.
fn directory(fat: &Fat<'_>, plan: &Plan, index: usize, label: Option<[u8; 11]>) -> Vec<u8> {
    let dir = &plan.dirs[index];
    let mut bytes = Vec::new();
    if index > 0 {
        bytes.extend_from_slice(entry(*b".          ", DIRECTORY, dir.run.first, 0, dir.mtime).as_bytes());
        // By rule the root is cluster 0 here, also where it has another number.
        let parent = if dir.parent == 0 { 0 } else { plan.dirs[dir.parent].run.first };
        let mtime = plan.dirs[dir.parent].mtime;
        bytes.extend_from_slice(entry(*b"..         ", DIRECTORY, parent, 0, mtime).as_bytes());
    } else if let Some(label) = label {
        bytes.extend_from_slice(entry(label, LABEL, 0, 0, fat.epoch.0).as_bytes());
    }
    for one in &dir.entries {
        long_name(&mut bytes, &one.names);
        let raw = match one.target {
            Target::Dir(dir) => entry(one.names.short, DIRECTORY, plan.dirs[dir].run.first, 0, one.mtime),
            Target::File(file) => {
                let file = &plan.files[file];
                entry(one.names.short, 0, file.run.first, small(file.content.size), one.mtime)
            }
        };
        bytes.extend_from_slice(raw.as_bytes());
    }
    bytes
}

fn entry(name: [u8; 11], attributes: u8, cluster: u64, size: u32, mtime: u32) -> RawEntry {
    let (low, high) = halves(cluster);
    let at = time::dos(mtime);
    RawEntry {
        name,
        attributes,
        lower_case: 0,
        created_fine: at.fine,
        created_time: at.time.into(),
        created_date: at.date.into(),
        accessed_date: at.date.into(),
        cluster_high: high.into(),
        modified_time: at.time.into(),
        modified_date: at.date.into(),
        cluster_low: low.into(),
        size: size.into(),
    }
}

/// The entries of a long name, last part first.
fn long_name(bytes: &mut Vec<u8>, names: &Names) {
    let Some(long) = &names.long else { return };
    let checksum = checksum(&names.short);
    let parts: Vec<&[u16]> = long.chunks(UNITS).collect();
    for (index, part) in parts.iter().enumerate().rev() {
        let number = u8::try_from(index + 1).unwrap_or_else(|_| unreachable!("names have at most 255 units"));
        // A name that does not fill its last entry ends with a zero; what follows is all ones.
        let padded = part.iter().copied().chain([0]).chain(std::iter::repeat(u16::MAX)).take(UNITS);
        let units: Vec<u8> = padded.flat_map(u16::to_le_bytes).collect();
        let mut raw = RawLongName {
            sequence: number | if index + 1 == parts.len() { LAST_PART } else { 0 },
            name_1: [0; 10],
            attributes: LONG_NAME,
            kind: 0,
            checksum,
            name_2: [0; 12],
            cluster: 0.into(),
            name_3: [0; 4],
        };
        raw.name_1.copy_from_slice(&units[..10]);
        raw.name_2.copy_from_slice(&units[10..22]);
        raw.name_3.copy_from_slice(&units[22..]);
        bytes.extend_from_slice(raw.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_bit_entries_share_bytes() {
        let mut table = Table { width: Width::Fat12, bytes: Vec::new(), half: None };
        for entry in [0xff8, 0xfff, 0x123, 0x456, 0x789] {
            table.push(entry);
        }
        assert_eq!(table.finish(), [0xf8, 0xff, 0xff, 0x23, 0x61, 0x45, 0x89, 0x07, 0x00]);
    }

    #[test]
    fn labels_are_eleven_bytes() {
        assert_eq!(label("").unwrap(), None);
        assert_eq!(label("ESP").unwrap(), Some(*b"ESP        "));
        assert_eq!(label("A B-C").unwrap(), Some(*b"A B-C      "));
        for bad in ["lower", "TWELVE CHARS", " X", "A/B", "É"] {
            assert!(label(bad).is_err(), "{bad}");
        }
    }
}
