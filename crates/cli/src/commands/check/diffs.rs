//! What differs in each finding, as files among the results.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::path::Path;

use selfsame_build::check;

use super::{Report, plan};
use crate::commands::{Context, diff};
use crate::failure::Failure;

/// Name of the directory among the results.
const DIRECTORY: &str = "diffs";

/// Compares the outputs that show each finding, writes what differs as HTML and JSON, and notes where in the report.
///
/// What cannot be compared is warned of: the report is worth more than that.
pub(super) fn write(
    report: &mut Report,
    found: &check::Report,
    out: &Path,
    jobs: NonZero<usize>,
    cx: &Context,
) -> Result<(), Failure> {
    let mut known: BTreeMap<(usize, String), Option<String>> = BTreeMap::new();
    for finding in &mut report.findings {
        let experiment = found.experiments.iter().find(|one| one.number == finding.experiment);
        let Some(kept) = experiment.and_then(|one| one.kept.as_deref()) else { continue };
        for name in outputs(&finding.what, found) {
            let key = (finding.experiment, name.clone());
            if !known.contains_key(&key) {
                cx.interrupt.check()?;
                let pair = [&*out.join("control").join(&name), &*kept.join(&name)];
                let written = pair_of(pair, finding.experiment, &name, out, jobs, cx);
                let written = written.unwrap_or_else(|failure| {
                    cx.ui
                        .warn(&format!("{name} of experiment {} has no diff: {failure}", finding.experiment));
                    None
                });
                known.insert(key.clone(), written);
            }
            finding.diff = known[&key].clone();
            if finding.diff.is_some() {
                break;
            }
        }
    }
    Ok(())
}

/// Names of the outputs that may show `what`: the one that it names, else, of a file of the image, any.
fn outputs(what: &str, found: &check::Report) -> Vec<String> {
    let file_name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut names: Vec<String> =
        found.control.outputs.iter().filter_map(|file| file_name(&file.path)).collect();
    let named = |name: &String| {
        what.strip_prefix(name.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(": ") || rest.starts_with(" ("))
    };
    if let Some(index) = names.iter().position(named) {
        names = vec![names.swap_remove(index)];
    }
    names
}

/// Writes what differs between two outputs; its place among the results without the end of the name, or `None` if nothing does.
fn pair_of(
    pair: [&Path; 2],
    experiment: usize,
    name: &str,
    out: &Path,
    jobs: NonZero<usize>,
    cx: &Context,
) -> Result<Option<String>, Failure> {
    // Of a name that only one of them has there is nothing to show.
    if !pair.iter().all(|path| path.is_file()) {
        return Ok(None);
    }
    let Some((html, json)) = diff::documents(pair, names(experiment, name), jobs, cx)? else {
        return Ok(None);
    };
    let place = format!("{DIRECTORY}/{experiment}-{name}");
    let failed = |error| Failure::environment(error).context(format!("cannot write {DIRECTORY}"));
    fs::create_dir_all(out.join(DIRECTORY)).map_err(failed)?;
    for (text, form) in [(html, "html"), (json, "json")] {
        plan::keep(&out.join(format!("{place}.{form}")), &text)?;
    }
    Ok(Some(place))
}

/// What both sides of a diff are called, wherever the results lie.
pub(crate) fn names(experiment: usize, output: &str) -> [String; 2] {
    [format!("control/{output}"), format!("{experiment}/{output}")]
}
