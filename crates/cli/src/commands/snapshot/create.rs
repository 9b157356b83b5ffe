//! `selfsame snapshot create`

use std::io::{self, Write};
use std::path::PathBuf;

use selfsame_apt::snapshot::Terms;
use selfsame_build::host;
use selfsame_build::lock::Lock;
use selfsame_build::recipe::{self, Recipe};
use selfsame_build::resolve::not_before;
use selfsame_build::snapshots::{self, Kept};
use selfsame_store::Store;
use serde::Serialize;

use crate::commands::build::Reach;
use crate::commands::{Context, recipe_dir};
use crate::failure::{Failure, Status};
use crate::progress::Progress;
use crate::source::Mirrors;
use crate::ui::{Output, Present};

/// Take the present state of the recipe's archives
///
/// Of every archive the signed InRelease files and the exact indexes come into the store, all of one moment: the signed
/// files are read again after the last, and an archive that is just being updated is read anew. Each file must be signed
/// by enough of the pinned keys, as of now, and be of the codename that is asked for. A state that is older than one that
/// was seen before, or another one of the same date, is refused. So is one that is older than what others saw (`snapshot
/// import`), unless the recipe names its serial, and one of which others have another text. A snapshot is named by its newest date.
///
/// With --agreeing N the newest state must be on N mirrors.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame snapshot create my-image
  selfsame snapshot create my-image --archive debian --agreeing 2 --max-age 30")]
pub struct Args {
    /// Directory of the recipe
    #[arg(default_value = ".", hide_default_value = true)]
    recipe: PathBuf,
    /// Take this archive of the recipe only; may be given more than once
    #[arg(long = "archive", value_name = "NAME")]
    archives: Vec<String>,
    /// How many mirrors must have the newest state
    #[arg(long, value_name = "N", default_value_t = 1)]
    agreeing: usize,
    /// Refuse a suite that is older than this: a mirror that stands still is not noticed otherwise where the archive sets
    /// no limit itself
    #[arg(long, value_name = "DAYS")]
    max_age: Option<u32>,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    output: Output,
}

/// What `snapshot create` gives. The JSON form is an interface that scripts rely on.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    snapshots: Vec<Kept>,
}

impl Present for Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        for Kept { snapshot, evidence, .. } in &self.snapshots {
            writeln!(to, "{} {}", snapshot.archive, snapshot.serial)?;
            for (suite, one) in snapshot.suites.iter().zip(evidence) {
                let signers: Vec<_> = suite.signers.iter().map(ToString::to_string).collect();
                writeln!(to, "  {}: signed by {}", suite.suite, signers.join(" and "))?;
                let seen = match one.novelty.as_str() {
                    "newer" => "newer than all that was seen before",
                    "known" => "seen before",
                    _ => "nothing of it was seen before",
                };
                writeln!(to, "    on {} of {} mirrors; {seen}", one.agreeing, one.asked)?;
                one.others.iter().try_for_each(|other| writeln!(to, "    not: {other}"))?;
            }
        }
        Ok(())
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let (directory, _) = recipe_dir::find(&args.recipe)?;
    let recipe = recipe::load(&directory)?;
    super::known(&recipe, &args.archives)?;
    let store = Store::open(cx.settings.store(args.reach.store.as_ref())?)?;
    let source = Mirrors::new(&recipe, &args.reach, &cx.settings, None)?;
    let progress = Progress::new(&cx.ui, args.reach.verbose);
    let mut taken = Vec::new();
    let wanted = |name: &&String| args.archives.is_empty() || args.archives.contains(name);
    for name in recipe.archives.keys().filter(wanted) {
        let _turn = snapshots::Turn::take(&store)?;
        let asked = Asked { agreeing: args.agreeing, max_age: args.max_age, even_older: false, floor: None };
        taken.push(take(&recipe, name, &source, &store, &asked, &progress)?);
    }
    drop(progress);
    cx.ui.result(args.output, &Report { snapshots: taken })?;
    Ok(Status::Success)
}

/// What is asked of a state besides that it is signed.
pub struct Asked<'a> {
    /// How many mirrors must have it.
    pub agreeing: usize,
    /// How many days old it may be at most.
    pub max_age: Option<u32>,
    /// Whether it may be older than one that was seen before, here or elsewhere.
    pub even_older: bool,
    /// A lock that it must not be older than.
    pub floor: Option<&'a Lock>,
}

/// Takes the present state of the archive `name` of `recipe`. Whoever calls holds the [`snapshots::Turn`].
pub fn take(
    recipe: &Recipe,
    name: &str,
    source: &Mirrors<'_>,
    store: &Store,
    asked: &Asked<'_>,
    progress: &Progress,
) -> Result<Kept, Failure> {
    let described = snapshots::describe(recipe, name, store)?;
    // Waiting for the turn may have taken long.
    let now = super::now();
    let (history, elsewhere) = (snapshots::history(store)?, snapshots::elsewhere(store)?);
    let terms = Terms {
        agreeing: asked.agreeing,
        asked: source.count(name).max(1),
        max_age: asked.max_age.map(|days| i64::from(days) * 86_400),
        history: Some(&history),
        elsewhere: Some(&elsewhere),
        even_older: asked.even_older,
        in_spite: recipe.archives[name].serial.clone(),
        ..Terms::new(now)
    };
    let fetched = source.snapshot(&described, store, &terms, progress);
    let fetched =
        fetched.map_err(|error| if host::interrupted() { Failure::interrupted() } else { error.into() })?;
    if let Some(floor) = asked.floor {
        not_before(floor, &fetched.snapshot)?;
    }
    // First what was seen: whoever goes back to an older state afterwards is found out even if this run ends here.
    snapshots::remember(store, &described.0, &fetched.snapshot)?;
    let kept = Kept::new(described.0, fetched.snapshot, &fetched.evidence);
    kept.keep(store)?;
    Ok(kept)
}
