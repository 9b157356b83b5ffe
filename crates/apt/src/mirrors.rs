//! Where archives can be had: the URLs of mirrors, and which of them this machine knows already.
//!
//! A mirror is never trusted: what it serves counts only after a signature or a digest says so. So a wrong guess here
//! costs a request and nothing else.

mod sources;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use sources::{SourceFault, SourcesError, SystemSource, system_sources};

/// How a mirror is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain HTTP. Enough where signatures and digests are checked, and what most Debian mirrors offer.
    Http,
    /// HTTP over TLS.
    Https,
    /// A directory of this machine.
    File,
}

/// The base URL of an archive on one server, such as `http://mirror.example/debian`.
///
/// Displays without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mirror {
    scheme: Scheme,
    /// Scheme, authority and path, without a slash at the end.
    base: String,
    /// Host and port as in the URL, in lower case; empty for `file:`.
    authority: String,
}

/// Why a text is not the URL of a mirror.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} cannot be the URL of a mirror: {fault}")]
pub struct BadMirror {
    /// The text, or its beginning; without what could be a password.
    pub url: String,
    /// What is wrong with it.
    pub fault: UrlFault,
}

/// What is wrong with a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// No scheme, or one that nothing here speaks.
    #[error("only http:, https: and file: are spoken")]
    Scheme,
    /// A name or password before the host. They would end up in messages and locks.
    #[error("a user name or password does not belong there")]
    Credentials,
    /// The host or port is missing or makes no sense.
    #[error("the host is missing or malformed")]
    Host,
    /// A character that a URL cannot have, or a query or fragment.
    #[error("a character is not allowed there")]
    Character,
    /// `file:` with a path that does not start at the root.
    #[error("the path is not absolute")]
    Relative,
}

impl Mirror {
    /// Reads a URL with `http:`, `https:`, `file:` or apt's `copy:`, which is taken for `file:`.
    pub fn parse(text: &str) -> Result<Self, BadMirror> {
        let text = text.trim();
        let refuse = |fault| BadMirror { url: without_password(text), fault };
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains(['?', '#', '\\', '"', '<', '>'])
        {
            return Err(refuse(UrlFault::Character));
        }
        let (scheme, rest) = text.split_once(':').ok_or_else(|| refuse(UrlFault::Scheme))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "file" | "copy" => Scheme::File,
            _ => return Err(refuse(UrlFault::Scheme)),
        };
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => ("", rest),
        };
        if authority.contains('@') {
            return Err(refuse(UrlFault::Credentials));
        }
        let authority = authority.to_ascii_lowercase();
        let path = path.trim_end_matches('/');
        let (prefix, authority) = match scheme {
            Scheme::File if !matches!(authority.as_str(), "" | "localhost") => {
                return Err(refuse(UrlFault::Host));
            }
            Scheme::File if !path.is_empty() && !path.starts_with('/') => {
                return Err(refuse(UrlFault::Relative));
            }
            Scheme::File => ("file://", String::new()),
            _ if !is_authority(&authority) => return Err(refuse(UrlFault::Host)),
            Scheme::Http => ("http://", authority),
            Scheme::Https => ("https://", authority),
        };
        Ok(Self { scheme, base: format!("{prefix}{authority}{path}"), authority })
    }

    /// A directory of this machine, whose path is absolute.
    pub fn of_directory(path: &Path) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let mut base = "file://".to_owned();
        for &byte in path.as_os_str().as_bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                    base.push(char::from(byte));
                }
                _ => base.push_str(&format!("%{byte:02X}")),
            }
        }
        base.truncate(base.trim_end_matches('/').len().max("file://".len()));
        Self { scheme: Scheme::File, base, authority: String::new() }
    }

    /// How it is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The base URL, without a slash at the end.
    pub fn as_str(&self) -> &str {
        &self.base
    }

    /// Host without port, in lower case; empty for `file:`.
    pub fn host(&self) -> &str {
        host_of(&self.authority)
    }

    /// The directory of a `file:` mirror.
    pub(crate) fn directory(&self) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStringExt;
        if self.scheme != Scheme::File {
            return None;
        }
        let path = percent_decoded(self.base.trim_start_matches("file://"));
        Some(PathBuf::from(std::ffi::OsString::from_vec(if path.is_empty() { vec![b'/'] } else { path })))
    }
}

impl FromStr for Mirror {
    type Err = BadMirror;

    fn from_str(text: &str) -> Result<Self, BadMirror> {
        Self::parse(text)
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

/// `host` of `host:port`; the brackets of an IPv6 address stay.
pub(crate) fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// A host name or address and perhaps a port from 1 to 65535.
pub(crate) fn is_authority(text: &str) -> bool {
    let host = host_of(text);
    let port = text.get(host.len()..).unwrap_or_default();
    let port_fine = port.is_empty() || port[1..].parse::<u16>().is_ok_and(|port| port > 0);
    let host_fine = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            !host.is_empty() && host.len() <= 253 && host.bytes().all(fine)
        }
    };
    port_fine && host_fine
}

fn without_password(url: &str) -> String {
    let short: String = url.chars().take(200).collect();
    match (short.find("//"), short.rfind('@')) {
        (Some(start), Some(at)) if start < at => format!("{}//...{}", &short[..start], &short[at..]),
        _ => short,
    }
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()).filter(|_| byte == b'%') {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// Suites of Debian itself. A machine that has one of them from a mirror can most likely have the others from there.
const DEBIAN: [&str; 16] = [
    "stretch",
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "experimental",
    "rc-buggy",
    "jessie",
];

/// The archives of Debian that have places of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Archive {
    /// `debian`: the suites themselves, `-updates`, `-backports`, `-proposed-updates`.
    Main,
    /// `debian-security`: `bookworm-security`, and `buster/updates` before 2021.
    Security,
}

/// Which archive of Debian a suite is in; `None` for suites that are not Debian's.
fn archive_of(suite: &str) -> Option<Archive> {
    let known = |base: &str| DEBIAN.contains(&base);
    let security = suite.strip_suffix("-security").or_else(|| suite.strip_suffix("/updates"));
    if security.is_some_and(known) {
        return Some(Archive::Security);
    }
    let endings = ["-updates", "-backports", "-backports-sloppy", "-proposed-updates"];
    let base = endings.iter().find_map(|ending| suite.strip_suffix(ending)).unwrap_or(suite);
    known(base).then_some(Archive::Main)
}

/// One spelling for the two that suites of `debian-security` have had.
fn canonical(suite: &str) -> String {
    let suite = suite.trim_end_matches('/');
    suite.strip_suffix("/updates").map_or_else(|| suite.to_owned(), |base| format!("{base}-security"))
}

/// Which of the machine's own URLs serve `suite` (`bookworm`, `bookworm-security`), the likeliest first.
///
/// First those that are configured for this very suite, then those that are configured for another suite of the same
/// archive: the mirror of a `trixie` machine has `bookworm` too. Sources without binary packages, without the component
/// `main`, or signed by a key file that is not Debian's are left out, and so are methods other than HTTP and files.
pub fn auto_mirrors(sources: &[SystemSource], suite: &str) -> Vec<Mirror> {
    let wanted = canonical(suite);
    let mut ranked: Vec<(u8, Mirror)> = Vec::new();
    for source in sources.iter().filter(|source| source.may_be_debian()) {
        let exact = source.suites.iter().any(|have| canonical(have) == wanted);
        let archive = archive_of(&wanted);
        let related =
            archive.is_some() && source.suites.iter().any(|have| archive_of(&canonical(have)) == archive);
        let rank = match (exact, related) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => continue,
        };
        ranked.extend(
            source.uris.iter().filter_map(|uri| Mirror::parse(uri).ok()).map(|mirror| (rank, mirror)),
        );
    }
    // Stable: within a rank the order is the machine's.
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut mirrors: Vec<Mirror> = Vec::new();
    for (_, mirror) in ranked {
        if !mirrors.contains(&mirror) {
            mirrors.push(mirror);
        }
    }
    mirrors
}

/// Reads `etc/apt/sources.list` and `etc/apt/sources.list.d/*.{list,sources}` below `root`, in apt's order, and the lists
/// that `mirror+file:` refers to. A file that is not there is as good as an empty one.
pub fn read_system_sources(root: &Path) -> Result<Vec<SystemSource>, SourcesError> {
    let apt = root.join("etc/apt");
    let parts = apt.join("sources.list.d");
    let mut paths = vec![apt.join("sources.list")];
    let mut names = Vec::new();
    match fs::read_dir(&parts) {
        Ok(entries) => {
            for entry in entries {
                names.push(entry.map_err(SourcesError::reading(&parts))?.file_name());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(SourcesError::reading(&parts)(error)),
    }
    names.sort();
    paths.extend(
        names.iter().filter(|name| is_source_file(&name.to_string_lossy())).map(|name| parts.join(name)),
    );
    let mut texts = Vec::new();
    for path in paths {
        match fs::read(&path) {
            Ok(bytes) => texts.push((path, String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(SourcesError::reading(&path)(error)),
        }
    }
    let texts: Vec<_> = texts.iter().map(|(path, text)| (path.as_path(), text.as_str())).collect();
    let mut sources = system_sources(&texts)?;
    for source in &mut sources {
        source.uris = source.uris.iter().flat_map(|uri| expanded(root, uri)).collect();
    }
    Ok(sources)
}

/// The names apt looks at: letters, digits, `_ - .` and the right ending.
fn is_source_file(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    name.bytes().all(fine)
        && !name.starts_with('.')
        && (name.ends_with(".list") || name.ends_with(".sources"))
}

/// The URLs in the file of a `mirror+file:` URL, as Debian's cloud images have it; any other URL itself.
fn expanded(root: &Path, uri: &str) -> Vec<String> {
    let file = ["mirror+file:", "mirror+copy:"].iter().find_map(|method| uri.strip_prefix(method));
    let Some(path) = file.map(|path| path.trim_start_matches('/')) else {
        return vec![uri.to_owned()];
    };
    let text = fs::read(root.join(path)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
