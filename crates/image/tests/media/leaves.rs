//! Files of programs in an image: pictures, message catalogs, compiled Python, and streams that are rare.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use selfsame_image::compare::{Leaf, Name};
use selfsame_image::extent::{Label, Parsed};
use selfsame_testkit::oracle::{oracle, oracle_text};

use crate::archives::{content, parsed};
use crate::compare::{compared, fields, flips};
use crate::support::{load, save, scratch};

/// A picture with chunks of each kind that has fields.
pub(crate) fn png(comment: &str, day: u8) -> Vec<u8> {
    let mut all = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [
        (b"IHDR", &b"\0\0\0\x02\0\0\0\x01\x08\0\0\0\0"[..]),
        (b"tIME", &[7, 0xea, 8, day, 10, 20, 30]),
        (b"tEXt", &[b"Comment\0", comment.as_bytes()].concat()),
        (b"eXIf", b"II*\0\x08\0\0\0"),
        (b"IDAT", b"\x78\x9c\x63\x60"),
        (b"IDAT", b"\x04\0\0\x03\0\x02"),
        (b"IEND", b""),
    ] {
        all.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        all.extend(kind);
        all.extend(data);
        // Nobody checks it.
        all.extend([1, 2, 3, 4]);
    }
    all.extend(b"behind");
    all
}

/// A catalog of three strings, one of them with a plural, and a hash table.
pub(crate) fn catalog(big: bool, yes: &str) -> Vec<u8> {
    let originals = ["", "file\0files", "yes"];
    let translations = ["PO-Revision-Date: 2026-08-01 10:00+0000\n", "Datei\0Dateien", yes];
    let number = |value: usize| {
        let value = u32::try_from(value).unwrap();
        if big { value.to_be_bytes() } else { value.to_le_bytes() }
    };
    let mut strings = Vec::new();
    let mut tables = Vec::new();
    let start = 28 + 2 * 3 * 8 + 4 * 5;
    for text in originals.iter().chain(&translations) {
        tables.extend([number(text.len()), number(start + strings.len())].concat());
        strings.extend([text.as_bytes(), b"\0"].concat());
    }
    let header = [0x9504_12de, 0, 3, 28, 28 + 24, 5, 28 + 48].map(number);
    [header.concat(), tables, [0, 1, 0, 3, 2].map(number).concat(), strings].concat()
}

/// Compiled Python, known by time and length or by the hash of its source.
pub(crate) fn bytecode(hashed: bool, time: u32) -> Vec<u8> {
    let mut all = b"\xa7\x0d\r\n".to_vec();
    all.extend(u32::from(hashed).to_le_bytes());
    all.extend(time.to_le_bytes());
    all.extend(1234_u32.to_le_bytes());
    all.extend(b"\xe3\0\0\0\0code");
    all
}

/// Two lz4 frames, with everything that their headers can have.
pub(crate) fn lz4(bytes: &[u8]) -> Vec<u8> {
    let frame = |bytes: &[u8]| {
        let mut builder = lz4::EncoderBuilder::new();
        builder
            .checksum(lz4::ContentChecksum::ChecksumEnabled)
            .content_size(u64::try_from(bytes.len()).unwrap());
        let mut encoder = builder.build(Vec::new()).unwrap();
        encoder.write_all(bytes).unwrap();
        let (out, done) = encoder.finish();
        done.unwrap();
        out
    };
    let (first, second) = bytes.split_at(bytes.len() / 2);
    [frame(first), frame(second)].concat()
}

/// Two bzip2 streams.
pub(crate) fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let stream = |bytes: &[u8]| {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let (first, second) = bytes.split_at(bytes.len() / 2);
    [stream(first), stream(second)].concat()
}

/// LZMA data as lzma(1) writes it.
pub(crate) fn lzma(bytes: &[u8]) -> Vec<u8> {
    let options = liblzma::stream::LzmaOptions::new_preset(6).unwrap();
    let stream = liblzma::stream::Stream::new_lzma_encoder(&options).unwrap();
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lines(leaf: Option<&Leaf>) -> Vec<&str> {
    let Some(Leaf::Text(found)) = leaf else { panic!("{leaf:?}") };
    found.lines.iter().map(|line| line.text.as_str()).collect()
}

#[test]
fn chunks_of_a_picture_are_told_by_name() {
    let report = compared(&png("one", 1), &png("two", 2));
    assert_eq!(report.unexplained(), 0);
    let time = "time of last change of tIME: time: 2026-08-01T10:20:30Z -> 2026-08-02T10:20:30Z";
    assert_eq!(fields(&report), [time]);
    let root = report.root.unwrap();
    assert_eq!(root.members[0].name, Name::Path(b"tEXt Comment".to_vec()));
    assert_eq!(lines(root.members[0].leaf.as_ref()), ["one", "two"]);
    assert_eq!(root.causes[0].cause, "picture-date");
}

#[test]
fn bytecode_has_the_time_or_the_hash_of_its_source() {
    let time = "header of compiled Python of : mtime: 2026-08-01T00:00:00Z (1785542400) -> \
        2026-08-01T00:00:01Z (1785542401)";
    let report = compared(&bytecode(false, 1_785_542_400), &bytecode(false, 1_785_542_401));
    assert_eq!((report.unexplained(), fields(&report)), (0, vec![time.to_owned()]));
    let report = compared(&bytecode(true, 1), &bytecode(true, 2));
    let root = report.root.unwrap();
    assert_eq!(root.changes[0].fields[0].name, "hash of the source");
}

#[test]
fn translations_are_told_by_what_they_translate() {
    for big in [false, true] {
        let found = parsed(&catalog(big, "ja"));
        assert_eq!(found.faults, []);
        assert_eq!(content(&found, Label::Path(b"file")), b"Datei\0Dateien");
        let report = compared(&catalog(big, "ja"), &catalog(big, "doch"));
        assert_eq!(report.unexplained(), 0);
        let root = report.root.unwrap();
        let [yes] = &root.members[..] else { panic!("{root:?}") };
        assert_eq!(yes.name, Name::Path(b"yes".to_vec()));
        assert_eq!(lines(yes.leaf.as_ref()), ["ja", "doch"]);
    }
}

/// What a program makes of a file; `None` if it is missing.
fn made(dir: &Path, program: &str, args: &[&str], output: &str) -> Option<Vec<u8>> {
    oracle_text(Command::new(program).args(args).current_dir(dir))?;
    Some(load(&dir.join(output)))
}

#[test]
fn catalogs_of_gettext_hold_what_was_written() {
    let dir = scratch();
    let text = |date: &str| {
        format!(
            "msgid \"\"\nmsgstr \"Content-Type: text/plain; charset=UTF-8\\nPO-Revision-Date: {date}\\n\"\n\n\
             msgid \"yes\"\nmsgstr \"ja\"\n\nmsgctxt \"menu\"\nmsgid \"Open\"\nmsgstr \"Öffnen\"\n"
        )
    };
    for order in ["--endianness=little", "--endianness=big"] {
        let catalog = |date| {
            save(dir.path(), "x.po", text(date).as_bytes());
            made(dir.path(), "msgfmt", &[order, "x.po", "-o", "x.mo"], "x.mo")
        };
        let (Some(first), Some(second)) =
            (catalog("2026-08-01 10:00+0000"), catalog("2026-08-02 10:00+0000"))
        else {
            return;
        };
        let found = parsed(&first);
        assert_eq!((found.format, &found.faults[..]), ("mo", &[][..]));
        assert_eq!(content(&found, Label::Path(b"yes")), b"ja");
        assert_eq!(content(&found, Label::Path(b"menu\x04Open")), "Öffnen".as_bytes());
        let names: Vec<_> = found.map.extents().iter().map(|extent| extent.structure.name).collect();
        assert!(names.contains(&"hash table"), "{names:?}");
        let report = compared(&first, &second);
        assert_eq!(report.unexplained(), 0);
        let root = report.root.unwrap();
        let [header] = &root.members[..] else { panic!("{root:?}") };
        assert_eq!(
            (&header.name, header.causes[0].cause),
            (&Name::Path(b"(header)".to_vec()), "translation-date")
        );
        flips("catalog of gettext", &first, 3);
    }
}

#[test]
fn what_python_compiles_is_known_with_its_header() {
    let dir = scratch();
    save(dir.path(), "x.py", b"print('x')\n");
    for (mode, expected) in [
        ("TIMESTAMP", "size of the source"),
        ("CHECKED_HASH", "hash of the source"),
        ("UNCHECKED_HASH", "hash of the source"),
    ] {
        let compile = format!(
            "import py_compile as p; p.compile('x.py', cfile='x.pyc', doraise=True, \
             invalidation_mode=p.PycInvalidationMode.{mode})"
        );
        let Some(bytes) = made(dir.path(), "python3", &["-c", &compile], "x.pyc") else { return };
        let found = parsed(&bytes);
        assert_eq!((found.format, found.map.extents().len()), ("pyc", 2));
        let header = (found.map.extents()[0].structure.fields)(&bytes[..16]);
        let last = header.last().unwrap();
        assert_eq!((last.name.as_ref(), header.len()), (expected, if mode == "TIMESTAMP" { 4 } else { 3 }));
        assert!(mode != "TIMESTAMP" || last.value == "11", "{last:?}");
    }
}

/// What lies in a stream, if nothing is wrong with it.
fn plain(found: &Parsed) -> Vec<u8> {
    assert_eq!(found.faults, []);
    content(found, Label::Part("content"))
}

#[test]
fn streams_of_bzip2_lz4_and_lzma_are_what_was_packed() {
    let dir = scratch();
    let text: String = (0..100_000).map(|line| format!("line {line} of a text\n")).collect();
    let other = text.replace("line 50000 ", "line 5oooo ");
    for (program, args) in [
        ("lz4", &["-c"][..]),
        ("lz4", &["-c", "-9", "-B4", "-BD", "--content-size"]),
        ("lz4", &["-c", "--no-frame-crc"]),
        ("bzip2", &["-c"]),
        ("bzip2", &["-c", "-1"]),
        ("xz", &["-c", "--format=lzma"]),
    ] {
        let pack = |bytes: &str| {
            save(dir.path(), "x", bytes.as_bytes());
            let done = oracle(Command::new(program).args(args).arg("x").current_dir(&dir))?;
            assert!(done.status.success(), "{program} {args:?}");
            Some(done.stdout)
        };
        let (Some(first), Some(second)) = (pack(&text), pack(&other)) else { continue };
        assert!(plain(&parsed(&first)) == text.as_bytes(), "{program} {args:?}");
        let report = compared(&first, &second);
        assert_eq!(report.unexplained(), 0);
        let root = report.root.unwrap();
        let expected = ["line 50000 of a text\n", "line 5oooo of a text\n"];
        assert_eq!(lines(root.members[0].leaf.as_ref()), expected, "{program} {args:?}");
        assert_eq!(compared(&first, &first[..first.len() / 2]).unexplained(), 0);
    }
}

#[test]
fn a_stream_that_is_cut_is_no_shorter_content() {
    let text = "one\ntwo\n".repeat(10_000);
    for whole in [lz4(text.as_bytes()), bzip2(text.as_bytes()), lzma(text.as_bytes())] {
        assert!(plain(&parsed(&whole)) == text.as_bytes());
        for cut in [8, whole.len() / 3, whole.len() - 20] {
            let (a, b) = (&whole[..whole.len() - cut], &whole[..whole.len() - cut - 1]);
            let report = compared(a, b);
            assert!(report.unexplained() > 0, "both are damaged: {cut}, {report:?}");
        }
    }
}
