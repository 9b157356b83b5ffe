//! A tag of `examples/live`, served, as stock programs see it: Debian's own keys, and what the whole archive would give
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use selfsame_build::lock::Lock;
use selfsame_testkit::readme::workspace;
use selfsame_testkit::{Apt, Numbers, Service, TestEnvironment, is_root, number, oracle_text, skip};

use super::oracles::mirror;
use super::{LIVE, mirror_words, world};

/// How many sets of packages apt is asked for. `SETS=100` for a long look.
const SETS: usize = 10;
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Writes the tag of `examples/live` below `dir`.
pub(crate) fn tag(dir: &Path) -> PathBuf {
    // Its packages are in the store.
    let _ = &*LIVE;
    tag_of(&workspace().join("examples/live"), dir)
}

fn tag_of(recipe: &Path, dir: &Path) -> PathBuf {
    let tag = dir.join("tag");
    let mut arguments: Vec<OsString> =
        vec!["snapshot".into(), "tag".into(), recipe.into(), tag.clone().into()];
    arguments.extend(mirror_words().into_iter().map(Into::into));
    world().run(&arguments).success();
    tag
}

/// Serves a tag with the program: the addresses of its archives by name, as long as the service runs.
fn serve(tag: &Path) -> (Service, BTreeMap<String, String>) {
    let world = TestEnvironment::new(env!("CARGO_BIN_EXE_selfsame"));
    let words = ["snapshot", "serve", "--listen", "127.0.0.1:0", "--offline", "--store", "store", "--tag"];
    let mut command = world.command(words.map(std::ffi::OsStr::new).into_iter().chain([tag.as_os_str()]));
    command.stderr(Stdio::null());
    let service = Service::start(command);
    let lock = fs::read_to_string(tag.join("selfsame.lock")).unwrap().parse::<Lock>().unwrap();
    let url = |name: &str, serial: &str| format!("{}/{name}/{serial}", service.url());
    let urls = lock.archives.iter().map(|one| (one.name.clone(), url(&one.name, &one.serial))).collect();
    (service, urls)
}

/// A line of apt's sources.
fn source(url: &str, suite: &str) -> String {
    format!("deb [arch=amd64 signed-by={KEYS}] {url} {suite} main")
}

/// Asks apt for random sets of packages, once with the sources of a tag and once with those of the whole archive.
fn same_choices(dir: &Path, tag: &[String], archive: &[String]) {
    let part = Apt::new(dir.join("part"), &tag.join("\n"));
    let whole = Apt::new(dir.join("whole"), &archive.join("\n"));
    let (Some(()), Some(())) = (part.update(), whole.update()) else { return };
    let listing = oracle_text(&mut part.command(&["indextargets", "--format", "$(FILENAME)"])).unwrap();
    let indexes: Vec<String> = listing
        .lines()
        .filter(|path| path.ends_with("_Packages"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    assert_eq!(indexes.len(), tag.len());
    let lines = indexes.iter().flat_map(|index| index.lines());
    let names: BTreeSet<&str> = lines.filter_map(|line| line.strip_prefix("Package: ")).collect();
    let names: Vec<&str> = names.into_iter().collect();
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
fn apt_chooses_from_a_tag_what_it_chooses_from_the_archive() {
    let Some(mirror) = mirror("bookworm") else {
        skip("this machine has no APT source for bookworm");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let tag = tag(dir.path());
    let (_service, urls) = serve(&tag);
    same_choices(dir.path(), &[source(&urls["debian"], "bookworm")], &[source(&mirror, "bookworm")]);
}

#[test]
fn apt_chooses_the_same_with_updates_and_security() {
    let suites = [("debian", "bookworm"), ("debian", "bookworm-updates"), ("security", "bookworm-security")];
    let mirrors: Option<Vec<String>> = suites.iter().map(|(_, suite)| mirror(suite)).collect();
    let Some(mirrors) = mirrors else {
        skip("this machine has no APT source for bookworm, its updates or its security archive");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let recipe = dir.path().join("recipe");
    fs::create_dir(&recipe).unwrap();
    let text = fs::read_to_string(workspace().join("examples/tiny/selfsame.toml")).unwrap();
    // Today's state of archives that change.
    let text = text.replace("suites = [\"bookworm\"]", "suites = [\"bookworm\", \"bookworm-updates\"]");
    let security =
        "[archives.security]\nmirrors = [\"auto\"]\nsuites = [\"bookworm-security\"]\nkeys = \"debian\"\n\n";
    let text = text.replace("[packages]\n", &format!("{security}[packages]\n"));
    fs::write(recipe.join("selfsame.toml"), text).unwrap();
    world().run([OsString::from("lock"), recipe.clone().into()]).success();
    let tag = tag_of(&recipe, dir.path());
    let (_service, urls) = serve(&tag);
    let tag = suites.map(|(archive, suite)| source(&urls[archive], suite));
    let archive: Vec<_> =
        suites.iter().zip(&mirrors).map(|((_, suite), mirror)| source(mirror, suite)).collect();
    same_choices(dir.path(), &tag, &archive);
}

#[test]
fn debootstrap_and_mmdebstrap_install_from_a_tag() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tag = tag(dir.path());
    let (_service, urls) = serve(&tag);
    let url = &urls["debian"];
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
    command.arg(&root).arg(url);
    if oracle_text(&mut command).is_some() {
        let debs = fs::read_dir(root.join("var/cache/apt/archives")).unwrap();
        assert!(debs.count() > 80);
    }
}
