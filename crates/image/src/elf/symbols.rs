//! Symbols: which bytes of a file are called what.

use std::ops::Range;

use super::header::{Header, MOST_SECTIONS, SHT_NOBITS, string, strings};
use super::layout::Shape;
use crate::extent::Source;
use crate::io::ReadAt;

/// Symbols that are looked at; a large program has some hundred thousand.
const MOST_SYMBOLS: u64 = 1 << 18;
/// Bytes of a name by which symbols are told apart.
const LONGEST_NAME: usize = 1024;

// Kinds of files, sections and symbols (gABI, chapter 4).
const ET_REL: u64 = 1;
const SHT_SYMTAB: u64 = 2;
const SHT_DYNSYM: u64 = 11;
const SHF_EXECINSTR: u64 = 4;
const SHN_UNDEF: u64 = 0;
const SHN_LORESERVE: u64 = 0xff00;
const STT_SECTION: u8 = 3;
const STT_FILE: u8 = 4;
const STT_TLS: u8 = 6;

/// A symbol with a name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Symbol {
    /// Where its name begins, and how long it is.
    name: (u32, u16),
    /// Index of its section; 0 if it is to be found elsewhere.
    section: u32,
    /// Its type and binding.
    info: u8,
    /// Its visibility.
    other: u8,
    /// Address of the first byte when the program runs.
    pub(crate) address: u64,
    /// Offset in the file of the first byte.
    pub(crate) start: u64,
    /// How many bytes it has.
    pub(crate) len: u64,
    /// Whether they lie in the file, and not all of them are zeros that lie nowhere.
    pub(crate) stored: bool,
}

struct Section {
    name: u64,
    flags: u64,
    kind: u64,
    address: u64,
    start: u64,
    len: u64,
}

/// The symbols of a file, those of `.symtab`, or those of `.dynsym` if it was stripped.
pub(crate) struct Symbols {
    pub(crate) all: Vec<Symbol>,
    /// Whether there are more.
    pub(crate) more: bool,
    /// `e_machine`.
    pub(crate) machine: u64,
    shape: Shape,
    names: Vec<u8>,
    sections: Vec<Section>,
    section_names: Vec<u8>,
    /// Of those that are stored, by address.
    by_address: Vec<u32>,
}

impl Symbols {
    /// The symbols of a file; none if there are no sections. That something cannot be read is told with the sections.
    pub(crate) fn read(source: &Source) -> Option<Self> {
        let (header, _) = Header::read(source).ok()?;
        let (shape, count) = (header.shape, header.sections.count.min(MOST_SECTIONS));
        let mut sections = Vec::new();
        let mut table: Option<(u64, u64, u64, u64, u64)> = None;
        for index in 0..count {
            let Some(values) = header.section(source, index) else { break };
            let [name, kind, flags, address, start, len, link, _, _, stride] = values;
            sections.push(Section { name, flags, kind, address, start, len });
            let better = kind == SHT_SYMTAB || kind == SHT_DYNSYM && table.is_none();
            if better && table.is_none_or(|(kind, ..)| kind == SHT_DYNSYM) {
                table = Some((kind, start, len, link, stride));
            }
        }
        let section_names = header.names(source, count);
        let mut found = Self {
            all: Vec::new(),
            more: false,
            machine: header.machine,
            shape,
            names: Vec::new(),
            sections,
            section_names,
            by_address: Vec::new(),
        };
        if let Some((_, start, len, link, stride)) = table {
            let link = usize::try_from(link).ok().and_then(|link| found.sections.get(link));
            found.names = link.map_or_else(Vec::new, |link| strings(source, link.start, link.len));
            if stride == found.stride() {
                found.table(source, start, len, header.kind == ET_REL);
            }
        }
        Some(found)
    }

    /// Length of an entry in bytes.
    fn stride(&self) -> u64 {
        if self.shape.wide { 24 } else { 16 }
    }

    fn table(&mut self, source: &Source, start: u64, len: u64, relative: bool) {
        let size = source.size().unwrap_or(0);
        let stride = self.stride();
        let fit = len.min(size.saturating_sub(start)) / stride;
        self.more = fit > MOST_SYMBOLS;
        let len = fit.min(MOST_SYMBOLS) * stride;
        let mut bytes = vec![0; usize::try_from(len).expect("at most 6 MiB")];
        if source.read_exact_at(&mut bytes, start).is_err() {
            return;
        }
        let step = usize::try_from(stride).expect("at most 24");
        for entry in bytes.chunks_exact(step) {
            let symbol = self.symbol(entry, relative, size);
            self.all.extend(symbol);
        }
        let stored = (0_u32..).zip(&self.all).filter(|(_, symbol)| symbol.stored && symbol.len > 0);
        self.by_address = stored.map(|(index, _)| index).collect();
        self.by_address.sort_by_key(|index| self.all[place(*index)].address);
    }

    /// The symbol in an entry, if it has a name and says where something is, or that it is elsewhere.
    fn symbol(&self, entry: &[u8], relative: bool, size: u64) -> Option<Symbol> {
        let number = |range: Range<usize>| self.shape.number(&entry[range]);
        let (name, value, len, info, other, index) = match self.shape.wide {
            true => (number(0..4), number(8..16), number(16..24), entry[4], entry[5], number(6..8)),
            false => (number(0..4), number(4..8), number(8..12), entry[12], entry[13], number(14..16)),
        };
        let text = string(&self.names, name);
        // What is no section (absolute values, for one) has no bytes.
        if text.is_empty() || matches!(info & 15, STT_SECTION | STT_FILE) || index >= SHN_LORESERVE {
            return None;
        }
        let section = self.sections.get(usize::try_from(index).ok()?)?;
        let name = (u32::try_from(name).ok()?, u16::try_from(text.len().min(LONGEST_NAME)).ok()?);
        let number = u32::try_from(index).ok()?;
        let mut symbol =
            Symbol { name, section: number, info, other, address: value, start: 0, len, stored: false };
        if index == SHN_UNDEF {
            return Some(Symbol { len: 0, ..symbol });
        }
        // Those of threads are counted from where their segment begins, which is that of no section for sure.
        if section.kind == SHT_NOBITS || info & 15 == STT_TLS {
            return Some(symbol);
        }
        let within = if relative { value } else { value.checked_sub(section.address)? };
        symbol.start = section.start.checked_add(within)?;
        let end = section.start.checked_add(section.len)?.min(size);
        symbol.stored = symbol.start.checked_add(len)? <= end;
        symbol.stored.then_some(symbol)
    }

    pub(crate) fn name(&self, symbol: &Symbol) -> &[u8] {
        let (start, len) = (place(symbol.name.0), usize::from(symbol.name.1));
        self.names.get(start..start.saturating_add(len)).unwrap_or_default()
    }

    /// The name of the section that a symbol is in; none if it is to be found elsewhere.
    pub(crate) fn section(&self, symbol: &Symbol) -> &[u8] {
        match self.sections.get(place(symbol.section)) {
            Some(section) if symbol.section > 0 => string(&self.section_names, section.name),
            _ => b"",
        }
    }

    /// Whether a symbol is in a section of instructions.
    pub(crate) fn runs(&self, symbol: &Symbol) -> bool {
        let section = self.sections.get(place(symbol.section));
        symbol.stored && section.is_some_and(|section| section.flags & SHF_EXECINSTR != 0)
    }

    /// Whether addresses have 64 bits, and whether numbers begin with their highest byte.
    pub(crate) fn shape(&self) -> (bool, bool) {
        (self.shape.wide, self.shape.big)
    }

    /// The symbol whose bytes are at an address, and how far behind its first one.
    pub(crate) fn at(&self, address: u64) -> Option<(&Symbol, u64)> {
        let symbol = |index: &u32| &self.all[place(*index)];
        let next = self.by_address.partition_point(|index| symbol(index).address <= address);
        // Several may begin together; those before them that are longer are seldom meant.
        let last = self.by_address[..next].iter().rev().map(symbol).take(8);
        last.map(|symbol| (symbol, address - symbol.address)).find(|(symbol, behind)| *behind < symbol.len)
    }
}

impl Symbol {
    /// What it is, in a word.
    pub(crate) fn kind(&self) -> &'static str {
        match self.info & 15 {
            2 | 10 => "function",
            1 | 6 => "object",
            _ => "symbol",
        }
    }

    /// What is said of it beside its bytes: names of the properties, and their values.
    pub(crate) fn properties(&self) -> [(&'static str, String); 4] {
        const TYPES: [&str; 11] =
            ["NOTYPE", "OBJECT", "FUNC", "SECTION", "FILE", "COMMON", "TLS", "7", "8", "9", "GNU_IFUNC"];
        const BINDINGS: [&str; 11] =
            ["LOCAL", "GLOBAL", "WEAK", "3", "4", "5", "6", "7", "8", "9", "GNU_UNIQUE"];
        const VISIBILITIES: [&str; 4] = ["DEFAULT", "INTERNAL", "HIDDEN", "PROTECTED"];
        let word = |words: &[&str], index: u8| {
            words.get(usize::from(index)).map_or_else(|| index.to_string(), |word| (*word).to_owned())
        };
        // Of those that are stored, bytes say more.
        let size = if self.stored { String::new() } else { self.len.to_string() };
        [
            ("type", word(&TYPES, self.info & 15)),
            ("binding", word(&BINDINGS, self.info >> 4)),
            ("visibility", word(&VISIBILITIES, self.other & 3)),
            ("size", size),
        ]
    }

    /// Its bytes in the file: first byte and length.
    pub(crate) fn place(&self) -> (u64, u64) {
        if self.stored { (self.start, self.len) } else { (0, 0) }
    }
}

fn place(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_symbols_ends_with_the_file() {
        let source: Source = std::sync::Arc::new(b"\x7fELF\x02\x01\x01".to_vec());
        assert!(Symbols::read(&source).is_none());
        let mut bytes = [&b"\x7fELF\x02\x01\x01"[..], &[0; 121]].concat();
        // A section header behind the file header that claims 2^64 - 1 bytes of symbols.
        bytes[40] = 64;
        bytes[58..62].copy_from_slice(&[64, 0, 1, 0]);
        bytes[68] = 2;
        bytes[96..104].fill(0xff);
        bytes[120] = 24;
        let source: Source = std::sync::Arc::new(bytes);
        let found = Symbols::read(&source).unwrap();
        // Five entries of 24 bytes lie in the 128 of the file; the first one never is a symbol, and one has nothing in it.
        assert_eq!((found.all.len(), found.more), (3, false));
    }
}
