//! Which files inside have to be compared with each other.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::pair::Pairing;
use crate::extent::{Map, Members, Parsed, Piece, Unreadable};

/// The numbers on both sides of members that may differ: those that are encoded in structures that differ, and those that
/// are made of other structures than before, or of the same in another order. In the order of those structures: what is
/// encoded together is then read together.
///
/// Members belong together by what they are called; of several with one name the first with the first, and so on.
pub(super) fn touched(parsed: [&Parsed; 2], pairing: &Pairing) -> Vec<(u32, u32)> {
    let members = parsed.map(|one| &*one.members);
    let mut orders = members.map(|members| vec![usize::MAX; place(members.count())]);
    for (order, pair) in pairing.pairs.iter().enumerate() {
        for side in [0, 1] {
            let map = &parsed[side].map;
            let Some(index) = pair.extents[side] else { continue };
            for member in map.members(&map.extents()[index]) {
                if let Some(first) = orders[side].get_mut(place(*member)) {
                    *first = order.min(*first);
                }
            }
        }
    }
    let order = |(a, b): (u32, u32)| orders[0][place(a)].min(orders[1][place(b)]);
    let (mut pairs, others): (Vec<_>, Vec<_>) =
        named(members).into_iter().partition(|pair| order(*pair) < usize::MAX);
    pairs.sort_by_key(|pair| order(*pair));
    let maps = parsed.map(|one| &one.map);
    let mut known: BTreeMap<_, _> = pairs.iter().map(|pair| (*pair, pieces(members, *pair))).collect();
    for pair in others {
        let made = pieces(members, pair);
        let differ = match &made {
            [Ok(first), Ok(second)] => {
                !made_alike([first, second], maps, pairing)
                    && !known_by_another([first, second], maps, &known)
            }
            // That they cannot be read was told when they were looked for.
            [Err(_), Err(_)] => false,
            _ => true,
        };
        if differ {
            known.insert(pair, made);
            pairs.push(pair);
        }
    }
    pairs
}

type Pieces = [Result<Vec<Piece>, Unreadable>; 2];

fn pieces(members: [&dyn Members; 2], (a, b): (u32, u32)) -> Pieces {
    [members[0].pieces(a), members[1].pieces(b)]
}

/// Whether two members are the same range of two others that are compared: ISO 9660 has a file in several hierarchies, and
/// says once more where a partition or boot image lies that is a file.
fn known_by_another(pieces: [&[Piece]; 2], maps: [&Map; 2], known: &BTreeMap<(u32, u32), Pieces>) -> bool {
    let first = |side: usize| {
        let (start, _) = pieces[side].first()?.place?;
        let extent = maps[side].extents().get(maps[side].index_at(start)?)?;
        Some((start, maps[side].members(extent)))
    };
    let [Some((a, firsts)), Some((b, seconds))] = [first(0), first(1)] else { return false };
    let pairs = firsts.iter().flat_map(|first| seconds.iter().map(move |second| (*first, *second)));
    pairs.filter_map(|pair| known.get(&pair)).any(|other| {
        let [Ok(first), Ok(second)] = other else { return false };
        if pieces == [&**first, &**second] {
            return true;
        }
        let inside = |side: usize, start: u64, other: &[Piece]| match (pieces[side], other) {
            ([one], [Piece { place: Some((from, len)), plain: true, .. }]) => {
                let end = start.saturating_add(one.part.1);
                (one.plain && *from <= start && end <= from.saturating_add(*len)).then(|| start - from)
            }
            _ => None,
        };
        let offsets = [inside(0, a, first), inside(1, b, second)];
        offsets[0].is_some() && offsets[0] == offsets[1]
    })
}

/// Whether there is something inside both that is called the same.
pub(super) fn share_a_name(parsed: [&Parsed; 2]) -> bool {
    !named(parsed.map(|one| &*one.members)).is_empty()
}

fn place(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Members with the same name, in the order of their names.
fn named(members: [&dyn Members; 2]) -> Vec<(u32, u32)> {
    let [first, second] = members.map(|members| {
        let mut numbers: Vec<u32> = (0..members.count()).collect();
        numbers.sort_by_key(|number| (members.label(*number), *number));
        numbers
    });
    let (mut pairs, mut left, mut right) = (Vec::new(), 0, 0);
    while let (Some(a), Some(b)) = (first.get(left), second.get(right)) {
        match members[0].label(*a).cmp(&members[1].label(*b)) {
            Ordering::Less => left += 1,
            Ordering::Greater => right += 1,
            Ordering::Equal => {
                pairs.push((*a, *b));
                (left, right) = (left + 1, right + 1);
            }
        }
    }
    pairs
}

/// Whether two members are made of extents that are the same, in the same way.
fn made_alike(pieces: [&[Piece]; 2], maps: [&Map; 2], pairing: &Pairing) -> bool {
    let [first, second] = pieces;
    first.len() == second.len()
        && first.iter().zip(second).all(|(a, b)| {
            (a.plain, a.part) == (b.plain, b.part)
                && match (a.place, b.place) {
                    (None, None) => true,
                    (Some((from, len)), Some((to, other))) => {
                        len == other && alike([from, to], len, maps, pairing)
                    }
                    _ => false,
                }
        })
}

/// Whether `len` bytes at two places are in extents that are the same, each at the same place in its extent.
fn alike(mut at: [u64; 2], len: u64, maps: [&Map; 2], pairing: &Pairing) -> bool {
    let mut left = len;
    while left > 0 {
        let indices = [0, 1].map(|side| maps[side].index_at(at[side]));
        let [Some(a), Some(b)] = indices else {
            // Behind the end of both there is nothing to compare.
            return indices == [None, None] && at[0] == at[1];
        };
        let extents = [maps[0].extents()[a], maps[1].extents()[b]];
        let within = [0, 1].map(|side| at[side] - extents[side].start);
        let paired = pairing.same[a].and_then(|same| usize::try_from(same).ok()) == Some(b);
        if !paired || within[0] != within[1] {
            return false;
        }
        let step = left.min(extents[0].len - within[0]);
        at = at.map(|at| at.saturating_add(step));
        left -= step;
    }
    true
}
