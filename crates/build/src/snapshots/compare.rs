//! What another service has for a kept suite.

use selfsame_apt::openpgp::{Form, Keyring};
use selfsame_apt::snapshot::{Elsewhere, Sighting, SuiteState, judge_collected};
use selfsame_image::Digest;
use selfsame_store::{Store, StoreError};

use super::{Kept, elsewhere};

/// What a file of another service is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Comparison {
    /// The very file that is kept. It is recorded.
    Same,
    /// Its text with other signatures. It is recorded.
    SameText,
    /// Another text of the same date, also signed. It is recorded.
    Fork {
        /// Digest of the file.
        found: Digest,
    },
    /// A state of another date.
    Other {
        /// Its date in seconds since 1970-01-01 UTC.
        date: i64,
    },
    /// Nothing that the archive published.
    Refused {
        /// Why not.
        why: String,
    },
}

/// Compares `file`, which `source` has for `suite` of the snapshot `kept`, with the one that is kept, whose text is `text`. What
/// is of the same date is added to `store`, and to `all` that others saw.
pub fn compare(
    store: &Store,
    all: &mut Elsewhere,
    (kept, keys): (&Kept, &Keyring),
    (suite, text): (&SuiteState, &Digest),
    file: &[u8],
    source: &str,
) -> Result<Comparison, StoreError> {
    let sighting = |text, form| Sighting {
        archive: kept.spec.identity(),
        codename: suite.codename.clone(),
        date: suite.date,
        text,
        file: Digest::of(file),
        form,
        source: source.to_owned(),
    };
    if Digest::of(file) == suite.in_release.digest {
        // It was judged already, as of the time at which it was taken.
        elsewhere::add(store, all, sighting(*text, Form::InRelease), file)?;
        return Ok(Comparison::Same);
    }
    // One from the future is another state like any other: it is not recorded.
    let found = match judge_collected(file, &kept.spec, &suite.suite, keys, i64::MAX) {
        Ok(found) => found,
        Err(error) => return Ok(Comparison::Refused { why: chain(&error) }),
    };
    if found.signers.len() < kept.spec.threshold {
        let (have, need) = (found.signers.len(), kept.spec.threshold);
        return Ok(Comparison::Refused { why: format!("{have} of {need} needed signatures") });
    }
    let date = found.release.date;
    if date != suite.date || found.codename() != suite.codename {
        return Ok(Comparison::Other { date });
    }
    elsewhere::add(store, all, sighting(found.text, found.form), file)?;
    match found.text == *text {
        true => Ok(Comparison::SameText),
        false => Ok(Comparison::Fork { found: Digest::of(file) }),
    }
}

/// An error and its causes in a line.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
