//! Where two files differ, byte by byte at the same place: what structures are measured against.

use std::io;
use std::num::NonZero;

use crate::extent::{Map, Source};
use crate::io::{ReadAt, wide};
use crate::par;

/// Bytes that are read at a time.
const PIECE: u64 = 1 << 20;
/// Bytes of a block, of which is known whether it differs.
const BLOCK: usize = 4096;

/// What came of reading a piece: an error is of the file 0 or 1.
type Read<T> = Result<T, (usize, io::Error)>;
/// Where a piece begins, its blocks that differ, and in how many bytes each does.
type Counted = (u64, Vec<(u64, u64)>);

/// Which blocks of two files differ.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) sizes: [u64; 2],
    /// How many bytes differ, and how many one of them is longer.
    pub(super) differing: u64,
    /// Numbers of blocks that differ, as ranges that ascend.
    ranges: Vec<(u64, u64)>,
}

impl Blocks {
    /// Reads both files once. An error is of the file 0 or 1.
    pub(super) fn of(sources: [&Source; 2], jobs: NonZero<usize>) -> Read<Self> {
        let size = |side: usize| sources[side].size().map_err(|error| (side, error));
        let sizes = [size(0)?, size(1)?];
        let shared = sizes[0].min(sizes[1]);
        let mut blocks = Self { sizes, differing: sizes[0].max(sizes[1]) - shared, ranges: Vec::new() };
        let pieces = (0..shared.div_ceil(PIECE)).map(|piece| piece * PIECE);
        let jobs = blocks.jobs(sources, jobs);
        par::map_ordered(
            jobs,
            pieces,
            |at| {
                let len = usize::try_from(PIECE.min(shared - at)).expect("at most a MiB");
                let read = |side: usize| {
                    let mut bytes = vec![0; len];
                    let read = sources[side].read_exact_at(&mut bytes, at);
                    read.map(|()| bytes).map_err(|error| (side, error))
                };
                Ok((at, count(&read(0)?, &read(1)?)))
            },
            |result: Read<Counted>| {
                let (at, found) = result?;
                for (block, bytes) in found {
                    blocks.differing += bytes;
                    blocks.add(at / wide(BLOCK) + block);
                }
                Ok(())
            },
        )?;
        Ok(blocks)
    }

    /// How many threads there is work for.
    fn jobs(&self, sources: [&Source; 2], jobs: NonZero<usize>) -> NonZero<usize> {
        // Most files are smaller than it takes to start a thread.
        let small = self.sizes[0].min(self.sizes[1]) <= PIECE;
        let alone = small || sources.iter().any(|source| source.in_order());
        if alone { NonZero::<usize>::MIN } else { jobs }
    }

    fn add(&mut self, block: u64) {
        match self.ranges.last_mut() {
            Some((_, end)) if *end == block => *end += 1,
            _ => self.ranges.push((block, block + 1)),
        }
    }

    /// Whether a byte in the range may differ from the one at the same place in the other file.
    pub(super) fn touch(&self, start: u64, len: u64) -> bool {
        let end = start.saturating_add(len);
        let shared = self.sizes[0].min(self.sizes[1]);
        if end > shared {
            return true;
        }
        let (first, last) = (start / wide(BLOCK), end.div_ceil(wide(BLOCK)));
        let index = self.ranges.partition_point(|(_, end)| *end <= first);
        self.ranges.get(index).is_some_and(|(from, _)| *from < last)
    }

    /// Ranges of bytes that both files have, and in which some differ.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let shared = self.sizes[0].min(self.sizes[1]);
        self.ranges.iter().map(move |(from, to)| (from * wide(BLOCK), (to * wide(BLOCK)).min(shared)))
    }

    /// How many of the differing bytes are in an extent that was told, on one side at least.
    pub(super) fn explained(
        &self,
        sources: [&Source; 2],
        maps: [&Map; 2],
        told: &[Vec<bool>; 2],
        jobs: NonZero<usize>,
    ) -> io::Result<u64> {
        let is_told = |side: usize, at: u64| {
            maps[side]
                .index_at(at)
                .filter(|index| told[side][*index])
                .map(|index| maps[side].extents()[index].end())
        };
        let piece = |(at, end): (u64, u64)| {
            let len = usize::try_from(end - at).expect("at most a MiB");
            let [mut a, mut b] = [vec![0; len], vec![0; len]];
            sources[0].read_exact_at(&mut a, at)?;
            sources[1].read_exact_at(&mut b, at)?;
            let (mut index, mut explained) = (0, 0);
            while let Some(step) = a[index..].iter().zip(&b[index..]).position(|(a, b)| a != b) {
                index += step;
                let place = at + wide(index);
                let Some(until) = is_told(0, place).or_else(|| is_told(1, place)) else {
                    index += 1;
                    continue;
                };
                let stop = index + usize::try_from(until.min(end) - place).expect("inside the piece");
                explained += differing(&a[index..stop], &b[index..stop]);
                index = stop;
            }
            Ok(explained)
        };
        let pieces = self.ranges().flat_map(|(from, to)| {
            let count = (to - from).div_ceil(PIECE);
            (0..count).map(move |piece| (from + piece * PIECE, to.min(from + (piece + 1) * PIECE)))
        });
        let mut explained = 0;
        par::map_ordered(self.jobs(sources, jobs), pieces, piece, |found: io::Result<u64>| {
            explained += found?;
            Ok::<(), io::Error>(())
        })?;
        // What one of them is longer.
        let shared = self.sizes[0].min(self.sizes[1]);
        let longer = usize::from(self.sizes[1] > self.sizes[0]);
        let mut at = shared;
        while at < self.sizes[longer] {
            match maps[longer].index_at(at) {
                Some(index) => {
                    let end = maps[longer].extents()[index].end().min(self.sizes[longer]);
                    if told[longer][index] {
                        explained += end - at;
                    }
                    at = end;
                }
                None => break,
            }
        }
        Ok(explained)
    }
}

/// Blocks of a piece that differ, and in how many bytes.
fn count(a: &[u8], b: &[u8]) -> Vec<(u64, u64)> {
    if a == b {
        return Vec::new();
    }
    let blocks = a.chunks(BLOCK).zip(b.chunks(BLOCK));
    let differing = (0..).zip(blocks).filter(|(_, (a, b))| a != b);
    differing.map(|(block, (a, b))| (block, self::differing(a, b))).collect()
}

fn differing(a: &[u8], b: &[u8]) -> u64 {
    wide(a.iter().zip(b).filter(|(a, b)| a != b).count())
}
