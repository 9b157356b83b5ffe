//! Errors of the library, from the user's point of view: whose fault it is, and what to do.

use std::io;

use selfsame_apt::fetch::FetchError;
use selfsame_apt::snapshot::Refused;
use selfsame_build::execute::BuildError;
use selfsame_build::host::HostError;
use selfsame_build::lock::LockError;
use selfsame_build::recipe::{FilesError, RecipeError};
use selfsame_build::resolve::{ArchiveError, ResolveError};
use selfsame_build::sandbox::Status;
use selfsame_build::stages::JobError;
use selfsame_store::StoreError;

use crate::failure::Failure;

/// The remedy for a full disk.
const ROOM: &str =
    "free some space, or use another disk: builds work in `--store DIR`, images go to `--out DIR`";

impl From<RecipeError> for Failure {
    fn from(error: RecipeError) -> Self {
        let hint = match &error {
            RecipeError::Missing { .. } => Some("`selfsame init` writes a recipe to start from".to_owned()),
            RecipeError::Invalid { hint, .. } => hint.clone(),
            RecipeError::Io { .. } => None,
        };
        let failure = Self::input(error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        let remedies: Vec<String> = error.problems.iter().map(|problem| problem.remedy()).collect();
        remedies.into_iter().fold(Self::environment(error), Self::hint)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::environment(error).hint("the store can be put elsewhere with `--store DIR` or SELFSAME_STORE")
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        if let FetchError::Store(error) = error {
            return error.into();
        }
        if let FetchError::Stopped { .. } = error {
            return Self::interrupted();
        }
        // Bytes that came whole and are not the right ones are wrong input; everything else may pass.
        let failure = if all_lies(&error) { Self::input(error) } else { Self::environment(error) };
        failure.hint(
            "`--mirror ARCHIVE=URL` adds a mirror; what did arrive is kept, so it is enough to try again",
        )
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        Self::input(error).hint("`selfsame lock --update` writes a new one")
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Fetch(error) => error.into(),
            ArchiveError::Store(error) => error.into(),
            ArchiveError::KeyFile { .. } | ArchiveError::Keys { .. } | ArchiveError::NoIndex { .. } => {
                Self::input(error)
            }
            ArchiveError::UnknownSuite { .. } => Self::input(error)
                .hint("give the keys in the recipe: keys = { file = \"…\", fingerprints = [\"…\"] }"),
            ArchiveError::Refused { ref source, .. } if matches!(**source, Refused::Time(_)) => {
                Self::environment(error).hint("another mirror may be newer; is this machine's clock right?")
            }
            ArchiveError::MovedOn { .. } => Self::environment(error)
                .hint("`selfsame lock --update` takes the present state; or give a mirror that still has the old one"),
            _ => Self::environment(error).hint("the mirror serves something else than the archive: try another one"),
        }
    }
}

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Network { .. } => Self::input(error).hint(
                "put what the hook needs into the recipe's packages or overlay: builds have no network",
            ),
            JobError::Failed { status: Status::Interrupted, .. } => Self::interrupted(),
            JobError::Failed { status: Status::Disk, .. } => Self::environment(error).hint(ROOM),
            JobError::Failed { .. } => {
            ArchiveError::Older { .. } => Self::environment(error)
                .hint("this mirror is stale: another one may be newer")
                .hint("`--allow-older` takes the older state all the same"),
                Self::input(error).hint("`--verbose` shows everything that programs print")
            }
            _ => Self::environment(error),
        }
    }
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Archive(error) => error.into(),
            ResolveError::Fetch(error) => error.into(),
            ResolveError::Store(error) => error.into(),
            ResolveError::Job(error) => error.into(),
            ResolveError::Unknown { .. } | ResolveError::Unsatisfiable { .. } => Self::input(error)
                .hint("the recipe's [packages] and its archives decide what can be installed"),
            _ => Self::environment(error),
        }
    }
}

/// Whether `error` comes from a disk (or a quota of it) that has no room left.
fn disk_is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let full =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    std::iter::successors(Some(error), |error| error.source())
        .any(|error| error.downcast_ref::<io::Error>().is_some_and(full))
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        if disk_is_full(&error) {
            return Self::environment(error).hint(ROOM);
        }
        match error {
            BuildError::Stale { .. } => Self::input(error).hint("`selfsame lock` brings the lock up to date"),
            BuildError::Fetch(error) => error.into(),
            BuildError::Store(error) => error.into(),
            BuildError::Job(error) => error.into(),
            BuildError::Lock(_) | BuildError::BootFile(_) => Self::input(error),
            BuildError::Files(FilesError::Leaves { .. } | FilesError::Special { .. }) => Self::input(error),
            BuildError::Files(_) => Self::input(error),
            BuildError::Interrupted => Self::interrupted(),
            BuildError::Write { .. } | BuildError::Repack(_) => Self::input(error),
            _ => Self::environment(error),
        }
    }
}
