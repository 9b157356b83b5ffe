//! What a check varies, as a file, and the directory for its results.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use selfsame_build::check::{Plan, Variation};
use serde::{Deserialize, Serialize};

use super::{Report, given};
use crate::failure::Failure;
use crate::replace::replace;

/// Longest plan that is read, in bytes.
pub const LONGEST: u64 = 1 << 16;
/// Name of the plan among the results.
pub const PLAN: &str = "plan.toml";
/// Name of the report among the results.
pub const REPORT: &str = "report.json";

/// A plan as it is written.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    seed: u32,
    experiments: u32,
    vary: Vec<String>,
}

/// The plan in the file `path`.
pub(super) fn read(path: &Path) -> Result<Plan, Failure> {
    let text = given::text(path, LONGEST, "the plan")?;
    let wrong = |problem: String| {
        Failure::input(problem)
            .context(format!("{} is no plan of a check", path.display()))
            .hint("`selfsame check` writes one among its results: plan.toml")
    };
    let written: Written =
        toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end().replace('\n', ", ")))?;
    if written.format != 1 {
        return Err(wrong(format!("its format is {}, not 1", written.format)));
    }
    if !(1..=1000).contains(&written.experiments) || written.vary.is_empty() {
        return Err(wrong("it needs 1 to 1000 experiments, and something to vary".into()));
    }
    let named =
        |name: &String| Variation::named(name).ok_or_else(|| wrong(format!("{name:?} cannot be varied")));
    let variations = written.vary.iter().map(named).collect::<Result<Vec<_>, _>>()?;
    let twice = (1..variations.len()).find(|at| variations[..*at].contains(&variations[*at]));
    if let Some(at) = twice {
        return Err(wrong(format!("{} is there twice", variations[at].name)));
    }
    Ok(Plan { variations, seed: written.seed.into(), experiments: written.experiments })
}

/// Writes `plan` among the results in `out`.
pub(super) fn write(plan: &Plan, out: &Path) -> Result<(), Failure> {
    let written = Written {
        format: 1,
        seed: u32::try_from(plan.seed).map_err(|_| Failure::internal("a seed is too large"))?,
        experiments: plan.experiments,
        vary: plan.variations.iter().map(|variation| variation.name.to_owned()).collect(),
    };
    let text = toml::to_string(&written).map_err(|error| Failure::internal(error.to_string()))?;
    keep(&out.join(PLAN), &text)
}

/// Writes the report among the results in `out`.
pub(super) fn keep_report(report: &Report, out: &Path) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(report).map_err(|error| Failure::internal(error.to_string()))?;
    keep(&out.join(REPORT), &format!("{text}\n"))
}

/// Writes a file among the results.
pub(super) fn keep(path: &Path, text: &str) -> Result<(), Failure> {
    replace(path, text)
        .map_err(|error| Failure::environment(error).context(format!("cannot write {}", path.display())))
}

/// Makes the directory for the results. One that has results is left alone.
pub(super) fn place(out: &Path) -> Result<(), Failure> {
    let context = || format!("cannot write results to {}", out.display());
    fs::create_dir_all(out).map_err(|error| Failure::environment(error).context(context()))?;
    let mut entries = fs::read_dir(out).map_err(|error| Failure::environment(error).context(context()))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(Failure::usage("there is something in it already")
            .context(context())
            .hint("choose another directory with --out, or remove it")),
    }
}

/// A seed that nobody chose.
pub(super) fn any_seed() -> Result<u32, Failure> {
    let mut bytes = [0; 4];
    let read = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error: io::Error| Failure::environment(error).context("cannot draw a seed"))?;
    Ok(u32::from_ne_bytes(bytes))
}
