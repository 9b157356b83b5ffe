//! PE files, held against objdump and objcopy.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::num::NonZero;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use selfsame_image::compare::{Leaf, Name, Options, compare as compared};
use selfsame_image::extent::{self, Label, Parsed, Room, Source};
use selfsame_testkit::oracle_text;

use crate::support::{load, noise, save, scratch, told};

/// What a fixture is: a program of 64 or 32 bits, or a Linux kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Wide,
    Narrow,
    Kernel,
}

pub(crate) const KINDS: [Kind; 3] = [Kind::Wide, Kind::Narrow, Kind::Kernel];

struct Writer(Vec<u8>);

impl Writer {
    fn numbers(&mut self, len: usize, values: &[u64]) {
        values.iter().for_each(|value| self.0.extend(&value.to_le_bytes()[..len]));
    }

    fn fill(&mut self, to: usize) {
        assert!(self.0.len() <= to);
        self.0.resize(to, 0);
    }

    fn at(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

fn sections(kind: Kind, motd: &str) -> Vec<(&'static str, Vec<u8>)> {
    let text = noise(0x123);
    if kind == Kind::Kernel {
        return vec![(".setup", vec![0x90; 0x200]), (".text", text)];
    }
    let debug = [
        [0_u32, 1_700_000_000, 0, 2, 37, 0x2020, 0x620].map(u32::to_le_bytes).concat(),
        vec![0; 4],
        b"RSDS0123456789abcdef\x01\0\0\0".to_vec(),
        b"/build/x.pdb\0\0\0\0".to_vec(),
    ];
    vec![
        (".text", text),
        (".rdata", debug.concat()),
        (".osrel", b"ID=test\n".to_vec()),
        (".cmdline", motd.as_bytes().to_vec()),
        (".initrd", noise(700)),
    ]
}

/// A PE file with each structure that is known, certificates, and bytes behind its end.
pub(crate) fn fixture(kind: Kind, motd: &str, time: u32) -> Vec<u8> {
    let sections = sections(kind, motd);
    let (narrow, kernel) = (kind == Kind::Narrow, kind == Kind::Kernel);
    let directories: usize = if kernel { 6 } else { 16 };
    let header = if kernel { 0x40 } else { 0x80 };
    let mut out = Writer(b"MZ".to_vec());
    out.fill(0x3c);
    out.numbers(4, &[u64::try_from(header).unwrap()]);
    if !kernel {
        out.0.extend(b"This is no program of DOS.");
    }
    out.fill(header);
    out.0.extend(b"PE\0\0");
    let optional = u64::try_from(if narrow { 96 } else { 112 } + directories * 8).unwrap();
    out.numbers(2, &[if narrow { 0x14c } else { 0x8664 }, u64::try_from(sections.len()).unwrap()]);
    out.numbers(4, &[time.into(), 0, 0]);
    out.numbers(2, &[optional, 0x206, if narrow { 0x10b } else { 0x20b }]);
    out.numbers(1, &[2, 40]);
    out.numbers(4, &[0x200, 0x400, 0, 0x1000, 0x1000]);
    if narrow {
        out.numbers(4, &[0x2000, 0x40_0000]);
    } else {
        out.numbers(8, &[0x1_4000_0000]);
    }
    out.numbers(4, &[0x1000, 0x200]);
    out.numbers(2, &[0; 6]);
    out.numbers(4, &[0, 0x7000, 0x400, 0x1234_5678]);
    out.numbers(2, &[10, 0]);
    out.numbers(if narrow { 4 } else { 8 }, &[0x10_0000, 0x1000, 0x10_0000, 0x1000]);
    out.numbers(4, &[0, u64::try_from(directories).unwrap()]);
    let table = out.0.len();
    out.0.extend(vec![0; directories * 8]);
    let (mut at, mut places) = (0x400, Vec::new());
    for (index, (name, bytes)) in (1_u64..).zip(&sections) {
        let mut name = name.as_bytes().to_vec();
        name.resize(8, 0);
        out.0.extend(name);
        let raw = bytes.len().next_multiple_of(0x200);
        places.push(at);
        let [len, raw, start] = [bytes.len(), raw, at].map(|number| u64::try_from(number).unwrap());
        out.numbers(4, &[len, index * 0x1000, raw, start, 0, 0, 0, 0x4000_0040]);
        at += bytes.len().next_multiple_of(0x200);
    }
    if kernel {
        out.fill(0x1fe);
        out.0.extend([0x55, 0xaa, 0xeb, 0x6a]);
        out.0.extend(b"HdrS\x0f\x02");
        out.fill(0x20e);
        out.numbers(2, &[0x100]);
        out.fill(0x300);
        out.0.extend(b"6.1.0 (somebody@build) #1 SMP 2026-08-01\0");
    }
    for ((_, bytes), place) in sections.iter().zip(places) {
        out.fill(place);
        out.0.extend(bytes);
    }
    out.fill(at);
    if !kernel {
        out.at(table + 4 * 8, &[u32::try_from(at).unwrap(), 24].map(u32::to_le_bytes).concat());
        out.at(table + 6 * 8, &[0x2000_u32, 28].map(u32::to_le_bytes).concat());
        out.numbers(4, &[20]);
        out.numbers(2, &[0x200, 2]);
        out.0.extend(b"certificate\0");
        out.fill(at + 24);
        out.0.extend(b"#behind\n");
    }
    out.0
}

fn parsed(bytes: &[u8]) -> Parsed {
    extent::parse(&(Arc::new(bytes.to_vec()) as Source), &Room::new(0, 0)).unwrap().unwrap()
}

/// What the sections hold, by name.
fn contents(parsed: &Parsed) -> BTreeMap<String, Vec<u8>> {
    let one = |member| {
        let Label::Path(path) = parsed.members.label(member) else { return None };
        let source = parsed.members.open(member).unwrap().source;
        let mut bytes = vec![0; usize::try_from(source.size().unwrap()).unwrap()];
        source.read_exact_at(&mut bytes, 0).unwrap();
        Some((String::from_utf8(path.to_vec()).unwrap(), bytes))
    };
    (0..parsed.members.count()).filter_map(one).collect()
}

/// What objdump says of the sections: length and place, by name.
fn listed(path: &Path) -> Option<BTreeMap<String, (usize, usize)>> {
    let text = oracle_text(Command::new("objdump").arg("-h").arg(path))?;
    let row = |row: &str| {
        let words: Vec<&str> = row.split_whitespace().collect();
        let [number, name, len, _, _, at, ..] = words[..] else { return None };
        number.parse::<u32>().ok()?;
        let hex = |text| usize::from_str_radix(text, 16).unwrap();
        Some((name.to_owned(), (hex(len), hex(at))))
    };
    Some(text.lines().filter_map(row).collect())
}

/// Checks that sections have the bytes that objdump finds.
fn alike(bytes: &[u8], path: &Path) -> Option<usize> {
    let listed = listed(path)?;
    let parsed = parsed(bytes);
    assert_eq!(parsed.faults, []);
    let theirs: BTreeMap<String, Vec<u8>> =
        listed.into_iter().map(|(name, (len, at))| (name, bytes[at..at + len].to_vec())).collect();
    assert_eq!(contents(&parsed), theirs);
    Some(theirs.len())
}

#[test]
fn sections_are_where_objdump_finds_them() {
    let dir = scratch();
    for kind in KINDS {
        let bytes = fixture(kind, "quiet\n", 1_700_000_000);
        let path = save(dir.path(), "program.efi", &bytes);
        let Some(count) = alike(&bytes, &path) else { return };
        assert_eq!(count, sections(kind, "").len());
    }
}

#[test]
fn a_unified_kernel_image_of_objcopy_is_read() {
    let dir = scratch();
    let program = save(dir.path(), "stub.efi", &fixture(Kind::Wide, "quiet\n", 1_700_000_000));
    let linux = fixture(Kind::Kernel, "", 1_700_000_000);
    let mut copy = Command::new("objcopy");
    for (name, bytes, address) in
        [(".uname", &b"6.1.0-39"[..], 0x1_4001_0000_u64), (".linux", &linux[..], 0x1_4002_0000)]
    {
        let file = save(dir.path(), name, bytes);
        copy.arg("--add-section").arg(format!("{name}={}", file.display()));
        copy.arg("--change-section-vma").arg(format!("{name}={address:#x}"));
    }
    let out = dir.path().join("uki.efi");
    let Some(_) = oracle_text(copy.arg(program).arg(&out)) else { return };
    let bytes = load(&out);
    assert_eq!(alike(&bytes, &out), Some(7));
    let found = contents(&parsed(&bytes));
    assert_eq!(found[".uname"][..8], b"6.1.0-39"[..]);
    assert!(found[".linux"].starts_with(&linux));
}

#[test]
fn layout_is_told_with_every_field() {
    let mut text = String::new();
    for kind in KINDS {
        let bytes = fixture(kind, "quiet\n", 1_700_000_000);
        let parsed = parsed(&bytes);
        assert_eq!((parsed.format, &parsed.faults[..]), ("pe", &[][..]));
        writeln!(text, "{kind:?}").unwrap();
        text.push_str(&told(&parsed, &bytes));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_line_of_the_command_line_is_named() {
    let of = |motd, time| Arc::new(fixture(Kind::Wide, motd, time)) as Source;
    let options = Options::new(NonZero::new(1).unwrap());
    let report = compared(&of("quiet\n", 1_700_000_000), &of("splash\n", 1_700_000_060), &options).unwrap();
    assert_eq!(report.unexplained(), 0);
    let root = report.root.unwrap();
    let names: Vec<_> = root.members.iter().map(|member| member.name.clone()).collect();
    assert_eq!(names, [Name::Path(b".cmdline".to_vec())]);
    assert!(matches!(&root.members[0].leaf, Some(Leaf::Text(lines)) if lines.lines.len() == 2));
    let stamp =
        root.changes.iter().flat_map(|change| &change.fields).find(|field| field.name == "time_date_stamp");
    let values = stamp.unwrap().values.clone().map(Option::unwrap);
    assert_eq!(values, ["2023-11-14T22:13:20Z (1700000000)", "2023-11-14T22:14:20Z (1700000060)"]);
}

#[test]
fn sections_that_are_the_whole_file_are_no_files() {
    let mut bytes = fixture(Kind::Wide, "quiet\n", 1_700_000_000);
    let table = 0x80 + 24 + 240;
    let len = u32::try_from(bytes.len()).unwrap().to_le_bytes();
    for section in 0..5 {
        let at = table + section * 40;
        bytes[at + 8..at + 12].copy_from_slice(&len);
        bytes[at + 16..at + 24].copy_from_slice(&[len, [0; 4]].concat());
    }
    assert_eq!(contents(&parsed(&bytes)).len(), 0);
}
