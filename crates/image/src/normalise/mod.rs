//! Files whose bytes say when, where or by whom they were made, changed so that they do not.
//!
//! A handler knows one kind of file. It changes what is no part of the file's meaning, and nothing else: times are clamped to the
//! epoch, owners and permissions are those that everybody gets, an order that nobody reads is sorted. What is signed, damaged
//! or not understood is left as it is, with the reason. Each handler, and where its rules come from: `docs/normalise.md`.

mod ar;
mod bflt;
mod cpio;
mod date;
mod edit;
mod fontconfig;
mod gzip;
mod javadoc;
mod mimeinfo;
mod mo;
mod pdf;
mod png;
mod postscript;
mod pyc;
mod tar;
#[cfg(test)]
mod tests;
mod uimage;
mod zip;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::Epoch;
use crate::detect::{self, Format};
use crate::extent::{Parsed, Source, Unreadable};
use crate::io::ReadAt;

/// The longest file that is looked at: it is held in memory.
pub const LONGEST: u64 = 512 << 20;

/// What becomes of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The latest time that may stay.
    pub epoch: Epoch,
    /// Whether times before it become it, too. Those that people wrote or that programs compare with other files never do.
    pub all: bool,
}

impl Times {
    /// What a time becomes; `None` if it stays.
    fn of(self, seconds: i64) -> Option<u32> {
        let limit = i64::from(self.epoch.0);
        (seconds > limit || self.all && seconds != limit).then_some(self.epoch.0)
    }

    /// The same, and earlier times stay.
    fn clamping(self) -> Self {
        Self { all: false, ..self }
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What becomes of times.
    pub times: Times,
    /// Who may do something, also to what is inside of archives.
    pub handlers: Vec<&'static Handler>,
}

/// Who knows one kind of file.
#[derive(Debug)]
pub struct Handler {
    /// Its name: lower case, stable, one word.
    pub name: &'static str,
    /// Which files it knows, and what it changes: a line for people.
    pub about: &'static str,
    is: fn(&File<'_>) -> bool,
    run: fn(&File<'_>, &Rules) -> Result<Outcome, Left>,
}

/// All handlers, by name. No two know the same file.
pub static HANDLERS: &[Handler] = &[
    Handler {
        name: "ar",
        about: "ar archives and static libraries: times, owners and permissions of members",
        is: |file| matches!(file.format, Some(Format::Ar | Format::Deb)),
        run: ar::run,
    },
    Handler {
        name: "bflt",
        about: "flat binaries of uClinux, version 4: the date of the build",
        is: |file| file.bytes.starts_with(b"bFLT"),
        run: bflt::run,
    },
    Handler {
        name: "cpio",
        about: "cpio archives: times; in the new format also inode and device numbers",
        is: |file| matches!(file.format, Some(Format::Cpio | Format::OldCpio)),
        run: cpio::run,
    },
    Handler {
        name: "fontconfig",
        about: "caches of fontconfig: the time of the directory of fonts",
        is: |file| file.format == Some(Format::Fontconfig),
        run: fontconfig::run,
    },
    Handler {
        name: "gzip",
        about: "gzip files, each member of them: times, names of files and checksums of headers",
        is: |file| file.format == Some(Format::Gzip),
        run: gzip::run,
    },
    Handler {
        name: "javadoc",
        about: "HTML of javadoc: the dates and the language of whoever ran it",
        is: javadoc::is,
        run: javadoc::run,
    },
    Handler {
        name: "mimeinfo",
        about: "mimeinfo.cache of desktop-file-utils: the order of its lines",
        is: mimeinfo::is,
        run: mimeinfo::run,
    },
    Handler {
        name: "mo",
        about: "message catalogs of gettext: POT-Creation-Date and PO-Revision-Date",
        is: |file| file.format == Some(Format::Mo),
        run: mo::run,
    },
    Handler {
        name: "pdf",
        about: "PDF that is neither signed nor encrypted: dates of creation and change, also in XMP",
        is: |file| file.bytes.starts_with(b"%PDF-"),
        run: pdf::run,
    },
    Handler {
        name: "png",
        about: "PNG images: time of the last change, and texts that are dates",
        is: |file| file.format == Some(Format::Png),
        run: png::run,
    },
    Handler {
        name: "postscript",
        about: "PostScript: the comment with the date of creation",
        is: |file| file.bytes.starts_with(b"%!PS"),
        run: postscript::run,
    },
    Handler {
        name: "pyc",
        about: "compiled Python 3.9 and later: the time of the source",
        is: |file| file.format == Some(Format::Pyc),
        run: pyc::run,
    },
    Handler {
        name: "tar",
        about: "tar archives: times, and the process number in names of extended headers",
        is: |file| file.format == Some(Format::Tar),
        run: tar::run,
    },
    Handler {
        name: "uimage",
        about: "images for U-Boot: the time and the checksum of the header",
        is: |file| file.bytes.starts_with(&uimage::MAGIC),
        run: uimage::run,
    },
    Handler {
        name: "zip",
        about: "ZIP archives and what is one (jar, jmod, whl, xpi, epub, apk, zipapp): times, owners, permissions, order; \
                of Java's also manifests, and javadoc and archives inside",
        is: zip::is,
        run: zip::run,
    },
];

/// The handler of that name.
pub fn handler(name: &str) -> Option<&'static Handler> {
    HANDLERS.iter().find(|handler| handler.name == name)
}

/// What was done, and how often.
pub type Done = BTreeMap<&'static str, u64>;

/// What came of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is nothing to change.
    Unchanged,
    /// These bytes are to take its place.
    Changed {
        /// All of them.
        bytes: Vec<u8>,
        /// What was done.
        done: Done,
    },
    /// It is signed, damaged or not understood, and must stay as it is.
    Left(String),
}

/// Looks at a file. Its name is a hint only: what it is says its content.
///
/// `None` if no handler among the rules knows it. Memory is bounded by a multiple of the length of the file, whatever it
/// claims.
pub fn normalise(name: &[u8], bytes: &Arc<Vec<u8>>, rules: &Rules) -> Option<(&'static Handler, Outcome)> {
    // What javadoc and manifests inside may have together, unpacked.
    let room = (4 << 20) + 16 * bytes.len();
    File::new(name, bytes, room).normalised(rules)
}

/// Whether a file of that name may be known to a handler: a glance that spares reading all of it.
pub fn is_candidate(name: &[u8], source: &(impl ReadAt + ?Sized)) -> io::Result<bool> {
    let mut start = [0; 4];
    let len = usize::try_from(source.size()?).unwrap_or(4).min(4);
    source.read_exact_at(&mut start[..len], 0)?;
    let begins = [b"bFLT", b"%PDF", b"%!PS", &uimage::MAGIC].contains(&&start) || start.starts_with(b"#!");
    let none = Arc::default();
    let named = File { name, bytes: &none, format: None, room: 0, depth: 0 };
    if begins || named.is_called(&["html", "htm"]) || name.ends_with(b"mimeinfo.cache") {
        return Ok(true);
    }
    Ok(matches!(
        detect::format(source)?,
        Some(
            Format::Ar
                | Format::Cpio
                | Format::Deb
                | Format::Fontconfig
                | Format::Gzip
                | Format::Mo
                | Format::OldCpio
                | Format::Png
                | Format::Pyc
                | Format::Tar
                | Format::Zip
        )
    ))
}

/// Why a file stays as it is.
#[derive(Debug)]
struct Left(String);

impl<E: std::error::Error> From<E> for Left {
    fn from(error: E) -> Self {
        Self(Unreadable::new("file", &error).message)
    }
}

fn left<T>(reason: impl Into<String>) -> Result<T, Left> {
    Err(Left(reason.into()))
}

/// A file that is looked at.
struct File<'a> {
    name: &'a [u8],
    bytes: &'a Arc<Vec<u8>>,
    format: Option<Format>,
    /// Bytes that may still be unpacked of what is inside.
    room: usize,
    /// In how many others it lies.
    depth: u8,
}

impl<'a> File<'a> {
    fn new(name: &'a [u8], bytes: &'a Arc<Vec<u8>>, room: usize) -> Self {
        // Memory can always be read.
        let format = detect::format(&***bytes).ok().flatten();
        Self { name, bytes, format, room, depth: 0 }
    }

    fn normalised(&self, rules: &Rules) -> Option<(&'static Handler, Outcome)> {
        let handler = rules.handlers.iter().copied().find(|handler| (handler.is)(self))?;
        let outcome = (handler.run)(self, rules).unwrap_or_else(|Left(reason)| Outcome::Left(reason));
        Some((handler, outcome))
    }

    /// Its bytes for readers of formats.
    fn source(&self) -> Source {
        Arc::clone(self.bytes) as Source
    }

    /// Whether its name ends with a dot and one of these, in either case.
    fn is_called(&self, endings: &[&str]) -> bool {
        let dot = self.name.iter().rposition(|byte| *byte == b'.');
        let ending = dot.map_or(&b""[..], |dot| &self.name[dot + 1..]);
        endings.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(ending))
    }
}

/// What a reader found, if it understood all of it.
fn sound(parsed: Result<Parsed, Unreadable>) -> Result<Parsed, Left> {
    let parsed = parsed?;
    match parsed.faults.first() {
        Some(fault) => Err(Left(fault.to_string())),
        None => Ok(parsed),
    }
}

/// Where the structures of that name begin, and the bytes of each, as far as they are not also another's.
fn structures<'a>(parsed: &Parsed, bytes: &'a [u8], name: &str) -> Vec<(usize, &'a [u8])> {
    let extents = parsed.map.extents().iter().filter(|extent| extent.structure.name == name);
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    extents
        .filter_map(|extent| {
            Some((place(extent.start), bytes.get(place(extent.start)..place(extent.end()))?))
        })
        .collect()
}

/// Where `part` first begins in `bytes`.
fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len().max(1)).position(|window| window.starts_with(part))
}
