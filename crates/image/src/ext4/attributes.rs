//! Extended attributes by name, in a block of their own or behind an inode. Rules: `fs/ext4/xattr.h` of Linux.

use zerocopy::FromBytes;

use super::layout::{RawAttribute, RawAttributeBlock};
use crate::extent::{Field, Role, fields_of, show};
use crate::io::wide;
use crate::raw::show_bytes;

/// What a block of attributes, and what lies behind an inode, begins with.
const MAGIC: u32 = 0xea02_0000;

/// The fields of a block of attributes.
pub(super) fn in_block(bytes: &[u8]) -> Vec<Field> {
    let mut all = fields_of!(
        bytes,
        0,
        RawAttributeBlock { magic, references Place, blocks, hash Checksum, checksum Checksum, reserved }
    );
    if starts(bytes, 0) {
        // Places of values count from the start of the block.
        all.extend(attributes(bytes, size_of::<RawAttributeBlock>(), 0));
    }
    all
}

/// The fields of what lies behind the fixed part of an inode, which ends at byte `at`.
pub(super) fn in_inode(bytes: &[u8], at: usize) -> Vec<Field> {
    if !starts(bytes, at) {
        return vec![show(bytes, at, bytes.len().saturating_sub(at), "attributes in the inode")];
    }
    // Places of values count from the first entry.
    let first = at + 4;
    let mut all = vec![show(bytes, at, 4, "attributes in the inode")];
    all.extend(attributes(bytes, first, first));
    all
}

fn starts(bytes: &[u8], at: usize) -> bool {
    bytes.get(at..).is_some_and(|rest| rest.starts_with(&MAGIC.to_le_bytes()))
}

/// Entries from byte `at` on, each with its value, whose place counts from byte `base`.
fn attributes(bytes: &[u8], mut at: usize, base: usize) -> Vec<Field> {
    let mut all = Vec::new();
    // Values do not overlap in an honest block.
    let mut left = bytes.len();
    while let Some((raw, rest)) = bytes.get(at..).and_then(|rest| RawAttribute::read_from_prefix(rest).ok()) {
        let length = usize::from(raw.name_length);
        let is_end = bytes[at..].starts_with(&[0; 4]);
        let Some(name) = rest.get(..length).filter(|_| !is_end) else { break };
        let name = full_name(raw.index, name);
        let (offset, size, inode) = (raw.value_offset.get(), raw.value_size.get(), raw.value_inode.get());
        let place = format!("{size} bytes at {offset:#x} of inode {inode}, hash {:#010x}", raw.hash);
        all.push(Field {
            at: wide(at),
            len: wide(size_of::<RawAttribute>() + length),
            name: format!("{name}: place").into(),
            value: place,
            role: Role::Place,
        });
        let start = base + usize::from(offset);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let value = start.checked_add(size).and_then(|end| bytes.get(start..end));
        // A large one lies in an inode of its own.
        if let Some(value) = value.filter(|value| inode == 0 && value.len() <= left) {
            left -= value.len();
            let (at, len) = (wide(start), wide(size));
            all.push(Field { at, len, name: name.into(), value: show_bytes(value), role: Role::Value });
        }
        at = (at + size_of::<RawAttribute>() + length).next_multiple_of(4);
    }
    all
}

fn full_name(index: u8, name: &[u8]) -> String {
    let prefix = match index {
        0 => "",
        1 => "user.",
        2 => "system.posix_acl_access",
        3 => "system.posix_acl_default",
        4 => "trusted.",
        6 => "security.",
        7 => "system.",
        8 => "system.richacl",
        other => &format!("<prefix {other}>."),
    };
    let name = std::str::from_utf8(name).map_or_else(|_| show_bytes(name), str::to_owned);
    format!("{prefix}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8], index: u8, offset: u16, size: u32) -> Vec<u8> {
        let length = u8::try_from(name.len()).unwrap();
        let mut bytes = vec![length, index];
        bytes.extend(offset.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(size.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(name);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn told(fields: &[Field]) -> Vec<(&str, &str, u64)> {
        let values = fields.iter().filter(|field| field.role == Role::Value && field.name.contains('.'));
        values.map(|field| (&*field.name, &*field.value, field.at)).collect()
    }

    #[test]
    fn attributes_have_their_full_names() {
        let mut block = [&MAGIC.to_le_bytes()[..], &[0; 28]].concat();
        block.extend(entry(b"note", 1, 120, 3));
        block.extend(entry(b"capability", 6, 124, 2));
        block.resize(120, 0);
        block.extend(b"yes\0\x01\x02\0\0");
        let all = in_block(&block);
        assert_eq!(told(&all), [("user.note", "\"yes\"", 120), ("security.capability", "0102", 124)]);
        let mut inode = vec![0; 160];
        inode.extend(MAGIC.to_le_bytes());
        inode.extend(entry(b"x", 4, 24, 1));
        inode.resize(164 + 24, 0);
        inode.push(b'1');
        assert_eq!(told(&in_inode(&inode, 160)), [("trusted.x", "\"1\"", 188)]);
    }

    #[test]
    fn values_that_lie_on_each_other_are_told_as_often_as_they_would_fit() {
        let mut block = [&MAGIC.to_le_bytes()[..], &[0; 28]].concat();
        for _ in 0..100 {
            block.extend(entry(b"same", 1, 0, 1000));
        }
        block.resize(4096, 0);
        assert_eq!(told(&in_block(&block)).len(), 4);
        // Outside, and no end.
        let mut block = [&MAGIC.to_le_bytes()[..], &[0; 28]].concat();
        block.extend(entry(b"far", 1, u16::MAX, u32::MAX));
        block.extend([255; 20]);
        assert_eq!(told(&in_block(&block)), []);
    }
}
