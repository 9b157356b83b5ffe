//! Reading a tar archive as a stream.

use std::io::{self, Read};

use super::header::{Header, padding};
use super::pax::Overrides;
use super::sparse::{self, Sparse};
use super::{BLOCK, Corruption, Dialect, Entry, Kind, MAX_LONG, MAX_PAX, TarError, normalise};
use crate::io::{ReadError, wide};

/// Reads entries one after the other from a stream of plain bytes.
///
/// After the last entry the stream is read to its end and has to be zeros there, so the checksums of whatever
/// decompresses it are checked too. Reading bodies is a matter for the caller: [`Reader::body`].
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
    dialect: Dialect,
    /// Offset in the archive of the next byte of `inner`.
    at: u64,
    /// Bytes of the current body that were not read yet.
    left: u64,
    /// Padding after the current body.
    pad: u64,
    entries: u64,
    limit: u64,
    globals: Overrides,
    done: bool,
    /// Where headers are written down as text, if somebody wants to see them.
    pub(super) trace: Option<String>,
}

/// Extension headers that wait for the entry they are about.
#[derive(Default)]
struct Pending {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Overrides>,
}

impl<R: Read> Reader<R> {
    /// Reads `inner`, which starts with the first header.
    pub fn new(inner: R, dialect: Dialect) -> Self {
        Self {
            inner,
            dialect,
            at: 0,
            left: 0,
            pad: 0,
            entries: 0,
            limit: u64::MAX,
            globals: Overrides {
                sparse: (dialect == Dialect::Stored).then(sparse::Keys::default),
                ..Overrides::default()
            },
            done: false,
            trace: None,
        }
    }

    /// Makes a longer archive than `limit` entries an error.
    #[must_use]
    pub fn max_entries(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    /// The next entry; `None` after the last. What was not read of the body before is skipped.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Entry>, TarError> {
        if self.done {
            return Ok(None);
        }
        let mut pending = Pending::default();
        loop {
            self.skip_body()?;
            let at = self.at;
            let Some(block) = self.header_block()? else {
                return Err(corrupt(at, Corruption::NoEnd));
            };
            if block.iter().all(|byte| *byte == 0) {
                if pending.name.is_some() || pending.link.is_some() || pending.pax.is_some() {
                    return Err(corrupt(at, Corruption::Dangling));
                }
                if let Some(trace) = &mut self.trace {
                    super::dump::end(trace, at);
                }
                self.drain()?;
                return Ok(None);
            }
            if let Some(trace) = &mut self.trace {
                super::dump::header(trace, &block, at);
            }
            let header = Header::parse(&block, at)?;
            if self.extension(&header, &mut pending, at)? {
                continue;
            }
            self.entries += 1;
            if self.entries > self.limit {
                return Err(corrupt(at, Corruption::Entries { limit: self.limit }));
            }
            let sparse = if header.flag == b'S' { Some(self.old_sparse(&block, at)?) } else { None };
            let entry = self.entry(header, pending, at).map_err(|kind| corrupt(at, kind))?;
            return Ok(Some(Entry { sparse: sparse.or(entry.sparse), ..entry }));
        }
    }

    /// The bytes of the current entry that were not read yet; empty if it is no file.
    ///
    /// Ends with `UnexpectedEof` if the archive ends before the body does.
    pub fn body(&mut self) -> Body<'_, R> {
        Body(self)
    }

    /// How many bytes of the plain archive were read so far.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Takes an extension header in; false if `header` is an entry of its own.
    fn extension(&mut self, header: &Header, pending: &mut Pending, at: u64) -> Result<bool, TarError> {
        let contradiction = || corrupt(at, Corruption::Contradiction(header.shown()));
        match header.flag {
            b'L' | b'K' => {
                let text = self.extension_body(header.size, MAX_LONG, at)?;
                if let Some(trace) = &mut self.trace {
                    super::dump::long(trace, &text);
                }
                let text = long_text(text).map_err(|kind| corrupt(at, kind))?;
                let slot = if header.flag == b'L' { &mut pending.name } else { &mut pending.link };
                if slot.replace(text).is_some() || pending.pax.is_some() {
                    return Err(contradiction());
                }
            }
            b'x' | b'g' if self.dialect != Dialect::Dpkg => {
                let body = self.extension_body(header.size, MAX_PAX, at)?;
                if let Some(trace) = &mut self.trace {
                    super::dump::records(trace, &body);
                }
                if pending.name.is_some() || pending.link.is_some() || pending.pax.is_some() {
                    return Err(contradiction());
                }
                let mut overrides = self.globals.clone();
                overrides.apply(&body).map_err(|kind| corrupt(at, kind))?;
                if header.flag == b'g' {
                    self.globals = overrides;
                } else {
                    pending.pax = Some(overrides);
                }
            }
            b'S' if self.dialect == Dialect::Stored => return Ok(false),
            _ => match unsupported(header.flag) {
                Some(feature) => return Err(ReadError::Unsupported { at, feature }),
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    /// Makes an entry of its header and what extension headers said, and starts its body.
    fn entry(&mut self, header: Header, pending: Pending, at: u64) -> Result<Entry, Corruption> {
        let over = pending.pax.unwrap_or_else(|| self.globals.clone());
        let (real_name, sparse) = match over.sparse {
            Some(mut keys) => (keys.name.take(), keys.finish()),
            None => (None, None),
        };
        let raw_path = pending.name.or(real_name).or(over.path).unwrap_or(header.name.clone());
        let link = pending.link.or(over.link).unwrap_or(header.link.clone());
        let size = over.size.unwrap_or(header.size);
        // Before ustar a directory was a file whose name ends with a slash; dpkg still sees it so.
        let flag = match header.flag {
            b'0' if raw_path.ends_with(b"/") => b'5',
            b'S' => b'0',
            flag => flag,
        };
        let kind = kind(&header, flag, size, link)?;
        let path = normalise(&raw_path)?;
        if path.is_empty() && kind != Kind::Dir {
            return Err(Corruption::Path { path: raw_path, fault: super::PathFault::Empty });
        }
        if let Kind::File { size } = kind {
            (self.left, self.pad) = (size, padding(size));
        }
        Ok(Entry {
            at,
            path,
            kind,
            mode: mode(&header, flag)?,
            uid: over.uid.unwrap_or(header.uid),
            gid: over.gid.unwrap_or(header.gid),
            user: over.user.unwrap_or(header.user),
            group: over.group.unwrap_or(header.group),
            mtime: over.mtime.unwrap_or(header.mtime),
            xattrs: over.xattrs,
            sparse,
        })
    }

    /// What a header of old GNU form says of a sparse file, with the blocks behind it.
    fn old_sparse(&mut self, block: &[u8; 512], at: u64) -> Result<Sparse, TarError> {
        let mut pieces = Vec::new();
        let wrong = |kind| corrupt(at, kind);
        let size = sparse::old_size(block).map_err(wrong)?;
        let mut more = sparse::old(block, true, &mut pieces).map_err(wrong)?;
        while more {
            if pieces.len() > sparse::MOST_PIECES {
                return Err(corrupt(at, Corruption::Sparse));
            }
            let at = self.at;
            let block = self.header_block()?;
            let block = block.ok_or_else(|| corrupt(at, Corruption::Truncated { missing: BLOCK }))?;
            more = sparse::old(&block, false, &mut pieces).map_err(wrong)?;
        }
        Ok(Sparse { size, pieces: Some(pieces) })
    }

    /// The whole body of an extension header, and past its padding.
    fn extension_body(&mut self, size: u64, limit: u64, at: u64) -> Result<Vec<u8>, TarError> {
        if size > limit {
            return Err(corrupt(at, Corruption::LongHeader { size, limit }));
        }
        (self.left, self.pad) = (size, padding(size));
        let mut body = Vec::new();
        let start = self.at;
        match Body(self).read_to_end(&mut body) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(corrupt(start, Corruption::Truncated { missing: size - wide(body.len()) }));
            }
            Err(source) => {
                return Err(ReadError::Io { at: start, len: size, source });
            }
        }
        Ok(body)
    }

    /// The next block; `None` if the stream ends exactly here.
    fn header_block(&mut self) -> Result<Option<[u8; 512]>, TarError> {
        let mut block = [0; 512];
        let at = self.at;
        let filled = self.fill(&mut block)?;
        match wide(block.len() - filled) {
            0 => Ok(Some(block)),
            _ if filled == 0 => Ok(None),
            missing => Err(corrupt(at, Corruption::Truncated { missing })),
        }
    }

    /// Reads until `buf` is full or the stream ends; gives how much was read.
    fn fill(&mut self, buf: &mut [u8]) -> Result<usize, TarError> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.inner.read(&mut buf[filled..]) {
                Ok(0) => break,
                Ok(count) => {
                    filled += count;
                    self.at += wide(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(ReadError::Io { at: self.at, len: wide(buf.len()), source });
                }
            }
        }
        Ok(filled)
    }

    fn skip_body(&mut self) -> Result<(), TarError> {
        let mut left = self.left.saturating_add(self.pad);
        (self.left, self.pad) = (0, 0);
        let mut buf = [0; 8192];
        while left > 0 {
            let take = usize::try_from(left.min(wide(buf.len()))).expect("at most the buffer");
            let filled = self.fill(&mut buf[..take])?;
            left -= wide(filled);
            if filled < take {
                return Err(corrupt(self.at, Corruption::Truncated { missing: left }));
            }
        }
        Ok(())
    }

    /// Reads to the end of the stream, which has to be zeros.
    fn drain(&mut self) -> Result<(), TarError> {
        self.done = true;
        let mut buf = [0; 8192];
        loop {
            let at = self.at;
            let filled = self.fill(&mut buf)?;
            if let Some(found) = buf[..filled].iter().position(|byte| *byte != 0) {
                return Err(corrupt(at + wide(found), Corruption::AfterEnd));
            }
            if filled == 0 {
                return Ok(());
            }
        }
    }
}

/// The bytes of one file in an archive; made by [`Reader::body`].
#[derive(Debug)]
pub struct Body<'a, R>(&'a mut Reader<R>);

impl<R: Read> Read for Body<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let reader = &mut *self.0;
        let take = buf.len().min(usize::try_from(reader.left).unwrap_or(usize::MAX));
        if take == 0 {
            return Ok(0);
        }
        let count = reader.inner.read(&mut buf[..take])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        reader.left -= wide(count);
        reader.at += wide(count);
        Ok(count)
    }
}

/// Types that are known and deliberately not unpacked, by flag.
fn unsupported(flag: u8) -> Option<&'static str> {
    Some(match flag {
        b'x' | b'X' => "PAX extended header",
        b'g' => "PAX global header",
        b'S' => "GNU sparse file",
        b'D' => "GNU directory listing",
        b'M' => "GNU continuation of another volume",
        b'V' => "GNU volume label",
        b'N' => "old GNU long name",
        b'A' => "Solaris ACL",
        b'7' => "contiguous file",
        _ => return None,
    })
}

fn kind(header: &Header, flag: u8, size: u64, link: Vec<u8>) -> Result<Kind, Corruption> {
    let kind = match flag {
        b'0' if i64::try_from(size.saturating_add(BLOCK)).is_err() => return Err(Corruption::Size(size)),
        b'0' => return Ok(Kind::File { size }),
        b'1' => Kind::Hardlink(normalise(&link)?),
        b'2' if link.is_empty() || link.len() > super::MAX_PATH || link.contains(&0) => {
            return Err(Corruption::Target { length: link.len() });
        }
        b'2' => Kind::Symlink(link),
        b'3' | b'4' => {
            let wrong = || Corruption::Device { major: header.major, minor: header.minor };
            let number = |value: u64, limit: u32| u32::try_from(value).ok().filter(|value| *value < limit);
            let major = number(header.major, 1 << 12).ok_or_else(wrong)?;
            let minor = number(header.minor, 1 << 20).ok_or_else(wrong)?;
            if flag == b'3' { Kind::Char { major, minor } } else { Kind::Block { major, minor } }
        }
        b'5' => Kind::Dir,
        b'6' => Kind::Fifo,
        _ => return Err(Corruption::TypeFlag(header.shown())),
    };
    if size != 0 { Err(Corruption::SizeWithoutBody { flag: header.shown(), size }) } else { Ok(kind) }
}

/// The permission bits; old tars put the file type in front of them, which then has to be the right one.
fn mode(header: &Header, flag: u8) -> Result<u16, Corruption> {
    let file_type = match flag {
        b'2' => 0o120_000,
        b'3' => 0o020_000,
        b'4' => 0o060_000,
        b'5' => 0o040_000,
        b'6' => 0o010_000,
        _ => 0o100_000,
    };
    let bits = header.mode & !0o7777;
    if bits != 0 && bits != file_type {
        return Err(Corruption::Mode { mode: header.mode, flag: header.shown() });
    }
    Ok(u16::try_from(header.mode & 0o7777).expect("twelve bits"))
}

/// The text of a GNU long name record, which ends at a NUL; nothing may hide after it.
fn long_text(mut body: Vec<u8>) -> Result<Vec<u8>, Corruption> {
    let end = body.iter().position(|byte| *byte == 0).unwrap_or(body.len());
    if body[end..].iter().any(|byte| *byte != 0) {
        let fault = super::PathFault::Nul;
        return Err(Corruption::Path { path: body.into_iter().take(300).collect(), fault });
    }
    body.truncate(end);
    Ok(body)
}

fn corrupt(at: u64, kind: Corruption) -> TarError {
    ReadError::Corrupt { at, kind }
}
