//! `selfsame store pull`

use std::io::{self, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use selfsame_apt::fetch::FetchError;
use selfsame_build::event::Observer;
use selfsame_build::fetch::{Source, Wanted};
use selfsame_build::sandbox::World;
use selfsame_build::{execute, recipe};
use selfsame_store::Store;

use super::{Context, PROGRAM, build, recipe_dir, remote};
use crate::failure::{Failure, Status};
use crate::moment;
use crate::progress::Progress;
use crate::ui::{Output, Present};

/// Take packages and compressed blocks from another machine
///
/// Brings the packages of the recipe's lock into the store, and with --remote-key the compressed blocks of the files in
/// them: what `selfsame build --remote` would take. All of it is checked: packages against the lock, blocks against the
/// signature of the key. The exit status is 0 if the remote had all of it, and 1 if it did not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame store pull my-image --remote https://cache.example/selfsame --remote-key ed25519:3d40…660c
  selfsame store pull my-image --remote file:/media/stick/selfsame && selfsame build my-image --offline")]
pub struct Args {
    /// Directory of the recipe
    #[arg(default_value = ".", hide_default_value = true)]
    recipe: PathBuf,
    #[command(flatten)]
    remote: remote::Choice,
    /// Directory of the store [default: SELFSAME_STORE, else selfsame in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

impl Present for remote::Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "{self}")
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    cx.settings.source_date_epoch(SystemTime::now())?;
    let known = args.remote.required(cx)?;
    let (directory, _) = recipe_dir::find(&args.recipe)?;
    let recipe = recipe::load(&directory)?;
    let lock = build::read_lock(&directory)?.ok_or_else(|| build::no_lock(&directory))?;
    let host = cx.host()?;
    let progress = Progress::new(&cx.ui, false);
    let epoch = moment::of(&recipe, &cx.settings, &cx.ui)?;
    let store = Store::open(cx.settings.store(args.store.as_ref())?)?;
    let warn = |text: String| cx.ui.warn(&text);
    let pull = known.pull(&warn);
    let request = execute::Request {
        recipe: &recipe,
        lock: &lock,
        epoch,
        store: &store,
        host: &host,
        program: Path::new(PROGRAM),
        source: &Nobody,
        remote: None,
        jobs: std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
        out: Path::new(""),
        until: None,
        anew: false,
        observer: &progress,
        world: &World::default(),
        machine: None,
        apart: None,
    };
    selfsame_build::pull::pull(&request, &pull)?;
    let report = remote::Report::of(&pull.pulled());
    if report.sum(|part| part.failed) > 0 {
        return Err(Failure::environment(format!(
            "not everything could be asked of the remote {}; what came: {report}",
            known.remote
        ))
        .hint("what did arrive is kept: try again, and it goes on"));
    }
    if report.sum(|part| part.refused) > 0 {
        return Err(Failure::input(format!(
            "the remote {} does not have what it says; what came: {report}",
            known.remote
        )));
    }
    cx.ui.result(args.output, &report)?;
    Ok(if report.sum(|part| part.missing) == 0 { Status::Success } else { Status::Negative })
}

/// No mirror is asked.
struct Nobody;

impl Source for Nobody {
    fn fetch(&self, wanted: &[Wanted], _: &Store, _: &dyn Observer) -> Result<(), FetchError> {
        Err(FetchError::NoMirror { missing: wanted.len() })
    }
}
