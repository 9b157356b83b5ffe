//! Extended attributes.

use std::collections::BTreeMap;

use super::meta::Region;
use super::{Inner, narrow};
use crate::io::ReadAt;
use crate::squashfs::error::{Corruption, Error};
use crate::squashfs::layout::{
    MAX_XATTR, XATTR_ELSEWHERE, XATTR_PREFIXES, XattrHeader, XattrKey, XattrSet, XattrValue,
};

/// Attributes by full name.
pub(in crate::squashfs) type Xattrs = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// Most bytes of one set: no more can come out of `listxattr` and nothing needs them.
const MAX_SET: usize = 16 << 20;

impl<R: ReadAt> Inner<R> {
    /// Where names and values lie.
    pub(in crate::squashfs) fn xattr_region(&self, header: &XattrHeader) -> Region {
        Region { table: "xattr", start: header.start.get(), end: self.head.bytes_used.get() }
    }

    /// The entry of the table of sets for the set `index`, and the header of that table.
    pub(in crate::squashfs) fn xattr_set(&self, index: u32) -> Result<(XattrHeader, XattrSet), Error> {
        let at = self.head.xattr_table.get();
        let (table, index) = ("xattr", u64::from(index));
        let Some(header) = self.xattrs else {
            return Err(Error::Corrupt { at, kind: Corruption::Index { table, index, count: 0 } });
        };
        let list = at + super::wide(size_of::<XattrHeader>());
        let set = self.entry(table, list, index, u64::from(header.count.get()))?;
        Ok((header, set))
    }

    /// The attributes of the set `index`.
    pub(in crate::squashfs) fn xattrs(&self, index: u32) -> Result<Xattrs, Error> {
        let (header, set) = self.xattr_set(index)?;
        let region = self.xattr_region(&header);
        let mut cursor = self.cursor(region, set.reference.get());
        let mut all = BTreeMap::new();
        let mut total = 0;
        for _ in 0..set.count.get() {
            let (at, _) = cursor.position();
            let corrupt = |kind| Error::Corrupt { at, kind };
            let key: XattrKey = cursor.raw()?;
            let (kind, length) = (key.kind.get(), key.name_size.get());
            let prefix = XATTR_PREFIXES.get(usize::from(kind & !XATTR_ELSEWHERE));
            let prefix = prefix.filter(|prefix| length > 0 && prefix.len() + usize::from(length) <= 255);
            let prefix = prefix.ok_or_else(|| corrupt(Corruption::XattrName { kind, length }))?;
            let name = [prefix, &cursor.bytes(usize::from(length))?[..]].concat();
            // Linux lists names with a zero behind each.
            if name.contains(&0) {
                return Err(corrupt(Corruption::XattrName { kind, length }));
            }
            let value = if kind & XATTR_ELSEWHERE == 0 {
                value(&mut cursor)?
            } else {
                let size = cursor.raw::<XattrValue>()?.size.get();
                if size != 8 {
                    return Err(corrupt(Corruption::XattrValue { size }));
                }
                let mut reference = [0; 8];
                cursor.read(&mut reference)?;
                value(&mut self.cursor(region, u64::from_le_bytes(reference)))?
            };
            total += name.len() + value.len();
            if total > MAX_SET {
                return Err(Error::Unsupported { at, feature: "attribute sets of more than 16 MiB" });
            }
            if all.insert(name.clone().into_boxed_slice(), value).is_some() {
                return Err(corrupt(Corruption::XattrTwice { name }));
            }
        }
        Ok(all)
    }
}

fn value<R: ReadAt>(cursor: &mut super::meta::Cursor<'_, R>) -> Result<Box<[u8]>, Error> {
    let (at, _) = cursor.position();
    let size = cursor.raw::<XattrValue>()?.size.get();
    if narrow(size) > MAX_XATTR {
        return Err(Error::Corrupt { at, kind: Corruption::XattrValue { size } });
    }
    Ok(cursor.bytes(narrow(size))?.into())
}
