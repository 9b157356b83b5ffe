//! Which structure of one file belongs to which of the other.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;

use super::blocks::Blocks;
use crate::digest::{Digest, Hasher};
use crate::extent::{Extent, Map, Source};
use crate::io::ReadAt;

/// Bytes that are read at a time.
const PIECE: u64 = 1 << 18;

/// One of the two files.
pub(super) struct Side<'a> {
    pub(super) source: &'a Source,
    pub(super) map: &'a Map,
    pub(super) size: u64,
}

impl Side<'_> {
    /// Length of an extent in this file, which may be shorter than the map it is seen through.
    fn len(&self, extent: &Extent) -> u64 {
        extent.end().min(self.size).saturating_sub(extent.start)
    }
}

/// Extents of the same structure and path, or one that has no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// Their places among the extents.
    pub(super) extents: [Option<usize>; 2],
}

/// All structures that differ.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    pub(super) pairs: Vec<Pair>,
    /// How many are the same at another place, and their bytes.
    pub(super) moved: (u64, u64),
    /// Which extents of each file differ or lie elsewhere.
    pub(super) told: [Vec<bool>; 2],
    /// The extent of the second file that is the same, for each one of the first that has such a one.
    pub(super) same: Vec<Option<u32>>,
}

impl Pairing {
    pub(super) fn of(sides: &[Side<'_>; 2], blocks: &Blocks) -> io::Result<Self> {
        let told = sides.each_ref().map(|side| vec![false; side.map.extents().len()]);
        let same = vec![None; told[0].len()];
        let mut pairing = Self { told, same, ..Self::default() };
        let (mut both, mut single) = by_name([sides[0].map, sides[1].map]);
        // In the order of the file: going back may be dear.
        both.sort_unstable();
        for (a, b) in both {
            pairing.both(sides, blocks, a, b)?;
        }
        single.iter_mut().for_each(|single| single.sort_unstable());
        pairing.renamed(sides, single)?;
        let place = |pair: &Pair| (pair.extents[0].is_none(), pair.extents[0].or(pair.extents[1]));
        pairing.pairs.sort_by_key(place);
        Ok(pairing)
    }

    fn both(&mut self, sides: &[Side<'_>; 2], blocks: &Blocks, a: usize, b: usize) -> io::Result<()> {
        let [first, second] = [sides[0].map.extents()[a], sides[1].map.extents()[b]];
        let len = sides[0].len(&first);
        let same_len = len == sides[1].len(&second);
        let there = same_len && first.start == second.start;
        let same = same_len
            && (there && !blocks.touch(first.start, len) || equal(sides, [first.start, second.start], len)?);
        if same {
            self.same[a] = u32::try_from(b).ok();
        }
        if same && there {
            return Ok(());
        }
        self.told[0][a] = true;
        self.told[1][b] = true;
        if same {
            self.moved.0 += 1;
            self.moved.1 += len;
        } else {
            self.pairs.push(Pair { extents: [Some(a), Some(b)] });
        }
        Ok(())
    }

    /// Extents whose path only one side has: the same bytes under another path are a new name.
    fn renamed(&mut self, sides: &[Side<'_>; 2], single: [Vec<usize>; 2]) -> io::Result<()> {
        let mut by_content: BTreeMap<(&str, u64, Digest), VecDeque<usize>> = BTreeMap::new();
        let lengths: BTreeSet<(&str, u64)> = single[0]
            .iter()
            .map(|index| sides[0].map.extents()[*index])
            .map(|extent| (extent.structure.name, extent.len))
            .collect();
        for index in &single[1] {
            let extent = sides[1].map.extents()[*index];
            self.told[1][*index] = true;
            let name = extent.structure.name;
            if lengths.contains(&(name, extent.len)) {
                let digest = digest(&sides[1], &extent)?;
                by_content.entry((name, extent.len, digest)).or_default().push_back(*index);
            } else {
                self.pairs.push(Pair { extents: [None, Some(*index)] });
            }
        }
        let others: BTreeSet<(&str, u64)> = by_content.keys().map(|(name, len, _)| (*name, *len)).collect();
        for index in &single[0] {
            let extent = sides[0].map.extents()[*index];
            self.told[0][*index] = true;
            let mut other = None;
            if others.contains(&(extent.structure.name, extent.len)) {
                let key = (extent.structure.name, extent.len, digest(&sides[0], &extent)?);
                other = by_content.get_mut(&key).and_then(VecDeque::pop_front);
                self.same[*index] = other.and_then(|other| u32::try_from(other).ok());
            }
            self.pairs.push(Pair { extents: [Some(*index), other] });
        }
        let left = by_content.into_values().flatten();
        self.pairs.extend(left.map(|index| Pair { extents: [None, Some(index)] }));
        Ok(())
    }
}

type Pairs = Vec<(usize, usize)>;

/// Extents of the same structure and path, and those that have no other.
fn by_name(maps: [&Map; 2]) -> (Pairs, [Vec<usize>; 2]) {
    let order = maps.map(sorted);
    let (mut both, mut single): (Pairs, [Vec<usize>; 2]) = Default::default();
    let [mut left, mut right] = order.each_ref().map(Vec::as_slice);
    while let (Some(a), Some(b)) = (left.first(), right.first()) {
        let (first, second) = (key(maps[0], *a), key(maps[1], *b));
        // How many have the lesser name, or both.
        let run =
            |side: usize, all: &[usize], name| all.partition_point(|index| key(maps[side], *index) <= name);
        let (a, b) = match first.cmp(&second) {
            Ordering::Less => (run(0, left, first), 0),
            Ordering::Greater => (0, run(1, right, second)),
            Ordering::Equal => (run(0, left, first), run(1, right, first)),
        };
        let (these, those);
        (these, left) = left.split_at(a);
        (those, right) = right.split_at(b);
        in_place_first(maps, [these, those], &mut both, &mut single);
    }
    single[0].extend(left);
    single[1].extend(right);
    (both, single)
}

/// Pairs extents of one name: those at the same place, then the others in their order. If one of several is gone, the others
/// are not taken for their neighbours.
fn in_place_first(maps: [&Map; 2], run: [&[usize]; 2], both: &mut Pairs, single: &mut [Vec<usize>; 2]) {
    let start = |side: usize, index: usize| maps[side].extents()[index].start;
    let place = |side: usize, at: u64| {
        let found = run[side].binary_search_by_key(&at, |index| start(side, *index));
        found.ok().map(|place| run[side][place])
    };
    let stay = |a: &usize| place(1, start(0, *a)).map(|b| (*a, b));
    both.extend(run[0].iter().filter_map(stay));
    let mut first = run[0].iter().filter(|a| stay(a).is_none()).copied();
    let mut second = run[1].iter().filter(|b| place(0, start(1, **b)).is_none()).copied();
    loop {
        match (first.next(), second.next()) {
            (Some(a), Some(b)) => both.push((a, b)),
            (None, None) => break,
            (a, b) => {
                single[0].extend(a);
                single[1].extend(b);
            }
        }
    }
}

type Key<'a> = (&'static str, &'a [u8]);

fn key(map: &Map, index: usize) -> Key<'_> {
    let extent = &map.extents()[index];
    (extent.structure.name, map.path(extent.owner))
}

/// Extents by structure and path, those with the same in the order of the file.
fn sorted(map: &Map) -> Vec<usize> {
    let mut order: Vec<usize> = (0..map.extents().len()).collect();
    order.sort_by(|a, b| key(map, *a).cmp(&key(map, *b)));
    order
}

fn equal(sides: &[Side<'_>; 2], starts: [u64; 2], len: u64) -> io::Result<bool> {
    let mut done = 0;
    let [mut a, mut b] = [Vec::new(), Vec::new()];
    while done < len {
        let step = usize::try_from(PIECE.min(len - done)).expect("at most 256 KiB");
        a.resize(step, 0);
        b.resize(step, 0);
        sides[0].source.read_exact_at(&mut a, starts[0] + done)?;
        sides[1].source.read_exact_at(&mut b, starts[1] + done)?;
        if a != b {
            return Ok(false);
        }
        done += crate::io::wide(step);
    }
    Ok(true)
}

fn digest(side: &Side<'_>, extent: &Extent) -> io::Result<Digest> {
    let (mut hasher, mut buffer, mut done, len) = (Hasher::new(), Vec::new(), 0, side.len(extent));
    while done < len {
        let step = usize::try_from(PIECE.min(len - done)).expect("at most 256 KiB");
        buffer.resize(step, 0);
        side.source.read_exact_at(&mut buffer, extent.start + done)?;
        hasher.update(&buffer);
        done += crate::io::wide(step);
    }
    Ok(hasher.finish())
}
