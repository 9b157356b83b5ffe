//! Archives: initramfs, tar, Debian packages.

use std::io::{BufReader, Read};

use selfsame_image::ReadAt;
use selfsame_image::codec::Wrapping;
use selfsame_image::deb::Deb;
use selfsame_image::detect::{self, Format};
use selfsame_image::initramfs;
use selfsame_image::io::Cursor;
use selfsame_image::tar::{self, Dialect};

use super::part::{Fact, Part};
use super::{Error, tree};

/// The most plain bytes that are looked at in memory: an initramfs with all modules and firmware has a few hundred MiB.
const MOST_IN_MEMORY: u64 = 1 << 30;
/// The most plain bytes that are looked at in passing.
const MOST_IN_PASSING: u64 = 1 << 40;

/// Describes an initramfs: cpio archives, compressed or not, one after the other.
pub fn initramfs(source: &dyn ReadAt, part: Part) -> Result<Part, Error> {
    let segments = initramfs::read(&source, MOST_IN_MEMORY)?;
    let part = part.format("initramfs");
    Ok((1..).zip(segments).fold(part, |part, (number, segment)| {
        let inner = Part::new(format!("segment {number}")).at(segment.at).size(segment.packed);
        let inner = inner.fact("compression", name(segment.wrapping));
        let inner = inner.fact("plain", Fact::Bytes(segment.plain().len() as u64));
        part.part(
            segment
                .trees
                .iter()
                .fold(inner, |inner, found| tree::describe(found, |content| content.size, inner)),
        )
    }))
}

/// Describes a plain tar.
pub fn tar(source: &dyn ReadAt, part: Part) -> Result<Part, Error> {
    let reader = BufReader::with_capacity(1 << 16, Cursor::new(source, 0));
    entries(tar::Reader::new(reader, Dialect::Any), part)
}

/// Describes what is in a compressed file.
pub fn compressed(source: &dyn ReadAt, part: Part) -> Result<Part, Error> {
    let mut start = [0; 6];
    source.read_exact_at(&mut start, 0)?;
    let wrapping = Wrapping::detect(&start);
    let plain = |limit| wrapping.plain(BufReader::with_capacity(1 << 16, Cursor::new(source, 0)), limit);
    let mut first = Vec::new();
    plain(MOST_IN_PASSING)?.take(1024).read_to_end(&mut first)?;
    let part = part.fact("compression", name(wrapping));
    match detect::format(&first)? {
        Some(Format::Cpio) => initramfs(source, part),
        Some(Format::Tar) => {
            entries(tar::Reader::new(plain(MOST_IN_PASSING)?, Dialect::Any), part.format("tar"))
        }
        Some(other) => Ok(part.fact("content", other.name())),
        None => Ok(part),
    }
}

/// Describes a Debian package.
pub fn deb(source: &dyn ReadAt, part: Part) -> Result<Part, Error> {
    let deb = Deb::open(source)?;
    let control = deb.control()?;
    let stanza = String::from_utf8_lossy(control.stanza()).into_owned();
    let field = |name: &str| {
        stanza
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .unwrap_or_default()
            .to_owned()
    };
    let mut part = part.fact("package", field("Package")).fact("version", field("Version"));
    part = part.fact("architecture", field("Architecture")).fact("source", field("Source"));
    part = part.fact("depends", field("Depends")).fact("summary", field("Description"));
    let scripts = ["preinst", "postinst", "prerm", "postrm", "config"];
    let has = |script: &&str| control.files.contains_key(script.as_bytes());
    part = part.fact("scripts", scripts.into_iter().filter(has).collect::<Vec<_>>().join(" "));
    for (member, wrapping) in [deb.control_member(), deb.data_member()] {
        let inner = Part::new(member.name.as_str()).at(member.start).size(member.size);
        part = part.part(inner.fact("compression", name(wrapping)));
    }
    entries(deb.data(MOST_IN_PASSING)?, part)
}

/// Counts the entries of a tar.
fn entries(mut reader: tar::Reader<impl Read>, part: Part) -> Result<Part, Error> {
    let (mut files, mut directories, mut links, mut others, mut bytes) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
    while let Some(entry) = reader.next()? {
        match entry.kind {
            tar::Kind::File { size } => {
                files += 1;
                bytes = bytes.saturating_add(size);
            }
            tar::Kind::Dir => directories += 1,
            tar::Kind::Symlink(_) | tar::Kind::Hardlink(_) => links += 1,
            _ => others += 1,
        }
    }
    let part = part.fact("files", files).fact("content", Fact::Bytes(bytes)).fact("directories", directories);
    let part = part.fact("links", links);
    Ok(if others > 0 { part.fact("devices, pipes, sockets", others) } else { part })
}

fn name(wrapping: Wrapping) -> &'static str {
    match wrapping {
        Wrapping::None => "none",
        Wrapping::Gzip => "gzip",
        Wrapping::Xz => "xz",
        Wrapping::Zstd => "zstd",
    }
}
