//! Archives against the programs that everybody else uses for them: GNU tar, GNU cpio, dpkg-deb.
//!
//! What these programs unpack is captured as a tree and compared with what is read here, and the other way round.
//! A missing program skips a test, but not where `CI` is set.
#![allow(clippy::disallowed_methods, reason = "oracles work on files")]

mod cpio;
mod deb;
mod host;
mod initramfs;
mod tar;
