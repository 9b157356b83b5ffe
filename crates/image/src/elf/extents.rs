//! Which byte of a file is whose.

use std::collections::BTreeMap;

use super::header::{Header, MOST_SECTIONS, SHT_NOBITS, Table, string};
use super::layout::{
    DEBUG_LINK, FILE_HEADER, NOTES, PROGRAM_HEADERS, SECTION, SECTION_HEADERS, note_index, note_places,
    program_name,
};
use super::strings::{self, WithStrings};
use super::{Corruption, ElfError};
use crate::extent::{Container, Owner, Parsed, Source, Structure, Unreadable};
use crate::io::{ReadAt, wide};

const FORMAT: &str = "elf";
/// Segments that are looked at: as many as a header can have.
const MOST_SEGMENTS: u64 = 1 << 16;
/// Notes that are told apart.
const MOST_NOTES: u32 = 1 << 16;

// Kinds and flags of sections and segments (gABI, chapters 4 and 5).
const PT_LOAD: u64 = 1;
const PT_NOTE: u64 = 4;
const SHT_STRTAB: u64 = 3;
const SHT_NOTE: u64 = 7;
const SHF_STRINGS: u64 = 0x20;
const SHF_COMPRESSED: u64 = 0x800;

static SECTION_DATA: Structure = Structure::plain("section");
static PADDING: Structure = Structure::plain("padding");
static SEGMENT: Structure = Structure::plain("segment");
static NO_SECTION: Structure = Structure::plain("data in no section");
static BEHIND: Structure = Structure::plain("data behind the end");

/// The structure of an ELF file. Each section is a file inside, and so is what lies behind the last one.
///
/// # Errors
/// If the file header cannot be believed. Everything else that is wrong is among [`Parsed::faults`].
pub fn extents(source: &Source) -> Result<Parsed, Unreadable> {
    let found = Container::new(FORMAT, source)?;
    let mut claims = Claims::new(source, found).map_err(|error| Unreadable::new(FORMAT, &error))?;
    claims.all();
    let mut parsed = claims.found.finish();
    parsed.members = Box::new(WithStrings { inner: parsed.members, strings: claims.strings });
    Ok(parsed)
}

struct Segment {
    kind: u64,
    start: u64,
    len: u64,
    align: u64,
    owner: Owner,
}

struct Section {
    owner: Owner,
    kind: u64,
    flags: u64,
    start: u64,
    len: u64,
    align: u64,
}

/// Bytes that a header names, and how what begins there is aligned.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Region {
    start: u64,
    end: u64,
    align: u64,
}

struct Claims<'a> {
    source: &'a Source,
    found: Container,
    header: Header,
    regions: Vec<Region>,
    strings: Vec<u32>,
    notes: u32,
}

impl<'a> Claims<'a> {
    fn new(source: &'a Source, mut found: Container) -> Result<Self, ElfError> {
        let (header, len) = Header::read(source)?;
        found.claim_own(0, len, &FILE_HEADER);
        let regions = vec![Region { start: 0, end: len, align: 1 }];
        Ok(Self { source, found, header, regions, strings: Vec::new(), notes: 0 })
    }

    fn all(&mut self) {
        let segments = self.segments();
        let mut sections = self.sections();
        sections.retain(|section| section.kind != SHT_NOBITS && section.kind != 0 && section.len > 0);
        sections.sort_by_key(|section| section.start);
        self.regions.sort_unstable();
        // What lies in something else is no file of its own: files inside are never longer than the file, all together.
        let tables = std::mem::take(&mut self.regions);
        let (mut next, mut reach) = (0, 0);
        for section in &sections {
            while let Some(table) = tables.get(next).filter(|table| table.start <= section.start) {
                reach = reach.max(table.end);
                next += 1;
            }
            let end = section.start.saturating_add(section.len);
            let alone = section.start >= reach && tables.get(next).is_none_or(|table| table.start >= end);
            self.section(section, alone);
            reach = reach.max(end);
            self.regions.push(Region { start: section.start, end, align: section.align });
        }
        self.regions.extend(tables);
        self.rest(&segments);
    }

    /// The entries of a table that lie in the file, each claimed by `claim`.
    fn table(&mut self, what: &'static str, table: Table, len: usize, most: u64) -> u64 {
        let Table { start, stride, count } = table;
        let least = wide(len);
        if count == 0 {
            return 0;
        }
        let size = self.found.size();
        let field = if what == "program headers" { "e_phentsize" } else { "e_shentsize" };
        if stride < least {
            let kind = Corruption::EntrySize { field, value: stride, least };
            self.found.note(&ElfError::Corrupt { at: 0, kind });
            return 0;
        }
        let fit = size.saturating_sub(start) / stride;
        if count > fit {
            let len = count.saturating_mul(stride);
            let kind = Corruption::Behind { what: format!("table of {what}"), len, size };
            self.found.note(&ElfError::Corrupt { at: start, kind });
        } else if count > most {
            self.found.note(&ElfError::Unsupported { at: start, feature: "as many headers in one table" });
        }
        let count = count.min(fit).min(most);
        let end = start.saturating_add(count * stride);
        self.regions.push(Region { start, end, align: 8 });
        count
    }

    fn segments(&mut self) -> Vec<Segment> {
        let (shape, table) = (self.header.shape, self.header.programs);
        let len = shape.len(shape.program());
        let count = self.table("program headers", table, len, MOST_SEGMENTS);
        let mut numbers: BTreeMap<u64, u64> = BTreeMap::new();
        let mut all = Vec::new();
        for index in 0..count {
            let at = table.start + index * table.stride;
            let mut bytes = [0; 56];
            if self.source.read_exact_at(&mut bytes[..len], at).is_err() {
                break;
            }
            let values = shape.values(&bytes, shape.program());
            let [kind, start, len_in_file, align] = match shape.wide {
                true => [values[0], values[2], values[5], values[7]],
                false => [values[0], values[1], values[4], values[7]],
            };
            // By its kind: that a segment of another kind is added says nothing of this one.
            let number = numbers.entry(kind).or_default();
            *number += 1;
            let name = match program_name(kind) {
                Some(name) => format!("{name} {number}"),
                None => format!("segment of type {kind:#x} {number}"),
            };
            let owner = self.found.owner(name.as_bytes());
            self.found.claim(at, wide(len), &PROGRAM_HEADERS[shape.index()], owner);
            all.push(Segment { kind, start, len: len_in_file, align, owner });
        }
        all
    }

    fn sections(&mut self) -> Vec<Section> {
        let (shape, table) = (self.header.shape, self.header.sections);
        let len = shape.len(&SECTION);
        let count = self.table("section headers", table, len, MOST_SECTIONS);
        let names = self.header.names(self.source, count);
        let mut all = Vec::new();
        for index in 0..count {
            let at = table.start + index * table.stride;
            let mut bytes = [0; 64];
            if self.source.read_exact_at(&mut bytes[..len], at).is_err() {
                break;
            }
            let [name, kind, flags, _, start, len_in_file, _, _, align, _] = shape.values(&bytes, &SECTION);
            let name = string(&names, name);
            let owner = match name {
                b"" => self.found.owner(format!("section {index}").as_bytes()),
                name => self.found.owner(name),
            };
            self.found.claim(at, wide(len), &SECTION_HEADERS[shape.index()], owner);
            all.push(Section { owner, kind, flags, start, len: len_in_file, align });
        }
        all
    }

    /// Claims the bytes of a section, which is a file of its own if it is `alone`.
    fn section(&mut self, section: &Section, alone: bool) {
        let Section { owner, kind, flags, start, len, align } = *section;
        let name = self.found.path(owner).to_vec();
        let size = self.found.size();
        if start.checked_add(len).is_none_or(|end| end > size) {
            let what = format!("section {}", name.escape_ascii());
            self.found.note(&ElfError::Corrupt { at: start, kind: Corruption::Behind { what, len, size } });
        }
        let len = len.min(size.saturating_sub(start));
        let plain = flags & SHF_COMPRESSED == 0;
        if kind == SHT_NOTE && plain {
            self.notes(start, len, align, owner);
            self.found.claim(start, len, &SECTION_DATA, owner);
        } else if name == b".gnu_debuglink" {
            self.found.claim(start, len, &DEBUG_LINK, owner);
        } else if alone && len > 0 {
            let file = self.found.file(owner);
            self.found.data(file, start, len, &SECTION_DATA);
            let strings = kind == SHT_STRTAB || flags & SHF_STRINGS != 0 || name == b".interp";
            if strings && plain && len <= strings::LONGEST {
                self.strings.push(file);
            }
        } else {
            self.found.claim(start, len, &SECTION_DATA, owner);
        }
    }

    /// Claims notes one by one, as far as they can be read.
    fn notes(&mut self, start: u64, len: u64, align: u64, owner: Owner) {
        let align = if align == 8 { 8 } else { 4 };
        let shape = self.header.shape;
        let end = start.saturating_add(len);
        let mut at = start;
        while at < end && self.notes < MOST_NOTES {
            let mut header = [0; 12];
            if end - at < 12 || self.source.read_exact_at(&mut header, at).is_err() {
                break;
            }
            let Some([_, stop, next]) = note_places(shape, align, &header) else { break };
            // The last one may end without padding.
            if wide(stop) > end - at {
                break;
            }
            let len = wide(next).min(end - at);
            self.found.claim(at, len, &NOTES[note_index(shape, align)], owner);
            self.notes += 1;
            at += len;
        }
    }

    /// Claims what is in no section.
    fn rest(&mut self, segments: &[Segment]) {
        for segment in segments.iter().filter(|segment| segment.kind == PT_NOTE) {
            // Cores have no sections; where there are some, these are theirs already.
            let len = segment.len.min(self.found.size().saturating_sub(segment.start));
            self.notes(segment.start, len, segment.align, segment.owner);
        }
        let mut pages: BTreeMap<u64, u64> = BTreeMap::new();
        for segment in segments.iter().filter(|segment| segment.kind == PT_LOAD) {
            let align = pages.entry(segment.start).or_default();
            *align = segment.align.max(*align);
        }
        self.regions.sort_unstable();
        let mut reach = 0;
        for Region { start, end, align } in std::mem::take(&mut self.regions) {
            let align = align.max(pages.get(&start).copied().unwrap_or(0));
            if start > reach && start - reach < align {
                self.found.claim_own(reach, start - reach, &PADDING);
            }
            reach = reach.max(end);
        }
        let size = self.found.size();
        for segment in segments {
            self.found.claim(segment.start, segment.len, &SEGMENT, segment.owner);
            if segment.kind == PT_LOAD {
                reach = reach.max(segment.start.saturating_add(segment.len));
            }
        }
        let reach = reach.min(size);
        self.found.claim_own(0, reach, &NO_SECTION);
        if reach < size {
            self.found.part(BEHIND.name, reach, size - reach, &BEHIND);
        }
    }
}
