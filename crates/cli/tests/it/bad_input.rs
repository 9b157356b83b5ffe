//! Input that is wrong, archives that lie, machines that cannot: a clear message, and nothing half-written.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use selfsame_testkit::archive::{Archive, Behaviour, Deb, Key, KeySpec, NOW, Server, Suite, serve};
use selfsame_testkit::{TestEnvironment, is_root, may_skip};

use crate::build::{EXAMPLE, builds_here, files_below, names_in};
use crate::{assert_says, world};

const IN_RELEASE: &str = "/dists/trixie/InRelease";

/// A recipe for the fixture archive at `mirror`, with its key beside it, that asks for `include`.
fn write_recipe(world: &TestEnvironment, mirror: &str, key: &Key, include: &str) {
    world.write("r/keys.pgp", key.certificate());
    let fingerprint = key.fingerprint();
    let text = format!(
        "format = 1\n\
         [image]\nname = \"x\"\noutputs = [\"tar\"]\nepoch = \"2026-01-01T00:00:00Z\"\n\
         [archives.fixture]\nmirrors = [\"{mirror}\"]\nsuites = [\"trixie\"]\n\
         keys = {{ file = \"keys.pgp\", fingerprints = [\"{fingerprint}\"] }}\n\
         [packages]\npriority = \"essential\"\ninclude = [\"{include}\"]\n"
    );
    world.write("r/selfsame.toml", text);
}

/// A small archive, served, and a recipe for it.
struct Fixture {
    world: TestEnvironment,
    server: Server,
}

/// The package whose path is [`POOL`].
fn hello() -> Deb {
    Deb::new("hello", "1.0").set("Essential", "yes").file("usr/bin/hello", 0o755, b"#!/bin/sh\n")
}

const POOL: &str = "/pool/main/h/hello/hello_1.0_amd64.deb";

impl Fixture {
    fn new(include: &str) -> Self {
        let key = Key::new("archive");
        Self::with(Suite::new("trixie", &key), &key, include)
    }

    /// An archive of `suite`, while the recipe pins `pinned`.
    fn with(suite: Suite<'_>, pinned: &Key, include: &str) -> Self {
        let world = world();
        let root = world.root().join("archive");
        let mut archive = Archive::default();
        archive.suites.push(suite.with(hello()));
        archive.write(&root);
        let server = serve(&root);
        write_recipe(&world, &server.url(), pinned, include);
        Self { world, server }
    }

    /// Runs `lock`, which must fail with `status`; the message, if nothing was written and an older lock is kept.
    #[track_caller]
    fn refused(&self, status: i32) -> String {
        let message = self.world.run(["lock", "r"]).failure(status);
        assert_eq!(names_in(&self.world.root().join("r")), ["keys.pgp", "selfsame.toml"], "{message}");
        let kept = "an older lock, not even readable";
        self.world.write("r/selfsame.lock", kept);
        let again = self.world.run(["lock", "r", "--update"]).failure(status);
        assert!(again.contains("error: "), "{again}");
        let lock = fs::read_to_string(self.world.root().join("r/selfsame.lock")).unwrap();
        assert_eq!(lock, kept, "an older lock is kept");
        fs::remove_file(self.world.root().join("r/selfsame.lock")).unwrap();
        assert_eq!(names_in(&self.world.root().join("r")), ["keys.pgp", "selfsame.toml"], "{message}");
        message
    }
}

#[test]
fn a_malformed_recipe_is_named_with_line_and_column() {
    let world = world();
    for (text, words) in [
        ("format = 1\n[image\n", &["r/selfsame.toml:2:7: "][..]),
        ("format = 1\nimage = 5\n", &["r/selfsame.toml:2:9: ", "expected struct"]),
        ("format = 2\n", &["r/selfsame.toml:1:1: missing field `image`"]),
        ("format = 1\n\n[imag]\n", &["r/selfsame.toml:3:2: unknown field `imag`", "hint: ", "image"]),
        (
            "format = 1\n[image]\nname = \"x\"\noutput = [\"tar\"]\n",
            &["r/selfsame.toml:4:1: unknown field `output`", "hint: ", "outputs"],
        ),
    ] {
        world.write("r/selfsame.toml", text);
        for command in ["lock", "build"] {
            assert_says(&world.run([command, "r"]).failure(3), words);
        }
    }
    world.write("r/selfsame.toml", b"format = 1\n# \xff\n");
    assert_says(&world.run(["build", "r"]).failure(3), &["r/selfsame.toml:2:1: is not UTF-8"]);
    assert_eq!(names_in(&world.root().join("r")), ["selfsame.toml"]);
    assert_eq!(names_in(world.root()), ["home", "r", "tmp"], "nothing is half-written");
}

/// The example's recipe with `more` at its end, and its lock.
fn write_example(world: &TestEnvironment, more: &str) {
    let text = fs::read_to_string(Path::new(EXAMPLE).join("selfsame.toml")).unwrap();
    world.write("r/selfsame.toml", text + more);
    world.write("r/selfsame.lock", fs::read(Path::new(EXAMPLE).join("selfsame.lock")).unwrap());
}

#[test]
fn a_path_that_leaves_the_recipe_is_refused() {
    let world = world();
    for (more, place) in [
        ("\n[files]\noverlay = \"../secret\"\n", "r/selfsame.toml:27:11: "),
        ("\n[[hooks]]\nrun = \"/etc/passwd\"\n", "r/selfsame.toml:27:7: "),
    ] {
        write_example(&world, more);
        assert_says(&world.run(["build", "r"]).failure(3), &[place, "recipe"]);
    }
    if !builds_here() {
        return;
    }
    // A link is only seen when it is followed.
    world.write("secret/shadow", "secret");
    write_example(&world, "\n[files]\noverlay = \"files\"\n");
    std::os::unix::fs::symlink("../secret", world.root().join("r/files")).unwrap();
    let message = world.run(["build", "r", "--store", "store"]).failure(3);
    assert_says(&message, &["r/files leaves the recipe: it leads to $ROOT/secret"]);
    assert!(!world.root().join("out").exists(), "nothing is half-written");
}

#[test]
fn a_lock_that_is_missing_malformed_or_stale_is_refused() {
    let world = world();
    write_example(&world, "");
    fs::remove_file(world.root().join("r/selfsame.lock")).unwrap();
    let message = world.run(["build", "r"]).failure(3);
    assert_says(&message, &["there is no lock r/selfsame.lock", "hint: `selfsame lock r` writes it"]);
    world.write(
        "r/selfsame.lock",
        format!("version = {}\nformat = 1\nrequest = 3\n", selfsame_build::lock::VERSION),
    );
    let message = world.run(["build", "r"]).failure(3);
    assert_says(
        &message,
        &["r/selfsame.lock is not usable", "line 3", "hint: `selfsame lock --update` writes a new one"],
    );
    if builds_here() {
        write_example(&world, "");
        let text = fs::read_to_string(world.root().join("r/selfsame.toml")).unwrap();
        let more = "priority = \"essential\"\ninclude = [\"nano\"]";
        world.write("r/selfsame.toml", text.replace("priority = \"essential\"", more));
        let message = world.run(["build", "r", "--store", "store"]).failure(3);
        assert_says(
            &message,
            &["the lock is stale: ", "nano", "hint: `selfsame lock` brings the lock up to date"],
        );
    }
    assert!(!world.root().join("out").exists(), "nothing is half-written");
}

#[test]
fn an_unknown_package_is_named_with_its_neighbours() {
    if !builds_here() {
        return;
    }
    // That names are compared at all also says that everything before it was accepted.
    let message = Fixture::new("helo").refused(3);
    assert_says(&message, &["no such package: helo (did you mean hello?)", "hint: "]);
}

#[test]
fn an_altered_in_release_is_refused() {
    if !builds_here() {
        return;
    }
    let fixture = Fixture::new("hello");
    let path = fixture.world.root().join("archive").join(&IN_RELEASE[1..]);
    let good = fs::read_to_string(path).unwrap();
    let altered = good.replace("Label: Fixture", "Label: Fixtura");
    assert_ne!(good, altered);
    for (body, word) in [
        (altered.clone().into_bytes(), "signature"),
        (good.as_bytes()[..good.len() / 2].to_vec(), "sign"),
        (b"<html>please log in</html>".to_vec(), "sign"),
        (Vec::new(), "sign"),
    ] {
        fixture.server.set(IN_RELEASE, Behaviour::Lie(body));
        let message = fixture.refused(3);
        assert_says(&message, &["no source has an acceptable InRelease of trixie; ", word, "\nhint: "]);
    }
}

#[test]
fn keys_that_do_not_count_are_refused() {
    if !builds_here() {
        return;
    }
    let (key, other) = (Key::new("archive"), Key::new("somebody"));
    let message = Fixture::with(Suite::new("trixie", &other), &key, "hello").refused(3);
    assert_says(&message, &["no source has an acceptable InRelease of trixie; ", "hint: "]);
    // It expired a day before it signed.
    let spec = KeySpec { created: NOW - 10 * 86_400, lifetime: Some(9 * 86_400), ..KeySpec::new("old") };
    let expired = Key::from_spec(&spec);
    let message = Fixture::with(Suite::new("trixie", &expired), &expired, "hello").refused(3);
    assert_says(&message, &["no source has an acceptable InRelease of trixie; ", "expired"]);
    let mut suite = Suite::new("trixie", &key);
    suite.valid_until = Some(NOW + 86_400);
    let message = Fixture::with(suite, &key, "hello").refused(4);
    assert_says(
        &message,
        &["no source has an acceptable InRelease of trixie; ", "20260116T120000Z", "\nhint: "],
    );
    let fixture = Fixture::new("hello");
    fixture.world.write("r/keys.pgp", "not a key");
    assert_says(&fixture.refused(3), &["archive fixture: the keys are not usable\ncause: "]);
}

#[test]
fn an_archive_does_not_go_back_in_time() {
    if !builds_here() {
        return;
    }
    // A lock of the same archive and suite, from half a year after the fixture's date.
    let lock = fs::read_to_string(Path::new(EXAMPLE).join("selfsame.lock")).unwrap();
    let fixture = Fixture::new("helo");
    fixture
        .world
        .write("r/selfsame.lock", lock.replace("\"debian\"", "\"fixture\"").replace("bookworm", "trixie"));
    for arguments in [&["lock", "r", "--update"][..], &["lock", "r"]] {
        let message = fixture.world.run(arguments).failure(4);
        assert_says(
            &message,
            &[
                "archive fixture, suite trixie: the state of 2026-01-15T11:59:00Z is older than that of ",
                "--allow-older",
            ],
        );
    }
    let message = fixture.world.run(["lock", "r", "--update", "--allow-older"]).failure(3);
    assert_says(&message, &["no such package: helo"]);
}

#[test]
fn altered_indexes_and_packages_are_refused() {
    if !builds_here() {
        return;
    }
    let fixture = Fixture::new("helo");
    let index = fixture.world.root().join("archive/dists/trixie/main/binary-amd64/Packages.xz");
    let mut bytes = fs::read(&index).unwrap();
    let digest = selfsame_image::Digest::of(&bytes);
    *bytes.last_mut().unwrap() ^= 1;
    for path in [format!("by-hash/SHA256/{digest}"), "Packages.xz".to_owned()] {
        let path = format!("/dists/trixie/main/binary-amd64/{path}");
        fixture.server.set(&path, Behaviour::Lie(bytes.clone()));
    }
    // An archive that is just being updated looks like this too: it may be over in an hour.
    let message = fixture.refused(4);
    let found = format!("served other bytes: their SHA-256 is {}", selfsame_image::Digest::of(&bytes));
    assert_says(&message, &["trixie main/binary-amd64/Packages.xz", &found, "\nhint: "]);

    let fixture = Fixture::new("hello");
    let mut bytes = hello().bytes();
    *bytes.last_mut().unwrap() ^= 1;
    fixture.server.set(POOL, Behaviour::Lie(bytes.clone()));
    let message = fixture.refused(3);
    let found = format!("served other bytes: their SHA-256 is {}", selfsame_image::Digest::of(&bytes));
    assert_says(&message, &["hello 1.0", &found, "\nhint: "]);
    let wrong = selfsame_image::Digest::of(&bytes).to_string();
    let blobs = files_below(&fixture.world.root().join("home/.cache/selfsame/blobs"));
    assert!(!blobs.iter().any(|path| path.ends_with(&wrong[2..])), "the store keeps nothing that is wrong");
}

#[test]
fn mirrors_that_fail_are_named() {
    if !builds_here() {
        return;
    }
    let fixture = Fixture::new("helo");
    for (behaviour, word) in [
        (Behaviour::Status { code: 404, retry_after: None }, "is not there"),
        (Behaviour::Status { code: 403, retry_after: None }, "status 403"),
        (Behaviour::Redirect("file:///etc/passwd".into()), "redirected"),
        (Behaviour::Endless, "sent more than 10000000 bytes"),
    ] {
        fixture.server.set(IN_RELEASE, behaviour);
        let message = fixture.refused(4);
        assert_says(&message, &[&fixture.server.url(), "dists/trixie/InRelease", word, "\nhint: `--mirror "]);
    }
    let url = fixture.server.url();
    drop(fixture.server);
    let message = fixture.world.run(["lock", "r"]).failure(4);
    assert_says(&message, &[&url, "the connection failed", "\nhint: `--mirror "]);
    let message = fixture.world.run(["lock", "r", "--offline"]).failure(4);
    assert_says(&message, &["offline"]);
    assert_eq!(names_in(&fixture.world.root().join("r")), ["keys.pgp", "selfsame.toml"]);
}

#[test]
fn an_interrupted_download_says_so_and_is_resumed() {
    if !builds_here() {
        return;
    }
    let fixture = Fixture::new("helo");
    let index = fixture.world.root().join("archive/dists/trixie/main/binary-amd64/Packages.xz");
    let digest = selfsame_image::Digest::of(&fs::read(index).unwrap());
    let path = format!("/dists/trixie/main/binary-amd64/by-hash/SHA256/{digest}");
    fixture.server.set(&path, Behaviour::Slow { piece: 1, pause: Duration::from_millis(50) });
    let mut command = fixture.world.command(["lock", "r"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !fixture.server.requests().contains(&format!("GET {path}")) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let id = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(id, Signal::INT).unwrap();
    let message = fixture.world.outcome(child.wait_with_output().unwrap()).failure(130);
    assert_says(&message, &["error: interrupted\n"]);
    fixture.server.set_times(&path, 0, Behaviour::Hangup);
    let message = fixture.world.run(["lock", "r"]).failure(3);
    assert_says(&message, &["no such package: helo"]);
}

#[test]
fn trouble_that_passes_is_overcome() {
    if !builds_here() {
        return;
    }
    // Each of these ends with the same answer as an undisturbed fetch.
    for (times, behaviour) in [
        (1, Behaviour::Hangup),
        (1, Behaviour::Truncate(100)),
        (1, Behaviour::Status { code: 503, retry_after: Some(1) }),
        (9, Behaviour::Slow { piece: 100, pause: Duration::from_millis(5) }),
    ] {
        let fixture = Fixture::new("helo");
        fixture.server.set_times(IN_RELEASE, times, behaviour.clone());
        let message = fixture.world.run(["lock", "r"]).failure(3);
        assert!(message.contains("did you mean hello?"), "{behaviour:?}: {message}");
    }
    // A second mirror serves what the first one lies about.
    let fixture = Fixture::new("helo");
    fixture.server.set(IN_RELEASE, Behaviour::Lie(b"nothing".to_vec()));
    let good = serve(&fixture.world.root().join("archive"));
    let option = format!("--mirror=fixture={}", fixture.server.url());
    let text = fs::read_to_string(fixture.world.root().join("r/selfsame.toml")).unwrap();
    let text = text.replace(&fixture.server.url(), &good.url());
    fixture.world.write("r/selfsame.toml", text);
    let message = fixture.world.run(["lock", "r", &option]).failure(3);
    assert_says(&message, &["did you mean hello?", &fixture.server.url()]);
}

#[test]
fn a_machine_that_forbids_user_namespaces_is_told_what_to_change() {
    if !is_root() {
        return;
    }
    // For users other than root, who cannot enter the directories of this world.
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &Path| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(path, mode).unwrap();
    };
    let program = dir.path().join("selfsame");
    fs::copy(env!("CARGO_BIN_EXE_selfsame"), &program).unwrap();
    fs::create_dir(dir.path().join("r")).unwrap();
    for name in ["selfsame.toml", "selfsame.lock"] {
        fs::copy(Path::new(EXAMPLE).join(name), dir.path().join("r").join(name)).unwrap();
        open(&dir.path().join("r").join(name));
    }
    for path in [dir.path(), &program, &dir.path().join("r")] {
        open(path);
    }
    let tell = |script: &str| {
        let script = script.replace("BUILD", "./selfsame build r --out /nowhere/out --store /nowhere/store");
        let done =
            Command::new("unshare").args(["-m", "sh", "-ec", &script]).current_dir(dir.path()).output();
        let done = done.unwrap();
        let text = String::from_utf8(done.stderr).unwrap();
        assert_eq!((done.status.code(), done.stdout.len()), (Some(4), 0), "{text}");
        assert_says(&text, &["error: this machine does not let builds run: "]);
        text
    };
    let text = tell(
        "for f in subuid subgid; do mount --bind /dev/null /etc/$f; done\n\
                     exec setpriv --reuid 65534 --regid 65534 --clear-groups BUILD",
    );
    let message = ["/etc/subuid gives user nobody 0 ids in one range, and 65535 are needed", "--add-subgids"];
    assert_says(&text, &message);
    assert_says(&text, &["hint: sudo usermod --add-subuids 100000-165535 nobody"]);
    let text = tell("exec unshare -U -r BUILD");
    assert_says(
        &text,
        &["root in a user namespace that maps too few ids", "hint: start the container with a map"],
    );
    // The setting of a user namespace, and an ordinary user in it. Maps are written from outside, and only a program
    // started after that is root inside.
    let text = tell(
        "mkfifo a b\n\
         unshare -U sh -ec 'echo > a; read go < b; exec sh -ec \"\
             echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --reuid 1 --regid 1 --clear-groups BUILD\"' &\n\
         read ready < a; for map in uid_map gid_map; do echo 0 0 65536 > /proc/$!/$map; done\n\
         echo > b; rm a b; wait $!",
    );
    let message = ["user.max_user_namespaces is 0", "hint: sudo sysctl -w user.max_user_namespaces=15000"];
    assert_says(&text, &message);
    assert_eq!(names_in(dir.path()), ["r", "selfsame"], "nothing is half-written");
    assert!(may_skip() || builds_here(), "as root, builds run");
}
