//! Which stage waits for which, and what runs beside it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use selfsame_image::Digest;

use super::{BuildError, Builder};
use crate::event::{Event, Stage};
use crate::fetch::Source;
use crate::lock::{Package, Role, Step};
use crate::output;
use crate::recipe::Output;
use crate::stages;
use crate::stages::debs::PlainDebs;
use crate::stages::layers::{Layer, NewLayer};

impl<'a> Builder<'a> {
    /// Runs the stages; `None` if the build was to stop before the last one.
    pub(super) fn run(
        &self,
        source: &dyn Source,
        plan: Digest,
        key: Digest,
    ) -> Result<Option<Vec<output::File>>, BuildError> {
        let kept = self.is_installed();
        self.stage(Stage::Fetch, self.lock.digest(), || {
            // What is installed already is only looked into for boot loaders.
            let all = !kept || self.until == Some(Stage::Fetch);
            let needed = |package: &Package| all || package.role == Role::Boot;
            crate::fetch::packages(self.lock, needed, self.store, source, self.observer)?;
            Ok(((), false))
        })?;
        if self.ends(Stage::Fetch) {
            return Ok(None);
        }
        let packages = self.installed()?;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // However this ends, nothing is compressed beforehand any more.
            let _stop = StopOnDrop(&stop);
            let debs = (!kept).then(|| self.prepare(&packages, &stop, scope));
            let Some(collected) = self.stages_in_sandbox(debs.as_ref(), scope)? else { return Ok(None) };
            let visible = collected.0.visible;
            // From here on the real tree is compressed, which finds what was done beforehand.
            stop.store(true, Ordering::Relaxed);
            let packed = self.pack(collected, scope)?;
            let files = packed.map(|packed| self.conclude(packed, plan, key)).transpose()?;
            self.remember(Some(visible));
            Ok(files)
        })
    }

    /// Starts a thread that decompresses `packages`, those of the bootstrap first, and then compresses what is in them
    /// until `stop` is set.
    fn prepare<'scope>(
        &'scope self,
        packages: &'scope [&'a Package],
        stop: &'scope AtomicBool,
        scope: &'scope std::thread::Scope<'scope, '_>,
    ) -> Coming {
        let ((send_base, base), (send_all, all)) = (mpsc::channel(), mpsc::channel());
        scope.spawn(move || {
            let (first, rest) = packages.split_at(self.lock.install.base.len().min(packages.len()));
            let mut waiting = Some(send_base);
            let debs = self.stage(Stage::Unpack, self.plan.install, || {
                self.observer.on(Event::Total { stage: Stage::Unpack, amount: packages.len() as u64 });
                let base = PlainDebs::new(self)?.and(self, first)?;
                // Nobody waits for them any more if the build failed meanwhile.
                waiting.take().map(|send| send.send(Ok(base.clone())));
                Ok((base.and(self, rest)?, false))
            });
            match debs {
                Ok(debs) => {
                    let _ = send_all.send(Ok(debs.clone()));
                    if self.packs_squashfs() && self.until.is_none() {
                        let start = self.begun.elapsed().as_secs_f64();
                        stages::warm::run(self, &debs, packages, stop);
                        let span = (start, self.begun.elapsed().as_secs_f64() - start);
                        *self.beforehand.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(span);
                    }
                }
                // Whoever waits next gets the error.
                Err(error) => drop(waiting.unwrap_or(send_all).send(Err(error))),
            }
        });
        Coming { base, all }
    }

    /// All stages that run programs of packages but the last one, and what they made.
    fn stages_in_sandbox<'scope>(
        &'scope self,
        debs: Option<&Coming>,
        scope: &'scope std::thread::Scope<'scope, '_>,
    ) -> Result<Option<(stages::collect::Collected, [Layer; 4])>, BuildError> {
        // Layers that were there a moment ago may be gone now; only then is there nothing to make them of.
        let gone = |stage| move || BuildError::Gone { stage };
        if self.ends(Stage::Unpack) {
            debs.map_or(Ok(()), Coming::finish)?;
            return Ok(None);
        }
        let bootstrap = self.layer(Stage::Bootstrap, self.plan.bootstrap, |new| {
            let debs = debs.ok_or_else(gone(Stage::Bootstrap))?.base()?;
            stages::bootstrap::run(self, &debs, new)
        })?;
        if self.ends(Stage::Bootstrap) {
            return Ok(None);
        }
        let install = self.layer(Stage::Install, self.plan.install, |new| {
            let debs = debs.ok_or_else(gone(Stage::Install))?.all()?;
            stages::install::run(self, &debs, &bootstrap, new)
        })?;
        if self.ends(Stage::Install) {
            return Ok(None);
        }
        let settings = self.layer(Stage::Settings, self.plan.settings, |new| {
            stages::settings::run(self, &[&install, &bootstrap], new)
        })?;
        if self.ends(Stage::Settings) {
            return Ok(None);
        }
        let customise = || {
            self.layer(Stage::Customise, self.plan.customise, |new| {
                stages::customise::run(self, &[&settings, &install, &bootstrap], new)
            })
        };
        if self.until == Some(Stage::Customise) {
            customise()?;
            self.remember(None);
            return Ok(None);
        }
        let lower = [settings.clone(), install.clone(), bootstrap.clone()];
        let base = scope.spawn(move || stages::collect::base(self, &lower.each_ref()));
        let customise = customise()?;
        let collected = self.stage(Stage::Finalise, self.plan.tree, || {
            let base = base.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok((stages::collect::collect(self, base, &customise)?, false))
        })?;
        Ok(Some((collected, [customise, install, settings, bootstrap])))
    }

    /// Whether the build was to stop after `stage`, which is done. If so, what it depended on is noted.
    fn ends(&self, stage: Stage) -> bool {
        let ends = self.until == Some(stage);
        if ends {
            self.remember(None);
        }
        ends
    }

    /// Packs what was collected, and makes the rest of a bootable image beside it; `None` if the build was to stop
    /// before that.
    fn pack<'scope>(
        &'scope self,
        (collected, [customise, install, settings, bootstrap]): (stages::collect::Collected, [Layer; 4]),
        scope: &'scope std::thread::Scope<'scope, '_>,
    ) -> Result<Option<stages::pack::Packed>, BuildError> {
        if self.until == Some(Stage::Finalise) {
            return Ok(None);
        }
        if !self.recipe.bootable() {
            return Ok(Some(stages::pack::run(self, collected)?));
        }
        self.can_boot(&collected)?;
        let key = stages::initramfs::key(self, &collected);
        let find = || if self.uses_kept() { stages::initramfs::find(self, key) } else { Ok(None) };
        let lowers = [&customise, &settings, &install, &bootstrap];
        let view = stages::initramfs::view(&collected)?;
        let make = || {
            self.stage(Stage::Initramfs, key, || {
                let _turn = self.turn(Stage::Initramfs, key)?;
                if let Some(found) = find()? {
                    return Ok((found, true));
                }
                let new = NewLayer::create(self.store, Stage::Initramfs, key, self.host)?;
                Ok((stages::initramfs::run(self, &lowers, &view, key, new)?, false))
            })
        };
        let found = self.stage_if_kept(Stage::Initramfs, key, find)?;
        let (initramfs, mut packed) = match found {
            found if self.until == Some(Stage::Initramfs) => {
                found.map_or_else(make, Ok)?;
                return Ok(None);
            }
            Some(initramfs) => (initramfs, stages::pack::run(self, collected)?),
            None => {
                // mkinitramfs is one long chain of short processes: it runs beside the packing, which makes way.
                let packed = scope.spawn(move || {
                    stages::warm::be_nice();
                    stages::pack::run(self, collected)
                });
                let initramfs = make();
                let packed = packed.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                (initramfs?, packed?)
            }
        };
        stages::assemble::run(self, &mut packed, &initramfs)?;
        Ok(Some(packed))
    }

    /// Whether the layers are kept that packages are needed for.
    pub(crate) fn is_installed(&self) -> bool {
        self.has_layer(Stage::Bootstrap, self.plan.bootstrap)
            && self.has_layer(Stage::Install, self.plan.install)
    }

    /// Whether an output is or has a SquashFS.
    pub(crate) fn packs_squashfs(&self) -> bool {
        self.plan.outputs.iter().any(|(output, _)| *output != Output::Tar)
    }

    /// Refuses what would only fail after all the work.
    fn can_boot(&self, collected: &stages::collect::Collected) -> Result<(), BuildError> {
        if collected.kernels.is_empty() {
            return Err(BuildError::NoKernel);
        }
        if collected.has_mkinitramfs { Ok(()) } else { Err(BuildError::NoGenerator) }
    }

    /// The packages of the image in the order in which they are unpacked.
    pub(crate) fn installed(&self) -> Result<Vec<&'a Package>, BuildError> {
        let steps = self.lock.install.steps().unwrap_or_default();
        let unpacked = steps.iter().flat_map(|step| match step {
            Step::Unpack(names) => names.as_slice(),
            Step::Configure(_) => &[],
        });
        let names = self.lock.install.base.iter().map(String::as_str).chain(unpacked.copied());
        let package =
            |name: &str| self.lock.image_package(name).ok_or_else(|| BuildError::Lock(name.to_owned()));
        names.map(package).collect()
    }
}

/// Packages with plain archives that a thread is making.
struct Coming {
    /// Those of the bootstrap.
    base: mpsc::Receiver<Result<PlainDebs, BuildError>>,
    /// All of them.
    all: mpsc::Receiver<Result<PlainDebs, BuildError>>,
}

impl Coming {
    /// Waits for the packages of the bootstrap.
    fn base(&self) -> Result<PlainDebs, BuildError> {
        self.base.recv().unwrap_or(Err(BuildError::Gone { stage: Stage::Unpack }))
    }

    /// Waits for all packages. If nobody asked for the first ones, an error may lie there.
    fn all(&self) -> Result<PlainDebs, BuildError> {
        self.all.recv().unwrap_or_else(|_| {
            let lost = Err(BuildError::Gone { stage: Stage::Unpack });
            self.base.try_recv().ok().filter(Result::is_err).unwrap_or(lost)
        })
    }

    /// Waits until there is nothing left to do.
    fn finish(&self) -> Result<(), BuildError> {
        self.all().map(drop)
    }
}

/// Sets its flag when dropped.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
