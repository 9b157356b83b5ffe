//! Where the clusters of a compressed file are: the index behind its inode, in its two forms.

use super::layout::{RawMap, data};
use super::read::{Inode, Result, Volume, fill, take};
use crate::io::{ReadAt, ReadError, wide};

// `advise` of the header (z_erofs_map_header).
const COMPACT_2: u16 = 1;
const BIG: [u16; 2] = [2, 4];
const INLINE: u16 = 8;
const FRAGMENT: u16 = 0x20;
/// Set in the distance of the second part of a cluster: the rest is the number of its blocks.
const COUNT: u16 = 0x800;

/// Kind of a part that no cluster begins in.
const INSIDE: u16 = 2;

/// Where everything of a compressed file is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Clusters {
    /// Header and index: first byte and length.
    pub(super) index: (u64, u64),
    /// First byte and length of each cluster.
    pub(super) runs: Vec<(u64, u64)>,
    /// The end of the file behind the index.
    pub(super) tail: (u64, u64),
}

/// A part of a file, as long as a block: what the index says of it.
struct Part {
    kind: u16,
    /// Of the first part of a cluster: its block, and where in the part it begins. Of others: how many parts it is behind the
    /// first one.
    block: u32,
    place: u16,
}

/// Where the index of an inode is, and its header.
fn header(source: &(impl ReadAt + ?Sized), volume: &Volume, inode: &Inode) -> Result<(u64, RawMap)> {
    let at = inode.body().next_multiple_of(8);
    volume.inside(inode.at, at, 8)?;
    Ok((at, take(source, at)?))
}

/// Finds the clusters of a file. `left` is how many bytes of indices may still be read.
pub(super) fn clusters(
    source: &(impl ReadAt + ?Sized),
    volume: &Volume,
    inode: &Inode,
    left: &mut u64,
) -> Result<Clusters> {
    let (at, map) = header(source, volume, inode)?;
    let mut found = Clusters { index: (at, 8), ..Clusters::default() };
    // All of the file is in the packed inode.
    if map.cluster_bits & 0x80 != 0 || inode.size == 0 {
        return Ok(found);
    }
    if map.cluster_bits & 7 != 0 {
        let feature = "compressed data in parts that are longer than a block";
        return Err(ReadError::Unsupported { at, feature });
    }
    // A place in a part of a block has as many bits as the block, and there are 14 of them.
    if volume.raw.block_bits > 14 {
        return Err(ReadError::Unsupported { at, feature: "compressed data in blocks above 16 KiB" });
    }
    let count = inode.size.div_ceil(volume.block);
    let packs = Packs::new(at, count, map.advise.get(), inode.layout() == data::COMPRESSED_FULL);
    volume.inside(inode.at, at, packs.end.saturating_sub(at))?;
    let len = packs.end - at;
    *left = left.checked_sub(len).ok_or(super::read::corrupt(at, super::Corruption::Flood))?;
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    fill(source, &mut bytes, at)?;
    found.index.1 = len;
    let parts = packs.parts(&bytes, map.advise.get(), count, volume.raw.block_bits.max(12));
    // Where the file ends, mkfs.erofs lets another cluster begin, which has no bytes.
    let has_bytes = |(index, part): &(usize, &Part)| {
        part.kind != INSIDE && wide(*index) * volume.block + u64::from(part.place) < inode.size
    };
    let last = parts.iter().enumerate().rev().find(has_bytes).map(|(index, _)| index);
    for (index, part) in parts.iter().enumerate().filter(has_bytes) {
        let blocks = match parts.get(index + 1) {
            Some(Part { kind: INSIDE, place, .. }) if place & COUNT != 0 => place & !COUNT,
            _ => 1,
        };
        // The last one is elsewhere.
        if Some(index) == last && map.advise.get() & FRAGMENT != 0 {
            continue;
        }
        if Some(index) == last && map.advise.get() & INLINE != 0 {
            found.tail = (packs.end, u64::from(map.end.get() >> 16));
            volume.inside(at, found.tail.0, found.tail.1)?;
            continue;
        }
        let (start, len) = (u64::from(part.block) * volume.block, u64::from(blocks) * volume.block);
        volume.inside(at, start, len)?;
        match found.runs.last_mut() {
            Some((from, run)) if *from + *run == start => *run += len,
            _ => found.runs.push((start, len)),
        }
    }
    Ok(found)
}

/// How an index is packed.
struct Packs {
    /// Entries of 8 bytes, behind 8 bytes of padding; or packs.
    full: bool,
    /// Parts in packs of two (8 bytes), then in packs of sixteen (32 bytes); the rest in packs of two again.
    first: u64,
    small: u64,
    /// First byte behind the index.
    end: u64,
}

impl Packs {
    /// For `count` parts and a header at `at`.
    fn new(at: u64, count: u64, advise: u16, full: bool) -> Self {
        if full {
            let end = count.saturating_mul(8).saturating_add(at + 16);
            return Self { full, first: 0, small: 0, end };
        }
        let start = at + 8;
        // Packs of 32 bytes are aligned to their length.
        let align = ((32 - start % 32) / 4) & 7;
        let two = advise & COMPACT_2 != 0 && align < count;
        let (first, small) = if two { (align, (count - align) / 16 * 16) } else { (0, 0) };
        let rest = (count - first - small).next_multiple_of(2);
        let end = start.saturating_add(first * 4 + small * 2).saturating_add(rest.saturating_mul(4));
        Self { full, first, small, end }
    }

    /// What the index says of each part; `bytes` begin with the header.
    fn parts(&self, bytes: &[u8], advise: u16, count: u64, low_bits: u8) -> Vec<Part> {
        let mut all = Vec::new();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if self.full {
            let entries = bytes.get(16..).unwrap_or_default();
            all.extend(entries.chunks_exact(8).map(full));
            return all;
        }
        let mut rest = bytes.get(8..).unwrap_or_default();
        let (first, small) = (self.first, self.first + self.small);
        while all.len() < count {
            let done = wide(all.len());
            let (parts, bits) = if done >= first && done < small { (16, 14) } else { (2, 16) };
            let Some((pack, behind)) = rest.split_at_checked(parts * bits / 8 + 4) else { break };
            unpack(pack, bits, advise, low_bits, &mut all);
            rest = behind;
        }
        all.truncate(count);
        all
    }
}

fn full(entry: &[u8]) -> Part {
    let short = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
    let block = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
    let kind = short(0) & 3;
    Part { kind, block, place: if kind == INSIDE { short(4) } else { short(2) } }
}

/// Cuts a pack into numbers of `bits` bits: the lower ones are a place or distance, then comes the kind. At its end is the
/// block that those of its clusters are counted from.
fn unpack(pack: &[u8], bits: usize, advise: u16, low_bits: u8, all: &mut Vec<Part>) {
    let (numbers, base) = pack.split_at(pack.len() - 4);
    let base = u32::from_le_bytes([base[0], base[1], base[2], base[3]]);
    let big = advise & (BIG[0] | BIG[1]) != 0;
    // Without clusters of several blocks, each first part has one more than the one before it.
    let mut next = if big { base } else { base.wrapping_add(1) };
    let mut after_first = false;
    for index in 0..numbers.len() * 8 / bits {
        let at = index * bits;
        let window = [0, 1, 2].map(|byte| u32::from(numbers.get(at / 8 + byte).copied().unwrap_or(0)));
        let word = (window[0] | window[1] << 8 | window[2] << 16) >> (at % 8);
        let short = |value: u32| u16::try_from(value).expect("masked");
        let (low, kind) = (short(word & ((1 << low_bits) - 1)), short(word >> low_bits & 3));
        all.push(Part { kind, block: next, place: low });
        if kind != INSIDE {
            next = next.wrapping_add(1);
        } else if big && low & COUNT != 0 {
            // The first part was counted as one.
            let counted = u32::from(after_first);
            next = next.wrapping_add(u32::from(low & !COUNT).wrapping_sub(counted));
        }
        after_first = kind != INSIDE;
    }
}
