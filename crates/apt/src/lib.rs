//! Debian archives: what they say, who signed it, and whether to believe it.
//!
//! Everything here is a function of bytes and of a time given by the caller; nothing reads a clock. Network access is
//! behind [`snapshot::Transport`].
#![forbid(unsafe_code)]

pub mod date;
pub mod deb822;
pub mod fetch;
pub mod mirrors;
pub mod openpgp;
pub mod packages;
pub mod relation;
pub mod release;
pub mod remote;
pub mod snapshot;
pub mod sources;
pub mod version;
