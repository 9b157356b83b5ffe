//! `selfsame report`

mod field;
mod junit;
mod model;
mod pages;
mod results;
mod site;
mod summary;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use self::model::Check;
use self::site::Place;
use super::{Context, forms};
use crate::failure::{Failure, Status};
use crate::ui::{Output, Present, harmless_line};

/// Make pages of what `selfsame check` found
///
/// Reads directories with results, or a directory that has many of them: the history of a recipe. Writes a site of plain
/// files that any web server can serve and any browser opens: which check found what with which variation, where images come
/// from, how to do it again, and what differs, byte by byte. The site loads nothing and needs no script. The same results
/// give the same bytes.
///
/// Results may be anybody's: nothing of them becomes markup, no link in them is followed, and the pages of their diffs are
/// made anew.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame report --out site
  selfsame report results/monday results/tuesday --out site
  selfsame report /srv/checks --out /srv/www/checks
  selfsame report --junit report.xml --markdown report.md
  selfsame report --markdown - >> \"$GITHUB_STEP_SUMMARY\"

Exit status: 0 written, whatever the checks found; 3 some results cannot be used.")]
pub struct Args {
    /// Directories that `selfsame check` wrote, or that have such directories in them
    #[arg(value_name = "RESULTS", default_value = "results")]
    results: Vec<PathBuf>,
    /// Directory for the site: a new or empty one, or that of an earlier report, which is replaced in one step
    #[arg(long, value_name = "DIR", required_unless_present_any = ["junit", "markdown"])]
    out: Option<PathBuf>,
    /// Write the checks as JUnit XML, a test case for each variation, to FILE (- for standard output)
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a short summary in Markdown, for a comment on a change, to FILE (- for standard output)
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// What `report` gives. The JSON form is an interface that scripts rely on.
#[derive(Debug, Serialize)]
struct Report {
    checks: Vec<Told>,
    /// The first page of the site.
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<String>,
}

#[derive(Debug, Serialize)]
struct Told {
    recipe: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    identical: bool,
    differences: usize,
    /// Directory of its page in the site.
    page: String,
}

impl Told {
    fn of(check: &Check) -> Self {
        Self {
            recipe: check.recipe.clone(),
            started: check.started.clone(),
            identical: check.findings.is_empty(),
            differences: check.findings.len(),
            page: check.id.clone(),
        }
    }
}

impl Present for Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        let identical = self.checks.iter().filter(|check| check.identical).count();
        let different = self.checks.len() - identical;
        writeln!(to, "checks: {}, identical: {identical}, with differences: {different}", self.checks.len())?;
        self.site.iter().try_for_each(|site| writeln!(to, "{}", harmless_line(site)))
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let places = || [&args.junit, &args.markdown].into_iter().flatten().map(PathBuf::as_path);
    let inputs: Vec<&Path> = args.results.iter().map(PathBuf::as_path).collect();
    forms::check(places(), &inputs, args.output.json)?;
    let place = args.out.as_deref().map(Place::look).transpose()?;
    let (found, unfinished) = results::all(&args.results)?;
    if unfinished > 0 {
        cx.ui.note(&format!("directories without a report, as of a check that did not end: {unfinished}"));
    }
    let site = place.map(|place| place.fill(&found, cx)).transpose()?;
    let checks: Vec<&Check> = found.iter().map(|results| &results.check).collect();
    let mut printed = false;
    if let Some(path) = &args.junit {
        printed |= forms::put(path, junit::document(&checks), &cx.ui)?;
    }
    if let Some(path) = &args.markdown {
        printed |= forms::put(path, summary::text(&checks), &cx.ui)?;
    }
    if !printed {
        let site = site.map(|site| site.display().to_string());
        let checks = checks.into_iter().map(Told::of).collect();
        cx.ui.result(args.output, &Report { checks, site })?;
    }
    Ok(Status::Success)
}
