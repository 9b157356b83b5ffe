//! What a keeper and its clients say to each other over one stream socket.
//!
//! From the keeper: a letter, a length in 4 bytes, and so many bytes. To the keeper: single letters.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// The most that one frame has, in bytes: more than the longest line of a machine, and the state with its packages.
const LONGEST: usize = 16 << 20;
/// How many descriptors a frame can bring.
const DESCRIPTORS: usize = 3;

/// To the keeper: nobody else shall build until this socket is closed. It answers with its state.
pub(super) const CLAIM: u8 = b'c';
/// To the keeper, behind that: what is on the disks shall be built.
pub(super) const BUILD: u8 = b'b';
/// To the keeper: the machine shall end.
pub(super) const STOP: u8 = b's';

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::vm) enum Kind {
    /// JSON about the machine, with descriptors.
    State,
    /// A line that the machine said.
    Line,
    /// Bytes of QEMU's own output and the machine's console.
    Console,
    /// QEMU ended; its exit status in decimal, or nothing.
    Ended,
}

const KINDS: [(Kind, u8); 4] =
    [(Kind::State, b'S'), (Kind::Line, b'L'), (Kind::Console, b'C'), (Kind::Ended, b'E')];

/// Sends one frame.
pub(super) fn send(socket: &UnixStream, kind: Kind, body: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let letter = KINDS.iter().find(|(one, _)| *one == kind).map_or(0, |(_, letter)| *letter);
    let length = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let bytes = [&[letter][..], &length.to_le_bytes(), body].concat();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut sent = sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    while sent < bytes.len() {
        match rustix::net::send(socket, &bytes[sent..], SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            more => sent += more?,
        }
    }
    Ok(())
}

/// Reads frames as they come.
#[derive(Debug)]
pub(in crate::vm) struct Frames {
    socket: UnixStream,
    bytes: Vec<u8>,
    /// The descriptors that came until now.
    pub(super) fds: Vec<OwnedFd>,
}

impl Frames {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self { socket, bytes: Vec::new(), fds: Vec::new() }
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// If the socket fails, or what comes is no frame.
    pub(in crate::vm) fn next(&mut self) -> io::Result<Option<(Kind, Vec<u8>)>> {
        loop {
            if let Some((head, rest)) = self.bytes.split_first_chunk::<5>() {
                let [letter, length @ ..] = *head;
                let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
                let kind = KINDS.iter().find(|(_, one)| *one == letter).map(|(kind, _)| *kind);
                let Some(kind) = kind.filter(|_| length <= LONGEST) else {
                    return Err(io::ErrorKind::InvalidData.into());
                };
                if let Some(body) = rest.get(..length) {
                    let body = body.to_vec();
                    self.bytes.drain(..head.len() + length);
                    return Ok(Some((kind, body)));
                }
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Waits for more bytes. False at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut chunk = [0; 1 << 14];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let got = match recvmsg(self.socket.as_fd(), &mut [IoSliceMut::new(&mut chunk)], &mut control, flags)
        {
            Err(rustix::io::Errno::INTR) => return Ok(true),
            Err(rustix::io::Errno::CONNRESET) => return Ok(false),
            other => other?,
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        self.bytes.extend_from_slice(&chunk[..got.bytes]);
        Ok(got.bytes > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn frames_arrive_whole_with_their_descriptors() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let long = vec![7; 100_000];
        let sender = std::thread::spawn(move || {
            send(&theirs, Kind::State, b"{}", &[null.as_fd(), null.as_fd()]).unwrap();
            send(&theirs, Kind::Line, &long, &[]).unwrap();
            send(&theirs, Kind::Ended, b"", &[]).unwrap();
        });
        let mut frames = Frames::new(ours);
        assert_eq!(frames.next().unwrap(), Some((Kind::State, b"{}".to_vec())));
        assert_eq!(frames.fds.len(), 2);
        assert_eq!(frames.next().unwrap(), Some((Kind::Line, vec![7; 100_000])));
        assert_eq!(frames.next().unwrap(), Some((Kind::Ended, Vec::new())));
        assert_eq!(frames.next().unwrap(), None);
        sender.join().unwrap();
    }

    #[test]
    fn what_is_no_frame_is_refused_before_it_is_kept() {
        for bytes in [*b"L\xff\xff\xff\xff", *b"x\0\0\0\0"] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(&bytes).unwrap();
            assert_eq!(Frames::new(ours).next().unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
