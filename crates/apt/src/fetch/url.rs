//! Paths below a mirror, and where redirections lead.

use crate::fetch::error::Reason;
use crate::mirrors::is_authority;

/// Whether `path` is a relative path that stays below the mirror: no empty, `.` or `..` part, printable ASCII only.
pub(crate) fn is_safe(path: &str) -> bool {
    let part_fine = |part: &str| !matches!(part, "" | "." | "..");
    path.len() <= 1000
        && path.split('/').all(part_fine)
        && path.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'\\')
}

/// `path` with everything encoded that is not unreserved (RFC 3986, section 2.3). Some object stores take `+` for a
/// space, so it is encoded like the rest.
pub(crate) fn encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~' | b':' | b'=') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The parts of an HTTP URL that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) tls: bool,
    /// Host and port, in lower case.
    pub(crate) authority: String,
    /// Path and query, from the slash on.
    pub(crate) path: String,
}

impl Place {
    /// Reads an absolute `http:` or `https:` URL.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let url = url.split('#').next()?;
        let (scheme, rest) = url.split_once("://")?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let authority = authority.to_ascii_lowercase();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let clean = url.len() <= 2000 && url.bytes().all(|byte| byte.is_ascii_graphic());
        (clean && is_authority(&authority)).then_some(Self { tls, authority, path })
    }

    pub(crate) fn url(&self) -> String {
        let Self { tls, authority, path } = self;
        format!("{}://{authority}{path}", if *tls { "https" } else { "http" })
    }

    /// Where a `Location` header leads from here. HTTPS is never left for HTTP: whoever asked for it relies on it.
    pub(crate) fn redirected(&self, location: &str) -> Result<Self, Reason> {
        let location = location.trim();
        let short = || location.chars().take(200).collect::<String>();
        let scheme = if self.tls { "https" } else { "http" };
        let (directory, _) =
            self.path.split('?').next().and_then(|path| path.rsplit_once('/')).unwrap_or_default();
        let absolute = if location.is_empty() {
            return Err(Reason::BadRedirect { to: String::new() });
        } else if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{scheme}://{}{location}", self.authority)
        } else if location.split(['/', '?']).next().is_some_and(|first| first.contains(':')) {
            location.to_owned()
        } else {
            format!("{scheme}://{}{directory}/{location}", self.authority)
        };
        let mut to = Self::parse(&absolute).ok_or_else(|| Reason::BadRedirect { to: short() })?;
        to.path = without_dots(&to.path);
        if self.tls && !to.tls { Err(Reason::Downgrade { to: short() }) } else { Ok(to) }
    }
}

/// Takes `.` and `..` out of a path (RFC 3986, section 5.2.4).
fn without_dots(path: &str) -> String {
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let mut parts: Vec<&str> = Vec::new();
    let mut all = path.split('/').skip(1).peekable();
    while let Some(part) = all.next() {
        let last = all.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    parts.pop();
                }
                if last {
                    parts.push("");
                }
            }
            part => parts.push(part),
        }
    }
    format!("/{}{query}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_mirror() {
        for good in ["pool/main/g/g++/g++_12~rc1+b2_amd64.deb", "dists/a/by-hash/SHA256/00", "a", "a b/..c"] {
            assert!(is_safe(good), "{good}");
        }
        for bad in
            ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.", "a\nb", "a\0", "a\\b", "é", &"x".repeat(1001)]
        {
            assert!(!is_safe(bad), "{bad:?}");
        }
        assert_eq!(encoded("g++_1:2~rc%/a b?#"), "g%2B%2B_1:2~rc%25/a%20b%3F%23");
    }

    #[test]
    fn redirections_are_resolved_and_never_leave_tls() {
        let from = |url: &str| Place::parse(url).unwrap();
        let (plain, tls) = (from("http://a.example/d/x?q"), from("https://a.example:8443/d/x"));
        for (place, location, to) in [
            (&plain, "http://B.example/y", "http://b.example/y"),
            (&plain, "https://b.example", "https://b.example/"),
            (&plain, "//b.example:81/y#z", "http://b.example:81/y"),
            (&plain, "/y?p=:", "http://a.example/y?p=:"),
            (&plain, "y/z", "http://a.example/d/y/z"),
            (&plain, " ?p", "http://a.example/d/?p"),
            (&plain, "../y", "http://a.example/y"),
            (&plain, "./z/../../../y/.?a=/../b", "http://a.example/y/?a=/../b"),
            (&plain, "/..", "http://a.example/"),
            (&tls, "y", "https://a.example:8443/d/y"),
            (&tls, "//b.example/y", "https://b.example/y"),
        ] {
            assert_eq!(place.redirected(location).unwrap().url(), to, "{location}");
        }
        assert!(matches!(tls.redirected("http://a.example:8443/d/x"), Err(Reason::Downgrade { .. })));
        for bad in [
            "",
            "file:///etc/passwd",
            "ftp://a.example/",
            "javascript:x",
            "http://",
            "http://u:p@b.example/",
            "/a b",
            "/é",
        ] {
            assert!(matches!(plain.redirected(bad), Err(Reason::BadRedirect { .. })), "{bad}");
        }
    }
}
