//! Doing what the plan says: stages in order, each skipped when its result is there, and outputs put in place at the
//! end, all or none.

mod error;
mod schedule;
pub mod shell;

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use selfsame_apt::remote::Pull;
use selfsame_image::tree::{self, Content};
use selfsame_image::{Digest, Epoch, squashfs};
use selfsame_store::Store;

use crate::blocks::{self, Blocks, OwnBlocks};
use crate::event::{Event, Observer, Stage, Warning};
use crate::fetch::Source;
use crate::host::{Host, IdShift};
use crate::inputs::{LastBuild, StageInputs};
use crate::local::{self, Local};
use crate::lock::Lock;
use crate::output::{self, OutputError};
use crate::plan::{self, Plan};
use crate::recipe::{FilesError, Output, Recipe, SortFile, Tracked, read_tracked};
use crate::record;
use crate::room;
use crate::sandbox::{Sandbox, World};
use crate::stages::debs::PlainDebs;
use crate::stages::job::{JobDir, Runner};
use crate::stages::layers::{self, Layer, NewLayer, Place};
use crate::stages::pack::Packed;
use crate::vm::{self, Identity, Machine};

pub use error::BuildError;
pub(crate) use schedule::needs;

/// Stages after which a build can stop. The later ones leave nothing that a later build could use without the rest.
pub const UNTIL: [Stage; 8] = [
    Stage::Fetch,
    Stage::Unpack,
    Stage::Bootstrap,
    Stage::Install,
    Stage::Settings,
    Stage::Customise,
    Stage::Finalise,
    Stage::Initramfs,
];

/// A build that made or pulled so many compressed blocks removes those that were used least recently, above the limit.
const TIDIED_AFTER: u64 = 64;

/// Everything a build needs from outside.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// What the image shall be.
    pub recipe: &'a Recipe,
    /// What it is made of.
    pub lock: &'a Lock,
    /// The moment of the image.
    pub epoch: Epoch,
    /// Where blobs and layers are kept.
    pub store: &'a Store,
    /// Power over ids and mounts.
    pub host: &'a Host,
    /// The program that becomes the sandbox's first process.
    pub program: &'a Path,
    /// Where packages come from if the store has none.
    pub source: &'a dyn Source,
    /// Where compressed blocks may come from that the store lacks.
    pub remote: Option<&'a Pull<'a>>,
    /// How many threads work at a time.
    pub jobs: NonZero<usize>,
    /// Directory for the outputs; made if it is not there.
    pub out: &'a Path,
    /// The stage after which to stop, if not after the last: one of [`UNTIL`].
    pub until: Option<Stage>,
    /// Whether to make everything anew but the packages. What is made is kept in any case.
    pub anew: bool,
    /// Who is told what happens.
    pub observer: &'a dyn Observer,
    /// What programs see of this machine.
    pub world: &'a World,
    /// The virtual machine in which all of it is done, if it is.
    pub machine: Option<&'a Machine<'a>>,
    /// For a build in another world: what it has for itself.
    pub apart: Option<Apart<'a>>,
}

/// What a build in another world has for itself: it finds no layer there that another build made, and none of its own is
/// found. [`forget`] removes them.
#[derive(Clone, Copy, Debug)]
pub struct Apart<'a> {
    /// A name that no other build has.
    pub name: &'a str,
    /// The first stage that is made anew. The layers below are those of ordinary builds, and must be there.
    pub from: Stage,
}

/// What was built.
#[derive(Clone, Debug, PartialEq)]
pub struct Built {
    /// The files, images first, then manifest, package list and record.
    pub outputs: Vec<BuiltFile>,
    /// Names of the files that were not made, because the build was to stop before.
    pub not_made: Vec<String>,
    /// What each stage took.
    pub stages: Vec<StageReport>,
    /// How many runs of up to 1 MiB of file content were compressed, and not found.
    pub compressed: u64,
    /// When files were compressed beforehand, if they were: begin and length in seconds.
    pub beforehand: Option<(f64, f64)>,
    /// The virtual machine that did it, if one did.
    pub builder: Option<Identity>,
}

/// One file that was put in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltFile {
    /// Where it is.
    pub path: PathBuf,
    /// Length in bytes and SHA-256.
    pub content: Content,
}

/// How a stage went.
#[derive(Clone, Debug, PartialEq)]
pub struct StageReport {
    /// The stage's name.
    pub name: &'static str,
    /// Digest of everything its result depends on.
    pub key: Digest,
    /// Whether an earlier result was used.
    pub cached: bool,
    /// Seconds since the build began.
    pub start: f64,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// A build that is under way.
pub(crate) struct Builder<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) lock: &'a Lock,
    pub(crate) store: &'a Store,
    pub(crate) host: &'a Host,
    pub(crate) sandbox: Sandbox,
    pub(crate) plan: Plan,
    /// The recipe's own archives.
    pub(crate) local: Vec<Local>,
    pub(crate) overlay: Option<Tracked>,
    pub(crate) hooks: Vec<(PathBuf, Vec<u8>)>,
    sort: Option<SortFile>,
    pub(crate) jobs: NonZero<usize>,
    pub(crate) observer: &'a dyn Observer,
    until: Option<Stage>,
    /// If nothing of earlier builds is used: the compressed blocks that this one made.
    own_blocks: Option<OwnBlocks>,
    remote: Option<&'a Pull<'a>>,
    apart: Option<Apart<'a>>,
    compressed: AtomicU64,
    begun: Instant,
    beforehand: Mutex<Option<(f64, f64)>>,
    reports: Mutex<Vec<StageReport>>,
}

/// Builds the image, or finds it in the store.
pub fn build(request: &Request<'_>) -> Result<Built, BuildError> {
    let built = match request.machine {
        Some(machine) => vm::build(request, machine),
        None => run(request),
    };
    // Whatever failed because the user asked to stop, failed for that reason.
    built.map_err(|error| match error {
        _ if crate::host::interrupted() => BuildError::Interrupted,
        error if room::is_cause(&error, request) => {
            let (missing, free) = room::missing(request);
            BuildError::Room {
                store: request.store.root().to_owned(),
                missing,
                free,
                source: Box::new(error),
            }
        }
        error => error,
    })
}

/// Removes the layers of a build that was [`Request::apart`].
///
/// # Errors
/// If they cannot be removed. `store gc` removes what is left when it is as old as any layer that nobody uses.
pub fn forget(request: &Request<'_>) -> Result<(), BuildError> {
    let builder = Builder::new(request)?;
    if builder.apart.is_none() {
        return Ok(());
    }
    for (stage, key) in builder.layer_keys().into_iter().filter(|(stage, _)| !builder.shares(*stage)) {
        layers::remove(&builder.place(stage, key, None))?;
    }
    Ok(())
}

fn run(request: &Request<'_>) -> Result<Built, BuildError> {
    let builder = Builder::new(request)?;
    if let Some(stage @ Stage::Initramfs) = request.until.filter(|_| !request.recipe.bootable()) {
        return Err(BuildError::NoStage(stage));
    }
    let plan = builder.plan_digest();
    let key = builder.image_key(plan);
    // Whoever asks for a stage wants its result to be there, not that of the last one.
    let kept = match request.until.is_none() && builder.uses_kept() {
        true => output::find(request.store, key)?,
        false => None,
    };
    let kept = kept.and_then(|files| output::publish(request.store, &files, request.out, false).transpose());
    let outputs = match kept.transpose()? {
        Some(outputs) => {
            builder.report_cached();
            builder.remember(None);
            outputs
        }
        // Nothing is kept, or what was kept is damaged and was put aside.
        None => {
            let lost = || OutputError::Gone { dir: request.out.to_owned() };
            match builder.run(request.source, plan, key)? {
                Some(files) => output::publish(request.store, &files, request.out, true)?.ok_or_else(lost)?,
                None => Vec::new(),
            }
        }
    };
    let not_made = if outputs.is_empty() { request.recipe.file_names() } else { Vec::new() };
    let mut stages = builder.reports.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    stages.sort_by_key(|report| Stage::ALL.iter().position(|stage| stage.name() == report.name));
    let beforehand = builder.beforehand.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    Ok(Built {
        outputs,
        not_made,
        stages,
        compressed: builder.compressed.into_inner(),
        beforehand,
        builder: None,
    })
}

impl<'a> Builder<'a> {
    /// Refuses a lock that was made of another recipe, or of other packages in it. Nothing is written.
    pub(crate) fn new(request: &Request<'a>) -> Result<Self, BuildError> {
        let Request { recipe, lock, epoch, .. } = *request;
        let changes = crate::lock::Request::of(recipe).changes_since(&lock.request);
        if !changes.is_empty() {
            return Err(BuildError::Stale { changes });
        }
        let local = local::check(recipe, lock)?;
        let tracked = |path: &Path| read_tracked(&recipe.dir, path, epoch);
        let overlay = recipe.overlay.as_deref().map(tracked).transpose()?;
        let mut hooks = Vec::new();
        for path in &recipe.hooks {
            tracked(path)?;
            let bytes = std::fs::read(recipe.path(path))
                .map_err(|source| FilesError::Io { path: recipe.path(path), source })?;
            hooks.push((path.clone(), bytes));
        }
        let sort =
            recipe.squashfs.sort.as_deref().map(|path| SortFile::read(&recipe.dir, path)).transpose()?;
        let inputs = plan::Inputs {
            sort: sort.as_ref().map(|file| file.digest),
            overlay: overlay.as_ref().map(|tracked| tree::merkle::digest(&tracked.tree)),
            hooks: hooks.iter().map(|(_, bytes)| Digest::of(bytes)).collect(),
        };
        let plan = plan::plan(recipe, lock, &inputs, epoch).map_err(BuildError::Lock)?;
        Ok(Self {
            recipe,
            lock,
            store: request.store,
            host: request.host,
            sandbox: Sandbox {
                program: request.program.to_owned(),
                host: *request.host,
                world: request.world.clone(),
            },
            plan,
            local,
            overlay,
            hooks,
            sort,
            jobs: request.jobs,
            observer: request.observer,
            until: request.until,
            own_blocks: request.anew.then(OwnBlocks::default),
            remote: request.remote,
            apart: request.apart,
            compressed: AtomicU64::new(0),
            begun: Instant::now(),
            beforehand: Mutex::default(),
            reports: Mutex::default(),
        })
    }

    /// Digest of everything that shapes the outputs.
    pub(crate) fn plan_digest(&self) -> Digest {
        let mut text = format!("{}\n", self.plan.tree);
        for (output, key) in &self.plan.outputs {
            text.push_str(&format!("{} {key}\n", output.name()));
        }
        Digest::of(text.as_bytes())
    }

    pub(crate) fn image_key(&self, plan: Digest) -> Digest {
        let text = format!("image {} {plan} {}", self.recipe.name, self.lock.digest());
        self.in_store(Stage::Assemble, Digest::of(text.as_bytes()))
    }

    /// The name in the store of what this build made for `key`.
    pub(crate) fn in_store(&self, stage: Stage, key: Digest) -> Digest {
        let key = plan::in_store(key);
        match self.apart {
            Some(apart) if stage >= apart.from => {
                Digest::of(format!("{key} apart {}", apart.name).as_bytes())
            }
            _ => key,
        }
    }

    /// Writes manifest, package list and record, and remembers the whole set under `key`.
    fn conclude(&self, packed: Packed, plan: Digest, key: Digest) -> Result<Vec<output::File>, BuildError> {
        let name = &self.recipe.name;
        let mut files = Vec::new();
        for (output, _) in &self.plan.outputs {
            let content = packed.outputs.iter().find(|(kind, _)| kind == output).map(|(_, content)| *content);
            let content = content.ok_or_else(|| BuildError::Lock(format!("no {}", output.name())))?;
            files.push(output::File { name: format!("{name}.{}", output.name()), content });
        }
        let mut add = |extension: &str, text: String| -> Result<(), BuildError> {
            let content = Content::of(text.as_bytes());
            self.store.put(text.as_bytes())?;
            files.push(output::File { name: format!("{name}.{extension}"), content });
            Ok(())
        };
        add("manifest", tree::text::to_string(&packed.collected.tree))?;
        add("packages", record::package_list(self.lock))?;
        let subjects: Vec<_> = files
            .iter()
            .map(|f| record::Subject::new(f.name.clone(), f.content.size, f.content.digest))
            .collect();
        let facts = record::Facts {
            subjects: &subjects,
            components: &packed.components,
            tree: tree::merkle::digest(&packed.collected.tree),
            plan,
            lock: self.lock,
            epoch: self.plan.epoch,
        };
        let text = record::render(&facts);
        self.store.put(text.as_bytes())?;
        files.push(output::File {
            name: format!("{name}.record.json"),
            content: Content::of(text.as_bytes()),
        });
        if self.keeps_results() {
            output::remember(self.store, key, &files)?;
        }
        // To look at every entry takes longer than a small change, which adds next to nothing. A cache that cannot be tidied
        // up is only larger.
        let pulled = self.remote.map_or(0, |remote| remote.pulled().entries.pulled);
        if self.compressed.load(Ordering::Relaxed) + pulled >= TIDIED_AFTER {
            let _ = self.store.cache_trim(blocks::LIMIT, None);
        }
        Ok(files)
    }

    /// Runs `work` as `stage`, with events and the time it took.
    pub(crate) fn stage<T>(
        &self,
        stage: Stage,
        key: Digest,
        work: impl FnOnce() -> Result<(T, bool), BuildError>,
    ) -> Result<T, BuildError> {
        if crate::host::interrupted() {
            return Err(BuildError::Interrupted);
        }
        let start = self.begun.elapsed().as_secs_f64();
        self.observer.on(Event::StageStarted { stage, key: Some(key) });
        let (value, cached) = work()?;
        self.observer.on(Event::StageFinished { stage, cached });
        let seconds = self.begun.elapsed().as_secs_f64() - start;
        let report = StageReport { name: stage.name(), key, cached, start, seconds };
        self.reports.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(report);
        Ok(value)
    }

    /// As [`Builder::stage`], if `find` finds an earlier result.
    fn stage_if_kept<T>(
        &self,
        stage: Stage,
        key: Digest,
        find: impl FnOnce() -> Result<Option<T>, BuildError>,
    ) -> Result<Option<T>, BuildError> {
        match find()? {
            Some(value) => self.stage(stage, key, || Ok((Some(value), true))),
            None => Ok(None),
        }
    }

    /// The layer of `stage` with `key`, which consists of it alone and lies on `on`.
    fn layer(
        &self,
        stage: Stage,
        key: Digest,
        on: Option<&Layer>,
        make: impl FnOnce(NewLayer) -> Result<Layer, BuildError>,
    ) -> Result<Layer, BuildError> {
        self.stage(stage, key, || self.obtain(&self.place(stage, key, on), make))
    }

    /// The layer at `place`, and whether it was kept.
    fn obtain(
        &self,
        place: &Place<'_>,
        make: impl FnOnce(NewLayer) -> Result<Layer, BuildError>,
    ) -> Result<(Layer, bool), BuildError> {
        let waits = || self.waits(place.stage);
        let shared = self.shares(place.stage);
        layers::obtain(place, shared || self.uses_kept(), waits, || match shared {
            true => Err(BuildError::Gone { stage: place.stage }),
            false => make(NewLayer::create(place)?),
        })
    }

    pub(crate) fn place<'p>(&'p self, stage: Stage, key: Digest, on: Option<&'p Layer>) -> Place<'p> {
        Place { store: self.store, stage, key: self.in_store(stage, key), host: self.host, on }
    }

    /// Where the files of all layers are, if they are there, from the lowest to the topmost.
    pub(crate) fn layer_dirs(&self) -> Vec<(Stage, PathBuf)> {
        let dir = |(stage, key)| (stage, self.place(stage, key, None).files());
        self.layer_keys().into_iter().map(dir).collect()
    }

    /// How many of the lowest of [`Builder::layer_keys`] are kept, each on the one before.
    pub(crate) fn kept_layers(&self) -> usize {
        let taken = |(stage, _): &(Stage, Digest)| self.uses_kept() || self.shares(*stage);
        let below = self.layer_keys().into_iter().take_while(taken).scan(None, |below, (stage, key)| {
            *below = Layer::find(&self.place(stage, key, below.as_ref()));
            below.is_some().then_some(())
        });
        below.count()
    }

    fn waits(&self, stage: Stage) {
        self.observer.on(Event::Warning { warning: Warning::Waits { stage } });
    }

    /// Whether others may find what this build makes.
    pub(crate) fn keeps_results(&self) -> bool {
        self.apart.is_none()
    }

    /// Whether the layers of `stage` must be those of ordinary builds, and are never made here.
    fn shares(&self, stage: Stage) -> bool {
        self.apart.is_some_and(|apart| stage < apart.from)
    }

    /// Whether results of earlier builds are used.
    fn uses_kept(&self) -> bool {
        self.own_blocks.is_none()
    }

    /// Compressed blocks that may be used; new ones are kept in any case.
    pub(crate) fn blocks(&self) -> Blocks<'_> {
        Blocks {
            store: self.store,
            only: self.own_blocks.as_ref(),
            remote: self.remote,
            made: &self.compressed,
        }
    }

    /// Stages whose results are layers, and the keys of all layers, from the lowest to the topmost.
    pub(crate) fn layer_keys(&self) -> Vec<(Stage, Digest)> {
        let groups = self.plan.groups.iter().map(|key| (Stage::Install, *key));
        let mut keys = vec![(Stage::Bootstrap, self.plan.bootstrap)];
        keys.extend(groups);
        keys.extend([(Stage::Settings, self.plan.settings), (Stage::Customise, self.plan.customise)]);
        keys
    }

    /// Keeps what this build depended on, so that the next one can say what changed. `visible` is what mkinitramfs could
    /// read, if that is known.
    fn remember(&self, visible: Option<Digest>) {
        if !self.keeps_results() {
            return;
        }
        let name = &self.recipe.name;
        let known = LastBuild::find(self.store, name);
        let mut last = known.clone().unwrap_or_default();
        let done = |inputs: &&StageInputs| self.until.is_none_or(|until| inputs.stage <= until);
        last.note(self.plan.inputs.iter().filter(done));
        if let Some(visible) = visible {
            last.note_visible(self.plan.customise, visible);
        }
        if known.as_ref() != Some(&last) {
            last.keep(self.store, name);
        }
    }

    fn report_cached(&self) {
        let iso = self.plan.outputs.iter().find(|(output, _)| *output == Output::Iso).map(|(_, key)| *key);
        let before = [
            (Stage::Fetch, Some(self.lock.digest())),
            (Stage::Bootstrap, Some(self.plan.bootstrap)),
            (Stage::Install, Some(self.plan.install())),
        ];
        let after = [
            (Stage::Settings, Some(self.plan.settings)),
            (Stage::Customise, Some(self.plan.customise)),
            (Stage::Finalise, Some(self.plan.tree)),
            (Stage::Pack, Some(self.plan.squashfs)),
            (Stage::Assemble, iso),
        ];
        let stages = before.into_iter().chain(after);
        let mut reports = self.reports.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for (stage, key) in stages.filter_map(|(stage, key)| Some((stage, key?))) {
            self.observer.on(Event::StageFinished { stage, cached: true });
            let start = self.begun.elapsed().as_secs_f64();
            reports.push(StageReport { name: stage.name(), key, cached: true, start, seconds: 0.0 });
        }
    }

    pub(crate) fn runner(&self) -> Runner<'_> {
        Runner { sandbox: &self.sandbox, epoch: self.plan.epoch, observer: self.observer }
    }

    pub(crate) fn shift(&self) -> IdShift {
        self.host.shift
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.plan.epoch
    }

    /// A new directory `name` in the scratch space of `layer`.
    pub(crate) fn scratch(&self, stage: Stage, layer: &NewLayer, name: &str) -> Result<PathBuf, BuildError> {
        let path = layer.scratch().join(name);
        match std::fs::create_dir_all(&path) {
            Ok(()) => Ok(path),
            Err(source) => Err(BuildError::Prepare { stage, path, source }),
        }
    }

    /// The directory an overlay works in.
    pub(crate) fn overlay_work(&self, stage: Stage, layer: &NewLayer) -> Result<PathBuf, BuildError> {
        self.scratch(stage, layer, "overlay")
    }

    /// A job directory.
    pub(crate) fn job(&self, stage: Stage, layer: &NewLayer) -> Result<JobDir, BuildError> {
        let path = layer.scratch().join("job");
        JobDir::create(path.clone()).map_err(|source| BuildError::Prepare { stage, path, source })
    }

    /// A job directory with the packages `names` in it.
    pub(crate) fn job_with_debs<'n>(
        &self,
        stage: Stage,
        layer: &NewLayer,
        debs: &PlainDebs,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<JobDir, BuildError> {
        let job = self.job(stage, layer)?;
        for name in names {
            let package = self.lock.image_package(name).ok_or_else(|| BuildError::Lock(name.to_owned()))?;
            let path = debs.path(package);
            job.add_deb(name, &path).map_err(|source| BuildError::Prepare { stage, path, source })?;
        }
        Ok(job)
    }

    /// How a SquashFS is packed.
    pub(crate) fn squashfs(&self) -> squashfs::Options<'_> {
        squashfs::Options {
            block_size: self.recipe.squashfs.block_size,
            codec: self.recipe.squashfs.codec,
            epoch: self.epoch(),
            export_table: false,
            sort: self.sort.as_ref().map(|file| &file.sort),
            cache: None,
            progress: None,
        }
    }
}
