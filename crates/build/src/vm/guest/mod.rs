//! Inside the machine.

mod boot;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::num::NonZero;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::process::Pid;
use rustix::system::{RebootCommand, reboot};
use rustix::termios::{OptionalActions, tcdrain, tcgetattr, tcsetattr};
use selfsame_apt::fetch::FetchError;
use selfsame_image::Epoch;
use selfsame_store::Store;

use crate::event::{Event, Observer, Stage};
use crate::execute::{self, BuildError, Built, Request};
use crate::fetch::{Source, Wanted};
use crate::host::{self, Host};
use crate::lock::{self, Blob, Lock};
use crate::recipe;

use super::disks::MORE;
use super::error::Refusal;
use super::wire::{AGAIN, Answer, Done, Made, Message, StageTold, Task};

/// The line that leads out: the second serial port.
const WIRE: &str = "/dev/ttyS1";
/// Longest line that is taken from outside, in bytes.
const LONGEST: u64 = 64;
/// The exit status of a wrong command line.
const USAGE: u8 = 2;
/// The exit status of what is nobody's fault but this program's: EX_SOFTWARE of sysexits.h.
const INTERNAL: u8 = 70;
/// Outputs begin at multiples of this on their disk, in bytes.
const ALIGNMENT: u64 = 1 << 20;

/// What a program does when its first argument is [`GUEST_ARGUMENT`](super::GUEST_ARGUMENT): it is the first process of a
/// machine, builds what the disks say, and turns the machine off. `tell` puts in words why a build failed.
pub fn guest_main(tell: fn(BuildError) -> Refusal) -> ! {
    // Whoever says this word by mistake shall not lose the machine in front of him.
    if rustix::process::getpid() != Pid::INIT {
        eprintln!("error: this is for the first process of a virtual machine only");
        std::process::exit(i32::from(USAGE));
    }
    let result = match std::env::args_os().nth(2) {
        Some(word) if word == OsStr::new(boot::SETTLED) => work(tell),
        _ => boot::settle(),
    };
    if let Err(error) = result {
        // Nobody else is there to be told; the console is kept.
        eprintln!("selfsame cannot work as the first process: {error}");
    }
    rustix::fs::sync();
    let _ = reboot(RebootCommand::PowerOff);
    std::process::exit(1)
}

/// The line on which messages go out.
struct Wire(Mutex<File>);

impl Wire {
    fn open() -> io::Result<Self> {
        let line = File::options().read(true).write(true).open(WIRE)?;
        let mut settings = tcgetattr(&line)?;
        settings.make_raw();
        tcsetattr(&line, OptionalActions::Now, &settings)?;
        Ok(Self(Mutex::new(line)))
    }

    fn say(&self, message: &Message) -> io::Result<()> {
        let mut text = serde_json::to_vec(message)?;
        text.push(b'\n');
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&text)
    }
}

impl Observer for Wire {
    fn on(&self, event: Event) {
        // If the line is gone, so is whoever would listen.
        let _ = self.say(&Message::Event(event));
    }
}

fn work(tell: fn(BuildError) -> Refusal) -> io::Result<()> {
    let wire = Wire::open()?;
    let mut asked = BufReader::new(wire.0.lock().unwrap_or_else(PoisonError::into_inner).try_clone()?);
    wire.say(&Message::Ready)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let host = host::enter();
    for builds in 0.. {
        let task = boot::take_task(builds)?;
        let source = Disk::default();
        let built = host.as_ref().map_err(|error| odd("this kernel", error));
        let answer = match built.and_then(|host| build(&wire, &source, &task, host, tell)) {
            Ok(done) => Answer::Built(done),
            Err(refusal) => Answer::Failed { refusal, package: source.damaged.load(Ordering::Relaxed) },
        };
        wire.say(&Message::Answer(answer))?;
        if !task.keep {
            break;
        }
        boot::leave_task()?;
        // A machine that is kept waits for whoever wants to build next.
        let mut line = String::new();
        while line.trim_end() != AGAIN {
            line.clear();
            if (&mut asked).take(LONGEST).read_line(&mut line)? == 0 {
                return Ok(());
            }
        }
    }
    drop(asked);
    let line = wire.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(tcdrain(line.as_fd())?)
}

fn build(
    wire: &Wire,
    source: &Disk,
    task: &Task,
    host: &Host,
    tell: fn(BuildError) -> Refusal,
) -> Result<Done, Refusal> {
    let recipe = recipe::load(&boot::recipe()).map_err(|error| odd("the recipe", &error))?;
    let text =
        fs::read_to_string(boot::recipe().join(lock::FILE)).map_err(|error| odd("the lock", &error))?;
    let lock: Lock = text.parse().map_err(|error| odd("the lock", &error))?;
    let shift = if task.other_ids { host.shift.other() } else { host.shift };
    let host = Host { shift, ..*host };
    let store = Store::open("/store").map_err(|error| tell(error.into()))?;
    let built = execute::build(&Request {
        recipe: &recipe,
        lock: &lock,
        epoch: Epoch(task.epoch),
        store: &store,
        host: &host,
        program: Path::new("/proc/self/exe"),
        source,
        remote: None,
        jobs: usize::try_from(task.jobs).ok().and_then(NonZero::new).unwrap_or(NonZero::<usize>::MIN),
        out: Path::new("/out"),
        until: None,
        anew: false,
        observer: wire,
        world: &task.world,
        machine: None,
        apart: None,
    })
    .map_err(tell)?;
    let files = hand_over(&built).map_err(|error| odd("the disk of the outputs", &error))?;
    let stage = |report: &execute::StageReport| {
        let stage = Stage::ALL.into_iter().find(|stage| stage.name() == report.name)?;
        let execute::StageReport { key, cached, start, seconds, .. } = *report;
        Some(StageTold { stage, key, cached, start, seconds })
    };
    Ok(Done {
        files,
        stages: built.stages.iter().filter_map(stage).collect(),
        compressed: built.compressed,
        beforehand: built.beforehand,
    })
}

/// What cannot be: the same program has read it outside.
fn odd(what: &str, error: &dyn std::error::Error) -> Refusal {
    Refusal {
        status: INTERNAL,
        stage: None,
        message: format!("{what} cannot be used in the machine"),
        causes: vec![error.to_string()],
        hints: Vec::new(),
    }
}

/// Writes the outputs to their disk.
fn hand_over(built: &Built) -> io::Result<Vec<Made>> {
    let disk = boot::outputs()?;
    let mut at = 0;
    let mut files = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    for file in &built.outputs {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push(Made { name, at, content: Blob::from(file.content) });
        let mut from = File::open(&file.path)?;
        let mut to = at;
        loop {
            match from.read(&mut buffer)? {
                0 => break,
                length => {
                    disk.write_all_at(&buffer[..length], to)?;
                    to += length as u64;
                }
            }
        }
        at = to.next_multiple_of(ALIGNMENT);
    }
    disk.sync_all()?;
    Ok(files)
}

/// The packages on their disk.
#[derive(Debug, Default)]
struct Disk {
    /// Whether one of them was not what it should be.
    damaged: AtomicBool,
}

impl Source for Disk {
    fn fetch(&self, wanted: &[Wanted], store: &Store, observer: &dyn Observer) -> Result<(), FetchError> {
        for one in wanted {
            copy(one, store).inspect_err(|_| {
                // It was whole when the disk was written.
                self.damaged.store(true, Ordering::Relaxed);
            })?;
            observer.on(Event::Advanced { stage: Stage::Fetch, amount: one.content.size });
        }
        Ok(())
    }
}

fn copy(one: &Wanted, store: &Store) -> Result<(), FetchError> {
    let gone = |_| FetchError::NoMirror { missing: 1 };
    let name = one.content.digest.to_string();
    let path = Path::new("/packages").join(&name);
    // What a later lock has besides, a machine that is kept is given with the task.
    let more = Path::new("/task").join(MORE).join(&name);
    let mut from = File::open(&path).or_else(|_| File::open(&more)).map_err(gone)?;
    let mut writer = store.writer()?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match from.read(&mut buffer).map_err(gone)? {
            0 => break,
            length => writer.append(&buffer[..length])?,
        }
    }
    writer.finish(Some(one.content))?;
    Ok(())
}
