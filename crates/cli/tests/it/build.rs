//! `selfsame build` on real packages: the same bytes everywhere, and builds that end halfway.
//!
//! All of it builds `examples/tiny` from its committed lock, with packages from this machine's own APT sources.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use selfsame_build::lock::{Lock, Role};
use selfsame_testkit::{Run, TestEnvironment, is_root, leaks, oracle_text, skip};

use crate::world;

/// The recipe whose packages and layers all tests share.
pub(crate) const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/tiny");

/// Names of the files in `dir`, sorted.
#[track_caller]
pub(crate) fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// All files below `dir`, sorted.
#[track_caller]
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in names_in(dir).iter().map(|name| dir.join(name)) {
        match path.is_dir() {
            true => found.extend(files_below(&path)),
            false => found.push(path),
        }
    }
    found
}

/// Whether this machine lets this user build. Where it does not, and a test may be skipped, says why.
pub(crate) fn builds_here() -> bool {
    static ANSWER: LazyLock<Option<String>> = LazyLock::new(|| {
        // A lock that does not fit the recipe is found right after the machine was looked at.
        let world = Recipe::default().replace("include = []", "").replace("essential", "required").write();
        let run = world.run(["build", "r", "--store", "store"]);
        if run.status == Some(3) && run.stderr.contains("the lock is stale") {
            None
        } else {
            Some(run.stderr)
        }
    });
    match &*ANSWER {
        None => true,
        Some(reason) if reason.contains("does not let builds run") => {
            skip(reason);
            false
        }
        Some(reason) => panic!("{reason}"),
    }
}

/// The example's recipe, to be changed, with its own lock.
pub(crate) struct Recipe(String);

impl Default for Recipe {
    fn default() -> Self {
        Self(fs::read_to_string(Path::new(EXAMPLE).join("selfsame.toml")).unwrap())
    }
}

impl Recipe {
    fn replace(self, from: &str, to: &str) -> Self {
        Self(self.0.replace(from, to))
    }

    /// The recipe with these packages.
    pub(crate) fn include(self, names: &[&str]) -> Self {
        let priority = "priority = \"essential\"";
        self.replace(priority, &format!("{priority}\ninclude = {names:?}"))
    }

    /// The text of the recipe.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// The recipe with a hook `hook`, which is a shell script.
    pub(crate) fn with_hook() -> Self {
        Self(Self::default().0 + "\n[[hooks]]\nrun = \"hook\"\n")
    }

    /// Writes it as `r` into a fresh world.
    pub(crate) fn write(&self) -> TestEnvironment {
        let world = world();
        world.write("r/selfsame.toml", &self.0);
        world.write("r/selfsame.lock", fs::read(Path::new(EXAMPLE).join("selfsame.lock")).unwrap());
        world
    }
}

/// A store that has the example's packages and layers.
pub(crate) struct Shared {
    pub(crate) store: PathBuf,
    /// What `build` printed for the example.
    pub(crate) digests: String,
}

impl Shared {
    /// Runs `build r` with more `arguments` in `world`, on this store.
    pub(crate) fn build(&self, world: &TestEnvironment, arguments: &[&str]) -> Run {
        world.run(["build", "r", "--store", self.store.to_str().unwrap()].iter().chain(arguments))
    }

    /// Panics if a build left mounts, processes or unfinished directories in the store.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        leaks::assert_none_below(&self.store);
        let names = names_in(&self.store.join("work"));
        assert!(names.iter().all(|name| !name.ends_with(".new")), "{names:?}");
        assert_eq!(names_in(&self.store.join("tmp")), [""; 0]);
    }
}

/// The store, for one test at a time. The first one fetches the packages and builds the example.
pub(crate) fn shared() -> MutexGuard<'static, Shared> {
    static SHARED: LazyLock<Mutex<Shared>> = LazyLock::new(|| {
        let name = format!("store-of-{}", geteuid().as_raw());
        let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // Packages are kept between runs; what this program makes of them is not.
        for part in ["work", "records"] {
            if is_root() && store.join(part).exists() {
                fs::remove_dir_all(store.join(part)).unwrap();
            }
        }
        let mut shared = Shared { store, digests: String::new() };
        shared.digests = shared.build(&Recipe::default().write(), &[]).success();
        Mutex::new(shared)
    });
    SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Copies the packages of the example's lock from `store` into a mirror at `root` that everybody may read.
fn write_mirror(store: &Path, root: &Path) {
    let lock = fs::read_to_string(Path::new(EXAMPLE).join("selfsame.lock")).unwrap();
    let lock: Lock = lock.parse().unwrap();
    let store = selfsame_store::Store::open(store).unwrap();
    // A build in the sandbox takes nothing else.
    for package in lock.packages.into_iter().filter(|package| package.role == Role::Image) {
        let to = root.join(&package.path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(store.path(&package.file.sha256), &to).unwrap();
    }
    let all = ["-R", "a+rX", root.to_str().unwrap()];
    oracle_text(Command::new("chmod").args(all)).unwrap();
}

/// A directory that everybody may enter, with program, mirror, and the example's recipe that uses nothing else.
pub(crate) fn open_world(shared: &Shared) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("r")).unwrap();
    write_mirror(&shared.store, &at("mirror"));
    fs::copy(env!("CARGO_BIN_EXE_selfsame"), at("selfsame")).unwrap();
    let mirror = format!("\"file:{}\"", at("mirror").display());
    let recipe = Recipe::default().replace("\"auto\"", &mirror);
    fs::write(at("r/selfsame.toml"), recipe.0).unwrap();
    fs::copy(Path::new(EXAMPLE).join("selfsame.lock"), at("r/selfsame.lock")).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    oracle_text(Command::new("chmod").args(["-R", "a+rX", "."]).current_dir(dir.path())).unwrap();
    dir
}

/// Runs a script in `dir` in a mount namespace of its own; status, standard output and standard error.
pub(crate) fn in_namespace(dir: &Path, script: &str) -> (Option<i32>, String, String) {
    let done =
        Command::new("unshare").args(["-m", "-u", "sh", "-ec", script]).current_dir(dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

#[test]
fn the_same_bytes_with_another_job_count_directory_and_environment() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    assert_eq!(shared.digests.lines().count(), 5, "{}", shared.digests);
    // Again, with nothing to do.
    let mut world = Recipe::default().write();
    assert_eq!(shared.build(&world, &["--jobs", "3", "--offline"]).success(), shared.digests);
    // Again, with everything to do.
    let dir = open_world(&shared);
    world.set("TZ", "America/St_Johns").set("LC_ALL", "C").set("LANG", "").umask("0002");
    let deep = world.root().join("quite/another/directory");
    fs::create_dir_all(&deep).unwrap();
    let recipe = dir.path().join("r");
    let store = world.root().join("store");
    let mut command = world.command(["build", "--jobs", "1", "--store", store.to_str().unwrap()]);
    let run = world.outcome(command.arg(recipe).current_dir(&deep).output().unwrap());
    assert_eq!(run.success(), shared.digests);
    let umask = fs::metadata(deep.join("out/tiny.tar")).unwrap().permissions().mode();
    assert_eq!(umask & 0o777, 0o644);
}

#[test]
fn the_same_bytes_on_tmpfs_with_another_host_name_and_as_an_ordinary_user() {
    if !is_root() || !builds_here() {
        return;
    }
    let shared = shared();
    let dir = open_world(&shared);
    let (status, digests, text) = in_namespace(
        dir.path(),
        "mkdir t && mount -t tmpfs x t && echo odd > /proc/sys/kernel/hostname\n\
         TZ=Asia/Kathmandu ./selfsame build r --jobs 7 --out out --store t/store",
    );
    assert_eq!((status, digests), (Some(0), shared.digests.clone()), "{text}");
    // The accounts of the machine are covered in this namespace alone.
    let (status, digests, text) = in_namespace(
        dir.path(),
        "for f in subuid subgid; do echo nobody:2000000000:65536 > $f; mount --bind $f /etc/$f; done\n\
         install -d -o 65534 -g 65534 u && cd u\n\
         exec setpriv --reuid 65534 --regid 65534 --clear-groups \
         ../selfsame build ../r --jobs 2 --out out --store store",
    );
    assert_eq!((status, digests), (Some(0), shared.digests.clone()), "{text}");
    leaks::assert_none_below(dir.path());
}

#[test]
fn a_hook_that_fails_is_shown_and_earlier_outputs_stay() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let world = Recipe::with_hook().write();
    world.write("r/hook", "#!/bin/sh\necho one\necho two >&2\nexit 3\n");
    world.write("out/tiny.tar", "earlier");
    let message = shared.build(&world, &[]).failure(3);
    assert!(
        message.contains(
            "stage customise: hook hook ended with exit status 3; it said:\n        one\n        two\n"
        ),
        "{message}"
    );
    world.write("r/hook", "no interpreter");
    let message = shared.build(&world, &[]).failure(3);
    assert!(message.contains("stage customise: hook hook "), "{message}");
    world.write("r/hook", "#!/bin/sh\nkill -9 $$\n");
    let message = shared.build(&world, &[]).failure(3);
    assert!(message.contains("hook hook was killed by signal 9"), "{message}");
    assert_eq!(names_in(&world.root().join("out")), ["tiny.tar"]);
    assert_eq!(fs::read_to_string(world.root().join("out/tiny.tar")).unwrap(), "earlier");
    shared.assert_clean();
}

#[test]
fn a_full_disk_is_named_and_earlier_outputs_stay() {
    if !is_root() || !builds_here() {
        return;
    }
    let shared = shared();
    let dir = open_world(&shared);
    // While packages are fetched, and while they are unpacked.
    let packages = oracle_text(Command::new("du").args(["-sm", "mirror"]).current_dir(dir.path())).unwrap();
    let packages: u64 = packages.split('\t').next().unwrap().parse().unwrap();
    for size in [4, packages + 20] {
        let script = format!(
            "mkdir -p t && mount -t tmpfs -o size={size}m x t\n\
             ./selfsame build r --out out --store t/store || status=$?\n\
             ls -A t/store/work t/store/tmp\nexit $status"
        );
        let (status, listing, text) = in_namespace(dir.path(), &script);
        assert_eq!(status, Some(4), "{text}");
        assert!(text.contains("No space left on device"), "{text}");
        assert!(text.contains("\nhint: "), "{text}");
        assert!(!listing.contains(".new"), "{listing}{text}");
        assert!(!dir.path().join("out").exists(), "nothing is half-written");
    }
    let script = format!(
        "mkdir -p out && mount -t tmpfs -o size=1m x out && echo earlier > out/tiny.tar\n\
         ./selfsame build r --out out --store {} || status=$?\n\
         ls -A out && cat out/tiny.tar\nexit $status",
        shared.store.display()
    );
    let (status, listing, text) = in_namespace(dir.path(), &script);
    assert_eq!((status, listing.as_str()), (Some(4), "tiny.tar\nearlier\n"), "{text}");
    assert!(text.contains("error: cannot write out/") && text.contains("No space left on device"), "{text}");
    leaks::assert_none_below(dir.path());
}

#[test]
fn an_interrupted_build_leaves_nothing_and_the_next_one_resumes() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    // What a killed build could not remove, the next one does.
    for (signal, expected) in
        [(Signal::KILL, None), (Signal::INT, Some(130)), (Signal::TERM, Some(130)), (Signal::HUP, Some(130))]
    {
        let world = Recipe::with_hook().write();
        world.write("out/tiny.tar", "earlier");
        world.write("r/hook", "#!/bin/sh\ntrap '' INT TERM HUP\necho ready\nsleep 1000 & sleep 1000\n");
        let mut command =
            world.command(["build", "r", "--verbose", "--store", shared.store.to_str().unwrap()]);
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut text = String::new();
        while !text.ends_with("ready\n") {
            assert!(lines.read_line(&mut text).unwrap() > 0, "{text}");
        }
        let id = i32::try_from(child.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
        // Only when all of the build's processes are gone, nobody can write any more.
        lines.read_to_string(&mut text).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), expected, "{text}");
        if expected.is_some() {
            assert!(text.contains("interrupted"), "{text}");
            shared.assert_clean();
        }
        leaks::assert_none_below(&shared.store);
        assert_eq!(names_in(&world.root().join("out")), ["tiny.tar"]);
        assert_eq!(fs::read_to_string(world.root().join("out/tiny.tar")).unwrap(), "earlier");
    }
    let world = Recipe::with_hook().write();
    world.write("r/hook", "#!/bin/sh\n");
    let json = shared.build(&world, &["--json", "--offline"]).success();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let expected = [("bootstrap", true), ("install", true), ("settings", true), ("customise", false)];
    for (index, (name, cached)) in expected.iter().enumerate() {
        let stage = &json["stages"][index + 1];
        assert_eq!(
            (stage["name"].as_str(), stage["cached"].as_bool()),
            (Some(*name), Some(*cached)),
            "{json}"
        );
    }
    shared.assert_clean();
}

#[test]
fn packages_that_exclude_each_other_are_explained_in_apts_own_words() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    // Debian's mail transport agents conflict, all of them.
    let both = "priority = \"essential\"\ninclude = [\"exim4-daemon-light\", \"postfix\"]";
    let world = Recipe::default().replace("priority = \"essential\"", both).write();
    let old = fs::read(world.root().join("r/selfsame.lock")).unwrap();
    let lock = |world: &TestEnvironment| {
        world.run(["lock", "r", "--update", "--store", shared.store.to_str().unwrap()])
    };
    let message = lock(&world).failure(3);
    assert!(message.contains("error: apt finds no solution; it says:\n"), "{message}");
    for words in
        ["exim4-daemon-light", "postfix", "Conflicts: mail-transport-agent", "hint: the recipe's [packages]"]
    {
        assert!(message.contains(words), "{words}: {message}");
    }
    let world =
        Recipe::default().replace("priority = \"essential\"", &both.replace("postfix", "postfiks")).write();
    let message = lock(&world).failure(3);
    assert!(message.contains("no such package: postfiks (did you mean postfix"), "{message}");
    assert_eq!(fs::read(world.root().join("r/selfsame.lock")).unwrap(), old, "an older lock is kept");
    assert_eq!(names_in(&world.root().join("r")), ["selfsame.lock", "selfsame.toml"]);
    shared.assert_clean();
}
