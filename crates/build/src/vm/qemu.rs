//! The process that is the machine.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::execute::BuildError;
use crate::host;

use super::LAUNCH_ARGUMENT;
use super::error::MachineError;
use super::launch::NOT_FOUND;
use super::wire::Message;

/// The program.
const QEMU: &str = "qemu-system-x86_64";
/// Where it is looked for: what the user's environment says does not count.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// How often Ctrl-C is looked at.
const TICK: Duration = Duration::from_millis(100);
/// Longest message, in bytes.
const LONGEST: u64 = 1 << 20;
/// How many messages may wait to be looked at.
const WAITING: usize = 32;
/// How much is kept of the last words of QEMU and of the machine's console, in bytes.
const SAID: usize = 256 << 10;
/// How much of them an error shows.
const SHOWN: usize = 300;

/// A running machine; ended when dropped, or when this process is gone.
pub(super) struct Qemu {
    child: Child,
    lines: Receiver<Vec<u8>>,
    said: Said,
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
        let mut command = Command::new(program);
        command.arg(LAUNCH_ARGUMENT).arg(std::process::id().to_string()).arg(QEMU).args(arguments);
        command.env_clear().env("PATH", PATH);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |source| MachineError::Start { program: QEMU, source };
        let mut child = command.spawn().map_err(failed)?;
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
        Ok(Self { child, lines, said })
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
        let _ = self.child.kill();
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

    /// Why the machine ended without an answer.
    pub(super) fn ended_early(mut self) -> MachineError {
        let status = self.child.wait().ok().and_then(|status| status.code());
        if status == Some(i32::from(NOT_FOUND)) {
            return MachineError::NoQemu(QEMU);
        }
        MachineError::Ended { said: self.said.end() }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Both fail only if the process has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
