//! Which byte of a file system is whose.

use std::collections::BTreeSet;

use zerocopy::FromBytes;

use super::index::clusters;
use super::layout::{
    ENTRY, RawCompact, RawDirEntry, RawExtended, RawMap, RawSuper, RawXattr, SUPERBLOCK, XATTR_HEADER, data,
    entries, feature,
};
use super::read::{Corruption, ErofsError, Inode, Run, Volume, corrupt, fill, take};
use crate::extent::{
    Container, Field, LONGEST_PATH, Owner, Parsed, Role, Source, Structure, Unreadable, dated, fields_of,
    prefixed, show, uuid,
};
use crate::io::{ReadError, wide};
use crate::raw::show_bytes;

const FORMAT: &str = "erofs";

static BOOT: Structure = Structure::plain("boot area");
static SUPER: Structure = Structure { name: "superblock", fields: superblock };
static CONFIGS: Structure = Structure::plain("settings of compression");
static DEVICES: Structure = Structure::plain("device table");
static PREFIXES: Structure = Structure::plain("prefixes of attributes");
static INODE: Structure = Structure { name: "inode", fields: inode };
static XATTRS: Structure = Structure { name: "extended attributes", fields: xattrs };
static SHARED: Structure = Structure { name: "shared extended attribute", fields: shared };
static DIRECTORY: Structure = Structure { name: "directory block", fields: directory };
static CHUNK_TABLE: Structure = Structure::plain("table of chunks");
static INDEX: Structure = Structure { name: "index of compressed data", fields: index };
static COMPRESSED: Structure = Structure::plain("compressed data");
static TARGET: Structure = Structure::plain("target");
static DATA: Structure = Structure::plain("data");
static SLACK: Structure = Structure::plain("slack of the last block");
static PADDING: Structure = Structure::plain("padding");
static BEHIND: Structure = Structure::plain("data behind the file system");

/// The structure of a file system.
///
/// # Errors
/// If the superblock cannot be believed. Everything else that is wrong is among [`Parsed::faults`].
pub fn extents(source: &Source) -> Result<Parsed, Unreadable> {
    let found = Container::new(FORMAT, source)?;
    let volume = Volume::open(source).map_err(|error| Unreadable::new(FORMAT, &error))?;
    let left = found.size().saturating_mul(2);
    let (inodes, shared) = (BTreeSet::new(), BTreeSet::new());
    let mut claims = Claims { source, volume: &volume, inodes, shared, left, found };
    claims.all();
    Ok(claims.found.finish())
}

struct Claims<'a> {
    source: &'a Source,
    volume: &'a Volume,
    found: Container,
    /// Inodes that were reached, and shared attributes.
    inodes: BTreeSet<u64>,
    shared: BTreeSet<u32>,
    /// Bytes of directories and tables that may still be read: an honest image has fewer than its size.
    left: u64,
}

/// An entry of a directory that is still to be looked at.
struct Waiting {
    inode: u64,
    path: Vec<u8>,
}

impl Claims<'_> {
    fn all(&mut self) {
        self.header();
        let root = u64::from(self.volume.raw.root.get());
        let mut waiting = vec![Waiting { inode: root, path: b"/".to_vec() }];
        if self.volume.raw.incompat.get() & feature::FRAGMENTS != 0 {
            let inode = self.volume.raw.packed_inode.get();
            waiting.push(Waiting { inode, path: b"<packed ends of files>".to_vec() });
        }
        self.inodes.extend(waiting.iter().map(|entry| entry.inode));
        while let Some(next) = waiting.pop() {
            if let Err(error) = self.inode(&next, &mut waiting) {
                self.found.note(&error);
            }
        }
        let end = self.volume.size;
        self.found.claim_own(0, SUPERBLOCK, &BOOT);
        self.found.claim_own(0, end, &PADDING);
        self.found.claim_own(end, self.found.size() - end, &BEHIND);
    }

    /// The superblock, and the tables it leads to.
    fn header(&mut self) {
        let raw = &self.volume.raw;
        let incompat = raw.incompat.get();
        let len = wide(size_of::<RawSuper>()) + u64::from(raw.extension_slots) * 16;
        self.found.claim_own(SUPERBLOCK, len, &SUPER);
        if incompat & feature::CONFIGS != 0 {
            let mut at = SUPERBLOCK + len;
            for _ in 0..raw.algorithms.get().count_ones() {
                at = self.sized(at, &CONFIGS, 1);
            }
        }
        if incompat & feature::DEVICES != 0 {
            let slots = u64::from(raw.extra_devices.get()) * 128;
            self.found.claim_own(u64::from(raw.device_slot.get()) * 128, slots, &DEVICES);
        }
        // With fragments they are in the packed inode.
        if incompat & feature::PREFIXES != 0 && incompat & feature::FRAGMENTS == 0 {
            let mut at = u64::from(raw.xattr_prefix_start.get()) * 4;
            for _ in 0..raw.xattr_prefixes {
                at = self.sized(at, &PREFIXES, 4);
            }
        }
    }

    /// Claims something that begins with its length in two bytes; where the next one is.
    fn sized(&mut self, at: u64, structure: &'static Structure, align: u64) -> u64 {
        let mut len = [0; 2];
        if self.source.read_exact_at(&mut len, at).is_err() {
            return at;
        }
        let len = 2 + u64::from(u16::from_le_bytes(len));
        self.found.claim_own(at, len, structure);
        (at + len).next_multiple_of(align)
    }

    /// Claims an inode and everything that belongs to it.
    fn inode(&mut self, entry: &Waiting, waiting: &mut Vec<Waiting>) -> Result<(), ErofsError> {
        let inode = Inode::read(self.source, self.volume, entry.inode)?;
        let owner = self.found.owner(&entry.path);
        self.found.claim(inode.at, inode.len, &INODE, owner);
        self.attributes(&inode, owner)?;
        let kind = inode.kind();
        if !matches!(kind, 0o040_000 | 0o100_000 | 0o120_000) {
            return Ok(());
        }
        match inode.layout() {
            data::PLAIN | data::INLINE if kind == 0o040_000 => self.directory(&inode, entry, owner, waiting),
            data::PLAIN | data::INLINE => self.flat(&inode, owner),
            data::CHUNKS if kind == 0o100_000 => self.chunks(&inode, owner),
            data::COMPRESSED_FULL | data::COMPRESSED_COMPACT if kind == 0o100_000 => {
                self.compressed(&inode, owner)
            }
            other => {
                let kind = Corruption::Field { field: "layout of the data", value: other.into() };
                Err(corrupt(inode.at, kind))
            }
        }
    }

    /// Claims the attributes behind an inode, and the shared ones that are named there.
    fn attributes(&mut self, inode: &Inode, owner: Owner) -> Result<(), ErofsError> {
        let at = inode.at + inode.len;
        self.found.claim(at, inode.xattrs, &XATTRS, owner);
        if inode.xattrs == 0 {
            return Ok(());
        }
        let mut bytes = vec![0; usize::try_from(inode.xattrs).expect("at most 256 KiB")];
        self.spend(at, inode.xattrs)?;
        fill(self.source, &mut bytes, at)?;
        for id in shared_ids(&bytes) {
            if !self.shared.insert(id) {
                continue;
            }
            let start = self.volume.shared(id);
            self.volume.inside(at, start, 4)?;
            let raw: RawXattr = take(self.source, start)?;
            self.found.claim_own(start, wide(xattr_len(&raw)), &SHARED);
        }
        Ok(())
    }

    /// Takes bytes that are read from those that an honest image has.
    fn spend(&mut self, at: u64, len: u64) -> Result<(), ErofsError> {
        self.left = self.left.checked_sub(len).ok_or(corrupt(at, Corruption::Flood))?;
        Ok(())
    }

    /// Claims the bytes of a file or of a link's target.
    fn flat(&mut self, inode: &Inode, owner: Owner) -> Result<(), ErofsError> {
        let runs = inode.flat(self.volume)?;
        let link = inode.kind() == 0o120_000;
        let file = (!link && inode.size > 0).then(|| self.found.file(owner));
        for (start, len) in runs {
            let Some(start) = start else { continue };
            match file {
                Some(file) => self.found.data(file, start, len, &DATA),
                None => self.found.claim(start, len, &TARGET, owner),
            }
        }
        self.slack(runs[0], owner);
        Ok(())
    }

    /// Claims what is left of the last of some blocks.
    fn slack(&mut self, (start, len): Run, owner: Owner) {
        let end = start.unwrap_or(0) + len;
        self.found.claim(end, end.next_multiple_of(self.volume.block) - end, &SLACK, owner);
    }

    fn chunks(&mut self, inode: &Inode, owner: Owner) -> Result<(), ErofsError> {
        let (start, width, count, chunk) = inode.chunk_table(self.volume)?;
        let len = count * width;
        self.spend(inode.at, len)?;
        self.found.claim(start, len, &CHUNK_TABLE, owner);
        let mut table = vec![0; usize::try_from(len).unwrap_or(0)];
        fill(self.source, &mut table, start)?;
        let runs = inode.chunks(self.volume, &table, width, chunk)?;
        if runs.is_empty() {
            return Ok(());
        }
        let file = self.found.file(owner);
        for (start, len) in runs {
            match start {
                Some(start) => {
                    self.found.data(file, start, len, &DATA);
                    self.slack((Some(start), len), owner);
                }
                None => self.found.hole(file, len),
            }
        }
        Ok(())
    }

    /// Claims the clusters of a compressed file as they are encoded.
    fn compressed(&mut self, inode: &Inode, owner: Owner) -> Result<(), ErofsError> {
        let found = clusters(self.source, self.volume, inode, &mut self.left)?;
        self.found.claim(found.index.0, found.index.1, &INDEX, owner);
        for (start, len) in found.runs.into_iter().chain([found.tail]) {
            self.found.claim(start, len, &COMPRESSED, owner);
        }
        Ok(())
    }

    fn directory(
        &mut self,
        inode: &Inode,
        entry: &Waiting,
        owner: Owner,
        waiting: &mut Vec<Waiting>,
    ) -> Result<(), ErofsError> {
        self.spend(inode.at, inode.size)?;
        let below = waiting.len();
        let runs = inode.flat(self.volume)?;
        for (start, len) in runs {
            let Some(start) = start else { continue };
            let mut done = 0;
            while done < len {
                let step = self.volume.block.min(len - done);
                let at = start + done;
                self.found.claim(at, step, &DIRECTORY, owner);
                let mut bytes = vec![0; usize::try_from(step).expect("at most 64 KiB")];
                fill(self.source, &mut bytes, at)?;
                self.entries(&bytes, at, entry, waiting)?;
                done += step;
            }
        }
        self.slack(runs[0], owner);
        // The first one is looked at first.
        waiting[below..].reverse();
        Ok(())
    }

    fn entries(
        &mut self,
        bytes: &[u8],
        at: u64,
        entry: &Waiting,
        waiting: &mut Vec<Waiting>,
    ) -> Result<(), ErofsError> {
        let slash: &[u8] = if entry.path == b"/" { b"" } else { b"/" };
        for (_, raw, name) in entries(bytes) {
            let name = &bytes[name];
            if matches!(name, b"." | b"..") || !self.inodes.insert(raw.inode.get()) {
                continue;
            }
            let path = [&entry.path, slash, name].concat();
            if path.len() > LONGEST_PATH {
                return Err(ReadError::Corrupt { at, kind: Corruption::Path(path.len()) });
            }
            waiting.push(Waiting { inode: raw.inode.get(), path });
        }
        Ok(())
    }
}

fn superblock(bytes: &[u8]) -> Vec<Field> {
    let mut all = fields_of!(
        bytes,
        0,
        RawSuper {
            magic,
            checksum Checksum,
            compat,
            block_bits,
            extension_slots,
            root Place,
            inodes Place,
            build_time,
            build_time_nsec,
            blocks Place,
            meta_block Place,
            xattr_block Place,
            uuid,
            label,
            incompat,
            algorithms,
            extra_devices,
            device_slot Place,
            directory_block_bits,
            xattr_prefixes,
            xattr_prefix_start Place,
            packed_inode Place,
            xattr_filter,
            reserved,
        }
    );
    for field in &mut all {
        match &*field.name {
            "build_time" => dated(field),
            "uuid" => field.value = bytes[48..].first_chunk().map_or_else(String::new, uuid),
            _ => {}
        }
    }
    all
}

fn inode(bytes: &[u8]) -> Vec<Field> {
    let extended = bytes.len() >= size_of::<RawExtended>();
    let mut all = match extended {
        true => fields_of!(
            bytes,
            0,
            RawExtended {
                format,
                xattr_count Place,
                mode,
                reserved,
                size Place,
                place Place,
                ino Place,
                uid,
                gid,
                mtime,
                mtime_nsec,
                nlink,
                reserved_2,
            }
        ),
        false => fields_of!(
            bytes,
            0,
            RawCompact {
                format,
                xattr_count Place,
                mode,
                nlink,
                size Place,
                reserved,
                place Place,
                ino Place,
                uid,
                gid,
                reserved_2,
            }
        ),
    };
    let mode = bytes.get(4..6).map_or(0, |mode| u16::from_le_bytes([mode[0], mode[1]]));
    for field in &mut all {
        match &*field.name {
            "mode" => field.value = format!("{mode:#o}"),
            "mtime" => dated(field),
            // The number of a device, and it says so of its own.
            "place" if matches!(mode & 0o170_000, 0o020_000 | 0o060_000) => {
                let number: u32 = field.value.parse().unwrap_or(0);
                // As Linux has it in stat: 12 bits of major number, within 20 of minor number.
                let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00);
                (field.name, field.role) = ("device".into(), Role::Value);
                field.value = format!("{major}:{minor} ({number:#x})");
            }
            _ => {}
        }
    }
    all
}

/// Numbers of the shared attributes that an inode names.
fn shared_ids(bytes: &[u8]) -> Vec<u32> {
    let count = bytes.get(4).copied().map_or(0, usize::from);
    let ids = bytes.get(XATTR_HEADER..).unwrap_or_default().chunks_exact(4).take(count);
    ids.map(|id| u32::from_le_bytes([id[0], id[1], id[2], id[3]])).collect()
}

/// Length of an attribute with the padding behind it.
fn xattr_len(raw: &RawXattr) -> usize {
    (size_of::<RawXattr>() + usize::from(raw.name_len) + usize::from(raw.value_len.get())).next_multiple_of(4)
}

/// What is in front of the name of an attribute (`EROFS_XATTR_INDEX_*`).
fn prefix(number: u8) -> String {
    match number {
        1 => "user.".to_owned(),
        2 => "system.posix_acl_access".to_owned(),
        3 => "system.posix_acl_default".to_owned(),
        4 => "trusted.".to_owned(),
        5 => "lustre.".to_owned(),
        6 => "security.".to_owned(),
        other => format!("prefix {other}: "),
    }
}

/// The attribute at `at`, as a field of its own.
fn xattr(bytes: &[u8], at: usize) -> Option<(Field, usize)> {
    let rest = bytes.get(at..)?;
    let (raw, tail) = RawXattr::read_from_prefix(rest).ok()?;
    let (name, value) = tail.split_at_checked(raw.name_len.into())?;
    let value = value.get(..usize::from(raw.value_len.get()))?;
    let len = xattr_len(&raw).min(rest.len());
    let name = format!("{}{}", prefix(raw.prefix), name.escape_ascii());
    let (at, next) = (wide(at), at + len);
    let value = show_bytes(value);
    Some((Field { at, len: wide(len), name: name.into(), value, role: Role::Value }, next))
}

fn xattrs(bytes: &[u8]) -> Vec<Field> {
    let mut all = vec![show(bytes, 0, 4, "name filter"), show(bytes, 4, 1, "shared attributes")];
    all.push(show(bytes, 5, 7, "reserved"));
    // What another structure overlaps is cut off.
    all.retain(|field| field.len > 0);
    let ids = shared_ids(bytes);
    let mut at = XATTR_HEADER;
    for (number, id) in ids.iter().enumerate() {
        let name = format!("shared attribute {}", number + 1).into();
        all.push(Field { at: wide(at), len: 4, name, value: id.to_string(), role: Role::Place });
        at += 4;
    }
    while let Some((field, next)) = xattr(bytes, at) {
        all.push(field);
        at = next;
    }
    all
}

fn shared(bytes: &[u8]) -> Vec<Field> {
    xattr(bytes, 0).map(|(field, _)| field).into_iter().collect()
}

fn index(bytes: &[u8]) -> Vec<Field> {
    fields_of!(bytes, 0, RawMap { end Place, advise, algorithms, cluster_bits })
}

fn directory(bytes: &[u8]) -> Vec<Field> {
    let mut all = Vec::new();
    for (at, _, name) in entries(bytes) {
        let text = show_bytes(&bytes[name.clone()]);
        let fields = fields_of!(
            &bytes[at..at + ENTRY],
            wide(at),
            RawDirEntry { inode Place, name_at Place, kind, reserved }
        );
        all.extend(fields.into_iter().map(|field| prefixed(field, &text)));
        let (at, len) = (wide(name.start), wide(name.len()));
        all.push(Field { at, len, name: format!("name {text}").into(), value: text, role: Role::Value });
    }
    all
}
