//! `selfsame build --in vm`: the bytes of the sandbox, from a machine of which nothing is left.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use selfsame_testkit::{TestEnvironment, leaks, may_skip, skip, which};
use serde_json::Value;

use crate::assert_says;
use crate::build::{Recipe, Shared, builds_here, names_in, shared};

/// What machines are made with. Emulated: the same on every host.
pub(crate) const HERE: [&str; 4] = ["--in", "vm", "--accel", "tcg"];

/// The store with the example's packages, and a world with the example; `None` without QEMU.
pub(crate) fn with_qemu() -> Option<(MutexGuard<'static, Shared>, TestEnvironment)> {
    if which("qemu-system-x86_64").is_none() {
        assert!(may_skip(), "qemu-system-x86_64 is not installed");
        skip("qemu-system-x86_64 is not installed");
        return None;
    }
    builds_here().then(|| (shared(), Recipe::default().write()))
}

/// A build in a machine, as soon as that runs: its disks, and the process.
fn running(shared: &Shared, world: &TestEnvironment) -> Child {
    running_with(shared, world, &HERE)
}

/// A build in a machine with these options, as soon as that runs.
pub(crate) fn running_with(shared: &Shared, world: &TestEnvironment, options: &[&str]) -> Child {
    let words = ["build", "r", "--store", shared.store.to_str().unwrap()];
    let mut command: Command = world.command(words.iter().chain(options));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let told: Vec<String> =
        lines.by_ref().take_while(|line| !line.starts_with("the machine runs (tcg), ")).collect();
    assert!(told.iter().any(|line| line.starts_with("builder-20260711-")), "{told:?}");
    // Whoever closes it ends the program by a signal of its own.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

/// The files that are written for one machine alone.
fn disks(store: &Path) -> Vec<PathBuf> {
    let below = |dir: PathBuf| {
        names_in(&dir).into_iter().map(move |name| dir.join(name)).filter(|path| path.is_dir())
    };
    let owners = below(store.join("tmp"));
    owners
        .flat_map(below)
        .flat_map(|dir| names_in(&dir).into_iter().map(move |name| dir.join(name)))
        .collect()
}

pub(crate) fn wait_until_gone(dir: &Path) {
    let begin = Instant::now();
    while !leaks::below(dir).is_empty() && begin.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    leaks::assert_none_below(dir);
}

#[test]
fn a_machine_gives_the_bytes_of_the_sandbox_and_leaves_nothing() {
    let Some((shared, world)) = with_qemu() else { return };
    let run = shared.build(&world, &[&HERE[..], &["--json", "--out", "inside"]].concat());
    let message = run.stderr.clone();
    let json: Value = serde_json::from_str(&run.success()).unwrap();
    let name = json["builder"].as_str().unwrap();
    assert!(name.starts_with("builder-20260711-") && name.len() == 29, "{name}");
    assert_says(&message, &[&format!("{name} builds: "), "the machine runs (tcg), ", "\nbootstrap: done, "]);
    let outputs = json["outputs"].as_array().unwrap();
    let line = |file: &Value| {
        let path = file["path"].as_str().unwrap().replace("inside/", "out/");
        format!("{}  {path}\n", file["sha256"].as_str().unwrap())
    };
    assert_eq!(outputs.iter().map(line).collect::<String>(), shared.digests);
    for file in outputs {
        let bytes = fs::read(world.root().join(file["path"].as_str().unwrap())).unwrap();
        assert_eq!(selfsame_image::Digest::of(&bytes).to_string(), file["sha256"].as_str().unwrap());
    }
    let stages = json["stages"].as_array().unwrap();
    assert!(stages.iter().all(|stage| stage["cached"] == false) && stages.len() == 8, "{json}");
    assert!(!world.root().join("inside.console.log").exists());
    wait_until_gone(world.root());
    shared.assert_clean();
}

#[test]
fn a_machine_ends_with_the_program_whatever_ends_that() {
    let Some((shared, world)) = with_qemu() else { return };
    for signal in [Signal::INT, Signal::KILL] {
        let mut child = running(&shared, &world);
        // None of its files has a name while it runs: what is killed now leaves nothing.
        let left = disks(&shared.store);
        assert!(left.is_empty(), "{left:?}");
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), (signal == Signal::INT).then_some(130), "{status}");
        wait_until_gone(world.root());
        // A later command sweeps what a killed one could not.
        world.run(["store", "stat", "--store", shared.store.to_str().unwrap()]).success();
        shared.assert_clean();
    }
}

#[test]
fn a_damaged_disk_of_packages_is_noticed_and_written_anew() {
    let Some((shared, world)) = with_qemu() else { return };
    let dir = shared.store.join("work/machine-packages");
    // Whichever test is the first one writes it.
    let mut child = running(&shared, &world);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until_gone(world.root());
    let path = dir.join(&names_in(&dir)[0]);
    let file = fs::File::options().read(true).write(true).open(&path).unwrap();
    let half = file.metadata().unwrap().len() / 2;
    file.write_all_at(&[0x5a; 1 << 21], half).unwrap();
    drop(file);
    let message = shared.build(&world, &[&HERE[..], &["--out", "o"]].concat()).failure(4);
    assert_says(&message, &["the disk with the packages was damaged, and is removed", "build again"]);
    assert!(!path.exists() && !world.root().join("o").exists());
    // One that the kernel does not even mount.
    fs::write(&path, "").unwrap();
    let message = shared.build(&world, &[&HERE[..], &["--out", "o.1"]].concat()).failure(4);
    assert_says(
        &message,
        &["the virtual machine ended before the build did", "/packages", "o.1.console.log"],
    );
    assert!(!path.exists() && world.root().join("o.1.console.log").exists());
    shared.assert_clean();
}

#[test]
fn the_inside_of_a_machine_is_not_to_be_had_outside() {
    // Were it, it would turn this machine off.
    let message = crate::world().run(["__machine"]).failure(2);
    assert_says(&message, &["for the first process of a virtual machine only"]);
}

#[test]
fn what_cannot_be_is_said_before_a_machine_starts() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let world = Recipe::default().write();
    let message = shared.build(&world, &["--in", "vm", "--plan"]).failure(2);
    assert_says(&message, &["a virtual machine keeps nothing for later"]);
    let message = shared.build(&world, &["--memory", "1024"]).failure(2);
    assert_says(&message, &["add `--in vm`"]);
    // A lock without any kernel.
    let text = fs::read_to_string(world.root().join("r/selfsame.toml")).unwrap();
    world.write("r/selfsame.toml", text.split("[builder]").next().unwrap());
    let lock: selfsame_build::lock::Lock =
        fs::read_to_string(world.root().join("r/selfsame.lock")).unwrap().parse().unwrap();
    let mut lock = lock;
    lock.packages.retain(|package| package.role == selfsame_build::lock::Role::Image);
    lock.request.builder.clear();
    world.write("r/selfsame.lock", lock.to_string());
    let message = shared.build(&world, &["--in", "vm"]).failure(3);
    assert_says(&message, &["pins no kernel", "[builder]", "linux-image-cloud-amd64"]);
    let message = {
        world.write("r/selfsame.toml", format!("{text}\n").replace("linux-image-cloud-amd64", "hurd"));
        shared.build(&world, &["--in", "vm"]).failure(3)
    };
    assert_says(&message, &["\"hurd\" is no kernel of Debian: their names begin with linux-image-"]);
}
