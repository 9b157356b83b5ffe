//! Every reader withstands its kept inputs and mutations of them, the same ones in each run: no panic, no hang, no memory
//! that an input merely claims to need.
//!
//! The targets are those of libFuzzer, which finds more (`scripts/fuzz.sh`); what it found once is kept in `fuzz/kept`.

mod memory;
mod mutation;
#[path = "../../../../fuzz/src/lib.rs"]
#[allow(unreachable_pub)] // It is a library there.
mod targets;
mod watchdog;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use selfsame_image::detect::Format;
use selfsame_image::extent;
use selfsame_testkit::{Numbers, number, readme::workspace};

use memory::Counting;
use targets::{TARGETS, Target};
use watchdog::Watchdog;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a reader may hold at once, in bytes. Kept inputs have less than 256 KiB, what they unpack to is limited, and none takes 4 MiB.
const MOST_MEMORY: usize = 32 << 20;
/// A reader that takes longer for one input hangs. On an idle machine none takes a second.
const LONGEST: Duration = Duration::from_secs(120);
/// Bytes of all kept inputs together, and of one.
const MOST_KEPT: (u64, u64) = (1536 << 10, 256 << 10);

fn fuzz() -> PathBuf {
    workspace().join("fuzz")
}

/// An input and what it is called.
type Input = (String, Vec<u8>);

/// The kept inputs in a directory, sorted by name.
fn kept(name: &str) -> Vec<Input> {
    let dir = fuzz().join("kept").join(name);
    let mut all: Vec<Input> = fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap();
            (format!("{name}/{file}"), fs::read(&path).unwrap())
        })
        .collect();
    all.sort();
    all
}

fn inputs(target: &Target) -> Vec<Input> {
    let formats = Format::ALL.iter().filter(|_| target.any_format).flat_map(|format| kept(format.name()));
    kept(target.name).into_iter().chain(formats).collect()
}

/// Runs a target once; what is wrong, if anything.
fn run(target: &Target, input: &[u8]) -> Result<(), String> {
    memory::begin(target.name);
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let held = memory::most();
    match result {
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned())
        }
        Ok(()) if held > MOST_MEMORY => Err(format!("it takes {} MiB of memory", held >> 20)),
        Ok(()) => Ok(()),
    }
}

/// Runs a target on all its inputs; the most memory it took, in bytes, or what is wrong, with the name of a file that shows it.
fn withstands(target: &Target, watchdog: &Watchdog) -> Result<usize, String> {
    let inputs = inputs(target);
    let mut most = 0;
    let mut judge = |name: &str, input: &[u8]| {
        let result = watchdog.watch(target.name, (name, input), || run(target, input));
        most = most.max(memory::most());
        result.map_err(|problem| said(target.name, name, input, &problem))
    };
    for (name, input) in &inputs {
        judge(name, input)?;
    }
    let seed = target.name.bytes().fold(0, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte));
    let mut numbers = Numbers(seed);
    for round in 0..target.mutations * number("MUTATIONS", 1) {
        let (name, input) = &inputs[numbers.below(inputs.len())];
        let other = &inputs[numbers.below(inputs.len())].1;
        let input = mutation::mutated(input, other, &mut numbers);
        judge(&format!("mutation {round} of {name}"), &input)?;
    }
    Ok(most)
}

/// What is wrong with a target; the input that shows it is kept for whoever looks into it.
fn said(target: &str, name: &str, input: &[u8], problem: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{target}"));
    let path =
        fs::write(&path, input).map_or_else(|error| error.to_string(), |()| path.display().to_string());
    format!("{target}: {name}: {problem}; the input is {path}")
}

#[test]
fn readers_withstand_kept_inputs_and_mutations_of_them() {
    let watchdog = Watchdog::default();
    let (todo, failed) = (Mutex::new(TARGETS.iter()), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let Some(target) = todo.lock().unwrap().next() else { break };
                        let began = std::time::Instant::now();
                        let most = withstands(target, &watchdog).unwrap_or_else(|problem| {
                            failed.lock().unwrap().push(problem);
                            0
                        });
                        let seconds = began.elapsed().as_secs_f64();
                        println!("{}: {seconds:.1} s, {} KiB", target.name, most >> 10);
                    }
                })
            })
            .collect();
        while !workers.iter().all(|worker| worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(50));
            if let Some((target, (name, input))) = watchdog.hanging(LONGEST) {
                // Nothing else ends a thread that hangs, and what the test said so far is lost with it.
                let text = said(target, &name, &input, "it does not come to an end");
                let _ = writeln!(std::io::stderr(), "{text}");
                std::process::exit(1);
            }
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_format_has_a_target_and_every_target_is_sorted_and_kept() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "sorted, each once");
    for format in Format::ALL {
        assert!(targets::find(format.name()).is_some(), "{} has no target", format.name());
    }
    let kept_for: BTreeSet<String> = fs::read_dir(fuzz().join("kept"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(kept_for, names.iter().map(|name| (*name).to_owned()).collect(), "each has a directory");
    let (mut all, (most, largest)) = (0, MOST_KEPT);
    for name in names {
        let inputs = kept(name);
        assert!(!inputs.is_empty(), "{name} has no inputs");
        for (file, input) in inputs {
            let len = u64::try_from(input.len()).unwrap();
            assert!(len <= largest, "{file} has {len} bytes");
            all += len;
        }
    }
    assert!(all <= most, "the kept inputs have {all} bytes");
}

#[test]
fn of_each_format_an_input_is_kept_that_is_read_without_fault() {
    for format in Format::ALL {
        let inputs = kept(format.name());
        let known = |(_, input): &Input| {
            let source: extent::Source = std::sync::Arc::new(input.clone());
            let parsed = extent::parse(&source, &extent::Room::new(1 << 20, 1 << 20));
            selfsame_image::detect::format(input).unwrap() == Some(format)
                && matches!(parsed, Ok(Some(parsed)) if parsed.faults.is_empty())
        };
        assert!(inputs.iter().any(known), "no kept input is {}", format.name());
    }
}

#[test]
fn cargo_fuzz_knows_every_target() {
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let (_, programs) = manifest.split_once("[[bin]]").unwrap();
    let names = programs.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    assert!(
        names.eq(TARGETS.iter().map(|target| target.name)),
        "the programs are the targets, in their order"
    );
}

#[test]
fn memory_that_is_only_claimed_is_noticed() {
    fn greedy(_: &[u8]) {
        drop(std::hint::black_box(vec![0_u8; MOST_MEMORY + 1]));
    }
    let target = Target { name: "greedy", run: greedy, mutations: 0, any_format: false };
    assert_eq!(run(&target, b""), Err(format!("it takes {} MiB of memory", MOST_MEMORY >> 20)));
    let target = Target { run: |_| panic!("no"), ..target };
    assert_eq!(run(&target, b""), Err("no".to_owned()));
    let target = Target { run: |_| {}, ..target };
    assert_eq!(run(&target, b""), Ok(()));
}
