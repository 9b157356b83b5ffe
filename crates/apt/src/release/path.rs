//! Names of files inside an archive, which become parts of URLs and of directory paths.

/// Longest path in bytes.
const MAX_LEN: usize = 1024;

/// The name could lead elsewhere than to a file below the archive's directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is not a path inside an archive: {rule}")]
pub struct Unsafe {
    /// The path, shortened.
    pub path: String,
    /// The rule that is broken.
    pub rule: &'static str,
}

/// Accepts `pool/main/h/hello/hello_2.10-3_amd64.deb`: relative, of printable ASCII without backslash, without empty,
/// `.` or `..` components and without the characters that end or split a URL path (`%`, `?`, `#`).
pub fn check_path(path: &str) -> Result<(), Unsafe> {
    let refuse = |rule| Err(Unsafe { path: path.chars().take(80).collect(), rule });
    if path.len() > MAX_LEN {
        return refuse("longer than 1024 bytes");
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refuse("a character outside printable ASCII");
    }
    if path.bytes().any(|byte| matches!(byte, b'\\' | b'%' | b'?' | b'#')) {
        return refuse("one of the characters \\ % ? #");
    }
    if path.split('/').any(|component| matches!(component, "" | "." | "..")) {
        return refuse("an empty, . or .. component");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths() {
        for good in ["a", "main/binary-amd64/Packages.xz", "pool/g/g++/g++_4:12.2~1+b1.deb", "..a/b..", "..."]
        {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "a//b",
            "a/",
            "../a",
            "a/../b",
            "a/..",
            ".",
            "./a",
            "a b",
            "a\nb",
            "a\\b",
            "%2e%2e/a",
            "a?b",
            "a#b",
            "é",
        ] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
        assert!(check_path(&"a".repeat(MAX_LEN + 1)).is_err());
    }
}
