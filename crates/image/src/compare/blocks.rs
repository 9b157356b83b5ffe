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
type Counted = (u64, Vec<(u64, u16)>);

/// Which blocks of two files differ.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) sizes: [u64; 2],
    /// How many bytes differ, and how many one of them is longer.
    pub(super) differing: u64,
    /// Numbers of blocks that differ, ascending, and in how many bytes each does.
    blocks: Vec<(u64, u16)>,
}

impl Blocks {
    /// Reads both files once, and says how many more bytes of both were read each time. An error is of the file 0 or 1.
    pub(super) fn of(sources: [&Source; 2], jobs: NonZero<usize>, tell: &dyn Fn(u64)) -> Read<Self> {
        let size = |side: usize| sources[side].size().map_err(|error| (side, error));
        let sizes = [size(0)?, size(1)?];
        let shared = sizes[0].min(sizes[1]);
        let mut blocks = Self { sizes, differing: sizes[0].max(sizes[1]) - shared, blocks: Vec::new() };
        let pieces = pieces(sources, 0, shared);
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
                tell(PIECE.min(shared - at));
                for (block, bytes) in found {
                    blocks.differing += u64::from(bytes);
                    blocks.blocks.push((at / wide(BLOCK) + block, bytes));
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

    /// Whether a byte in the range may differ from the one at the same place in the other file.
    pub(super) fn touch(&self, start: u64, len: u64) -> bool {
        let end = start.saturating_add(len);
        let shared = self.sizes[0].min(self.sizes[1]);
        if end > shared {
            return true;
        }
        let (first, last) = (start / wide(BLOCK), end.div_ceil(wide(BLOCK)));
        let index = self.blocks.partition_point(|(block, _)| *block < first);
        self.blocks.get(index).is_some_and(|(block, _)| *block < last)
    }

    /// Ranges of bytes that both files have, and in which some differ.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let shared = self.sizes[0].min(self.sizes[1]);
        self.blocks.chunk_by(|(a, _), (b, _)| a + 1 == *b).map(move |run| {
            let from = run[0].0 * wide(BLOCK);
            (from, shared.min(from + wide(run.len() * BLOCK)))
        })
    }

    /// How many of the differing bytes are in an extent that was told, on one side at least.
    pub(super) fn explained(&self, told: &Told<'_>, jobs: NonZero<usize>) -> io::Result<u64> {
        let shared = self.sizes[0].min(self.sizes[1]);
        let block = |(number, bytes): (u64, u16)| {
            let at = number * wide(BLOCK);
            let end = shared.min(at + wide(BLOCK));
            match told.has_all(at, end) {
                true => Ok(u64::from(bytes)),
                false => told.read(at, end),
            }
        };
        // Those of one piece are read together: it may have to be unpacked.
        let piece = |(block, _): &(u64, u16)| block * wide(BLOCK) / PIECE;
        let mut explained = 0;
        par::map_ordered(
            self.jobs(told.sources, jobs),
            self.blocks.chunk_by(|a, b| piece(a) == piece(b)),
            |blocks| blocks.iter().map(|one| block(*one)).sum::<io::Result<u64>>(),
            |found| {
                explained += found?;
                Ok::<(), io::Error>(())
            },
        )?;
        // What one of them is longer.
        let longer = usize::from(self.sizes[1] > self.sizes[0]);
        let mut at = shared;
        while let Some((end, is_told)) = told.extent(longer, at).filter(|_| at < self.sizes[longer]) {
            let end = end.min(self.sizes[longer]);
            if is_told {
                explained += end - at;
            }
            at = end;
        }
        Ok(explained)
    }
}

/// Where the pieces begin that have to be read of two files: those that are known to be zeros in both do not.
fn pieces(sources: [&Source; 2], mut at: u64, to: u64) -> impl Iterator<Item = u64> {
    std::iter::from_fn(move || {
        let zeros = sources[0].zeros_until(at).min(sources[1].zeros_until(at)).min(to);
        // A piece that has something else, too, is read.
        if zeros > at {
            at = if zeros == to { to } else { zeros / PIECE * PIECE }.max(at);
        }
        let piece = (at < to).then_some(at);
        at = at.saturating_add(PIECE);
        piece
    })
}

/// How many bytes have to be read to compare two files, or more than `most`.
pub(super) fn cost(sources: [&Source; 2], most: u64) -> u64 {
    let size = |side: usize| sources[side].size().unwrap_or(0);
    let [shared, longer] = [size(0).min(size(1)), size(0).max(size(1))];
    let long = sources[usize::from(size(1) > size(0))];
    let all = pieces(sources, 0, shared).chain(pieces([long; 2], shared, longer));
    // Files may be made of almost nothing and have any length.
    let bounded = all.take(usize::try_from(most / PIECE).unwrap_or(usize::MAX).saturating_add(2));
    bounded.fold(0_u64, |sum, _| sum.saturating_add(PIECE)).min(longer)
}

/// Which extents of two files were told.
pub(super) struct Told<'a> {
    pub(super) sources: [&'a Source; 2],
    pub(super) maps: [&'a Map; 2],
    /// For each extent.
    pub(super) told: &'a [Vec<bool>; 2],
}

impl Told<'_> {
    /// Where the extent ends that has the byte at `at`, and whether it was told.
    fn extent(&self, side: usize, at: u64) -> Option<(u64, bool)> {
        let index = self.maps[side].index_at(at)?;
        Some((self.maps[side].extents()[index].end(), self.told[side][index]))
    }

    /// Where the extent ends that has the byte at `at`, if it was told on one side.
    fn until(&self, at: u64) -> Option<u64> {
        let one = |side| self.extent(side, at).filter(|(_, told)| *told).map(|(end, _)| end);
        one(0).or_else(|| one(1))
    }

    /// Whether all extents that have these bytes were told.
    fn has_all(&self, mut at: u64, end: u64) -> bool {
        while at < end {
            match self.until(at) {
                Some(until) => at = until,
                None => return false,
            }
        }
        true
    }

    /// How many of these bytes differ and are in an extent that was told.
    fn read(&self, start: u64, end: u64) -> io::Result<u64> {
        let len = usize::try_from(end - start).expect("at most a block");
        let [mut a, mut b] = [vec![0; len], vec![0; len]];
        self.sources[0].read_exact_at(&mut a, start)?;
        self.sources[1].read_exact_at(&mut b, start)?;
        let (mut index, mut explained) = (0, 0);
        while let Some(step) = a[index..].iter().zip(&b[index..]).position(|(a, b)| a != b) {
            index += step;
            let place = start + wide(index);
            let Some(until) = self.until(place) else {
                index += 1;
                continue;
            };
            let stop = index + usize::try_from(until.min(end) - place).expect("inside the block");
            explained += differing(&a[index..stop], &b[index..stop]);
            index = stop;
        }
        Ok(explained)
    }
}

/// Blocks of a piece that differ, and in how many bytes.
fn count(a: &[u8], b: &[u8]) -> Vec<(u64, u16)> {
    if a == b {
        return Vec::new();
    }
    let blocks = a.chunks(BLOCK).zip(b.chunks(BLOCK));
    let differing = (0..).zip(blocks).filter(|(_, (a, b))| a != b);
    let count = |(block, (a, b))| (block, u16::try_from(self::differing(a, b)).expect("at most a block"));
    differing.map(count).collect()
}

fn differing(a: &[u8], b: &[u8]) -> u64 {
    // Counts of 255 bytes have room in one: the compiler then counts many at a time.
    let some = |(a, b): (&[u8], &[u8])| {
        let count = a.iter().zip(b).fold(0_u8, |count, (a, b)| count + u8::from(a != b));
        u64::from(count)
    };
    a.chunks(255).zip(b.chunks(255)).map(some).sum()
}
