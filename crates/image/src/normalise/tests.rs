//! What handlers change, and that they change nothing else.

use std::io::Read as _;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use super::*;
use crate::gpt::crc32;
use samples::{Entry, archive, chunk, png, tar, utc};

mod samples;

/// 2015-02-05 18:09:31 UTC.
const EPOCH: u32 = 1_423_159_771;
/// A year later.
const LATE: u32 = EPOCH + 31_536_000;

fn rules() -> Rules {
    Rules { times: Times { epoch: Epoch(EPOCH), all: false }, handlers: HANDLERS.iter().collect() }
}

/// What comes of a file; a second time nothing does.
#[track_caller]
fn run(name: &str, bytes: &[u8], rules: &Rules) -> Outcome {
    let (_, outcome) =
        normalise(name.as_bytes(), &Arc::new(bytes.to_vec()), rules).expect("a handler knows it");
    if let Outcome::Changed { bytes, .. } = &outcome {
        let again = normalise(name.as_bytes(), &Arc::new(bytes.clone()), rules);
        assert!(again.as_ref().is_none_or(|(_, again)| *again == Outcome::Unchanged), "{again:?}");
    }
    outcome
}

#[track_caller]
fn changed(name: &str, bytes: &[u8]) -> (Vec<u8>, Vec<(&'static str, u64)>) {
    match run(name, bytes, &rules()) {
        Outcome::Changed { bytes, done } => (bytes, done.into_iter().collect()),
        other => panic!("{name}: {other:?}"),
    }
}

#[track_caller]
fn is_left(name: &str, bytes: &[u8], why: &str) {
    match run(name, bytes, &rules()) {
        Outcome::Left(reason) => assert!(reason.contains(why), "{name}: {reason}"),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn handlers_are_sorted_and_each_file_has_one() {
    assert!(HANDLERS.is_sorted_by_key(|handler| handler.name));
    let bytes = Arc::new(b"%!PS".to_vec());
    let file = File::new(b"a.html", &bytes, 0);
    assert_eq!(HANDLERS.iter().filter(|handler| (handler.is)(&file)).count(), 1);
    for (name, bytes) in samples::all() {
        let bytes = Arc::new(bytes);
        let file = File::new(name.as_bytes(), &bytes, 0);
        let known: Vec<_> =
            HANDLERS.iter().filter(|handler| (handler.is)(&file)).map(|one| one.name).collect();
        assert_eq!(known.len(), 1, "{name}: {known:?}");
        assert!(is_candidate(name.as_bytes(), &**bytes).unwrap(), "{name}");
    }
    assert!(!is_candidate(b"notes", &b"text"[..]).unwrap() && !is_candidate(b"", &b""[..]).unwrap());
}

#[test]
fn a_handler_that_is_left_out_does_nothing() {
    let rules = Rules { handlers: vec![handler("gzip").unwrap()], ..rules() };
    let png = Arc::new(png(&[(b"tIME", &[7, 0xe2, 1, 1, 0, 0, 0])]));
    assert!(normalise(b"a.png", &png, &rules).is_none());
}

#[test]
fn members_of_ar_become_those_of_everybody() {
    let header = |name: &str, date: &str, owner: &str, mode: &str, size: usize| {
        format!("{name:<16}{date:<12}{owner:<6}{owner:<6}{mode:<8}{size:<10}`\n")
    };
    let archive = |magic: &str, late: &str, owner: &str, mode: &str| {
        let parts = [
            magic.to_owned(),
            header("/", late, owner, "0", 4) + "\0\0\0\0",
            header("//", "", "", "", 2) + "x\n",
            header("early.o/", "5", owner, mode, 0),
            header("/0", late, owner, mode, 0),
        ];
        parts.concat().into_bytes()
    };
    let epoch = EPOCH.to_string();
    for magic in ["!<arch>\n", "!<thin>\n"] {
        let (bytes, done) = changed("lib.a", &archive(magic, &LATE.to_string(), "1000", "100775"));
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            String::from_utf8_lossy(&archive(magic, &epoch, "0", "755"))
        );
        assert_eq!(done, [("owner", 3), ("permissions", 2), ("time", 2)]);
    }
    let (bytes, _) = changed("lib.a", &archive("!<arch>\n", "7", "0", "100600"));
    assert_eq!(bytes, archive("!<arch>\n", "7", "0", "644"));
    is_left("lib.a", &archive("!<arch>\n", "x", "0", "644"), "no number");
    is_left("a.deb", b"!<arch>\ndebian-binary   ", "Debian package");
}

#[test]
fn each_member_of_a_gzip_file_loses_name_time_and_checksum() {
    let member = |flags: u8, mtime: u32, rest: &[u8], text: &[u8]| {
        let mut packed = Vec::new();
        flate2::read::DeflateEncoder::new(text, flate2::Compression::new(6))
            .read_to_end(&mut packed)
            .unwrap();
        let head = [&[0x1f, 0x8b, 8, flags][..], &mtime.to_le_bytes(), &[2, 3]].concat();
        let len = u32::try_from(text.len()).unwrap();
        [&head[..], rest, &packed, &crc32(text).to_le_bytes(), &len.to_le_bytes()].concat()
    };
    let first = member(8 | 4, LATE, b"\x02\0xyname\0", b"one");
    let second = member(16 | 8, 5, b"name\0comment\0", b"two");
    let (bytes, done) = changed("a.gz", &[&first[..], &second, &[0; 7]].concat());
    let expected = [member(4, EPOCH, b"\x02\0xy", b"one"), member(16, 5, b"comment\0", b"two"), vec![0; 7]];
    assert_eq!(bytes, expected.concat());
    assert_eq!(done, [("file name", 2), ("time", 1)]);
    let mut text = String::new();
    MultiGzDecoder::new(&bytes[..bytes.len() - 7]).read_to_string(&mut text).unwrap();
    assert_eq!(text, "onetwo");
    let mut head = member(2, 0, b"", b"");
    let sum = crc32(&head[..10]).to_le_bytes();
    head.splice(10..10, [sum[0], sum[1]]);
    let (bytes, done) = changed("a.gz", &head);
    assert_eq!((bytes, done), (member(0, 0, b"", b""), vec![("checksum of the header", 1)]));
    assert_eq!(run("a.gz", &member(0, 0, b"", b""), &rules()), Outcome::Unchanged);
    is_left("a.gz", &[&first[..], b"behind"].concat(), "no known stream");
    is_left("a.gz", &first[..first.len() - 1], "");
}

#[test]
fn times_in_png_are_clamped_and_what_is_no_date_is_left() {
    let late = utc(LATE);
    let good = png(&[(b"tEXt", b"Software\0x"), (b"tEXt", b"date:create\x002014-01-01T00:00:00+01:00")]);
    assert_eq!(run("a.png", &good, &rules()), Outcome::Unchanged);
    let text = |date: &str| {
        let all = [format!("tEXt\0date:modify\0{date}"), format!("iTXt\0Creation Time\0\0\0en\0key\0{date}")];
        all.map(|text| text.into_bytes())
    };
    let make = |date: &str, time: [u8; 7]| {
        let [first, second] = text(date);
        png(&[(b"tEXt", &first[5..]), (b"tIME", &time), (b"iTXt", &second[5..])])
    };
    let (bytes, done) = changed("a.png", &make(&format!("{late}+00:00"), [7, 0xe0, 2, 5, 18, 9, 31]));
    let expected = make("2015-02-05T18:09:31+00:00", [7, 0xdf, 2, 5, 18, 9, 31]);
    assert_eq!((bytes, done), (expected, vec![("date in a text", 2), ("time of the last change", 1)]));
    is_left("a.png", &png(&[(b"tEXt", b"Creation Time\0yesterday")]), "no date that is understood");
    is_left("a.png", &png(&[(b"zTXt", b"date:create\0\0xx")]), "packed");
    let mut damaged = png(&[(b"tIME", &[8, 0, 1, 1, 0, 0, 0])]);
    is_left("a.png", &damaged[..damaged.len() - 4], "behind the end");
    damaged[45] ^= 1;
    is_left("a.png", &damaged, "checksum");
    // Behind the end may be anything, and it stays.
    let behind = [&make("2020-01-01T00:00:00Z", [8, 0, 1, 1, 0, 0, 0])[..], b"more"].concat();
    assert!(changed("a.png", &behind).0.ends_with(b"more"));
    assert_eq!(chunk(b"IEND", b""), b"\0\0\0\0IEND\xae\x42\x60\x82");
}

#[test]
fn times_and_numbers_in_cpio_are_those_of_no_machine() {
    let entry = |name: &str, ino: u32, mtime: u32, dev: u32| {
        let fields =
            [ino, 0o100_644, 1, 2, 1, mtime, 0, dev, dev, 0, 0, u32::try_from(name.len() + 1).unwrap(), 0];
        let mut entry = b"070701".to_vec();
        fields.iter().for_each(|field| entry.extend(format!("{field:08x}").bytes()));
        entry.extend(name.bytes());
        entry.push(0);
        entry.resize(entry.len().next_multiple_of(4), 0);
        entry
    };
    let make = |numbers: [u32; 3], mtime: u32, dev: u32| {
        let [a, b, c] = numbers;
        let end = entry("TRAILER!!!", 0, 0, 0);
        let archives = [
            [entry("a", a, 5, dev), entry("b", b, mtime, dev), entry("c", a, mtime, dev), end.clone()]
                .concat(),
            [entry("d", c, mtime, dev), end].concat(),
        ];
        archives.concat()
    };
    let (bytes, done) = changed("a.cpio", &make([70, 30, 30], LATE, 8));
    // Digits that do not change keep their case.
    assert!(bytes.eq_ignore_ascii_case(&make([0, 1, 0], EPOCH, 0)));
    assert_eq!(done, [("inode and device numbers", 12), ("time", 3)]);
    assert_eq!(run("a.cpio", &make([0, 1, 0], 7, 0), &rules()), Outcome::Unchanged);
    let octal = |mtime: u32| {
        let mut all = Vec::new();
        for (name, mtime) in [("a", mtime), ("TRAILER!!!", 0)] {
            let head =
                format!("070707{:06o}{:06o}{:06o}{:06o}{:06o}{:06o}{:06o}", 1, 2, 0o100_644, 0, 0, 1, 0);
            all.extend(format!("{head}{mtime:011o}{:06o}{:011o}{name}\0", name.len() + 1, 0).bytes());
        }
        all
    };
    assert_eq!(changed("a.cpio", &octal(LATE)).0, octal(EPOCH));
    for big in [false, true] {
        let binary = |mtime: u32| {
            let halves = [mtime >> 16, mtime & 0xffff].map(|half| u16::try_from(half).unwrap());
            let fields = [0o070_707, 1, 2, 0o100_644, 0, 0, 1, 0, halves[0], halves[1], 2, 0, 0];
            let raw = |field: u16| if big { field.to_be_bytes() } else { field.to_le_bytes() };
            let head: Vec<u8> = fields.into_iter().flat_map(raw).collect();
            let mut end: Vec<u8> =
                [0o070_707, 0, 0, 0o100_644, 0, 0, 1, 0, 0, 0, 11, 0, 0].into_iter().flat_map(raw).collect();
            end.extend(b"TRAILER!!!\0\0");
            [&head[..], b"a\0", &end].concat()
        };
        assert_eq!(changed("a.cpio", &binary(LATE)).0, binary(EPOCH));
    }
}

#[test]
fn times_in_tar_are_clamped_also_in_pax_records() {
    let make = |name: &str, mtime: u32, records: &str| {
        [tar(name, b'x', 5, records.as_bytes()), tar("file", b'0', mtime, b"text"), vec![0; 1024]].concat()
    };
    let late = format!("30 mtime={LATE}.123456789\n30 ctime={LATE}.000000001\n11 path=ab\n");
    let good = late.replace(&LATE.to_string(), &EPOCH.to_string()).replace("123456789", "000000000");
    let good = good.replace("000000001", "000000000");
    let (bytes, done) = changed("a.tar", &make("./PaxHeaders.4711/file", LATE, &late));
    assert_eq!(bytes, make("./PaxHeaders/file", EPOCH, &good));
    assert_eq!(done, [("name of an extended header", 1), ("time", 1), ("time in an extended header", 2)]);
    assert_eq!(run("a.tar", &make("./PaxHeaders/file", 7, "14 mtime=5.25\n"), &rules()), Outcome::Unchanged);
    let soon = format!("22 mtime={EPOCH}.5\n");
    assert!(matches!(run("a.tar", &make("x", 7, &soon), &rules()), Outcome::Changed { .. }));
    is_left("a.tar", &make("x", 7, "21 mtime=99999999999\n"), "room");
}

#[test]
fn headers_of_uimage_and_flat_binaries_have_no_later_time() {
    let uimage = |time: u32| {
        let mut header = [&uimage::MAGIC[..], &[0; 4], &time.to_be_bytes(), &[7; 52]].concat();
        let sum = crc32(&header);
        header[4..8].copy_from_slice(&sum.to_be_bytes());
        header.extend(b"kernel");
        header
    };
    assert_eq!(changed("uImage", &uimage(LATE)).0, uimage(EPOCH));
    let mut damaged = uimage(LATE);
    damaged[40] ^= 1;
    is_left("uImage", &damaged, "checksum");
    let flat = |version: u8, date: u32| {
        [&b"bFLT\0\0\0"[..], &[version], &[0; 32], &date.to_be_bytes(), b"code"].concat()
    };
    assert_eq!(changed("a", &flat(4, LATE)).0, flat(4, EPOCH));
    assert_eq!(run("a", &flat(2, LATE), &rules()), Outcome::Unchanged);
    is_left("a", &flat(9, LATE), "version 9");
}

#[test]
fn dates_in_texts_keep_their_place() {
    let mo = |date: &str| {
        let header = format!(
            "Project-Id-Version: x\nPOT-Creation-Date: {date}\nPO-Revision-Date: 2014-01-01 10:00+0100\n"
        );
        let mut bytes = vec![0xde, 0x12, 4, 0x95];
        let len = u32::try_from(header.len()).unwrap();
        let numbers = [0, 1, 28, 36, 0, 44, 0, 44, len, 45];
        numbers.iter().for_each(|number: &u32| bytes.extend(number.to_le_bytes()));
        [&bytes[..], b"\0", header.as_bytes(), b"\0"].concat()
    };
    assert_eq!(changed("a.mo", &mo("2018-01-01 10:00+0100")).0, mo("2015-02-05 18:09+0000"));
    assert_eq!(run("a.mo", &mo("2014-01-01 10:00+0100"), &rules()), Outcome::Unchanged);
    assert_eq!(run("a.mo", &mo("YEAR-MO-DA HO:MI+ZONE"), &rules()), Outcome::Unchanged);

    let page = |comment: &str, date: &str, html: &str| {
        format!(
            "<!DOCTYPE HTML>\r\n{html}\r\n<head>\r\n{comment}<META NAME=\"date\" CONTENT=\"{date}\">\r\n</head>\r\n"
        )
    };
    let mark = "<!-- Generated by javadoc (17) on Tue Feb 05 18:09:31 UTC 2019 -->\r\n";
    let (bytes, _) = changed("a.html", page(mark, "2019-02-05", "<html lang=\"de\">").as_bytes());
    assert_eq!(String::from_utf8_lossy(&bytes), page("", "2015-02-05", "<html>"));
    let good = page("<!-- Generated by javadoc (17) -->\r\n", "2014-02-05", "<html>");
    assert_eq!(run("a.html", good.as_bytes(), &rules()), Outcome::Unchanged);
    assert!(normalise(b"a.txt", &Arc::new(good.into_bytes()), &rules()).is_none());

    let ps = |date: &str| format!("%!PS-Adobe-3.0\n%%CreationDate: {date}\n%%EndComments\n");
    let (bytes, _) = changed("a.ps", ps("(Sun Oct  9 10:00:00 2016)").as_bytes());
    assert_eq!(String::from_utf8_lossy(&bytes), ps("(Thu Feb  5 18:09:31 2015)"));
    is_left("a.ps", ps("some day").as_bytes(), "some day");
    assert_eq!(run("a.ps", ps("").as_bytes(), &rules()), Outcome::Unchanged);
}

#[test]
fn dates_of_pdf_agree_with_each_other_and_signed_ones_stay() {
    let pdf = |info: &str, xmp: &str| {
        format!(
            "%PDF-1.7\n1 0 obj <</CreationDate(D:{info})/ModDate (D:20140101000000Z)>>\nstream\n/ModDate(D:x)\nendstream\n\
             stream\r\n<?xpacket begin=''?><x:xmpmeta xmp:ModifyDate=\"{xmp}\"><xmp:CreateDate>{xmp}</xmp:CreateDate>\nendstream\n%%EOF\n"
        )
    };
    let (bytes, done) =
        changed("a.pdf", pdf("20160101120000+01'00'", "2016-01-01T12:00:00+01:00").as_bytes());
    assert_eq!(String::from_utf8_lossy(&bytes), pdf("20150205180931+00'00'", "2015-02-05T18:09:31+00:00"));
    assert_eq!(done, [("date", 1), ("date in XMP", 2)]);
    is_left("a.pdf", pdf("2016", "2016-01-01T12:00:00Z").as_bytes(), "not understood");
    is_left("a.pdf", pdf("20160101120000Z", "2016").as_bytes(), "not understood");
    for (word, why) in [("/ByteRange", "signed"), ("/Encrypt", "encrypted")] {
        is_left("a.pdf", (pdf("20160101120000Z", "2016-01-01T12:00:00Z") + word).as_bytes(), why);
    }
}

#[test]
fn lines_of_mimeinfo_are_sorted_and_preferences_stay() {
    let (bytes, _) =
        changed("usr/share/applications/mimeinfo.cache", b"[MIME Cache]\nb/x=z;a;\na/x=b;\na-/x=c;\n");
    assert_eq!(bytes, b"[MIME Cache]\na-/x=c;\na/x=b;\nb/x=z;a;\n");
    is_left("mimeinfo.cache", b"[MIME Cache]\na=1\na=2\n", "two lines");
    is_left("mimeinfo.cache", b"[MIME Cache]\na=1\n[Other]\nb=2\n", "line 3");
    assert_eq!(run("mimeinfo.cache", b"[MIME Cache]\n", &rules()), Outcome::Unchanged);
}

#[test]
fn compiled_python_and_font_caches_follow_files_beside_them() {
    let pyc = |flags: u8, mtime: u32| {
        [&[0xa7, 0x0d, b'\r', b'\n', flags, 0, 0, 0][..], &mtime.to_le_bytes(), b"\x05\0\0\0\xe3"].concat()
    };
    assert_eq!(changed("a.pyc", &pyc(0, LATE)).0, pyc(0, EPOCH));
    assert_eq!(run("a.pyc", &pyc(3, LATE), &rules()), Outcome::Unchanged);
    let all = Rules { times: Times { all: true, ..rules().times }, ..rules() };
    assert_eq!(run("a.pyc", &pyc(0, 5), &all), Outcome::Unchanged);
    let cache = |time: u32, nano: u64| {
        let mut bytes = b"\x04\xfc\x02\xfc\x09\0\0\0".to_vec();
        for number in [79, 64, 66, 0, 79] {
            bytes.extend(u64::to_le_bytes(number));
        }
        bytes.extend(time.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(nano.to_le_bytes());
        bytes.extend(b"/\0the fonts....");
        bytes
    };
    assert_eq!(changed("a.cache-9", &cache(LATE, 77)).0, cache(EPOCH, 0));
    assert_eq!(run("a.cache-9", &cache(5, 77), &rules()), Outcome::Unchanged);
}

#[test]
fn entries_of_zip_have_times_owners_and_permissions_of_everybody() {
    let make = |dos: u32, times: [u32; 2], owner: u32, mode: u32| {
        let [mtime, atime] = times.map(u32::to_le_bytes);
        let owner = [&b"ux\x0b\0\x01\x04"[..], &owner.to_le_bytes(), b"\x04", &owner.to_le_bytes()].concat();
        let local = [&b"UT\x09\0\x03"[..], &mtime, &atime, &owner].concat();
        let central = [&b"UT\x05\0\x03"[..], &mtime, &owner].concat();
        let mut link = Entry::new("link", b"target").at(dos);
        link.mode = 0o120_777;
        let entry = Entry { local, central, mode, ..Entry::new("file", b"text").at(dos) };
        archive(&[entry, link], b"")
    };
    let (bytes, done) = changed("a.zip", &make(0x4845_912f, [LATE, LATE + 7], 1000, 0o100_664));
    assert_eq!(bytes, make(0x4645_912f, [EPOCH, EPOCH], 0, 0o100_644));
    assert_eq!(done, [("owner", 4), ("permissions", 1), ("time", 7)]);
    // A wall clock follows the time of UTC beside it; who read the file last is nobody's business.
    let (bytes, _) = changed("a.zip", &make(0x4545_0000, [EPOCH - 100, 5], 0, 0o100_755));
    assert_eq!(part_of_time(&bytes), 0x4645_90f9);
    // Of NTFS.
    let ticks = |seconds: u32| (u64::from(seconds) + 11_644_473_600) * 10_000_000;
    let ntfs = |seconds: u32| {
        let central =
            [&b"\x0a\0\x20\0\0\0\0\0\x01\0\x18\0"[..], &[ticks(seconds).to_le_bytes(); 3].concat()].concat();
        archive(&[Entry { central, ..Entry::new("a", b"").at(0x4645_912f) }], b"")
    };
    assert_eq!(changed("a.zip", &ntfs(LATE)).0, ntfs(EPOCH));
}

/// The time in the first local header.
fn part_of_time(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(*bytes[10..].first_chunk().unwrap())
}

#[test]
fn entries_are_sorted_where_nothing_depends_on_it() {
    let of = |names: &[&str]| {
        let entries: Vec<Entry> = names.iter().map(|name| Entry::new(name, name.as_bytes())).collect();
        archive(&entries, b"")
    };
    let sorted = |name: &str, before: &[&str], after: &[&str]| {
        let (bytes, done) = changed(name, &of(before));
        assert_eq!((bytes, done), (of(after), vec![("order of entries", 1)]), "{name}");
    };
    sorted("a.zip", &["c", "a", "b"], &["a", "b", "c"]);
    sorted("a.epub", &["mimetype", "b", "a"], &["mimetype", "a", "b"]);
    let manifest = "META-INF/MANIFEST.MF";
    sorted("a.jar", &["a", "A", manifest, "META-INF/"], &["META-INF/", manifest, "A", "a"]);
    for name in ["a.docx", "a.apk", "a"] {
        assert_eq!(run(name, &of(&["c", "a"]), &rules()), Outcome::Unchanged, "{name}");
    }
    assert_eq!(run("a.zip", &of(&["c", "a", "a"]), &rules()), Outcome::Unchanged);
    let aligned = Entry { local: vec![0; 3], ..Entry::new("c", b"") };
    assert_eq!(run("a.zip", &archive(&[aligned, Entry::new("a", b"")], b""), &rules()), Outcome::Unchanged);
    // Behind the first line of a script, all places count from there or from the start of the file.
    let script = [&b"#!/usr/bin/python3\n"[..], &of(&["b", "a"])].concat();
    let (bytes, _) = changed("tool", &script);
    assert_eq!(bytes, [&b"#!/usr/bin/python3\n"[..], &of(&["a", "b"])].concat());
    assert!(normalise(b"tool", &Arc::new(b"#!/bin/sh\n".to_vec()), &rules()).is_none());
}

#[test]
fn archives_of_java_lose_who_built_them_also_inside() {
    let manifest = "META-INF/MANIFEST.MF";
    let page = |comment: &str| format!("<html>\n<head>\n{comment}</head>\n");
    let mark = "<!-- Generated by javadoc (17) on Tue Feb 05 18:09:31 UTC 2019 -->\n";
    let before = "Manifest-Version: 1.0\r\nBuilt-By: somebody\r\n with a long name\r\nCreated-By: x\r\nBnd-LastModified: 7\r\n\r\n";
    let after = "Manifest-Version: 1.0\r\nCreated-By: x\r\n\r\n";
    let make = |text: &str, comment: &str, leftover: bool, inner: Option<&[u8]>| {
        let mut entries = vec![
            Entry::new(manifest, text.as_bytes()).deflated(),
            Entry::new("doc/a.html", page(comment).as_bytes()).deflated().described(),
            Entry::new("doc/b.html", b"<html>"),
        ];
        entries.extend(inner.map(|inner| Entry::new("lib/inner.jar", inner)));
        let name = "org.codehaus.plexus.compiler.javac.JavacCompiler123arguments";
        entries.extend(leftover.then(|| Entry::new(name, b"-d")));
        archive(&entries, b"a comment")
    };
    let (inner, clean) = (make(before, mark, false, None), make(after, "", false, None));
    let (bytes, done) = changed("a.jar", &make(before, mark, true, Some(&inner[..])));
    assert_eq!(bytes, make(after, "", false, Some(&clean[..])));
    assert_eq!(
        done,
        [("builder in the manifest", 2), ("comment with the time", 2), ("leftover of the compiler", 1)]
    );
    // What is signed inside stays, and the rest does not.
    let signed = archive(&[Entry::new("META-INF/X.SF", b"").at(0x4845_912f)], b"");
    let (bytes, done) = changed("a.jar", &make(before, "", false, Some(&signed[..])));
    assert_eq!((bytes, done.len()), (make(after, "", false, Some(&signed[..])), 1));
    let without = Rules { handlers: vec![handler("zip").unwrap()], ..rules() };
    assert_eq!(run("a.jar", &make(after, mark, false, None), &without), Outcome::Unchanged);
    // Clojure compares a source with the class beside it.
    let times = |clj: u32| {
        archive(&[Entry::new("a.class", b"").at(0x4645_912f), Entry::new("a.clj", b"").at(clj)], b"")
    };
    assert_eq!(changed("a.jar", &times(0x4845_912f)).0, times(0x4645_912e));
}

#[test]
fn signed_encrypted_and_damaged_archives_are_left() {
    let one = |name: &str| archive(&[Entry::new(name, b"text").at(0x4845_912f)], b"");
    for name in ["META-INF/CERT.SF", "meta-inf/cert.rsa", "META-INF/cose.sig", ".signature.p7s"] {
        is_left("a.xpi", &one(name), &format!("it is signed: {name}"));
    }
    assert!(matches!(run("a.zip", &one("META-INF/deep/x.SF"), &rules()), Outcome::Changed { .. }));
    let encrypted = Entry { flags: 1, ..Entry::new("secret", b"text") };
    is_left("a.zip", &archive(&[encrypted], b""), "the entry secret is encrypted");
    let block = Entry::new("a", b"APK Sig Block 42");
    is_left("a.apk", &archive(&[block], b""), "APK Signing Block");
    is_left("a.zip", &one("a")[..60], "no end of central directory");
    let mut wrong = archive(&[Entry::new("META-INF/MANIFEST.MF", b"Built-By: x\n")], b"");
    wrong[60] ^= 1;
    is_left("a.jar", &wrong, "is damaged");
}

#[test]
fn a_second_time_changes_nothing_however_damaged_the_file() {
    let all_times = Rules { times: Times { all: true, ..rules().times }, ..rules() };
    for (name, bytes) in samples::all() {
        let mut outcomes = [0_u32; 3];
        crate::mutation::mutations(&bytes, 1_500, |bytes| {
            let input = Arc::new(bytes.to_vec());
            for rules in [&rules(), &all_times] {
                match normalise(name.as_bytes(), &input, rules) {
                    Some((_, Outcome::Changed { bytes: new, .. })) => {
                        assert!(new != bytes, "{name}: it says what it did not do");
                        let again = normalise(name.as_bytes(), &Arc::new(new.clone()), rules);
                        let good = again.as_ref().is_none_or(|(_, again)| *again == Outcome::Unchanged);
                        assert!(good, "{name}: {again:?} of {bytes:?}");
                        outcomes[0] += 1;
                    }
                    Some((_, Outcome::Left(_))) => outcomes[1] += 1,
                    _ => outcomes[2] += 1,
                }
            }
        });
        assert!(outcomes[0] > 0, "{name}: {outcomes:?}");
    }
}
