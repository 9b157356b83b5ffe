//! What the processes of a sandbox say to each other over one stream socket: a length in 4 bytes, then JSON.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::World;

/// The largest message taken from a child. The largest given to one is not limited: it is ours.
const LARGEST: usize = 1 << 20;

/// All the child needs to know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    pub root: SpecRoot,
    pub user_namespace: bool,
    pub argv: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    pub cwd: OsString,
    pub stdin: Vec<u8>,
    /// Standard output is a terminal that the job shall have, for its input as well.
    pub terminal: bool,
    /// Source and target.
    pub binds: Vec<(OsString, OsString)>,
    pub processes: u32,
    pub address_space: Option<u64>,
    pub file_size: Option<u64>,
    pub scratch: u64,
    pub world: World,
    /// Files of `/proc` that say something else: name and content.
    pub files: Vec<(String, String)>,
    /// The process that started the outer child, to notice its death before the kernel was asked to tell.
    pub parent: i32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum SpecRoot {
    Dir(OsString),
    Overlay { lowers: Vec<OsString>, upper: OsString, work: OsString },
}

/// What a child says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// The outer child has a new user namespace and waits for its ids.
    Unshared,
    /// Process 1 exists and has this number outside.
    Init(i32),
    /// With a descriptor: where the filter's notifications arrive.
    Listener,
    /// Setting up failed. Nothing was run.
    Failed { step: Step, errno: i32 },
    /// The job ended by itself.
    Ended { code: Option<u8>, signal: Option<u8>, leftovers: Vec<String> },
}

/// A step of setting up a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Step {
    /// Leaving inherited descriptors and following the parent's life.
    Start,
    /// Understanding the job.
    Read,
    /// Opening a file or directory of this machine.
    Open(PathBuf),
    /// Merging layers.
    Overlay(PathBuf),
    /// Leaving the name spaces.
    Unshare,
    /// Becoming user 0 of the new user namespace.
    Become,
    /// Starting process 1 or the job's process.
    Fork,
    /// Naming the host.
    HostName,
    /// Starting the loopback device.
    Loopback,
    /// Mounting something at this path.
    Mount(PathBuf),
    /// Making a directory, file or link at this path.
    Make(PathBuf),
    /// Going into the new root directory.
    Pivot,
    /// Giving the job its standard input.
    Input,
    /// Limiting resources.
    Limit,
    /// Giving up capabilities.
    Capabilities,
    /// Installing the system call filter.
    Filter,
    /// Executing this program.
    Execute(PathBuf),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::Read => f.write_str("read the job"),
            Self::Open(path) => write!(f, "open {}", path.display()),
            Self::Overlay(path) => write!(f, "merge layers at {}", path.display()),
            Self::Unshare => f.write_str("leave the name spaces"),
            Self::Become => f.write_str("become user 0"),
            Self::Fork => f.write_str("start a process"),
            Self::HostName => f.write_str("set the host name"),
            Self::Loopback => f.write_str("start the loopback device"),
            Self::Mount(path) => write!(f, "mount {}", path.display()),
            Self::Make(path) => write!(f, "make {}", path.display()),
            Self::Pivot => f.write_str("enter the root directory"),
            Self::Input => f.write_str("give input"),
            Self::Limit => f.write_str("limit resources"),
            Self::Capabilities => f.write_str("give up capabilities"),
            Self::Filter => f.write_str("install the system call filter"),
            Self::Execute(path) => write!(f, "execute {}", path.display()),
        }
    }
}

/// A step that failed, on its way to the parent.
#[derive(Debug)]
pub(super) struct Failure {
    pub step: Step,
    pub errno: i32,
}

/// Names the step in which an error happened.
pub(super) trait During<T> {
    fn during(self, step: Step) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: Step) -> Result<T, Failure> {
        self.map_err(|error| {
            let errno = error.into().raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error());
            Failure { step, errno }
        })
    }
}

fn framed(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok([&length.to_le_bytes()[..], &body].concat())
}

/// Writes one message.
pub(super) fn write(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&framed(message)?)
}

/// Reads one message of any length, for the side that trusts the other.
pub(super) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut body = Vec::new();
    from.take(u32::from_le_bytes(length).into()).read_to_end(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

/// Sends one message from a child, with a descriptor.
pub(super) fn send(socket: impl AsFd, message: &Message, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let bytes = framed(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = fd.into_iter().collect();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let mut sent = sendmsg(&socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    while sent < bytes.len() {
        sent += rustix::net::send(&socket, &bytes[sent..], SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// Collects messages from a socket that may be read without blocking.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    /// The last descriptor that came.
    pub fd: Option<OwnedFd>,
}

impl Inbox {
    /// Takes in what is there. False at the end of the stream.
    pub(super) fn fill(&mut self, socket: impl AsFd) -> io::Result<bool> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut chunk = [0; 4096];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let got = match recvmsg(socket, &mut [IoSliceMut::new(&mut chunk)], &mut control, flags) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(true),
            Err(rustix::io::Errno::CONNRESET) => return Ok(false),
            other => other?,
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fd = fds.last().or(self.fd.take());
            }
        }
        self.bytes.extend_from_slice(&chunk[..got.bytes]);
        Ok(got.bytes > 0)
    }

    /// The next whole message.
    pub(super) fn next(&mut self) -> io::Result<Option<Message>> {
        let Some((length, rest)) = self.bytes.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > LARGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(body)?;
        self.bytes.drain(..4 + length);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_pieces_with_their_descriptor() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut inbox = Inbox::default();
        assert!(inbox.fill(&ours).unwrap() && inbox.next().unwrap().is_none());
        send(&theirs, &Message::Init(7), None).unwrap();
        let sent = std::fs::File::open("/dev/null").unwrap();
        send(&theirs, &Message::Listener, Some(sent.as_fd())).unwrap();
        drop(theirs);
        while inbox.fill(&ours).unwrap() {}
        assert!(matches!(inbox.next(), Ok(Some(Message::Init(7)))));
        assert!(matches!(inbox.next(), Ok(Some(Message::Listener))));
        assert!(inbox.next().unwrap().is_none() && inbox.fd.is_some());
    }

    #[test]
    fn a_message_too_long_is_refused_before_it_is_kept() {
        let mut inbox = Inbox { bytes: vec![0xff, 0xff, 0xff, 0x7f], fd: None };
        assert_eq!(inbox.next().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
