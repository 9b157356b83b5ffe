//! Directory listings.

use super::Inner;
use super::inode::DirBody;
use super::meta::{Cursor, Region};
use crate::io::ReadAt;
use crate::squashfs::error::{Corruption, Error};
use crate::squashfs::layout::{DIR_RUN, DirEntry, DirHeader, narrow, wide};
use crate::tree::Name;

/// One entry of a directory.
#[derive(Debug)]
pub(in crate::squashfs) struct Listed {
    /// Offset in the image of the metadata block in which the entry begins, and its place in the plain block.
    pub(in crate::squashfs) position: (u64, usize),
    pub(in crate::squashfs) name: Name,
    /// Reference into the inode table.
    pub(in crate::squashfs) inode: u64,
    pub(in crate::squashfs) number: u32,
    /// Basic type.
    pub(in crate::squashfs) kind: u16,
    /// Reference of the header before the entry, and bytes of the listing before that header.
    pub(in crate::squashfs) header: (u64, u32),
    /// Whether it is the first behind its header.
    pub(in crate::squashfs) first: bool,
}

/// Reads a listing entry by entry.
#[derive(Debug)]
pub(in crate::squashfs) struct Listing<'a, R> {
    cursor: Cursor<'a, R>,
    size: u32,
    /// Bytes that are left.
    left: usize,
    /// Entries that are left behind the header, the header and where it is.
    run: usize,
    head: Option<DirHeader>,
    header: (u64, u32),
}

impl<R: ReadAt> Inner<R> {
    pub(in crate::squashfs) fn directory_region(&self) -> Region {
        let (start, end) = (self.head.directory_table.get(), self.head.bytes_used.get());
        Region { table: "directory", start, end }
    }

    /// The entries of a directory.
    pub(in crate::squashfs) fn listing(&self, dir: &DirBody) -> Listing<'_, R> {
        let cursor = self.cursor(self.directory_region(), dir.listing);
        Listing { cursor, size: dir.size, left: narrow(dir.size), run: 0, head: None, header: (0, 0) }
    }
}

impl<R: ReadAt> Listing<'_, R> {
    fn corrupt(&self, kind: Corruption) -> Error {
        Error::Corrupt { at: self.cursor.position().0, kind }
    }

    fn take(&mut self, length: usize) -> Result<(), Error> {
        let cut = || self.corrupt(Corruption::Listing { size: u64::from(self.size) });
        self.left = self.left.checked_sub(length).ok_or_else(cut)?;
        Ok(())
    }

    /// The next entry; `None` at the end. After an error there is nothing more to be had.
    pub(in crate::squashfs) fn next(&mut self) -> Result<Option<Listed>, Error> {
        let first = self.run == 0;
        if first {
            if self.left == 0 {
                return Ok(None);
            }
            let before = narrow(self.size) - self.left;
            self.header = (self.cursor.reference(), u32::try_from(before).expect("part of a u32"));
            self.take(size_of::<DirHeader>())?;
            let head: DirHeader = self.cursor.raw()?;
            let count = u64::from(head.count.get()) + 1;
            if count > wide(DIR_RUN) {
                return Err(self.corrupt(Corruption::RunLength { count }));
            }
            self.run = narrow(head.count.get()) + 1;
            self.head = Some(head);
        }
        let Some(head) = self.head else { return Ok(None) };
        self.run -= 1;
        let position = self.cursor.position();
        self.take(size_of::<DirEntry>())?;
        let raw: DirEntry = self.cursor.raw()?;
        let length = usize::from(raw.name_size.get()) + 1;
        self.take(length)?;
        let name = self.cursor.bytes(length)?;
        let name = Name::new(&name).map_err(|_| self.corrupt(Corruption::Name { name }))?;
        Ok(Some(Listed {
            position,
            name,
            inode: u64::from(head.block.get()) << 16 | u64::from(raw.offset.get()),
            number: head.number.get().wrapping_add_signed(i32::from(raw.number.get())),
            kind: raw.kind.get(),
            header: self.header,
            first,
        }))
    }
}
