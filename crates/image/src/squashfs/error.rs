//! What can be wrong with an image, and why one could not be written.

use std::fmt;
use std::io;

use crate::Digest;
use crate::codec::NotACodec;
use crate::io::ReadError;

/// Why a SquashFS image could not be read.
pub type Error = ReadError<Corruption>;

/// The rule of the format that is broken, with the values that break it.
///
/// The offset that comes with it is that of the structure in the image. Inodes, directories and attributes lie in
/// compressed metadata blocks; for them it is the offset of the block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// The first four bytes are not `hsqs`.
    #[error("magic is {found:02x?}")]
    Magic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// The image ends before it should.
    #[error("needs {need} bytes, image has {have}")]
    Truncated {
        /// How many bytes must be there.
        need: u64,
        /// How many are.
        have: u64,
    },
    /// The block size is no power of two from 4 KiB to 1 MiB, or differs from its logarithm.
    #[error("block size {size} does not match log2 {log}")]
    BlockSize {
        /// Bytes in a block.
        size: u32,
        /// Its logarithm to the base 2.
        log: u16,
    },
    /// A table lies outside the image.
    #[error("{table} table at {at:#x} lies outside of {have} bytes")]
    Table {
        /// Which table.
        table: &'static str,
        /// Where it shall be.
        at: u64,
        /// Bytes in use.
        have: u64,
    },
    /// A reference into metadata points outside the table it belongs to.
    #[error("reference {reference:#x} points outside the {table} table")]
    Reference {
        /// Block offset in the upper 48 bits, offset in the plain block in the lower 16.
        reference: u64,
        /// Which table.
        table: &'static str,
    },
    /// A metadata block has no bytes or more than 8 KiB of them.
    #[error("metadata block of {stored} stored bytes")]
    MetaSize {
        /// Length in its header.
        stored: u16,
    },
    /// A block does not decompress.
    #[error("block of {stored} bytes does not decompress: {message}")]
    Undecodable {
        /// Bytes as stored.
        stored: u64,
        /// What the codec said.
        message: String,
    },
    /// A data block or fragment has another length than its place in the file asks for.
    #[error("block holds {found} bytes, not {expected}")]
    BlockLength {
        /// Bytes it holds.
        found: u64,
        /// Bytes it must hold.
        expected: u64,
    },
    /// The size word of a data block has unknown bits or more bytes than a block.
    #[error("size word of a block is {word:#x}")]
    SizeWord {
        /// The word.
        word: u32,
    },
    /// An inode has a type that does not exist.
    #[error("inode type {found}")]
    InodeKind {
        /// The type.
        found: u16,
    },
    /// An inode has bits beyond permissions in its mode.
    #[error("mode {found:#o}")]
    Mode {
        /// The mode.
        found: u16,
    },
    /// An index of a fragment, owner, attribute set or inode is beyond its table.
    #[error("{table} {index} of {count}")]
    Index {
        /// Which table.
        table: &'static str,
        /// The index.
        index: u64,
        /// How many there are.
        count: u64,
    },
    /// The target of a symbolic link is empty, longer than 4095 bytes or has a NUL.
    #[error("symbolic link with a target of {size} bytes")]
    Symlink {
        /// Its length.
        size: u64,
    },
    /// A directory header announces more than 256 entries.
    #[error("directory header with {count} entries")]
    RunLength {
        /// How many.
        count: u64,
    },
    /// A listing ends inside an entry.
    #[error("directory listing of {size} bytes ends inside an entry")]
    Listing {
        /// Bytes of the listing.
        size: u64,
    },
    /// An entry has a name that no file can have.
    #[error("{:?} is no file name", String::from_utf8_lossy(.name))]
    Name {
        /// The name.
        name: Vec<u8>,
    },
    /// A name is not greater than the one before it, so the kernel will not find it.
    #[error("{:?} is out of order", String::from_utf8_lossy(.name))]
    Order {
        /// The name.
        name: Vec<u8>,
    },
    /// An entry and its inode disagree.
    #[error("entry says {what} {entry}, its inode {inode}")]
    Mismatch {
        /// About what: `type`, `number` or `parent`.
        what: &'static str,
        /// In the directory.
        entry: u64,
        /// In the inode.
        inode: u64,
    },
    /// Two inodes have one number.
    #[error("inode number {number} is used twice")]
    NumberTwice {
        /// The number.
        number: u32,
    },
    /// A directory has two names, perhaps one inside itself.
    #[error("directory inode {number} is reached twice")]
    DirectoryTwice {
        /// Its number.
        number: u32,
    },
    /// The root inode is not a directory.
    #[error("root inode has type {found}")]
    Root {
        /// Its type.
        found: u16,
    },
    /// An attribute has an unknown prefix, or a name that no attribute can have.
    #[error("attribute of type {kind:#x} with a name of {length} bytes")]
    XattrName {
        /// Its type.
        kind: u16,
        /// Length of the name behind the prefix.
        length: u16,
    },
    /// An attribute's value is longer than 64 KiB.
    #[error("attribute value of {size} bytes")]
    XattrValue {
        /// Its length.
        size: u32,
    },
    /// A set of attributes has one name twice.
    #[error("attribute {:?} is there twice", String::from_utf8_lossy(.name))]
    XattrTwice {
        /// Its full name.
        name: Vec<u8>,
    },
}

/// A path for messages: bytes from the root on, without the leading slash.
#[derive(Clone, PartialEq, Eq)]
pub struct Path(pub Vec<u8>);

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why an image could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The options contradict the format or each other.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// Something in the tree cannot be expressed in SquashFS.
    #[error("{path}: {rule}")]
    Entry {
        /// Where it is.
        path: Path,
        /// What the format asks for.
        rule: EntryRule,
    },
    /// A whole table is larger than its references can reach.
    #[error("{table} needs {need}, the format ends at {limit}")]
    TooLarge {
        /// Which table or count.
        table: &'static str,
        /// What the tree needs.
        need: u64,
        /// What the format can hold.
        limit: u64,
    },
    /// The bytes of a file could not be had.
    #[error("cannot read the content of {path}")]
    Read {
        /// A file with this content.
        path: Path,
        /// What the provider said.
        source: io::Error,
    },
    /// The provider has another number of bytes than the tree says.
    #[error("the content of {path} has {found} bytes, not {expected}")]
    Size {
        /// A file with this content.
        path: Path,
        /// Bytes in the tree.
        expected: u64,
        /// Bytes at the provider.
        found: u64,
    },
    /// The provider gave other bytes than the tree names.
    #[error("the content of {path} has the digest {found}, not {expected}")]
    Digest {
        /// A file with this content.
        path: Path,
        /// Digest in the tree.
        expected: Digest,
        /// Digest of what was read.
        found: Digest,
    },
    /// The codec failed.
    #[error("cannot compress a block")]
    Compress {
        /// What the codec said.
        source: io::Error,
    },
    /// The output could not be written.
    #[error("cannot write at byte {at:#x} of the image")]
    Output {
        /// Offset in the image.
        at: u64,
        /// What the output said.
        source: io::Error,
    },
}

/// What is wrong with [`super::Options`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// The text does not name a codec.
    #[error(transparent)]
    Codec(#[from] NotACodec),
    /// The block size is not one of 4 KiB, 8 KiB, ... 1 MiB.
    #[error("block size {0} is no power of two from 4096 to 1048576")]
    BlockSize(u32),
    /// The kernel knows only two shapes of dictionary, and no more than a block can be of use.
    #[error(
        "xz dictionary of {dict_size} bytes: it must be 8192 to {block_size} bytes and 2^n or 2^n + 2^(n+1)"
    )]
    Dictionary {
        /// Bytes asked for.
        dict_size: u32,
        /// Bytes in a block.
        block_size: u32,
    },
}

/// The rule of the format that an entry of a tree breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryRule {
    /// Directories are nested too deep.
    #[error("directories may be nested {limit} deep")]
    Depth {
        /// Deepest level.
        limit: usize,
    },
    /// The mode has bits beyond permissions.
    #[error("mode {mode:#o} is beyond 0o7777")]
    Mode {
        /// The mode.
        mode: u16,
    },
    /// The target of a symbolic link is empty, too long or has a NUL.
    #[error("a target of {size} bytes: it needs 1 to 4095 without NUL")]
    Symlink {
        /// Its length.
        size: usize,
    },
    /// A device number is too large.
    #[error("device {major}:{minor} is beyond 4095:1048575")]
    Device {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// Only `user.`, `trusted.` and `security.` attributes can be stored, with names of at most 255 bytes.
    #[error("attribute {:?} needs a name of at most 255 bytes in user., trusted. or security.", String::from_utf8_lossy(.name))]
    XattrName {
        /// Its full name.
        name: Vec<u8>,
    },
    /// A value is longer than Linux can hand out.
    #[error("attribute {:?} has {size} bytes, more than 65536", String::from_utf8_lossy(.name))]
    XattrValue {
        /// Its full name.
        name: Vec<u8>,
        /// Bytes of the value.
        size: usize,
    },
    /// The listing of a directory is larger than its inode can say.
    #[error("a directory listing of {size} bytes")]
    Listing {
        /// Its length.
        size: u64,
    },
}
