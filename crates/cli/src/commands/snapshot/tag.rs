//! `selfsame snapshot tag`

use std::io::{self, Write};
use std::path::PathBuf;

use selfsame_build::lock::FILE;
use selfsame_build::snapshots::Turn;
use selfsame_build::tag::{self, Request};
use selfsame_build::{host, recipe};
use selfsame_store::Store;
use serde::Serialize;

use crate::commands::build::{Reach, no_lock, read_lock};
use crate::commands::lock::hold;
use crate::commands::{Context, recipe_dir};
use crate::failure::{Failure, Status};
use crate::progress::Progress;
use crate::source::Mirrors;
use crate::ui::{Output, Present, binary_size};

/// Write what a lock needs as a directory that lasts as long as the image
///
/// The directory holds, for each archive of the recipe, the signed InRelease files and the whole indexes that the lock
/// names, byte for byte, and of the packages those that it names. `selfsame build --tag` builds from it without a network.
/// Any web server can serve it, and stock apt, mmdebstrap and debootstrap take it for the archive, with the archive's own
/// keys. SHA256SUMS lists all files.
///
/// The signatures are checked as of the time that the lock names. Mirrors have the newest state only: make the tag when
/// you make the release.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame snapshot tag my-image tags/1.0
  selfsame snapshot tag my-image tags/1.0 --sources
  selfsame build my-image --tag tags/1.0 --offline
  (cd tags/1.0 && sha256sum --check --quiet SHA256SUMS)")]
pub struct Args {
    /// Directory of the recipe
    recipe: PathBuf,
    /// Directory to make
    directory: PathBuf,
    /// Add the sources of all packages of signed archives, and the indexes that name them
    #[arg(long)]
    sources: bool,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    output: Output,
}

/// What `snapshot tag` gives. The JSON form is an interface that scripts rely on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Report {
    /// The directory.
    path: PathBuf,
    /// How many files are in it, those of equal bytes each counted.
    files: usize,
    /// Length of all of them in bytes.
    bytes: u64,
    /// State of each archive: name and serial.
    archives: Vec<(String, String)>,
}

impl Present for Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        let Self { path, files, bytes, archives } = self;
        let states: Vec<_> = archives.iter().map(|(name, serial)| format!("{name} {serial}")).collect();
        writeln!(to, "{}: {}, {} in {files} files", path.display(), states.join(", "), binary_size(*bytes))
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let (directory, _) = recipe_dir::find(&args.recipe)?;
    let recipe = recipe::load(&directory)?;
    let lock = read_lock(&directory)?.ok_or_else(|| no_lock(&directory))?;
    let store = Store::open(cx.settings.store(args.reach.store.as_ref())?)?;
    hold(&store, &directory.join(FILE))?;
    let _turn = Turn::take(&store)?;
    let source = Mirrors::new(&recipe, &args.reach, &cx.settings, None)?;
    let progress = Progress::new(&cx.ui, args.reach.verbose);
    let request = Request {
        recipe: &recipe,
        lock: &lock,
        store: &store,
        source: &source,
        sources: args.sources,
        observer: &progress,
    };
    let of_user = |failure: Failure| if host::interrupted() { Failure::interrupted() } else { failure };
    let tag = tag::collect(&request).map_err(|error| of_user(error.into()))?;
    drop(progress);
    let fresh = tag::export(&tag, &lock, &store, &args.directory).map_err(|error| of_user(error.into()))?;
    if !fresh {
        cx.ui.note("it is there already");
    }
    let report = Report {
        path: args.directory.clone(),
        files: tag.files.len() + 2,
        bytes: tag.files.values().map(|content| content.size).sum(),
        archives: lock.archives.iter().map(|state| (state.name.clone(), state.serial.clone())).collect(),
    };
    cx.ui.result(args.output, &report)?;
    Ok(Status::Success)
}
