//! `selfsame diff`

mod diffoscope;
mod directory;
mod disassembly;
mod holes;
mod html;
mod markdown;
mod pages;
mod program;
mod recorded;
mod report;
mod text;
mod tolerance;
mod watched;
mod words;

use std::fs::{self, File};
use std::io::{self, Seek};
use std::num::NonZero;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use selfsame_image::compare::{self, Options};
use selfsame_image::extent::Source;

use self::holes::Holes;
use self::pages::Pages;
use self::report::Report;
use self::tolerance::Policy;
use super::Context;
use crate::failure::{Failure, Status};
use crate::ui::Output;

/// Say what differs between two images or directories, and whose each differing byte is
///
/// Looks into images, file systems, archives and compressed files, also those inside each other, without unpacking them
/// to the disk. The format is found by content, not by name. Two directories are compared by path: kinds, permissions,
/// targets of links, devices, and what is in the files; owners and times are not looked at.
///
/// Every differing byte is counted twice: once over the bytes alone, once by the structure that it belongs to. The last
/// line says whether both counts are the same. Nothing that differs is hidden by something else that does.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame diff first/live.iso second/live.iso
  selfsame diff first/live.iso second/live.iso --limit 20
  selfsame diff first second
  xz -dc published.iso.xz | selfsame diff - out/live.iso
  selfsame diff first/live.iso second/live.iso --json
  selfsame diff first/live.iso second/live.iso --html differences.html
  selfsame diff first/live.iso second/live.iso --markdown - >> \"$GITHUB_STEP_SUMMARY\"
  selfsame diff first/bin/nano second/bin/nano --disassemble
  selfsame diff live.iso --old-manifest published/live.record.json
  selfsame diff first/live.iso second/live.iso --tolerate times.toml
  selfsame diff a.iso b.iso --diffoscope-json - | diffoscope --load-existing-diff - --text -

Pages of several forms can be written in one run. Standard output then has the last line only, or
what --json or --paths ask for.

Exit status: 0 the same bytes, 1 they differ and every differing byte is in a structure that is named, 5 they differ and
something could not be found out, because both are damaged there, 6 they differ in what --tolerate names alone.")]
pub struct Args {
    /// The one file or directory; `-` for standard input
    first: PathBuf,
    /// The other file or directory; `-` for standard input
    #[arg(required_unless_present = "old_manifest", conflicts_with = "old_manifest")]
    second: Option<PathBuf>,
    /// Compare FIRST with the image that RECORD is of, which is not at hand: by its digest, and the trees by the manifest
    /// that lies beside RECORD
    #[arg(long, value_name = "RECORD")]
    old_manifest: Option<PathBuf>,
    /// A policy that names differences to live with: if that is all, the exit status is 6, never 0
    #[arg(long, value_name = "POLICY")]
    tolerate: Option<PathBuf>,
    /// How many differences of each file inside are shown; 0 for all
    #[arg(long, value_name = "N", default_value_t = LIMIT)]
    limit: usize,
    /// Print the paths of files that differ only
    #[arg(long, conflicts_with = "json")]
    paths: bool,
    /// Show the instructions of functions that differ, as objdump reads them; it must be installed
    #[arg(long)]
    disassemble: bool,
    /// How many threads work at a time [default: one for each processor]
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    #[command(flatten)]
    pages: Pages,
    #[command(flatten)]
    output: Output,
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let one = NonZero::<usize>::MIN;
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().unwrap_or(one));
    let options = Options::new(jobs).watched(watched::watch(cx, None));
    let options = if args.disassemble { options.disassembled(disassembly::objdump()) } else { options };
    // What is older comes first.
    let paths: [&Path; 2] = match (&args.old_manifest, &args.second) {
        (Some(record), _) => [record, &args.first],
        (None, Some(second)) => [&args.first, second],
        (None, None) => return Err(Failure::usage("there is nothing to compare with")),
    };
    let policy = args.tolerate.as_deref().map(Policy::read).transpose()?;
    args.pages.check(paths, args.output.json || args.paths)?;
    let report = if args.old_manifest.is_some() {
        recorded::compare(paths[0], &open(paths[1], cx.settings.temporary())?, paths[1], &options)?
    } else {
        compared(paths, &options, cx)?
    };
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    let show = text::Show { limit, paths: args.paths, brief: args.pages.any(), colour: cx.ui.colours() };
    let names = paths.map(|path| path.display().to_string());
    let mut report = Report::new(&report, names, show);
    if let Some(policy) = policy {
        policy.apply(&mut report);
    }
    let status = match &*report.verdict {
        "identical" => Status::Success,
        "tolerated" => Status::Tolerated,
        "different" => Status::Negative,
        _ => Status::Unexplained,
    };
    if !args.pages.write(&report, limit, &cx.ui)? {
        cx.ui.result(args.output, &report)?;
    }
    Ok(status)
}

/// What differs between two files that are called `names`, as a page and as what `--json` prints. Nothing if
/// they have the same bytes.
pub fn documents(
    paths: [&Path; 2],
    names: [String; 2],
    jobs: NonZero<usize>,
    cx: &Context,
) -> Result<Option<(String, String)>, Failure> {
    let report = compared(paths, &Options::new(jobs), cx)?;
    if report.root.is_none() {
        return Ok(None);
    }
    let report = Report::new(&report, names, text::Show::default());
    let json = serde_json::to_string_pretty(&report).map_err(Failure::internal)?;
    Ok(Some((html::page(&report, LIMIT), format!("{json}\n"))))
}

/// The page made of what `--json` printed, of two files that are called `names`.
///
/// # Errors
/// What is wrong with the text, which may be anybody's.
pub fn page_of(json: &str, names: [String; 2]) -> Result<String, String> {
    Report::read(json, names).map(|report| html::page(&report, LIMIT))
}

/// How many differences of each file inside are shown, if nobody asks for more.
const LIMIT: usize = 100;

/// What differs between two files, or two directories.
fn compared(paths: [&Path; 2], options: &Options, cx: &Context) -> Result<compare::Report, Failure> {
    let temporary = cx.settings.temporary();
    if paths.iter().all(|path| path.as_os_str() == STANDARD_INPUT) {
        return Err(Failure::usage("standard input cannot be both files"));
    }
    let is_dir = |path: &&Path| path.as_os_str() != STANDARD_INPUT && path.is_dir();
    if paths.iter().all(is_dir) {
        return directory::compare(paths, options, cx);
    }
    let [first, second] = [open(paths[0], temporary)?, open(paths[1], temporary)?];
    compare::compare(&first, &second, options).map_err(|error| {
        let paths = format!("{} and {}", paths[0].display(), paths[1].display());
        Failure::input(error).context(format!("cannot read all of {paths}"))
    })
}

/// What stands for standard input.
const STANDARD_INPUT: &str = "-";

fn open(path: &Path, temporary: &Path) -> Result<Source, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::input(error).context(format!("cannot read {}", path.display()));
    if path.as_os_str() == STANDARD_INPUT {
        let failed = |error: std::io::Error| Failure::input(error).context("cannot read standard input");
        return standard_input(temporary).map(|file| Arc::new(file) as Source).map_err(failed);
    }
    // Before it is opened: opening a named pipe waits for whoever writes to it.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        let message = format!("{} is not a regular file", path.display());
        return Err(Failure::input(message).hint(
            "compare images, archives or files with each other, or two directories; `-` takes a pipe",
        ));
    }
    let file = File::open(path).and_then(|file| whole(file, temporary));
    file.map(|file| Arc::new(Holes(file)) as Source).map_err(unreadable)
}

/// A file whose length is what the kernel says: those of /proc hold more, and others may grow.
fn whole(mut file: File, temporary: &Path) -> io::Result<File> {
    let more = file.read_at(&mut [0], file.metadata()?.len())? > 0;
    if more { copied(&mut file, temporary) } else { Ok(file) }
}

/// Standard input, which must be a file to be read anywhere: what comes through a pipe is copied to one without a name.
fn standard_input(temporary: &Path) -> io::Result<File> {
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    if input.metadata()?.is_file() && input.stream_position()? == 0 {
        return whole(input, temporary);
    }
    copied(&mut input, temporary)
}

fn copied(input: &mut File, temporary: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mut copy = File::from(rustix::fs::open(temporary, flags, Mode::RUSR | Mode::WUSR)?);
    io::copy(input, &mut copy)?;
    Ok(copy)
}
