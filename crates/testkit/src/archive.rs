//! A small APT archive made from nothing: keys, packages, indexes, signatures, and ways to break each of them.
//!
//! ```
//! use selfsame_testkit::archive::{Archive, Deb, Key, Suite};
//! let key = Key::new("archive");
//! let mut archive = Archive::default();
//! archive.suites.push(Suite::new("trixie", &key).with(Deb::new("hello", "1.0").file("usr/bin/hello", 0o755, b"#!/bin/sh\n")));
//! let dir = tempfile::tempdir().unwrap();
//! archive.write(dir.path());
//! assert!(dir.path().join("dists/trixie/InRelease").is_file());
//! ```

mod deb;
mod key;
mod server;
mod suite;

pub use deb::Deb;
pub use key::{BackSignature, Key, KeySpec, Revocation, Sign, SubkeySpec, certificate, clearsign, collected};
pub use server::{Behaviour, Server, serve};
pub use suite::{Archive, Digests, Index, Suite, http_date};

/// The time at which fixtures live unless told otherwise: 2026-01-15 12:00:00 UTC.
pub const NOW: i64 = 1_768_478_400;
