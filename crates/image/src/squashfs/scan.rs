//! Every name of an image, without recursion and without giving up at the first error.

use std::collections::BTreeSet;

use super::error::{Corruption, Error};
use super::layout::MAX_DEPTH;
use super::read::{Body, DirBody, Inner, Inode, Listed};
use crate::io::ReadAt;

/// A name, or the root.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// From the root on, without leading slash.
    pub(super) path: &'a [u8],
    /// Reference of the inode.
    pub(super) reference: u64,
    /// `None` for the root.
    pub(super) entry: Option<&'a Listed>,
    /// Number of the directory that holds the name.
    pub(super) parent: Option<u32>,
    pub(super) inode: &'a Inode,
}

struct Pending {
    path: Vec<u8>,
    body: DirBody,
    number: u32,
    depth: usize,
}

/// Calls `visit` for every name that can be reached, and `failed` for what cannot be followed: that directory or
/// inode is skipped. A failure to read the source ends the scan.
pub(super) fn scan<R: ReadAt>(
    inner: &Inner<R>,
    mut visit: impl FnMut(Found<'_>) -> Result<(), Error>,
    mut failed: impl FnMut(Error) -> Result<(), Error>,
) -> Result<(), Error> {
    let reference = inner.head.root.get();
    let root = match inner.inode(reference) {
        Ok(root) => root,
        Err(error) => return failed(error),
    };
    visit(Found { path: b"", reference, entry: None, parent: None, inode: &root })?;
    let Body::Dir(body) = root.body else {
        return failed(Error::Corrupt { at: root.at, kind: Corruption::Root { found: root.kind } });
    };
    let mut seen = BTreeSet::from([reference]);
    let mut pending = vec![Pending { path: Vec::new(), body, number: root.number, depth: 0 }];
    while let Some(dir) = pending.pop() {
        let mut listing = inner.listing(&dir.body);
        loop {
            let entry = match listing.next() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(error) => {
                    failed(error)?;
                    break;
                }
            };
            let slash = if dir.path.is_empty() { &b""[..] } else { b"/" };
            let path = [&dir.path, slash, entry.name.as_bytes()].concat();
            let (reference, parent) = (entry.inode, Some(dir.number));
            let inode = match inner.inode(reference) {
                Ok(inode) => inode,
                Err(error) => {
                    failed(error)?;
                    continue;
                }
            };
            visit(Found { path: &path, reference, entry: Some(&entry), parent, inode: &inode })?;
            let (at, number) = (inode.at, inode.number);
            let Body::Dir(body) = inode.body else { continue };
            if !seen.insert(reference) {
                failed(Error::Corrupt { at, kind: Corruption::DirectoryTwice { number } })?;
            } else if dir.depth == MAX_DEPTH {
                failed(Error::Unsupported { at, feature: "directories nested more than 512 deep" })?;
            } else {
                pending.push(Pending { path, body, number, depth: dir.depth + 1 });
            }
        }
    }
    Ok(())
}
