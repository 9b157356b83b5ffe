//! `selfsame check`

pub mod culprit;
pub mod diffs;
pub mod plan;
mod provenance;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime};

use selfsame_build::check::{self, Culprit, Differences, Progress, VARIATIONS, Variation};
use serde::Serialize;

use self::culprit::Kind;
use self::provenance::Provenance;
use super::build::{Asked, Reach};
use super::place::Place;
use super::{Context, given};
use crate::failure::{Failure, Status};
use crate::ui::{Output, Present, harmless_line};

/// Build again on what looks like another machine, and say what of it gets into the image
///
/// Builds the recipe from its lock as `selfsame build` does, and again with another clock, time zone, locale, umask, host
/// name, order of directories and more: `--list` tells all of them. If any file differs, a few more builds find out which of
/// these it comes from, and in which stage it first differed.
///
/// Values are drawn from a seed; the same seed repeats them. What was varied is written to `plan.toml` in the directory for
/// the results, and `--plan` does the same again. Outputs that differ stay there for `selfsame diff`.
///
/// The clock and the machine are pretended to the programs in the sandbox: docs/checking.md says what each variation proves,
/// and what it does not. With `--in vm` each experiment has a virtual machine whose clock, memory and processors are what the
/// experiment says; the control is built in the sandbox.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame check my-image
  selfsame check my-image --vary clock,locale,directory-order
  selfsame check my-image --experiments 20 --seed 7
  selfsame check my-image --experiments 100 --budget 20m
  selfsame check my-image --plan results/plan.toml
  selfsame check my-image --in vm --vary clock,memory,processor-model
  selfsame check --list

Exit status: 0 the same everywhere, 1 something differs.")]
pub struct Args {
    /// Directory of the recipe
    #[arg(default_value = ".", hide_default_value = true)]
    recipe: PathBuf,
    /// Directory for the results, made if missing; it must have none yet
    #[arg(long, value_name = "DIR", default_value = "results")]
    out: PathBuf,
    /// Vary these only, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = named, conflicts_with = "plan")]
    vary: Vec<&'static Variation>,
    /// Vary everything that can be varied, as is done without --vary
    #[arg(long, conflicts_with_all = ["vary", "plan"])]
    all: bool,
    /// Begin no build any more when so much time has gone by, as in 90s, 20m or 2h. The first experiment is made in any case
    #[arg(long, value_name = "TIME")]
    budget: Option<Budget>,
    /// How many experiments vary everything, each with other values
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000), conflicts_with = "plan")]
    experiments: u32,
    /// What the values are drawn from, 0 to 4294967295 [default: another one each time]
    #[arg(long, value_name = "N", conflicts_with = "plan")]
    seed: Option<u32>,
    /// Do again what this file says, which an earlier check wrote
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Build nothing; tell what can be varied
    #[arg(long, conflicts_with_all = ["vary", "plan", "seed", "experiments", "budget", "all"])]
    list: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    output: Output,
}

/// Reads one name of `--vary`.
fn named(name: &str) -> Result<&'static Variation, String> {
    Variation::named(name).ok_or_else(|| {
        let names: Vec<_> = VARIATIONS.iter().map(|variation| variation.name).collect();
        format!("it is none of {}", names.join(", "))
    })
}

/// Some time: the value of `--budget`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Budget(Duration);

impl FromStr for Budget {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "expected a whole number of seconds, minutes or hours, for example 90s, 20m or 2h";
        let units = [('s', 1), ('m', 60), ('h', 60 * 60)];
        let unit = units.iter().find_map(|(letter, unit)| Some((text.strip_suffix(*letter)?, *unit)));
        let (number, unit) = unit.ok_or(expected)?;
        // A sign would be understood, and mean nothing.
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let number: u32 = number.parse().ok().filter(|_| digits).ok_or(expected)?;
        Ok(Self(Duration::from_secs(u64::from(number) * unit)))
    }
}

/// What can be varied.
#[derive(Debug, Serialize)]
struct List {
    variations: Vec<Listed>,
}

#[derive(Debug, Serialize)]
struct Listed {
    name: &'static str,
    control: &'static str,
    experiment: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    limits: &'static str,
}

impl Present for List {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        for Listed { name, control, experiment, limits } in &self.variations {
            writeln!(to, "{name}\n  every build: {control}\n  experiment:  {experiment}")?;
            if !limits.is_empty() {
                writeln!(to, "  but:         {limits}")?;
            }
        }
        Ok(())
    }
}

/// What `check` gives. The JSON form is an interface that scripts rely on.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Report {
    /// Of this form: 1.
    format: u32,
    #[serde(flatten)]
    provenance: Provenance,
    /// Whether every experiment made the same bytes.
    identical: bool,
    /// Whether the time was spent before all experiments and the search were done.
    spent: bool,
    seed: u64,
    control: Vec<Made>,
    experiments: Vec<Experiment>,
    findings: Vec<Finding>,
    /// Where the results are.
    results: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Made {
    path: String,
    /// 64 lower-case hexadecimal digits.
    sha256: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Experiment {
    number: usize,
    seed: u64,
    varied: Vec<Varied>,
    /// The first stage that was made anew.
    from: &'static str,
    /// What differs from the control, by name.
    differing: Vec<String>,
    /// Where its outputs are, if they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<String>,
    /// How the build failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
    seconds: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Varied {
    name: &'static str,
    value: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    what: String,
    culprit: Kind,
    /// Names of variations, with the values it differed with.
    varied: Vec<Varied>,
    /// The stage in which it first differed, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'static str>,
    /// Names for `selfsame explain`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<&'static str>,
    /// The experiment in which to look at it.
    experiment: usize,
    /// How the build failed, if that is what differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
    /// What differs between the outputs, among the results, with `.html` or `.json` behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
}

impl Report {
    fn of(found: &check::Report, provenance: Provenance, seed: u64, results: &Path) -> Self {
        let lossy = |path: &Path| path.to_string_lossy().into_owned();
        let made = |file: &selfsame_build::execute::BuiltFile| Made {
            path: lossy(&file.path),
            sha256: file.content.digest.to_string(),
        };
        let varied = |(variation, value): &(&'static Variation, String)| Varied {
            name: variation.name,
            value: value.clone(),
        };
        let experiment = |one: &check::Experiment| Experiment {
            number: one.number,
            seed: one.seed,
            varied: one.varied.iter().map(varied).collect(),
            from: one.from.name(),
            differing: one.differing.keys().cloned().collect(),
            kept: one.kept.as_deref().map(lossy),
            failed: one.failed.clone(),
            seconds: one.seconds,
        };
        Self {
            format: 1,
            provenance,
            identical: found.findings.is_empty(),
            spent: found.spent,
            seed,
            control: found.control.outputs.iter().map(made).collect(),
            experiments: found.experiments.iter().map(experiment).collect(),
            findings: found.findings.iter().map(Finding::of).collect(),
            results: lossy(results),
        }
    }
}

impl Finding {
    fn of(found: &check::Finding) -> Self {
        let (culprit, names): (_, Vec<&'static Variation>) = match &found.culprit {
            Culprit::Nothing => (Kind::Nothing, Vec::new()),
            Culprit::One(one) => (Kind::Varied, vec![*one]),
            Culprit::Together(some) => (Kind::Together, some.clone()),
            Culprit::Unsteady => (Kind::Unsteady, Vec::new()),
            Culprit::Unsearched => (Kind::Unsearched, Vec::new()),
        };
        let values = found.values.iter().cloned().chain(std::iter::repeat(String::new()));
        let varied = names.into_iter().zip(values);
        Self {
            what: found.what.clone(),
            culprit,
            varied: varied.map(|(variation, value)| Varied { name: variation.name, value }).collect(),
            stage: found.stage.map(|stage| stage.name()),
            causes: found.causes.clone(),
            experiment: found.experiment,
            failed: found.failed.clone(),
            diff: None,
        }
    }

    fn reason(&self) -> String {
        let varied = self.varied.iter().map(|one| (one.name, one.value.as_str()));
        self.culprit.reason(varied, self.failed.is_some())
    }
}

impl Present for Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        for finding in &self.findings {
            writeln!(to, "{}", harmless_line(&finding.what))?;
            writeln!(to, "  {}", harmless_line(&finding.reason()))?;
            if let Some(stage) = finding.stage {
                writeln!(to, "  first in stage {stage}")?;
            }
            for cause in &finding.causes {
                writeln!(to, "  looks like {cause}: `selfsame explain {cause}`")?;
            }
            match &finding.failed {
                Some(error) => {
                    error.lines().try_for_each(|line| writeln!(to, "    {}", harmless_line(line)))?
                }
                None => writeln!(to, "  to be seen in experiment {}", finding.experiment)?,
            }
        }
        let builds = self.experiments.len();
        let builds = if builds == 1 { "1 experiment".into() } else { format!("{builds} experiments") };
        match self.findings.len() {
            0 => writeln!(to, "identical in {builds}, seed {}", self.seed),
            1 => writeln!(to, "1 difference, {builds}, seed {}", self.seed),
            count => writeln!(to, "{count} differences, {builds}, seed {}", self.seed),
        }
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    if args.list {
        let listed = |one: &Variation| Listed {
            name: one.name,
            control: one.control,
            experiment: one.experiment,
            limits: one.limits,
        };
        cx.ui.result(args.output, &List { variations: VARIATIONS.iter().map(listed).collect() })?;
        return Ok(Status::Success);
    }
    let plan = match &args.plan {
        Some(path) => plan::read(path)?,
        None => check::Plan {
            variations: VARIATIONS
                .iter()
                .filter(|one| args.all || args.vary.is_empty() || args.vary.contains(one))
                .collect(),
            seed: args.seed.map_or_else(plan::any_seed, Ok)?.into(),
            experiments: args.experiments,
        },
    };
    let started = SystemTime::now();
    let until = args.budget.and_then(|Budget(time)| Instant::now().checked_add(time));
    let asked = Asked {
        recipe: &args.recipe,
        out: &args.out,
        until: None,
        anew: false,
        forecast: false,
        reach: &args.reach,
        remote: None,
        place: Some(&args.place),
        keep: false,
    };
    asked.prepare(cx, |request| {
        plan::place(&args.out)?;
        plan::write(&plan, &args.out)?;
        let mut tell = |progress: Progress<'_>| cx.ui.note(&told(&progress));
        let found = check::check(request, &plan, until, &mut tell)?;
        let provenance = Provenance::of(request, started);
        let mut report = Report::of(&found, provenance, plan.seed, &args.out);
        diffs::write(&mut report, &found, &args.out, request.jobs, cx)?;
        plan::keep_report(&report, &args.out)?;
        if found.spent {
            cx.ui.warn("the time was spent before all that was planned was done");
        }
        if let Some(line) = hint(&report, &found) {
            cx.ui.note(&line);
        }
        cx.ui.result(args.output, &report)?;
        Ok(if report.identical { Status::Success } else { Status::Negative })
    })
}

/// What is said while it goes on.
fn told(progress: &Progress<'_>) -> String {
    match progress {
        Progress::Control(_) => "the control is built".into(),
        Progress::Begins(number, varied) => match varied {
            [] => format!("experiment {number}: nothing varied"),
            [(one, value)] => format!("experiment {number}: {} {value}", one.name),
            many => {
                let names: Vec<_> = many.iter().map(|(one, _)| one.name).collect();
                format!("experiment {number}: {}", names.join(", "))
            }
        },
        Progress::Ended(experiment) => {
            let found = match Differences::len(&experiment.differing) {
                _ if experiment.failed.is_some() => "the build fails".into(),
                0 => "identical".into(),
                1 => "1 difference".into(),
                count => format!("{count} differences"),
            };
            format!("experiment {}: {found}, {:.1} s", experiment.number, experiment.seconds)
        }
    }
}

/// How to look at the first finding.
fn hint(report: &Report, found: &check::Report) -> Option<String> {
    let first = report.findings.first()?;
    let experiment = found.experiments.iter().find(|one| one.number == first.experiment)?;
    let image = &found.control.outputs.first()?.path;
    let other = experiment.kept.as_deref()?.join(image.file_name()?);
    Some(format!("`selfsame diff {} {}` shows the first one", image.display(), other.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_number_with_its_unit() {
        for (text, seconds) in [("90s", 90), ("20m", 1200), ("2h", 7200), ("0s", 0)] {
            assert_eq!(text.parse(), Ok(Budget(Duration::from_secs(seconds))), "{text}");
        }
        for text in ["", "20", "m", "-5m", "+5m", "1.5h", "20 m", "5d", "99999999999h"] {
            assert!(text.parse::<Budget>().is_err(), "{text}");
        }
    }
}
