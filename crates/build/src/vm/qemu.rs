//! The process that is the machine, or the one that keeps it.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::execute::BuildError;
use crate::host;

use super::LAUNCH_ARGUMENT;
use super::error::MachineError;
use super::kept::{self, Frames, Kind};
use super::launch::NOT_FOUND;
use super::wire::Message;

/// The program.
const QEMU: &str = "qemu-system-x86_64";
/// Where it is looked for: what the user's environment says does not count.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// How often Ctrl-C is looked at.
const TICK: Duration = Duration::from_millis(100);
/// Longest message, in bytes.
pub(super) const LONGEST: u64 = 1 << 20;
/// How many messages may wait to be looked at.
const WAITING: usize = 32;
/// How much is kept of the last words of QEMU and of the machine's console, in bytes.
const SAID: usize = 256 << 10;
/// How much of them an error shows.
const SHOWN: usize = 300;

/// A running machine; ended when dropped, or when this process is gone. One that is kept ends then only if it has not
/// answered.
pub(super) struct Qemu {
    end: End,
    lines: Receiver<Vec<u8>>,
    said: Said,
}

/// Who ends the machine.
enum End {
    /// QEMU itself.
    Child(Child),
    /// The keeper at the other end, while nothing else is told; the thread gives QEMU's exit status.
    Keeper(UnixStream, Option<JoinHandle<Option<i32>>>),
}

/// The program with `arguments`, and with pipes for what it says. `program` is this program, which becomes it.
pub(super) fn command(program: &Path, arguments: &[OsString]) -> Command {
    let mut command = Command::new(program);
    command.arg(LAUNCH_ARGUMENT).arg(std::process::id().to_string()).arg(QEMU).args(arguments);
    command.env_clear().env("PATH", PATH);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The last words of QEMU and of the machine's console, while they are written.
#[derive(Clone, Debug, Default)]
pub(super) struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn add(&self, bytes: &[u8]) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend_from_slice(bytes);
        let more = said.len().saturating_sub(SAID);
        said.drain(..more);
    }

    /// All of it that is kept.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The end of it, on one line.
    fn end(&self) -> String {
        let bytes = self.bytes();
        let end = &bytes[bytes.len().saturating_sub(SHOWN)..];
        let text = String::from_utf8_lossy(end);
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
    }
}

impl Qemu {
    /// Starts QEMU with `arguments`. `program` is this program, which becomes it.
    pub(super) fn start(program: &Path, arguments: &[OsString]) -> Result<Self, MachineError> {
        let failed = |source| MachineError::Start { program: QEMU, source };
        let mut child = command(program, arguments).spawn().map_err(failed)?;
        let gone = || failed(io::ErrorKind::BrokenPipe.into());
        let out = child.stdout.take().ok_or_else(gone)?;
        let err = child.stderr.take().ok_or_else(gone)?;
        let (send, lines) = mpsc::sync_channel(WAITING);
        // Neither is joined: they end with the pipes, which end with QEMU.
        std::thread::spawn(move || {
            let mut out = BufReader::new(out);
            loop {
                let mut line = Vec::new();
                match (&mut out).take(LONGEST).read_until(b'\n', &mut line) {
                    Ok(1..) if send.send(line).is_ok() => {}
                    _ => break,
                }
            }
        });
        let said = Said::default();
        let to = said.clone();
        std::thread::spawn(move || {
            let (mut err, mut buffer) = (err, [0; 4096]);
            while let Ok(length @ 1..) = err.read(&mut buffer) {
                to.add(&buffer[..length]);
            }
        });
        Ok(Self { end: End::Child(child), lines, said })
    }

    /// The machine of which a keeper tells.
    pub(super) fn kept((mut frames, keeper): (Frames, UnixStream)) -> Self {
        let (send, lines) = mpsc::sync_channel(WAITING);
        let said = Said::default();
        let to = said.clone();
        let told = std::thread::spawn(move || {
            // What is no frame is the end as well.
            while let Ok(Some((kind, body))) = frames.next() {
                match kind {
                    Kind::Line => {
                        if send.send(body).is_err() {
                            break;
                        }
                    }
                    Kind::Console => to.add(&body),
                    Kind::Ended => return String::from_utf8_lossy(&body).parse().ok(),
                    Kind::State => {}
                }
            }
            None
        });
        Self { end: End::Keeper(keeper, Some(told)), lines, said }
    }

    /// Whether somebody keeps it.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self.end, End::Keeper(..))
    }

    /// Leaves it to its keeper, for others to build in.
    pub(super) fn leave(mut self) {
        if let End::Keeper(keeper, told) = &mut self.end {
            // The thread ends with the socket. With nobody to wait for, nothing is waited for.
            drop(told.take());
            let _ = keeper.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Waits until its first process runs; false if the machine ends before, or takes longer than `limit`.
    pub(super) fn starts(&mut self, limit: Duration) -> Result<bool, BuildError> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if host::interrupted() {
                return Err(BuildError::Interrupted);
            }
            match self.lines.recv_timeout(TICK) {
                Ok(line) if matches!(serde_json::from_slice(&line), Ok(Message::Ready)) => return Ok(true),
                // Firmware may talk as well.
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
            }
        }
        // Nobody waits for it any more.
        self.stop();
        Ok(false)
    }

    /// The next message; `None` when the machine has ended.
    pub(super) fn hear(&mut self) -> Result<Option<Message>, BuildError> {
        loop {
            if host::interrupted() {
                return Err(BuildError::Interrupted);
            }
            match self.lines.recv_timeout(TICK) {
                Ok(line) => {
                    let text = line.trim_ascii();
                    if text.is_empty() {
                        continue;
                    }
                    return match serde_json::from_slice(text) {
                        Ok(message) => Ok(Some(message)),
                        Err(_) => {
                            let text = String::from_utf8_lossy(&text[..text.len().min(200)]).into_owned();
                            Err(MachineError::Nonsense(text).into())
                        }
                    };
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    /// What it said until now, and says from now on.
    pub(super) fn said(&self) -> Said {
        self.said.clone()
    }

    /// Ends it at once.
    fn stop(&mut self) {
        match &mut self.end {
            End::Child(child) => drop(child.kill()),
            End::Keeper(keeper, _) => kept::stop_by(keeper),
        }
    }

    /// Why the machine ended without an answer.
    pub(super) fn ended_early(mut self) -> MachineError {
        // The thread may be waiting for what it said to be read.
        drop(std::mem::replace(&mut self.lines, mpsc::sync_channel(0).1));
        let status = match &mut self.end {
            End::Child(child) => child.wait().ok().and_then(|status| status.code()),
            End::Keeper(_, told) => told.take().and_then(|told| told.join().ok()).flatten(),
        };
        if status == Some(i32::from(NOT_FOUND)) {
            return MachineError::NoQemu(QEMU);
        }
        MachineError::Ended { said: self.said.end() }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        match &mut self.end {
            End::Child(child) => {
                // Both fail only if the process has been waited for.
                let _ = child.kill();
                let _ = child.wait();
            }
            End::Keeper(keeper, told) => {
                if let Some(told) = told.take() {
                    // The keeper may be waiting for what it said to be read.
                    drop(std::mem::replace(&mut self.lines, mpsc::sync_channel(0).1));
                    kept::stop_by(keeper);
                    let _ = told.join();
                }
            }
        }
    }
}
