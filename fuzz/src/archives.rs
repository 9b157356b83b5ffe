//! Readers of what archives and mirrors give, and of what is kept of that.

use std::io::BufReader;
use std::path::Path;
use std::sync::LazyLock;

use selfsame_apt::mirrors::{Mirror, auto_mirrors, system_sources};
use selfsame_apt::openpgp::{Keyring, Messages, verify_collected};
use selfsame_apt::packages::{Index, closure, unpack};
use selfsame_apt::release::Release;
use selfsame_apt::snapshot::{self, ArchiveSpec, Elsewhere, History, Sighting, Thin};
use selfsame_apt::version::Version;
use selfsame_apt::{deb822 as paragraphs, relation as relations, sources as of_sources};
use selfsame_image::tree::Content;

use super::structure::{halves, text};

/// A time at which the kept files are of age: that of the fixture archive of the tests.
const NOW: i64 = 1_768_478_400;
/// The key that signed the kept files; `crates/cli/examples/fuzz_seeds.rs` makes it.
static KEYRING: LazyLock<Keyring> =
    LazyLock::new(|| Keyring::from_bytes(include_bytes!("key.pgp")).expect("it is a key"));

fn spec() -> ArchiveSpec {
    ArchiveSpec {
        name: "debian".to_owned(),
        mirrors: vec!["http://mirror.test/debian".to_owned()],
        suites: vec!["bookworm".to_owned()],
        components: vec!["main".to_owned()],
        architectures: vec!["amd64".to_owned()],
        keyring: None,
        fingerprints: KEYRING.fingerprints(),
        threshold: 1,
    }
}

/// Signed files as mirrors have them.
pub(crate) fn inrelease(bytes: &[u8]) {
    let _text = snapshot::signed_text(bytes);
    if let Ok(accepted) = snapshot::accept(bytes, &spec(), "bookworm", &KEYRING, NOW) {
        assert!(!accepted.signers.is_empty(), "somebody signed it");
        assert_eq!(snapshot::signed_text(bytes), Some(accepted.text), "and that very text");
    }
}

/// Signed files as collectors have them, several in a row.
pub(crate) fn collected(bytes: &[u8]) {
    let messages: Vec<Vec<u8>> = Messages::new(BufReader::new(bytes)).flatten().collect();
    assert_eq!(messages.concat(), bytes, "nothing is left out");
    for message in messages.iter().take(4) {
        let _verified = verify_collected(message, &KEYRING, &spec().fingerprints);
        let _collected = snapshot::judge_collected(message, &spec(), "bookworm", &KEYRING, NOW);
    }
}

/// Certificates.
pub(crate) fn keyring(bytes: &[u8]) {
    let Ok(keyring) = Keyring::from_bytes(bytes) else { return };
    for fingerprint in keyring.fingerprints() {
        let _problem = keyring.problem(&fingerprint, NOW);
    }
}

pub(crate) fn release(bytes: &[u8]) {
    let Ok(release) = Release::parse(bytes) else { return };
    let _time = release.check_time(NOW);
    assert!(release.codename.is_some() || release.suite.is_some(), "it is of a suite");
    for path in release.sha256.keys() {
        assert!(!path.starts_with('/') && path.split('/').all(|part| part != ".."), "{path} leads outside");
    }
    let _facts = (release.has_component("main"), release.default_priority(), release.has_separate_all());
}

pub(crate) fn deb822(bytes: &[u8]) {
    let mut end = 0;
    for paragraph in paragraphs::paragraphs(bytes) {
        let Ok(paragraph) = paragraph else { return };
        let range = paragraph.range();
        assert!(end <= range.start && range.start < range.end && range.end <= bytes.len(), "in order");
        end = range.end;
        for field in paragraph.fields() {
            assert!(
                range.contains(&field.at()) && field.value_at() <= range.end,
                "{} lies inside",
                field.name()
            );
            assert_eq!(paragraph.get(field.name()), Some(*field), "each field is there once");
            let _value = (field.text(), field.is_single_line(), field.lines().count());
        }
    }
}

pub(crate) fn packages(bytes: &[u8]) {
    let content = Content::of(bytes);
    let _plain = unpack(bytes, &content, Some(&Content { size: 1 << 20, ..content }));
    let Ok(index) = Index::parse(bytes.to_vec()) else { return };
    assert_eq!(index.packages().len(), index.len());
    let mut names = Vec::new();
    for package in index.packages() {
        assert!(index.find(package.name()).any(|found| found.stanza() == package.stanza()), "it is found");
        let _version = package.version();
        let _relations = (package.pre_depends(), package.depends(), package.provides());
        let _facts = (package.source(), package.essential(), package.priority(), package.section());
        let _more = (package.multi_arch(), package.filename(), package.file());
        names.push(package.name());
    }
    names.truncate(8);
    let _closure = closure(&[&index], "amd64", &names);
}

pub(crate) fn sources(bytes: &[u8]) {
    // All that it has is asked for.
    let mut wanted = std::collections::BTreeSet::new();
    for paragraph in paragraphs::paragraphs(bytes).flatten() {
        let text = |name| paragraph.get(name).and_then(|field| field.text()).unwrap_or_default().to_owned();
        wanted.insert((text("Package"), text("Version")));
    }
    let Ok(found) = of_sources::find(bytes, &wanted) else { return };
    for file in found.values().flatten() {
        assert!(
            !file.path.starts_with('/') && file.path.split('/').all(|part| part != ".."),
            "{}",
            file.path
        );
    }
}

/// Two versions.
pub(crate) fn version(bytes: &[u8]) {
    let (first, second) = halves(bytes);
    let read = |bytes| Version::parse(text(bytes)?).ok();
    let Some(first) = read(first) else { return };
    let shown = first.to_string();
    let again = Version::parse(&shown).expect("what a version prints as is one");
    assert_eq!(again.cmp(&first), std::cmp::Ordering::Equal, "and the same one");
    let Some(second) = read(second) else { return };
    assert_eq!(first.cmp(&second), second.cmp(&first).reverse(), "either is later, or none");
}

pub(crate) fn relation(bytes: &[u8]) {
    let Some(Ok(clauses)) = text(bytes).map(relations::parse) else { return };
    let version = Version::parse("1.0-1").expect("a version");
    for relation in clauses.iter().flatten() {
        let _answers = (
            relation.accepts(version),
            relation.accepts_provided(None),
            relation.accepts_provided(Some(version)),
            relation.applies_on("amd64"),
        );
    }
}

/// Addresses of mirrors.
pub(crate) fn mirror(bytes: &[u8]) {
    let Some(Ok(mirror)) = text(bytes).map(Mirror::parse) else { return };
    let again = Mirror::parse(mirror.as_str()).expect("what an address prints as is one");
    assert_eq!(again, mirror);
    let _parts = (mirror.scheme(), mirror.host());
}

/// Source lists of a system in both forms.
pub(crate) fn sources_list(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    for name in ["debian.list", "debian.sources"] {
        if let Ok(sources) = system_sources(&[(Path::new(name), text)]) {
            let _mirrors = auto_mirrors(&sources, "bookworm");
        }
    }
}

/// What was seen of archives, here and elsewhere.
pub(crate) fn history(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(history) = History::parse(text) {
        let of_debian = history.newest("debian", "bookworm");
        assert!(of_debian.is_none_or(|date| history.at("debian", "bookworm", date).is_some()), "it was seen");
    }
    let mut elsewhere = Elsewhere::default();
    for sighting in text.lines().filter_map(Sighting::parse) {
        assert_eq!(Sighting::parse(&sighting.to_string()).as_ref(), Some(&sighting));
        elsewhere.add(sighting);
    }
    for seen in elsewhere.iter() {
        let of = elsewhere.of(&seen.archive, &seen.codename, seen.date);
        assert!(of.contains(seen), "what was added is there");
        let _newest = elsewhere.check_newest(&seen.archive, &seen.codename, seen.date);
    }
}

/// How a file is made again.
pub(crate) fn thin(bytes: &[u8]) {
    let Some(Some(thin)) = text(bytes).map(Thin::parse) else { return };
    assert_eq!(text(bytes), Some(thin.to_string().as_str()), "in one spelling");
}
