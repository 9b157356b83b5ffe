//! Which files inside have to be compared with each other.

use std::cmp::Ordering;

use super::pair::Pairing;
use crate::extent::{Map, Members, Parsed, Piece};

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
    let maps = parsed.map(|one| &one.map);
    let mut pairs: Vec<_> = named(members)
        .into_iter()
        .filter_map(|(a, b)| {
            let order = orders[0][place(a)].min(orders[1][place(b)]);
            let same = || match [members[0].pieces(a), members[1].pieces(b)] {
                [Ok(first), Ok(second)] => made_alike([&first, &second], maps, pairing),
                // That they cannot be read was told when they were looked for.
                [Err(_), Err(_)] => true,
                _ => false,
            };
            (order < usize::MAX || !same()).then_some((order, (a, b)))
        })
        .collect();
    pairs.sort_by_key(|(order, _)| *order);
    pairs.into_iter().map(|(_, pair)| pair).collect()
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
