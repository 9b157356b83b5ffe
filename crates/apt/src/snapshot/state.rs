//! What a lock says about an archive.

use std::collections::BTreeMap;

use selfsame_image::tree::Content;
use serde::{Deserialize, Serialize};

use super::{ArchiveSpec, SnapshotError, content};
use crate::date;
use crate::openpgp::Fingerprint;
use crate::release::Release;

/// One state of one archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Snapshot {
    /// Name of the archive.
    pub archive: String,
    /// The newest `Date` of its suites, as `20260711T101637Z`: who else takes the same state gives it the same name.
    pub serial: String,
    /// When it was fetched, in seconds since 1970-01-01 UTC: the time as of which it was and will be judged.
    pub at: i64,
    /// The suites, in the order of the [`ArchiveSpec`].
    pub suites: Vec<SuiteState>,
}

/// One suite at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SuiteState {
    /// Name below `dists/`, as it was asked for.
    pub suite: String,
    /// `Codename` of its `Release` file; its `Suite`, if it has no codename.
    pub codename: String,
    /// `Date` of its `Release` file in seconds since 1970-01-01 UTC.
    pub date: i64,
    /// The signed file, byte for byte.
    #[serde(with = "content")]
    pub in_release: Content,
    /// Primary keys whose signatures counted, sorted.
    pub signers: Vec<Fingerprint>,
    /// The indexes that are used, by component and architecture.
    pub indexes: Vec<IndexRef>,
}

/// One index file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct IndexRef {
    /// Path below the suite's directory: `main/binary-amd64/Packages.xz`.
    pub path: String,
    /// The file as it is fetched and kept.
    #[serde(with = "content")]
    pub packed: Content,
    /// What it holds.
    #[serde(with = "content")]
    pub plain: Content,
}

/// An index that a `Release` file lists; its plain form may not be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) path: String,
    pub(super) packed: Content,
    pub(super) plain: Option<Content>,
}

/// The indexes of a suite that a spec asks for, in the form that is fetched: xz, else gzip, else plain.
pub(super) fn select(
    spec: &ArchiveSpec,
    suite: &str,
    release: &Release,
) -> Result<Vec<Listed>, SnapshotError> {
    let mut listed = Vec::new();
    for component in &spec.components {
        if !release.has_component(component) {
            let (component, known) = (component.clone(), release.components.clone());
            return Err(SnapshotError::NoComponent { suite: suite.to_owned(), component, known });
        }
        for architecture in &spec.architectures {
            if !release.architectures.contains(architecture) {
                let (architecture, known) = (architecture.clone(), release.architectures.clone());
                return Err(SnapshotError::NoArchitecture { suite: suite.to_owned(), architecture, known });
            }
            let path = format!("{component}/binary-{architecture}/Packages");
            let index = form(release, &path);
            listed.push(index.ok_or_else(|| SnapshotError::NoIndex { suite: suite.to_owned(), path })?);
        }
        if release.has_separate_all() {
            listed.extend(form(release, &format!("{component}/binary-all/Packages")));
        }
    }
    Ok(listed)
}

fn form(release: &Release, plain: &str) -> Option<Listed> {
    [".xz", ".gz", ""].iter().find_map(|ending| {
        let path = format!("{plain}{ending}");
        let packed = *release.sha256.get(&path)?;
        Some(Listed { path, packed, plain: release.sha256.get(plain).copied() })
    })
}

/// The name of a state: its newest date.
pub(super) fn serial(suites: &[SuiteState]) -> String {
    date::serial(suites.iter().map(|suite| suite.date).max().unwrap_or_default())
}

impl Snapshot {
    /// Every file of the snapshot that is kept in the store: signed files and packed indexes.
    pub fn blobs(&self) -> impl Iterator<Item = Content> {
        self.suites.iter().flat_map(|suite| {
            std::iter::once(suite.in_release).chain(suite.indexes.iter().map(|index| index.packed))
        })
    }

    /// Those files by their path below the archive's root, as stock apt wants to find them.
    pub fn files(&self) -> BTreeMap<String, Content> {
        let mut files = BTreeMap::new();
        for suite in &self.suites {
            let dists = format!("dists/{}", suite.suite);
            files.insert(format!("{dists}/InRelease"), suite.in_release);
            for index in &suite.indexes {
                files.insert(format!("{dists}/{}", index.path), index.packed);
                files.insert(by_hash(&dists, &index.path, &index.packed), index.packed);
            }
        }
        files
    }
}

/// The path of a file by its digest: `main/binary-amd64/by-hash/SHA256/...` below `dists`.
pub(super) fn by_hash(dists: &str, path: &str, content: &Content) -> String {
    let directory = path.rsplit_once('/').map(|(directory, _)| format!("{directory}/")).unwrap_or_default();
    format!("{dists}/{directory}by-hash/SHA256/{}", content.digest)
}
