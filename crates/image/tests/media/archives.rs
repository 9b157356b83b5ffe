//! Archives of forms that only other programs write: ar with long names, tar with sparse files.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use selfsame_image::compare::Name;
use selfsame_image::extent::{self, Label, Parsed, Room, Source};
use selfsame_testkit::oracle::{oracle, oracle_text};

use crate::compare::{compared, fields, flips};
use crate::support::{load, save, scratch};

pub(crate) fn parsed(bytes: &[u8]) -> Parsed {
    let source: Source = Arc::new(bytes.to_vec());
    extent::parse(&source, &Room::new(64 << 20, 0)).unwrap().unwrap()
}

/// The bytes of the file that has this path in an archive.
fn member(found: &Parsed, path: &[u8]) -> Vec<u8> {
    content(found, Label::Path(path))
}

/// The bytes of the member with this label.
pub(crate) fn content(found: &Parsed, label: Label<'_>) -> Vec<u8> {
    let mut all = 0..found.members.count();
    let number = all.find(|number| found.members.label(*number) == label).unwrap();
    let source = found.members.open(number).unwrap().source;
    let mut bytes = vec![0; usize::try_from(source.size().unwrap()).unwrap()];
    source.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// An archive with names as GNU and BSD write them.
pub(crate) fn library() -> Vec<u8> {
    let mut all = b"!<arch>\n".to_vec();
    for (name, data) in [
        ("/", &b"\0\0\0\x01\0\0\0\x64main\0"[..]),
        ("//", b"a-name-of-23-characters/\nanother, with words/\n"),
        ("short/", b"1"),
        ("/25", b"one\ntwo\n"),
        ("/0", b"123"),
        ("#1/20", b"name of BSD\0\0\0\0\0\0\0\0\0data"),
    ] {
        all.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 7, 0, 0, "644", data.len()).bytes());
        all.extend(data);
        all.resize(all.len().next_multiple_of(2), b'\n');
    }
    all
}

/// A tar header: name, type and size of what follows, and other bytes with the places where they lie.
pub(crate) fn header(name: &str, flag: u8, size: usize, more: &[(usize, &[u8])]) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    let (size, octal) = (format!("{size:011o}"), b"0000644\0");
    let fields = [
        (0, name.as_bytes()),
        (100, octal),
        (108, octal),
        (116, octal),
        (124, size.as_bytes()),
        (156, &[flag]),
    ];
    fields.iter().chain(more).for_each(|(at, text)| put(*at, text));
    put(136, b"14526655400");
    put(148, b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// A tar archive with a sparse file, in the form of old GNU and in that of PAX.
pub(crate) fn sparse() -> Vec<u8> {
    let body = |bytes: &[u8]| {
        let mut all = bytes.to_vec();
        all.resize(bytes.len().next_multiple_of(512), 0);
        all
    };
    let pieces = [(0, 4), (4096, 4), (8192, 4), (12_288, 4), (20_480, 4)];
    let pair = |(at, len): (u32, u32)| format!("{at:011o}\0{len:011o}\0");
    let first: String = pieces[..4].iter().copied().map(pair).collect();
    let gnu: [(usize, &[u8]); 4] =
        [(257, b"ustar  \0"), (386, first.as_bytes()), (482, &[1]), (483, b"00000060000")];
    let records = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n23 GNU.sparse.name=new\n30 GNU.sparse.realsize=100000\n";
    let ustar: [(usize, &[u8]); 1] = [(257, b"ustar\x0000")];
    let map = body(b"2\n0\n4\n50000\n4\n");
    let stored = [&map[..], b"headtail"].concat();
    [
        header("old", b'S', 20, &gnu),
        body(pair(pieces[4]).as_bytes()),
        body(b"abc\nabc\nabc\nabc\nend\n"),
        header("x", b'x', records.len(), &ustar),
        body(records.as_bytes()),
        header("GNUSparseFile.0/new", b'0', stored.len(), &ustar),
        body(&stored),
        vec![0; 1024],
    ]
    .concat()
}

#[test]
fn long_names_and_holes_are_read() {
    let found = parsed(&library());
    assert_eq!(found.faults, []);
    assert_eq!(member(&found, b"another, with words"), b"one\ntwo\n");
    assert_eq!(member(&found, b"name of BSD"), b"data");
    let found = parsed(&sparse());
    assert_eq!(found.faults, []);
    let (old, new) = (member(&found, b"old"), member(&found, b"new"));
    assert_eq!(
        (old.len(), &old[12_288..12_292], &old[20_480..20_484]),
        (0o60_000, &b"abc\n"[..], &b"end\n"[..])
    );
    assert_eq!((new.len(), &new[..4], &new[50_000..50_004]), (100_000, &b"head"[..], &b"tail"[..]));
    assert_eq!(old.iter().chain(&new).filter(|byte| **byte != 0).count(), 28);
}

#[test]
fn libraries_of_binutils_are_compared_by_member() {
    let dir = scratch();
    let library = |number: u32| {
        let run =
            |program: &str, args: &[&str]| oracle_text(Command::new(program).args(args).current_dir(&dir));
        save(dir.path(), "x.c", format!("int value(void) {{ return {number}; }}\n").as_bytes());
        let name = "an-object-with-a-long-name.o";
        run("cc", &["-c", "x.c", "-o", name])?;
        run("cc", &["-c", "x.c", "-o", "short.o"])?;
        run("ar", &["rcsD", &format!("{number}.a"), name, "short.o"])?;
        let bytes = load(&dir.path().join(format!("{number}.a")));
        let found = parsed(&bytes);
        assert_eq!(found.faults, []);
        assert_eq!(member(&found, name.as_bytes()), load(&dir.path().join(name)));
        assert_eq!(member(&found, b"short.o"), load(&dir.path().join("short.o")));
        let names: Vec<_> = found.map.extents().iter().map(|extent| extent.structure.name).collect();
        assert!(names.contains(&"symbol table") && names.contains(&"long names"), "{names:?}");
        Some(bytes)
    };
    let (Some(first), Some(second)) = (library(1), library(2)) else { return };
    let report = compared(&first, &second);
    assert_eq!(report.unexplained(), 0);
    let root = report.root.unwrap();
    assert_eq!(root.faults, []);
    let names: Vec<_> = root.members.iter().map(|member| member.name.clone()).collect();
    let expected = ["an-object-with-a-long-name.o", "short.o"].map(|name| Name::Path(name.into()));
    assert_eq!(names, expected);
    flips("library of binutils", &first, 5);
}

/// An archive of GNU tar with one sparse file.
fn packed(dir: &Path, form: &[&str], content: &[u8]) -> Option<Vec<u8>> {
    save(dir, "full", content);
    let run = |program: &str, args: &[&str]| oracle(Command::new(program).args(args).current_dir(dir));
    assert!(run("cp", &["--sparse=always", "full", "f"])?.status.success());
    let fixed = ["--create", "--sparse", "--mtime=@1700000000", "--owner=0", "--group=0", "--file=-", "f"];
    let done = run("tar", &[form, &fixed].concat())?;
    assert!(done.status.success(), "{form:?}");
    Some(done.stdout)
}

#[test]
fn sparse_files_of_gnu_tar_are_what_was_packed() {
    // More pieces than one header and one block behind it have room for, and a hole at the end.
    let mut content = vec![0; 3 << 20];
    for piece in 0..40 {
        let at = piece * (64 << 10);
        content[at..at + 9].copy_from_slice(format!("piece {piece:02}\n").as_bytes());
    }
    let mut other = content.clone();
    other[39 * (64 << 10) + 6] = b'x';
    let dir = scratch();
    for form in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let Some(first) = packed(dir.path(), form, &content) else { return };
        assert!(first.len() < content.len(), "it is sparse: {form:?}");
        let found = parsed(&first);
        assert_eq!(found.faults, [], "{form:?}");
        assert!(member(&found, b"f") == content, "{form:?}");
        let report = compared(&first, &packed(dir.path(), form, &other).unwrap());
        assert_eq!(report.unexplained(), 0, "{form:?}");
        let root = report.root.unwrap();
        assert_eq!(root.faults, [], "{form:?}");
        assert_eq!(root.members[0].name, Name::Path(b"f".to_vec()));
        assert_eq!(root.members[0].differing, 1);
        flips(&format!("{form:?}"), &first, 6);
    }
}

#[test]
fn records_of_an_extension_header_are_told_by_key() {
    let archive = |time: &str, note: &str| {
        let mut records = String::new();
        for (key, value) in [("mtime", time), ("SCHILY.xattr.user.note", note)] {
            let record = format!(" {key}={value}\n");
            // Its own two digits count, too.
            records += &format!("{}{record}", record.len() + 2);
        }
        let ustar: [(usize, &[u8]); 1] = [(257, b"ustar\x0000")];
        let mut all = header("x", b'x', records.len(), &ustar);
        all.extend(records.bytes());
        all.resize(1024, 0);
        all.extend(header("file", b'0', 0, &ustar));
        all.resize(all.len() + 1024, 0);
        all
    };
    let report = compared(&archive("1.25", "a"), &archive("1.5", "b"));
    assert_eq!(report.unexplained(), 0);
    let expected = [
        "extension header of file: mtime: \"1.25\" -> \"1.5\"",
        "extension header of file: SCHILY.xattr.user.note: \"a\" -> \"b\"",
    ];
    assert_eq!(fields(&report), expected);
}

#[test]
#[allow(clippy::disallowed_methods)] // A test hands files to other programs; the crate itself never does.
fn older_formats_of_cpio_are_looked_into() {
    let dir = scratch();
    let root = dir.path();
    for format in ["bin", "odc"] {
        let archive = |text: &str, target: &str| {
            std::fs::write(root.join("text"), text).unwrap();
            let _ = std::fs::remove_file(root.join("link"));
            std::os::unix::fs::symlink(target, root.join("link")).unwrap();
            save(root, "names", b"text\nlink\n");
            let pack = format!("cpio --quiet -o -H {format} < names");
            let output = oracle(Command::new("sh").current_dir(root).args(["-c", &pack]))?;
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(output.stdout)
        };
        let (Some(a), Some(b)) = (archive("one\n", "here"), archive("two\nthree\n", "there")) else { return };
        let found = parsed(&a);
        assert_eq!((found.format, found.faults.len()), ("oldcpio", 0), "{format}");
        assert_eq!(member(&found, b"text"), b"one\n", "{format}");
        assert_eq!(member(&found, b"link"), b"here", "{format}");
        let report = compared(&a, &b);
        assert_eq!(report.unexplained(), 0, "{format}");
        let root = report.root.unwrap();
        let names: Vec<_> = root.members.iter().map(|member| member.name.clone()).collect();
        assert_eq!(names, [Name::Path(b"link".to_vec()), Name::Path(b"text".to_vec())], "{format}");
        flips(&format!("cpio, {format}"), &a, 9);
    }
}
