//! What a hook cannot do.

use std::fs;
use std::process::Command;

use selfsame_testkit::leaks;

use crate::build::{Recipe, builds_here, names_in, shared};

#[test]
fn a_hook_that_tries_the_network_fails_the_build() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let world = Recipe::with_hook().write();
    // That the hook itself does not mind changes nothing.
    for (attempt, words) in [
        ("bash -c 'echo > /dev/tcp/192.0.2.1/80'", "(bash: reaching 192.0.2.1:80)"),
        ("bash -c 'echo > /dev/udp/192.0.2.1/7'", "(bash: reaching 192.0.2.1:7)"),
        ("getent hosts mirror.example", "(getent: looking up a name at 127.0.0.1:53)"),
    ] {
        world.write("r/hook", format!("#!/bin/sh\n{attempt} || :\n"));
        let message = shared.build(&world, &[]).failure(3);
        assert!(message.contains("stage customise: hook hook tried to reach the network"), "{message}");
        assert!(message.contains(words), "{attempt}: {message}");
        assert!(message.contains("builds have no"), "{message}");
        assert!(message.contains("\nhint: put what the hook needs into the recipe"), "{message}");
        assert!(!world.root().join("out").exists(), "nothing is half-written");
    }
    shared.assert_clean();
}

/// Tries what it can; `CANARY` is a file of the machine, `PROCESS` the id of one of its processes.
const ATTEMPTS: &str = r#"#!/bin/sh
try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "did $name"; else echo "cannot $name"; fi; }
try find test -e CANARY
try escape perl -e 'mkdir "/x"; opendir D, "/"; chroot "/x"; chdir D; chdir ".." for 1..50; chroot "."; exit !-e "CANARY"'
try init test -e /proc/1/root/CANARY
try mount perl -e 'exit syscall(165, "x", "/mnt", "tmpfs", 0, 0) != 0'
try bind perl -e 'exit syscall(165, "/", "/mnt", "", 4096, 0) != 0'
try device sh -c 'mknod /root/disk b 8 0 && dd if=/root/disk count=1'
try memory dd if=/dev/mem count=1
try host-name sh -c 'cat /proc/sys/kernel/hostname > /proc/sys/kernel/hostname'
try core-pattern sh -c 'cat /proc/sys/kernel/core_pattern > /proc/sys/kernel/core_pattern'
try sysrq sh -c 'echo h > /proc/sysrq-trigger'
try kill kill -9 PROCESS
kill -9 -1
echo survived
rm -rf --one-file-system /x /root/disk
mkdir -p "$(dirname CANARY)"
echo overwritten > CANARY
cp CANARY /srv/canary
setsid sleep 1000 &
"#;

#[test]
fn a_hook_cannot_touch_the_host() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let world = Recipe::with_hook().write();
    let canary = world.write("canary", "mine");
    let mut process = Command::new("sleep").arg("1000").spawn().unwrap();
    let hook =
        ATTEMPTS.replace("CANARY", canary.to_str().unwrap()).replace("PROCESS", &process.id().to_string());
    world.write("r/hook", hook);
    let host_name = || fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let before = host_name();
    let run = shared.build(&world, &["--verbose"]);
    let alive = process.try_wait().unwrap().is_none();
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(alive, "a process of the machine was killed");
    assert_eq!(fs::read_to_string(&canary).unwrap(), "mine");
    assert_eq!(host_name(), before);
    leaks::assert_none_below(world.root());
    shared.assert_clean();
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    for name in [
        "find",
        "escape",
        "init",
        "mount",
        "bind",
        "device",
        "memory",
        "host-name",
        "core-pattern",
        "sysrq",
        "kill",
    ] {
        assert!(run.stderr.contains(&format!("[customise] cannot {name}\n")), "{name}: {}", run.stderr);
    }
    assert!(run.stderr.contains("[customise] survived\n"), "{}", run.stderr);
    assert_eq!(names_in(world.root()), ["canary", "home", "out", "r", "tmp"]);
    // What it wrote there is inside the image, as far as it is kept: `/tmp` is emptied.
    let manifest = fs::read_to_string(world.root().join("out/tiny.manifest")).unwrap();
    assert!(manifest.contains("srv/canary"), "{manifest}");
}
