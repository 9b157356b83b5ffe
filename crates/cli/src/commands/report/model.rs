//! A check as its report tells it, and what follows from it.

use std::collections::BTreeSet;

use selfsame_build::check::VARIATIONS;
use selfsame_image::Digest;
use serde_json::Value;

use super::field::Field;
use crate::commands::check::culprit::Kind;

/// The form of a report that is understood.
const FORMAT: u64 = 1;
/// Variations that one report may name: nobody has more, and each is a column.
const MOST_VARIATIONS: usize = 100;

/// A check. Its texts may be anybody's, and of any length.
#[derive(Clone, Debug)]
pub(super) struct Check {
    /// Names it among others, the same wherever the results lie: letters, digits and hyphens.
    pub(super) id: String,
    /// Name of the directory with its results among others, if it was one of several.
    pub(super) directory: Option<String>,
    pub(super) recipe: String,
    pub(super) commit: Option<String>,
    /// The moment of the images.
    pub(super) epoch: Option<String>,
    /// SHA-256 of the lock.
    pub(super) lock: Option<String>,
    /// Version of the program.
    pub(super) program: Option<String>,
    /// As `2026-11-23T05:36:54Z`.
    pub(super) started: Option<String>,
    pub(super) seed: u64,
    pub(super) images: Vec<Image>,
    pub(super) experiments: Vec<Experiment>,
    pub(super) findings: Vec<Finding>,
}

/// An output of the control.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// Name of the file, without a directory.
    pub(super) name: String,
    pub(super) sha256: String,
}

#[derive(Clone, Debug)]
pub(super) struct Experiment {
    pub(super) number: u64,
    pub(super) seed: u64,
    pub(super) varied: Vec<Varied>,
    pub(super) from: String,
    /// How many things differ.
    pub(super) differing: usize,
    pub(super) failed: Option<String>,
    pub(super) seconds: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Varied {
    /// Lower-case letters, digits and hyphens.
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) what: String,
    pub(super) culprit: Kind,
    pub(super) varied: Vec<Varied>,
    pub(super) stage: Option<String>,
    pub(super) causes: Vec<String>,
    pub(super) experiment: u64,
    pub(super) failed: Option<String>,
    pub(super) diff: Option<Diff>,
}

/// Where the diff of a finding is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Diff {
    pub(super) experiment: usize,
    /// Name of the output.
    pub(super) output: String,
}

/// What came of a variation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    /// It was varied, and nothing is told of it.
    Same,
    /// So many findings name it.
    Differs(usize),
    /// The build fails with it.
    Fails,
    NotVaried,
}

impl Check {
    /// The check that `text` tells of, the content of a file `report.json`.
    ///
    /// # Errors
    /// What is wrong, with the name of the field.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let whole = Field::whole(&value);
        whole.object()?;
        // Earlier than the number: the first form.
        let format = whole.get("format").optional().map_or(Ok(FORMAT), |format| format.number())?;
        if format != FORMAT {
            return Err(format!("its format is {format}, and this selfsame reads {FORMAT}: use a newer one"));
        }
        let digest = |name| optional(&whole, name, "64 hexadecimal digits", &|text| is_digest(text));
        let moment = |name| optional(&whole, name, "a moment such as 2026-11-23T05:36:54Z", &is_moment);
        let any = |_: &str| true;
        let commit = |text: &str| matches!(text.len(), 40 | 64) && is_hex(text);
        let started = moment("started")?;
        let short: String = Digest::of(text.as_bytes()).to_string().chars().take(12).collect();
        let plain = |text: &String| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
        let check = Self {
            id: started.as_ref().map_or_else(|| short.clone(), |moment| format!("{}-{short}", plain(moment))),
            directory: None,
            recipe: optional(&whole, "recipe", "a name", &any)?.unwrap_or_else(|| "unnamed recipe".into()),
            commit: optional(&whole, "commit", "40 or 64 hexadecimal digits", &commit)?,
            epoch: moment("epoch")?,
            lock: digest("lock")?,
            program: optional(&whole, "program", "a version", &any)?,
            started,
            seed: whole.get("seed").number()?,
            images: each(&whole, "control", image)?,
            experiments: each(&whole, "experiments", experiment)?,
            findings: each(&whole, "findings", finding)?,
        };
        let identical = whole.get("identical");
        if identical.truth()? != check.findings.is_empty() {
            return Err(identical.wrong("true if there are no `findings`, and only then"));
        }
        if check.varied().len() > MOST_VARIATIONS {
            return Err(format!("`experiments` name more than {MOST_VARIATIONS} variations"));
        }
        Ok(check)
    }

    /// Names of the variations that any experiment varied or a finding names.
    pub(super) fn varied(&self) -> BTreeSet<&str> {
        let of_experiments = self.experiments.iter().flat_map(|one| &one.varied);
        let of_findings = self.findings.iter().flat_map(|one| &one.varied);
        of_experiments.chain(of_findings).map(|one| one.name.as_str()).collect()
    }

    /// Findings that name the variation `name`.
    pub(super) fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Finding> + Clone {
        self.findings.iter().filter(move |one| one.varied.iter().any(|varied| varied.name == name))
    }

    /// Findings that no variation explains.
    pub(super) fn unexplained(&self) -> impl Iterator<Item = &Finding> + Clone {
        self.findings.iter().filter(|one| one.varied.is_empty())
    }

    pub(super) fn cell(&self, name: &str) -> Cell {
        let found = self.of(name);
        match found.clone().count() {
            0 if self.varied().contains(name) => Cell::Same,
            0 => Cell::NotVaried,
            _ if found.clone().any(|one| one.failed.is_some()) => Cell::Fails,
            count => Cell::Differs(count),
        }
    }

    /// The result in a few words.
    pub(super) fn verdict(&self) -> String {
        match self.findings.len() {
            0 => "identical".into(),
            1 => "1 difference".into(),
            count => format!("{count} differences"),
        }
    }

    /// How many experiments there were.
    pub(super) fn effort(&self) -> String {
        match self.experiments.len() {
            1 => "1 experiment".into(),
            count => format!("{count} experiments"),
        }
    }

    /// When it began, for people.
    pub(super) fn day(&self) -> String {
        self.started
            .as_ref()
            .map_or_else(|| "no date".into(), |text| format!("{} {}", &text[..10], &text[11..16]))
    }
}

impl Finding {
    pub(super) fn reason(&self) -> String {
        let varied = self.varied.iter().map(|one| (one.name.as_str(), one.value.as_str()));
        self.culprit.reason(varied, self.failed.is_some())
    }
}

impl Cell {
    /// A sign, and what it means.
    pub(super) fn words(self) -> (&'static str, String) {
        match self {
            Self::Same => ("=", "same".into()),
            Self::Differs(1) => ("≠", "1 difference".into()),
            Self::Differs(count) => ("≠", format!("{count} differences")),
            Self::Fails => ("✕", "the build fails".into()),
            Self::NotVaried => ("·", "not varied".into()),
        }
    }
}

/// The variations that any of `checks` may have: those of this program in their order, then others by name.
pub(super) fn columns<'a>(checks: impl Iterator<Item = &'a Check>) -> Vec<String> {
    let mut names: Vec<String> = VARIATIONS.iter().map(|one| one.name.to_owned()).collect();
    let varied: BTreeSet<String> =
        checks.flat_map(|check| check.varied().into_iter().map(str::to_owned).collect::<Vec<_>>()).collect();
    names.extend(varied.into_iter().filter(|name| VARIATIONS.iter().all(|one| one.name != name)));
    names
}

fn each<T>(of: &Field<'_>, name: &str, one: fn(&Field<'_>) -> Result<T, String>) -> Result<Vec<T>, String> {
    of.get(name).list()?.map(|field| one(&field)).collect()
}

fn optional(
    of: &Field<'_>,
    name: &str,
    expected: &str,
    is_good: &dyn Fn(&str) -> bool,
) -> Result<Option<String>, String> {
    of.get(name).optional().map(|field| field.text_that(expected, is_good)).transpose()
}

fn image(field: &Field<'_>) -> Result<Image, String> {
    let path = field.get("path");
    let name = path.text()?.rsplit('/').next().unwrap_or_default();
    if name.is_empty() {
        return Err(path.wrong("the path of a file"));
    }
    let sha256 = field.get("sha256").text_that("64 hexadecimal digits", is_digest)?;
    Ok(Image { name: name.to_owned(), sha256 })
}

fn experiment(field: &Field<'_>) -> Result<Experiment, String> {
    Ok(Experiment {
        number: field.get("number").number()?,
        seed: field.get("seed").number()?,
        varied: each(field, "varied", varied)?,
        from: field.get("from").text()?.to_owned(),
        differing: field.get("differing").list()?.count(),
        failed: optional(field, "failed", "a string", &|_| true)?,
        seconds: field.get("seconds").seconds()?,
    })
}

fn varied(field: &Field<'_>) -> Result<Varied, String> {
    let is_name = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=40).contains(&text.len()) && text.bytes().all(plain)
    };
    let name = field.get("name").text_that("1 to 40 lower-case letters, digits and hyphens", is_name)?;
    Ok(Varied { name, value: field.get("value").text()?.to_owned() })
}

fn finding(field: &Field<'_>) -> Result<Finding, String> {
    let culprit = field.get("culprit");
    let kind = Kind::named(culprit.text()?).ok_or_else(|| {
        culprit.wrong("\"varied\", \"together\", \"nothing\", \"unsteady\" or \"unsearched\"")
    })?;
    let varied = each(field, "varied", varied)?;
    if matches!(kind, Kind::Varied | Kind::Together) == varied.is_empty() {
        return Err(field.get("varied").wrong("the variations that are the culprit, and empty if none is"));
    }
    let causes = field
        .get("causes")
        .optional()
        .map_or(Ok(Vec::new()), |_| each(field, "causes", |cause| cause.text().map(str::to_owned)))?;
    let diff = field.get("diff").optional();
    let diff = diff.map(|diff| Diff::named(diff.text()?).ok_or_else(|| diff.wrong("as diffs/1-live.iso")));
    Ok(Finding {
        what: field.get("what").text()?.to_owned(),
        culprit: kind,
        varied,
        stage: optional(field, "stage", "a string", &|_| true)?,
        causes,
        experiment: field.get("experiment").number()?,
        failed: optional(field, "failed", "a string", &|_| true)?,
        diff: diff.transpose()?,
    })
}

impl Diff {
    /// The one at `place` among the results.
    fn named(place: &str) -> Option<Self> {
        let (experiment, output) = place.strip_prefix("diffs/")?.split_once('-')?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
        let good = experiment.len() <= 6 && (1..=200).contains(&output.len()) && output.chars().all(plain);
        let experiment = experiment.parse().ok().filter(|_| good)?;
        Some(Self { experiment, output: output.to_owned() })
    }

    /// Where it is among the results, and in the site in the directory of its check, without the end of the name.
    pub(super) fn place(&self) -> String {
        format!("diffs/{}-{}", self.experiment, self.output)
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && is_hex(text)
}

fn is_moment(text: &str) -> bool {
    let form = "0000-00-00T00:00:00Z";
    let fits = |(byte, form): (u8, u8)| if form == b'0' { byte.is_ascii_digit() } else { byte == form };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits)
}
