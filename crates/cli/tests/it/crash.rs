//! Builds that are killed anywhere, disks that are full, caches that are damaged: the next build gives the right bytes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use selfsame_build::lock::{Lock, Role};
use selfsame_image::Digest;
use selfsame_store::{Depth, Store};
use selfsame_testkit::{Numbers, is_root, leaks, number, oracle_text};

use crate::build::{EXAMPLE, builds_here, in_namespace, open_world, shared};

/// How often a build is killed. `KILLS=50` for a long look.
const KILLS: u32 = 8;

/// A build of the example in `dir` with a store of its own.
fn build(dir: &Path, store: &str) -> Command {
    let mut command = Command::new(dir.join("selfsame"));
    command.args(["build", "r", "--out", "out", "--store", store, "--quiet"]).current_dir(dir);
    command
}

/// A store in `dir` that has the packages of `store` and nothing else.
fn packages_only(dir: &Path, store: &Path, name: &str) {
    fs::create_dir(dir.join(name)).unwrap();
    oracle_text(Command::new("cp").arg("-a").arg(store.join("layout")).arg(dir.join(name))).unwrap();
    for package in locked() {
        let hex = package.to_string();
        let place = Path::new("blobs").join(&hex[..2]).join(&hex[2..]);
        fs::create_dir_all(dir.join(name).join(&place).parent().unwrap()).unwrap();
        fs::copy(store.join(&place), dir.join(name).join(&place)).unwrap();
    }
}

/// Digests of the packages of the example's image.
fn locked() -> Vec<Digest> {
    let lock = fs::read_to_string(Path::new(EXAMPLE).join("selfsame.lock")).unwrap();
    let packages = lock.parse::<Lock>().unwrap().packages;
    let installed = packages.iter().filter(|package| package.role == Role::Image);
    installed.map(|package| package.file.sha256).collect()
}

/// Runs it to its end; what it printed.
#[track_caller]
fn whole(mut command: Command) -> String {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[track_caller]
fn wait_until_gone(dir: &Path) {
    let begin = Instant::now();
    while !leaks::below(dir).is_empty() && begin.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    leaks::assert_none_below(dir);
}

#[track_caller]
fn assert_clean(dir: &Path, store: &str, when: &str) {
    wait_until_gone(dir);
    let store = Store::open(dir.join(store)).unwrap();
    assert_eq!(store.check(Depth::Bytes).unwrap(), [], "{when}");
    let stat = store.stat().unwrap();
    assert_eq!((stat.tmp, stat.damaged), (0, 0), "{when}");
}

#[test]
fn after_a_kill_at_any_moment_the_next_build_gives_the_right_bytes() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let dir = open_world(&shared);
    let dir = dir.path();
    packages_only(dir, &shared.store, "store");
    let begin = Instant::now();
    assert_eq!(whole(build(dir, "store")), shared.digests);
    let took = usize::try_from(begin.elapsed().as_millis()).unwrap();
    let mut numbers = Numbers(20_260_711);
    for kill in 0..number("KILLS", KILLS) {
        let store = format!("store-{kill}");
        packages_only(dir, &shared.store, &store);
        let delay = numbers.below(took);
        let when = format!("kill {kill} after {delay} of {took} ms");
        let mut child = build(dir, &store).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        wait_until_gone(dir);
        fs::remove_dir_all(dir.join("out")).unwrap();
        assert_eq!(whole(build(dir, &store)), shared.digests, "{when}");
        assert_clean(dir, &store, &when);
        if is_root() {
            fs::remove_dir_all(dir.join(&store)).unwrap();
        }
    }
}

#[test]
fn a_full_disk_is_an_error_that_says_how_much_is_missing_and_a_larger_one_goes_on() {
    if !is_root() || !builds_here() {
        return;
    }
    let shared = shared();
    let dir = open_world(&shared);
    packages_only(dir.path(), &shared.store, "packages");
    // The most that a build takes, in MiB, looked at while it runs.
    let script = "mkdir t && mount -t tmpfs -o size=4g x t && cp -a packages t/store\n\
         ./selfsame build r --out t/out --store t/store --quiet > /dev/null & build=$!\n\
         most=0; while kill -0 $build 2> /dev/null; do\n\
           now=$(df -m --output=used t | tail -n 1); [ $now -le $most ] || most=$now; sleep 0.05\n\
         done; wait $build; echo $most";
    let (status, most, text) = in_namespace(dir.path(), script);
    assert_eq!(status, Some(0), "{text}");
    let most: u64 = most.trim().parse().unwrap();
    let packages: u64 =
        locked().iter().filter_map(|digest| Store::open(&shared.store).unwrap().size(digest)).sum();
    for percent in [25, 50, 75, 95] {
        // The packages themselves always fit.
        let size = (packages >> 20) + 2 + (most - (packages >> 20) - 2) * percent / 100;
        let script = format!(
            "mount -t tmpfs -o size={size}m x t && cp -a packages t/store\n\
             ./selfsame build r --out t/out --store t/store --quiet && exit 99 || echo status $?\n\
             ls -A t/store/tmp; ls t/out 2> /dev/null || true\n\
             mount -o remount,size=4g t\n\
             ./selfsame build r --out t/out --store t/store --quiet"
        );
        let (status, said, text) = in_namespace(dir.path(), &script);
        let when = format!("{percent} % of {most} MiB: {said}{text}");
        assert_eq!(status, Some(0), "{when}");
        assert_eq!(said, format!("status 4\n{}", shared.digests.replace("out/", "t/out/")), "{when}");
        // The guess and what the disk has are no less than half and no more than twice of what the build takes.
        let guess =
            text.split_once("is full: about ").and_then(|(_, rest)| rest.split(' ').next()).expect(&text);
        let all = size + (guess.parse::<u64>().unwrap() >> 20);
        assert!(text.contains("error: ") && (most / 2..=most * 2).contains(&all), "{all} MiB, {when}");
    }
    leaks::assert_none_below(dir.path());
}
