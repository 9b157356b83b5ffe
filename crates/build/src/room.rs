//! How much room a build takes, for when there is too little.

use std::error::Error;
use std::io;

use selfsame_store::Store;

use crate::execute::BuildError;
use crate::lock::Lock;
use crate::sandbox::Status;
use crate::stages::JobError;

/// What a build takes at its height for each byte of its packages, everything counted that lies in the store: plain
/// packages, layers, blocks, parts and images. Measured: 17 for `examples/tiny`, 11 for `examples/live`.
const TIMES_PACKAGES: u64 = 20;
/// Programs in the sandbox are ended before less than this is left.
const KEPT_FREE: u64 = 256 << 20;

/// What is missing to build what `lock` says in `store`, and what is free there now: bytes, the first one a guess that
/// counts what is built already as if it were still to come.
pub(crate) fn missing(store: &Store, lock: &Lock) -> (u64, u64) {
    let packages: u64 = lock.packages.iter().map(|package| package.file.size).sum();
    let there = lock.packages.iter().filter_map(|package| store.size(&package.file.sha256)).sum();
    let needed = packages.saturating_mul(TIMES_PACKAGES).saturating_add(KEPT_FREE);
    let free =
        rustix::fs::statvfs(store.root()).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    let missing = needed.saturating_sub(there).saturating_sub(free);
    // It did not fit, whatever the guess says.
    (missing.max(64 << 20), free)
}

/// Whether `error` comes of a disk of the store without room. Outputs may lie on another one.
pub(crate) fn is_cause(error: &BuildError) -> bool {
    match error {
        BuildError::Output(_) => false,
        BuildError::Job(JobError::Failed { status: Status::Disk, .. }) => true,
        error => disk_is_full(error),
    }
}

/// Whether `error` comes from a disk, or a quota of it, that has no room left.
pub fn disk_is_full(error: &(dyn Error + 'static)) -> bool {
    let full =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(full) {
            return true;
        }
        cause = error.source();
    }
    false
}
