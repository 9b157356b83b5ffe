//! What is wrong with an image.

use std::collections::BTreeSet;

use zerocopy::FromBytes;

use super::layout::{BLOCK, RawBootInfo, RawRecord, RawVolume};
use super::read::{Bytes, Corruption, RootAt, Volume, open, read_tree, records};
use super::tables::{PathEntry, boot_images, path_table};
use super::{BootImage, Extent, Names, eltorito};
use crate::gpt::{self, Gpt};
use crate::io::{ReadAt, ReadError, Window};
use crate::tree::{Kind, Tree};

/// Largest boot image whose checksum is computed.
const LARGEST_BOOT_IMAGE: u64 = 16 << 20;

/// Something a firmware, a kernel or a tool may stumble over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A structure cannot be read.
    #[error("{what}: {error}")]
    Unreadable {
        /// What was read.
        what: &'static str,
        /// Why it cannot be.
        error: ReadError<Corruption>,
    },
    /// The descriptors do not end with a terminator.
    #[error("volume descriptors have no terminator")]
    NoTerminator,
    /// A number differs in its two byte orders.
    #[error("byte {at:#x}: number differs in its two byte orders")]
    ByteOrders {
        /// Byte offset of the structure.
        at: u64,
    },
    /// A path table does not list the directories.
    #[error("path table at byte {at:#x} differs from the directories at entry {number}")]
    PathTable {
        /// Byte offset of the table.
        at: u64,
        /// First entry that differs, from 1.
        number: usize,
    },
    /// `.` or `..` leads elsewhere.
    #[error("byte {at:#x}: . or .. of a directory is missing or leads elsewhere")]
    Special {
        /// Byte offset of the directory.
        at: u64,
    },
    /// Records are not in the order of ECMA-119, 9.3.
    #[error("byte {at:#x}: record is out of order")]
    Order {
        /// Byte offset of the record.
        at: u64,
    },
    /// The bytes of two files overlap without being the same.
    #[error("bytes {one:?} and {other:?} of two files overlap")]
    Overlap {
        /// One.
        one: Extent,
        /// The other.
        other: Extent,
    },
    /// The Joliet tree has a file that the primary tree has not.
    #[error("Joliet tree has a file at byte {:#x} that the primary tree has not", .0.at)]
    JolietOnly(Extent),
    /// The boot info table does not describe its image.
    #[error("boot info table at byte {at:#x} does not describe its image")]
    BootInfo {
        /// Byte offset of the table.
        at: u64,
    },
    /// The MBR code would start something else than the boot image.
    #[error("boot code starts sector {starts}, the boot image is in sector {image}")]
    BootCode {
        /// Where the code looks.
        starts: u64,
        /// Where the image is.
        image: u64,
    },
    /// The image for UEFI is no partition, so it starts from CD only.
    #[error("the image for UEFI at byte {at:#x} is no GPT partition")]
    NotAPartition {
        /// First byte of the image.
        at: u64,
    },
    /// The partition tables have a problem.
    #[error(transparent)]
    Gpt(gpt::Problem),
    /// The partition tables cannot be read.
    #[error("partition tables")]
    GptUnreadable(#[source] ReadError<gpt::Corruption>),
    /// The partition shows other files than the whole disk.
    #[error("partition {0} shows other files than the whole disk")]
    PartitionDiffers(u32),
}

/// Collects the problems of an image. Only a source that cannot be read is an error.
pub fn check(source: &(impl ReadAt + ?Sized)) -> Result<Vec<Problem>, ReadError<Corruption>> {
    let mut problems = Vec::new();
    match all(source, &mut problems) {
        Ok(()) => Ok(problems),
        Err(error @ ReadError::Io { .. }) => Err(error),
        Err(error) => {
            problems.push(Problem::Unreadable { what: "image", error });
            Ok(problems)
        }
    }
}

fn all(source: &(impl ReadAt + ?Sized), problems: &mut Vec<Problem>) -> Result<(), ReadError<Corruption>> {
    let bytes = Bytes::new(source)?;
    let volume = open(source)?;
    let descriptors = bytes.descriptors()?;
    if descriptors.last().is_none_or(|(_, block)| block[0] != 255) {
        problems.push(Problem::NoTerminator);
    }
    for (at, block) in &descriptors {
        if let Ok(raw) = RawVolume::read_from_bytes(block)
            && matches!(raw.kind, 1 | 2)
        {
            directories(&bytes, *at, &raw, problems)?;
        }
    }
    let tree = read_tree(
        source,
        &volume,
        if volume.names == Names::RockRidge { Names::RockRidge } else { Names::Plain },
    )?;
    let extents = extents(&tree);
    let sorted: Vec<Extent> = extents.iter().copied().collect();
    for pair in sorted.windows(2) {
        if pair[0].at.saturating_add(pair[0].len) > pair[1].at {
            problems.push(Problem::Overlap { one: pair[0], other: pair[1] });
        }
    }
    if volume.joliet {
        let joliet = self::extents(&read_tree(source, &volume, Names::Joliet)?);
        problems.extend(joliet.difference(&extents).map(|extent| Problem::JolietOnly(*extent)));
    }
    let images = boot_images(source, &volume)?;
    boot(&bytes, &images, &extents, problems)?;
    partitions(source, &volume, &images, &tree, problems)
}

fn extents(tree: &Tree<Vec<Extent>>) -> BTreeSet<Extent> {
    let files = tree.leaves().iter().filter_map(|leaf| match &leaf.kind {
        Kind::File(extents) => Some(extents),
        _ => None,
    });
    files.flatten().copied().collect()
}

/// A directory on the way through one tree.
struct Walked {
    place: RootAt,
    parent: usize,
    id: Vec<u8>,
}

/// Holds the directories of one tree against themselves and against the path tables.
fn directories<R: ReadAt + ?Sized>(
    bytes: &Bytes<'_, R>,
    at: u64,
    raw: &RawVolume,
    problems: &mut Vec<Problem>,
) -> Result<(), ReadError<Corruption>> {
    let agree = raw.blocks.agrees()
        && raw.path_table_size.agrees()
        && raw.set_size.agrees()
        && raw.sequence.agrees()
        && raw.block_size.agrees()
        && record_agrees(&raw.root.record);
    if !agree {
        problems.push(Problem::ByteOrders { at });
    }
    let root = RootAt { block: raw.root.record.block.get(), size: raw.root.record.size.get() };
    let mut walked = vec![Walked { place: root, parent: 0, id: vec![0] }];
    let mut next = 0;
    let mut seen = BTreeSet::from([root.block]);
    while let Some(&Walked { place, parent, .. }) = walked.get(next) {
        let parent = walked[parent].place;
        for dir in directory(bytes, place, parent, next, raw.kind == 1, problems)? {
            if !seen.insert(dir.place.block) {
                let at = u64::from(dir.place.block) * BLOCK;
                return Err(ReadError::Corrupt { at, kind: Corruption::Loop(dir.place.block) });
            }
            walked.push(dir);
        }
        next += 1;
    }
    for (block, big) in [(raw.path_table_l.get(), false), (raw.path_table_m.get(), true)] {
        let place = Extent { at: u64::from(block) * BLOCK, len: raw.path_table_size.get().into() };
        let table = path_table(bytes, place, big)?.unwrap_or_default();
        let same = |(dir, entry): (&Walked, &PathEntry)| {
            dir.place.block == entry.block
                && dir.id == entry.id
                && u16::try_from(dir.parent + 1) == Ok(entry.parent)
        };
        let agree = walked.iter().zip(&table).take_while(|pair| same(*pair)).count();
        if agree < walked.len() || agree < table.len() {
            problems.push(Problem::PathTable { at: place.at, number: agree + 1 });
        }
    }
    Ok(())
}

fn record_agrees(record: &RawRecord) -> bool {
    record.block.agrees() && record.size.agrees() && record.volume.agrees()
}

/// Looks at the records of one directory and returns the directories in it.
fn directory<R: ReadAt + ?Sized>(
    bytes: &Bytes<'_, R>,
    place: RootAt,
    parent: RootAt,
    number: usize,
    primary: bool,
    problems: &mut Vec<Problem>,
) -> Result<Vec<Walked>, ReadError<Corruption>> {
    let at = u64::from(place.block) * BLOCK;
    let mut below = Vec::new();
    let mut special = Vec::new();
    let mut before: Option<Vec<Vec<u8>>> = None;
    records(bytes, place, |record| {
        let here = RootAt { block: record.raw.block.get(), size: record.raw.size.get() };
        if !record_agrees(&record.raw) {
            problems.push(Problem::ByteOrders { at: record.at });
        }
        if record.is_special() {
            special.push((record.id.to_vec(), here));
            return Ok(());
        }
        // Joliet leaves open what comes first of two names of which one is the start of the other.
        let key = if primary { sort_key(record.id) } else { Vec::new() };
        if before.as_ref().is_some_and(|before| *before > key) {
            problems.push(Problem::Order { at: record.at });
        }
        before = Some(key);
        if record.is_dir() {
            below.push(Walked { place: here, parent: number, id: record.id.to_vec() });
        }
        Ok(())
    })?;
    if special != [(vec![0], place), (vec![1], parent)] {
        problems.push(Problem::Special { at });
    }
    Ok(below)
}

/// Base, extension and version: what ECMA-119, 9.3 compares, one after the other.
fn sort_key(id: &[u8]) -> Vec<Vec<u8>> {
    id.splitn(3, |byte| matches!(byte, b'.' | b';')).map(<[u8]>::to_vec).collect()
}

/// Boot info table and boot code.
fn boot<R: ReadAt + ?Sized>(
    bytes: &Bytes<'_, R>,
    images: &[BootImage],
    extents: &BTreeSet<Extent>,
    problems: &mut Vec<Problem>,
) -> Result<(), ReadError<Corruption>> {
    let Some(bios) = images.iter().find(|image| image.platform == eltorito::X86) else {
        return Ok(());
    };
    let file = extents.iter().find(|extent| extent.at == bios.at);
    if let Some(file) = file
        && (64..=LARGEST_BOOT_IMAGE).contains(&file.len)
    {
        let mut image = vec![0; usize::try_from(file.len).unwrap_or(0)];
        bytes.fill(&mut image, file.at)?;
        let block = u32::try_from(file.at / BLOCK).unwrap_or(u32::MAX);
        let claims =
            RawBootInfo::read_from_prefix(&image[8..]).is_ok_and(|(raw, _)| raw.descriptor.get() == 16);
        if claims && image[8..64] != eltorito::info_table(&image, block)[..] {
            problems.push(Problem::BootInfo { at: file.at + 8 });
        }
    }
    let mut code = [0; 440];
    bytes.fill(&mut code, 0)?;
    let (mut starts, image) = ([0; 8], bios.at / gpt::SECTOR);
    starts.copy_from_slice(&code[432..]);
    let starts = u64::from_le_bytes(starts);
    // isohdpfx.bin starts the first sector of the image, the code of GRUB its fifth.
    let expected = match code {
        [0x33, 0xed, 0x90, 0x90, ..] => Some(image),
        [0xeb, 0x63, 0x90, 0x90, ..] => Some(image + 4),
        _ => None,
    };
    if expected.is_some_and(|expected| expected != starts) {
        problems.push(Problem::BootCode { starts, image });
    }
    Ok(())
}

/// Partition tables, and what can be seen through them.
fn partitions(
    source: &(impl ReadAt + ?Sized),
    volume: &Volume,
    images: &[BootImage],
    tree: &Tree<Vec<Extent>>,
    problems: &mut Vec<Problem>,
) -> Result<(), ReadError<Corruption>> {
    let gpt = match gpt::read(source) {
        Ok(disk) => disk.gpt,
        Err(error) => {
            problems.push(Problem::GptUnreadable(error));
            return Ok(());
        }
    };
    let Some(gpt) = gpt else { return Ok(()) };
    match gpt::check(source) {
        Ok(found) => problems.extend(found.into_iter().map(Problem::Gpt)),
        Err(error) => problems.push(Problem::GptUnreadable(error)),
    }
    let starts = |gpt: &Gpt, at: u64| {
        gpt.partitions.iter().any(|entry| entry.first.checked_mul(gpt::SECTOR) == Some(at))
    };
    for image in images.iter().filter(|image| image.platform == eltorito::UEFI && !starts(&gpt, image.at)) {
        problems.push(Problem::NotAPartition { at: image.at });
    }
    for entry in &gpt.partitions {
        let start = entry.first.saturating_mul(gpt::SECTOR);
        let len = entry.last.saturating_add(1).saturating_mul(gpt::SECTOR).saturating_sub(start);
        let window = Window::new(source, start, len);
        let Ok(inner) = open(&window) else { continue };
        let shown = read_tree(&window, &inner, volume.names);
        let shift = |tree: Tree<Vec<Extent>>| {
            tree.try_map(|extents| {
                let moved = |extent: Extent| Extent { at: extent.at.saturating_add(start), ..extent };
                Ok::<_, std::convert::Infallible>(extents.into_iter().map(moved).collect::<Vec<_>>())
            })
        };
        match shown {
            Ok(shown) => {
                let Ok(shown) = shift(shown);
                if volume.names != Names::Joliet && shown != *tree {
                    problems.push(Problem::PartitionDiffers(entry.number));
                }
            }
            Err(error) => problems.push(Problem::Unreadable { what: "partition", error }),
        }
    }
    Ok(())
}
