//! The signed file of a suite.

use selfsame_apt::fetch::{Failure, FetchError, Reason};
use selfsame_apt::snapshot::{Accepted, accept};
use selfsame_image::tree::Content;
use selfsame_store::Store;

use super::archives::{ArchiveError, date};
use super::keys;
use crate::event::Observer;
use crate::fetch::{self, Source, Wanted};
use crate::recipe::Recipe;
use crate::snapshots;

/// The signed file of a suite, as a lock or a snapshot names it.
pub(crate) struct InRelease<'a> {
    pub(crate) archive: &'a str,
    pub(crate) suite: &'a str,
    pub(crate) content: Content,
    /// Its `Date`.
    pub(crate) date: i64,
    /// As of when it is judged.
    pub(crate) at: i64,
}

impl InRelease<'_> {
    /// What it says, and who signed it. It is fetched if the store has it neither whole nor as a difference.
    ///
    /// # Errors
    /// [`ArchiveError::MovedOn`] if mirrors have another one: they have one state at a time. [`ArchiveError::Refused`] if the
    /// recipe's keys did not sign it, [`ArchiveError::Misdated`] if it is of another date.
    pub(crate) fn accept(
        &self,
        recipe: &Recipe,
        store: &Store,
        source: &dyn Source,
        observer: &dyn Observer,
    ) -> Result<Accepted, ArchiveError> {
        let (archive, suite) = (|| self.archive.to_owned(), || self.suite.to_owned());
        snapshots::restore(store, [self.content])
            .map_err(|source| ArchiveError::Thin { archive: archive(), source })?;
        fetch::bring_missing(&[self.wanted()], store, source, observer).map_err(|error| match error {
            FetchError::Incomplete { ref failures, .. } if is_another(failures) => {
                ArchiveError::MovedOn { archive: archive(), suite: suite(), date: date(self.date) }
            }
            error => error.into(),
        })?;
        let bytes = store.read(&self.content.digest)?.unwrap_or_default();
        let (keys, spec) = keys::terms(recipe, self.archive, self.suite)?;
        let accepted = accept(&bytes, &spec, self.suite, &keys, self.at).map_err(|source| {
            ArchiveError::Refused { archive: archive(), suite: suite(), source: Box::new(source) }
        })?;
        if accepted.release.date == self.date {
            return Ok(accepted);
        }
        let [recorded, signed] = [self.date, accepted.release.date].map(date);
        Err(ArchiveError::Misdated { archive: archive(), suite: suite(), recorded, signed })
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            what: format!("InRelease of {}", self.suite),
            archive: self.archive.to_owned(),
            paths: vec![format!("dists/{}/InRelease", self.suite)],
            content: self.content,
        }
    }
}

/// Whether a mirror had another file in the place of one of these.
fn is_another(failures: &[Failure]) -> bool {
    let another = |reason: &Reason| matches!(reason, Reason::WrongDigest { .. } | Reason::WrongSize { .. });
    failures.iter().flat_map(|file| &file.tried).any(|tried| another(&tried.reason))
}
