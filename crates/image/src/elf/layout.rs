//! Structures as they lie in the file: their fields by class and byte order.

use crate::extent::{Field, Role, Structure, show};
use crate::io::wide;
use crate::raw::show_bytes;

/// Length of the identification, which is the same in all files.
pub(super) const IDENT: usize = 16;

/// Class and byte order, by which all other structures are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// ELFCLASS64.
    pub(super) wide: bool,
    /// ELFDATA2MSB.
    pub(super) big: bool,
}

/// Name of a field, and its length in bytes; [`WORD`] if that depends on the class.
type Part = (&'static str, usize);
/// 4 or 8 bytes.
const WORD: usize = 0;

/// What follows the identification in the file header.
pub(super) const HEADER: [Part; 13] = [
    ("e_type", 2),
    ("e_machine", 2),
    ("e_version", 4),
    ("e_entry", WORD),
    ("e_phoff", WORD),
    ("e_shoff", WORD),
    ("e_flags", 4),
    ("e_ehsize", 2),
    ("e_phentsize", 2),
    ("e_phnum", 2),
    ("e_shentsize", 2),
    ("e_shnum", 2),
    ("e_shstrndx", 2),
];
const PROGRAM_32: [Part; 8] = [
    ("p_type", 4),
    ("p_offset", 4),
    ("p_vaddr", 4),
    ("p_paddr", 4),
    ("p_filesz", 4),
    ("p_memsz", 4),
    ("p_flags", 4),
    ("p_align", 4),
];
const PROGRAM_64: [Part; 8] = [
    ("p_type", 4),
    ("p_flags", 4),
    ("p_offset", 8),
    ("p_vaddr", 8),
    ("p_paddr", 8),
    ("p_filesz", 8),
    ("p_memsz", 8),
    ("p_align", 8),
];
/// A section header.
pub(super) const SECTION: [Part; 10] = [
    ("sh_name", 4),
    ("sh_type", 4),
    ("sh_flags", WORD),
    ("sh_addr", WORD),
    ("sh_offset", WORD),
    ("sh_size", WORD),
    ("sh_link", 4),
    ("sh_info", 4),
    ("sh_addralign", WORD),
    ("sh_entsize", WORD),
];
const NOTE_HEADER: [Part; 3] = [("n_namesz", 4), ("n_descsz", 4), ("n_type", 4)];

impl Shape {
    const ALL: [Self; 4] = [
        Self { wide: false, big: false },
        Self { wide: false, big: true },
        Self { wide: true, big: false },
        Self { wide: true, big: true },
    ];

    /// That of a file whose identification is `ident`; `None` if that is none of version 1.
    pub(super) fn of(ident: &[u8]) -> Option<Self> {
        match ident.get(..7)? {
            [0x7f, b'E', b'L', b'F', class @ 1..=2, data @ 1..=2, 1] => {
                Some(Self { wide: *class == 2, big: *data == 2 })
            }
            _ => None,
        }
    }

    /// Its place in lists of structures that exist for each.
    pub(super) fn index(self) -> usize {
        usize::from(self.wide) * 2 + usize::from(self.big)
    }

    /// Fields of a program header.
    pub(super) fn program(self) -> &'static [Part; 8] {
        if self.wide { &PROGRAM_64 } else { &PROGRAM_32 }
    }

    fn width(self, part: Part) -> usize {
        match part.1 {
            WORD if self.wide => 8,
            WORD => 4,
            len => len,
        }
    }

    /// Length of a structure in bytes.
    pub(super) fn len(self, parts: &[Part]) -> usize {
        parts.iter().map(|part| self.width(*part)).sum()
    }

    pub(super) fn number(self, bytes: &[u8]) -> u64 {
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        if self.big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) }
    }

    /// The values of a structure at the start of `bytes`; what is cut off is 0.
    pub(super) fn values<const N: usize>(self, bytes: &[u8], parts: &[Part; N]) -> [u64; N] {
        let mut at = 0;
        parts.map(|part| {
            let start = at;
            at += self.width(part);
            bytes.get(start..at).map_or(0, |bytes| self.number(bytes))
        })
    }

    /// The fields of a structure that starts `base` bytes into `bytes`.
    fn fields(self, bytes: &[u8], base: usize, parts: &[Part]) -> Vec<Field> {
        let mut at = base;
        let mut all = Vec::new();
        for part in parts {
            let len = self.width(*part);
            let Some(raw) = bytes.get(at..at + len) else { break };
            let value = text(part.0, self.number(raw));
            let name = part.0.into();
            all.push(Field { at: wide(at), len: wide(len), name, value, role: role(part.0) });
            at += len;
        }
        all
    }
}

/// Addresses, places and indices follow from what is in the sections.
fn role(name: &str) -> Role {
    match name {
        "e_entry" | "e_phoff" | "e_shoff" | "e_phnum" | "e_shnum" | "e_shstrndx" | "p_offset" | "p_vaddr"
        | "p_paddr" | "p_filesz" | "p_memsz" | "sh_name" | "sh_addr" | "sh_offset" | "sh_size"
        | "sh_link" | "sh_info" | "n_namesz" | "n_descsz" => Role::Place,
        _ => Role::Value,
    }
}

/// A number as it is best read.
fn text(name: &str, value: u64) -> String {
    match name {
        "e_type" => named(value, &[(0, "NONE"), (1, "REL"), (2, "EXEC"), (3, "DYN"), (4, "CORE")]),
        "p_type" => match program_name(value) {
            Some(name) => format!("{name} ({value:#x})"),
            None => format!("{value:#x}"),
        },
        "sh_type" => named(value, &SECTION_TYPES),
        "p_flags" => {
            let letters = [(4, 'R'), (2, 'W'), (1, 'E')].into_iter().filter(|(bit, _)| value & bit != 0);
            format!("{} ({value:#x})", letters.map(|(_, letter)| letter).collect::<String>())
        }
        "e_machine" | "e_version" | "e_ehsize" | "e_phentsize" | "e_phnum" | "e_shentsize" | "e_shnum"
        | "e_shstrndx" | "sh_link" | "sh_info" | "n_namesz" | "n_descsz" => value.to_string(),
        _ => format!("{value:#x}"),
    }
}

fn named(value: u64, names: &[(u64, &str)]) -> String {
    match names.iter().find(|(number, _)| *number == value) {
        Some((_, name)) => format!("{name} ({value:#x})"),
        None => format!("{value:#x}"),
    }
}

const SECTION_TYPES: [(u64, &str); 22] = [
    (0, "NULL"),
    (1, "PROGBITS"),
    (2, "SYMTAB"),
    (3, "STRTAB"),
    (4, "RELA"),
    (5, "HASH"),
    (6, "DYNAMIC"),
    (7, "NOTE"),
    (8, "NOBITS"),
    (9, "REL"),
    (11, "DYNSYM"),
    (14, "INIT_ARRAY"),
    (15, "FINI_ARRAY"),
    (16, "PREINIT_ARRAY"),
    (17, "GROUP"),
    (18, "SYMTAB_SHNDX"),
    (0x6fff_fff5, "GNU_ATTRIBUTES"),
    (0x6fff_fff6, "GNU_HASH"),
    (0x6fff_fff7, "GNU_LIBLIST"),
    (0x6fff_fffd, "GNU_verdef"),
    (0x6fff_fffe, "GNU_verneed"),
    (0x6fff_ffff, "GNU_versym"),
];

/// What a segment is called.
pub(super) fn program_name(kind: u64) -> Option<&'static str> {
    Some(match kind {
        0 => "NULL",
        1 => "LOAD",
        2 => "DYNAMIC",
        3 => "INTERP",
        4 => "NOTE",
        5 => "SHLIB",
        6 => "PHDR",
        7 => "TLS",
        0x6474_e550 => "GNU_EH_FRAME",
        0x6474_e551 => "GNU_STACK",
        0x6474_e552 => "GNU_RELRO",
        0x6474_e553 => "GNU_PROPERTY",
        _ => return None,
    })
}

/// The file header; it says itself how it is to be read.
pub(super) static FILE_HEADER: Structure = Structure { name: "ELF header", fields: header };
/// A program header, by [`Shape::index`].
pub(super) static PROGRAM_HEADERS: [Structure; 4] = {
    const NAME: &str = "program header";
    [
        Structure { name: NAME, fields: program::<0> },
        Structure { name: NAME, fields: program::<1> },
        Structure { name: NAME, fields: program::<2> },
        Structure { name: NAME, fields: program::<3> },
    ]
};
/// A section header, by [`Shape::index`].
pub(super) static SECTION_HEADERS: [Structure; 4] = {
    const NAME: &str = "section header";
    [
        Structure { name: NAME, fields: section::<0> },
        Structure { name: NAME, fields: section::<1> },
        Structure { name: NAME, fields: section::<2> },
        Structure { name: NAME, fields: section::<3> },
    ]
};
/// A note, by [`note_index`].
pub(super) static NOTES: [Structure; 4] = {
    const NAME: &str = "note";
    [
        Structure { name: NAME, fields: note::<0> },
        Structure { name: NAME, fields: note::<1> },
        Structure { name: NAME, fields: note::<2> },
        Structure { name: NAME, fields: note::<3> },
    ]
};
/// Where the debug information of a stripped file is: `.gnu_debuglink`.
pub(super) static DEBUG_LINK: Structure = Structure { name: "debug link", fields: debug_link };

fn header(bytes: &[u8]) -> Vec<Field> {
    let mut all = vec![
        show(bytes, 0, 4, "signature"),
        show(bytes, 4, 1, "class"),
        show(bytes, 5, 1, "byte order"),
        show(bytes, 6, 1, "version of the identification"),
        show(bytes, 7, 1, "operating system"),
        show(bytes, 8, 1, "version of its interface"),
        show(bytes, 9, 7, "padding of the identification"),
    ];
    if let Some(shape) = Shape::of(bytes) {
        all.extend(shape.fields(bytes, IDENT, &HEADER));
    }
    all.retain(|field| field.len > 0);
    all
}

fn program<const SHAPE: usize>(bytes: &[u8]) -> Vec<Field> {
    let shape = Shape::ALL[SHAPE];
    shape.fields(bytes, 0, shape.program())
}

fn section<const SHAPE: usize>(bytes: &[u8]) -> Vec<Field> {
    Shape::ALL[SHAPE].fields(bytes, 0, &SECTION)
}

/// Which of [`NOTES`] is for notes of this byte order and alignment.
pub(super) fn note_index(shape: Shape, align: usize) -> usize {
    usize::from(align == 8) * 2 + usize::from(shape.big)
}

/// Where the descriptor of a note begins and ends, and where the next note does, from the start of its header.
pub(super) fn note_places(shape: Shape, align: usize, header: &[u8]) -> Option<[usize; 3]> {
    let [name, desc, _] = shape.values(header.get(..12)?, &NOTE_HEADER);
    let up = |at: usize| at.checked_next_multiple_of(align);
    let start = up(12_usize.checked_add(usize::try_from(name).ok()?)?)?;
    let end = start.checked_add(usize::try_from(desc).ok()?)?;
    Some([start, end, up(end)?])
}

fn note<const INDEX: usize>(bytes: &[u8]) -> Vec<Field> {
    // Words of notes have 4 bytes in both classes.
    let shape = Shape { wide: false, big: INDEX & 1 != 0 };
    let align = if INDEX & 2 != 0 { 8 } else { 4 };
    let mut all = shape.fields(bytes, 0, &NOTE_HEADER);
    let [name_len, _, kind] = shape.values(bytes, &NOTE_HEADER);
    let Some([start, end, _]) = note_places(shape, align, bytes) else { return all };
    let name_len = usize::try_from(name_len).unwrap_or(0);
    let mut name = show(bytes, 12, name_len, "name");
    name.value = until_zeros(bytes.get(12..).map_or(&[][..], |rest| &rest[..rest.len().min(name_len)]));
    all.push(name);
    let owner = bytes.get(12..12 + 4);
    // The linkers make it of the bytes of the file if they are not told otherwise (ld(1), --build-id), and so does Go.
    // Where it is by chance, nothing else may differ: it is told then like any field.
    let (what, role) = match (owner, kind) {
        (Some(b"GNU\0"), 3) => ("build ID", Role::Checksum),
        (Some(b"Go\0\0"), 4) => ("build ID", Role::Checksum),
        (Some(b"GNU\0"), 1) => ("ABI tag", Role::Value),
        (Some(b"GNU\0"), 5) => ("properties", Role::Value),
        (Some(b"FDO\0"), 0xcafe_1a7e) => ("package", Role::Value),
        _ => ("descriptor", Role::Value),
    };
    let mut desc = show(bytes, start, end - start, what);
    let shown = bytes.get(start..).map_or(&[][..], |rest| &rest[..rest.len().min(end - start)]);
    desc.value = if what == "build ID" { hex(shown) } else { until_zeros(shown) };
    desc.role = role;
    all.push(desc);
    all.retain(|field| field.len > 0);
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Text without the zero at its end, if that is all it has besides; the length of the text is told by another field.
fn until_zeros(bytes: &[u8]) -> String {
    match bytes {
        [text @ .., 0] if !text.is_empty() && !text.contains(&0) => show_bytes(text),
        _ => show_bytes(bytes),
    }
}

fn debug_link(bytes: &[u8]) -> Vec<Field> {
    let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let mut checksum = show(bytes, bytes.len().saturating_sub(4).max(len), 4, "CRC-32");
    checksum.role = Role::Checksum;
    let mut all = vec![show(bytes, 0, len, "file name"), checksum];
    all.retain(|field| field.len > 0);
    all
}
