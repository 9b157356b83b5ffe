//! Bodies of answers: a few bytes, or a part of a file that is read while it is sent.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::task::JoinHandle;

/// How much of a file is read at a time, in bytes.
const PIECE: u64 = 128 << 10;

/// What is sent.
pub(crate) enum Content {
    /// This.
    Bytes(Option<Bytes>),
    /// A part of a file.
    File(FilePart),
}

impl Content {
    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        Self::Bytes(Some(text.into()))
    }

    pub(crate) fn none() -> Self {
        Self::Bytes(None)
    }

    pub(crate) fn file(file: File, range: Range<u64>) -> Self {
        Self::File(FilePart { file: Arc::new(file), left: range, reading: None })
    }
}

/// Bytes of a file that are still to be sent.
pub(crate) struct FilePart {
    file: Arc<File>,
    left: Range<u64>,
    /// The next piece, if it had to be waited for.
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl FilePart {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let length = usize::try_from((self.left.end - self.left.start).min(PIECE)).unwrap_or(usize::MAX);
        if length == 0 {
            return Poll::Ready(None);
        }
        if self.reading.is_none() {
            match read_now(&self.file, self.left.start, length) {
                Ok(Some(bytes)) => return self.sent(bytes),
                Ok(None) => {
                    let (file, at) = (Arc::clone(&self.file), self.left.start);
                    self.reading = Some(tokio::task::spawn_blocking(move || read(&file, at, length)));
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let read = ready!(Pin::new(reading).poll(cx)).unwrap_or_else(|error| Err(io::Error::other(error)));
        self.reading = None;
        match read {
            Ok(bytes) => self.sent(bytes),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn sent(&mut self, bytes: Vec<u8>) -> Poll<Option<io::Result<Bytes>>> {
        if bytes.is_empty() {
            // The length was promised: the connection breaks, and the client knows.
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        self.left.start += bytes.len() as u64;
        Poll::Ready(Some(Ok(bytes.into())))
    }
}

/// Bytes that need not be waited for, or `None` if they must be.
fn read_now(file: &File, at: u64, length: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; length];
    match rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut bytes)], at, ReadWriteFlags::NOWAIT) {
        Ok(read) => {
            bytes.truncate(read);
            Ok(Some(bytes))
        }
        // Not in memory, or a file system that cannot say so.
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR | Errno::NOSYS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read(file: &File, at: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    loop {
        match file.read_at(&mut bytes, at) {
            Ok(read) => {
                bytes.truncate(read);
                return Ok(bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut *self {
            Self::Bytes(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::File(part) => part.poll(cx).map(|read| read.map(|bytes| bytes.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_none(),
            Self::File(part) => part.left.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Bytes(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::File(part) => part.left.end - part.left.start,
        })
    }
}
