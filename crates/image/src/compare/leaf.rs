//! What differs in files of which no structure is known: lines of text, or bytes.

use std::io;

use imara_diff::{Algorithm, Diff, InternedInput, Token};

use super::blocks::Blocks;
use crate::cause::Order;
use crate::extent::Source;
use crate::io::{ReadAt, wide};

/// Longest text that is compared by lines, in bytes.
const LONGEST: u64 = 4 << 20;
/// Changed lines and places that are told.
const MOST: usize = 32;
/// A line that occurs more than so many times is frequent.
const OFTEN: u64 = 63;
/// Pairs of frequent lines that are looked at.
const MOST_PAIRS: u64 = 100_000_000;
/// Equal lines that are told on either side of those that differ.
const AROUND: u32 = 2;
/// Bytes that are shown of a difference, and at most in front of it.
const SHOWN: usize = 16;

/// What differs in two files without known structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// Lines of text.
    Text(Lines),
    /// Bytes.
    Binary {
        /// The first places that differ, ascending.
        places: Vec<Bytes>,
        /// Whether there are more.
        more: bool,
    },
}

/// Lines that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// The first ones.
    pub lines: Vec<Line>,
    /// How many lines of the first file are not in the second.
    pub removed: u32,
    /// How many lines of the second file are not in the first.
    pub added: u32,
    /// Whether they are the same lines in another order.
    pub(crate) order: Order,
}

/// A line that only one file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which file: 0 or 1.
    pub side: usize,
    /// Its number, from 1.
    pub number: u32,
    /// Its text, with its end.
    pub text: String,
    /// The lines in front of it that both files have, at most two: of the first line at a place.
    pub before: Vec<String>,
    /// The lines behind it that both files have, at most two: of the last line at a place.
    pub after: Vec<String>,
}

/// A place at which bytes differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// Offset in each file of the first byte that differs.
    pub at: [u64; 2],
    /// The bytes from there on, at most 16; empty behind the end.
    pub bytes: [Vec<u8>; 2],
    /// The bytes in front of them that both files have, at most 16.
    pub before: Vec<u8>,
}

impl Bytes {
    /// The bytes from `at` on of two pieces that start at `starts`.
    pub(super) fn new(pieces: [&[u8]; 2], at: usize, starts: [u64; 2]) -> Self {
        let [a, b] = pieces.map(|piece| piece.get(..at).unwrap_or_default());
        let shared = a.iter().rev().zip(b.iter().rev()).take(SHOWN).take_while(|(a, b)| a == b).count();
        Self {
            before: a[a.len() - shared..].to_vec(),
            at: starts.map(|start| start + wide(at)),
            bytes: pieces
                .map(|piece| piece.get(at..).unwrap_or_default().iter().copied().take(SHOWN).collect()),
        }
    }
}

/// What differs in two files.
pub(super) fn compare(sources: [&Source; 2], blocks: &Blocks) -> io::Result<Leaf> {
    if blocks.sizes.iter().all(|size| *size <= LONGEST) {
        let [a, b] = [text(sources[0])?, text(sources[1])?];
        if let (Some(a), Some(b)) = (a, b) {
            return Ok(Leaf::Text(lines(&a, &b)));
        }
    }
    let (mut places, mut more) = (Vec::new(), false);
    'all: for (from, to) in blocks.ranges() {
        let mut at = from;
        while at < to {
            let end = to.min(at + (1 << 16));
            let [a, b] = [part(sources[0], at, end)?, part(sources[1], at, end)?];
            let mut index = 0;
            while let Some(step) = a[index..].iter().zip(&b[index..]).position(|(a, b)| a != b) {
                if places.len() == MOST {
                    more = true;
                    break 'all;
                }
                index += step;
                places.push(Bytes::new([&a, &b], index, [at; 2]));
                index = a.len().min(index + SHOWN);
            }
            at = end;
        }
    }
    let shared = blocks.sizes[0].min(blocks.sizes[1]);
    if blocks.sizes[0] != blocks.sizes[1] && places.len() == MOST {
        more = true;
    } else if blocks.sizes[0] != blocks.sizes[1] {
        let end = |side: usize| blocks.sizes[side].min(shared + wide(SHOWN));
        let [a, b] = [part(sources[0], shared, end(0))?, part(sources[1], shared, end(1))?];
        places.push(Bytes::new([&a, &b], 0, [shared; 2]));
    }
    Ok(Leaf::Binary { places, more })
}

/// The first place at which two ranges differ.
pub(super) fn first_difference(sources: [&Source; 2], places: [(u64, u64); 2]) -> io::Result<Option<Bytes>> {
    let ends = [0, 1].map(|side| places[side].0 + places[side].1);
    let mut at = places.map(|(start, _)| start);
    loop {
        let stop = [0, 1].map(|side| ends[side].min(at[side] + (1 << 16)));
        let [a, b] = [part(sources[0], at[0], stop[0])?, part(sources[1], at[1], stop[1])?];
        let shared = a.len().min(b.len());
        if let Some(index) = (0..shared).find(|index| a[*index] != b[*index]) {
            return Ok(Some(Bytes::new([&a, &b], index, at)));
        }
        if a.len() != b.len() {
            return Ok(Some(Bytes::new([&a, &b], shared, at)));
        }
        if a.is_empty() {
            return Ok(None);
        }
        at = at.map(|at| at + wide(shared));
    }
}

/// Bytes of a range, as far as there are any.
pub(super) fn part(source: &Source, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let to = to.min(source.size()?);
    if from >= to {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(0)];
    source.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}

/// All of a file, if it is text.
fn text(source: &Source) -> io::Result<Option<String>> {
    let bytes = part(source, 0, u64::MAX)?;
    let odd = |byte: &u8| *byte < b' ' && !matches!(byte, b'\n' | b'\t' | b'\r' | 0x0c | 0x1b);
    if bytes.iter().any(odd) {
        return Ok(None);
    }
    Ok(String::from_utf8(bytes).ok())
}

pub(super) fn lines(a: &str, b: &str) -> Lines {
    let texts = [a, b].map(|text| text.split_inclusive('\n').collect::<Vec<_>>());
    let mut input = InternedInput::default();
    input.update_before(texts[0].iter().copied());
    input.update_after(texts[1].iter().copied());
    let mut lines = if too_alike(&input) { one_by_one(&texts) } else { aligned(&input, &texts) };
    if lines.removed == lines.added {
        // The last line may be the only one without an end.
        let bare = texts.map(|text| {
            text.into_iter().map(|line| line.strip_suffix('\n').unwrap_or(line)).collect::<Vec<_>>()
        });
        lines.order = Order::of(bare.each_ref().map(Vec::as_slice));
    }
    lines
}

impl Lines {
    /// Tells of the line of a text that has this index, if there is room.
    fn tell(&mut self, side: usize, text: &[&str], index: usize) {
        let Some(line) = text.get(index) else { return };
        if self.lines.len() < MOST {
            let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
            let text = (*line).to_owned();
            self.lines.push(Line { side, number, text, before: Vec::new(), after: Vec::new() });
        }
    }
}

/// Lines that are not the same once as many as possible are set beside equal ones.
fn aligned(input: &InternedInput<&str>, texts: &[Vec<&str>; 2]) -> Lines {
    let mut diff = Diff::compute(Algorithm::Histogram, input);
    diff.postprocess_lines(input);
    let mut lines =
        Lines { removed: diff.count_removals(), added: diff.count_additions(), ..Lines::default() };
    let mut hunks = diff.hunks().peekable();
    // Behind what differed last, and the lines that were told with it.
    let mut told = 0;
    while let Some(hunk) = hunks.next() {
        let (start, end) = (hunk.before.start, hunk.before.end);
        let next = hunks.peek().map_or(u32::MAX, |next| next.before.start);
        let from = lines.lines.len();
        let all = hunk.before.len() + hunk.after.len();
        for (side, range) in [(0, hunk.before), (1, hunk.after)] {
            range.filter_map(|index| usize::try_from(index).ok()).for_each(|index| {
                lines.tell(side, &texts[side], index);
            });
        }
        let whole = lines.lines.len() == from + all;
        let around = |from: u32, to: u32| -> Vec<String> {
            let index = |at: u32| usize::try_from(at).unwrap_or(usize::MAX).min(texts[0].len());
            texts[0][index(from)..index(to)].iter().map(|line| (*line).to_owned()).collect()
        };
        if let Some(first) = lines.lines.get_mut(from) {
            first.before = around(start.saturating_sub(AROUND).max(told).min(start), start);
        }
        told = end.saturating_add(AROUND).min(next);
        if let Some(last) = lines.lines.last_mut().filter(|_| whole && all > 0) {
            last.after = around(end, told);
        }
    }
    lines
}

/// Whether so many lines occur so often that aligning them takes time without bounds: where lines occur more than 63 times on a
/// side, the algorithm falls back to one that is quadratic.
fn too_alike(input: &InternedInput<&str>) -> bool {
    // Tokens are numbered from 0 on, in the order of their first lines.
    let place = |token: &Token| usize::try_from(token.0).unwrap_or(usize::MAX);
    let mut counts = vec![0_u64; input.before.len() + input.after.len()];
    for token in input.before.iter().chain(&input.after) {
        if let Some(count) = counts.get_mut(place(token)) {
            *count += 1;
        }
    }
    let often = |side: &[Token]| {
        wide(side.iter().filter(|token| counts.get(place(token)).is_some_and(|count| *count > OFTEN)).count())
    };
    often(&input.before).saturating_mul(often(&input.after)) > MOST_PAIRS
}

/// Lines with the same number that are not the same.
fn one_by_one(texts: &[Vec<&str>; 2]) -> Lines {
    let mut lines = Lines::default();
    for index in 0..texts[0].len().max(texts[1].len()) {
        let both = texts.each_ref().map(|text| text.get(index));
        if both[0] == both[1] {
            continue;
        }
        lines.removed += u32::from(both[0].is_some());
        lines.added += u32::from(both[1].is_some());
        (0..2).for_each(|side| lines.tell(side, &texts[side], index));
    }
    lines
}

#[cfg(test)]
mod tests {
    use selfsame_testkit::Numbers;

    use super::*;

    #[test]
    fn lines_that_occur_often_are_not_aligned_without_end() {
        let text = |seed: u64| -> String {
            let mut random = Numbers(seed);
            (0..200_000).map(|_| if random.below(2) == 0 { "a\n" } else { "b\n" }).collect()
        };
        let (a, b) = (text(1), text(2));
        let found = lines(&a, &b);
        let differ = a.lines().zip(b.lines()).filter(|(a, b)| a != b).count();
        assert_eq!(
            (found.removed, found.added),
            (u32::try_from(differ).unwrap(), u32::try_from(differ).unwrap())
        );
        assert_eq!(found.lines.len(), MOST);
        assert_eq!(found.order, Order::Other);
        // The same lines in another order are known, aligned or not.
        let turned: String = a.lines().rev().map(|line| format!("{line}\n")).collect();
        assert_eq!(lines(&a, &turned).order, Order::Same);
    }

    #[test]
    fn lines_around_are_told_once() {
        let text = |changed: &[usize]| -> String {
            let line = |at: usize| if changed.contains(&at) { format!("{at}!\n") } else { format!("{at}\n") };
            (1..=20).map(line).collect()
        };
        let shown = |a: &str, b: &str| -> Vec<String> {
            let line = |line: &Line| {
                let whole = |text: &String| text.trim_end().to_owned();
                let sign = if line.side == 0 { '-' } else { '+' };
                let own = format!("{sign}{}", line.text.trim_end());
                line.before
                    .iter()
                    .map(whole)
                    .chain([own])
                    .chain(line.after.iter().map(whole))
                    .collect::<Vec<_>>()
            };
            lines(a, b).lines.iter().flat_map(line).collect()
        };
        let plain = text(&[]);
        assert_eq!(shown(&plain, &text(&[10])), ["8", "9", "-10", "+10!", "11", "12"]);
        assert_eq!(shown(&plain, &text(&[1, 4])), ["-1", "+1!", "2", "3", "-4", "+4!", "5", "6"]);
        assert_eq!(shown(&plain, &text(&[3, 6, 20])).join(" "), "1 2 -3 +3! 4 5 -6 +6! 7 8 18 19 -20 +20!");
        let less = plain.replace("\n7\n", "\n");
        assert_eq!(shown(&plain, &less), ["5", "6", "-7", "8", "9"]);
        assert_eq!(shown(&less, &plain), ["5", "6", "+7", "8", "9"]);
    }

    #[test]
    fn bytes_in_front_are_those_that_both_have() {
        let before = |a: &[u8], b: &[u8], at: usize| Bytes::new([a, b], at, [0; 2]).before;
        assert_eq!(before(b"0123456789abcdefXY", b"0123456789abcdefXZ", 17), b"123456789abcdefX");
        assert_eq!(before(b"aXbc", b"aYbd", 3), b"b");
        assert_eq!(before(b"a", b"b", 0), b"");
        assert_eq!(before(b"ab", b"ab", 9), b"");
    }

    #[test]
    fn ends_of_lines_are_no_order() {
        for (a, b) in [("x\r\ny\r\n", "x\ny\n"), ("x\ny", "x\ny\n"), ("x\ny\n", "x\nz\n")] {
            assert_eq!(lines(a, b).order, Order::Other, "{a:?} {b:?}");
        }
        assert_eq!(lines("x\ny", "y\nx\n").order, Order::Same);
    }
}
