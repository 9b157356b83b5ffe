//! A tag of `examples/live`, served, as stock programs see it: Debian's own keys, and what the whole archive would give
//! them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use selfsame_build::lock::Lock;
use selfsame_testkit::readme::workspace;
use selfsame_testkit::{Apt, Numbers, Service, TestEnvironment, is_root, number, oracle_text, skip};

use super::{LIVE, store};

/// How many sets of packages apt is asked for. `SETS=100` for a long look.
const SETS: usize = 10;
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Writes the tag below `dir`.
pub(crate) fn tag(dir: &Path) -> PathBuf {
    // Its packages are in the store.
    let _ = &*LIVE;
    let tag = dir.join("tag");
    let mut world = TestEnvironment::new(env!("CARGO_BIN_EXE_selfsame"));
    world.set("SELFSAME_STORE", store().root().to_string_lossy());
    let recipe = workspace().join("examples/live");
    let mut arguments =
        vec!["snapshot".into(), "tag".into(), recipe.into_os_string(), tag.clone().into_os_string()];
    if let Ok(mirror) = std::env::var("SELFSAME_TEST_MIRROR") {
        arguments.extend(["--mirror".into(), format!("debian={mirror}").into()]);
    }
    world.run(&arguments).success();
    tag
}

/// Serves a tag with the program: the address of its archive, as long as the service runs.
fn serve(tag: &Path) -> (Service, String) {
    let world = TestEnvironment::new(env!("CARGO_BIN_EXE_selfsame"));
    let words = ["snapshot", "serve", "--listen", "127.0.0.1:0", "--offline", "--store", "store", "--tag"];
    let mut command = world.command(words.map(std::ffi::OsStr::new).into_iter().chain([tag.as_os_str()]));
    command.stderr(Stdio::null());
    let service = Service::start(command);
    let lock = fs::read_to_string(tag.join("selfsame.lock")).unwrap().parse::<Lock>().unwrap();
    let url = format!("{}/debian/{}", service.url(), lock.archives[0].serial);
    (service, url)
}

#[test]
fn apt_chooses_from_a_tag_what_it_chooses_from_the_archive() {
    let Some(mirror) = super::oracles::mirror() else {
        skip("this machine has no APT source for bookworm");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let tag = tag(dir.path());
    let (_service, url) = serve(&tag);
    let source = |url: &str| format!("deb [arch=amd64 signed-by={KEYS}] {url} bookworm main");
    let part = Apt::new(dir.path().join("part"), &source(&url));
    let whole = Apt::new(dir.path().join("whole"), &source(&mirror));
    let (Some(()), Some(())) = (part.update(), whole.update()) else { return };
    let listing = oracle_text(&mut part.command(&["indextargets", "--format", "$(FILENAME)"])).unwrap();
    let index = listing.lines().find(|path| path.ends_with("_Packages")).unwrap();
    let index = fs::read_to_string(index).unwrap();
    let names: Vec<&str> = index.lines().filter_map(|line| line.strip_prefix("Package: ")).collect();
    assert!(names.len() > 60_000, "{}", names.len());
    let mut numbers = Numbers(42);
    let (mut installable, mut lines) = (0, 0);
    let sets = number("SETS", SETS);
    for _ in 0..sets {
        let set: Vec<&str> = (0..=numbers.below(4)).map(|_| names[numbers.below(names.len())]).collect();
        let (chosen, expected) = std::thread::scope(|scope| {
            let chosen = scope.spawn(|| part.choice(&set));
            let expected = whole.choice(&set);
            (chosen.join().unwrap(), expected)
        });
        assert_eq!(chosen, expected, "{set:?}");
        installable += usize::from(chosen.0);
        lines += chosen.1.lines().filter(|line| line.starts_with("Inst ")).count();
    }
    // Sets of several packages contradict each other now and then; most do not.
    assert!(2 * installable > sets && lines > 50 * sets, "{installable} sets, {lines} packages");
}

#[test]
fn debootstrap_and_mmdebstrap_install_from_a_tag() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tag = tag(dir.path());
    let (_service, url) = serve(&tag);
    let root = dir.path().join("mmdebstrap");
    let mut command = Command::new("mmdebstrap");
    // The image is merged from the start; by itself apt would take the package that merges, which is not in the tag.
    let hook = "printf 'Package: usrmerge\\nPin: release *\\nPin-Priority: -1\\n' > \"$1\"/etc/apt/preferences.d/merged";
    let hooks = "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr";
    command.args(["--quiet", "--variant=apt", "--include=usr-is-merged", hooks]);
    command.arg(format!("--setup-hook={hook}")).arg("bookworm").arg(&root);
    command.arg(format!("deb {url} bookworm main"));
    if oracle_text(&mut command).is_some() {
        assert!(root.join("usr/bin/apt-get").is_file());
    }
    let root = dir.path().join("debootstrap");
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", "--download-only", &format!("--keyring={KEYS}"), "bookworm"]);
    command.arg(&root).arg(&url);
    if oracle_text(&mut command).is_some() {
        let debs = fs::read_dir(root.join("var/cache/apt/archives")).unwrap();
        assert!(debs.count() > 80);
    }
}
