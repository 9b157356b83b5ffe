//! The plan: recipe and lock in, the key of every stage out. Pure, so that a key is what it says.

use std::fmt::Write;

use selfsame_image::digest::Hasher;
use selfsame_image::{Digest, Epoch, codec};

use crate::event::Stage;
use crate::inputs::{Facts, StageInputs, after};
use crate::lock::{FORMAT, Lock, Package, Role, Step};
use crate::recipe::{Output, Recipe};
use crate::stages::bootstrap::POLICY_RC_D;
use crate::stages::initramfs::{COPY_FILE, HIDDEN};
use crate::stages::job::{LOCALE, SHIMS, environment};
use crate::stages::{EMPTIED, REMOVED, script};

/// Name of the code that decides bytes: of the sources of this crate and of `image` (`build.rs`).
const CODE: &str = env!("SELFSAME_CODE");

/// The name in the store of what was made for `key`: another version of the program may make something else of the same
/// inputs. It is not part of the key itself, which is told in records: whoever rebuilds with another version can get the
/// same bytes all the same, and shall be able to see it.
pub(crate) fn in_store(key: Digest) -> Digest {
    Digest::of(format!("made by {CODE} for {key}").as_bytes())
}

/// Digests of the recipe's files that reach the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// Merkle digest of the overlay, if there is one.
    pub overlay: Option<Digest>,
    /// Digest of each hook, in order.
    pub hooks: Vec<Digest>,
    /// Digest of the sort file, if there is one.
    pub sort: Option<Digest>,
}

/// The key of each stage: equal keys, equal results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The moment of the image.
    pub epoch: Epoch,
    /// Unpacked and configured Essential set.
    pub bootstrap: Digest,
    /// Each group of packages installed, in order; the first one lies on the bootstrap.
    pub groups: Vec<Digest>,
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
    /// What each stage depends on, by name, in the order they run. Decides nothing; only stages of this recipe.
    pub inputs: Vec<StageInputs>,
}

impl Plan {
    /// All packages installed: the last group, or the bootstrap if there is none.
    pub(crate) fn install(&self) -> Digest {
        self.groups.last().copied().unwrap_or(self.bootstrap)
    }
}

/// Plans the build of `recipe` as pinned by `lock`.
///
/// # Errors
/// The name of a package or step of the lock that makes no sense; [`Lock`]s that were parsed have none.
pub fn plan(recipe: &Recipe, lock: &Lock, inputs: &Inputs, epoch: Epoch) -> Result<Plan, String> {
    let bootstrap = bootstrap_key(lock, epoch)?.finish(Stage::Bootstrap);
    let (groups, install) = install_keys(lock, bootstrap.key)?;
    let settings = settings_key(recipe, install.key).finish(Stage::Settings);
    let customise = customise_key(recipe, lock, inputs, settings.key).finish(Stage::Customise);
    let tree = tree_key(recipe, customise.key).finish(Stage::Finalise);
    let mut initramfs = initramfs_facts(customise.key, recipe.initramfs_codec, epoch);
    initramfs.note(&after(Stage::Customise), customise.key);
    let initramfs = initramfs.finish(Stage::Initramfs);
    let mut squashfs = squashfs_key(recipe, tree.key);
    inputs.sort.iter().for_each(|digest| squashfs.add("sort", digest));
    recipe.outputs.iter().for_each(|output| squashfs.note(&format!("output {}", output.name()), ""));
    squashfs.note("lock", lock.digest());
    let squashfs = squashfs.finish(Stage::Pack);
    let mut iso = Key::new("iso", Some((Stage::Pack, squashfs.key)));
    iso.hash("initramfs", initramfs.key);
    iso.note(&after(Stage::Initramfs), initramfs.key);
    iso.add("boot", format_args!("{:?}", recipe.boot));
    iso.add("volume id", &recipe.volume_id);
    iso.add("name", &recipe.name);
    lock.packages.iter().filter(|p| p.role == Role::Boot).for_each(|p| iso.package(p));
    let iso = iso.finish(Stage::Assemble);

    let output = |output: Output| match output {
        Output::Squashfs => squashfs.key,
        Output::Tar => Key::new("tar", Some((Stage::Finalise, tree.key))).finish(Stage::Pack).key,
        Output::Iso => iso.key,
    };
    let outputs = recipe.outputs.iter().map(|o| (*o, output(*o))).collect();
    let keys = [&bootstrap, &settings, &customise, &tree, &squashfs].map(|inputs| inputs.key);
    let [bootstrap_key, settings_key, customise_key, tree_key, squashfs_key] = keys;
    let mut inputs = vec![bootstrap, install, settings, customise, tree];
    match recipe.bootable() {
        true => inputs.extend([initramfs, squashfs, iso]),
        false => inputs.push(squashfs),
    }
    Ok(Plan {
        epoch,
        bootstrap: bootstrap_key,
        groups,
        settings: settings_key,
        customise: customise_key,
        tree: tree_key,
        outputs,
        squashfs: squashfs_key,
        inputs,
    })
}

fn bootstrap_key(lock: &Lock, epoch: Epoch) -> Result<Key, String> {
    let mut key = Key::new("bootstrap", None);
    key.environment(epoch, LOCALE);
    key.add("policy-rc.d", String::from_utf8_lossy(POLICY_RC_D));
    key.add("script", script::bootstrap(&lock.install.base));
    for name in &lock.install.base {
        key.package(lock.image_package(name).ok_or(name)?);
    }
    Ok(key)
}

/// The keys of all groups, and what they depend on together.
fn install_keys(lock: &Lock, bootstrap: Digest) -> Result<(Vec<Digest>, StageInputs), String> {
    let mut facts = Facts::default();
    facts.note(&after(Stage::Bootstrap), &bootstrap.to_string());
    let (mut keys, mut below) = (Vec::new(), bootstrap);
    for group in &lock.install.groups {
        let mut key = Key { facts, ..Key::new("install", None) };
        key.hash("after", below);
        let steps = group.parsed().ok_or("install.groups")?;
        key.add("script", script::install(&steps));
        for step in &steps {
            let (Step::Unpack(names) | Step::Configure(names)) = step;
            for name in names {
                key.package(lock.image_package(name).ok_or(*name)?);
            }
        }
        StageInputs { key: below, facts, .. } = key.finish(Stage::Install);
        keys.push(below);
    }
    Ok((keys, StageInputs { stage: Stage::Install, key: below, facts }))
}

fn settings_key(recipe: &Recipe, install: Digest) -> Key {
    let mut key = Key::new("settings", Some((Stage::Install, install)));
    key.add("script", script::settings(&recipe.system));
    // The script has them; only what is noted can be named.
    key.note("hostname", &recipe.system.hostname);
    key.note("locale", &recipe.system.locale);
    key.note("timezone", &recipe.system.timezone);
    key
}

fn customise_key(recipe: &Recipe, lock: &Lock, inputs: &Inputs, settings: Digest) -> Key {
    let mut key = Key::new("customise", Some((Stage::Settings, settings)));
    key.add("script", script::users(&recipe.system));
    for user in &recipe.system.users {
        key.note(&format!("user {}", user.name), format_args!("{user:?}"));
    }
    key.hash("automatic", lock.install.automatic.join(" "));
    key.note("automatic marks", lock.install.automatic.join(" "));
    key.hash("overlay", format_args!("{:?}", inputs.overlay));
    if let Some(overlay) = inputs.overlay {
        key.note("overlay", overlay);
    }
    for (path, digest) in recipe.hooks.iter().zip(&inputs.hooks) {
        key.hash("hook", format_args!("{} {digest}", path.display()));
        key.note(&format!("hook {}", path.display()), digest);
    }
    key
}

fn tree_key(recipe: &Recipe, customise: Digest) -> Key {
    let mut key = Key::new("tree", Some((Stage::Customise, customise)));
    REMOVED.iter().for_each(|(glob, _)| key.named("removed", glob));
    EMPTIED.iter().for_each(|path| key.named("emptied", path));
    recipe.exclude.iter().for_each(|pattern| key.named("exclude", pattern));
    key
}

fn squashfs_key(recipe: &Recipe, tree: Digest) -> Key {
    let mut key = Key::new("squashfs", Some((Stage::Finalise, tree)));
    key.codec(recipe.squashfs.codec);
    key.add("block size", recipe.squashfs.block_size);
    key
}

/// The key of an initramfs that is generated where `visible` stands for all that can be read, and packed with `codec`.
pub(crate) fn initramfs_key(visible: Digest, codec: codec::Codec, epoch: Epoch) -> Digest {
    initramfs_facts(visible, codec, epoch).finish(Stage::Initramfs).key
}

fn initramfs_facts(visible: Digest, codec: codec::Codec, epoch: Epoch) -> Key {
    let mut key = Key::new("initramfs", None);
    key.hash("after", visible);
    key.environment(epoch, "C");
    key.add("script", script::initramfs());
    key.add("functions", [&[script::HOOK_FUNCTIONS, script::COPY_FILE][..], &COPY_FILE].concat().concat());
    HIDDEN.iter().for_each(|path| key.add("hidden", path));
    key.codec(codec);
    key
}

/// Hashes labelled facts without ambiguity: each fact is its length and its text. Notes beside that what people call
/// them.
struct Key {
    hasher: Hasher,
    facts: Facts,
}

impl Key {
    fn new(stage: &str, parent: Option<(Stage, Digest)>) -> Self {
        let mut key = Self { hasher: Hasher::new(), facts: Facts::default() };
        key.hash("stage", stage);
        key.add("format", FORMAT);
        if let Some((stage, parent)) = parent {
            key.hash("after", parent);
            key.note(&after(stage), parent);
        }
        key
    }

    fn add(&mut self, label: &str, value: impl std::fmt::Display) {
        self.hash(label, &value);
        self.note(label, value);
    }

    /// A fact that may be there many times; its value is a part of its name.
    fn named(&mut self, label: &str, value: impl std::fmt::Display) {
        self.hash(label, &value);
        self.note(&format!("{label} {value}"), "");
    }

    /// A fact that has no name for people.
    fn hash(&mut self, label: &str, value: impl std::fmt::Display) {
        let mut text = String::from(label);
        let _ = write!(text, "\0{value}");
        self.hasher.update(&(text.len() as u64).to_le_bytes());
        self.hasher.update(text.as_bytes());
    }

    /// A name for people; changes no key.
    fn note(&mut self, name: &str, value: impl std::fmt::Display) {
        self.facts.note(name, &value.to_string());
    }

    /// The world that programs run in.
    fn environment(&mut self, epoch: Epoch, locale: &str) {
        self.add("epoch", epoch.0);
        for (name, value) in environment(epoch, locale) {
            self.hash("variable", format_args!("{}={}", name.display(), value.display()));
            // That one is the epoch once more.
            if name != "SOURCE_DATE_EPOCH" {
                self.note(&format!("variable {}", name.display()), value.display());
            }
        }
        for (name, text) in SHIMS {
            self.hash("shim", format_args!("{name} {text}"));
            self.note(&format!("shim {name}"), text);
        }
    }

    fn package(&mut self, package: &Package) {
        self.hash("package", format_args!("{} {}", package.name, package.file.sha256));
        self.note(&format!("package {}", package.name), package.file.sha256);
    }

    fn codec(&mut self, codec: codec::Codec) {
        self.add("codec", codec);
        for (name, library) in codec::LIBRARIES {
            self.hash(name, library);
            self.note(&format!("library for {name}"), library);
        }
    }

    fn finish(self, stage: Stage) -> StageInputs {
        StageInputs { stage, key: self.hasher.finish(), facts: self.facts }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::inputs::{Change, LastBuild};
    use crate::lock::sample;

    fn planned(change: impl FnOnce(&mut Recipe, &mut Lock, &mut Inputs)) -> Plan {
        let text = "format = 1\n[image]\nname = \"x\"\noutputs = [\"squashfs\", \"tar\"]\n\
                    [archives.debian]\nsuites = [\"bookworm\"]\nkeys = \"debian\"\n[[hooks]]\nrun = \"h\"\n";
        let mut recipe = crate::recipe::parse(Path::new("r"), text).unwrap();
        let mut lock = sample();
        let mut inputs = Inputs { overlay: None, hooks: vec![Digest::of(b"hook")], sort: None };
        change(&mut recipe, &mut lock, &mut inputs);
        plan(&recipe, &lock, &inputs, Epoch(5)).unwrap()
    }

    #[test]
    fn a_change_reaches_its_stage_and_those_after_it_and_no_other() {
        let base = planned(|_, _, _| ());
        let hook = planned(|_, _, inputs| inputs.hooks[0] = Digest::of(b"other"));
        assert_eq!((base.bootstrap, &base.groups), (hook.bootstrap, &hook.groups));
        assert_ne!(base.customise, hook.customise);
        assert_ne!(base.outputs, hook.outputs);
        let codec = planned(|recipe, _, _| recipe.squashfs.block_size = 4096);
        assert_eq!((base.tree, base.outputs[1]), (codec.tree, codec.outputs[1]));
        assert_ne!(base.squashfs, codec.squashfs);
        let sort = planned(|_, _, inputs| inputs.sort = Some(Digest::of(b"boot.sort")));
        assert_eq!((base.tree, base.outputs[1]), (sort.tree, sort.outputs[1]));
        assert_ne!(base.squashfs, sort.squashfs);
        let package = planned(|_, lock, _| {
            let dpkg = lock.packages.iter_mut().find(|p| p.name == "dpkg").unwrap();
            dpkg.file.sha256 = Digest::of(b"new dpkg");
        });
        assert_ne!(base.bootstrap, package.bootstrap);
        assert_ne!(base.groups, package.groups);
    }

    #[test]
    fn where_the_recipe_lies_and_its_mirrors_change_nothing() {
        let moved = planned(|recipe, _, _| {
            recipe.dir = "/elsewhere".into();
            recipe.archives.get_mut("debian").unwrap().mirrors = vec!["file:/mirror".into()];
        });
        assert_eq!(moved, planned(|_, _, _| ()));
    }

    #[test]
    fn what_changed_has_a_name_for_people() {
        let base = planned(|_, _, _| ());
        let mut last = LastBuild::default();
        last.note(&base.inputs);
        let named = |plan: &Plan| {
            let stages = plan.inputs.iter().map(|inputs| (inputs.stage, last.changes(inputs).unwrap()));
            stages.filter(|(_, changes)| !changes.is_empty()).collect::<Vec<_>>()
        };
        assert_eq!(named(&base), []);
        let both = planned(|recipe, _, inputs| {
            inputs.hooks[0] = Digest::of(b"other");
            inputs.overlay = Some(Digest::of(b"overlay"));
            recipe.squashfs.block_size = 4096;
        });
        let (customise, finalise) = (Change::After(Stage::Customise), Change::After(Stage::Finalise));
        let expected = [
            (Stage::Customise, vec![Change::Added("overlay".into()), Change::Changed("hook h".into())]),
            (Stage::Finalise, vec![customise]),
            (Stage::Pack, vec![Change::Changed("block size".into()), finalise]),
        ];
        assert_eq!(named(&both), expected);
        let host = planned(|recipe, _, _| recipe.system.hostname = "other".into());
        assert_eq!(named(&host)[0], (Stage::Settings, vec![Change::Changed("hostname".into())]));
        let package = planned(|_, lock, _| {
            lock.packages.iter_mut().find(|p| p.name == "nano").unwrap().file.sha256 = Digest::of(b"new");
        });
        assert_eq!(named(&package)[0], (Stage::Install, vec![Change::Changed("package nano".into())]));
    }
}
