//! The process that has a machine when the command that started it is gone.

use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{ChildStdin, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::qemu::{LONGEST, command};
use super::super::wire::{AGAIN, Message};
use super::State;
use super::talk::{self, BUILD, CLAIM, Frames, Kind, STOP};
use crate::host::sys;

/// What a keeper begins with, beside descriptors: the socket where it listens, the disk of the task, that of the outputs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    /// QEMU's arguments.
    pub(super) arguments: Vec<std::ffi::OsString>,
    /// What others are told.
    pub(super) state: State,
    /// The name of the socket, removed at the end.
    pub(super) socket: PathBuf,
}

/// What a program does when its first argument is [`KEEPER_ARGUMENT`](crate::vm::KEEPER_ARGUMENT): it starts a machine,
/// passes on what is said between it and whoever builds in it, and ends with it.
pub fn keeper_main() -> ! {
    // Ctrl-C and the end of a session are for whoever sits there.
    let _ = rustix::process::setsid();
    let kept = sys::close_inherited(3).and_then(|()| keep());
    std::process::exit(i32::from(kept.is_err()))
}

/// What the threads of a keeper share.
struct Keeper {
    state: Mutex<State>,
    /// Who builds.
    client: Mutex<Option<UnixStream>>,
    /// Whether the machine has something to build and has not answered.
    building: AtomicBool,
    /// The line into the machine.
    line: Mutex<ChildStdin>,
    disks: [OwnedFd; 2],
    /// QEMU.
    pid: rustix::process::Pid,
}

fn locked<T>(one: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    one.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep() -> io::Result<()> {
    let first = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut frames = Frames::new(first.try_clone()?);
    let Some((Kind::State, body)) = frames.next()? else { return Err(io::ErrorKind::InvalidData.into()) };
    let start: Start = serde_json::from_slice(&body)?;
    let [listener, disks @ ..] = <[OwnedFd; 3]>::try_from(std::mem::take(&mut frames.fds))
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // By this thread, which lasts as long as the process: QEMU is killed when the one that started it is gone.
    let mut command = command(std::path::Path::new("/proc/self/exe"), &start.arguments);
    let mut qemu = command.stdin(Stdio::piped()).spawn()?;
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    let (line, out, err) = (qemu.stdin.take(), qemu.stdout.take(), qemu.stderr.take());
    let keeper = Arc::new(Keeper {
        state: Mutex::new(start.state),
        client: Mutex::new(first.try_clone().ok()),
        building: AtomicBool::new(true),
        line: Mutex::new(line.ok_or_else(gone)?),
        disks,
        pid: rustix::process::Pid::from_child(&qemu),
    });
    let (out, err) = (out.ok_or_else(gone)?, err.ok_or_else(gone)?);
    let console = Arc::clone(&keeper);
    let console = std::thread::spawn(move || console.pass_console(err));
    // None of them is joined: they end with the process.
    let clients = Arc::clone(&keeper);
    std::thread::spawn(move || clients.serve(&first));
    let clients = Arc::clone(&keeper);
    std::thread::spawn(move || {
        for socket in UnixListener::from(listener).incoming() {
            match socket {
                Ok(socket) => {
                    let clients = Arc::clone(&clients);
                    std::thread::spawn(move || clients.greet(&socket));
                }
                // Too many at a time, as a rule.
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    });
    keeper.pass_lines(out);
    let _ = console.join();
    let status = qemu.wait().ok().and_then(|status| status.code());
    // Before anybody is told: whoever hears of the end may start the next one under this name.
    let removed = std::fs::remove_file(&start.socket);
    keeper.tell(Kind::Ended, status.map(|code| code.to_string()).unwrap_or_default().as_bytes());
    removed
}

impl Keeper {
    /// Sends something to who builds, if anybody does. Whether that one is still there is seen elsewhere.
    fn tell(&self, kind: Kind, body: &[u8]) {
        let client = locked(&self.client).as_ref().and_then(|client| client.try_clone().ok());
        if let Some(client) = client {
            let _ = talk::send(&client, kind, body, &[]);
        }
    }

    /// Passes on what the machine says, until it ends.
    fn pass_lines(&self, out: impl Read) {
        let mut out = BufReader::new(out);
        loop {
            let mut line = Vec::new();
            if !matches!((&mut out).take(LONGEST).read_until(b'\n', &mut line), Ok(1..)) {
                return;
            }
            if matches!(serde_json::from_slice(&line), Ok(Message::Answer(_))) {
                self.building.store(false, Ordering::SeqCst);
                locked(&self.state).builds += 1;
            }
            self.tell(Kind::Line, &line);
        }
    }

    fn pass_console(&self, mut err: impl Read) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = err.read(&mut buffer) {
            self.tell(Kind::Console, &buffer[..length]);
        }
    }

    /// Says what this machine is.
    fn introduce(&self, socket: &UnixStream) -> io::Result<()> {
        let state = serde_json::to_vec(&*locked(&self.state))?;
        talk::send(socket, Kind::State, &state, &self.disks.each_ref().map(|disk| disk.as_fd()))
    }

    /// Says what this machine is, and does what is asked then.
    fn greet(&self, socket: &UnixStream) {
        let mut letter = [0];
        if self.introduce(socket).is_err() || (&*socket).read(&mut letter).is_err() {
            return;
        }
        match letter[0] {
            CLAIM if self.claim(socket) => match self.introduce(socket) {
                Ok(()) => self.serve(socket),
                Err(_) => self.free(),
            },
            STOP => self.stop(),
            // Somebody else was faster: the closed socket says so.
            _ => {}
        }
    }

    /// Makes `socket` the one who builds; false if there is one already.
    fn claim(&self, socket: &UnixStream) -> bool {
        let mut state = locked(&self.state);
        if state.busy {
            return false;
        }
        let Ok(client) = socket.try_clone() else { return false };
        state.busy = true;
        *locked(&self.client) = Some(client);
        true
    }

    /// Lets others build.
    fn free(&self) {
        *locked(&self.client) = None;
        locked(&self.state).busy = false;
    }

    /// Does what the one who builds says, until that one is gone. If the build has not ended then nobody wants its end, and with
    /// half of it in the machine nobody wants the machine. The outputs are read by then.
    fn serve(&self, socket: &UnixStream) {
        let mut letter = [0];
        while let Ok(1..) = (&*socket).read(&mut letter) {
            match letter[0] {
                BUILD => {
                    self.building.store(true, Ordering::SeqCst);
                    // The machine waits for a line, and reads the disks anew.
                    if writeln!(locked(&self.line), "{AGAIN}").is_err() {
                        return self.end();
                    }
                }
                _ => return self.end(),
            }
        }
        if self.building.load(Ordering::SeqCst) {
            self.end();
        } else {
            self.free();
        }
    }

    /// Ends the machine for somebody, whose socket stays open until this process is gone, and the name with it: that is what is
    /// waited for.
    fn stop(&self) -> ! {
        self.end();
        // Who builds may not read what is said: nobody is to wait for that.
        if let Some(client) = &*locked(&self.client) {
            let _ = client.shutdown(std::net::Shutdown::Both);
        }
        loop {
            std::thread::park();
        }
    }

    fn end(&self) {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(self.pid, rustix::process::Signal::KILL);
    }
}
