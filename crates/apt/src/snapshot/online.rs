//! The mirrors of an archive as a [`Transport`].

use selfsame_store::Store;

use super::transport::{Transport, TransportError, Want};
use crate::fetch::{self, FetchError, Fetcher, Progress, Reason};
use crate::mirrors::Mirror;

/// Brings files through a [`Fetcher`].
pub struct Online<'a> {
    /// Who fetches.
    pub fetcher: &'a Fetcher,
    /// From where, the preferred one first.
    pub mirrors: &'a [Mirror],
    /// Who is told what happens.
    pub progress: &'a dyn Progress,
}

impl std::fmt::Debug for Online<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Online").field("mirrors", &self.mirrors).finish_non_exhaustive()
    }
}

impl Transport for Online<'_> {
    fn sources(&self) -> Vec<String> {
        self.mirrors.iter().map(Mirror::to_string).collect()
    }

    fn in_release(&self, source: usize, path: &str, max: u64) -> Result<Vec<u8>, TransportError> {
        let mirror = &self.mirrors[source];
        self.fetcher.fetch_unpinned(path, mirror, max).map_err(|error| match error {
            FetchError::Unpinned { path, tried } if gone(&tried.reason) => TransportError::Missing { path },
            error => TransportError::Failed { path: path.to_owned(), source: Box::new(error) },
        })
    }

    fn pinned(&self, store: &Store, wants: &[Want]) -> Result<(), TransportError> {
        let all: Vec<_> = wants
            .iter()
            .map(|want| fetch::Want {
                what: want.what.clone(),
                size: want.content.size,
                digest: want.content.digest,
                paths: want.paths.clone(),
            })
            .collect();
        let fetched = self.fetcher.fetch_all(store, &all, self.mirrors, self.progress);
        fetched.map(drop).map_err(|error| {
            if let FetchError::Incomplete { failures, .. } = &error
                && let Some(file) = failures.iter().find(|file| {
                    !file.tried.is_empty() && file.tried.iter().all(|tried| replaced(&tried.reason))
                })
            {
                return TransportError::Replaced { path: file.path.clone(), source: Box::new(error) };
            }
            let path = wants.first().map_or_else(String::new, |want| want.what.clone());
            TransportError::Failed { path, source: Box::new(error) }
        })
    }
}

fn gone(reason: &Reason) -> bool {
    matches!(reason, Reason::Missing { .. } | Reason::Unreadable(std::io::ErrorKind::NotFound))
}

/// Whether another file is there by now, or none: the archive has moved on.
fn replaced(reason: &Reason) -> bool {
    gone(reason) || matches!(reason, Reason::WrongDigest { .. } | Reason::WrongSize { .. })
}
