//! `selfsame lock`

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use selfsame_apt::snapshot::Snapshot;
use selfsame_build::event::{Event, Observer, Warning};
use selfsame_build::host::interrupted;
use selfsame_build::local;
use selfsame_build::lock::{self, Change, Lock, Request};
use selfsame_build::recipe::{self, Recipe};
use selfsame_build::resolve::{self, LockRequest};
use selfsame_build::snapshots::{self, Kept};
use selfsame_store::Store;
use serde::Serialize;

use super::{Context, PROGRAM, recipe_dir};
use crate::commands::build::{Reach, read_lock};
use crate::commands::snapshot::create::{self, Asked};
use crate::failure::{Failure, Status};
use crate::progress::Progress;
use crate::replace::replace;
use crate::source::Mirrors;
use crate::ui::{Output, Present};

/// Choose the packages and pin everything that shapes the image
///
/// Takes a snapshot of the recipe's archives (as `snapshot create` does), lets the image's own apt choose the
/// packages and writes selfsame.lock into the recipe's directory. The lock belongs into version control: with it
/// anybody gets the same image.
///
/// Where the recipe names a snapshot (`serial`), that one is taken from the store. Directories of packages in the recipe
/// (`[[overlay]]`) are archives too; the lock has the digest of each of their packages.
///
/// Without --update a lock that fits the recipe is left as it is, and one that does not fit keeps the archive
/// state it names. A state older than the one the lock names is refused: such a mirror is stale.
///
/// If there was a lock, the packages that were added, removed, upgraded or downgraded are told, with their archive and
/// size.
///
/// Packages are installed in groups, each one layer of a build: the system, what the recipe includes, kernels. A package
/// that is added becomes a group of its own, so that the next build only installs that; one that changes stays in its
/// group. After many changes --regroup gives the groups of a first lock, and one slower build.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame lock                    lock the recipe in this directory
  selfsame lock my-image --update  take today's state of the archives
  selfsame lock my-image --regroup fold packages that were added later into the groups of a first lock
  selfsame lock my-image --mirror debian=file:/srv/mirror/debian")]
pub struct Args {
    /// Directory of the recipe
    #[arg(default_value = ".", hide_default_value = true)]
    pub recipe: PathBuf,
    /// Take the present state of the archives even if the lock names an earlier one
    #[arg(long)]
    pub update: bool,
    /// Take a state of an archive even if it is older than the one the lock names, or than what was seen before
    #[arg(long)]
    pub allow_older: bool,
    /// Arrange the packages in groups as a first lock does; otherwise groups are kept, and new packages come last
    #[arg(long)]
    pub regroup: bool,
    #[command(flatten)]
    pub reach: Reach,
    #[command(flatten)]
    pub output: Output,
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let (directory, _) = recipe_dir::find(&args.recipe)?;
    let recipe = recipe::load(&directory)?;
    let path = directory.join(lock::FILE);
    let before = match read_lock(&directory) {
        Err(_) if args.update => {
            let path = path.display();
            cx.ui.warn(&format!(
                "{path} is not usable, so nothing says which state of the archives is too old"
            ));
            None
        }
        read => read?,
    };
    let old = before.as_ref().filter(|_| !args.update);
    if let Some(old) = old
        && !args.regroup
        && Request::of(&recipe).changes_since(&old.request).is_empty()
        && local::is_as_locked(&recipe, old)?
    {
        cx.ui.note(&format!(
            "{} fits the recipe; --update takes the present state of the archives",
            path.display()
        ));
        cx.ui.result(args.output, &Report::of(&path, old))?;
        return Ok(Status::Success);
    }
    let host = cx.host()?;
    let progress = Progress::new(&cx.ui, args.reach.verbose);
    let source = Mirrors::new(&recipe, &args.reach, &cx.settings, None)?;
    let store = Store::open(cx.settings.store(args.reach.store.as_ref())?)?;
    // What it names must not go before the lock is there to need it.
    let _turn = snapshots::Turn::take(&store)?;
    let floor = before.as_ref().filter(|_| !args.allow_older);
    let asked = Asked { agreeing: 1, max_age: None, even_older: args.allow_older, floor };
    let taken = take(&recipe, old, &source, &store, &asked, &progress)?;
    let kept = Kept::all(&store)?;
    let lock = resolve::lock(&LockRequest {
        recipe: &recipe,
        snapshots: &kept,
        taken: &taken,
        old,
        groups: before.as_ref().filter(|_| !args.regroup),
        store: &store,
        host: &host,
        program: Path::new(PROGRAM),
        source: &source,
        jobs: args.reach.jobs(),
        observer: &progress,
    });
    // Whatever failed because the user asked to stop, failed for that reason.
    let lock = lock.map_err(|error| if interrupted() { Failure::interrupted() } else { error.into() })?;
    if interrupted() {
        return Err(Failure::interrupted());
    }
    replace(&path, &lock.to_string()).map_err(|error| {
        Failure::environment(error).context(format!("cannot write the lock {}", path.display()))
    })?;
    hold(&store, &path)?;
    let report = Report {
        changes: before.as_ref().map_or_else(Vec::new, |before| lock.changes_since(before)),
        ..Report::of(&path, &lock)
    };
    report.changes.iter().for_each(|change| cx.ui.note(&change.to_string()));
    cx.ui.result(args.output, &report)?;
    Ok(Status::Success)
}

/// Takes a snapshot of each archive of which `old` keeps no state, and the recipe names none.
fn take(
    recipe: &Recipe,
    old: Option<&Lock>,
    source: &Mirrors<'_>,
    store: &Store,
    asked: &Asked<'_>,
    progress: &Progress,
) -> Result<BTreeMap<String, Snapshot>, Failure> {
    let mut taken = BTreeMap::new();
    for name in resolve::to_take(recipe, old) {
        let one = create::take(recipe, name, source, store, asked, progress)?;
        for other in one.evidence.iter().flat_map(|suite| &suite.others) {
            progress.on(Event::Warning { warning: Warning::Mirror(format!("mirror {other}")) });
        }
        taken.insert(name.to_owned(), one.snapshot);
    }
    Ok(taken)
}

/// Notes in `store` that snapshots which the lock at `path` needs must stay, as long as it is there.
pub fn hold(store: &Store, path: &Path) -> Result<(), Failure> {
    let path = path
        .canonicalize()
        .map_err(|error| Failure::environment(error).context(format!("cannot find {}", path.display())))?;
    Ok(snapshots::hold(store, &path)?)
}

/// What `lock` gives. The JSON form is an interface that scripts rely on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Where the lock is.
    pub path: PathBuf,
    /// SHA-256 of its text, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// How many packages it pins.
    pub packages: usize,
    /// State of each archive: name and serial.
    pub archives: Vec<(String, String)>,
    /// Packages that are not what they were in the lock before, if there was one.
    pub changes: Vec<Change>,
}

impl Report {
    fn of(path: &Path, lock: &Lock) -> Self {
        Self {
            path: path.to_owned(),
            sha256: lock.digest().to_string(),
            packages: lock.packages.len(),
            archives: lock.archives.iter().map(|state| (state.name.clone(), state.serial.clone())).collect(),
            changes: Vec::new(),
        }
    }
}

impl Present for Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "{}  {}", self.sha256, self.path.display())
    }
}
