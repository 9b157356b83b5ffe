//! `selfsame build --shell`: looking around in an image that is not finished.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Command, Output, Stdio};

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use selfsame_testkit::TestEnvironment;

use crate::build::{Recipe, Shared, builds_here, shared};

fn command(world: &TestEnvironment, shared: &Shared, stage: &str) -> Command {
    world.command(["build", "r", "--store", shared.store.to_str().unwrap(), "--shell", stage])
}

/// Runs `commands` in the shell.
fn run(world: &TestEnvironment, shared: &Shared, stage: &str, commands: &str) -> Output {
    let mut command = command(world, shared, stage);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn commands_run_in_the_image_and_leave_nothing() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let world = Recipe::default().write();
    let done = run(&world, &shared, "install", "echo secret > /etc/mine; id -u; cat /etc/mine; exit 3\n");
    let text = String::from_utf8_lossy(&done.stderr);
    assert_eq!((done.status.code(), &*done.stdout), (Some(1), &b"0\nsecret\n"[..]), "{text}");
    assert!(text.contains("after stage install; nothing that is changed there is kept"), "{text}");
    assert!(text.contains("the shell ended with exit status 3"), "{text}");
    // Stages after it have not run, and what it did is gone.
    let done = run(&world, &shared, "install", "ls /etc/mine /etc/hostname\n");
    assert_eq!((done.status.code(), &*done.stdout), (Some(1), &b""[..]));
    let done = run(&world, &shared, "settings", "cat /etc/hostname\n");
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(!done.stdout.is_empty());
    assert_eq!(shared.build(&world, &["--offline"]).success(), shared.digests);
    let message = shared.build(&world, &["--shell", "pack"]).failure(2);
    assert!(message.contains("possible values: bootstrap, install, settings, customise"), "{message}");
    shared.assert_clean();
}

#[test]
fn a_terminal_is_one_inside_too() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let world = Recipe::default().write();
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags).unwrap();
    unlockpt(&ours).unwrap();
    let theirs = ioctl_tiocgptpeer(&ours, flags).unwrap();
    let mut command = command(&world, &shared, "install");
    command.stdin(theirs.try_clone().unwrap()).stdout(theirs.try_clone().unwrap()).stderr(theirs);
    let mut child = command.spawn().unwrap();
    // Only the child has the other side now, so that its end is seen here.
    drop(command);
    let mut ours = File::from(ours);
    let mut seen = String::new();
    let mut wait_for = |text: &str, ours: &mut File| {
        while !seen.contains(text) {
            let mut chunk = [0; 1000];
            let length = ours.read(&mut chunk).unwrap_or_else(|error| panic!("{error}: {seen}"));
            seen.push_str(&String::from_utf8_lossy(&chunk[..length]));
        }
        seen.clear();
    };
    wait_for("nothing that is changed there is kept", &mut ours);
    ours.write_all(b"test -t 0 && test -t 1 && echo answer $((6 * 7))\n").unwrap();
    wait_for("answer 42", &mut ours);
    // It speaks itself, so that it is what Ctrl-C meets and not the shell that is about to start it.
    ours.write_all(b"sh -c 'echo asleep $((6 * 9)); exec sleep 1000'\n").unwrap();
    wait_for("asleep 54", &mut ours);
    // Ctrl-C ends what runs inside, and nothing else.
    ours.write_all(b"\x03").unwrap();
    ours.write_all(b"echo still $((6 * 8)); exit 0\n").unwrap();
    wait_for("still 48", &mut ours);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    shared.assert_clean();
}
