//! How much of a SquashFS image another one has: `shared_blocks OLD NEW [PERCENT]`.
//!
//! Prints how many blocks of NEW hold bytes of files that OLD has too, under the same path and with the same content, and
//! how many of these lie in OLD byte for byte: what the next build need not compress, and whoever has OLD need not load.
//! Fails if these are less than PERCENT of the former.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // An example reads files.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::error::Error;
use std::fs::File;
use std::num::NonZero;
use std::sync::Arc;

use selfsame_image::ReadAt as _;
use selfsame_image::digest::Digest;
use selfsame_image::extent::{Label, Parsed, Room, Source, parse};
use selfsame_image::squashfs::Image;
use selfsame_image::tree::{Content, Item, Kind};

struct Opened {
    source: Source,
    parsed: Parsed,
    contents: BTreeMap<Vec<u8>, Content>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (old, new, least) = match &arguments[..] {
        [old, new] => (old, new, 0),
        [old, new, least] => (old, new, least.parse::<u64>()?),
        _ => return Err("usage: shared_blocks OLD NEW [PERCENT]".into()),
    };
    let (old, new) = (open(old)?, open(new)?);
    let kept = blocks(&old, |_| true)?.into_values().map(|(digest, _)| digest).collect::<BTreeSet<_>>();
    let unchanged = blocks(&new, |path| {
        new.contents.contains_key(path) && old.contents.get(path) == new.contents.get(path)
    })?;
    let found = unchanged.values().filter(|(digest, _)| kept.contains(digest));
    let (count, bytes) = found.fold((0_u64, 0_u64), |(count, bytes), (_, len)| (count + 1, bytes + len));
    let all: u64 = unchanged.values().map(|(_, len)| len).sum();
    let files = |from: &Opened, to: &Opened| {
        from.contents.iter().filter(|(path, content)| to.contents.get(*path) == Some(content)).count()
    };
    println!("{} files, {} of them unchanged", new.contents.len(), files(&new, &old));
    println!(
        "{} blocks hold unchanged files, {count} of them are there: {} %",
        unchanged.len(),
        percent(count, unchanged.len() as u64)
    );
    println!("{all} bytes, {bytes} of them are there: {} %", percent(bytes, all));
    if unchanged.is_empty() || count * 100 < least * unchanged.len() as u64 {
        return Err(format!("fewer than {least} % of the blocks are shared").into());
    }
    Ok(())
}

fn percent(part: u64, whole: u64) -> String {
    let tenths = (part * 1000).checked_div(whole).unwrap_or_default();
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn open(path: &str) -> Result<Opened, Box<dyn Error>> {
    let source: Source = Arc::new(File::open(path)?);
    let room = Room::new(u64::MAX, 0);
    let parsed = parse(&source, &room)?.filter(|parsed| parsed.format == "squashfs").ok_or("no SquashFS")?;
    let (tree, _) = Image::open(Arc::clone(&source))?.to_content_tree(NonZero::<usize>::MIN)?;
    let mut contents = BTreeMap::new();
    tree.walk(|path, entry| {
        if let Item::Leaf(_, Kind::File(content)) = entry.item {
            contents.insert(path.to_vec(), *content);
        }
        Ok::<(), Box<dyn Error>>(())
    })?;
    Ok(Opened { source, parsed, contents })
}

/// Blocks of the files whose path `wanted` takes: where each lies, and the digest and length of its stored form.
fn blocks(
    image: &Opened,
    wanted: impl Fn(&[u8]) -> bool,
) -> Result<BTreeMap<u64, (Digest, u64)>, Box<dyn Error>> {
    let mut found = BTreeMap::new();
    for member in 0..image.parsed.members.count() {
        let Label::Path(path) = image.parsed.members.label(member) else { continue };
        if !wanted(path) {
            continue;
        }
        for piece in image.parsed.members.pieces(member)? {
            let Some((start, len)) = piece.place else { continue };
            if let Entry::Vacant(entry) = found.entry(start) {
                let mut bytes = vec![0; usize::try_from(len)?];
                image.source.read_exact_at(&mut bytes, start)?;
                entry.insert((Digest::of(&bytes), len));
            }
        }
    }
    Ok(found)
}
