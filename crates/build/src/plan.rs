//! The plan: recipe and lock in, the key of every stage out. Pure, so that a key is what it says.

use std::fmt::Write;

use selfsame_image::digest::Hasher;
use selfsame_image::{Digest, Epoch, codec};

use crate::lock::{FORMAT, Lock, Package, Role, Step};
use crate::recipe::{Output, Recipe};
use crate::stages::bootstrap::POLICY_RC_D;
use crate::stages::job::{LOCALE, SHIMS, environment};
use crate::stages::{EMPTIED, REMOVED, script};

/// Digests of the recipe's files that reach the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// Merkle digest of the overlay, if there is one.
    pub overlay: Option<Digest>,
    /// Digest of each hook, in order.
    pub hooks: Vec<Digest>,
}

/// The key of each stage: equal keys, equal results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The moment of the image.
    pub epoch: Epoch,
    /// Unpacked and configured Essential set.
    pub bootstrap: Digest,
    /// All packages installed.
    pub install: Digest,
    /// Host name, locale and time zone set.
    pub settings: Digest,
    /// Overlay, users and hooks applied.
    pub customise: Digest,
    /// The final tree.
    pub tree: Digest,
    /// Every output, in the recipe's order.
    pub outputs: Vec<(Output, Digest)>,
    /// The SquashFS, which is an output or a part of one.
    pub squashfs: Digest,
}

/// Plans the build of `recipe` as pinned by `lock`.
///
/// # Errors
/// The name of a package or step of the lock that makes no sense; [`Lock`]s that were parsed have none.
pub fn plan(recipe: &Recipe, lock: &Lock, inputs: &Inputs, epoch: Epoch) -> Result<Plan, String> {
    let named = |name: &str| lock.image_package(name).ok_or_else(|| name.to_owned());
    let mut key = Key::new("bootstrap", &[]);
    key.environment(epoch, LOCALE);
    key.add("policy-rc.d", String::from_utf8_lossy(POLICY_RC_D));
    key.add("script", script::bootstrap(&lock.install.base));
    for name in &lock.install.base {
        key.package(named(name)?);
    }
    let bootstrap = key.finish();

    let mut key = Key::new("install", &[bootstrap]);
    let steps = lock.install.steps().ok_or("install.steps")?;
    key.add("script", script::install(&steps));
    for step in &steps {
        let (Step::Unpack(names) | Step::Configure(names)) = step;
        for name in names {
            key.package(named(name)?);
        }
    }
    let install = key.finish();

    let mut key = Key::new("settings", &[install]);
    key.add("script", script::settings(&recipe.system));
    let settings = key.finish();

    let mut key = Key::new("customise", &[settings]);
    key.add("script", script::users(&recipe.system));
    key.add("automatic", lock.install.automatic.join(" "));
    key.add("overlay", format_args!("{:?}", inputs.overlay));
    for (path, digest) in recipe.hooks.iter().zip(&inputs.hooks) {
        key.add("hook", format_args!("{} {digest}", path.display()));
    }
    let customise = key.finish();

    let mut key = Key::new("tree", &[customise]);
    REMOVED.iter().for_each(|(glob, _)| key.add("removed", glob));
    EMPTIED.iter().for_each(|path| key.add("emptied", path));
    recipe.exclude.iter().for_each(|pattern| key.add("exclude", pattern));
    let tree = key.finish();

    let mut key = Key::new("squashfs", &[tree]);
    key.codec(recipe.squashfs.codec);
    key.add("block size", recipe.squashfs.block_size);
    let squashfs = key.finish();

    let output = |output: Output| {
        let key = match output {
            Output::Squashfs => squashfs,
            Output::Tar => Key::new("tar", &[tree]).finish(),
            Output::Iso => {
                let mut key = Key::new("iso", &[squashfs]);
                key.add("initramfs", initramfs_key(customise, recipe.initramfs_codec, epoch));
                key.add("boot", format_args!("{:?}", recipe.boot));
                key.add("volume id", &recipe.volume_id);
                lock.packages.iter().filter(|p| p.role == Role::Boot).for_each(|p| key.package(p));
                key.finish()
            }
        };
        (output, key)
    };
    let outputs = recipe.outputs.iter().map(|o| output(*o)).collect();
    Ok(Plan { epoch, bootstrap, install, settings, customise, tree, outputs, squashfs })
}

/// The key of an initramfs that is generated where `visible` stands for all that can be read, and packed with `codec`.
pub(crate) fn initramfs_key(visible: Digest, codec: codec::Codec, epoch: Epoch) -> Digest {
    let mut key = Key::new("initramfs", &[visible]);
    key.environment(epoch, "C");
    key.add("script", script::initramfs());
    key.add("functions", script::HOOK_FUNCTIONS);
    key.codec(codec);
    key.finish()
}

/// Hashes labelled facts without ambiguity: each fact is its length and its text.
struct Key(Hasher);

impl Key {
    fn new(stage: &str, parents: &[Digest]) -> Self {
        let mut key = Self(Hasher::new());
        key.add("stage", stage);
        key.add("format", FORMAT);
        for parent in parents {
            key.add("after", parent);
        }
        key
    }

    fn add(&mut self, label: &str, value: impl std::fmt::Display) {
        let mut text = String::from(label);
        let _ = write!(text, "\0{value}");
        self.0.update(&(text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
    }

    /// The world that programs run in.
    fn environment(&mut self, epoch: Epoch, locale: &str) {
        self.add("epoch", epoch.0);
        for (name, value) in environment(epoch, locale) {
            self.add("variable", format_args!("{}={}", name.display(), value.display()));
        }
        for (name, text) in SHIMS {
            self.add("shim", format_args!("{name} {text}"));
        }
    }

    fn package(&mut self, package: &Package) {
        self.add("package", format_args!("{} {}", package.name, package.file.sha256));
    }

    fn codec(&mut self, codec: codec::Codec) {
        self.add("codec", codec);
        for (name, library) in codec::LIBRARIES {
            self.add(name, library);
        }
    }

    fn finish(self) -> Digest {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::lock::sample;

    fn planned(change: impl FnOnce(&mut Recipe, &mut Lock, &mut Inputs)) -> Plan {
        let text = "format = 1\n[image]\nname = \"x\"\noutputs = [\"squashfs\", \"tar\"]\n\
                    [archives.debian]\nsuites = [\"bookworm\"]\nkeys = \"debian\"\n[[hooks]]\nrun = \"h\"\n";
        let mut recipe = crate::recipe::parse(Path::new("r"), text).unwrap();
        let mut lock = sample();
        let mut inputs = Inputs { overlay: None, hooks: vec![Digest::of(b"hook")] };
        change(&mut recipe, &mut lock, &mut inputs);
        plan(&recipe, &lock, &inputs, Epoch(5)).unwrap()
    }

    #[test]
    fn a_change_reaches_its_stage_and_those_after_it_and_no_other() {
        let base = planned(|_, _, _| ());
        let hook = planned(|_, _, inputs| inputs.hooks[0] = Digest::of(b"other"));
        assert_eq!((base.bootstrap, base.install), (hook.bootstrap, hook.install));
        assert_ne!(base.customise, hook.customise);
        assert_ne!(base.outputs, hook.outputs);
        let codec = planned(|recipe, _, _| recipe.squashfs.block_size = 4096);
        assert_eq!((base.tree, base.outputs[1]), (codec.tree, codec.outputs[1]));
        assert_ne!(base.squashfs, codec.squashfs);
        let package = planned(|_, lock, _| {
            let dpkg = lock.packages.iter_mut().find(|p| p.name == "dpkg").unwrap();
            dpkg.file.sha256 = Digest::of(b"new dpkg");
        });
        assert_ne!(base.bootstrap, package.bootstrap);
        assert_ne!(base.install, package.install);
    }

    #[test]
    fn where_the_recipe_lies_and_its_mirrors_change_nothing() {
        let moved = planned(|recipe, _, _| {
            recipe.dir = "/elsewhere".into();
            recipe.archives.get_mut("debian").unwrap().mirrors = vec!["file:/mirror".into()];
        });
        assert_eq!(moved, planned(|_, _, _| ()));
    }
}
