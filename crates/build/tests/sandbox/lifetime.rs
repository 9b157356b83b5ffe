//! Nothing outlives the process that runs a sandbox.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use selfsame_build::host;
use selfsame_build::sandbox::{Job, Root, Sandbox};

use crate::Test;
use crate::world::{Layer, World};

pub(crate) const TESTS: &[Test] = &[
    ("kill -9 leaves no process and no mount (R1, M5)", killed),
    ("asking to stop ends the sandbox", interrupted),
];

/// The argument with which this program runs a sandbox until it is stopped.
pub(crate) const RUNNER: &str = "__runner";

/// Runs a script in a sandbox on the given image, and says how it ended.
pub(crate) fn runner(arguments: &[String]) -> ExitCode {
    let [base, upper, work, script] = arguments else {
        return ExitCode::FAILURE;
    };
    let Ok(host) = host::enter() else {
        return ExitCode::FAILURE;
    };
    let root = Root::Overlay { lowers: vec![base.into()], upper: upper.into(), work: work.into() };
    let mut job = Job::new(root, ["/bin/sh", "-c", script]);
    job.env = vec![("PATH".into(), "/bin".into())];
    let exit = Sandbox::new(host).run(&job, &mut |_, line| println!("{}", String::from_utf8_lossy(line)));
    println!("{:?}", exit.map(|exit| exit.status));
    ExitCode::SUCCESS
}

/// A running sandbox, and the number by which its processes are known.
struct Running {
    runner: Child,
    output: BufReader<std::process::ChildStdout>,
    marker: String,
}

fn start(world: &World, layer: &Layer, number: u32) -> Running {
    let marker = format!("{}{number}", std::process::id());
    let script = format!("setsid sleep {marker} </dev/null >/dev/null 2>&1 & echo started; sleep {marker}");
    // A background job of a shell ignores the signals that are sent here, and so would its children.
    let mut runner = Command::new("env")
        .arg("--default-signal=INT,TERM,HUP")
        .arg(std::env::current_exe().unwrap())
        .arg(RUNNER)
        .args([&world.base, &layer.upper, &layer.work])
        .arg(script)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(runner.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");
    let running = Running { runner, output, marker };
    wait_until(|| processes(&running.marker) >= 2);
    running
}

/// How many processes of this machine sleep for `marker` seconds.
fn processes(marker: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let commands = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    commands.filter(|command| command.split(|byte| *byte == 0).any(|word| word == marker.as_bytes())).count()
}

#[track_caller]
fn wait_until(condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(20), "nothing changed for 20 seconds");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The mounts this process sees, and those of the machine itself where they may be read.
fn mounts() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(Path::new(path)).unwrap_or_default();
    vec![read("/proc/self/mounts"), read("/proc/1/mounts")]
}

fn killed(world: &World) {
    let before = mounts();
    // At different moments: the first runs are killed while they set up.
    for number in 0..10 {
        let layer = world.layer();
        if number < 5 {
            let mut runner = Command::new(std::env::current_exe().unwrap());
            let mut runner = runner.arg(RUNNER).args([&world.base, &layer.upper, &layer.work]);
            runner = runner.arg(format!("sleep {}9{number}", std::process::id())).stdout(Stdio::null());
            let mut runner = runner.spawn().unwrap();
            std::thread::sleep(Duration::from_millis(8 * number));
            runner.kill().unwrap();
            runner.wait().unwrap();
            wait_until(|| processes(&format!("{}9{number}", std::process::id())) == 0);
        } else {
            let mut running = start(world, &layer, u32::try_from(number).unwrap());
            running.runner.kill().unwrap();
            running.runner.wait().unwrap();
            wait_until(|| processes(&running.marker) == 0);
        }
        // A child that was just mounting the layer ends with its caller, but not in the same moment.
        wait_until(|| children() == 0);
        assert_eq!(mounts(), before);
        // The layer can be used again.
        let ran = world.try_run(&world.script(&layer, "echo again > f; cat f")).unwrap();
        assert_eq!(ran.ok(), "again\n");
    }
}

/// How many processes execute this program as part of a sandbox.
fn children() -> usize {
    processes(selfsame_build::sandbox::CHILD_ARGUMENT)
}

fn interrupted(world: &World) {
    for (number, signal) in [(11, Signal::INT), (12, Signal::TERM), (13, Signal::HUP)] {
        let layer = world.layer();
        let mut running = start(world, &layer, number);
        let pid = Pid::from_raw(i32::try_from(running.runner.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        let mut rest = String::new();
        running.output.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "Ok(Interrupted)\n");
        assert!(running.runner.wait().unwrap().success());
        assert_eq!(processes(&running.marker), 0);
        assert_eq!(fs::read_dir(&layer.work).unwrap().count(), 0, "the work directory is clean");
    }
}
