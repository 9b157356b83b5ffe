//! Bytes to tree. Every field is checked before it is believed.

use std::io;

use zerocopy::FromBytes;

use super::geometry::Width;
use super::layout::{
    DIRECTORY, FREE, LABEL, LAST_PART, LONG_NAME, RawBoot, RawBoot32, RawEntry, RawLongName, RawNames,
};
use super::{names, time};
use crate::io::{ReadAt, ReadError, wide};
use crate::iso9660::Extent;
use crate::tree::{Dir, Kind, Leaf, Meta, Name, Node, Tree};

/// Largest allocation table we read: that of a FAT32 file system with 16 million clusters.
const LARGEST_TABLE: u64 = 64 << 20;
/// Deepest directory.
const DEEPEST: usize = 128;

/// The rule that was broken, with the values that broke it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corruption {
    /// Not a boot sector at all.
    #[error("sector 0 does not end in 55 aa")]
    Signature,
    /// A size that no FAT file system has.
    #[error("{field} is {value}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The file system is larger than the image.
    #[error("{need} bytes of file system in an image of {have} bytes")]
    Truncated {
        /// Bytes the boot sector asks for.
        need: u64,
        /// Bytes there are.
        have: u64,
    },
    /// A chain of clusters leads out of the table, or to a free or bad cluster.
    #[error("chain leads to cluster {cluster}, entry {entry:#x}")]
    Chain {
        /// Cluster with the entry.
        cluster: u32,
        /// The entry.
        entry: u32,
    },
    /// A cluster belongs to two files, or to one twice.
    #[error("cluster {0} is used twice")]
    Shared(u32),
    /// The chain of a file is shorter or longer than its size asks for.
    #[error("file of {size} bytes has {clusters} clusters")]
    Length {
        /// Size of the file.
        size: u32,
        /// Clusters of its chain.
        clusters: u64,
    },
    /// A part of a long name out of order, or not that of the entry that follows.
    #[error("long name is not that of the entry that follows")]
    LongName,
    /// The name cannot be a file name.
    #[error("{:?} cannot be a file name", String::from_utf8_lossy(.0))]
    Name(Vec<u8>),
    /// Two entries of a directory have one name.
    #[error("name {:?} occurs twice", String::from_utf8_lossy(.0))]
    Twice(Vec<u8>),
    /// Directories in directories without end.
    #[error("directories are nested deeper than 128")]
    Deep,
}

pub(super) type Result<T> = std::result::Result<T, ReadError<Corruption>>;

/// The bytes of a file in its clusters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Ranges of the image in the order of the file; together as long as the file.
    pub extents: Vec<Extent>,
}

/// What the boot sector says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Width of an entry of the table.
    pub width: Width,
    /// Serial number.
    pub serial: u32,
    /// Label in the boot sector, without padding. The one in the root directory is what programs show.
    pub label: String,
    /// Bytes of a sector.
    pub sector: u64,
    /// Bytes of a cluster.
    pub cluster: u64,
    /// Number of clusters.
    pub clusters: u64,
    /// First byte of the first table.
    pub table_at: u64,
    /// Bytes of a table.
    pub table_len: u64,
    /// Number of tables.
    pub tables: u8,
    /// Bytes of the root directory of FAT12 and FAT16.
    pub root: Extent,
    /// First cluster of the root directory of FAT32.
    pub root_cluster: u32,
    /// First byte of cluster 2.
    pub data_at: u64,
    /// Bytes of the file system.
    pub size: u64,
}

/// Reads the boot sector.
pub fn open(source: &(impl ReadAt + ?Sized)) -> Result<Volume> {
    let corrupt = |kind| ReadError::Corrupt { at: 0, kind };
    let (sector, have) = boot_sector(source)?;
    let Ok((boot, rest)) = RawBoot::read_from_prefix(&sector) else {
        return Err(corrupt(Corruption::Signature));
    };
    let field = |field, value| corrupt(Corruption::Field { field, value });
    plausible(&boot).map_err(|(name, value)| field(name, value))?;
    let bytes = u64::from(boot.bytes_per_sector.get());
    let reserved = u64::from(boot.reserved_sectors.get());
    let (more, rest_32) = RawBoot32::read_from_prefix(rest).map_err(|_| corrupt(Corruption::Signature))?;
    let is_32 = boot.table_sectors_16.get() == 0;
    let names = RawNames::read_from_prefix(if is_32 { rest_32 } else { rest });
    let (names, _) = names.map_err(|_| corrupt(Corruption::Signature))?;
    let table = if is_32 { more.table_sectors.get().into() } else { u64::from(boot.table_sectors_16.get()) };
    let sectors = match boot.sectors_16.get() {
        0 => u64::from(boot.sectors_32.get()),
        sectors => sectors.into(),
    };
    // All of these have at most 32 bits, so nothing overflows.
    let root_at = (reserved + u64::from(boot.tables) * table) * bytes;
    let root_len = (u64::from(boot.root_entries.get()) * 32).next_multiple_of(bytes);
    let data_at = root_at + root_len;
    let size = sectors * bytes;
    if size > have {
        return Err(corrupt(Corruption::Truncated { need: size, have }));
    }
    let cluster = u64::from(boot.sectors_per_cluster) * bytes;
    let clusters = size.checked_sub(data_at).ok_or_else(|| field("sectors", sectors))? / cluster;
    let width = Width::of(clusters);
    if (width == Width::Fat32) != is_32 || table * bytes < width.table_bytes(clusters) {
        return Err(field("sectors of a table", table));
    }
    if table * bytes > LARGEST_TABLE {
        return Err(ReadError::Unsupported { at: 36, feature: "allocation table above 64 MiB" });
    }
    Ok(Volume {
        width,
        serial: names.serial.get(),
        label: String::from_utf8_lossy(&names.label).trim_end_matches(' ').to_owned(),
        sector: bytes,
        cluster,
        clusters,
        table_at: reserved * bytes,
        table_len: table * bytes,
        tables: boot.tables,
        root: Extent { at: root_at, len: root_len },
        root_cluster: if is_32 { more.root_cluster.get() } else { 0 },
        data_at,
        size,
    })
}

/// Sector 0, and the size of the image.
fn boot_sector(source: &(impl ReadAt + ?Sized)) -> Result<([u8; 512], u64)> {
    let have = source.size().map_err(|source| ReadError::Io { at: 0, len: 0, source })?;
    let corrupt = |kind| ReadError::Corrupt { at: 0, kind };
    let mut sector = [0; 512];
    if have < 512 {
        return Err(corrupt(Corruption::Truncated { need: 512, have }));
    }
    fill(source, &mut sector, 0)?;
    if sector[510..] != [0x55, 0xaa] {
        return Err(corrupt(Corruption::Signature));
    }
    Ok((sector, have))
}

/// Refuses sizes that no FAT file system has, with the name of the field.
fn plausible(boot: &RawBoot) -> std::result::Result<(), (&'static str, u64)> {
    let bytes = boot.bytes_per_sector.get();
    if !matches!(bytes, 512 | 1024 | 2048 | 4096) {
        return Err(("bytes per sector", bytes.into()));
    }
    if !boot.sectors_per_cluster.is_power_of_two() {
        return Err(("sectors per cluster", boot.sectors_per_cluster.into()));
    }
    if boot.reserved_sectors.get() == 0 {
        return Err(("reserved sectors", 0));
    }
    if !matches!(boot.tables, 1 | 2) {
        return Err(("tables", boot.tables.into()));
    }
    Ok(())
}

pub(super) fn fill(source: &(impl ReadAt + ?Sized), buffer: &mut [u8], at: u64) -> Result<()> {
    let len = wide(buffer.len());
    source.read_exact_at(buffer, at).map_err(|source: io::Error| ReadError::Io { at, len, source })
}

/// The entries of the first allocation table, by cluster.
pub(super) struct Table {
    width: Width,
    bytes: Vec<u8>,
}

impl Table {
    pub(super) fn read(source: &(impl ReadAt + ?Sized), volume: &Volume, number: u64) -> Result<Self> {
        // `open` found that the table lies in the image and is below 64 MiB.
        let mut bytes = vec![0; usize::try_from(volume.table_len).unwrap_or(0)];
        fill(source, &mut bytes, volume.table_at + number * volume.table_len)?;
        Ok(Self { width: volume.width, bytes })
    }

    /// The entry of `cluster`, widened so that ends and bad clusters look as in FAT32.
    pub(super) fn entry(&self, cluster: u32) -> u32 {
        let index = usize::try_from(cluster).unwrap_or(usize::MAX);
        let byte = |at: Option<usize>| at.and_then(|at| self.bytes.get(at)).copied().unwrap_or(0);
        let at = |width: usize, plus: usize| index.checked_mul(width).and_then(|at| at.checked_add(plus));
        let (value, most) = match self.width {
            Width::Fat32 => {
                let value = [0, 1, 2, 3].map(|plus| byte(at(4, plus)));
                return u32::from_le_bytes(value) & 0x0fff_ffff;
            }
            Width::Fat16 => (u16::from_le_bytes([byte(at(2, 0)), byte(at(2, 1))]), 0xffff),
            Width::Fat12 => {
                let first = index.checked_add(index / 2);
                let pair = u16::from_le_bytes([byte(first), byte(first.and_then(|at| at.checked_add(1)))]);
                (if index % 2 == 0 { pair & 0xfff } else { pair >> 4 }, 0xfff)
            }
        };
        let value = u32::from(value);
        if value >= most - 15 { 0x0fff_ffff - (most - value) } else { value }
    }

    /// Whether an entry ends a chain.
    pub(super) fn is_end(entry: u32) -> bool {
        entry >= 0x0fff_fff8
    }
}

/// Reads all directories. Directories get mode 0755 and files 0644; the owner is root.
pub fn read_tree(source: &(impl ReadAt + ?Sized), volume: &Volume) -> Result<Tree<Chain>> {
    Ok(read_used(source, volume)?.0)
}

/// The tree, and how many clusters its files and directories have.
pub(super) fn read_used(source: &(impl ReadAt + ?Sized), volume: &Volume) -> Result<(Tree<Chain>, u64)> {
    let table = Table::read(source, volume, 0)?;
    let used = vec![false; usize::try_from(volume.clusters + 2).unwrap_or(0)];
    let mut reader = Reader { source, volume, table, used, tree: Tree::new(Meta::root(0o755, 0)) };
    let root = match volume.width {
        Width::Fat32 => reader.extents(volume.root_cluster, 0)?,
        _ => vec![volume.root],
    };
    let mut dir = Dir::new(Meta::root(0o755, 0));
    reader.directory(&mut dir, &root, 0)?;
    reader.tree.root = dir;
    let used = wide(reader.used.iter().filter(|used| **used).count());
    Ok((reader.tree, used))
}

struct Reader<'a, R: ?Sized> {
    source: &'a R,
    volume: &'a Volume,
    table: Table,
    used: Vec<bool>,
    tree: Tree<Chain>,
}

impl<R: ReadAt + ?Sized> Reader<'_, R> {
    /// The bytes of the chain that begins with `first`; `at` is where that was said.
    fn extents(&mut self, first: u32, at: u64) -> Result<Vec<Extent>> {
        let corrupt = |kind| ReadError::Corrupt { at, kind };
        let mut extents: Vec<Extent> = Vec::new();
        let (mut cluster, mut from) = (first, first);
        loop {
            let number = u64::from(cluster);
            if number < 2 || number >= self.volume.clusters + 2 {
                return Err(corrupt(Corruption::Chain { cluster: from, entry: cluster }));
            }
            let used = usize::try_from(cluster).ok().and_then(|index| self.used.get_mut(index));
            match used {
                Some(used) if !*used => *used = true,
                _ => return Err(corrupt(Corruption::Shared(cluster))),
            }
            let start = self.volume.data_at + (number - 2) * self.volume.cluster;
            match extents.last_mut() {
                Some(last) if last.at + last.len == start => last.len += self.volume.cluster,
                _ => extents.push(Extent { at: start, len: self.volume.cluster }),
            }
            let next = self.table.entry(cluster);
            if Table::is_end(next) {
                return Ok(extents);
            }
            (from, cluster) = (cluster, next);
        }
    }

    fn directory(&mut self, dir: &mut Dir, extents: &[Extent], depth: usize) -> Result<()> {
        let at = extents.first().map_or(0, |extent| extent.at);
        if depth > DEEPEST {
            return Err(ReadError::Corrupt { at, kind: Corruption::Deep });
        }
        let mut long = LongName::default();
        for extent in extents {
            let mut bytes = [0; 32];
            for offset in (0..extent.len).step_by(32) {
                let at = extent.at + offset;
                fill(self.source, &mut bytes, at)?;
                match bytes[0] {
                    0 => return Ok(()),
                    FREE => long = LongName::default(),
                    _ => self.entry(dir, at, &bytes, &mut long, depth)?,
                }
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        dir: &mut Dir,
        at: u64,
        bytes: &[u8; 32],
        long: &mut LongName,
        depth: usize,
    ) -> Result<()> {
        let corrupt = |kind| ReadError::Corrupt { at, kind };
        let Ok(raw) = RawEntry::read_from_bytes(bytes) else {
            return Ok(());
        };
        if raw.attributes & 0x3f == LONG_NAME {
            let Ok(raw) = RawLongName::read_from_bytes(bytes) else {
                return Ok(());
            };
            return long.add(&raw).ok_or(corrupt(Corruption::LongName));
        }
        let spelled = std::mem::take(long).finish(&raw.name).ok_or(corrupt(Corruption::LongName))?;
        if raw.attributes & LABEL != 0 || raw.name.starts_with(b". ") || raw.name.starts_with(b"..") {
            return Ok(());
        }
        let name = spelled.unwrap_or_else(|| short_name(&raw));
        let name = Name::new(&name).map_err(|_| corrupt(Corruption::Name(name)))?;
        let mtime = time::seconds(raw.modified_date.get(), raw.modified_time.get());
        let cluster = u32::from(raw.cluster_high.get()) << 16 | u32::from(raw.cluster_low.get());
        let is_dir = raw.attributes & DIRECTORY != 0;
        let mut extents = Vec::new();
        if cluster != 0 || is_dir {
            extents = self.extents(cluster, at)?;
        }
        let taken = name.as_bytes().to_vec();
        let node = if is_dir {
            let mut below = Dir::new(Meta::root(0o755, mtime));
            self.directory(&mut below, &extents, depth + 1)?;
            Node::Dir(below)
        } else {
            let chain = cut(extents, raw.size.get(), self.volume.cluster).map_err(corrupt)?;
            Node::Leaf(self.tree.add_leaf(Leaf { meta: Meta::root(0o644, mtime), kind: Kind::File(chain) }))
        };
        dir.insert(name, node).map_err(|_| corrupt(Corruption::Twice(taken)))
    }
}

/// Shortens the clusters of a file to its size.
fn cut(mut extents: Vec<Extent>, size: u32, cluster: u64) -> std::result::Result<Chain, Corruption> {
    let have: u64 = extents.iter().map(|extent| extent.len).sum();
    let need = u64::from(size).next_multiple_of(cluster);
    if have != need {
        return Err(Corruption::Length { size, clusters: have / cluster });
    }
    if let Some(last) = extents.last_mut() {
        last.len -= need - u64::from(size);
    }
    Ok(Chain { extents })
}

/// A short name with its dot, in the case that Windows NT noted.
pub(super) fn short_name(raw: &RawEntry) -> Vec<u8> {
    let part = |bytes: &[u8], lower: bool| -> Vec<u8> {
        let end = bytes.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
        bytes[..end].iter().map(|byte| if lower { byte.to_ascii_lowercase() } else { *byte }).collect()
    };
    let mut name = part(&raw.name[..8], raw.lower_case & 8 != 0);
    // 0xe5 marks a free entry, so a name that begins with it has 5 instead.
    if let Some(first @ 5) = name.first_mut() {
        *first = FREE;
    }
    let extension = part(&raw.name[8..], raw.lower_case & 0x10 != 0);
    if !extension.is_empty() {
        name.push(b'.');
        name.extend(extension);
    }
    name
}

/// The parts of a long name that came so far.
#[derive(Debug, Default)]
pub(super) struct LongName {
    units: Vec<u16>,
    /// Number of the part that has to come next.
    next: u8,
    checksum: u8,
    open: bool,
}

impl LongName {
    pub(super) fn add(&mut self, raw: &RawLongName) -> Option<()> {
        let number = raw.sequence & !LAST_PART;
        if raw.sequence & LAST_PART != 0 {
            *self = Self { units: Vec::new(), next: number, checksum: raw.checksum, open: true };
        }
        if !self.open || number == 0 || number > 20 || number != self.next || raw.checksum != self.checksum {
            return None;
        }
        self.next -= 1;
        let bytes = raw.name_1.iter().chain(&raw.name_2).chain(&raw.name_3).copied().collect::<Vec<u8>>();
        let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let mut part: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        part.append(&mut self.units);
        self.units = part;
        Some(())
    }

    /// The name, if there is one; `None` if it is not that of the entry with the short name `short`.
    pub(super) fn finish(self, short: &[u8; 11]) -> Option<Option<Vec<u8>>> {
        if !self.open {
            return Some(None);
        }
        if self.next != 0 || self.checksum != names::checksum(short) {
            return None;
        }
        Some(Some(String::from_utf16(&self.units).ok()?.into_bytes()))
    }
}
