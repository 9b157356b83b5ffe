//! What an image is: file system trees, the formats that hold them, and the codecs those formats use.
//!
//! Everything here is a function of its arguments. There is no clock, no environment, no path of the host and no
//! thread outside [`par`]; `clippy.toml` beside this crate holds the wall.
#![forbid(unsafe_code)]

pub mod ar;
pub mod cause;
pub mod codec;
pub mod compare;
pub mod cpio;
pub mod deb;
pub mod detect;
pub mod digest;
pub mod elf;
pub mod epoch;
pub mod erofs;
pub mod ext4;
pub mod extent;
pub mod fat;
pub mod fontconfig;
pub mod gpt;
mod guess;
pub mod initramfs;
pub mod io;
pub mod iso9660;
pub mod mo;
#[cfg(test)]
mod mutation;
pub mod normalise;
pub mod par;
pub mod pe;
pub mod png;
pub mod pyc;
pub mod qcow2;
mod raw;
pub mod sqlite;
pub mod squashfs;
pub mod tar;
pub mod tree;
pub mod zip;

pub use digest::Digest;
pub use epoch::Epoch;
pub use io::ReadAt;
pub use tree::Tree;
