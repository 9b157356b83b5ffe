//! Small files of each kind, with something to change.

use std::io::Read as _;

use crate::epoch::civil;
use crate::gpt::crc32;

/// A date as `2016-02-05T18:09:31`.
pub(super) fn utc(seconds: u32) -> String {
    civil(seconds).to_string().trim_end_matches('Z').to_owned()
}

pub(super) fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len()).unwrap();
    let chunk = [&kind[..], data].concat();
    [&len.to_be_bytes()[..], &chunk, &crc32(&chunk).to_be_bytes()].concat()
}

/// An image with these chunks and no pixels.
pub(super) fn png(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    bytes.extend(chunk(b"IHDR", b"\0\0\0\x01\0\0\0\x01\x01\0\0\0\0"));
    chunks.iter().for_each(|(kind, data)| bytes.extend(chunk(kind, data)));
    bytes.extend(chunk(b"IEND", b""));
    bytes
}

/// A header of ustar and its data.
pub(super) fn tar(name: &str, flag: u8, mtime: u32, data: &[u8]) -> Vec<u8> {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    let fields = format!("0000644\x000000000\x000000000\x00{:011o}\x00{mtime:011o}\x00        ", data.len());
    block[100..156].copy_from_slice(fields.as_bytes());
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut all = [&block[..], data].concat();
    all.resize(all.len().next_multiple_of(512), 0);
    all
}

/// An entry of a ZIP archive.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) plain: Vec<u8>,
    pub(super) packed: Vec<u8>,
    pub(super) method: u16,
    pub(super) flags: u16,
    pub(super) dos: u32,
    pub(super) mode: u32,
    /// Extra fields.
    pub(super) local: Vec<u8>,
    pub(super) central: Vec<u8>,
}

impl Entry {
    /// Stored, of Unix, at the beginning of 1980.
    pub(super) fn new(name: &str, plain: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            plain: plain.to_vec(),
            packed: plain.to_vec(),
            method: 0,
            flags: 0,
            dos: 0x0021_0000,
            mode: 0o100_644,
            local: Vec::new(),
            central: Vec::new(),
        }
    }

    /// With this time of MS-DOS.
    pub(super) fn at(self, dos: u32) -> Self {
        Self { dos, ..self }
    }

    pub(super) fn deflated(mut self) -> Self {
        self.packed.clear();
        let level = flate2::Compression::new(6);
        flate2::read::DeflateEncoder::new(&self.plain[..], level).read_to_end(&mut self.packed).unwrap();
        Self { method: 8, ..self }
    }

    /// With its lengths behind its data.
    pub(super) fn described(self) -> Self {
        Self { flags: 8, ..self }
    }

    fn sums(&self) -> [u8; 12] {
        let lengths = [self.packed.len(), self.plain.len()].map(|len| u32::try_from(len).unwrap());
        let all = [crc32(&self.plain), lengths[0], lengths[1]].map(u32::to_le_bytes).concat();
        *all.first_chunk().unwrap()
    }

    /// What both headers have, from the version on that is needed.
    fn shared(&self, sums: [u8; 12], extra: usize) -> Vec<u8> {
        let [name, extra] = [self.name.len(), extra].map(|len| u16::try_from(len).unwrap().to_le_bytes());
        let words = [20, self.flags, self.method].map(u16::to_le_bytes).concat();
        [&words[..], &self.dos.to_le_bytes(), &sums, &name, &extra].concat()
    }
}

/// A ZIP archive.
pub(super) fn archive(entries: &[Entry], comment: &[u8]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let at = u32::try_from(out.len()).unwrap();
        let described = entry.flags & 8 != 0;
        let sums = if described { [0; 12] } else { entry.sums() };
        out.extend([b"PK\x03\x04", &entry.shared(sums, entry.local.len())[..]].concat());
        out.extend([entry.name.as_bytes(), &entry.local, &entry.packed].concat());
        if described {
            out.extend([b"PK\x07\x08", &entry.sums()[..]].concat());
        }
        directory
            .extend([b"PK\x01\x02\x14\x03", &entry.shared(entry.sums(), entry.central.len())[..]].concat());
        directory.extend([0; 6]);
        directory.extend([(entry.mode << 16).to_le_bytes(), at.to_le_bytes()].concat());
        directory.extend([entry.name.as_bytes(), &entry.central].concat());
    }
    let count = u16::try_from(entries.len()).unwrap().to_le_bytes();
    let [len, at] = [directory.len(), out.len()].map(|len| u32::try_from(len).unwrap().to_le_bytes());
    let end = [&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &len, &at].concat();
    let comment_len = u16::try_from(comment.len()).unwrap().to_le_bytes();
    [&out[..], &directory, &end, &comment_len, comment].concat()
}

/// One of each kind, by name.
pub(super) fn all() -> Vec<(&'static str, Vec<u8>)> {
    let late = super::LATE;
    let page =
        b"<html lang=\"de\">\n<!-- Generated by javadoc (17) on Tue Feb 05 18:09:31 UTC 2019 -->\n</head>\n";
    let zip = [
        Entry::new("b", b"text").at(0x4845_912f),
        Entry::new("META-INF/MANIFEST.MF", b"Built-By: me\n").deflated(),
        Entry::new("a.html", page).deflated().described(),
    ];
    let header = format!("{:<16}{late:<12}{:<6}{:<6}{:<8}{:<10}`\nabc\n", "a.o/", 1, 2, "664", 3);
    let cpio: String =
        [7, 0o100_644, 0, 0, 1, late, 0, 8, 1, 0, 0, 2, 0].map(|n: u32| format!("{n:08x}")).concat();
    let end = format!("070701{}TRAILER!!!\0\0\0\0", "00000000".repeat(11) + "0000000b00000000");
    let gzip = [&[0x1f, 0x8b, 8, 8][..], &late.to_le_bytes(), b"\0\x03name\0\x03\0\0\0\0\0\0\0\0\0"].concat();
    let mut uimage = [&super::uimage::MAGIC[..], &[0; 4], &late.to_be_bytes(), &[7; 52]].concat();
    let sum = crc32(&uimage);
    uimage[4..8].copy_from_slice(&sum.to_be_bytes());
    let records = b"30 mtime=1454695771.123456789\n".to_vec();
    vec![
        ("a.a", format!("!<arch>\n{header}").into_bytes()),
        ("a.cpio", format!("070701{cpio}a\0{end}").into_bytes()),
        ("a.gz", gzip),
        ("a.html", page.to_vec()),
        ("a.jar", archive(&zip, b"")),
        ("a.pdf", b"%PDF-1.4\n<</CreationDate(D:20160101120000Z)>>\nstream\nx\nendstream\n".to_vec()),
        (
            "a.png",
            png(&[(b"tIME", &[7, 0xe2, 1, 1, 0, 0, 0]), (b"tEXt", b"date:create\x002018-01-01T00:00:00Z")]),
        ),
        ("a.ps", b"%!PS\n%%CreationDate: Sun Oct  9 10:00:00 2016\n%%EndComments\n".to_vec()),
        (
            "a.tar",
            [tar("x/PaxHeaders.7/a", b'x', 5, &records), tar("a", b'0', late, b"text"), vec![0; 1024]]
                .concat(),
        ),
        ("mimeinfo.cache", b"[MIME Cache]\nb/c=x;\na/c=y;\n".to_vec()),
        ("tool", [b"#!/usr/bin/python3\n", &archive(&zip, b"")[..]].concat()),
        ("uImage", uimage),
    ]
}
