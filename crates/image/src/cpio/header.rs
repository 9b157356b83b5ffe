//! The header of an entry: hexadecimal text.

use super::Corruption;

/// The fields of a header, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) ino: u32,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) nlink: u32,
    pub(super) mtime: u32,
    pub(super) filesize: u32,
    pub(super) devmajor: u32,
    pub(super) devminor: u32,
    pub(super) rdevmajor: u32,
    pub(super) rdevminor: u32,
    /// Length of the name with its NUL.
    pub(super) namesize: u32,
    pub(super) check: u32,
}

pub(super) const FIELDS: [&str; 13] = [
    "ino",
    "mode",
    "uid",
    "gid",
    "nlink",
    "mtime",
    "filesize",
    "devmajor",
    "devminor",
    "rdevmajor",
    "rdevminor",
    "namesize",
    "check",
];

impl Header {
    pub(super) fn parse(bytes: &[u8; 110]) -> Result<Self, Corruption> {
        let (magic, fields) = bytes.split_at(6);
        if magic != b"070701" {
            return Err(Corruption::Magic(std::array::from_fn(|index| magic[index])));
        }
        let (fields, _) = fields.as_chunks::<8>();
        let mut numbers = [0; 13];
        for ((number, value), field) in numbers.iter_mut().zip(fields).zip(FIELDS) {
            *number = hex(value).ok_or(Corruption::Number { field, value: *value })?;
        }
        let [ino, mode, uid, gid, nlink, mtime, filesize, rest @ ..] = numbers;
        let [devmajor, devminor, rdevmajor, rdevminor, namesize, check] = rest;
        let header = Self {
            ino,
            mode,
            uid,
            gid,
            nlink,
            mtime,
            filesize,
            devmajor,
            devminor,
            rdevmajor,
            rdevminor,
            namesize,
            check,
        };
        Ok(header)
    }

    /// All fields with their names, none left out.
    pub(super) fn fields(&self) -> [(&'static str, u32); 13] {
        let Self {
            ino,
            mode,
            uid,
            gid,
            nlink,
            mtime,
            filesize,
            devmajor,
            devminor,
            rdevmajor,
            rdevminor,
            namesize,
            check,
        } = *self;
        let numbers = [
            ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize,
            check,
        ];
        std::array::from_fn(|index| (FIELDS[index], numbers[index]))
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut out = b"070701".to_vec();
        for (_, number) in self.fields() {
            out.extend_from_slice(format!("{number:08X}").as_bytes());
        }
        out
    }
}

fn hex(digits: &[u8; 8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}
