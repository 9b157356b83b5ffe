//! Machines that are kept for further builds.
//!
//! A machine has a process of its own that keeps it (`keeper`), and a socket in the store by which it is found. Whoever
//! builds in it writes recipe and lock anew on its disk, says so, and reads the outputs from theirs: the descriptors of both
//! come through the socket, for the files have no name any more. A build in it finds the stages of the builds before it.
//!
//! It builds one branch of one recipe. What a build leaves behind in a machine can only be trusted as far as that build:
//! the next one of the same branch has the same authors, one of another branch may not.

mod keeper;
mod talk;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use selfsame_image::Digest;
use selfsame_store::Store;
use serde::{Deserialize, Serialize};

use super::KEEPER_ARGUMENT;
use super::machine::Accel;

pub use keeper::keeper_main;
pub(super) use talk::{Frames, Kind};

/// The directory of the store with the sockets.
const PLACE: &str = "machines";
/// How long a keeper may take to say what it keeps.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
/// How many letters a name has.
const NAME: usize = 8;

/// For which builds a machine is kept.
#[derive(Clone, Copy, Debug)]
pub struct Keep<'a> {
    /// The directory of the recipe, as the system calls it.
    pub recipe: &'a Path,
    /// The branch that is checked out there.
    pub branch: &'a str,
}

impl Keep<'_> {
    /// The name of a machine for these builds: there is one at a time.
    fn name(&self) -> String {
        use std::os::unix::ffi::OsStrExt as _;
        Digest::of(self.recipe.as_os_str().as_bytes()).to_string()[..NAME].to_owned()
    }
}

/// What is known of a machine that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its name.
    pub name: String,
    /// What its first build called it.
    pub builder: String,
    /// The directory of the recipe.
    pub recipe: PathBuf,
    /// The branch it builds.
    pub branch: String,
    /// What runs its processors.
    pub accel: String,
    /// When it was started, in seconds since 1970.
    pub since: u64,
    /// How many builds ended in it, well or not.
    pub builds: u32,
    /// Whether one is running.
    pub busy: bool,
    /// The process that keeps it.
    pub pid: u32,
    /// Digest of kernel, initramfs and QEMU's settings.
    pub(super) setup: String,
    /// How many bytes its outputs may take.
    pub(super) room: u64,
    /// How long the disk of the task is.
    pub(super) task: u64,
    /// Where its disk of packages is kept.
    pub(super) disk: PathBuf,
    /// The packages on it.
    pub(super) packages: Vec<String>,
}

/// Why a machine that is kept cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// It is for another branch.
    #[error("the machine that is kept for this recipe builds {has}, and this is {wanted}")]
    Branch {
        /// The name of the machine.
        name: String,
        /// Its branch.
        has: String,
        /// That of the build.
        wanted: String,
    },
    /// It is another machine.
    #[error(
        "the machine that is kept for this recipe has another program, kernel, memory or number of processors"
    )]
    Setup {
        /// Its name.
        name: String,
    },
    /// It is building.
    #[error("the machine that is kept for this recipe is building")]
    Busy {
        /// Its name.
        name: String,
    },
    /// The new recipe and packages do not fit on its disk.
    #[error("recipe and new packages take {size} bytes, and the disk of the machine that is kept has {room}")]
    Full {
        /// The name of the machine.
        name: String,
        /// What they take.
        size: u64,
        /// What there is.
        room: u64,
    },
    /// Talking to the one that keeps it failed.
    #[error("cannot talk to the process that keeps a machine")]
    Talk(#[from] io::Error),
}

/// A machine that is kept, and a line to who keeps it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) state: State,
    /// The disk of the task, that of the outputs.
    pub(super) disks: [File; 2],
    frames: Frames,
    socket: UnixStream,
}

impl Kept {
    /// Refuses builds that this machine is not for, and keeps others from building in it. `setup` is what it would be if it were
    /// started now.
    pub(super) fn claim(&mut self, keep: &Keep<'_>, setup: Digest) -> Result<(), KeepError> {
        let name = self.state.name.clone();
        if self.state.branch != keep.branch {
            let (has, wanted) = (self.state.branch.clone(), keep.branch.to_owned());
            return Err(KeepError::Branch { name, has, wanted });
        }
        if self.state.setup != setup.to_string() {
            return Err(KeepError::Setup { name });
        }
        (&self.socket).write_all(&[talk::CLAIM])?;
        let Some((Kind::State, body)) = self.frames.next()? else { return Err(KeepError::Busy { name }) };
        self.frames.fds.clear();
        self.state = serde_json::from_slice(&body).map_err(io::Error::from)?;
        Ok(())
    }

    /// Has built what is on the disks. What follows is what the machine says; the socket is to be closed when its outputs have
    /// been read.
    pub(super) fn begin(self) -> Result<(Frames, UnixStream), KeepError> {
        (&self.socket).write_all(&[talk::BUILD])?;
        Ok((self.frames, self.socket))
    }
}

/// Ends the machine on the other side of `socket`.
pub(super) fn stop_by(socket: &UnixStream) {
    // Then it has ended already.
    let _ = (&*socket).write_all(&[talk::STOP]);
}

/// The directory with the sockets, and how to name what is in it: the name of a socket has at most 107 bytes, unix(7).
struct Place {
    path: PathBuf,
    fd: OwnedFd,
}

impl Place {
    /// The directory, with nobody else between looking for a name and taking or removing it while the file lives.
    fn alone(&self) -> io::Result<File> {
        let lock = File::open(&self.path)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(lock)
    }

    fn of(store: &Store) -> io::Result<Self> {
        let path = store.root().join("work").join(PLACE);
        fs::create_dir_all(&path)?;
        // Who may talk to a keeper may have anything built.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        let fd = rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { path, fd })
    }

    fn short(&self, name: &str) -> PathBuf {
        use std::os::fd::AsRawFd as _;
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd())).join(name)
    }

    /// The machine of this name. What has no keeper any more is removed.
    fn connect(&self, name: &str) -> Result<Option<Kept>, KeepError> {
        let socket = match UnixStream::connect(self.short(name)) {
            Ok(socket) => socket,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // By now another one may have the name.
                let _alone = self.alone()?;
                let Ok(socket) = UnixStream::connect(self.short(name)) else {
                    return match fs::remove_file(self.path.join(name)) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
                        _ => Ok(None),
                    };
                };
                socket
            }
            Err(error) => return Err(error.into()),
        };
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut frames = Frames::new(socket.try_clone()?);
        // It ended just now.
        let Some((Kind::State, body)) = frames.next()? else { return Ok(None) };
        // A build takes as long as it takes.
        socket.set_read_timeout(None)?;
        let state = serde_json::from_slice(&body).map_err(io::Error::from)?;
        let disks = <[OwnedFd; 2]>::try_from(std::mem::take(&mut frames.fds));
        let disks = disks.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?.map(File::from);
        Ok(Some(Kept { state, disks, frames, socket }))
    }

    /// A socket that listens, which has this name from now on; `None` if another one has it.
    fn listen(&self, name: &str) -> io::Result<Option<UnixListener>> {
        let own = format!(".{name}.{}", std::process::id());
        let _ = fs::remove_file(self.path.join(&own));
        let listener = UnixListener::bind(self.short(&own))?;
        // Nobody finds it before it listens, so that one that does not is one whose keeper is gone.
        let _alone = self.alone()?;
        let linked = fs::hard_link(self.path.join(&own), self.path.join(name));
        fs::remove_file(self.path.join(&own))?;
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            linked => linked.map(|()| Some(listener)),
        }
    }
}

/// The machine that is kept for these builds.
pub(super) fn find(store: &Store, keep: &Keep<'_>) -> Result<Option<Kept>, KeepError> {
    Place::of(store)?.connect(&keep.name())
}

/// What a machine is started with that is to be kept.
pub(super) struct New<'a> {
    pub(super) arguments: Vec<std::ffi::OsString>,
    pub(super) accel: Accel,
    pub(super) builder: String,
    pub(super) setup: Digest,
    pub(super) room: u64,
    /// Where its disk of packages is kept, and what is on it.
    pub(super) packages: (PathBuf, Vec<String>),
    /// The disk of the task, that of the outputs.
    pub(super) disks: [&'a File; 2],
}

/// Starts a machine with a keeper. `program` is this program, which becomes it.
pub(super) fn start(
    store: &Store,
    keep: &Keep<'_>,
    program: &Path,
    new: New<'_>,
) -> Result<(Frames, UnixStream), KeepError> {
    let (place, name) = (Place::of(store)?, keep.name());
    let Some(listener) = place.listen(&name)? else { return Err(KeepError::Busy { name }) };
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(program);
    command.arg(KEEPER_ARGUMENT).env_clear().current_dir("/");
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let socket = std::path::absolute(place.path.join(&name))?;
    let begun = command.spawn().and_then(|child| {
        let state = State {
            name: name.clone(),
            builder: new.builder,
            recipe: keep.recipe.to_owned(),
            branch: keep.branch.to_owned(),
            accel: new.accel.name().to_owned(),
            since: since.map_or(0, |since| since.as_secs()),
            builds: 0,
            busy: true,
            pid: child.id(),
            setup: new.setup.to_string(),
            room: new.room,
            task: new.disks[0].metadata()?.len(),
            disk: new.packages.0,
            packages: new.packages.1,
        };
        let start = keeper::Start { arguments: new.arguments, state, socket: socket.clone() };
        let fds = [listener.as_fd(), new.disks[0].as_fd(), new.disks[1].as_fd()];
        talk::send(&ours, Kind::State, &serde_json::to_vec(&start)?, &fds)
    });
    if let Err(error) = begun {
        let _ = fs::remove_file(&socket);
        return Err(error.into());
    }
    Ok((Frames::new(ours.try_clone()?), ours))
}

/// The machines that are kept with this store, by name.
///
/// # Errors
/// If the store cannot be read, or a keeper cannot be talked to.
pub fn list(store: &Store) -> Result<Vec<State>, KeepError> {
    let place = Place::of(store)?;
    let mut names = Vec::new();
    for entry in fs::read_dir(&place.path)? {
        names.extend(entry?.file_name().into_string().ok().filter(|name| name.len() == NAME));
    }
    names.sort_unstable();
    let mut found = Vec::new();
    for name in names {
        found.extend(place.connect(&name)?.map(|kept| kept.state));
    }
    Ok(found)
}

/// Ends the machine of this name, and waits until it is gone. False if there is none.
///
/// # Errors
/// If its keeper cannot be talked to.
pub fn stop(store: &Store, name: &str) -> Result<bool, KeepError> {
    if name.len() != NAME || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(false);
    }
    let Some(mut kept) = Place::of(store)?.connect(name)? else { return Ok(false) };
    stop_by(&kept.socket);
    while let Ok(Some(_)) = kept.frames.next() {}
    Ok(true)
}
