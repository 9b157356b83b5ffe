//! Extended attributes: sets of names and values, each set stored once.

use std::collections::BTreeMap;

use zerocopy::IntoBytes;

use super::meta::{Meta, MetaWriter, Place};
use super::plan::Plan;
use crate::codec::Codec;
use crate::squashfs::error::WriteError;
use crate::squashfs::layout::{XATTR_ELSEWHERE, XATTR_PREFIXES, XattrKey, XattrSet, XattrValue, wide};
use crate::squashfs::read::Xattrs;

/// A value longer than this that was written before is referred to: a reference takes 8 bytes, and a metadata block
/// that would otherwise not be read.
const REPEATED: usize = 64;

/// Both tables of attributes.
#[derive(Debug)]
pub(super) struct XattrTables {
    /// Names and values.
    pub(super) pairs: Meta,
    /// One [`XattrSet`] for each set.
    pub(super) sets: Meta,
    pub(super) count: u32,
}

/// Writes all sets in the order of their numbers; `None` if there are none.
pub(super) fn write(plan: &Plan<'_>, codec: Codec) -> Result<Option<XattrTables>, WriteError> {
    if plan.xattrs.is_empty() {
        return Ok(None);
    }
    let mut pairs = MetaWriter::new(codec);
    let mut sets = MetaWriter::new(codec);
    let mut places = BTreeMap::new();
    for set in plan.xattrs.keys() {
        sets.put(put_set(&mut pairs, set, &mut places)?.as_bytes())?;
    }
    let count = u32::try_from(plan.xattrs.len()).expect("there are below 2^32 inodes");
    Ok(Some(XattrTables { pairs: pairs.finish()?, sets: sets.finish()?, count }))
}

fn put_set<'a>(
    pairs: &mut MetaWriter,
    set: &'a Xattrs,
    places: &mut BTreeMap<&'a [u8], Place>,
) -> Result<XattrSet, WriteError> {
    let reference = pairs.place().reference();
    let mut size = 0;
    for (full, value) in set {
        let (prefix, name) = (0u16..)
            .zip(XATTR_PREFIXES)
            .find_map(|(number, prefix)| Some((number, full.strip_prefix(prefix)?)))
            .expect("the plan has checked the prefixes");
        let elsewhere = places.get(&value[..]).filter(|_| value.len() > REPEATED);
        let key = XattrKey {
            kind: (prefix | if elsewhere.is_some() { XATTR_ELSEWHERE } else { 0 }).into(),
            name_size: u16::try_from(name.len()).expect("names have at most 255 bytes").into(),
        };
        pairs.put(key.as_bytes())?;
        pairs.put(name)?;
        if let Some(place) = elsewhere {
            let value = XattrValue { size: 8.into() };
            pairs.put(value.as_bytes())?;
            pairs.put(&place.reference().to_le_bytes())?;
        } else {
            places.insert(value, pairs.place());
            let size = u32::try_from(value.len()).expect("values have at most 64 KiB");
            pairs.put(XattrValue { size: size.into() }.as_bytes())?;
            pairs.put(value)?;
        }
        // As mksquashfs counts: the full name with a NUL, and the value. Linux does not look at it.
        size += wide(full.len() + 1 + value.len());
    }
    let count = u32::try_from(set.len()).unwrap_or(u32::MAX);
    let limit = u64::from(u32::MAX);
    let size =
        u32::try_from(size).map_err(|_| WriteError::TooLarge { table: "xattr set", need: size, limit })?;
    Ok(XattrSet { reference: reference.into(), count: count.into(), size: size.into() })
}
