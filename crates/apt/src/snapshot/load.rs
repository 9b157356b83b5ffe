//! Checking a snapshot again, from the store alone.

use selfsame_image::Digest;
use selfsame_image::tree::Content;
use selfsame_store::Store;

use super::accept::text_digest;
use super::fetch::{codename, read_index};
use super::state::{self, Listed};
use super::{ArchiveSpec, IndexRef, Snapshot, SnapshotError, SuiteState, Thin, ThinError, accept};
use crate::date;
use crate::openpgp::Keyring;
use crate::packages::Index;
use crate::release::Release;

/// A snapshot whose signatures, dates and digests were all checked.
#[derive(Debug)]
pub struct Loaded {
    /// Its suites, in the order of the [`ArchiveSpec`].
    pub suites: Vec<LoadedSuite>,
}

/// One suite.
#[derive(Debug)]
pub struct LoadedSuite {
    /// Name below `dists/`.
    pub suite: String,
    /// What its `Release` file says.
    pub release: Release,
    /// Digest of the text that was signed, as [`super::Accepted::text`].
    pub text: Digest,
    /// Its indexes.
    pub indexes: Vec<(IndexRef, Index)>,
}

impl Loaded {
    /// All indexes of all suites.
    pub fn indexes(&self) -> impl Iterator<Item = &Index> {
        self.suites.iter().flat_map(|suite| suite.indexes.iter().map(|(_, index)| index))
    }
}

/// Checks that a recorded snapshot is one of the archive as described, as of the time that was recorded, and reads it.
///
/// Keys that expired since then do not matter, nor does a `Valid-Until` that has passed; a key that `keys` knows as
/// compromised does. Needs no network.
pub fn load_snapshot(
    spec: &ArchiveSpec,
    snapshot: &Snapshot,
    keys: &Keyring,
    store: &Store,
) -> Result<Loaded, SnapshotError> {
    spec.check().map_err(|source| SnapshotError::Spec { archive: spec.name.clone(), source })?;
    let archive = &spec.name;
    same(archive, "archive", &snapshot.archive, &spec.name)?;
    let recorded: Vec<_> = snapshot.suites.iter().map(|state| &state.suite).collect();
    let wanted: Vec<_> = spec.suites.iter().collect();
    if recorded != wanted {
        let (recorded, signed) = (format!("{recorded:?}"), format!("{wanted:?}"));
        return Err(SnapshotError::Mismatch {
            archive: archive.clone(),
            what: "list of suites",
            recorded,
            signed,
        });
    }
    let mut suites = Vec::new();
    for state in &snapshot.suites {
        suites.push(load_suite(spec, state, snapshot.at, keys, store)?);
    }
    same(archive, "serial", &snapshot.serial, &state::serial(&snapshot.suites))?;
    Ok(Loaded { suites })
}

/// The signed file of that digest, whether it is kept whole or as a difference; `None` if it is not kept.
pub fn read_signed(store: &Store, digest: &Digest) -> Result<Option<Vec<u8>>, ThinError> {
    if let Some(file) = store.read(digest)? {
        return Ok(Some(file));
    }
    // Of a difference only the digest counts.
    let file = Thin::plain(store, &Content { size: 0, digest: *digest })?;
    Ok(file.filter(|file| Digest::of(file) == *digest))
}

/// Digest of the text of a signed file, as [`super::Accepted::text`]; `None` if it is none. Who signed it is not looked at: this
/// is for files that were accepted before.
pub fn signed_text(file: &[u8]) -> Option<Digest> {
    crate::openpgp::text_of(file).map(|text| text_digest(&text))
}

fn load_suite(
    spec: &ArchiveSpec,
    state: &SuiteState,
    at: i64,
    keys: &Keyring,
    store: &Store,
) -> Result<LoadedSuite, SnapshotError> {
    let suite = &state.suite;
    let what = || format!("InRelease of {suite}");
    let missing = || SnapshotError::NotStored { what: what(), content: state.in_release };
    let file = read_signed(store, &state.in_release.digest)
        .map_err(|error| match error {
            ThinError::Store(error) => SnapshotError::Store(error),
            source => SnapshotError::Thin { what: what(), source: Box::new(source) },
        })?
        .ok_or_else(missing)?;
    let refused = |source| SnapshotError::Refused { suite: suite.clone(), at, source: Box::new(source) };
    let accepted = accept(&file, spec, suite, keys, at).map_err(refused)?;
    same(suite, "size of InRelease", &state.in_release.size.to_string(), &file.len().to_string())?;
    same(suite, "codename", &state.codename, codename(&accepted))?;
    same(suite, "date", &date::serial(state.date), &date::serial(accepted.release.date))?;
    same(suite, "signers", &format!("{:?}", state.signers), &format!("{:?}", accepted.signers))?;
    let listed = state::select(spec, suite, &accepted.release)?;
    let describe = |index: &IndexRef| format!("{} {:?}", index.path, index.packed);
    let recorded: Vec<_> = state.indexes.iter().map(describe).collect();
    let signed: Vec<_> = listed.iter().map(|index| format!("{} {:?}", index.path, index.packed)).collect();
    same(suite, "list of indexes", &recorded.join(", "), &signed.join(", "))?;
    let mut indexes = Vec::new();
    for (recorded, signed) in state.indexes.iter().zip(listed) {
        let expected = Listed { plain: signed.plain.or(Some(recorded.plain)), ..signed };
        let (plain, index) = read_index(store, suite, &expected)?;
        same(suite, "plain form of an index", &format!("{:?}", recorded.plain), &format!("{plain:?}"))?;
        indexes.push((recorded.clone(), index));
    }
    Ok(LoadedSuite { suite: suite.clone(), release: accepted.release, text: accepted.text, indexes })
}

fn same(archive: &str, what: &'static str, recorded: &str, signed: &str) -> Result<(), SnapshotError> {
    if recorded == signed {
        return Ok(());
    }
    let [archive, recorded, signed] = [archive, recorded, signed].map(str::to_owned);
    Err(SnapshotError::Mismatch { archive, what, recorded, signed })
}
