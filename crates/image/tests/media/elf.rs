//! ELF files, held against readelf.

use std::process::Command;
use std::sync::Arc;

use selfsame_image::extent::{self, Label, Map, Parsed, Room, Source};
use selfsame_testkit::oracle_text;

use crate::support::{load, save, told};

/// Class and byte order: 64 bits, big-endian.
pub(crate) const SHAPES: [(bool, bool); 4] = [(true, false), (true, true), (false, false), (false, true)];

pub(crate) struct Writer {
    pub(crate) wide: bool,
    pub(crate) big: bool,
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn number(&mut self, value: u64, len: usize) {
        let bytes = value.to_be_bytes();
        let bytes = &bytes[8 - len..];
        match self.big {
            true => self.bytes.extend(bytes),
            false => self.bytes.extend(bytes.iter().rev()),
        }
    }

    pub(crate) fn numbers(&mut self, len: usize, values: &[u64]) {
        values.iter().for_each(|value| self.number(*value, len));
    }

    pub(crate) fn word(&mut self, value: u64) {
        self.number(value, if self.wide { 8 } else { 4 });
    }

    pub(crate) fn fill(&mut self, to: usize) {
        self.bytes.resize(to, 0);
    }

    fn program(&mut self, kind: u64, flags: u64, start: u64, len: u64, align: u64) {
        self.number(kind, 4);
        if self.wide {
            self.number(flags, 4);
        }
        [start, start, start, len, len].iter().for_each(|value| self.word(*value));
        if !self.wide {
            self.number(flags, 4);
        }
        self.word(align);
    }
}

/// Name, type, flags, place, length and alignment of each section of a fixture.
const SECTIONS: [(&str, u64, u64, u64, u64, u64); 8] = [
    ("", 0, 0, 0, 0, 0),
    (".note.gnu.build-id", 7, 2, 0x100, 36, 4),
    (".text", 1, 6, 0x200, 0x60, 16),
    (".bss", 8, 3, 0x260, 0x1000, 32),
    (".comment", 1, 0x30, 0x260, 20, 1),
    (".gnu_debuglink", 1, 0, 0x274, 16, 4),
    (".debug_info", 1, 0, 0x290, 8, 16),
    (".shstrtab", 3, 0, 0x298, 0, 1),
];

/// An ELF file with each structure that is known, and bytes behind its end.
pub(crate) fn fixture((wide, big): (bool, bool), comment: &[u8; 19], id: u8) -> Vec<u8> {
    let mut out = Writer { wide, big, bytes: b"\x7fELF".to_vec() };
    let mut names = vec![0];
    let places = SECTIONS.map(|(name, ..)| {
        let at = u64::try_from(names.len() - 1).unwrap();
        if !name.is_empty() {
            names.extend([name.as_bytes(), b"\0"].concat());
        }
        if name.is_empty() { 0 } else { at + 1 }
    });
    let names_len = u64::try_from(names.len()).unwrap();
    let table = (0x298 + names_len).next_multiple_of(8);
    out.bytes.extend([if wide { 2 } else { 1 }, if big { 2 } else { 1 }, 1]);
    out.fill(16);
    out.numbers(2, &[3, if wide { 62 } else { 8 }]);
    out.number(1, 4);
    let (header, program, section) = if wide { (64, 56, 64) } else { (52, 32, 40) };
    [0x200, header, table].iter().for_each(|value| out.word(*value));
    out.number(0, 4);
    out.numbers(2, &[header, program, 2, section, 8, 7]);
    out.program(4, 4, 0x100, 36, 4);
    out.program(1, 5, 0x200, 0x60, 0x200);
    out.fill(0x100);
    out.numbers(4, &[4, 20, 3]);
    out.bytes.extend(b"GNU\0");
    out.bytes.extend([id; 20]);
    out.fill(0x200);
    out.bytes.extend((0..0x60).map(|number| number ^ 0xc3));
    out.bytes.extend([&comment[..], b"\0"].concat());
    out.bytes.extend(b"true.debug\0\0\x12\x34\x56\x78");
    out.fill(0x290);
    out.bytes.extend(b"\x01\0\x02\0info");
    out.bytes.extend(&names);
    out.fill(usize::try_from(table).unwrap());
    for (name, (_, kind, flags, start, len, align)) in places.into_iter().zip(SECTIONS) {
        out.numbers(4, &[name, kind]);
        let len = if kind == 3 { names_len } else { len };
        [flags, start, start, len].iter().for_each(|value| out.word(*value));
        out.numbers(4, &[0, 0]);
        [align, 0].iter().for_each(|value| out.word(*value));
    }
    out.bytes.extend(b"#behind\n");
    out.bytes
}

pub(crate) const COMMENT: &[u8; 19] = b"GCC: 12.2.0\0LLD 15.";

fn parsed(bytes: &[u8]) -> Parsed {
    let source: Source = Arc::new(bytes.to_vec());
    extent::parse(&source, &Room::new(0, 0)).unwrap().unwrap()
}

/// Checks that the sections that readelf lists are owned by their names, from their first to their last bytes.
fn listed_alike(map: &Map, listing: &str) -> usize {
    let mut count = 0;
    let rows = listing.lines().filter_map(|line| line.trim_start().strip_prefix('['));
    for row in rows.filter(|row| row.trim_start().starts_with(|first: char| first.is_ascii_digit())) {
        let words: Vec<&str> = row.split_once(']').unwrap().1.split_whitespace().collect();
        let ["NULL", ..] = words[..] else {
            let [name, kind, _, start, len, ..] = words[..] else { panic!("{row}") };
            let [start, len] = [start, len].map(|number| u64::from_str_radix(number, 16).unwrap());
            if kind == "NOBITS" || len == 0 {
                continue;
            }
            count += 1;
            let mut at = start;
            while at < start + len {
                let extent = map.extents()[map.index_at(at).unwrap()];
                assert_eq!(map.path(extent.owner), name.as_bytes(), "{at:#x}: {extent:?}");
                at = extent.end();
            }
            assert_eq!(at, start + len, "{name}");
            continue;
        };
    }
    count
}

#[test]
fn sections_are_where_readelf_finds_them() {
    let dir = tempfile::tempdir().unwrap();
    let list = |path: &std::path::Path| oracle_text(Command::new("readelf").arg("-SW").arg(path));
    for (number, shape) in SHAPES.into_iter().enumerate() {
        let bytes = fixture(shape, COMMENT, 7);
        let path = save(dir.path(), &format!("{number}.elf"), &bytes);
        let Some(listing) = list(&path) else { return };
        assert_eq!(listed_alike(&parsed(&bytes).map, &listing), 6, "{listing}");
    }
    // This very program, with all that a linker and a debugger want.
    let program = std::env::current_exe().unwrap();
    let Some(listing) = list(&program) else { return };
    let bytes = load(&program);
    let parsed = parsed(&bytes);
    assert_eq!(parsed.faults, []);
    assert!(listed_alike(&parsed.map, &listing) > 20, "{listing}");
    let named = |name: &str| parsed.map.extents().iter().any(|extent| extent.structure.name == name);
    assert!(named("note") && named("padding") && !named("unused") && !named("data in no section"));
}

#[test]
fn build_ids_are_those_of_readelf() {
    let dir = tempfile::tempdir().unwrap();
    for shape in SHAPES {
        let bytes = fixture(shape, COMMENT, 0xab);
        let path = save(dir.path(), "notes.elf", &bytes);
        let Some(listing) = oracle_text(Command::new("readelf").arg("-nW").arg(path)) else { return };
        let parsed = parsed(&bytes);
        let note = parsed.map.extents().iter().find(|extent| extent.structure.name == "note").unwrap();
        let range = usize::try_from(note.start).unwrap()..usize::try_from(note.end()).unwrap();
        let fields = (note.structure.fields)(&bytes[range]);
        let id = fields.iter().find(|field| field.name == "build ID").unwrap();
        assert!(listing.contains(&format!("Build ID: {}", id.value)), "{listing}");
    }
}

#[test]
fn layout_is_told_with_every_field() {
    let mut text = String::new();
    for shape in [SHAPES[0], SHAPES[3]] {
        let bytes = fixture(shape, COMMENT, 7);
        let parsed = parsed(&bytes);
        assert_eq!(parsed.faults, []);
        text.push_str(&told(&parsed, &bytes));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn what_lies_behind_and_in_sections_is_a_file_of_its_own() {
    let parsed = parsed(&fixture(SHAPES[0], COMMENT, 7));
    let labels: Vec<_> = (0..parsed.members.count()).map(|member| parsed.members.label(member)).collect();
    let path = |name: &'static str| Label::Path(name.as_bytes());
    assert_eq!(
        labels,
        [
            path(".text"),
            path(".comment"),
            path(".debug_info"),
            path(".shstrtab"),
            Label::Part("data behind the end")
        ]
    );
    let comment = parsed.members.open(1).unwrap().source;
    let mut bytes = vec![0; 20];
    comment.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, b"GCC: 12.2.0\nLLD 15.\n");
}

#[test]
fn sections_without_end_or_number_are_no_files() {
    let good = fixture(SHAPES[0], COMMENT, 7);
    // e_shnum is 0, and the first section header says that there are as many as fit in 64 bits.
    let mut many = good.clone();
    let table = usize::try_from(u64::from_le_bytes(*good[40..].first_chunk().unwrap())).unwrap();
    many[60..62].fill(0);
    many[table + 32..table + 40].fill(0xff);
    let faults = parsed(&many).faults;
    assert!(faults[0].to_string().contains("table of section headers"), "{faults:?}");
    // Each section is the whole file: none is a file inside.
    let mut all = good.clone();
    for section in 1..8 {
        let at = table + 64 * section;
        all[at + 24..at + 32].fill(0);
        all[at + 32..at + 40].copy_from_slice(&u64::try_from(good.len()).unwrap().to_le_bytes());
    }
    let parsed = parsed(&all);
    assert_eq!(parsed.members.count(), 0);
    assert!(parsed.map.extents().iter().any(|extent| extent.structure.name == "section"));
}
