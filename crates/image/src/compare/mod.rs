//! What differs between two files, and whose each differing byte is.
//!
//! Both files are cut into [extents](crate::extent). Extents of the same structure and path are compared with each other,
//! and what is inside them as if it were a file. That every differing byte is in an extent that was named is counted
//! apart from that, over the bytes alone: [`Report::unexplained`].

mod blocks;
mod leaf;
mod members;
mod pair;
mod program;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use self::blocks::{Blocks, Told};
pub use self::leaf::{Bytes, Leaf, Line, Lines};
use self::pair::{Pairing, Side};
pub use self::program::{Code, Disassemble, Program, Symbol};
pub use self::watch::{Step, Watch};
use crate::cause::{self, Finding};
use crate::extent::{self, Label, Map, Member, Parsed, Role, Room, Source, Unreadable};
use crate::guess::guess;
use crate::io::ReadAt;
use crate::par;

/// Files in files that are followed; a quine would have no end.
const DEEPEST: usize = 24;
/// A file inside that is longer than this is large, in bytes.
const LARGE: u64 = 4 << 20;
/// Bytes of files inside that are compared, however small the files are that hold them.
const LEAST_WORK: u64 = 256 << 20;
/// Fields of one structure whose change is told.
const MOST_FIELDS: usize = 64;
/// Longest structure that is cut into fields, in bytes.
const LONGEST: u64 = 1 << 20;

/// What differs between two files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many bytes differ: those at the same place, and what one file is longer.
    pub differing: u64,
    /// How many of them are in a structure that is among the changes.
    pub explained: u64,
    /// What differs; `None` if nothing does.
    pub root: Option<Comparison>,
}

impl Report {
    /// Differing bytes that are in no structure that was told, and those of files inside that could not be read on either
    /// side.
    pub fn unexplained(&self) -> u64 {
        (self.differing - self.explained) + self.root.as_ref().map_or(0, Comparison::unread)
    }
}

/// Two files with the same name that are not the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What both are called.
    pub name: Name,
    /// Their lengths in bytes.
    pub sizes: [u64; 2],
    /// How many of their bytes differ, and how many one is longer; 0 for files that cannot be read to their ends.
    pub differing: u64,
    /// What they are, as far as that is known: a format that was looked into, or a guess.
    pub formats: [Option<&'static str>; 2],
    /// Structures that differ, in the order of the first file, then those that only the second one has.
    pub changes: Vec<Change>,
    /// How many structures lie elsewhere and are the same, and how many bytes they have.
    pub moved: (u64, u64),
    /// What differs in files inside.
    pub members: Vec<Comparison>,
    /// What differs, if nothing is known of the structure.
    pub leaf: Option<Leaf>,
    /// What differs in symbols, of programs.
    pub program: Option<Program>,
    /// What could not be read, and on which side: 0 or 1.
    pub faults: Vec<(usize, Unreadable)>,
    /// Causes that are known and look like what differs.
    pub causes: Vec<Finding>,
    /// Bytes that differ and are of no known structure, because a file of a known format could not be read on either side.
    pub unread: u64,
}

impl Comparison {
    fn unread(&self) -> u64 {
        self.unread + self.members.iter().map(Self::unread).sum::<u64>()
    }
}

/// What a file is called in the one around it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// It is what was asked for.
    #[default]
    Whole,
    /// A part of the container that is encoded or stands for itself.
    Part(String),
    /// A file, by path.
    Path(Vec<u8>),
}

impl From<Label<'_>> for Name {
    fn from(label: Label<'_>) -> Self {
        match label {
            Label::Part(name) => Self::Part(name.to_owned()),
            Label::Path(path) => Self::Path(path.to_vec()),
        }
    }
}

/// A structure that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// What it is.
    pub structure: &'static str,
    /// Whose it is; empty for the file's own.
    pub path: Vec<u8>,
    /// Its path in the second file, if that is another one.
    pub renamed: Option<Vec<u8>>,
    /// Where it lies in both: first byte and length.
    pub places: [Option<(u64, u64)>; 2],
    /// Fields that differ.
    pub fields: Vec<FieldChange>,
    /// How many more fields differ.
    pub more_fields: usize,
    /// Where the first bytes differ that are in no field that was told.
    pub bytes: Option<Bytes>,
    /// What is encoded in it is the same: it was encoded in another way.
    pub same_content: bool,
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// Its name.
    pub name: String,
    /// Its values; `None` where there is no such field.
    pub values: [Option<String>; 2],
    /// What it says.
    pub role: Role,
}

/// How files are compared.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many threads work at a time.
    pub jobs: NonZero<usize>,
    /// For what is in compressed streams.
    pub room: Room,
    /// Who is told how far it is.
    watch: Watch,
    /// What reads instructions, if that is asked for.
    disassemble: Option<Disassemble>,
    /// Bytes of files inside that may still be compared, those of all of them together.
    work: Arc<AtomicU64>,
    /// The pair that what is compared lies in.
    around: Option<Arc<Around>>,
}

/// A pair of files that is being compared, and the one it lies in.
struct Around {
    sources: [Source; 2],
    sizes: [u64; 2],
    differing: u64,
    next: Option<Arc<Around>>,
}

impl std::fmt::Debug for Around {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Around").field("sizes", &self.sizes).finish_non_exhaustive()
    }
}

impl Options {
    /// Whether a pair that differs in `blocks` is one of those around it: a quine is in itself.
    fn is_around(&self, sources: [&Source; 2], blocks: &Blocks) -> bool {
        let mut next = self.around.as_ref();
        while let Some(pair) = next {
            let equal = |side: usize| {
                let found = Blocks::of([sources[side], &pair.sources[side]], self.jobs, &|_| ());
                found.is_ok_and(|found| found.differing == 0)
            };
            if pair.sizes == blocks.sizes && pair.differing == blocks.differing && equal(0) && equal(1) {
                return true;
            }
            next = pair.next.as_ref();
        }
        false
    }
}

impl Options {
    /// So many threads, and 16 GiB for what is in compressed streams, of which 160 MiB of memory keep what they can.
    pub fn new(jobs: NonZero<usize>) -> Self {
        Self {
            jobs,
            room: Room::new(16 << 30, 160 << 20),
            watch: Watch::default(),
            disassemble: None,
            work: Arc::default(),
            around: None,
        }
    }

    /// The same, and `watch` is told how far it is.
    #[must_use]
    pub fn watched(self, watch: Watch) -> Self {
        Self { watch, ..self }
    }

    /// The same, and the instructions of functions that differ are compared as `disassemble` reads them.
    #[must_use]
    pub fn disassembled(self, disassemble: Disassemble) -> Self {
        Self { disassemble: Some(disassemble), ..self }
    }
}

/// Compares two files.
///
/// # Errors
/// If one of them cannot be read. A format that cannot be understood is none: that is among [`Comparison::faults`].
pub fn compare(first: &Source, second: &Source, options: &Options) -> io::Result<Report> {
    let of = first.size()?.min(second.size()?);
    let tell = |more| options.watch.tell(Step::Outside { more, of });
    let blocks = Blocks::of([first, second], options.jobs, &tell).map_err(|(_, error)| error)?;
    if blocks.differing == 0 {
        return Ok(Report { differing: 0, explained: 0, root: None });
    }
    // Files inside may overlap and hold almost nothing but holes; honest ones are a few times as long as what they are in.
    let work = blocks.sizes[0].saturating_add(blocks.sizes[1]).saturating_mul(256).saturating_add(LEAST_WORK);
    let options = Options { work: Arc::new(AtomicU64::new(work)), ..options.clone() };
    let sides = [Member::from(first.clone()), Member::from(second.clone())];
    let (root, explained) = files(Name::Whole, sides, &blocks, &options, 0)?;
    Ok(Report { differing: blocks.differing, explained, root: Some(root) })
}

/// Compares two files that differ in `blocks`; how many of their differing bytes are in structures that were told.
fn files(
    name: Name,
    sides: [Member; 2],
    blocks: &Blocks,
    options: &Options,
    depth: usize,
) -> io::Result<(Comparison, u64)> {
    let sizes = [sides[0].source.size()?, sides[1].source.size()?];
    let mut comparison = Comparison { name, sizes, differing: blocks.differing, ..Comparison::default() };
    let [(first, a), (second, b)] = looked_into(sides, options, depth);
    let mut parsed = [a, b].into_iter().enumerate().map(|(side, parsed)| {
        parsed.unwrap_or_else(|fault| {
            comparison.faults.push((side, fault));
            None
        })
    });
    let parsed = [parsed.next().flatten(), parsed.next().flatten()];
    for (side, one) in parsed.iter().enumerate() {
        let Some(one) = one else {
            // What cannot be read at all is told elsewhere.
            comparison.formats[side] = guess([&first, &second][side]).unwrap_or_default();
            continue;
        };
        comparison.formats[side] = Some(one.format);
        comparison.faults.extend(one.faults.iter().map(|fault| (side, fault.clone())));
    }
    let sources = [&first, &second];
    // What lies inside has the room that is left.
    let held = parsed.iter().flatten().map(|one| one.held).sum();
    let room = options.room.with_plain(options.room.plain.saturating_sub(held));
    let around = Around {
        sources: [Arc::clone(&first), Arc::clone(&second)],
        sizes,
        differing: blocks.differing,
        next: options.around.clone(),
    };
    let options = &Options { room, around: Some(Arc::new(around)), ..options.clone() };
    let explained = match &parsed {
        // What was packed in another way is still the same files.
        [Some(a), Some(b)] if a.format == b.format || members::share_a_name([a, b]) => {
            comparison.program = program::compare(sources, [a, b], options);
            structures(&mut comparison, sources, [a, b], blocks, options, depth)?
        }
        // What can be read says where things are in the one that cannot, too; that one may have lost its signature only.
        [Some(one), None] | [None, Some(one)] if !comparison.faults.is_empty() || mostly_same(blocks) => {
            structures(&mut comparison, sources, [one, one], blocks, options, depth)?
        }
        _ => {
            comparison.leaf = Some(leaf::compare(sources, blocks)?);
            if both_faulty(&comparison) { 0 } else { blocks.differing }
        }
    };
    comparison.causes = cause::recognise(&comparison);
    // What neither says of itself cannot be told.
    if both_faulty(&comparison) && explained == blocks.differing {
        comparison.unread += 1;
    }
    Ok((comparison, explained))
}

type LookedInto = (Source, Result<Option<Parsed>, Unreadable>);

/// The structure of both files.
fn looked_into(sides: [Member; 2], options: &Options, depth: usize) -> [LookedInto; 2] {
    let room = options.room.with_plain(options.room.plain / 2);
    let look = |Member { source, parsed }: Member| {
        let parsed = match parsed {
            Some(parsed) => Ok(Some(parsed)),
            None if depth > DEEPEST => {
                Err(Unreadable { format: "file", message: format!("it lies in more than {DEEPEST} files") })
            }
            None => extent::parse(&source, &room),
        };
        (source, parsed)
    };
    let [first, second] = sides;
    if options.jobs.get() == 1 {
        return [look(first), look(second)];
    }
    par::both(|| look(first), || look(second)).into()
}

/// Whether more bytes are the same than differ.
fn mostly_same(blocks: &Blocks) -> bool {
    blocks.differing < blocks.sizes[0].max(blocks.sizes[1]) / 2
}

/// Whether something could not be read on both sides.
fn both_faulty(comparison: &Comparison) -> bool {
    [0, 1].iter().all(|side| comparison.faults.iter().any(|(faulty, _)| faulty == side))
}

/// Compares the structures of two files of one format.
fn structures(
    comparison: &mut Comparison,
    sources: [&Source; 2],
    parsed: [&Parsed; 2],
    blocks: &Blocks,
    options: &Options,
    depth: usize,
) -> io::Result<u64> {
    let sides =
        [0, 1].map(|side| Side { source: sources[side], map: &parsed[side].map, size: blocks.sizes[side] });
    let pairing = Pairing::of(&sides, blocks)?;
    comparison.moved = pairing.moved;
    let mut compared = Compared::default();
    // If one of them cannot be read, nothing can be taken out of it.
    let pairs = if guided(parsed) { Vec::new() } else { members::touched(parsed, &pairing) };
    let mut take = |(pair, found): ((u32, u32), io::Result<Option<Comparison>>)| {
        let found = found?;
        compared.pairs.insert(pair);
        if found.is_some() {
            compared.differing[0].insert(pair.0);
            compared.differing[1].insert(pair.1);
        }
        comparison.members.extend(found);
        Ok::<(), io::Error>(())
    };
    let name = |(a, _): (u32, u32)| Name::from(parsed[0].members.label(a));
    let open = |(a, b): (u32, u32)| [parsed[0].members.open(a), parsed[1].members.open(b)];
    // Large files are compared one after the other, and have all threads; small ones beside each other.
    let size =
        |one: &Result<Member, Unreadable>| one.as_ref().map_or(0, |one| one.source.size().unwrap_or(0));
    let (large, small): (Vec<_>, Vec<_>) =
        pairs.into_iter().partition(|pair| open(*pair).iter().any(|one| size(one) > LARGE));
    for pair in large {
        take((pair, inside(name(pair), open(pair), options, depth)))?;
    }
    let one = NonZero::<usize>::MIN;
    let each = Options { jobs: one, ..options.clone() };
    let jobs = if sources.iter().any(|source| source.in_order()) { one } else { options.jobs };
    let both = |pair| (pair, inside(name(pair), open(pair), &each, depth));
    par::map_ordered(jobs, small.into_iter(), both, take)?;
    comparison.members.sort_by(|a, b| a.name.cmp(&b.name));
    for pair in &pairing.pairs {
        comparison.changes.push(change(&sides, parsed, pair, &compared)?);
    }
    let told = Told { sources, maps: [sides[0].map, sides[1].map], told: &pairing.told };
    let explained = blocks.explained(&told, options.jobs)?;
    Ok(explained + behind(comparison, &sides))
}

/// Whether one file is seen through the structure of the other.
fn guided(parsed: [&Parsed; 2]) -> bool {
    std::ptr::eq(parsed[0], parsed[1])
}

/// What differs in a file inside; `None` if it is the same.
fn inside(
    name: Name,
    opened: [Result<Member, Unreadable>; 2],
    options: &Options,
    depth: usize,
) -> io::Result<Option<Comparison>> {
    let faulty = |name, faults: Vec<(usize, Unreadable)>| {
        // Unless one of them can be read, it is not known what is in the bytes that differ.
        let unread = u64::from(faults.len() != 1);
        Ok(Some(Comparison { name, faults, unread, ..Comparison::default() }))
    };
    let members = match opened {
        [Ok(a), Ok(b)] => [a, b],
        opened => {
            let faults = opened.into_iter().enumerate();
            return faulty(name, faults.filter_map(|(side, result)| Some((side, result.err()?))).collect());
        }
    };
    let left = options.work.load(Ordering::Relaxed);
    let cost = blocks::cost([&members[0].source, &members[1].source], left).max(4096);
    let take = |left: u64| left.checked_sub(cost);
    if options.work.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
        let message = "there is more inside than an honest file has".to_owned();
        let fault = Unreadable { format: "file", message };
        return faulty(name, vec![(0, fault.clone()), (1, fault)]);
    }
    let tell = |more| options.watch.tell(Step::Inside { more });
    let blocks = match Blocks::of([&members[0].source, &members[1].source], options.jobs, &tell) {
        Ok(blocks) => blocks,
        Err(_) => return faulty(name, damaged(&members, options)),
    };
    if blocks.differing == 0 {
        return Ok(None);
    }
    if options.is_around(members.each_ref().map(|member| &member.source), &blocks) {
        let places = blocks.sizes.map(|size| Some((0, size)));
        let again = Change { structure: "the pair around it again", places, ..Change::default() };
        let (sizes, differing, changes) = (blocks.sizes, blocks.differing, vec![again]);
        return Ok(Some(Comparison { name, sizes, differing, changes, ..Comparison::default() }));
    }
    let sources = members.each_ref().map(|member| Member::from(member.source.clone()));
    let (found, explained) = match files(name.clone(), members, &blocks, options, depth + 1) {
        Ok(found) => found,
        // What one of them is longer can be damaged too.
        Err(_) => return faulty(name, damaged(&sources, options)),
    };
    let unread = found.unread + (blocks.differing - explained);
    Ok(Some(Comparison { unread, ..found }))
}

/// Which of two files cannot be read to their ends, and why.
fn damaged(members: &[Member; 2], options: &Options) -> Vec<(usize, Unreadable)> {
    let read = |member: &Member| Blocks::of([&member.source; 2], options.jobs, &|_| ()).err();
    let faults = members.iter().map(read).enumerate();
    faults.filter_map(|(side, error)| Some((side, Unreadable::new("file", &error?.1)))).collect()
}

/// Tells of bytes that no map reaches, because it is that of the other file, which is shorter; how many there are.
fn behind(comparison: &mut Comparison, sides: &[Side<'_>; 2]) -> u64 {
    let mut all = 0;
    for (index, side) in sides.iter().enumerate() {
        let (end, size) = (side.map.size(), side.size);
        if size > end {
            let mut places = [None; 2];
            places[index] = Some((end, size - end));
            comparison.changes.push(Change { structure: "data behind the end", places, ..Change::default() });
            all += size - end;
        }
    }
    all
}

/// What is to be told of a pair of extents that differ.
fn change(
    sides: &[Side<'_>; 2],
    parsed: [&Parsed; 2],
    pair: &pair::Pair,
    compared: &Compared,
) -> io::Result<Change> {
    let extents = [0, 1].map(|side| pair.extents[side].map(|index| sides[side].map.extents()[index]));
    let paths = [0, 1].map(|side| extents[side].map(|extent| sides[side].map.path(extent.owner).to_vec()));
    let structure = extents.iter().flatten().next().expect("a pair has at least one").structure;
    let inside = [0, 1].map(|side| {
        let map: &Map = sides[side].map;
        extents[side].as_ref().map_or(&[][..], |extent| map.members(extent))
    });
    let both = extents[0].is_some() && extents[1].is_some();
    let readable = !guided(parsed);
    let [first, second] = &paths;
    let renamed = second.clone().filter(|second| first.as_ref().is_some_and(|first| first != second));
    let same_content = both && readable && renamed.is_none() && compared.all_same(inside);
    let mut change = Change {
        structure: structure.name,
        path: first.clone().or_else(|| second.clone()).unwrap_or_default(),
        renamed,
        places: extents.map(|extent| extent.map(|extent| (extent.start, extent.len))),
        same_content,
        ..Change::default()
    };
    // What is inside says more than its encoded form, if it does.
    let told = same_content || readable && compared.any_differs(inside);
    if let [Some(a), Some(b)] = extents
        && !told
    {
        let places = [(a.start, a.len), (b.start, b.len)];
        if inside.iter().all(|members| members.is_empty()) {
            details(&mut change, sides, places, structure.fields)?;
        } else {
            change.bytes = leaf::first_difference(sides.each_ref().map(|side| side.source), places)?;
        }
    }
    Ok(change)
}

/// Members of both sides that were compared with each other, by number.
#[derive(Debug, Default)]
struct Compared {
    pairs: BTreeSet<(u32, u32)>,
    /// Those that differ, of each side.
    differing: [BTreeSet<u32>; 2],
}

impl Compared {
    /// Whether both extents hold the same members, all of which were compared and are the same.
    fn all_same(&self, inside: [&[u32]; 2]) -> bool {
        let partner = |a: u32| self.pairs.range((a, 0)..=(a, u32::MAX)).next().map(|(_, b)| *b);
        let first: Option<BTreeSet<u32>> = inside[0].iter().map(|a| partner(*a)).collect();
        let second: BTreeSet<u32> = inside[1].iter().copied().collect();
        !second.is_empty() && first.is_some_and(|first| first == second) && !self.any_differs(inside)
    }

    fn any_differs(&self, inside: [&[u32]; 2]) -> bool {
        let differs = |side: usize| inside[side].iter().any(|member| self.differing[side].contains(member));
        differs(0) || differs(1)
    }
}

/// Fields that differ, and the first bytes that do outside of them.
fn details(
    change: &mut Change,
    sides: &[Side<'_>; 2],
    places: [(u64, u64); 2],
    cut: fn(&[u8]) -> Vec<extent::Field>,
) -> io::Result<()> {
    let sources = sides.each_ref().map(|side| side.source);
    if places.iter().any(|(_, len)| *len > LONGEST) {
        change.bytes = leaf::first_difference(sources, places)?;
        return Ok(());
    }
    let read = |side: usize| leaf::part(sources[side], places[side].0, places[side].0 + places[side].1);
    let bytes = [read(0)?, read(1)?];
    let fields = [cut(&bytes[0]), cut(&bytes[1])];
    let mut told = Vec::new();
    for one in field_changes(&fields, &mut told) {
        if change.fields.len() < MOST_FIELDS {
            change.fields.push(one);
        } else {
            change.more_fields += 1;
        }
    }
    let len = bytes[0].len().max(bytes[1].len());
    let mut covered = vec![false; len];
    for (from, to) in told {
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(len);
        covered[place(from)..place(to)].fill(true);
    }
    let differs = (0..len).find(|at| bytes[0].get(*at) != bytes[1].get(*at) && !covered[*at]);
    if let Some(at) = differs {
        change.bytes = Some(Bytes::new([&bytes[0], &bytes[1]], at, places.map(|(start, _)| start)));
    }
    Ok(())
}

/// Fields that differ by name, and where they lie.
fn field_changes(fields: &[Vec<extent::Field>; 2], told: &mut Vec<(u64, u64)>) -> Vec<FieldChange> {
    let mut second: BTreeMap<&str, Vec<&extent::Field>> = BTreeMap::new();
    for field in fields[1].iter().rev() {
        second.entry(&field.name).or_default().push(field);
    }
    let mut changes = Vec::new();
    let mut tell = |both: [Option<&extent::Field>; 2]| {
        if let [Some(a), Some(b)] = both
            && a.value == b.value
        {
            return;
        }
        for field in both.into_iter().flatten() {
            told.push((field.at, field.at + field.len));
        }
        let Some(any) = both[0].or(both[1]) else { return };
        changes.push(FieldChange {
            name: any.name.clone().into_owned(),
            values: both.map(|field| field.map(|field| field.value.clone())),
            role: any.role,
        });
    };
    for field in &fields[0] {
        let other = second.get_mut(&*field.name).and_then(Vec::pop);
        tell([Some(field), other]);
    }
    let mut left: Vec<&extent::Field> = second.into_values().flatten().collect();
    left.sort_by_key(|field| field.at);
    left.into_iter().for_each(|field| tell([None, Some(field)]));
    changes
}
