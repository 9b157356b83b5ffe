//! Where the bytes of files come from while an image is written.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::Content;
use crate::digest::Digest;
use crate::io::ReadAt;

/// Gives the bytes of files by digest. Writers check size and digest only where they hash anyway; a provider must
/// not hand out other bytes than those it was asked for.
pub trait Contents: Sync {
    /// The bytes of `content`; `NotFound` if this provider does not have them.
    fn open(&self, content: &Content) -> io::Result<Arc<dyn ReadAt + Send>>;
}

/// Contents held in memory: configuration files, boot menus, fixtures.
#[derive(Clone, Debug, Default)]
pub struct Memory(BTreeMap<Digest, Arc<Vec<u8>>>);

impl Memory {
    /// Holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps `bytes` and returns their name.
    pub fn add(&mut self, bytes: impl Into<Vec<u8>>) -> Content {
        let bytes = bytes.into();
        let content = Content::of(&bytes);
        self.0.insert(content.digest, Arc::new(bytes));
        content
    }
}

impl Contents for Memory {
    fn open(&self, content: &Content) -> io::Result<Arc<dyn ReadAt + Send>> {
        match self.0.get(&content.digest) {
            Some(bytes) => Ok(Arc::clone(bytes) as Arc<dyn ReadAt + Send>),
            None => Err(io::Error::new(io::ErrorKind::NotFound, format!("no content {}", content.digest))),
        }
    }
}

/// Asks the first provider, and the second for what the first does not have.
#[derive(Clone, Copy, Debug)]
pub struct Layered<A, B>(pub A, pub B);

impl<A: Contents, B: Contents> Contents for Layered<A, B> {
    fn open(&self, content: &Content) -> io::Result<Arc<dyn ReadAt + Send>> {
        match self.0.open(content) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.1.open(content),
            other => other,
        }
    }
}

impl<C: Contents + ?Sized> Contents for &C {
    fn open(&self, content: &Content) -> io::Result<Arc<dyn ReadAt + Send>> {
        (**self).open(content)
    }
}
