//! A tag of `examples/live`, served, as stock programs see it: Debian's own keys, and what the whole archive would give
//! them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use selfsame_build::lock::Lock;
use selfsame_testkit::readme::workspace;
use selfsame_testkit::{Numbers, Service, TestEnvironment, is_root, number, oracle, oracle_text, skip};

use super::{LIVE, store};

/// How many sets of packages apt is asked for. `SETS=100` for a long look.
const SETS: usize = 10;

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

/// An apt that has nothing installed and knows one archive.
struct Apt {
    home: PathBuf,
}

impl Apt {
    fn new(home: PathBuf, url: &str) -> Self {
        for dir in ["lists/partial", "cache/archives/partial", "etc"] {
            fs::create_dir_all(home.join(dir)).unwrap();
        }
        fs::write(home.join("status"), "").unwrap();
        let keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let source = format!("deb [arch=amd64 signed-by={keys}] {url} bookworm main\n");
        fs::write(home.join("etc/sources.list"), source).unwrap();
        Self { home }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("apt-get");
        let home = self.home.display();
        for option in [
            format!("Dir::Etc={home}/etc"),
            format!("Dir::State={home}"),
            format!("Dir::State::lists={home}/lists"),
            format!("Dir::State::status={home}/status"),
            format!("Dir::Cache={home}/cache"),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            "APT::Sandbox::User=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            // Machines that are containers have other defaults.
            "Acquire::GzipIndexes=false".to_owned(),
            "Dir::Cache::pkgcache=pkgcache.bin".to_owned(),
            "Dir::Cache::srcpkgcache=srcpkgcache.bin".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        // Files of the machine's own configuration shall not play along.
        command.env("APT_CONFIG", "/dev/null").env("LC_ALL", "C.UTF-8").args(arguments);
        command
    }

    fn update(&self) -> Option<()> {
        oracle_text(&mut self.command(&["update", "-q", "--error-on=any"])).map(drop)
    }

    /// What would be installed, or why nothing can be.
    fn choice(&self, names: &[&str]) -> (bool, String) {
        let mut arguments = vec!["-s", "-q", "install"];
        arguments.extend(names);
        let output = oracle(&mut self.command(&arguments)).unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }
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
    let part = Apt::new(dir.path().join("part"), &url);
    let whole = Apt::new(dir.path().join("whole"), &mirror);
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
    let keys = "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg";
    command.args(["--variant=minbase", "--download-only", keys, "bookworm"]).arg(&root).arg(&url);
    if oracle_text(&mut command).is_some() {
        let debs = fs::read_dir(root.join("var/cache/apt/archives")).unwrap();
        assert!(debs.count() > 80);
    }
}
