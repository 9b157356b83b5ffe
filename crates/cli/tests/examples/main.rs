//! The examples: what README promises, and that it boots.
//!
//! Packages come from this machine's own APT sources. `SELFSAME_TEST_MIRROR=file:/somewhere` names a mirror made by
//! `scripts/mirror.sh` instead.

mod changes;
mod oracles;
mod overlay;
mod plain;
mod tags;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use selfsame_store::Store;
use selfsame_testkit::readme::{promised_digests, workspace};
use selfsame_testkit::vm::{Firmware, Medium};
use selfsame_testkit::{TestEnvironment, Vm, leaks};

/// Builds an example with nothing on the path, in a world of its own, and returns the digests and places of its
/// images. They are kept in cargo's directory for such things until the next run.
fn build(name: &str) -> BTreeMap<PathBuf, String> {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples/out").join(name);
    if out.exists() {
        fs::remove_dir_all(&out).unwrap_or_else(|error| panic!("{}: {error}", out.display()));
    }
    let world = world();
    let recipe = workspace().join("examples").join(name);
    let mut arguments = vec!["build".into(), recipe.into_os_string(), "--out".into(), out.into_os_string()];
    arguments.extend(mirror_words().into_iter().map(Into::into));
    let built = world.run(&arguments).success();
    leaks::assert_none_below(world.root());
    let line =
        |line: &str| line.split_once("  ").map(|(digest, path)| (PathBuf::from(path), digest.to_owned()));
    built
        .lines()
        .map(|text| line(text).unwrap_or_else(|| panic!("{text:?} is not a line of sha256sum")))
        .collect()
}

/// The program with the store of all these tests, and this machine's proxies.
fn world() -> TestEnvironment {
    let mut world = TestEnvironment::new(env!("CARGO_BIN_EXE_selfsame"));
    world.set("SELFSAME_STORE", store().root().to_string_lossy());
    for proxy in ["http_proxy", "https_proxy", "no_proxy"] {
        if let Ok(value) = std::env::var(proxy) {
            world.set(proxy, value);
        }
    }
    world
}

/// Words that name the mirror to use, if it is not this machine's own.
fn mirror_words() -> Vec<String> {
    let mirror = std::env::var("SELFSAME_TEST_MIRROR").ok();
    mirror.map_or_else(Vec::new, |mirror| vec!["--mirror".to_owned(), format!("debian={mirror}")])
}

/// The store of all builds of this test, kept like their images.
fn store() -> Store {
    Store::open(Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples/store")).unwrap()
}

/// # Panics
/// If `built` are not exactly the images that README promises for the example.
#[track_caller]
fn assert_promised(example: &str, built: &BTreeMap<PathBuf, String>) {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let example = format!("examples/{example}");
    let promised: BTreeMap<String, String> = promised_digests(&readme)
        .into_iter()
        .filter(|((name, _), _)| *name == example)
        .map(|((_, output), digest)| (output, digest))
        .collect();
    let output = |path: &Path| path.extension().unwrap_or_default().to_string_lossy().into_owned();
    // Manifest, package list and record follow from the image; README promises the images.
    let built: BTreeMap<String, String> = built
        .iter()
        .map(|(path, digest)| (output(path), digest.clone()))
        .filter(|(output, _)| ["iso", "squashfs", "tar"].contains(&output.as_str()))
        .collect();
    assert_eq!(built, promised, "README's table does not say what {example} gives");
}

static LIVE: LazyLock<BTreeMap<PathBuf, String>> = LazyLock::new(|| build("live"));
static TINY: LazyLock<BTreeMap<PathBuf, String>> = LazyLock::new(|| build("tiny"));

#[test]
fn tiny_gives_the_promised_bytes() {
    assert_promised("tiny", &TINY);
}

#[test]
fn live_gives_the_promised_bytes() {
    assert_promised("live", &LIVE);
}

fn boots(medium: Medium, firmware: Firmware) {
    // One machine at a time: systemd waits 90 s for the serial line, which two emulated machines on two busy processors
    // have been seen to exceed. There is no login on it then.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let iso = LIVE.keys().find(|path| path.extension().is_some_and(|extension| extension == "iso"));
    let Some(mut vm) = Vm::boot(iso.expect("examples/live has an ISO"), medium, firmware, 1024) else {
        return;
    };
    // Emulation on a busy machine; a quiet one needs about a minute.
    vm.wait_for("login:", Duration::from_secs(1200));
}

#[test]
fn live_boots_from_cd_under_bios() {
    boots(Medium::Cd, Firmware::Bios);
}

#[test]
fn live_boots_from_cd_under_uefi() {
    boots(Medium::Cd, Firmware::Uefi);
}

#[test]
fn live_boots_from_usb_under_bios() {
    boots(Medium::Usb, Firmware::Bios);
}

#[test]
fn live_boots_from_usb_under_uefi() {
    boots(Medium::Usb, Firmware::Uefi);
}
