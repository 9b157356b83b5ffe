//! Errors of the library, from the user's point of view: whose fault it is, and what to do.

use std::io;

use selfsame_apt::fetch::{FetchError, Reason, Tried};
use selfsame_apt::snapshot::{Disagreement, FromSource, Refused, SnapshotError, TransportError};
use selfsame_build::check::CheckError;
use selfsame_build::execute::BuildError;
use selfsame_build::host::{HostError, PopulateError};
use selfsame_build::local::LocalError;
use selfsame_build::lock::LockError;
use selfsame_build::recipe::{FilesError, RecipeError};
use selfsame_build::resolve::{ArchiveError, ResolveError};
use selfsame_build::room::disk_is_full;
use selfsame_build::sandbox::Status;
use selfsame_build::snapshots::{CollectError, ImportError, KeptError};
use selfsame_build::stages::{JobError, UnpackError};
use selfsame_build::tag::{ExportError, TagError};
use selfsame_build::vm::{KeepError, MachineError, Refusal};
use selfsame_store::StoreError;

use crate::failure::{Failure, Kind, Line};

/// The remedy for a full disk.
const ROOM: &str =
    "free some space, or use another disk: builds work in `--store DIR`, images go to `--out DIR`";

/// The remedy for a full memory.
const MEMORY: &str = "end other programs, or give the machine more memory or swap: a virtual machine of `--in vm` has \
                      what `--memory MB` says";

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

/// Whether each file that is missing was served by every mirror that was asked, and was another one than the signed.
fn all_lies(error: &FetchError) -> bool {
    let wrong = |tried: &Tried| matches!(tried.reason, Reason::WrongDigest { .. } | Reason::WrongSize { .. });
    match error {
        FetchError::Incomplete { failures, .. } => {
            !failures.is_empty()
                && failures.iter().all(|file| !file.tried.is_empty() && file.tried.iter().all(wrong))
        }
        _ => false,
    }
}

/// Whether every mirror that was asked gave a file that is wrong, and not only out of date.
fn all_refused(failures: &[FromSource]) -> bool {
    let wrong = |one: &FromSource| match one {
        FromSource::Refused { reason, .. } => !matches!(**reason, Refused::Time(_)),
        _ => false,
    };
    !failures.is_empty() && failures.iter().all(wrong)
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
            ArchiveError::NoSnapshot { .. } | ArchiveError::TwoSnapshots { .. } => Self::input(error)
                .hint("`selfsame snapshot list` shows those it has; `selfsame snapshot create` takes the present state"),
            ArchiveError::Misdated { .. } => Self::input(error)
                .hint("somebody changed the lock or the store: `selfsame snapshot create` or `selfsame lock --update` takes a state anew"),
            ArchiveError::UnknownSuite { .. } => Self::input(error)
                .hint("give the keys in the recipe: keys = { file = \"…\", fingerprints = [\"…\"] }"),
            ArchiveError::Refused { ref source, .. } if matches!(**source, Refused::Time(_)) => {
                Self::environment(error).hint("another mirror may be newer; is this machine's clock right?")
            }
            ArchiveError::Thin { .. } => Self::environment(error),
            ArchiveError::Older { .. } => Self::environment(error)
                .hint("this mirror is stale: another one may be newer")
                .hint("`--allow-older` takes the older state all the same"),
            ArchiveError::MovedOn { .. } => Self::environment(error)
                .hint("`selfsame lock --update` takes the present state; or give a mirror that still has the old one"),
            _ => Self::input(error).hint("the mirror serves something else than the archive: try another one"),
        }
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Store(error) => error.into(),
            SnapshotError::Fetch { archive, source: TransportError::Failed { path, source } } => {
                match source.downcast::<FetchError>() {
                    Ok(error) => Self::from(*error),
                    Err(source) => Self::environment(format!("cannot fetch {path}: {source}")),
                }
                .context(format!("indexes of archive {archive}"))
            }
            SnapshotError::NoSource { ref failures, .. } if all_refused(failures) => {
                Self::input(error).hint("the mirrors serve something else than the archive: try another one")
            }
            SnapshotError::NoSource { .. } | SnapshotError::NotAgreed { .. } | SnapshotError::TooOld { .. } => {
                Self::environment(error).hint(
                    "`--mirror ARCHIVE=URL` adds a mirror; is this machine's clock right?",
                )
            }
            SnapshotError::Thin { .. } => Self::environment(error),
            SnapshotError::Moving { .. } => Self::environment(error)
                .hint("try again when the mirror has settled; if it never does, it lies: try another one"),
            SnapshotError::NotStored { .. } => Self::environment(error)
                .hint("`selfsame snapshot create` brings it again, as long as the mirrors have that state"),
            SnapshotError::Contradiction { .. } => Self::input(error)
                .hint("this mirror is stale, or somebody shows you an old state: try another one"),
            SnapshotError::Elsewhere { source: Disagreement::Behind { .. }, .. } => Self::environment(error)
                .hint("these mirrors stand still, or hold something back: `--mirror ARCHIVE=URL` asks another one")
                .hint("if you want the older state all the same, name it in the recipe: serial = \"…\""),
            SnapshotError::Equivocation { .. } | SnapshotError::Elsewhere { .. } => Self::input(error).hint(
                "both files are in the store: that is proof that the archive's keys signed two stories; tell its keepers",
            ),
            _ => Self::input(error),
        }
    }
}

impl From<KeptError> for Failure {
    fn from(error: KeptError) -> Self {
        match error {
            KeptError::Store(error) => error.into(),
            _ => Self::environment(error)
                .hint("it was written by another version: `--store DIR` uses another store"),
        }
    }
}

impl From<CollectError> for Failure {
    fn from(error: CollectError) -> Self {
        match error {
            CollectError::Store(error) => error.into(),
            CollectError::Kept(error) => error.into(),
            CollectError::Lock { .. } => {
                Self::input(error).hint("mend it with `selfsame lock`, or remove it if nobody needs it")
            }
            _ => Self::environment(error),
        }
    }
}

impl From<LocalError> for Failure {
    fn from(error: LocalError) -> Self {
        match error {
            LocalError::Store(error) => error.into(),
            LocalError::Changed { .. } => Self::input(error)
                .hint("give the lock's files back, or let `selfsame lock` take those that are there now"),
            LocalError::Twice { .. } => Self::input(error).hint("remove one of them"),
            LocalError::Name { .. } => Self::input(error).hint(
                "put the file itself there, under a name of letters, digits, +, -, ., _, ~ and : such as name_1.0_amd64.deb",
            ),
            LocalError::Unlisted { .. } => {
                Self::input(error).hint("somebody changed the lock by hand: `selfsame lock --update` writes it anew")
            }
            _ => Self::input(error),
        }
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Kept(error) => error.into(),
            ImportError::Store(error) => error.into(),
            ImportError::Waiting => Self::input(error).hint("import the files in smaller parts"),
            _ => Self::environment(error),
        }
    }
}

impl From<TagError> for Failure {
    fn from(error: TagError) -> Self {
        match error {
            TagError::Stale { .. } => Self::input(error).hint("`selfsame lock` brings the lock up to date"),
            TagError::Archive(error) => error.into(),
            TagError::Fetch(error) => error.into(),
            TagError::Local(error) => error.into(),
            TagError::Store(error) => error.into(),
            TagError::NoSource { .. } => {
                Self::input(error).hint("without --sources the tag has packages only")
            }
            _ => Self::input(error),
        }
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Exists { .. } => {
                Self::input(error).hint("give a directory that is not there yet: a tag is never changed")
            }
            ExportError::Store(error) => error.into(),
            _ => Self::environment(error),
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
            JobError::Failed { status: Status::Memory, .. } => Self::environment(error).hint(MEMORY),
            JobError::Failed { .. } => {
                Self::input(error).hint("`--verbose` shows everything that programs print")
            }
            _ => Self::environment(error),
        }
    }
}

impl From<UnpackError> for Failure {
    fn from(error: UnpackError) -> Self {
        match error {
            UnpackError::Store(error) => error.into(),
            UnpackError::Missing(_) => Self::environment(error),
            UnpackError::Overlay(PopulateError::Changed { .. }) => {
                Self::input(error).hint("build again, and leave the recipe's files alone meanwhile")
            }
            _ => of_content(error),
        }
    }
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Archive(error) => error.into(),
            ResolveError::Fetch(error) => error.into(),
            ResolveError::Local(error) => error.into(),
            ResolveError::Double { .. } => {
                Self::input(error).hint("give the recipe's own package a version of its own")
            }
            ResolveError::Lock(_) => Self::input(error),
            ResolveError::Guard { .. } => Self::input(error).hint(
                "a higher `priority` of its archive, or another version there, brings it from where it must come from",
            ),
            ResolveError::Store(error) => error.into(),
            ResolveError::Job(error) => error.into(),
            ResolveError::Unpack(error) => error.into(),
            ResolveError::Unknown { .. } | ResolveError::Unsatisfiable { .. } => Self::input(error)
                .hint("the recipe's [packages] and its archives decide what can be installed"),
            _ => Self::environment(error),
        }
    }
}

/// A failure to read or write content: the machine's, if an error of the system is behind it, else the content's.
fn of_content(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    let error = error.into();
    // Readers of formats say with these two kinds that bytes are missing or make no sense.
    let machine = |error: &io::Error| {
        !matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
    };
    if causes(&*error).any(|cause| cause.downcast_ref::<io::Error>().is_some_and(machine)) {
        Failure::environment(error)
    } else {
        Failure::input(error)
    }
}

/// `error` and everything that caused it.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// `error` and everything that caused it, in a line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl From<CheckError> for Failure {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Build(error) => error.into(),
            error => Self::environment(error),
        }
    }
}

impl From<MachineError> for Failure {
    fn from(error: MachineError) -> Self {
        match error {
            MachineError::NoKernel => Self::input(error)
                .hint("pin one in the recipe: a table [builder] with kernel = \"linux-image-cloud-amd64\"")
                .hint("`selfsame lock` adds it to the lock; nothing of it gets into the image"),
            MachineError::Kernels(_) => Self::input(error)
                .hint("say which one in the recipe: a table [builder] with kernel = \"NAME\""),
            MachineError::NoQemu(_) => {
                Self::environment(error).hint("on Debian and Ubuntu: apt install qemu-system-x86")
            }
            MachineError::Packages => {
                Self::environment(error).hint("build again: it is written anew from the store")
            }
            MachineError::Refused(refusal) => refused(refusal),
            MachineError::Kept(error) => error.into(),
            error => Self::environment(error),
        }
    }
}

impl From<KeepError> for Failure {
    fn from(error: KeepError) -> Self {
        let name = match &error {
            KeepError::Branch { name, .. }
            | KeepError::Setup { name }
            | KeepError::Busy { name }
            | KeepError::Full { name, .. } => Some(name.clone()),
            _ => None,
        };
        let refused = matches!(error, KeepError::Branch { .. });
        let failure = if refused { Self::input(error) } else { Self::environment(error) };
        let Some(name) = name else { return failure };
        failure
            .hint(format!(
                "`selfsame vm stop {name}` ends it, with all that is in it; the next build starts another"
            ))
            .hint("without --keep-running a build has a new machine of its own")
    }
}

/// A failure inside a machine, in the words that were found there.
fn refused(refusal: Refusal) -> Failure {
    let Refusal { status, message, causes, hints, .. } = refusal;
    let nearest = causes.into_iter().rev().fold(None, |cause, text| Some(Box::new(Told { text, cause })));
    let failure = Failure::new(Kind::of_exit_status(status), Told { text: message, cause: nearest });
    hints.into_iter().fold(failure, Failure::hint)
}

/// An error of which only words are left.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Told {
    text: String,
    #[source]
    cause: Option<Box<Told>>,
}

/// Why a build failed, in words, for whoever started the machine it ran in.
pub fn refusal(error: BuildError) -> Refusal {
    let stage = error.failed_program();
    let failure = Failure::from(error);
    let status = failure.kind().exit_status();
    let (mut message, mut causes, mut hints) = (String::new(), Vec::new(), Vec::new());
    for line in failure.lines() {
        match line {
            Line::Error(text) => message = text,
            Line::Cause(text) => causes.push(text),
            Line::Hint(text) => hints.push(text),
        }
    }
    // The one who is told adds what there is to say of bugs.
    hints.retain(|_| status != Kind::Internal.exit_status());
    Refusal { status, stage, message, causes, hints }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        if disk_is_full(&error) {
            return Self::environment(error).hint(ROOM);
        }
        match error {
            BuildError::Stale { .. } => Self::input(error).hint("`selfsame lock` brings the lock up to date"),
            BuildError::Fetch(error) => error.into(),
            BuildError::Local(error) => error.into(),
            BuildError::Store(error) => error.into(),
            BuildError::Job(error) => error.into(),
            BuildError::Lock(_)
            | BuildError::BootFile(_)
            | BuildError::NoStage(_)
            | BuildError::NoKernel
            | BuildError::NoGenerator => Self::input(error),
            BuildError::Files(FilesError::Io { ref source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Self::input(error).hint("Git keeps no empty directories: if that was one, put a file into it")
            }
            BuildError::Files(_) => Self::input(error),
            BuildError::Interrupted => Self::interrupted(),
            BuildError::Unpack(error) => error.into(),
            BuildError::Write { .. } | BuildError::Repack(_) => of_content(error),
            BuildError::Machine(error) => (*error).into(),
            _ => Self::environment(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use selfsame_apt::fetch::Failure as Missing;
    use selfsame_apt::mirrors::Mirror;
    use selfsame_build::event::Stage;

    use super::*;
    use crate::failure::Kind;

    #[test]
    fn a_writer_that_the_machine_failed_is_the_machines_failure() {
        let write = |source: Box<dyn std::error::Error + Send + Sync>| {
            Failure::from(BuildError::Write { stage: Stage::Pack, source }).kind()
        };
        assert_eq!(write("a name is too long".into()), Kind::Input);
        assert_eq!(write(io::Error::from_raw_os_error(5).into()), Kind::Environment);
        assert_eq!(write(io::Error::from(io::ErrorKind::PermissionDenied).into()), Kind::Environment);
        assert_eq!(write(io::Error::from(io::ErrorKind::InvalidData).into()), Kind::Input);
        // Behind another error, as writers have it.
        let behind = selfsame_image::tar::WriteError::Content {
            path: b"etc/motd".to_vec(),
            source: io::Error::from_raw_os_error(5),
        };
        assert_eq!(write(behind.into()), Kind::Environment);
    }

    #[test]
    fn what_is_wrong_with_a_package_or_the_overlay_is_wrong_input() {
        let package = || "x 1".to_owned();
        let long = UnpackError::TooLong { package: package(), path: "boot/x".into(), limit: 5 };
        assert_eq!(Failure::from(long).kind(), Kind::Input);
        let changed = PopulateError::Changed { path: "etc/motd".into() };
        let changed = Failure::from(BuildError::Unpack(UnpackError::Overlay(changed)));
        assert_eq!(changed.kind(), Kind::Input);
        assert!(changed.to_string().contains("cause: etc/motd changed during the build\nhint: build again"));
        assert_eq!(Failure::from(UnpackError::Missing(package())).kind(), Kind::Environment);
        let read = |source| UnpackError::Read { package: package(), path: "boot/x".into(), source };
        assert_eq!(Failure::from(read(io::Error::from_raw_os_error(5))).kind(), Kind::Environment);
        assert_eq!(Failure::from(read(io::ErrorKind::UnexpectedEof.into())).kind(), Kind::Input);
    }

    #[test]
    fn wrong_bytes_are_wrong_input_and_a_mirror_that_is_down_is_not() {
        let mirror = Mirror::parse("http://mirror.example/debian").unwrap();
        let fetch = |reasons: &[Reason]| {
            let tried = |reason: &Reason| Tried { mirror: mirror.clone(), times: 1, reason: reason.clone() };
            let tried = reasons.iter().map(tried).collect();
            let missing = Missing { what: "x 1".into(), path: "pool/x.deb".into(), size: 5, tried };
            Failure::from(FetchError::Incomplete { failures: vec![missing], missing: 1, of: 1 }).kind()
        };
        let other = Reason::WrongDigest { found: selfsame_image::Digest::of(b"other") };
        let size = Reason::WrongSize { announced: 4, expected: 5 };
        assert_eq!(fetch(&[other.clone(), size]), Kind::Input);
        assert_eq!(fetch(&[other, Reason::NoSuchHost]), Kind::Environment);
        assert_eq!(fetch(&[Reason::Offline]), Kind::Environment);
        assert_eq!(fetch(&[]), Kind::Environment);
        assert_eq!(Failure::from(FetchError::Stopped { missing: 1, of: 1 }).kind(), Kind::Interrupted);
    }
}
