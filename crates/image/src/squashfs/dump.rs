//! Every field of an image as text, for people and for tests.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::error::Error;
use super::layout::{
    BasicDir, BasicFile, DATA_RAW, Device, DirEntry, DirHeader, DirIndex, ExtendedDir, ExtendedFile,
    Fragment, GzipOptions, Id, InodeHead, Lz4Options, LzoOptions, NONE, OnDisk, Pipe, Position, SuperBlock,
    Symlink, XATTR_ELSEWHERE, XattrHeader, XattrKey, XattrNumber, XattrSet, XattrValue, XzOptions,
    ZstdOptions, codec, flag, kind, narrow, wide,
};
use super::read::{Body, Cursor, Image, Inner, Region};
use super::scan::scan;
use crate::io::ReadAt;

/// Describes the image in `source`: each structure with its address and each field with its offset.
///
/// An address is the offset in the image. For metadata it is the offset of the stored block, a plus and the offset in
/// the plain block. The text grows with the number of inodes; it is meant for small images.
///
/// # Errors
/// The first rule of the format that is broken.
pub fn dump<R: ReadAt>(source: R) -> Result<String, Error> {
    let image = Image::open(source)?;
    let mut dumper = Dumper { inner: &image.inner, out: String::new() };
    dumper.all()?;
    Ok(dumper.out)
}

struct Dumper<'a, R> {
    inner: &'a Inner<R>,
    out: String,
}

/// Bytes in the notation of Rust's strings.
struct Text<'a>(&'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl<R: ReadAt> Dumper<'_, R> {
    fn line(&mut self, text: fmt::Arguments<'_>) {
        self.out.write_fmt(text).expect("a string takes everything");
        self.out.push('\n');
    }

    fn fields<T: OnDisk>(&mut self, address: &str, raw: &T) {
        let fields = raw.fields().into_iter();
        let fields: Vec<_> = fields.map(|(at, name, value)| format!("+{at:02x} {name}: {value}")).collect();
        self.line(format_args!("{address} {} {{ {} }}", T::NAME, fields.join(", ")));
    }

    /// Reads a structure from metadata and describes it.
    fn take<T: OnDisk>(&mut self, cursor: &mut Cursor<'_, R>) -> Result<T, Error> {
        let address = address(cursor);
        let raw = cursor.raw()?;
        self.fields(&address, &raw);
        Ok(raw)
    }

    fn text(&mut self, cursor: &mut Cursor<'_, R>, length: usize) -> Result<(), Error> {
        let address = address(cursor);
        let bytes = cursor.bytes(length)?;
        self.line(format_args!("{address} {}", Text(&bytes)));
        Ok(())
    }

    fn all(&mut self) -> Result<(), Error> {
        let inner = self.inner;
        self.fields("00000000", &inner.head);
        let set = flag::NAMES.iter().filter(|(bit, _)| inner.head.flags.get() & bit != 0);
        let names: Vec<_> = set.map(|(_, name)| *name).collect();
        self.line(format_args!("flags: {}", names.join(", ")));
        self.codec_options()?;
        let (mut inodes, mut dirs) = (BTreeMap::new(), BTreeMap::new());
        scan(
            inner,
            |found| {
                inodes.entry(found.reference).or_insert_with(Vec::new).push(found.path.to_vec());
                if let Body::Dir(body) = &found.inode.body {
                    dirs.entry(body.listing).or_insert_with(Vec::new).push((found.path.to_vec(), body.size));
                }
                Ok(())
            },
            Err,
        )?;
        let (inode_table, directory_table) = (inner.inode_region(), inner.directory_region());
        self.blocks(inode_table, inodes.keys().max().copied())?;
        for (reference, paths) in inodes {
            self.inode(reference, &paths)?;
        }
        self.blocks(directory_table, dirs.iter().filter(|(_, dirs)| dirs[0].1 > 0).map(|(at, _)| *at).max())?;
        for (reference, dirs) in dirs {
            for (path, size) in dirs {
                self.listing(reference, &path, size)?;
            }
        }
        self.tables()
    }

    fn codec_options(&mut self) -> Result<(), Error> {
        let head = &self.inner.head;
        if head.flags.get() & flag::CODEC_OPTIONS == 0 {
            return Ok(());
        }
        let start = wide(size_of::<SuperBlock>());
        let region = Region { table: "codec options", start, end: head.bytes_used.get() };
        self.blocks(region, Some(0))?;
        let mut cursor = self.inner.cursor(region, 0);
        match head.codec.get() {
            codec::GZIP => self.take::<GzipOptions>(&mut cursor).map(drop),
            codec::XZ => self.take::<XzOptions>(&mut cursor).map(drop),
            codec::LZ4 => self.take::<Lz4Options>(&mut cursor).map(drop),
            codec::LZO => self.take::<LzoOptions>(&mut cursor).map(drop),
            _ => self.take::<ZstdOptions>(&mut cursor).map(drop),
        }
    }

    /// The metadata blocks of a region up to the one that holds `last`, its greatest known reference.
    fn blocks(&mut self, region: Region, last: Option<u64>) -> Result<(), Error> {
        let Some(last) = last else { return Ok(()) };
        self.line(format_args!("{} metadata", region.table));
        let (mut at, last) = (region.start, region.start.saturating_add(last >> 16));
        while at <= last {
            let block = self.inner.meta_block(at, region)?;
            let (plain, stored) = (block.plain.len(), block.next - at - 2);
            let raw = if block.raw { ", as it is" } else { "" };
            self.line(format_args!("{at:08x} block of {plain} bytes in {stored}{raw}"));
            at = block.next;
        }
        Ok(())
    }

    fn inode(&mut self, reference: u64, paths: &[Vec<u8>]) -> Result<(), Error> {
        let inner = self.inner;
        let names: Vec<_> = paths.iter().map(|path| Text(path).to_string()).collect();
        self.line(format_args!("inode {reference:#x} {}", names.join(" ")));
        let mut cursor = inner.cursor(inner.inode_region(), reference);
        let head: InodeHead = self.take(&mut cursor)?;
        let extended = head.kind.get() > kind::EXTENDED;
        match head.kind.get() - if extended { kind::EXTENDED } else { 0 } {
            kind::DIR if extended => {
                let raw: ExtendedDir = self.take(&mut cursor)?;
                for _ in 0..raw.index_count.get() {
                    let index: DirIndex = self.take(&mut cursor)?;
                    self.text(&mut cursor, narrow(index.name_size.get()).min(255) + 1)?;
                }
                return Ok(());
            }
            kind::DIR => return self.take::<BasicDir>(&mut cursor).map(drop),
            kind::FILE => {
                if extended {
                    self.take::<ExtendedFile>(&mut cursor)?;
                } else {
                    self.take::<BasicFile>(&mut cursor)?;
                }
                return self.words(&mut cursor, reference);
            }
            kind::SYMLINK => {
                let raw: Symlink = self.take(&mut cursor)?;
                self.text(&mut cursor, narrow(raw.size.get()).min(4095))?;
            }
            kind::BLOCK | kind::CHAR => drop(self.take::<Device>(&mut cursor)?),
            _ => drop(self.take::<Pipe>(&mut cursor)?),
        }
        if extended { self.take::<XattrNumber>(&mut cursor).map(drop) } else { Ok(()) }
    }

    fn words(&mut self, cursor: &mut Cursor<'_, R>, reference: u64) -> Result<(), Error> {
        let address = address(cursor);
        let Body::Leaf(crate::tree::Kind::File(file)) = self.inner.inode(reference)?.body else {
            return Ok(());
        };
        for (index, word) in self.inner.words(&file)?.into_iter().enumerate() {
            let raw = if word & DATA_RAW == 0 { "" } else { ", as they are" };
            self.line(format_args!(
                "{address}+{:x} block {index}: {} bytes{raw}",
                index * 4,
                word & !DATA_RAW
            ));
        }
        Ok(())
    }

    fn listing(&mut self, reference: u64, path: &[u8], size: u32) -> Result<(), Error> {
        let inner = self.inner;
        self.line(format_args!("directory {reference:#x} {} of {size} bytes", Text(path)));
        let mut cursor = inner.cursor(inner.directory_region(), reference);
        let mut left = narrow(size);
        while left > 0 {
            let header: DirHeader = self.take(&mut cursor)?;
            left = left.saturating_sub(size_of::<DirHeader>());
            for _ in 0..=header.count.get() {
                let entry: DirEntry = self.take(&mut cursor)?;
                let length = usize::from(entry.name_size.get()) + 1;
                self.text(&mut cursor, length)?;
                left = left.saturating_sub(size_of::<DirEntry>() + length);
            }
        }
        Ok(())
    }

    fn tables(&mut self) -> Result<(), Error> {
        let head = self.inner.head;
        let fragments = u64::from(head.fragment_count.get());
        self.table::<Fragment>("fragment", head.fragment_table.get(), fragments)?;
        if head.flags.get() & flag::EXPORTABLE != 0 {
            let inodes = u64::from(head.inode_count.get());
            self.table::<Position>("export", head.export_table.get(), inodes)?;
        }
        self.table::<Id>("id", head.id_table.get(), u64::from(head.id_count.get()))?;
        let Some(header) = self.inner.xattrs else {
            return Ok(());
        };
        let count = header.count.get();
        for index in (0..count).take_while(|index| *index != NONE) {
            let (_, set) = self.inner.xattr_set(index)?;
            self.xattrs(index, &header, &set)?;
        }
        let at = head.xattr_table.get();
        self.table::<XattrSet>("xattr", at.saturating_add(wide(size_of::<XattrHeader>())), u64::from(count))?;
        self.fields(&format!("{at:08x}"), &header);
        Ok(())
    }

    fn table<T: OnDisk>(&mut self, name: &'static str, list: u64, count: u64) -> Result<(), Error> {
        self.line(format_args!("{name} table, positions of its blocks at {list:08x}"));
        for index in 0..count {
            let entry: T = self.inner.entry(name, list, index, count)?;
            self.fields(&index.to_string(), &entry);
        }
        Ok(())
    }

    fn xattrs(&mut self, index: u32, header: &XattrHeader, set: &XattrSet) -> Result<(), Error> {
        self.line(format_args!("xattr set {index}"));
        let mut cursor = self.inner.cursor(self.inner.xattr_region(header), set.reference.get());
        for _ in 0..set.count.get() {
            let key: XattrKey = self.take(&mut cursor)?;
            self.text(&mut cursor, usize::from(key.name_size.get()))?;
            let value: XattrValue = self.take(&mut cursor)?;
            if key.kind.get() & XATTR_ELSEWHERE == 0 {
                self.text(&mut cursor, narrow(value.size.get()).min(super::layout::MAX_XATTR))?;
            } else {
                self.take::<Position>(&mut cursor)?;
            }
        }
        Ok(())
    }
}

fn address<R: ReadAt>(cursor: &Cursor<'_, R>) -> String {
    let (at, offset) = cursor.position();
    format!("{at:08x}+{offset:04x}")
}
