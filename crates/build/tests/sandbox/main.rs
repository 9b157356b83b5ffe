//! The sandbox and the host functions, seen from outside, as root and as an ordinary user.
//!
//! This program has no test harness: the sandbox executes it again, and entering a user namespace needs a process
//! with one thread. Run as root, it runs all tests twice: as root, and as a user who exists only for it.

mod extraction;
mod jobs;
mod lifetime;
mod pretended;
mod probe;
mod trees;
mod world;

use std::os::unix::process::CommandExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::mount::mount_bind;
use selfsame_build::host;
use selfsame_build::sandbox::{CHILD_ARGUMENT, child_main};
use world::World;

/// A test and its name.
pub(crate) type Test = (&'static str, fn(&World));

/// A user and group of no machine, with subordinate ids of no machine.
const USER: u32 = 1_999_999_000;
const SUBORDINATE: u32 = 2_000_000_000;
/// The argument with which the tests run as [`USER`]: before and after the change.
const BECOME_USER: &str = "__become-user";
/// The argument with which this program says why it cannot build as a user without subordinate ids.
const WITHOUT_IDS: &str = "__without-ids";

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some(CHILD_ARGUMENT) => child_main(),
        Some(probe::ARGUMENT) => return probe::main(&arguments[1..]),
        Some(lifetime::RUNNER) => return lifetime::runner(&arguments[1..]),
        Some(BECOME_USER) => return become_user(&arguments.split_off(1)),
        Some(WITHOUT_IDS) => return without_ids(),
        _ => {}
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-')).cloned();
    let root = rustix::process::geteuid().is_root();
    let as_user = root.then(|| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(BECOME_USER).args(&filter).spawn().unwrap().wait().unwrap().success()
    });
    let passed = run(filter.as_deref().unwrap_or(""), if root { "root" } else { "user" });
    if passed && as_user != Some(false) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the tests whose names contain `filter`.
fn run(filter: &str, who: &str) -> bool {
    let host = match host::enter() {
        Ok(host) => host,
        Err(error) if std::env::var_os("CI").is_none() => {
            println!("skipped as {who}: {error}");
            return true;
        }
        Err(error) => panic!("{error}"),
    };
    let Some(world) = World::new(host) else {
        return true;
    };
    let tests = [jobs::TESTS, pretended::TESTS, lifetime::TESTS, trees::TESTS, extraction::TESTS].concat();
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in tests.iter().filter(|(name, _)| name.contains(filter)) {
        let outcome = catch_unwind(AssertUnwindSafe(|| test(&world)));
        println!("test {who}: {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        if outcome.is_ok() { passed += 1 } else { failed += 1 }
    }
    println!("as {who}: {passed} passed, {failed} failed");
    failed == 0
}

/// Enters as [`USER`], who has no subordinate ids, and prints all problems.
fn without_ids() -> ExitCode {
    let Err(error) = host::enter() else {
        return ExitCode::FAILURE;
    };
    error.problems.iter().for_each(|problem| println!("{problem}: {}", problem.remedy()));
    ExitCode::SUCCESS
}

/// Runs the tests as an ordinary user. The accounts of the machine are covered by others in mounts of this process
/// alone.
fn become_user(filter: &[String]) -> ExitCode {
    host::enter().unwrap();
    let temp = tempfile::tempdir().unwrap();
    world::set_mode(temp.path(), 0o755);
    let cover = |file: &str, line: String| {
        let copy = temp.path().join(file);
        let text = std::fs::read_to_string(Path::new("/etc").join(file)).unwrap_or_default();
        std::fs::write(&copy, text + &line).unwrap();
        mount_bind(&copy, Path::new("/etc").join(file)).unwrap();
    };
    let program = temp.path().join("sandbox-tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    world::set_mode(&program, 0o755);
    let told = Command::new(&program).arg(WITHOUT_IDS).current_dir("/").gid(USER).uid(USER).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let problem = |file: &str, option: &str| {
        format!(
            "/etc/{file} gives user {USER} 0 ids in one range, and 65535 are needed: sudo usermod {option} \
             100000-165535 {USER}   (choose a range that nobody has)\n"
        )
    };
    assert_eq!(told, problem("subuid", "--add-subuids") + &problem("subgid", "--add-subgids"));
    cover("passwd", format!("selfsame-test:x:{USER}:{USER}::/:/bin/sh\n"));
    cover("subuid", format!("selfsame-test:{SUBORDINATE}:65536\n"));
    cover("subgid", format!("selfsame-test:{SUBORDINATE}:65536\n"));
    let home = temp.path().join("home");
    std::fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(USER), Some(USER)).unwrap();
    let status = Command::new(&program)
        .args(filter)
        .env("TMPDIR", &home)
        .current_dir("/")
        .gid(USER)
        .uid(USER)
        .status()
        .unwrap();
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
