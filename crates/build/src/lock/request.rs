//! The part of a recipe that a lock answers, kept in the lock so that a stale one can say what changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::recipe::{Keys, Recipe};

/// Packages whose files a bootable ISO takes; none of their scripts is run.
pub(super) const BOOT_PACKAGES: &[&str] =
    &["grub-efi-amd64-signed", "isolinux", "shim-signed", "syslinux-common"];

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Request {
    /// Debian's name of the architecture.
    pub architecture: String,
    /// Lowest priority of packages asked for as a whole.
    pub priority: String,
    /// Whether recommended packages are installed too.
    pub recommends: bool,
    /// Packages asked for by name, sorted.
    pub include: Vec<String>,
    /// Packages whose files are taken for booting, sorted.
    pub boot: Vec<String>,
    /// The kernel of the machine that builds, if the recipe asks for one.
    #[serde(default)]
    pub builder: Vec<String>,
    /// Archives by name.
    pub archives: BTreeMap<String, ArchiveRequest>,
    /// Directories of the recipe that are archives, by name.
    #[serde(default, rename = "overlay")]
    pub local: BTreeMap<String, LocalRequest>,
    /// From which archive packages must come, by pattern of their names.
    #[serde(default)]
    pub from: BTreeMap<String, String>,
}

/// What was asked of a directory of packages. Its path is not part of it: it decides from where, not what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LocalRequest {
    /// apt's priority of its packages; absent for apt's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u16>,
}

/// What was asked of one archive. Mirrors are not part of it: they decide from where, not what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ArchiveRequest {
    /// Suites, in order.
    pub suites: Vec<String>,
    /// Components, in order.
    pub components: Vec<String>,
    /// `debian`, or the fingerprints that count.
    pub keys: Vec<String>,
    /// How many distinct primary keys must have signed.
    pub threshold: u8,
    /// Name of the snapshot that was asked for; absent for the state of the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// apt's priority of its packages; absent for what apt makes of each suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u16>,
}

impl Request {
    /// What `recipe` asks for.
    pub fn of(recipe: &Recipe) -> Self {
        let archives = recipe.archives.iter().map(|(name, archive)| {
            let keys = match &archive.keys {
                Keys::Debian => vec!["debian".to_owned()],
                Keys::File { fingerprints, .. } => fingerprints.clone(),
            };
            let request = ArchiveRequest {
                suites: archive.suites.clone(),
                components: archive.components.clone(),
                keys,
                threshold: archive.threshold,
                serial: archive.serial.clone(),
                priority: archive.priority,
            };
            (name.clone(), request)
        });
        let local =
            recipe.local.iter().map(|(name, one)| (name.clone(), LocalRequest { priority: one.priority }));
        let boot = if recipe.bootable() { BOOT_PACKAGES } else { &[] };
        Self {
            architecture: recipe.packages.architecture.clone(),
            priority: recipe.packages.priority.name().to_owned(),
            recommends: recipe.packages.recommends,
            include: recipe.packages.include.clone(),
            boot: boot.iter().map(|name| (*name).to_owned()).collect(),
            builder: recipe.builder_kernel.iter().cloned().collect(),
            archives: archives.collect(),
            local: local.collect(),
            from: recipe.packages.from.clone(),
        }
    }

    /// What differs from `old` to `self`, one phrase each; empty if nothing does.
    pub fn changes_since(&self, old: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        let mut scalar = |what: &str, old: &dyn std::fmt::Display, new: &dyn std::fmt::Display| {
            let (old, new) = (old.to_string(), new.to_string());
            if old != new {
                changes.push(format!("{what}: {old} -> {new}"));
            }
        };
        scalar("packages.architecture", &old.architecture, &self.architecture);
        scalar("packages.priority", &old.priority, &self.priority);
        scalar("packages.recommends", &old.recommends, &self.recommends);
        list("packages.include", &old.include, &self.include, &mut changes);
        list("boot packages", &old.boot, &self.boot, &mut changes);
        list("builder.kernel", &old.builder, &self.builder, &mut changes);
        let names = |request: &Self| request.archives.keys().cloned().collect::<Vec<_>>();
        list("archives", &names(old), &names(self), &mut changes);
        for (name, new) in &self.archives {
            let Some(old) = old.archives.get(name) else { continue };
            list(&format!("archives.{name}.suites"), &old.suites, &new.suites, &mut changes);
            list(&format!("archives.{name}.components"), &old.components, &new.components, &mut changes);
            list(&format!("archives.{name}.keys"), &old.keys, &new.keys, &mut changes);
            if old.threshold != new.threshold {
                changes.push(format!("archives.{name}.threshold: {} -> {}", old.threshold, new.threshold));
            }
            if old.serial != new.serial {
                let [old, new] = [old, new].map(|one| one.serial.as_deref().unwrap_or("latest"));
                changes.push(format!("archives.{name}.serial: {old} -> {new}"));
            }
            priority(&format!("archives.{name}"), old.priority, new.priority, &mut changes);
        }
        let names = |request: &Self| request.local.keys().cloned().collect::<Vec<_>>();
        list("overlays", &names(old), &names(self), &mut changes);
        for (name, new) in &self.local {
            let Some(old) = old.local.get(name) else { continue };
            priority(&format!("overlay {name}"), old.priority, new.priority, &mut changes);
        }
        let guards = |request: &Self| {
            request.from.iter().map(|(names, archive)| format!("{names} = {archive}")).collect::<Vec<_>>()
        };
        list("packages.from", &guards(old), &guards(self), &mut changes);
        changes
    }
}

fn priority(what: &str, old: Option<u16>, new: Option<u16>, changes: &mut Vec<String>) {
    if old != new {
        let [old, new] = [old, new].map(|one| one.map_or("apt's own".to_owned(), |one| one.to_string()));
        changes.push(format!("{what}.priority: {old} -> {new}"));
    }
}

fn list(what: &str, old: &[String], new: &[String], changes: &mut Vec<String>) {
    let before = changes.len();
    changes.extend(new.iter().filter(|name| !old.contains(name)).map(|name| format!("{what}: {name} added")));
    changes
        .extend(old.iter().filter(|name| !new.contains(name)).map(|name| format!("{what}: {name} removed")));
    if changes.len() == before && old != new {
        changes.push(format!("{what}: order changed"));
    }
}
