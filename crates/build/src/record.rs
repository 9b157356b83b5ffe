//! The record of a build: what went in and what came out, as an in-toto statement.
//!
//! It holds nothing of the moment or the machine of the build, so equal images have equal records.

use std::collections::BTreeMap;

use selfsame_image::{Digest, Epoch, codec};
use serde::Serialize;

use crate::lock::{FORMAT, Lock};

/// Type of the predicate; the number is raised when a reader would misread a newer record.
pub const PREDICATE_TYPE: &str = "urn:selfsame:record:1";

/// One output file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// File name.
    pub name: String,
    /// Digests by algorithm.
    pub digest: BTreeMap<&'static str, String>,
    /// Length in bytes.
    #[serde(skip)]
    pub size: u64,
}

impl Subject {
    /// The file `name` with this size and SHA-256.
    pub fn new(name: String, size: u64, digest: Digest) -> Self {
        Self { name, digest: BTreeMap::from([("sha256", digest.to_string())]), size }
    }
}

/// A part of an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Component {
    /// What it is: `squashfs`, `initramfs`, `kernel`, `esp`.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: String,
}

impl Component {
    /// The component `name` with this size and SHA-256.
    pub fn new(name: &str, size: u64, digest: Digest) -> Self {
        Self { name: name.to_owned(), size, sha256: digest.to_string() }
    }
}

#[derive(Serialize)]
struct Statement<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: &'a [Subject],
    #[serde(rename = "predicateType")]
    predicate_type: &'static str,
    predicate: Predicate<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Predicate<'a> {
    image_format: u32,
    codecs: BTreeMap<&'static str, &'static str>,
    epoch: Moment,
    plan: &'a str,
    lock: Locked<'a>,
    tree: String,
    components: &'a [Component],
}

#[derive(Serialize)]
struct Moment {
    seconds: u32,
    date: String,
}

#[derive(Serialize)]
struct Locked<'a> {
    sha256: String,
    archives: Vec<ArchiveAt<'a>>,
    packages: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArchiveAt<'a> {
    name: &'a str,
    serial: &'a str,
    in_release: Vec<String>,
}

/// Facts for [`render`].
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The outputs.
    pub subjects: &'a [Subject],
    /// Parts of the outputs.
    pub components: &'a [Component],
    /// Merkle digest of the final tree.
    pub tree: Digest,
    /// Digest of the plan: of everything in the recipe, the lock and this program that shapes the outputs.
    pub plan: Digest,
    /// The lock that was used.
    pub lock: &'a Lock,
    /// The moment of the image.
    pub epoch: Epoch,
}

/// The text of the record: JSON, two spaces, a newline at the end.
pub fn render(facts: &Facts<'_>) -> String {
    let archives = facts.lock.archives.iter().map(|archive| ArchiveAt {
        name: &archive.name,
        serial: &archive.serial,
        in_release: archive.suites.iter().map(|suite| suite.in_release.sha256.to_string()).collect(),
    });
    let plan = facts.plan.to_string();
    let statement = Statement {
        kind: "https://in-toto.io/Statement/v1",
        subject: facts.subjects,
        predicate_type: PREDICATE_TYPE,
        predicate: Predicate {
            image_format: FORMAT,
            codecs: codec::LIBRARIES.iter().copied().collect(),
            epoch: Moment { seconds: facts.epoch.0, date: facts.epoch.civil().to_string() },
            plan: &plan,
            lock: Locked {
                sha256: facts.lock.digest().to_string(),
                archives: archives.collect(),
                packages: facts.lock.packages.len(),
            },
            tree: facts.tree.to_string(),
            components: facts.components,
        },
    };
    let mut text = serde_json::to_string_pretty(&statement).expect("strings and numbers are always JSON");
    text.push('\n');
    text
}

/// The list of installed packages: `name<TAB>version<TAB>architecture<TAB>source`, sorted by name.
pub fn package_list(lock: &Lock) -> String {
    let mut text = String::new();
    for package in lock.packages.iter().filter(|package| package.role == crate::lock::Role::Image) {
        let fields = [&package.name, &package.version, &package.architecture, &package.source];
        text.push_str(&fields.map(String::as_str).join("\t"));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_facts_give_equal_records_that_name_every_input() {
        let lock = crate::lock::sample();
        let facts = Facts {
            subjects: &[Subject::new("x.iso".into(), 5, Digest::of(b"iso"))],
            components: &[Component::new("squashfs", 3, Digest::of(b"sq"))],
            tree: Digest::of(b"tree"),
            plan: Digest::of(b"plan"),
            lock: &lock,
            epoch: Epoch(1_747_474_992),
        };
        let text = render(&facts);
        assert_eq!(text, render(&facts));
        for digest in [Digest::of(b"iso"), Digest::of(b"sq"), Digest::of(b"plan"), lock.digest()] {
            assert!(text.contains(&digest.to_string()));
        }
        assert!(text.contains("\"2025-05-17T09:43:12Z\"") && text.contains("20250517T094312Z"));
    }

    #[test]
    fn boot_packages_are_not_installed_ones() {
        let list = package_list(&crate::lock::sample());
        assert_eq!(list.lines().map(|l| l.split('\t').next().unwrap()).collect::<Vec<_>>(), ["dpkg", "nano"]);
    }
}
