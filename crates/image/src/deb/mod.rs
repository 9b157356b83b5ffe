//! Binary packages, deb(5): an ar archive with a version, a control tar and a data tar.
//!
//! What is accepted is what dpkg unpacks, and nothing that dpkg would see otherwise. The choice of decompressor is
//! made by the member's name as dpkg makes it, and its first bytes have to agree.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufReader, Read};

use crate::ar::{ArError, Member, Members};
use crate::codec::Wrapping;
use crate::codec::stream::Plain;
use crate::io::{Cursor, ReadAt, Window, wide};
use crate::tar::{self, Dialect, TarError};

/// The most plain bytes a control archive may have: 64 MiB.
pub const MAX_CONTROL: u64 = 64 << 20;
/// The most files a control archive may have. dpkg knows about twenty names.
const MAX_CONTROL_FILES: u64 = 4_096;
/// The longest `debian-binary` that is read; dpkg writes four bytes.
const MAX_VERSION: u64 = 1_024;

/// Why a package could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DebError {
    /// The ar archive is damaged or could not be read.
    #[error("cannot read the package as an ar archive")]
    Ar(#[from] ArError),
    /// `debian-binary` does not say 2.x.
    #[error("debian-binary is {:?}, not 2.0 or a later 2.x", String::from_utf8_lossy(.0))]
    Version(Vec<u8>),
    /// A member is where another one has to be.
    #[error("member {name:?} at byte {at:#x} where {expected} has to be")]
    Member {
        /// Name of the member that is there.
        name: String,
        /// Offset of its header in the package.
        at: u64,
        /// What deb(5) wants at this place.
        expected: &'static str,
    },
    /// The package ends before a member it has to have.
    #[error("the package has no {0}")]
    Missing(&'static str),
    /// The member is compressed in a way that is not supported.
    #[error("member {0:?} is compressed in an unsupported way")]
    Compression(String),
    /// The first bytes of the member are not those of the compression its name says.
    #[error("member {member:?} starts like {found:?}")]
    WrongCompression {
        /// Name of the member.
        member: String,
        /// What its first bytes say.
        found: Wrapping,
    },
    /// A member could not be read or decompressed.
    #[error("cannot read member {member:?}")]
    Io {
        /// Name of the member.
        member: String,
        /// Why.
        source: io::Error,
    },
    /// The tar archive in a member is damaged.
    #[error("cannot read member {member:?} as a tar archive")]
    Tar {
        /// Name of the member.
        member: String,
        /// Why.
        source: TarError,
    },
    /// The control archive holds something else than regular files at its top.
    #[error("control archive holds {:?}, which is no regular file at its top", String::from_utf8_lossy(.0))]
    ControlEntry(Vec<u8>),
    /// The control archive holds two files of the same name.
    #[error("control archive holds {:?} twice", String::from_utf8_lossy(.0))]
    ControlTwice(Vec<u8>),
}

/// A binary package.
#[derive(Debug)]
pub struct Deb<R> {
    source: R,
    version: Vec<u8>,
    control: (Member, Wrapping),
    data: (Member, Wrapping),
}

/// The control archive of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The files by name, among them `control`.
    pub files: BTreeMap<Vec<u8>, ControlFile>,
}

/// One file of a control archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlFile {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Permission bits, 0 to 0o7777.
    pub mode: u16,
}

impl Control {
    /// The raw `control` file: one stanza of deb-control(5).
    pub fn stanza(&self) -> &[u8] {
        self.files.get(&b"control"[..]).map_or(&[], |file| &file.bytes)
    }
}

impl<R: ReadAt> Deb<R> {
    /// Checks version, order and names of the members. Nothing is decompressed yet.
    ///
    /// Members whose names start with `_` are skipped before the control and the data archive; everything after the
    /// data archive is left out of account (deb(5)).
    pub fn open(source: R) -> Result<Self, DebError> {
        let mut members = Members::new(&source)?;
        let version = match members.next_member()? {
            Some(member) if member.name == "debian-binary" => version(&source, &member)?,
            Some(member) => return Err(unexpected(member, "debian-binary")),
            None => return Err(DebError::Missing("debian-binary")),
        };
        let control = archive(&mut members, &source, "control.tar")?;
        let data = archive(&mut members, &source, "data.tar")?;
        Ok(Self { source, version, control, data })
    }

    /// The bytes of the package.
    pub fn source(&self) -> &R {
        &self.source
    }

    /// The format version: the first line of `debian-binary`, such as `2.0`.
    pub fn version(&self) -> &[u8] {
        &self.version
    }

    /// The control archive as a member: name, place and packed size.
    pub fn control_member(&self) -> (&Member, Wrapping) {
        (&self.control.0, self.control.1)
    }

    /// The data archive as a member: name, place and packed size.
    pub fn data_member(&self) -> (&Member, Wrapping) {
        (&self.data.0, self.data.1)
    }

    /// Reads the whole control archive, at most [`MAX_CONTROL`] plain bytes.
    pub fn control(&self) -> Result<Control, DebError> {
        let member = &self.control.0.name;
        let tar_error = |source| DebError::Tar { member: member.clone(), source };
        let mut reader = self.tar(&self.control, MAX_CONTROL)?.max_entries(MAX_CONTROL_FILES);
        let mut files = BTreeMap::new();
        while let Some(entry) = reader.next().map_err(tar_error)? {
            match entry.kind {
                tar::Kind::Dir if entry.path.is_empty() => continue,
                tar::Kind::File { .. } if !entry.path.contains(&b'/') => {}
                _ => return Err(DebError::ControlEntry(entry.path)),
            }
            let mut bytes = Vec::new();
            let read = reader.body().read_to_end(&mut bytes);
            read.map_err(|source| DebError::Io { member: member.clone(), source })?;
            let file = ControlFile { bytes, mode: entry.mode };
            if files.insert(entry.path.clone(), file).is_some() {
                return Err(DebError::ControlTwice(entry.path));
            }
        }
        if files.contains_key(&b"control"[..]) {
            Ok(Control { files })
        } else {
            Err(DebError::Missing("file control in its control archive"))
        }
    }

    /// Reads the data archive as a stream, in [`Dialect::Dpkg`]. More than `limit` plain bytes are an error.
    pub fn data(&self, limit: u64) -> Result<tar::Reader<Plain<'_>>, DebError> {
        self.tar(&self.data, limit)
    }

    /// The plain bytes of the data archive, as `dpkg-deb --fsys-tarfile` prints them. More than `limit` are an error.
    pub fn data_plain(&self, limit: u64) -> Result<Plain<'_>, DebError> {
        self.plain(&self.data, limit)
    }

    fn tar(&self, archive: &(Member, Wrapping), limit: u64) -> Result<tar::Reader<Plain<'_>>, DebError> {
        Ok(tar::Reader::new(self.plain(archive, limit)?, Dialect::Dpkg))
    }

    fn plain(&self, (member, wrapping): &(Member, Wrapping), limit: u64) -> Result<Plain<'_>, DebError> {
        let window = Window::new(&self.source, member.start, member.size);
        let packed = BufReader::with_capacity(1 << 16, Cursor::new(window, 0));
        let plain = wrapping.plain(packed, limit);
        plain.map_err(|source| DebError::Io { member: member.name.clone(), source })
    }
}

/// The first line of `debian-binary`; later lines may be added by later minor versions.
fn version(source: &impl ReadAt, member: &Member) -> Result<Vec<u8>, DebError> {
    let length = usize::try_from(member.size.min(MAX_VERSION)).expect("at most the limit");
    let mut text = vec![0; length];
    let read = source.read_exact_at(&mut text, member.start);
    read.map_err(|source| DebError::Io { member: member.name.clone(), source })?;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let minor = line.strip_prefix(b"2.").unwrap_or_default();
    let good = !minor.is_empty() && minor.iter().all(u8::is_ascii_digit) && line.len() < text.len();
    if good { Ok(line.to_vec()) } else { Err(DebError::Version(text.into_iter().take(80).collect())) }
}

/// The next member that is not skipped, which has to be `stem` with a known ending.
fn archive<R: ReadAt>(
    members: &mut Members<&R>,
    source: &R,
    stem: &'static str,
) -> Result<(Member, Wrapping), DebError> {
    let member = loop {
        match members.next_member()? {
            Some(member) if member.name.starts_with('_') => {}
            Some(member) => break member,
            None => return Err(DebError::Missing(stem)),
        }
    };
    let Some(ending) = member.name.strip_prefix(stem) else {
        return Err(unexpected(member, stem));
    };
    let wrapping = match ending {
        "" => Wrapping::None,
        ".gz" => Wrapping::Gzip,
        ".xz" => Wrapping::Xz,
        ".zst" => Wrapping::Zstd,
        ".bz2" | ".lzma" => return Err(DebError::Compression(member.name)),
        _ => return Err(unexpected(member, stem)),
    };
    let mut start = [0; 6];
    let length = usize::try_from(member.size.min(wide(start.len()))).expect("at most six");
    let read = source.read_exact_at(&mut start[..length], member.start);
    read.map_err(|source| DebError::Io { member: member.name.clone(), source })?;
    let found = Wrapping::detect(&start);
    // A plain tar could start like gzip only if its first file were named so, which dpkg-deb never writes.
    if found != wrapping {
        return Err(DebError::WrongCompression { member: member.name, found });
    }
    Ok((member, wrapping))
}

fn unexpected(member: Member, expected: &'static str) -> DebError {
    DebError::Member { name: member.name, at: member.header_at, expected }
}

/// The members of the package, and every header of both archives as [`tar::dump`] prints them.
///
/// More than `limit` plain bytes in the data archive are an error.
pub fn dump<R: ReadAt>(source: &R, limit: u64) -> Result<String, DebError> {
    let deb = Deb::open(source)?;
    let mut out = String::new();
    let mut members = Members::new(source)?;
    while let Some(member) = members.next_member()? {
        let Member { name, mtime, uid, gid, mode, header_at, start, size } = &member;
        let _ = writeln!(
            out,
            "{header_at:08x} member {name} mtime={mtime} uid={uid} gid={gid} mode={mode:o} size={size} data={start:x}"
        );
        for (archive, limit) in [(&deb.control, MAX_CONTROL), (&deb.data, limit)] {
            if archive.0 == member {
                let plain = deb.plain(archive, limit)?;
                let tar_error = |source| DebError::Tar { member: name.clone(), source };
                let text = tar::dump(plain, Dialect::Dpkg).map_err(tar_error)?;
                text.lines().for_each(|line| out.extend(["  ", line, "\n"]));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
