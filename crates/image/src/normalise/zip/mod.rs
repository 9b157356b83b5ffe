//! ZIP archives, and what is one: of Java, of Python, of browsers; also behind the first line of a script.
//!
//! Headers are changed in place, byte for byte. Only where the order or the content of entries changes are they put together anew;
//! the data of all others is taken as it is packed.

mod headers;
mod java;
mod order;
mod rewrite;

use super::edit::Edit;
use super::{File, Left, Outcome, Rules, Times, left};
use crate::Epoch;
use crate::detect::Format;
use crate::io::wide;
use crate::zip::{self, Listed, Listing};

pub(super) fn is(file: &File<'_>) -> bool {
    file.format == Some(Format::Zip)
        || file.bytes.starts_with(b"#!")
            && zip::list(&**file.bytes).is_ok_and(|listing| !listing.entries.is_empty())
}

pub(super) fn run(file: &File<'_>, rules: &Rules) -> Result<Outcome, Left> {
    let listing = zip::list(&**file.bytes)?;
    if let Some(entry) = listing.entries.iter().find(|entry| entry.encrypted) {
        return left(format!("the entry {} is encrypted", shown(entry)));
    }
    if let Some(signature) = signature(file, &listing) {
        return left(format!("it is signed: {signature}"));
    }
    let kind = Kind::of(file, &listing);
    let mut edit = Edit::new(file.bytes);
    for entry in &listing.entries {
        headers::entry(&mut edit, file.bytes, entry, kind.times(entry, rules.times));
    }
    let (bytes, mut done) = edit.apply()?;
    let mut new = rewrite::Plan { order: (0..listing.entries.len()).collect(), contents: Default::default() };
    if kind != Kind::Other && order::may_change(&listing, file.bytes) {
        new.order = order::order(&listing, kind, &mut done);
        if kind == Kind::Java {
            new.contents = java::contents(file, &listing, rules, &mut done)?;
        }
    }
    let bytes = if new.changes(&listing) { rewrite::rewrite(&bytes, &listing, &new)? } else { bytes };
    Ok(if done.is_empty() { Outcome::Unchanged } else { Outcome::Changed { bytes, done } })
}

/// What an archive is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Its order is free but for the manifest, and it may have pages of javadoc.
    Java,
    /// Its order is free, but for a first entry that says what it is.
    Plain,
    /// Nothing is known of its order: some formats want one, and some align what they hold.
    Other,
}

impl Kind {
    fn of(file: &File<'_>, listing: &Listing) -> Self {
        let java = ["jar", "war", "ear", "hpi", "sym", "jmod"];
        let plain = ["zip", "pk3", "epub", "whl", "xpi", "htb", "zhfst", "par", "codadef", "pyz"];
        if file.is_called(&["apk", "aar", "aab"]) {
            return Self::Other;
        }
        if file.is_called(&java) || listing.entries.iter().any(|entry| entry.name == b"META-INF/MANIFEST.MF")
        {
            return Self::Java;
        }
        if file.is_called(&plain) || file.bytes.starts_with(b"#!") { Self::Plain } else { Self::Other }
    }

    /// What becomes of the times of an entry. Clojure compiles again what is not older than the class made of it.
    fn times(self, entry: &Listed, times: Times) -> Times {
        let source =
            self == Self::Java && [&b".clj"[..], b".cljc"].iter().any(|end| entry.name.ends_with(end));
        // Times have steps of two seconds.
        let earlier = Epoch(times.epoch.0.saturating_sub(2));
        if source { Times { epoch: earlier, ..times } } else { times }
    }
}

/// What signs the archive, if anything.
fn signature(file: &File<'_>, listing: &Listing) -> Option<String> {
    let signs = |entry: &&Listed| {
        let name = entry.name.to_ascii_uppercase();
        let directly = name.strip_prefix(b"META-INF/").filter(|rest| !rest.contains(&b'/'));
        let of_java = directly.is_some_and(|rest| {
            [&b".SF"[..], b".RSA", b".DSA", b".EC"].iter().any(|ending| rest.ends_with(ending))
                || [&b"COSE.SIG"[..], b"SIGNATURES.XML", b"DOCUMENTSIGNATURES.XML"].contains(&rest)
        });
        of_java || name == b".SIGNATURE.P7S" || name.starts_with(b"_XMLSIGNATURES/")
    };
    if let Some(entry) = listing.entries.iter().find(signs) {
        return Some(shown(entry));
    }
    // Android's own signature lies in front of the central directory (source.android.com, "APK Signature Scheme v2").
    let front = file.bytes.get(..place(listing.directory.0))?;
    front.ends_with(b"APK Sig Block 42").then(|| "it has an APK Signing Block".to_owned())
}

/// The name of an entry for people.
fn shown(entry: &Listed) -> String {
    String::from_utf8_lossy(&entry.name[..entry.name.len().min(300)]).into_owned()
}

/// A place that the reader found to be inside of the file.
fn place(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// The bytes of a place that the reader found to be inside of the file.
fn part(bytes: &[u8], (at, len): (u64, u64)) -> &[u8] {
    debug_assert!(at.saturating_add(len) <= wide(bytes.len()));
    bytes.get(place(at)..place(at.saturating_add(len))).unwrap_or_default()
}
