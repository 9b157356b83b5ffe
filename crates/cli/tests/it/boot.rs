//! `selfsame boot`

use std::process::Stdio;
use std::time::Duration;

use selfsame_testkit::vm::talking_disk;
use selfsame_testkit::{TestEnvironment, leaks, skip, which};

use crate::world;

/// A world in which QEMU can be found, or nothing where there is none.
fn world_with_qemu() -> Option<TestEnvironment> {
    let Some(qemu) = which("qemu-system-x86_64") else {
        skip("qemu-system-x86_64 is not installed");
        return None;
    };
    let mut world = world();
    world.set("PATH", qemu.parent().unwrap().to_str().unwrap());
    world.write("disk.img", talking_disk("\r\nselfsame login: "));
    Some(world)
}

const BOOT: [&str; 6] = ["boot", "disk.img", "--as", "usb", "--accel", "tcg"];

#[test]
fn the_awaited_text_decides_the_exit_status() {
    let Some(world) = world_with_qemu() else { return };
    let console = world.run(BOOT.iter().chain(&["--memory", "64", "--until", "login:"])).success();
    assert!(console.ends_with("login: ") || console.ends_with("login:"), "{console:?}");

    let missing = world.run(BOOT.iter().chain(&["--memory", "64", "--until", "nothing", "--timeout", "2"]));
    assert_eq!(missing.status, Some(1));
    assert_eq!(missing.stderr, "warning: \"nothing\" did not appear on the console within 2 s\n");
    assert!(missing.stdout.contains("selfsame login: "), "{:?}", missing.stdout);
    let image = std::fs::read(world.root().join("disk.img")).unwrap();
    assert_eq!(image, talking_disk("\r\nselfsame login: "), "the image is never written to");
    leaks::assert_none_below(world.root());
}

#[test]
fn ctrl_c_ends_the_machine_and_leaves_nothing() {
    let Some(world) = world_with_qemu() else { return };
    let mut command = world.command(BOOT.iter().chain(&["--memory", "64", "--until", "nothing"]));
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The machine runs in the world's root, so it can be seen there.
    while leaks::below(world.root()).len() < 2 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let stopped =
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    let run = world.outcome(child.wait_with_output().unwrap());
    assert_eq!((run.status, run.stderr.as_str()), (Some(130), "error: interrupted\n"));
    leaks::assert_none_below(world.root());
}

#[test]
fn missing_qemu_is_explained() {
    let world = world();
    world.write("disk.img", talking_disk(""));
    let message = world.run(BOOT).failure(4);
    assert!(message.starts_with("error: qemu-system-x86_64 is not installed\nhint: "), "{message}");
    assert!(message.contains("apt install qemu-system-x86"), "{message}");
    let message = world.run(["boot", "nowhere.iso"]).failure(3);
    assert!(message.starts_with("error: cannot read nowhere.iso\n"), "{message}");
}
