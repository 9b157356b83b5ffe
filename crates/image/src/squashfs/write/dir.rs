//! Directory listings and the index that lets the kernel enter long ones in the middle.

use super::meta::{MetaWriter, Place};
use crate::squashfs::error::WriteError;
use crate::squashfs::layout::{DIR_RUN, DirEntry, DirHeader, META_BLOCK, wide};
use zerocopy::IntoBytes;

/// A name and the inode it stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: Place,
    pub(super) number: u32,
    /// Basic type of the inode.
    pub(super) kind: u16,
}

/// A listing as its inode describes it.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    pub(super) place: Place,
    /// Bytes of the listing.
    pub(super) size: u64,
    pub(super) index: Vec<IndexEntry<'a>>,
}

/// A header at the beginning of a metadata block.
#[derive(Debug)]
pub(super) struct IndexEntry<'a> {
    /// Bytes of the listing before the header.
    pub(super) position: u64,
    /// Offset of the metadata block in the table.
    pub(super) block: u64,
    /// The first name behind the header.
    pub(super) name: &'a [u8],
}

/// Writes the listing of one directory, whose entries are in byte order.
///
/// A header serves a run of entries: at most 256, whose inodes begin in one metadata block and have numbers near
/// each other. In a listing of more than 8 KiB a run also ends where the next entry would begin in a new metadata
/// block, and the header there goes into the index.
pub(super) fn list<'a>(out: &mut MetaWriter, entries: &[Named<'a>]) -> Result<Listing<'a>, WriteError> {
    let names: usize = entries.iter().map(|entry| size_of::<DirEntry>() + entry.name.len()).sum();
    let indexed = names > META_BLOCK;
    let place = out.place();
    let (mut size, mut index, mut last) = (0, Vec::new(), place.block);
    let mut rest = entries;
    while let Some(first) = rest.first() {
        let here = out.place();
        let (run, after) = rest.split_at(run_length(rest, indexed.then_some(here)));
        if indexed && here.block != last {
            index.push(IndexEntry { position: size, block: here.block, name: first.name });
            last = here.block;
        }
        size += put_run(out, run)?;
        rest = after;
    }
    Ok(Listing { place, size, index })
}

/// How many of `entries`, of which there is at least one, go behind one header. `here` is the place of the header if
/// the run shall stay in one metadata block.
fn run_length(entries: &[Named<'_>], here: Option<Place>) -> usize {
    let first = &entries[0];
    let mut end = here.map_or(0, |place| usize::from(place.offset)) + size_of::<DirHeader>();
    let mut length = 0;
    for entry in entries.iter().take(DIR_RUN) {
        let near = i16::try_from(i64::from(entry.number) - i64::from(first.number)).is_ok();
        let crosses = here.is_some() && length > 0 && end >= META_BLOCK;
        if entry.inode.block != first.inode.block || !near || crosses {
            break;
        }
        end += size_of::<DirEntry>() + entry.name.len();
        length += 1;
    }
    length
}

fn put_run(out: &mut MetaWriter, run: &[Named<'_>]) -> Result<u64, WriteError> {
    let first = &run[0];
    let limit = u64::from(u32::MAX);
    let block = u32::try_from(first.inode.block).map_err(|_| WriteError::TooLarge {
        table: "inode",
        need: first.inode.block,
        limit,
    })?;
    let count = u32::try_from(run.len() - 1).expect("a run has at most 256 entries");
    let header = DirHeader { count: count.into(), block: block.into(), number: first.number.into() };
    out.put(header.as_bytes())?;
    let mut size = size_of::<DirHeader>();
    for entry in run {
        let number = i64::from(entry.number) - i64::from(first.number);
        let raw = DirEntry {
            offset: entry.inode.offset.into(),
            number: i16::try_from(number).expect("numbers of a run are near").into(),
            kind: entry.kind.into(),
            name_size: u16::try_from(entry.name.len() - 1).expect("names have 1 to 255 bytes").into(),
        };
        out.put(raw.as_bytes())?;
        out.put(entry.name)?;
        size += size_of::<DirEntry>() + entry.name.len();
    }
    Ok(wide(size))
}
