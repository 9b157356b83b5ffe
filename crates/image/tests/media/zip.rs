//! ZIP archives, held against Python's zipfile.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use selfsame_image::codec::Codec;
use selfsame_image::compare::{Leaf, Name};
use selfsame_image::extent::{self, Label, Parsed, Room, Source};
use selfsame_testkit::oracle_text;

use crate::compare::compared;
use crate::support::{load, save};

/// An entry of an archive that a test writes.
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a str,
    pub(crate) plain: &'a [u8],
    pub(crate) method: u16,
    pub(crate) flags: u16,
    /// Of MS-DOS, with the date in the upper half.
    pub(crate) time: u32,
    pub(crate) extra: &'a [u8],
    /// Whether its lengths are in an extra field.
    pub(crate) zip64: bool,
}

/// 2026-08-01, midnight.
pub(crate) const TIME: u32 = 0x5d01_0000;

impl<'a> Entry<'a> {
    pub(crate) fn new(name: &'a str, plain: &'a [u8]) -> Self {
        Self { name, plain, method: 0, flags: 0, time: TIME, extra: b"", zip64: false }
    }

    fn deflated(name: &'a str, plain: &'a [u8]) -> Self {
        Self { method: 8, ..Self::new(name, plain) }
    }
}

/// Deflate data, and the CRC-32 of what is in it.
fn deflate(plain: &[u8]) -> (Vec<u8>, [u8; 4]) {
    let mut writer = Codec::Gzip { level: 6 }.stream_writer(Vec::new(), None).unwrap();
    std::io::Write::write_all(&mut writer, plain).unwrap();
    let packed = writer.finish().unwrap();
    let end = packed.len() - 8;
    (packed[10..end].to_vec(), *packed[end..].first_chunk().unwrap())
}

fn short(number: usize) -> [u8; 2] {
    u16::try_from(number).unwrap().to_le_bytes()
}

fn long(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap().to_le_bytes()
}

fn longer(number: usize) -> [u8; 8] {
    u64::try_from(number).unwrap().to_le_bytes()
}

/// An archive of these entries, with bytes in front of the central directory and a comment.
pub(crate) fn archive(entries: &[Entry<'_>], zip64: bool, gap: &[u8], comment: &[u8]) -> Vec<u8> {
    let (mut out, mut central) = (Vec::new(), Vec::new());
    for entry in entries {
        let at = out.len();
        let (deflated, checksum) = deflate(entry.plain);
        let packed = if entry.method == 8 { deflated } else { entry.plain.to_vec() };
        let sizes = [packed.len(), entry.plain.len()];
        let mut extra = entry.extra.to_vec();
        if entry.zip64 {
            extra.extend([&[1, 0, 16, 0][..], &longer(sizes[1]), &longer(sizes[0])].concat());
        }
        let told = sizes.map(|size| if entry.zip64 { [0xff; 4] } else { long(size) });
        let described = entry.flags & 8 != 0;
        let head = |checksum: [u8; 4], told: [[u8; 4]; 2]| {
            let mut head = [entry.flags.to_le_bytes(), entry.method.to_le_bytes()].concat();
            head.extend(entry.time.to_le_bytes());
            head.extend([checksum, told[0], told[1]].concat());
            head.extend([short(entry.name.len()), short(extra.len())].concat());
            head
        };
        out.extend(b"PK\x03\x04\x2d\0");
        out.extend(if described { head([0; 4], [[0; 4]; 2]) } else { head(checksum, told) });
        out.extend([entry.name.as_bytes(), &extra, &packed].concat());
        if described {
            out.extend([&b"PK\x07\x08"[..], &checksum, &long(sizes[0]), &long(sizes[1])].concat());
        }
        central.extend(b"PK\x01\x02\x2d\x03\x2d\0");
        central.extend(head(checksum, told));
        central.extend([0, 0, 0, 0, 0, 0, 0, 0, 0xa4, 0x81]);
        central.extend([&long(at)[..], entry.name.as_bytes(), &extra].concat());
    }
    out.extend(gap);
    let (start, count) = (out.len(), entries.len());
    out.extend(&central);
    if zip64 {
        let record = out.len();
        out.extend([&b"PK\x06\x06"[..], &longer(44), &[45, 3, 45, 0], &[0; 8]].concat());
        [count, count, central.len(), start].iter().for_each(|number| out.extend(longer(*number)));
        out.extend([&b"PK\x06\x07"[..], &[0; 4], &longer(record), &[1, 0, 0, 0]].concat());
        out.extend(b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff");
        out.extend([0xff; 8]);
    } else {
        out.extend([&b"PK\x05\x06\0\0\0\0"[..], &short(count), &short(count)].concat());
        out.extend([long(central.len()), long(start)].concat());
    }
    out.extend(short(comment.len()));
    out.extend(comment);
    out
}

/// An archive with each structure that is known.
pub(crate) fn fixture(zip64: bool) -> Vec<u8> {
    let text: String = (0..2_000).map(|line| format!("line {line}\n")).collect();
    let stamp = [&b"UT\x05\0\x01"[..], &1_785_542_400_u32.to_le_bytes()].concat();
    let entries = [
        Entry { extra: b"\xfe\xca\0\0", ..Entry::new("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\n") },
        Entry::new("a/", b""),
        Entry { flags: 8, extra: &stamp, ..Entry::deflated("a/long.txt", text.as_bytes()) },
        Entry { zip64: true, ..Entry::deflated("a/wide.txt", &text.as_bytes()[100..]) },
        Entry { flags: 1, ..Entry::new("secret", b"twelve bytes and more") },
        Entry { method: 14, ..Entry::new("lzma", b"not looked into") },
        Entry::deflated("empty", b""),
    ];
    archive(&entries, zip64, b"APK Sig Block 42", b"made by a test")
}

fn parsed(bytes: &[u8]) -> Parsed {
    let source: Source = Arc::new(bytes.to_vec());
    selfsame_image::zip::extents(&source, &Room::new(64 << 20, 0)).unwrap()
}

/// Paths of files inside, and what they hold.
fn contents(parsed: &Parsed) -> BTreeMap<String, Vec<u8>> {
    let one = |member| {
        let Label::Path(path) = parsed.members.label(member) else { panic!() };
        let source = parsed.members.open(member).unwrap().source;
        let mut bytes = vec![0; usize::try_from(source.size().unwrap()).unwrap()];
        source.read_exact_at(&mut bytes, 0).unwrap();
        (String::from_utf8(path.to_vec()).unwrap(), bytes)
    };
    (0..parsed.members.count()).map(one).collect()
}

/// What Python says of an archive: by name, where the local header is and the content.
fn listed(path: &Path) -> Option<BTreeMap<String, (u64, Vec<u8>)>> {
    let script = "import sys, zipfile\n\
        archive = zipfile.ZipFile(sys.argv[1])\n\
        for info in archive.infolist():\n\
        \x20   known = info.compress_type in (0, 8) and not info.flag_bits & 1\n\
        \x20   print(info.filename, info.header_offset, archive.read(info).hex() if known else '-')\n";
    let text = oracle_text(Command::new("python3").args(["-c", script]).arg(path))?;
    let row = |row: &str| {
        let words: Vec<&str> = row.split(' ').collect();
        let digits = words[2].as_bytes().chunks_exact(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        (words[0].to_owned(), (words[1].parse().unwrap(), digits.map(byte).collect()))
    };
    Some(text.lines().map(row).collect())
}

/// Checks that an archive has the entries that Python finds, where it finds them.
fn alike(parsed: &Parsed, listed: &BTreeMap<String, (u64, Vec<u8>)>) {
    let with_bytes: BTreeMap<String, Vec<u8>> = listed
        .iter()
        .filter(|(_, (_, bytes))| !bytes.is_empty())
        .map(|(name, (_, bytes))| (name.clone(), bytes.clone()))
        .collect();
    assert_eq!(contents(parsed), with_bytes);
    let headers: BTreeMap<String, u64> = parsed
        .map
        .extents()
        .iter()
        .filter(|extent| extent.structure.name == "local file header")
        .map(|extent| (String::from_utf8_lossy(parsed.map.path(extent.owner)).into_owned(), extent.start))
        .collect();
    let places: BTreeMap<String, u64> = listed.iter().map(|(name, (at, _))| (name.clone(), *at)).collect();
    assert_eq!(headers, places);
}

#[test]
fn python_finds_the_same_in_what_the_tests_write() {
    let dir = tempfile::tempdir().unwrap();
    for zip64 in [false, true] {
        let bytes = fixture(zip64);
        let Some(listed) = listed(&save(dir.path(), "fixture.zip", &bytes)) else { return };
        assert_eq!(listed.len(), 7);
        let parsed = parsed(&bytes);
        assert_eq!(parsed.faults, []);
        alike(&parsed, &listed);
    }
}

#[test]
fn archives_of_python_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let script = "import sys, zipfile, os\n\
        os.chdir(sys.argv[1])\n\
        text = b''.join(b'%d\\n' % number for number in range(5000))\n\
        for name, method in ('stored', zipfile.ZIP_STORED), ('deflated', zipfile.ZIP_DEFLATED):\n\
        \x20   with zipfile.ZipFile(name, 'w', method) as archive:\n\
        \x20       archive.writestr('one.txt', text)\n\
        \x20       archive.mkdir('dir') if hasattr(archive, 'mkdir') else None\n\
        \x20       archive.writestr('dir/two', b'two')\n\
        \x20       archive.comment = b'a comment'\n\
        \x20   with zipfile.ZipFile(name + '64', 'w', method) as archive:\n\
        \x20       with archive.open('wide', 'w', force_zip64=True) as out: out.write(text)\n\
        \x20   class Pipe:\n\
        \x20       def __init__(self, out): self.write, self.flush = out.write, out.flush\n\
        \x20   with open(name + '-pipe', 'wb') as out, zipfile.ZipFile(Pipe(out), 'w', method) as archive:\n\
        \x20       archive.writestr('described', text)\n\
        \x20       with archive.open('wide', 'w', force_zip64=True) as wide: wide.write(text)\n\
        \x20   with open(name + '-prefix', 'wb') as out: out.write(b'#!/usr/bin/env python3\\n')\n\
        \x20   with zipfile.ZipFile(name + '-prefix', 'a', method) as archive:\n\
        \x20       archive.writestr('__main__.py', text)\n\
        \x20   whole = open(name, 'rb').read()\n\
        \x20   open(name + '-moved', 'wb').write(b'in front' + whole + b'behind')\n\
        with zipfile.ZipFile('many', 'w') as archive:\n\
        \x20   for number in range(66000): archive.writestr(str(number), b'')\n";
    if oracle_text(Command::new("python3").args(["-c", script]).arg(dir.path())).is_none() {
        return;
    }
    for method in ["stored", "deflated"] {
        for form in ["", "64", "-pipe", "-prefix"] {
            let path = dir.path().join(format!("{method}{form}"));
            let parsed = parsed(&load(&path));
            assert_eq!(parsed.faults, [], "{method}{form}");
            alike(&parsed, &listed(&path).unwrap());
            let named = |name: &str| parsed.map.extents().iter().any(|extent| extent.structure.name == name);
            assert_eq!(named("data in front of the archive"), form == "-prefix");
            assert_eq!(named("data descriptor"), form == "-pipe");
            assert!(!named("gap") && !named("unused"), "{method}{form}");
        }
        // Places count from the start of the script, which is not there any more.
        let script = load(&dir.path().join(format!("{method}-prefix")));
        let line = script.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        assert_eq!(contents(&parsed(&script[line..])), contents(&parsed(&script)));
        let moved = parsed(&load(&dir.path().join(format!("{method}-moved"))));
        let last = moved.map.extents().last().unwrap();
        assert_eq!((last.structure.name, last.len), ("data behind the archive", 6));
        assert_eq!(contents(&moved), contents(&parsed(&load(&dir.path().join(method)))));
    }
    let many = parsed(&load(&dir.path().join("many")));
    assert_eq!(many.faults, []);
    let locals = many.map.extents().iter().filter(|extent| extent.structure.name == "local file header");
    assert_eq!(locals.count(), 66_000);
    assert!(many.map.extents().iter().any(|extent| extent.structure.name.starts_with("zip64")));
}

#[test]
fn layout_is_told_with_every_field() {
    let mut text = String::new();
    let bytes = fixture(true);
    let parsed = parsed(&bytes);
    for extent in parsed.map.extents() {
        let owner = String::from_utf8_lossy(parsed.map.path(extent.owner)).into_owned();
        writeln!(text, "{:#05x}+{:#x} {} {owner}", extent.start, extent.len, extent.structure.name).unwrap();
        let range = usize::try_from(extent.start).unwrap()..usize::try_from(extent.end()).unwrap();
        for field in (extent.structure.fields)(&bytes[range]) {
            let (at, len, role) = (field.at, field.len, field.role);
            writeln!(text, "    {at}+{len} {} = {} ({role:?})", field.name, field.value).unwrap();
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn lies_about_lengths_and_places_end_in_faults() {
    let good = archive(&[Entry::deflated("bomb", &[0; 50_000]), Entry::new("b", b"b")], false, b"", b"");
    let central = good.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    let with = |at: usize, value: u32| {
        let mut bad = good.clone();
        bad[central + at..central + at + 4].copy_from_slice(&value.to_le_bytes());
        parsed(&bad)
    };
    // Compressed size, uncompressed size and place.
    for (at, value) in [(20, u32::MAX), (20, 1 << 20), (24, u32::MAX), (42, u32::MAX), (42, 1)] {
        let parsed = with(at, value);
        assert_eq!((parsed.faults.len(), parsed.members.count()), (1, 1), "{at}: {:?}", parsed.faults);
    }
    // More than it holds, or less: nothing is given out as if it were all.
    for plain in [49_999, 50_001] {
        let parsed = with(24, plain);
        let source = parsed.members.open(0).unwrap().source;
        let mut bytes = vec![0; usize::try_from(plain).unwrap()];
        assert!(source.read_exact_at(&mut bytes, 0).is_err());
    }
    // What looks like an end record is none if it leads nowhere. Python does not open this one.
    let comment = b"PK\x05\x06 is no end, but is as long as one";
    let tricky = parsed(&archive(&[Entry::new("b", b"b")], false, b"", comment));
    assert_eq!((tricky.faults.len(), tricky.members.count()), (0, 1));
    // No room for it.
    let source: Source = Arc::new(good.clone());
    let parsed = selfsame_image::zip::extents(&source, &Room::new(49_999, 0)).unwrap();
    assert_eq!((parsed.faults.len(), parsed.members.count(), parsed.held), (1, 1, 0));
    let parsed = selfsame_image::zip::extents(&source, &Room::new(50_000, 0)).unwrap();
    assert_eq!((parsed.faults.len(), parsed.members.count(), parsed.held), (0, 2, 50_000));
}

#[test]
fn entries_that_share_their_data_are_one_file() {
    let good = archive(&[Entry::deflated("a", &[7; 5_000]), Entry::new("b", b"b")], false, b"", b"");
    let central = good.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    let end = good.len() - 22;
    // A thousand times the entry of the first file.
    let one = &good[central..central + 46 + 1];
    let mut bad = [&good[..central], &one.repeat(1_000), &good[end..]].concat();
    let end = bad.len() - 22;
    let len = u32::try_from(one.len() * 1_000).unwrap();
    bad[end + 12..end + 16].copy_from_slice(&len.to_le_bytes());
    let parsed = parsed(&bad);
    assert_eq!((parsed.members.count(), parsed.held), (1, 5_000));
    let entries = parsed.map.extents().iter().filter(|one| one.structure.name == "central directory entry");
    assert_eq!(entries.count(), 1_000);
    assert_eq!(extent::parse(&(Arc::new(bad) as Source), &Room::new(0, 0)).unwrap().unwrap().format, "zip");
}

/// An archive as Mozilla packs one: a length, the central directory, the files, the end record.
fn mozilla(text: &str) -> Vec<u8> {
    let size = u32::try_from(text.len()).unwrap().to_le_bytes();
    // From the version that is needed to the length of the extra field: stored, no date, no checksum.
    let common = [&[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0][..], &size, &size, &[4, 0, 0, 0]].concat();
    let central = |offset: u32| {
        let rest = [&[0; 10][..], &offset.to_le_bytes(), b"file"].concat();
        [b"PK\x01\x02\x14\x03", &common[..], &rest].concat()
    };
    let offset = 4 + u32::try_from(central(0).len()).unwrap();
    let local = [b"PK\x03\x04", &common[..], b"file", text.as_bytes()].concat();
    let length = (offset - 4).to_le_bytes();
    let end = [b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &length[..], &[4, 0, 0, 0, 0, 0]].concat();
    [&[0; 4][..], &central(offset), &local, &end].concat()
}

#[test]
fn files_behind_the_central_directory_are_looked_into() {
    let report = compared(&mozilla("one\n"), &mozilla("two\n"));
    assert_eq!(report.unexplained(), 0);
    let root = report.root.unwrap();
    assert_eq!((root.formats, root.faults.len()), ([Some("zip"); 2], 0));
    assert_eq!(root.members[0].name, Name::Path(b"file".to_vec()));
    assert!(matches!(&root.members[0].leaf, Some(Leaf::Text(lines)) if lines.lines.len() == 2), "{root:?}");
}
