//! Trees as this crate reads them.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;

use selfsame_image::extent::{self, Extent, Label, Parsed, Room, Source};
use selfsame_image::tree::{Item, Kind, Meta, Tree};
use selfsame_image::{Digest, cpio, fat, iso9660, squashfs, tar};

use super::disk::{Entry, Listing, join_names, letter};
use crate::support::join;

/// What a file holds: length, digest, and where its holes are.
type Held = (usize, Digest, Vec<(u64, u64)>);

fn held(bytes: &[u8]) -> Held {
    (bytes.len(), Digest::of(bytes), Vec::new())
}

/// The listing of a tree; `content` is asked with all names of a file.
fn listing<C>(tree: &Tree<C>, content: impl Fn(&[Vec<u8>], &C) -> Held) -> Listing {
    let (mut listing, mut inodes) = (Listing::new(), BTreeMap::new());
    let mut names: BTreeMap<_, Vec<Vec<u8>>> = BTreeMap::new();
    let walked = tree.walk(|path, entry| {
        if let Item::Leaf(id, _) = entry.item {
            names.entry(id).or_default().push(path.to_vec());
            inodes.insert(path.to_vec(), id);
        }
        listing.insert(path.to_vec(), of_meta(entry.meta));
        Ok::<(), std::convert::Infallible>(())
    });
    let Ok(()) = walked;
    for (id, names) in &names {
        let of = |kind| Entry { kind, ..Entry::default() };
        let found = match &tree.leaf(*id).kind {
            Kind::File(file) => {
                let (size, digest, holes) = content(names, file);
                Entry { content: Some((size, digest)), holes, ..of('-') }
            }
            Kind::Symlink(target) => Entry { target: target.to_vec(), ..of('l') },
            Kind::Block { major, minor } => Entry { device: (*major, *minor), ..of('b') },
            Kind::Char { major, minor } => Entry { device: (*major, *minor), ..of('c') },
            Kind::Fifo => of('p'),
            Kind::Socket => of('s'),
        };
        for name in names {
            let meta = of_meta(&tree.leaf(*id).meta);
            let Entry { mode, owner, mtime, xattrs, .. } = meta;
            listing.insert(name.clone(), Entry { mode, owner, mtime, xattrs, ..found.clone() });
        }
    }
    join_names(&mut listing, &inodes);
    listing
}

fn of_meta(meta: &Meta) -> Entry {
    let xattrs = meta.xattrs.iter().map(|(name, value)| (name.to_vec(), value.to_vec()));
    Entry {
        kind: 'd',
        mode: meta.mode.into(),
        owner: (meta.uid, meta.gid),
        mtime: (meta.mtime, 0),
        xattrs: xattrs.collect(),
        ..Entry::default()
    }
}

pub(super) fn squashfs(image: &[u8]) -> Listing {
    let found = squashfs::Image::open(image.to_vec()).unwrap();
    let (tree, _) = found.to_content_tree(NonZero::new(2).unwrap()).unwrap();
    let mut listing =
        listing(&tree, |_, content| (usize::try_from(content.size).unwrap(), content.digest, Vec::new()));
    // The other reader cuts the image into extents and has members.
    let mut members = members(&parsed(image));
    for (path, entry) in &mut listing {
        if let Some((size, digest, _)) = members.remove(path) {
            assert_eq!(entry.content, Some((size, digest)), "{}", path.escape_ascii());
        }
    }
    assert!(members.is_empty(), "{:?}", members.keys());
    listing
}

pub(super) fn fat(image: &[u8]) -> Listing {
    let tree = fat::read_tree(image, &fat::open(image).unwrap()).unwrap();
    listing(&tree, |_, chain| held(&join(image, &chain.extents)))
}

pub(super) fn iso(image: &[u8]) -> Listing {
    let volume = iso9660::open(image).unwrap();
    let tree = iso9660::read_tree(image, &volume, iso9660::Names::RockRidge).unwrap();
    listing(&tree, |_, extents| held(&join(image, extents)))
}

pub(super) fn cpio(image: &[u8]) -> Listing {
    let found = cpio::read(&image, 0).unwrap();
    listing(&found.tree, |_, extent| {
        let (at, size) = (usize::try_from(extent.at).unwrap(), usize::try_from(extent.size).unwrap());
        held(&image[at..at + size])
    })
}

pub(super) fn tar(image: &[u8]) -> Listing {
    let mut reader = tar::Reader::new(image, tar::Dialect::Stored);
    let tree = tar::collect(&mut reader, Meta::root(0, 0), |_, _| Ok(())).unwrap();
    let parsed = parsed(image);
    let members = members(&parsed);
    let mut listing = listing(&tree, |names, ()| {
        let found = names.iter().find_map(|name| members.get(name));
        found.cloned().unwrap_or_else(|| held(b""))
    });
    // Parts of seconds are in the records, which only the extents have.
    let mut parts: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for (path, extent, fields) in told(&parsed, image) {
        if extent.structure.name == "extension header"
            && let Some(time) = fields.get("mtime")
        {
            parts.insert(path, nanoseconds(&unquoted(time)));
        }
    }
    let names: Vec<_> = listing.iter().map(|(path, entry)| (path.clone(), entry.first.clone())).collect();
    for (path, part) in parts {
        let path = if path == b"." { Vec::new() } else { path };
        let first = &listing[&path].first.clone();
        for (name, _) in names.iter().filter(|(_, other)| other == first) {
            listing.get_mut(name).unwrap().mtime.1 = part;
        }
    }
    listing
}

/// The part of a time that is less than a second: `-1.25` is three quarters after minus two.
fn nanoseconds(time: &[u8]) -> u32 {
    let text = std::str::from_utf8(time).unwrap();
    let Some((_, fraction)) = text.split_once('.') else { return 0 };
    let part: u32 = format!("{fraction:0<9}").parse().unwrap();
    if text.starts_with('-') && part > 0 { 1_000_000_000 - part } else { part }
}

fn parsed(image: &[u8]) -> Parsed {
    let source: Source = Arc::new(image.to_vec());
    let parsed = extent::parse(&source, &Room::new(1 << 30, 1 << 24)).unwrap().unwrap();
    assert_eq!(parsed.faults, []);
    parsed
}

/// What the files inside hold, by path.
fn members(parsed: &Parsed) -> BTreeMap<Vec<u8>, Held> {
    let mut all = BTreeMap::new();
    for member in 0..parsed.members.count() {
        let Label::Path(path) = parsed.members.label(member) else { continue };
        let source = parsed.members.open(member).unwrap().source;
        let mut bytes = vec![0; usize::try_from(source.size().unwrap()).unwrap()];
        source.read_exact_at(&mut bytes, 0).unwrap();
        let (size, digest, _) = held(&bytes);
        let path = path.strip_prefix(b"/").unwrap_or(path).to_vec();
        all.insert(path, (size, digest, holes(&source)));
    }
    all
}

fn holes(source: &Source) -> Vec<(u64, u64)> {
    let (size, mut at) = (source.size().unwrap(), 0);
    let mut all: Vec<(u64, u64)> = Vec::new();
    while at < size {
        let end = source.zeros_until(at).min(size);
        match all.last_mut() {
            Some(last) if end > at && last.1 == at => last.1 = end,
            _ if end > at => all.push((at, end)),
            _ => {}
        }
        at = if end > at { end } else { (at / 512 + 1) * 512 };
    }
    all
}

type Fields = BTreeMap<String, String>;

/// Each extent with its path and fields.
fn told<'a>(parsed: &'a Parsed, image: &'a [u8]) -> impl Iterator<Item = (Vec<u8>, Extent, Fields)> + 'a {
    parsed.map.extents().iter().map(move |extent| {
        let range = usize::try_from(extent.start).unwrap()..usize::try_from(extent.end()).unwrap();
        let fields = (extent.structure.fields)(&image[range]);
        let fields = fields.into_iter().map(|field| (field.name.into_owned(), field.value)).collect();
        (parsed.map.path(extent.owner).to_vec(), *extent, fields)
    })
}

/// The bytes that are shown: as text in quotes, as so many zeros, or as digits.
fn unquoted(shown: &str) -> Vec<u8> {
    if let Some(text) = shown.strip_prefix('"') {
        return text.strip_suffix('"').unwrap().as_bytes().to_vec();
    }
    if let Some(count) = shown.strip_prefix("0 x ") {
        return vec![0; count.parse().unwrap()];
    }
    let digits = shown.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// The tree of an ext file system, from the fields that are told of its structures.
pub(super) fn ext4(image: &[u8]) -> Listing {
    let parsed = parsed(image);
    let members = members(&parsed);
    let (mut inodes, mut blocks, mut targets) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    // Numbers of inodes by name; that of the root is 2.
    let mut names = BTreeMap::from([(Vec::new(), 2_u32)]);
    let block_size = 1024_u64 << u32::from_le_bytes(*image[1024 + 24..].first_chunk().unwrap());
    for (owner, extent, fields) in told(&parsed, image) {
        let path = owner.strip_prefix(b"/").unwrap_or(&owner).to_vec();
        match extent.structure.name {
            "inode" => drop(inodes.insert(path, fields)),
            "extended attributes" => drop(blocks.insert(extent.start / block_size, fields)),
            "target" => {
                let at = usize::try_from(extent.start).unwrap();
                targets.insert(path, image[at..at + usize::try_from(extent.len).unwrap()].to_vec());
            }
            "directory block" => {
                for (name, value) in fields {
                    let inode: u32 = value["inode ".len()..].split(',').next().unwrap().parse().unwrap();
                    let name = unquoted(&name);
                    if inode != 0 && !matches!(&name[..], b"" | b"." | b"..") {
                        let slash = if path.is_empty() { &b""[..] } else { b"/" };
                        names.insert([&path, slash, &name].concat(), inode);
                    }
                }
            }
            _ => {}
        }
    }
    // What is known of an inode is told with the first of its names that was met.
    let mut known: BTreeMap<u32, Entry> = BTreeMap::new();
    for (path, inode) in &names {
        if let Some(fields) = inodes.get(path) {
            let mut entry = of_inode(fields, &blocks);
            if entry.kind == '-' {
                let (size, digest, holes) = members.get(path).cloned().unwrap_or_else(|| held(b""));
                assert_eq!(fields["size"], size.to_string());
                (entry.content, entry.holes) = (Some((size, digest)), holes);
            } else if entry.kind == 'l' {
                let size = fields["size"].parse().unwrap();
                let long = targets.get(path).map(|bytes| bytes[..size].to_vec());
                entry.target = long.unwrap_or_else(|| unquoted(&fields["block"]));
            }
            known.insert(*inode, entry);
        }
    }
    let mut listing: Listing =
        names.iter().map(|(path, inode)| (path.clone(), known[inode].clone())).collect();
    join_names(&mut listing, &names);
    listing
}

fn of_inode(fields: &Fields, blocks: &BTreeMap<u64, Fields>) -> Entry {
    let number = |name: &str| -> u32 { fields[name].parse().unwrap() };
    let mode = u32::from_str_radix(fields["mode"].strip_prefix("0o").unwrap(), 8).unwrap();
    let seconds = fields["mtime"].rsplit('(').next().unwrap().trim_end_matches(')');
    let nanoseconds = fields.get("mtime_extra").map(|text| text.split(' ').next().unwrap().parse().unwrap());
    let kind = letter(mode);
    let device = match fields["block"].split_once(':') {
        Some((major, minor)) if matches!(kind, 'b' | 'c') => (major.parse().unwrap(), minor.parse().unwrap()),
        _ => (0, 0),
    };
    let block = u64::from(number("xattr_block")) | u64::from(number("xattr_block_high")) << 32;
    let attributes = fields.iter().chain(blocks.get(&block).into_iter().flatten());
    let attributes = attributes.filter(|(name, _)| {
        let known = ["user.", "trusted.", "security."].iter().any(|prefix| name.starts_with(prefix));
        known && !name.ends_with(": place")
    });
    Entry {
        kind,
        mode: mode & 0o7777,
        owner: (number("uid") | number("uid_high") << 16, number("gid") | number("gid_high") << 16),
        mtime: (seconds.parse().unwrap(), nanoseconds.unwrap_or(0)),
        xattrs: attributes.map(|(name, value)| (name.clone().into_bytes(), unquoted(value))).collect(),
        device,
        ..Entry::default()
    }
}
