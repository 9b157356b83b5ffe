//! What differs in symbols of ELF files, by name: the sections say where bytes differ, symbols what these are.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::leaf::{self, Lines};
use super::{FieldChange, Role};
use crate::digest::Digest;
use crate::elf::{self, Symbols};
use crate::extent::{Parsed, Source};
use crate::io::wide;

/// Symbols that are told of a file.
const MOST: usize = 32;
/// Bytes that are read at a time.
const CHUNK: u64 = 256 << 10;
/// Bytes that are read at least.
const PAGE: u64 = 4 << 10;
/// Symbols without partner that are looked for under other names.
const MOST_LEFT: usize = 1 << 16;
/// Longest note that is read, in bytes.
const LONGEST_NOTE: u64 = 4096;
/// Longest function whose instructions are compared, in bytes.
const LONGEST_CODE: u64 = 64 << 10;
/// Functions of a file whose instructions are compared.
const MOST_CODE: usize = 8;

/// What differs between two programs beside their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Build IDs of both, if they differ.
    pub build_ids: Option<[Option<String>; 2]>,
    /// Symbols that differ: first those that only one has or that have another length, name or property, then others, in the
    /// order of the file.
    pub symbols: Vec<Symbol>,
    /// How many more differ.
    pub more: usize,
    /// Whether there are symbols that were not looked at, because there are too many.
    pub unlooked: bool,
    /// Why instructions were not compared, if they should have been.
    pub not_disassembled: Option<String>,
}

/// A symbol that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbol {
    /// `function`, `object` or `symbol`.
    pub kind: &'static str,
    /// Its name, as it is in the file.
    pub name: Vec<u8>,
    /// Its name in the second file, if the same bytes are called otherwise there.
    pub renamed: Option<Vec<u8>>,
    /// Its section; empty if it is to be found in another file.
    pub section: Vec<u8>,
    /// First byte and length in both files; `None` where it is not there. A length of 0 is that of one without bytes in the
    /// file.
    pub places: [Option<(u64, u64)>; 2],
    /// How many of its bytes differ, and how many one is longer.
    pub differing: u64,
    /// Properties that differ.
    pub fields: Vec<FieldChange>,
    /// Instructions that differ, if they were asked for.
    pub code: Option<Lines>,
}

/// The bytes of a function.
#[derive(Clone, Copy, Debug)]
pub struct Code<'a> {
    /// `e_machine` of the ELF header.
    pub machine: u64,
    /// Whether addresses have 64 bits.
    pub wide: bool,
    /// Whether numbers begin with their highest byte.
    pub big: bool,
    /// Address of the first byte.
    pub address: u64,
    /// Its bytes.
    pub bytes: &'a [u8],
}

type Read = dyn Fn(Code<'_>) -> Result<String, String> + Send + Sync;

/// Reads instructions: a line each, without their addresses, in which a number is an address if it is one of a branch.
#[derive(Clone)]
pub struct Disassemble(Arc<Read>);

impl Disassemble {
    /// Asks `read`; what it cannot do, it says in words.
    pub fn new(read: impl Fn(Code<'_>) -> Result<String, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }
}

impl fmt::Debug for Disassemble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disassemble")
    }
}

/// What differs in two ELF files; nothing of other ones, or if there is nothing to tell.
pub(super) fn compare(
    sources: [&Source; 2],
    parsed: [&Parsed; 2],
    options: &super::Options,
) -> Option<Program> {
    if parsed.iter().any(|one| one.format != "elf") {
        return None;
    }
    let ids = [0, 1].map(|side| build_id(sources[side], parsed[side]));
    let mut program = Program { build_ids: (ids[0] != ids[1]).then_some(ids), ..Program::default() };
    let [a, b] = sources.map(Symbols::read);
    if let (Some(a), Some(b)) = (a, b) {
        let mut work = Work::new(sources, [&a, &b]);
        let found = work.all();
        program.unlooked = work.left == 0 || a.more || b.more;
        program.more = found.len().saturating_sub(MOST);
        program.symbols = found.iter().take(MOST).map(|one| work.told(one)).collect();
        if let Some(disassemble) = &options.disassemble {
            work.instructions(&found, disassemble, &mut program);
        }
    }
    (program != Program::default()).then_some(program)
}

/// What the linker called a file.
fn build_id(source: &Source, parsed: &Parsed) -> Option<String> {
    let notes = parsed.map.extents().iter();
    let mut notes = notes.filter(|extent| extent.structure.name == "note" && extent.len <= LONGEST_NOTE);
    notes.find_map(|note| {
        let bytes = leaf::part(source, note.start, note.end()).ok()?;
        let fields = (note.structure.fields)(&bytes);
        fields.into_iter().find(|field| field.name == "build ID").map(|field| field.value)
    })
}

/// A symbol that differs: its index on both sides.
struct Found {
    sides: [Option<usize>; 2],
    differing: u64,
    renamed: bool,
    /// Whether more than its bytes differs.
    first: bool,
}

struct Work<'a> {
    symbols: [&'a Symbols; 2],
    readers: [Reader<'a>; 2],
    /// Bytes of symbols that are still read: they may overlap.
    left: u64,
}

impl<'a> Work<'a> {
    fn new(sources: [&'a Source; 2], symbols: [&'a Symbols; 2]) -> Self {
        let readers = sources.map(|source| Reader { source, start: 0, bytes: Vec::new() });
        let sizes = sources.map(|source| source.size().unwrap_or(0));
        let left = sizes[0].saturating_add(sizes[1]).saturating_mul(2).saturating_add(1 << 20);
        Self { symbols, readers, left }
    }

    fn symbol(&self, side: usize, index: usize) -> &'a elf::Symbol {
        &self.symbols[side].all[index]
    }

    /// All that differ, in the order in which they are told.
    fn all(&mut self) -> Vec<Found> {
        let (mut pairs, mut alone) = paired(self.symbols);
        // As they lie in the file: what is compressed around them is read once.
        pairs.sort_by_key(|(a, _)| self.symbol(0, *a).start);
        let mut found = Vec::new();
        for (a, b) in pairs {
            let both = [self.symbol(0, a), self.symbol(1, b)];
            let Some(differing) = self.differing(both) else { break };
            let first = both[0].len != both[1].len || both[0].properties() != both[1].properties();
            if differing > 0 || first {
                found.push(Found { sides: [Some(a), Some(b)], differing, renamed: false, first });
            }
        }
        for (a, b) in self.renamed(&mut alone) {
            found.push(Found { sides: [Some(a), Some(b)], differing: 0, renamed: true, first: true });
        }
        for (side, alone) in alone.into_iter().enumerate() {
            found.extend(alone.into_iter().map(|index| {
                let mut sides = [None; 2];
                sides[side] = Some(index);
                let differing = self.symbol(side, index).place().1;
                Found { sides, differing, renamed: false, first: true }
            }));
        }
        let start = |one: &Found| {
            let [a, b] = one.sides;
            let first = a.map(|a| self.symbol(0, a)).or_else(|| b.map(|b| self.symbol(1, b)));
            first.map_or(0, |symbol| symbol.start)
        };
        found.sort_by_key(|one| (!one.first, start(one)));
        found
    }

    /// How many bytes of two symbols differ; `None` if no more may be read.
    fn differing(&mut self, both: [&elf::Symbol; 2]) -> Option<u64> {
        let [(a, a_len), (b, b_len)] = both.map(elf::Symbol::place);
        self.pay(a_len + b_len)?;
        let (shared, mut at) = (a_len.min(b_len), 0);
        let mut count = a_len.abs_diff(b_len);
        while at < shared {
            let len = CHUNK.min(shared - at);
            let [one, other] = &mut self.readers;
            let (first, second) = (one.get(a + at, len).ok()?, other.get(b + at, len).ok()?);
            if first != second {
                count += wide(first.iter().zip(second).filter(|(a, b)| a != b).count());
            }
            at += len;
        }
        Some(count)
    }

    /// Takes out of those without partner the pairs that have the same bytes.
    fn renamed(&mut self, alone: &mut [Vec<usize>; 2]) -> Vec<(usize, usize)> {
        let mut pairs = Vec::new();
        if alone.iter().any(|side| side.len() > MOST_LEFT) {
            return pairs;
        }
        let mut known: BTreeMap<(Vec<u8>, u64, [u8; 32]), Vec<usize>> = BTreeMap::new();
        for index in alone[0].iter().rev() {
            let Some(key) = self.key(0, *index) else { continue };
            known.entry(key).or_default().push(*index);
        }
        for index in std::mem::take(&mut alone[1]) {
            let key = if known.is_empty() { None } else { self.key(1, index) };
            match key.and_then(|key| known.get_mut(&key)).and_then(Vec::pop) {
                Some(first) => pairs.push((first, index)),
                None => alone[1].push(index),
            }
        }
        let taken: std::collections::BTreeSet<usize> = pairs.iter().map(|(first, _)| *first).collect();
        alone[0].retain(|index| !taken.contains(index));
        pairs
    }

    /// By what a symbol is known under another name: its section, length and bytes.
    fn key(&mut self, side: usize, index: usize) -> Option<(Vec<u8>, u64, [u8; 32])> {
        let symbol = self.symbol(side, index);
        let (start, len) = symbol.place();
        if len == 0 || len > CHUNK {
            return None;
        }
        self.pay(len)?;
        let digest = Digest::of(self.readers[side].get(start, len).ok()?).0;
        Some((self.symbols[side].section(symbol).to_vec(), len, digest))
    }

    fn pay(&mut self, bytes: u64) -> Option<()> {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(0);
        left.map(|_| ())
    }

    /// What is told of a symbol.
    fn told(&self, found: &Found) -> Symbol {
        let one = |side: usize| found.sides[side].map(|index| self.symbol(side, index));
        let both = [one(0), one(1)];
        let side = usize::from(both[0].is_none());
        let Some(any) = both[side] else { return Symbol::default() };
        let name = |side: usize| both[side].map(|symbol| self.symbols[side].name(symbol).to_vec());
        let mut fields = Vec::new();
        if let [Some(a), Some(b)] = both {
            for ((name, a), (_, b)) in a.properties().into_iter().zip(b.properties()) {
                let values = [Some(a), Some(b)];
                if values[0] != values[1] {
                    fields.push(FieldChange { name: name.to_owned(), values, role: Role::Value });
                }
            }
        }
        Symbol {
            kind: any.kind(),
            name: name(side).unwrap_or_default(),
            renamed: name(1).filter(|_| found.renamed),
            section: self.symbols[side].section(any).to_vec(),
            places: both.map(|symbol| symbol.map(elf::Symbol::place)),
            differing: found.differing,
            fields,
            code: None,
        }
    }

    /// Compares the instructions of the first functions that differ.
    fn instructions(&mut self, found: &[Found], disassemble: &Disassemble, program: &mut Program) {
        let mut count = 0;
        for (one, told) in found.iter().zip(&mut program.symbols) {
            let [Some(a), Some(b)] = one.sides else { continue };
            let both = [self.symbol(0, a), self.symbol(1, b)];
            let fits = |side: usize| both[side].len <= LONGEST_CODE && self.symbols[side].runs(both[side]);
            if one.differing == 0 || both[0].len == 0 || both[1].len == 0 || !(fits(0) && fits(1)) {
                continue;
            }
            if count == MOST_CODE {
                let message = format!("more than {MOST_CODE} functions differ");
                program.not_disassembled = Some(message);
                return;
            }
            count += 1;
            match [self.code(0, both[0], disassemble), self.code(1, both[1], disassemble)] {
                [Ok(a), Ok(b)] => told.code = Some(leaf::lines(&a, &b)),
                [Err(error), _] | [_, Err(error)] => {
                    program.not_disassembled = Some(error);
                    return;
                }
            }
        }
    }

    /// The instructions of a function, a line each; addresses of what has a name are that name.
    fn code(
        &mut self,
        side: usize,
        symbol: &elf::Symbol,
        disassemble: &Disassemble,
    ) -> Result<String, String> {
        let symbols = self.symbols[side];
        let bytes = self.readers[side].get(symbol.start, symbol.len).map_err(|error| error.to_string())?;
        let (wide, big) = symbols.shape();
        let address = symbol.address;
        let text = disassemble.0(Code { machine: symbols.machine, wide, big, address, bytes })?;
        Ok(text.lines().map(|line| named(line, symbols, symbol) + "\n").collect())
    }
}

/// An instruction with names instead of the addresses that it jumps to or that a comment says.
fn named(line: &str, symbols: &Symbols, own: &elf::Symbol) -> String {
    let jumps = line.starts_with(['j', 'b']) || line.starts_with("call") || line.contains("# 0x");
    let Some(at) = line.rfind("0x").filter(|_| jumps) else { return line.to_owned() };
    let digits = &line[at + 2..];
    let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
    let Ok(address) = u64::from_str_radix(&digits[..end], 16) else { return line.to_owned() };
    let name = match address.checked_sub(own.address).filter(|behind| *behind < own.len) {
        Some(behind) => format!("<+{behind:#x}>"),
        None => match symbols.at(address) {
            Some((symbol, 0)) => format!("<{}>", symbols.name(symbol).escape_ascii()),
            Some((symbol, behind)) => format!("<{}+{behind:#x}>", symbols.name(symbol).escape_ascii()),
            // How far it is says nothing that the address does not.
            None => return without_distance(line),
        },
    };
    format!("{}{name}{}", without_distance(&line[..at]), &digits[end..])
}

/// An instruction without how far it is from there to what a comment names: `lea 0x10(%rip),%rax # 0x2000`.
fn without_distance(line: &str) -> String {
    let Some((before, behind)) = line.split_once("(%rip)") else { return line.to_owned() };
    let start = before.rfind([' ', ',']).map_or(0, |at| at + 1);
    format!("{}(%rip){behind}", &before[..start])
}

type Alone = [Vec<usize>; 2];

/// Symbols that belong together, by section and name; of several with one name the first with the first, and so on. And those
/// without partner.
fn paired(symbols: [&Symbols; 2]) -> (Vec<(usize, usize)>, Alone) {
    let key = |side: usize, index: usize| {
        let (table, symbol) = (symbols[side], &symbols[side].all[index]);
        (table.section(symbol), table.name(symbol))
    };
    let [first, second] = [0, 1].map(|side| {
        let mut order: Vec<usize> = (0..symbols[side].all.len()).collect();
        order.sort_by(|a, b| key(side, *a).cmp(&key(side, *b)).then(a.cmp(b)));
        order
    });
    let (mut pairs, mut alone) = (Vec::new(), Alone::default());
    let (mut left, mut right) = (first.into_iter().peekable(), second.into_iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) => key(0, *a).cmp(&key(1, *b)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return (pairs, alone),
        };
        match order {
            Ordering::Less => alone[0].extend(left.next()),
            Ordering::Greater => alone[1].extend(right.next()),
            Ordering::Equal => pairs.extend(left.next().zip(right.next())),
        }
    }
}

/// Reads what lies near each other once.
struct Reader<'a> {
    source: &'a Source,
    start: u64,
    bytes: Vec<u8>,
}

impl Reader<'_> {
    /// At most [`CHUNK`] bytes.
    fn get(&mut self, at: u64, len: u64) -> io::Result<&[u8]> {
        let end = at.saturating_add(len);
        if at < self.start || end > self.start.saturating_add(wide(self.bytes.len())) {
            // As long as one follows the other, more is read at a time.
            let behind = self.start.saturating_add(wide(self.bytes.len()));
            let follows = at >= self.start && at < behind.saturating_add(CHUNK);
            let len = if follows { CHUNK } else { len.max(PAGE) };
            self.bytes = leaf::part(self.source, at, at.saturating_add(len))?;
            self.start = at;
        }
        let range = usize::try_from(at - self.start).ok().zip(usize::try_from(end - self.start).ok());
        let found = range.and_then(|(from, to)| self.bytes.get(from..to));
        found.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}
