//! A job that talks to the user: it gets a terminal of its own, and bytes are passed between that and the user's.
//!
//! The user's terminal itself stays outside: whoever has one can type into it (`TIOCSTI`) for whoever reads it next.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::{Exit, Job, Sandbox, SandboxError};

/// How often the size of the user's window is looked at.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

/// The user's terminal.
#[derive(Clone, Copy, Debug)]
pub struct Terminal<'a> {
    /// Where keys come from.
    pub input: BorrowedFd<'a>,
    /// Where the screen is.
    pub output: BorrowedFd<'a>,
}

impl Sandbox {
    /// As [`Sandbox::run`], but the job's standard streams are a terminal whose other side is `user`. There is no limit on
    /// output, and Ctrl-C is the job's.
    pub fn run_on(&self, job: &Job, user: Terminal<'_>) -> Result<Exit, SandboxError> {
        let (ours, theirs) = pair().map_err(SandboxError::Talk)?;
        let (stop, stopped) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|error| SandboxError::Talk(error.into()))?;
        let raw = Raw::set(user.input).map_err(SandboxError::Talk)?;
        let exit = std::thread::scope(|scope| {
            scope.spawn(|| pass(user, &ours, &stop));
            let exit = self.start(job, Some(theirs), &mut |_, _| {});
            // What the job printed last is passed on before the other side is closed.
            drop(stopped);
            exit
        });
        drop(raw);
        exit
    }
}

/// A new terminal: the side of who looks at it, and that of who works in it.
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags)?;
    unlockpt(&ours)?;
    // By descriptor: the name would be that of another terminal in another mount name space.
    let theirs = ioctl_tiocgptpeer(&ours, flags)?;
    Ok((ours, theirs))
}

/// Passes bytes both ways until the job's side is closed, or `stop` is and nothing is left.
fn pass(user: Terminal<'_>, ours: &OwnedFd, stop: &OwnedFd) {
    let mut keys = true;
    loop {
        if let (Ok(size), Ok(old)) = (tcgetwinsize(user.output), tcgetwinsize(ours))
            && (size.ws_row, size.ws_col) != (old.ws_row, old.ws_col)
        {
            let _ = tcsetwinsize(ours, size);
        }
        let mut fds = [
            PollFd::new(ours, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
            PollFd::from_borrowed_fd(user.input, PollFlags::IN),
        ];
        let watched = if keys { &mut fds[..] } else { &mut fds[..2] };
        match poll(watched, Some(&TICK)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        let [screen, stopped, typed] = fds.map(|fd| fd.revents());
        if !screen.is_empty() {
            // An error says that the last one to hold the other side has closed it.
            if !copy(ours.as_fd(), user.output) {
                return;
            }
        } else if !stopped.is_empty() {
            return;
        }
        if keys && !typed.is_empty() {
            keys = copy(user.input, ours.as_fd());
        }
    }
}

/// Passes on what is there to read; false if nothing will come any more.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut chunk = [0; 4096];
    let length = match rustix::io::read(from, &mut chunk) {
        Ok(0) => return false,
        Ok(length) => length,
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return true,
        Err(_) => return false,
    };
    let mut rest = &chunk[..length];
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => return false,
        }
    }
    true
}

/// The user's terminal while each key is passed on as it is. Dropped, it is as it was.
struct Raw<'a> {
    of: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Raw<'a> {
    fn set(of: BorrowedFd<'a>) -> io::Result<Self> {
        let before = tcgetattr(of)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(of, OptionalActions::Drain, &raw)?;
        Ok(Self { of, before })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // Nobody is left to tell if the terminal is gone.
        let _ = tcsetattr(self.of, OptionalActions::Drain, &self.before);
    }
}
