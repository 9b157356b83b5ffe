//! What is inside of archives of Java: manifests, pages of javadoc, and archives again.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use flate2::read::{DeflateDecoder, DeflateEncoder};
use flate2::{Compression, Crc};

use super::super::{Done, File, Left, Outcome, Rules, javadoc, left};
use super::rewrite::Content;
use super::{part, place, shown};
use crate::io::wide;
use crate::zip::{Listed, Listing, Packed, number};

/// How deep archives lie in each other that are looked into.
const DEEPEST: u8 = 3;

/// What entries are to hold that hold something else now, by their number.
pub(super) fn contents(
    file: &File<'_>,
    listing: &Listing,
    rules: &Rules,
    done: &mut Done,
) -> Result<BTreeMap<usize, Content>, Left> {
    let (mut all, mut room) = (BTreeMap::new(), file.room);
    for (index, entry) in listing.entries.iter().enumerate() {
        let inner =
            File { name: &entry.name, bytes: file.bytes, format: None, room: 0, depth: file.depth + 1 };
        let is_manifest = entry.name == b"META-INF/MANIFEST.MF";
        let is_page = inner.is_called(&["html", "htm"]);
        let is_archive = inner.is_called(&["jar", "war", "ear"]) && inner.depth < DEEPEST;
        if entry.packed == Packed::Other || !(is_manifest || is_page || is_archive) {
            continue;
        }
        let packed = part(file.bytes, entry.data);
        if is_page && !javadoc::is_page(&beginning(packed, entry)) {
            continue;
        }
        let plain = unpacked(file.bytes, packed, entry, room)?;
        room -= plain.len();
        let new = if is_manifest { manifest(&plain, done) } else { inside(&inner, plain, room, rules, done) };
        if let Some(new) = new {
            all.insert(index, pack(new, entry)?);
        }
    }
    Ok(all)
}

/// What a page or archive inside becomes. What is left there as it is does not keep the rest from being changed.
fn inside(inner: &File<'_>, plain: Vec<u8>, room: usize, rules: &Rules, done: &mut Done) -> Option<Vec<u8>> {
    let plain = Arc::new(plain);
    let file = File { depth: inner.depth, ..File::new(inner.name, &plain, room) };
    let (handler, outcome) = file.normalised(rules)?;
    match outcome {
        Outcome::Changed { bytes, done: more } if matches!(handler.name, "javadoc" | "zip") => {
            more.into_iter().for_each(|(what, count)| *done.entry(what).or_default() += count);
            Some(bytes)
        }
        _ => None,
    }
}

/// Takes out who built it and when (bnd's and Maven's attributes), with the lines that continue them.
fn manifest(plain: &[u8], done: &mut Done) -> Option<Vec<u8>> {
    let (mut out, mut skip) = (Vec::with_capacity(plain.len()), false);
    for line in plain.split_inclusive(|byte| *byte == b'\n') {
        let continues = skip && line.starts_with(b" ");
        skip = continues || [&b"Bnd-LastModified:"[..], b"Built-By:"].iter().any(|key| line.starts_with(key));
        if !skip {
            out.extend_from_slice(line);
        }
    }
    if out.len() == plain.len() {
        return None;
    }
    *done.entry("builder in the manifest").or_default() += 1;
    Some(out)
}

/// The first bytes of what an entry holds; none if they cannot be unpacked.
fn beginning(packed: &[u8], entry: &Listed) -> Vec<u8> {
    let mut start = Vec::new();
    let limit = wide(javadoc::LOOKED_AT);
    let read = match entry.packed {
        Packed::Stored => packed.take(limit).read_to_end(&mut start),
        _ => DeflateDecoder::new(packed).take(limit).read_to_end(&mut start),
    };
    if read.is_ok() { start } else { Vec::new() }
}

/// All that an entry holds.
fn unpacked(bytes: &[u8], packed: &[u8], entry: &Listed, room: usize) -> Result<Vec<u8>, Left> {
    if place(entry.plain) > room {
        return left(format!("the entry {} holds more than there is room for", shown(entry)));
    }
    // What it claims is no reason to make room for it.
    let mut plain = Vec::with_capacity(place(entry.plain).min(4 * packed.len()) + 1);
    let read = match entry.packed {
        Packed::Stored => packed.take(entry.plain + 1).read_to_end(&mut plain),
        _ => DeflateDecoder::new(packed).take(entry.plain + 1).read_to_end(&mut plain),
    };
    let sum = number(part(bytes, entry.central), 16, 4);
    if read.is_err() || wide(plain.len()) != entry.plain || u64::from(crc32(&plain)) != sum {
        return left(format!("the entry {} is damaged", shown(entry)));
    }
    Ok(plain)
}

/// The checksum of an entry.
fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = Crc::new();
    sum.update(bytes);
    sum.sum()
}

/// Packs as it was packed before.
fn pack(plain: Vec<u8>, entry: &Listed) -> Result<Content, Left> {
    let (len, sum) = (wide(plain.len()), crc32(&plain));
    let packed = match entry.packed {
        Packed::Stored => plain,
        _ => {
            let mut packed = Vec::new();
            DeflateEncoder::new(&plain[..], Compression::new(6)).read_to_end(&mut packed)?;
            packed
        }
    };
    Ok(Content { packed, plain: len, sum })
}
