//! Power cuts that are worked out instead of made: what a disk may hold if the power goes at some moment of a run.
//!
//! The program runs under `strace`; [`trace::operations`] makes its system calls a list of [`Op`], and a [`Disk`] keeps the
//! books of what each of them has made safe. The file system it stands for promises no more than POSIX does:
//!
//! - bytes and mode of a file are safe after `fsync` or `fdatasync` of that file; before, any page of them may be missing,
//!   and the length may be any between the old and the new one;
//! - a name is safe after `fsync` of the directory it is in, and of no other one; before, each change of a name may be
//!   missing without the others, in whatever order they were made;
//! - a rename never loses the file: the new name comes first, and within one directory both names change at once;
//! - `syncfs` makes everything safe. A call that makes safe does so for what was done before it began.
//!
//! Journals of real file systems keep more order than this, each in its own way, so that a program that survives all of
//! this survives each of them.

mod disk;
pub mod trace;

pub use disk::{Cut, Disk, Entry, Tree, read_tree, write_tree};

use std::path::PathBuf;

/// A change of a file system, or a request to make changes safe. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A file, new and empty unless it is there.
    Create {
        /// Its name.
        path: PathBuf,
        /// Its permissions if it is new.
        mode: u32,
    },
    /// Bytes of a file.
    Write {
        /// The file.
        path: PathBuf,
        /// Where the first of them goes.
        at: usize,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Bytes of a file that come from another one.
    Copy {
        /// The file they come from.
        from: PathBuf,
        /// Where the first of them is.
        from_at: usize,
        /// The file they go to.
        to: PathBuf,
        /// Where the first of them goes.
        to_at: usize,
        /// How many.
        length: usize,
    },
    /// A file gets this length.
    Resize {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// A file gets other permissions.
    Mode {
        /// The file.
        path: PathBuf,
        /// The permissions.
        mode: u32,
    },
    /// A new directory.
    MakeDir {
        /// Its name.
        path: PathBuf,
    },
    /// Another name, in the place of what had it.
    Rename {
        /// The old name.
        from: PathBuf,
        /// The new one.
        to: PathBuf,
    },
    /// One more name.
    Link {
        /// The old name.
        from: PathBuf,
        /// The new one.
        to: PathBuf,
    },
    /// A name goes.
    Remove {
        /// The name.
        path: PathBuf,
    },
    /// Begins to make something safe.
    SyncBegins {
        /// A number that the end has, too.
        call: usize,
        /// A file or a directory; `None` for all of them.
        path: Option<PathBuf>,
    },
    /// It is safe.
    SyncEnds {
        /// The number of the call.
        call: usize,
    },
}

impl Op {
    /// In few words, without the bytes.
    pub fn words(&self) -> String {
        match self {
            Self::Write { path, at, bytes } => {
                format!("write {} bytes at {at} to {}", bytes.len(), path.display())
            }
            other => format!("{other:?}"),
        }
    }
}
