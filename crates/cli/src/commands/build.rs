//! `selfsame build`

use std::io::{self, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Instant, SystemTime};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use selfsame_apt::remote::Pull;
use selfsame_build::lock::{self, Lock};
use selfsame_build::sandbox::World;
use selfsame_build::vm::{Accel, Identity, Keep, Needs};
use selfsame_build::{event, execute, recipe};
use selfsame_store::Store;
use serde::Serialize;

use super::lock::hold;
use super::place::{self, Place};
use super::plan::Plan;
use super::{Context, PROGRAM, recipe_dir, remote, shell};
use crate::failure::{Failure, Status};
use crate::moment;
use crate::progress::Progress;
use crate::source::Mirrors;
use crate::timeline::{self, Bar};
use crate::ui::{Output, Present};

/// Build the images of a recipe
///
/// Needs the lock that `selfsame lock` wrote and refuses one that does not fit the recipe. Prints one line
/// `<sha256>  <path>` for each file it writes, which `sha256sum -c` understands: the images, then their manifest,
/// package list and record. Nothing is built twice: stages whose inputs did not change are taken from the store.
///
/// With --until the build stops after a stage and writes no file: `--until fetch` downloads everything beforehand, and
/// what the stages after that keep is there for the next build.
///
/// Nothing in an image is newer than its date: SOURCE_DATE_EPOCH if that is set, else the recipe's epoch, else the
/// time of the recipe's commit.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame build                   build the recipe in this directory into ./out
  selfsame build examples/live --out /srv/images
  selfsame build my-image --plan               say what would be done, and why
  selfsame build my-image --until fetch        only download, for a later build with --offline
  selfsame build my-image --shell install      look around in the image before hooks run
  selfsame build my-image --offline            use what is in the store, touch no network
  selfsame build my-image --mirror debian=file:/srv/mirror/debian
  selfsame build my-image --in vm              build in a throw-away virtual machine
  selfsame build my-image --in vm --keep-running   keep it for the next build of this branch
  selfsame build my-image --remote https://cache.example/selfsame --remote-key ed25519:3d40…660c
                                   take packages and compressed blocks from a shared store")]
pub struct Args {
    /// Directory of the recipe
    #[arg(default_value = ".", hide_default_value = true)]
    pub recipe: PathBuf,
    /// Directory for the images and what describes them, made if missing
    #[arg(long, value_name = "DIR", default_value = "out")]
    pub out: PathBuf,
    /// Build nothing; say for each stage whether it would run, and which change since the last build makes it
    #[arg(long)]
    plan: bool,
    /// Stop after this stage, and write no file
    #[arg(long, value_name = "STAGE", value_parser = until(), conflicts_with = "plan")]
    until: Option<event::Stage>,
    /// Stop after this stage and open a shell in the image as it is then, in the sandbox. Without a terminal the commands
    /// are read from standard input. Nothing that is changed there is kept
    #[arg(long, value_name = "STAGE", value_parser = shell::after(), conflicts_with_all = ["plan", "until", "no_cache", "timeline", "json"])]
    shell: Option<event::Stage>,
    /// Use nothing that earlier builds made, only the packages in the store; what is made is kept as ever
    #[arg(long, conflicts_with = "plan")]
    no_cache: bool,
    /// Draw when each stage ran into this file, as SVG; `warm` is what was compressed beforehand
    #[arg(long, value_name = "FILE", conflicts_with = "plan")]
    timeline: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// Keep the virtual machine for further builds of this branch of this recipe, which find what earlier ones made; or
    /// build in the one that is kept. `selfsame vm list` shows it, `selfsame vm stop` ends it
    #[arg(long)]
    keep_running: bool,
    #[command(flatten)]
    pub reach: Reach,
    #[command(flatten)]
    remote: remote::Choice,
    #[command(flatten)]
    pub output: Output,
}

/// What `lock` and `build` may use of this machine and of the network. Nothing here changes a byte of an image.
#[derive(Debug, clap::Args)]
pub struct Reach {
    /// Directory that keeps downloads and finished stages [default: SELFSAME_STORE, else selfsame in the
    /// user's cache directory]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// How many threads work at once [default: one for each processor]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Show everything that programs in the sandbox print
    #[arg(long, short)]
    pub verbose: bool,
    /// Use no network; fail if something is missing in the store
    #[arg(long)]
    pub offline: bool,
    /// Take all archives from this directory first, which `selfsame snapshot tag` made
    #[arg(long, value_name = "DIR")]
    pub tag: Option<PathBuf>,
    /// Take an archive of the recipe from this address first; may be given more than once
    #[arg(long = "mirror", value_name = "ARCHIVE=URL")]
    pub mirrors: Vec<Mirror>,
}

/// Reads the value of `--until`.
fn until() -> impl TypedValueParser<Value = event::Stage> {
    let stage = |name: String| execute::UNTIL.into_iter().find(|stage| stage.name() == name);
    PossibleValuesParser::new(execute::UNTIL.map(event::Stage::name))
        .try_map(move |name| stage(name).ok_or("no stage has this name"))
}

impl Reach {
    /// How many threads work at once: as told, else one for each processor this process may use.
    pub fn jobs(&self) -> NonZero<usize> {
        self.jobs.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN)
    }
}

/// Where to take an archive from: the value of `--mirror`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Name of the archive in the recipe.
    pub archive: String,
    /// `http:`, `https:` or `file:` address of the directory that holds `dists` and `pool`, without a final slash.
    pub url: String,
}

/// The value of `--mirror` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MirrorError {
    /// No `=` after the name of an archive.
    #[error("expected ARCHIVE=URL, for example debian=file:/srv/mirror/debian")]
    Shape,
    /// Not an address that can be fetched.
    #[error("the address must begin with http://, https:// or file:/")]
    Scheme,
}

impl FromStr for Mirror {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, MirrorError> {
        let (archive, url) = text.split_once('=').ok_or(MirrorError::Shape)?;
        if archive.is_empty() || archive.contains(['/', ':']) {
            return Err(MirrorError::Shape);
        }
        if !["http://", "https://", "file:/"]
            .iter()
            .any(|scheme| url.len() > scheme.len() && url.starts_with(scheme))
        {
            return Err(MirrorError::Scheme);
        }
        Ok(Self { archive: archive.to_owned(), url: url.trim_end_matches('/').to_owned() })
    }
}

/// What `build` gives. The JSON form is an interface that scripts rely on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The files: the images in the order of the recipe, then manifest, package list and record.
    pub outputs: Vec<Built>,
    /// The stages, in the order they ran.
    pub stages: Vec<Stage>,
    /// How many blocks (runs of up to 1 MiB of file content) were compressed, and not found.
    pub compressed: u64,
    /// Name of the virtual machine that did it, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder: Option<String>,
    /// What came from the remote, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<remote::Report>,
    /// Names of the files that were not made because of `--until`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_made: Vec<String>,
}

/// One file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Built {
    /// Where it is.
    pub path: PathBuf,
    /// 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

/// One stage of the build.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// `fetch`, `bootstrap`, ...
    pub name: String,
    /// The content key, 64 lower-case hexadecimal digits.
    pub key: String,
    /// Whether the result was taken from the store.
    pub cached: bool,
    /// Seconds since the build began.
    pub start: f64,
    /// Wall time.
    pub seconds: f64,
}

impl Report {
    /// What is told of `built`, and of the remote it took from.
    fn of(built: execute::Built, remote: Option<&Pull<'_>>) -> Self {
        let file = |file: execute::BuiltFile| Built {
            path: file.path,
            sha256: file.content.digest.to_string(),
            size: file.content.size,
        };
        let stage = |stage: execute::StageReport| Stage {
            name: stage.name.to_owned(),
            key: stage.key.to_string(),
            cached: stage.cached,
            start: stage.start,
            seconds: stage.seconds,
        };
        Self {
            outputs: built.outputs.into_iter().map(file).collect(),
            stages: built.stages.into_iter().map(stage).collect(),
            compressed: built.compressed,
            builder: built.builder.map(|builder| builder.to_string()),
            remote: remote.map(|pull| remote::Report::of(&pull.pulled())),
            not_made: built.not_made,
        }
    }
}

impl Present for Report {
    /// Lines as sha256sum(1) writes and checks them, its escape for odd names included.
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        for Built { path, sha256, .. } in &self.outputs {
            let name = path.to_string_lossy();
            let escaped = name.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
            let mark = if escaped == *name { "" } else { "\\" };
            writeln!(to, "{mark}{sha256}  {escaped}")?;
        }
        Ok(())
    }
}

/// What a command asks of a build.
pub struct Asked<'a> {
    /// As given.
    pub recipe: &'a Path,
    /// Where the outputs go.
    pub out: &'a Path,
    pub until: Option<event::Stage>,
    /// Whether to use nothing that earlier builds made.
    pub anew: bool,
    /// Whether nothing is built, so that the store need not know of the lock.
    pub forecast: bool,
    pub reach: &'a Reach,
    /// `None` for a command that asks no remote, whatever the environment says.
    pub remote: Option<&'a remote::Choice>,
    /// `None` for a command that does all of it in the sandbox.
    pub place: Option<&'a Place>,
    /// Whether a virtual machine stays for more.
    pub keep: bool,
}

impl Asked<'_> {
    /// Reads recipe and lock, opens what a build needs, and hands all of it to `work`.
    pub fn prepare<T>(
        &self,
        cx: &Context,
        work: impl FnOnce(&execute::Request<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.place.map_or(Ok(()), Place::check)?;
        // A wrong environment is told before anything is read.
        cx.settings.source_date_epoch(SystemTime::now())?;
        let (directory, _) = recipe_dir::find(self.recipe)?;
        let recipe = recipe::load(&directory)?;
        let lock = read_lock(&directory)?.ok_or_else(|| no_lock(&directory))?;
        let host = cx.host()?;
        let progress = Progress::new(&cx.ui, self.reach.verbose);
        let epoch = moment::of(&recipe, &cx.settings, &cx.ui)?;
        let remote = self.remote.map(|remote| remote.open(cx, self.reach.offline)).transpose()?.flatten();
        let warn = |text: String| cx.ui.warn(&text);
        let pull = remote.as_ref().map(|known| known.pull(&warn));
        let source = Mirrors::new(&recipe, self.reach, &cx.settings, pull.as_ref())?;
        let store = Store::open(cx.settings.store(self.reach.store.as_ref())?)?;
        if !self.forecast {
            hold(&store, &directory.join(lock::FILE))?;
        }
        let log = place::log(self.out);
        let began = Instant::now();
        let begins = |builder: &Identity, needs: &Needs| place::told(&cx.ui, builder, needs);
        let ready = |accel: Accel| {
            let (name, seconds) = (accel.name(), began.elapsed().as_secs_f64());
            cx.ui.note(&format!("the machine runs ({name}), {seconds:.1} s after the command began"));
        };
        let accel = self.place.map(Place::accel).unwrap_or_default();
        if self.place.is_some_and(Place::is_machine) {
            place::clear(&log)?;
        }
        let kept = match self.keep {
            true => {
                let path = directory.canonicalize();
                let path = path
                    .map_err(|error| Failure::input(error).context("cannot name the recipe's directory"))?;
                Some((path, moment::checked_out(&directory)?))
            }
            false => None,
        };
        let keep = kept.as_ref().map(|(recipe, branch)| Keep { recipe, branch });
        let machine = self
            .place
            .and_then(|place| place.machine(self.reach.jobs(), &accel, &log, keep, &begins, &ready));
        let done = work(&execute::Request {
            recipe: &recipe,
            lock: &lock,
            epoch,
            store: &store,
            host: &host,
            program: Path::new(PROGRAM),
            source: &source,
            remote: pull.as_ref(),
            jobs: self.reach.jobs(),
            out: self.out,
            until: self.until,
            anew: self.anew,
            observer: &progress,
            world: &World::default(),
            machine: machine.as_ref(),
            apart: None,
        });
        if done.is_err() && machine.is_some() && log.exists() {
            cx.ui.note(&format!("the end of what the machine said on its console is in {}", log.display()));
        }
        done
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    if args.place.is_machine() && (args.plan || args.until.is_some() || args.shell.is_some()) {
        let problem = "a virtual machine keeps nothing for later: --plan, --until and --shell are for builds in the sandbox";
        return Err(Failure::usage(problem));
    }
    if args.keep_running && !args.place.is_machine() {
        return Err(Failure::usage("--keep-running is for virtual machines: add `--in vm`"));
    }
    if args.keep_running && args.no_cache {
        return Err(Failure::usage(
            "a machine that is kept uses what earlier builds made: --no-cache is for new ones",
        ));
    }
    let asked = Asked {
        recipe: &args.recipe,
        out: &args.out,
        until: args.until,
        anew: args.no_cache,
        forecast: args.plan,
        reach: &args.reach,
        remote: Some(&args.remote),
        place: Some(&args.place),
        keep: args.keep_running,
    };
    asked.prepare(cx, |request| with(request, args, cx))
}

fn with(request: &execute::Request<'_>, args: &Args, cx: &Context) -> Result<Status, Failure> {
    if args.plan {
        cx.ui.result(args.output, &Plan::of(selfsame_build::forecast::forecast(request)?))?;
        return Ok(Status::Success);
    }
    if let Some(stage) = args.shell {
        return shell::run(request, stage, cx);
    }
    let built = execute::build(request)?;
    if let Some(stage) = args.until {
        cx.ui.note(&format!("stopped after stage {stage}; not made: {}", built.not_made.join(", ")));
    }
    let bars = bars(&built);
    let report = Report::of(built, request.remote);
    if let Report { remote: Some(report), compressed, .. } = &report {
        cx.ui.note(&format!("from the remote: {report}; {} blocks were compressed here", compressed));
    }
    cx.ui.result(args.output, &report)?;
    // Last: the images are there, whatever becomes of the picture.
    if let Some(path) = &args.timeline {
        std::fs::write(path, timeline::svg(&bars)).map_err(|error| {
            Failure::environment(error).context(format!("cannot write the timeline {}", path.display()))
        })?;
    }
    Ok(Status::Success)
}

/// What ran, in the order in which it began.
fn bars(built: &execute::Built) -> Vec<Bar> {
    let stage = |stage: &execute::StageReport| {
        let execute::StageReport { name, start, seconds, cached, .. } = *stage;
        Bar { name, start, seconds, cached }
    };
    let warm = built.beforehand.map(|(start, seconds)| Bar { name: "warm", start, seconds, cached: false });
    let mut bars: Vec<Bar> = built.stages.iter().map(stage).chain(warm).collect();
    bars.sort_by(|a, b| a.start.total_cmp(&b.start));
    bars
}

/// There is no lock in `directory`.
pub fn no_lock(directory: &Path) -> Failure {
    let path = directory.join(lock::FILE);
    Failure::input(format!("there is no lock {}", path.display()))
        .hint(format!("`selfsame lock {}` writes it", directory.display()))
}

/// The lock in `directory`; `None` if there is none.
pub fn read_lock(directory: &Path) -> Result<Option<Lock>, Failure> {
    let path = directory.join(lock::FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Failure::input(error).context(format!("cannot read the lock {}", path.display())));
        }
    };
    let parsed = text.parse::<Lock>();
    parsed
        .map(Some)
        .map_err(|error| Failure::from(error).context(format!("{} is not usable", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_named_and_fetchable() {
        let mirror = |archive: &str, url: &str| Ok(Mirror { archive: archive.into(), url: url.into() });
        assert_eq!("debian=file:/srv/m/".parse(), mirror("debian", "file:/srv/m"));
        assert_eq!("d=http://127.0.0.1:8000/debian".parse(), mirror("d", "http://127.0.0.1:8000/debian"));
        for (text, error) in [
            ("debian", MirrorError::Shape),
            ("=file:/srv", MirrorError::Shape),
            ("http://host/?a=b", MirrorError::Shape),
            ("debian=/srv", MirrorError::Scheme),
            ("debian=ftp://host/", MirrorError::Scheme),
            ("debian=http://", MirrorError::Scheme),
        ] {
            assert_eq!(text.parse::<Mirror>(), Err(error), "{text}");
        }
    }

    #[test]
    fn the_text_is_what_sha256sum_checks() {
        let built = |path: &str| Built { path: path.into(), sha256: "0".repeat(64), size: 1 };
        let report = Report {
            outputs: vec![built("out/live.iso"), built("a\\b\nc")],
            stages: Vec::new(),
            compressed: 0,
            builder: None,
            remote: None,
            not_made: Vec::new(),
        };
        let mut text = Vec::new();
        report.text(&mut text).unwrap();
        let zeros = "0".repeat(64);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            format!("{zeros}  out/live.iso\n\\{zeros}  a\\\\b\\nc\n")
        );
    }

    #[test]
    fn the_json_form_has_the_promised_names() {
        let report = Report {
            outputs: vec![Built { path: "o".into(), sha256: "s".into(), size: 3 }],
            stages: vec![Stage {
                name: "pack".into(),
                key: "k".into(),
                cached: true,
                start: 1.5,
                seconds: 0.5,
            }],
            compressed: 7,
            builder: None,
            remote: None,
            not_made: Vec::new(),
        };
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"outputs":[{"path":"o","sha256":"s","size":3}],"stages":[{"name":"pack","key":"k","cached":true,"start":1.5,"seconds":0.5}],"compressed":7}"#
        );
    }
}
