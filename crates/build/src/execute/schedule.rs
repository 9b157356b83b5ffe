//! Which stage waits for which, and what runs beside it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use selfsame_image::Digest;

use super::{BuildError, Builder};
use crate::event::{Event, Stage};
use crate::fetch::Source;
use crate::local;
use crate::lock::{Package, Role};
use crate::output;
use crate::recipe::Output;
use crate::stages;
use crate::stages::debs::PlainDebs;
use crate::stages::layers::{self, Layer, NewLayer};

impl<'a> Builder<'a> {
    /// Runs the stages; `None` if the build was to stop before the last one.
    pub(super) fn run(
        &self,
        source: &dyn Source,
        plan: Digest,
        key: Digest,
    ) -> Result<Option<Vec<output::File>>, BuildError> {
        let layers = self.to_unpack()?;
        let packages = layers.concat();
        self.stage(Stage::Fetch, self.lock.digest(), || {
            // What is installed already is only looked into for boot loaders.
            let all = self.until == Some(Stage::Fetch);
            let needed = |package: &Package| all || needs(&packages, package);
            local::bring(&self.local, self.lock, needed, self.store)?;
            crate::fetch::packages(self.lock, needed, self.store, source, self.observer)?;
            Ok(((), false))
        })?;
        if self.ends(Stage::Fetch) {
            return Ok(None);
        }
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // However this ends, nothing is compressed beforehand any more.
            let _stop = StopOnDrop(&stop);
            let debs = (!packages.is_empty()).then(|| self.prepare(&layers, &packages, &stop, scope));
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

    /// Starts a thread that decompresses the packages of `layers`, one layer after the other, and then compresses what is
    /// in `packages`, which are all of them, until `stop` is set.
    fn prepare<'scope>(
        &'scope self,
        layers: &'scope [Vec<&'a Package>],
        packages: &'scope [&'a Package],
        stop: &'scope AtomicBool,
        scope: &'scope std::thread::Scope<'scope, '_>,
    ) -> Coming {
        let (senders, receivers): (Vec<_>, Vec<_>) = layers.iter().map(|_| mpsc::channel()).unzip();
        scope.spawn(move || {
            let mut senders = senders.into_iter();
            let debs = self.stage(Stage::Unpack, self.plan.install(), || {
                self.observer.on(Event::Total { stage: Stage::Unpack, amount: packages.len() as u64 });
                let mut debs = PlainDebs::new(self)?;
                for layer in layers {
                    debs = debs.and(self, layer)?;
                    // Nobody waits for them any more if the build failed meanwhile.
                    senders.next().map(|sender| sender.send(Ok(debs.clone())));
                }
                Ok((debs, false))
            });
            match debs {
                Ok(debs) => {
                    if self.packs_squashfs() && self.until.is_none() {
                        let start = self.begun.elapsed().as_secs_f64();
                        stages::warm::run(self, &debs, packages, stop);
                        let span = (start, self.begun.elapsed().as_secs_f64() - start);
                        *self.beforehand.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(span);
                    }
                }
                // Whoever waits next gets the error.
                Err(error) => drop(senders.next().map(|sender| sender.send(Err(error)))),
            }
        });
        let first = layers.iter().position(|layer| !layer.is_empty()).unwrap_or(layers.len());
        let to_install = layers.iter().skip(1).map(|layer| 2 * layer.len() as u64).sum();
        Coming { layers: receivers, first, to_install }
    }

    /// All stages that run programs of packages but the last one, and what they made: the tree, and the layers it lies
    /// in, the topmost first.
    fn stages_in_sandbox<'scope>(
        &'scope self,
        debs: Option<&Coming>,
        scope: &'scope std::thread::Scope<'scope, '_>,
    ) -> Result<Option<(stages::collect::Collected, Vec<Layer>)>, BuildError> {
        // Layers that were there a moment ago may be gone now; there is nothing to make them of then.
        let debs_of = |stage, layer| match debs {
            Some(coming) if coming.has(layer) => coming.of(layer),
            _ => Err(BuildError::Gone { stage }),
        };
        if self.ends(Stage::Unpack) {
            debs.map_or(Ok(()), Coming::finish)?;
            return Ok(None);
        }
        let bootstrap = self.layer(Stage::Bootstrap, self.plan.bootstrap, None, |new| {
            stages::bootstrap::run(self, &debs_of(Stage::Bootstrap, 0)?, new)
        })?;
        if self.ends(Stage::Bootstrap) {
            return Ok(None);
        }
        let mut layers = vec![bootstrap];
        self.stage(Stage::Install, self.plan.install(), || {
            let (groups, mut all_kept) = (&self.lock.install.groups, debs.is_none());
            let amount = debs.map_or(0, |coming| coming.to_install);
            self.observer.on(Event::Total { stage: Stage::Install, amount });
            for (index, (group, key)) in groups.iter().zip(&self.plan.groups).enumerate() {
                let place = self.place(Stage::Install, *key, layers.first());
                let (layer, kept) = self.obtain(&place, |new| {
                    let debs = debs_of(Stage::Install, index + 1)?;
                    stages::install::run(self, &debs, group, &layers, new)
                })?;
                layers.insert(0, layer);
                all_kept &= kept;
            }
            Ok(((), all_kept))
        })?;
        if self.ends(Stage::Install) {
            return Ok(None);
        }
        let settings = self.layer(Stage::Settings, self.plan.settings, layers.first(), |new| {
            stages::settings::run(self, &layers, new)
        })?;
        layers.insert(0, settings);
        if self.ends(Stage::Settings) {
            return Ok(None);
        }
        let customise = || {
            self.layer(Stage::Customise, self.plan.customise, layers.first(), |new| {
                stages::customise::run(self, &layers, new)
            })
        };
        if self.until == Some(Stage::Customise) {
            customise()?;
            self.remember(None);
            return Ok(None);
        }
        let lower = layers.clone();
        let base = scope.spawn(move || stages::collect::base(self, &lower));
        let customise = customise()?;
        let collected = self.stage(Stage::Finalise, self.plan.tree, || {
            let base = base.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok((stages::collect::collect(self, base, &customise)?, false))
        })?;
        layers.insert(0, customise);
        Ok(Some((collected, layers)))
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
        (collected, lowers): (stages::collect::Collected, Vec<Layer>),
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
        let view = stages::initramfs::view(&collected)?;
        let make = || {
            self.stage(Stage::Initramfs, key, || {
                let place = self.place(Stage::Initramfs, key, None);
                let _turn = layers::turn(&place, || self.waits(place.stage))?;
                if let Some(found) = find()? {
                    return Ok((found, true));
                }
                let new = NewLayer::create(&place)?;
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
                    stages::warm::be_nice(stages::warm::Nice::Later);
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

    /// The packages of the bootstrap and of each group, in the order in which they are unpacked.
    fn by_layer(&self) -> Result<Vec<Vec<&'a Package>>, BuildError> {
        let base = self.lock.install.base.iter().map(String::as_str).collect();
        let groups = self.lock.install.groups.iter().map(|group| group.names().collect());
        let package =
            |name: &str| self.lock.image_package(name).ok_or_else(|| BuildError::Lock(name.to_owned()));
        let packages = |names: Vec<&str>| names.into_iter().map(package).collect();
        std::iter::once(base).chain(groups).map(packages).collect()
    }

    /// The packages of the image in the order in which they are unpacked.
    pub(crate) fn installed(&self) -> Result<Vec<&'a Package>, BuildError> {
        Ok(self.by_layer()?.concat())
    }

    /// The packages of the bootstrap and of each group; none for a layer that is kept, and lies on none that must be made.
    pub(crate) fn to_unpack(&self) -> Result<Vec<Vec<&'a Package>>, BuildError> {
        let mut layers = self.by_layer()?;
        layers.iter_mut().take(self.kept_layers()).for_each(Vec::clear);
        Ok(layers)
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
}

/// Whether a build that unpacks `packages` needs `package`.
pub(crate) fn needs(packages: &[&Package], package: &Package) -> bool {
    package.role == Role::Boot || packages.contains(&package)
}

/// Packages with plain archives that a thread is making: those of each layer and all layers below, the lowest first.
struct Coming {
    layers: Vec<mpsc::Receiver<Result<PlainDebs, BuildError>>>,
    /// The first layer that has any: those below it are kept.
    first: usize,
    /// How many packages above the bootstrap are unpacked and configured, both counted.
    to_install: u64,
}

impl Coming {
    /// Whether the packages of `layer` are made.
    fn has(&self, layer: usize) -> bool {
        layer >= self.first
    }

    /// Waits for the packages of `layer`.
    fn of(&self, layer: usize) -> Result<PlainDebs, BuildError> {
        let gone = || Err(BuildError::Gone { stage: Stage::Unpack });
        let Some(receiver) = self.layers.get(layer) else { return gone() };
        receiver.recv().unwrap_or_else(|_| {
            // If nobody asked for those of a lower layer, the error lies there.
            let errors = self.layers[..layer].iter().filter_map(|receiver| receiver.try_recv().ok());
            errors.into_iter().find(Result::is_err).unwrap_or_else(gone)
        })
    }

    /// Waits until there is nothing left to do.
    fn finish(&self) -> Result<(), BuildError> {
        self.of(self.layers.len().saturating_sub(1)).map(drop)
    }
}

/// Sets its flag when dropped.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
