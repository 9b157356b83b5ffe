//! `selfsame snapshot import`

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use selfsame_apt::date;
use selfsame_apt::openpgp::Messages;
use selfsame_apt::snapshot::check_source;
use selfsame_build::snapshots::{self, Fork, Imported, Importer, Newer};
use selfsame_build::{host, recipe};
use selfsame_store::Store;
use serde::Serialize;

use crate::commands::{Context, recipe_dir};
use crate::failure::{Failure, Status};
use crate::ui::{Output, Present};

/// How deep directories may be nested.
const DEEPEST: usize = 32;

/// Take over signed files that others collected, to compare them with what is seen here
///
/// Each FILE is an InRelease file, a directory of them, or several in a row, as apt-swarm exports them; - is standard input.
/// Nothing in them is believed: a file leaves a trace only if enough of the keys that the recipe pins for its codename signed
/// it, within a day of its Date. It is recorded as seen elsewhere, apart from what this store saw itself, and kept.
///
/// A newer state than the mirrors have makes `snapshot create` refuse theirs: they stand still. Two signed texts of one date
/// are refused here, and both kept: the archive tells two stories.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame snapshot import my-image InRelease --from office
  apt-swarm export | selfsame snapshot import my-image - --from apt-swarm")]
pub struct Args {
    /// Directory of the recipe, whose archives and keys count
    recipe: PathBuf,
    /// Signed files, directories of them, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Who has them [default: the name of each FILE]
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
    /// Look for this archive of the recipe only; may be given more than once
    #[arg(long = "archive", value_name = "NAME")]
    archives: Vec<String>,
    /// Directory of the store [default: SELFSAME_STORE, else selfsame in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// What `snapshot import` gives. The JSON form is an interface that scripts rely on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Report {
    /// How many messages there were; each is in one of the next six figures.
    messages: u64,
    /// Recorded now, and known from this source before. One that two archives have counts twice.
    new: u64,
    known: u64,
    /// Not signed by pinned keys, of another suite, or no signed files.
    ignored: u64,
    /// Signed long before or after their date.
    misdated: u64,
    /// Dated in the future.
    future: u64,
    /// With fewer signatures than the recipe asks for.
    too_few: u64,
    /// How many of the new ones this store saw itself.
    agreeing: u64,
    /// How many cannot be compared, because the store does not have its own file of that date any more.
    unsure: u64,
    /// The newest states that others saw and this store did not.
    newer: Vec<Unseen>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Unseen {
    archive: String,
    codename: String,
    date: String,
    source: String,
}

impl Present for Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        let Self { messages, new, known, agreeing, .. } = self;
        writeln!(to, "{messages} messages: {new} recorded ({agreeing} seen here too), {known} known before")?;
        for (count, why) in [
            (self.ignored, "ignored: not signed by the recipe's keys, or of another suite"),
            (self.misdated, "ignored: not signed at the time of their date"),
            (self.future, "ignored: dated in the future"),
            (self.too_few, "ignored: too few of the needed signatures"),
            (self.unsure, "not compared: the store does not have its own file of that date any more"),
        ] {
            if count > 0 {
                writeln!(to, "  {count} {why}")?;
            }
        }
        self.newer.iter().try_for_each(|Unseen { archive, codename, date, source }| {
            writeln!(to, "{archive} {codename}: {source} has the state of {date}, newer than all seen here")
        })
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let (directory, _) = recipe_dir::find(&args.recipe)?;
    let recipe = recipe::load(&directory)?;
    super::known(&recipe, &args.archives)?;
    let store = Store::open(cx.settings.store(args.store.as_ref())?)?;
    let wanted = |name: &&String| args.archives.is_empty() || args.archives.contains(name);
    let described =
        recipe.archives.keys().filter(wanted).map(|name| snapshots::describe(&recipe, name, &store));
    let archives = described.collect::<Result<Vec<_>, _>>()?;
    let _turn = snapshots::Turn::take(&store)?;
    let mut importer = Importer::new(&store, &archives, super::now())?;
    for file in &args.files {
        let source = source(args.from.as_deref(), file)?;
        if file.as_os_str() == "-" {
            read(&mut importer, io::stdin().lock(), file, &source)?;
        } else {
            walk(&mut importer, file, &source, 0)?;
        }
    }
    let done = importer.finish();
    if !done.forks.is_empty() {
        return Err(forked(&done));
    }
    let unseen = |Newer { archive, codename, date, source }: Newer| Unseen {
        archive,
        codename,
        date: date::serial(date),
        source,
    };
    let report = Report {
        messages: done.messages,
        new: done.new,
        known: done.known,
        ignored: done.ignored,
        misdated: done.misdated,
        future: done.future,
        too_few: done.too_few,
        agreeing: done.agreeing,
        unsure: done.unsure,
        newer: done.newer.into_iter().map(unseen).collect(),
    };
    cx.ui.result(args.output, &report)?;
    Ok(Status::Success)
}

/// The name under which `file` is recorded.
fn source(from: Option<&str>, file: &Path) -> Result<String, Failure> {
    let name = match from {
        Some(name) => name.to_owned(),
        None if file.as_os_str() == "-" => "standard input".to_owned(),
        None => file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned(),
    };
    check_source(&name)
        .map_err(|error| Failure::usage(error).hint("`--from NAME` says who has these files"))?;
    Ok(name)
}

/// Reads a file, or all files below a directory in the order of their names. Links inside of it are not followed.
fn walk(importer: &mut Importer<'_>, path: &Path, source: &str, depth: usize) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::input(error).context(format!("cannot read {}", path.display()));
    let kind = if depth == 0 { fs::metadata(path) } else { fs::symlink_metadata(path) }.map_err(failed)?;
    if kind.is_dir() {
        if depth == DEEPEST {
            return Err(Failure::input(format!("{} is nested too deep", path.display())));
        }
        let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(failed)?;
        let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        paths.sort();
        return paths.iter().try_for_each(|path| walk(importer, path, source, depth + 1));
    }
    // What is named on the command line may be a pipe; in a directory only files count.
    if depth == 0 || kind.is_file() {
        return read(importer, BufReader::new(File::open(path).map_err(failed)?), path, source);
    }
    Ok(())
}

fn read(importer: &mut Importer<'_>, from: impl BufRead, path: &Path, source: &str) -> Result<(), Failure> {
    for message in Messages::new(from) {
        let message = message
            .map_err(|error| Failure::input(error).context(format!("cannot read {}", path.display())))?;
        if host::interrupted() {
            return Err(Failure::interrupted());
        }
        importer.take(&message, source)?;
    }
    Ok(())
}

/// That an archive tells two stories.
fn forked(done: &Imported) -> Failure {
    let tell = |Fork { archive, codename, date, one, other }: &Fork| {
        let (by, date) = (one.1.as_deref().unwrap_or("this store"), date::serial(*date));
        format!("{archive} {codename} of {date}: {} at {by}, {} at {}", one.0, other.0, other.1)
    };
    let all: Vec<_> = done.forks.iter().map(tell).collect();
    Failure::input(all.join("; ")).context("an archive's keys signed two texts of one date").hint(
        "both files are in the store: `selfsame snapshot show` names them; tell the keepers of the archive",
    )
}
