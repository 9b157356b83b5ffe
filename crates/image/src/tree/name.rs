//! File names as a type.

use std::borrow::Borrow;
use std::fmt;

/// One path component: 1 to 255 bytes, no `/`, no NUL, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

/// The bytes cannot be a file name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{:?} cannot be a file name: it needs 1 to 255 bytes, no slash, no NUL, and cannot be . or ..", String::from_utf8_lossy(.0))]
pub struct NotAName(pub Vec<u8>);

impl Name {
    /// Checks that `bytes` can be a file name.
    pub fn new(bytes: &[u8]) -> Result<Self, NotAName> {
        let bad = matches!(bytes, b"" | b"." | b"..")
            || bytes.len() > 255
            || bytes.iter().any(|byte| matches!(byte, b'/' | 0));
        if bad { Err(NotAName(bytes.iter().copied().take(300).collect())) } else { Ok(Self(bytes.into())) }
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_no_kernel_takes() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0", &[b'x'; 256]] {
            assert!(Name::new(bad).is_err());
        }
        for good in [&b"..."[..], b"\xff", b"a b\n", &[b'x'; 255]] {
            assert_eq!(Name::new(good).unwrap().as_bytes(), good);
        }
    }
}
