//! `selfsame normalise`

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use selfsame_image::normalise::{self, HANDLERS, Handler, Outcome, Rules, Times};
use selfsame_image::{Epoch, ReadAt as _, par};
use serde::Serialize;

use super::Context;
use crate::failure::{Failure, Status};
use crate::ui::{Output, Present, harmless_line};
use files::Group;

mod files;
mod write;

/// Take out of files when, where and by whom they were made
///
/// Times after the epoch become the epoch, owners and permissions of members those that everybody gets, and an order
/// that nobody reads is sorted. What a file means stays: what is signed, damaged or not understood is left as it is,
/// and named. Files change in place, each in one step; a second run changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame normalise --epoch 1700000000 build/usr
  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) selfsame normalise app.jar doc/api
  selfsame normalise --check --json out/tree
  selfsame normalise --without pyc,javadoc out/tree

Exit status: 0 all files are as they should be now, with --check: were before; 1 with --check: something would change.")]
pub struct Args {
    /// Files, and directories with everything below them. Symbolic links are not followed
    #[arg(value_name = "PATH", required_unless_present = "list")]
    paths: Vec<PathBuf>,
    /// Change nothing, and say what would change
    #[arg(long)]
    check: bool,
    /// List the handlers: which files are known, and what is changed in them
    #[arg(long, conflicts_with_all = ["paths", "check"])]
    list: bool,
    /// The latest time that may stay, in seconds since 1970 [default: SOURCE_DATE_EPOCH]
    #[arg(long, value_name = "SECONDS")]
    epoch: Option<u32>,
    /// Earlier times become the epoch, too, but for those that people wrote or that are compared with other files
    #[arg(long)]
    all_times: bool,
    /// Use these handlers only
    #[arg(long, value_name = "HANDLER", value_delimiter = ',')]
    only: Vec<String>,
    /// Use all handlers but these
    #[arg(long, value_name = "HANDLER", value_delimiter = ',')]
    without: Vec<String>,
    /// How many threads work at a time [default: four for each processor, since they wait for the disk]
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    #[command(flatten)]
    output: Output,
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    if args.list {
        cx.ui.result(args.output, &List::of_all())?;
        return Ok(Status::Success);
    }
    let rules =
        Rules { times: Times { epoch: epoch(args, cx)?, all: args.all_times }, handlers: handlers(args)? };
    let groups = files::groups(&args.paths)?;
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let jobs = args.jobs.or(NonZero::new(4 * processors)).unwrap_or(NonZero::<usize>::MIN);
    let mut report = Report { check: args.check, files: 0, changed: Vec::new(), left: Vec::new() };
    par::map_ordered(
        jobs,
        groups.into_iter(),
        |group| {
            cx.interrupt.check()?;
            let outcome = normalised(&group, &rules, args.check)?;
            Ok::<_, Failure>((group, outcome))
        },
        |result| {
            let (group, outcome) = result?;
            report.add(&group, outcome);
            Ok::<(), Failure>(())
        },
    )?;
    cx.ui.result(args.output, &report)?;
    let negative = args.check && !report.changed.is_empty();
    Ok(if negative { Status::Negative } else { Status::Success })
}

fn epoch(args: &Args, cx: &Context) -> Result<Epoch, Failure> {
    let of_environment = || cx.settings.source_date_epoch(SystemTime::now()).transpose();
    args.epoch.map(|seconds| Ok(Epoch(seconds))).or_else(of_environment).unwrap_or_else(|| {
        Err(Failure::usage("it is not said which time is the latest that may stay")
            .hint("give `--epoch SECONDS` or set SOURCE_DATE_EPOCH, for example to the output of `git log -1 --format=%ct`"))
    })
}

fn handlers(args: &Args) -> Result<Vec<&'static Handler>, Failure> {
    for name in args.only.iter().chain(&args.without) {
        normalise::handler(name).ok_or_else(|| {
            Failure::usage(format!("no handler is called `{name}`"))
                .hint("`selfsame normalise --list` names all of them")
        })?;
    }
    let named = |names: &[String], handler: &Handler| names.iter().any(|name| name == handler.name);
    let wanted = |handler: &&Handler| {
        (args.only.is_empty() || named(&args.only, handler)) && !named(&args.without, handler)
    };
    Ok(HANDLERS.iter().filter(wanted).collect())
}

/// The handler that knew a file, and what came of it.
type Known = (&'static str, Outcome);

/// Normalises a file under all of its names; `None` if nobody knows it.
fn normalised(group: &Group, rules: &Rules, check: bool) -> Result<Option<Known>, Failure> {
    let path = &group.names[0];
    let cannot = |error: io::Error| Failure::input(error).context(format!("cannot read {}", path.display()));
    let mut file = files::open(path).map_err(cannot)?;
    let name = path.as_os_str().as_bytes();
    let size = file.size().map_err(cannot)?;
    // To read a small one costs as much as to glance at it.
    if size > GLANCE && !normalise::is_candidate(name, &file).map_err(cannot)? {
        return Ok(None);
    }
    let Some(bytes) = read(&mut file, size).map_err(cannot)? else {
        let reason = format!("it is longer than {} MiB", normalise::LONGEST >> 20);
        return Ok(Some(("any", Outcome::Left(reason))));
    };
    let bytes = Arc::new(bytes);
    let Some((handler, outcome)) = normalise::normalise(name, &bytes, rules) else { return Ok(None) };
    let handler = handler.name;
    let Outcome::Changed { bytes: new, done } = outcome else { return Ok(Some((handler, outcome))) };
    if group.elsewhere > 0 {
        let reason = format!("{} more names of it are not in what was given", group.elsewhere);
        return Ok(Some((handler, Outcome::Left(reason))));
    }
    if !check {
        write::replace(group, &file, &new)?;
    }
    // Reports of many files wait for each other: without what is in them.
    Ok(Some((handler, Outcome::Changed { bytes: Vec::new(), done })))
}

/// Files up to this length are read before it is known whether anybody knows them.
const GLANCE: u64 = 256 << 10;

/// All of a file of about `size` bytes; `None` if it is longer than is looked at.
fn read(file: &mut File, size: u64) -> io::Result<Option<Vec<u8>>> {
    let room = usize::try_from(size.min(normalise::LONGEST)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(room + 1);
    file.take(normalise::LONGEST + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= normalise::LONGEST).then_some(bytes))
}

#[derive(Debug, Serialize)]
struct Report {
    /// Whether nothing was changed, but told.
    check: bool,
    /// How many files were looked at.
    files: u64,
    changed: Vec<Changed>,
    left: Vec<LeftAlone>,
}

#[derive(Debug, Serialize)]
struct Changed {
    path: String,
    handler: &'static str,
    /// What was done, and how often.
    done: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
struct LeftAlone {
    path: String,
    handler: &'static str,
    reason: String,
}

impl Report {
    fn add(&mut self, group: &Group, known: Option<Known>) {
        self.files += group.names.len() as u64;
        for path in &group.names {
            let path = path.to_string_lossy().into_owned();
            match &known {
                Some((handler, Outcome::Changed { done, .. })) => {
                    self.changed.push(Changed { path, handler, done: done.clone() });
                }
                Some((handler, Outcome::Left(reason))) => {
                    self.left.push(LeftAlone { path, handler, reason: reason.clone() });
                }
                Some((_, Outcome::Unchanged)) | None => {}
            }
        }
    }
}

impl Present for Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        let word = if self.check { "would change" } else { "changed" };
        for Changed { path, handler, done } in &self.changed {
            let one = |(what, count): (&&str, &u64)| match count {
                1 => (*what).to_owned(),
                count => format!("{what} ({count} times)"),
            };
            let done: Vec<String> = done.iter().map(one).collect();
            writeln!(to, "{}: {word} ({handler}): {}", harmless_line(path), done.join(", "))?;
        }
        for LeftAlone { path, handler, reason } in &self.left {
            writeln!(to, "{}: left ({handler}): {}", harmless_line(path), harmless_line(reason))?;
        }
        let (changed, left) = (self.changed.len(), self.left.len());
        writeln!(to, "{} files: {changed} {word}, {left} left as they are", self.files)
    }
}

#[derive(Debug, Serialize)]
struct List {
    handlers: Vec<Listed>,
}

#[derive(Debug, Serialize)]
struct Listed {
    handler: &'static str,
    about: &'static str,
}

impl List {
    fn of_all() -> Self {
        let one = |handler: &Handler| Listed { handler: handler.name, about: handler.about };
        Self { handlers: HANDLERS.iter().map(one).collect() }
    }
}

impl Present for List {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        self.handlers.iter().try_for_each(|Listed { handler, about }| writeln!(to, "{handler:<12}{about}"))
    }
}
