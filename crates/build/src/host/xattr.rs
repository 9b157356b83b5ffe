//! Extended attributes as an image has them and as this machine stores them.
//!
//! Two kinds hold user or group ids inside their value, which are shifted like the owner of a file:
//! `security.capability` from its third version on (`linux/capability.h`), and POSIX access control lists
//! (`linux/posix_acl_xattr.h`). Attributes that are not the image's own are left out: labels of security modules
//! (`security.selinux`, `security.ima`, ...), which this machine's policy chose, `trusted.`, which no program in a
//! sandbox can set, and the marks of overlays.

use super::IdShift;

/// Why an attribute has no meaning in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// The value breaks the rules of its kind.
    #[error("value of {0} bytes is malformed")]
    Malformed(usize),
    /// The value names a user or group outside of the image's range.
    #[error("value names id {0}, which is none of the image's")]
    Id(u32),
}

/// True for attributes that are part of an image.
pub(crate) fn is_kept(name: &[u8]) -> bool {
    match name {
        b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default" => true,
        _ => name.starts_with(b"user.") && !name.starts_with(b"user.overlay."),
    }
}

/// The value inside an image of what this machine stores.
pub(crate) fn to_inside(name: &[u8], value: &[u8], shift: IdShift) -> Result<Box<[u8]>, AttributeError> {
    match name {
        b"security.capability" => capability_inside(value, shift),
        _ if name.starts_with(b"system.posix_acl_") => acl(value, |id| shift.inside(id)),
        _ => Ok(value.into()),
    }
}

/// What this machine has to store for a value inside an image.
pub(crate) fn to_outside(name: &[u8], value: &[u8], shift: IdShift) -> Result<Box<[u8]>, AttributeError> {
    match name {
        b"security.capability" => capability_outside(value, shift),
        _ if name.starts_with(b"system.posix_acl_") => acl(value, |id| shift.outside(id)),
        _ => Ok(value.into()),
    }
}

/// Length of the second version: a word of version and flags, and two pairs of words of capabilities.
const V2: usize = 20;
/// The third version appends the user that is root where the capabilities count.
const V3: usize = 24;

/// Version of a capability value and the word it starts with.
fn version(value: &[u8]) -> Result<(u8, u32), AttributeError> {
    let word = value.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
    let word = word.ok_or(AttributeError::Malformed(value.len()))?;
    let [_, _, _, version] = word.to_le_bytes();
    match (version, value.len()) {
        (1, 12) | (2, V2) | (3, V3) => Ok((version, word)),
        _ => Err(AttributeError::Malformed(value.len())),
    }
}

/// The third version as the second with its root, if root is `root`.
fn without_root(value: &[u8], word: u32, root: u32) -> Result<Box<[u8]>, AttributeError> {
    let (second, id) = value.split_at(V2);
    let id = id.first_chunk::<4>().map_or(u32::MAX, |bytes| u32::from_le_bytes(*bytes));
    if id != root {
        return Err(AttributeError::Id(id));
    }
    let word = word & 0x00ff_ffff | 0x0200_0000;
    Ok([&word.to_le_bytes()[..], &second[4..]].concat().into())
}

fn capability_inside(value: &[u8], shift: IdShift) -> Result<Box<[u8]>, AttributeError> {
    match version(value)? {
        (3, word) => without_root(value, word, shift.first()),
        _ => Ok(value.into()),
    }
}

fn capability_outside(value: &[u8], shift: IdShift) -> Result<Box<[u8]>, AttributeError> {
    let (version, word) = version(value)?;
    let plain = if version == 3 { without_root(value, word, 0)? } else { value.into() };
    // In a user namespace the kernel itself adds who root is.
    if shift == IdShift::NONE || version == 1 {
        return Ok(plain);
    }
    let word = word & 0x00ff_ffff | 0x0300_0000;
    Ok([&word.to_le_bytes()[..], &plain[4..], &shift.first().to_le_bytes()].concat().into())
}

/// An access control list with its ids changed: a word of version, then entries of kind, permissions and id.
fn acl(value: &[u8], change: impl Fn(u32) -> Option<u32>) -> Result<Box<[u8]>, AttributeError> {
    let malformed = AttributeError::Malformed(value.len());
    let (head, entries) = value.split_first_chunk::<4>().ok_or(malformed)?;
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*head) != 2 || !rest.is_empty() {
        return Err(malformed);
    }
    let mut out = head.to_vec();
    for [kind, zero, p, q, a, b, c, d] in entries.iter().copied() {
        let mut id = u32::from_le_bytes([a, b, c, d]);
        // ACL_USER and ACL_GROUP; the other kinds name nobody.
        if matches!(u16::from_le_bytes([kind, zero]), 0x02 | 0x08) {
            id = change(id).ok_or(AttributeError::Id(id))?;
        }
        out.extend([kind, zero, p, q]);
        out.extend(id.to_le_bytes());
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &[u8] = b"security.capability";

    /// `cap_net_raw+ep` as setcap(8) writes it.
    const PING: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn capabilities_lose_and_gain_their_root() {
        let outside = to_outside(NAME, &PING, IdShift::ROOT).unwrap();
        assert_eq!(outside.len(), 24);
        assert_eq!((&outside[..4], &outside[20..]), (&[1, 0, 0, 3][..], &[0, 0, 0, 0x60][..]));
        assert_eq!(*to_inside(NAME, &outside, IdShift::ROOT).unwrap(), PING);
        assert_eq!(*to_outside(NAME, &PING, IdShift::NONE).unwrap(), PING);
        assert_eq!(*to_inside(NAME, &PING, IdShift::NONE).unwrap(), PING);
        assert_eq!(to_inside(NAME, &outside, IdShift::NONE), Err(AttributeError::Id(0x6000_0000)));
    }

    #[test]
    fn lists_of_permissions_shift_their_ids() {
        let list = |id: u32| {
            let entry = |kind: u16, id: u32| [&kind.to_le_bytes()[..], &[7, 0], &id.to_le_bytes()].concat();
            [&2u32.to_le_bytes()[..], &entry(1, u32::MAX), &entry(8, id), &entry(0x20, u32::MAX)].concat()
        };
        let name = b"system.posix_acl_access";
        assert_eq!(*to_outside(name, &list(4), IdShift::ROOT).unwrap(), *list(0x6000_0004));
        assert_eq!(*to_inside(name, &list(0x6000_0004), IdShift::ROOT).unwrap(), *list(4));
        assert_eq!(to_inside(name, &list(4), IdShift::ROOT), Err(AttributeError::Id(4)));
        assert_eq!(to_outside(name, &list(70_000), IdShift::NONE), Err(AttributeError::Id(70_000)));
    }

    #[test]
    fn malformed_values_are_named_not_guessed() {
        for length in 0..40 {
            if ![20, 24].contains(&length) {
                let value = vec![2; length];
                assert_eq!(to_inside(NAME, &value, IdShift::ROOT), Err(AttributeError::Malformed(length)));
            }
            let acl = vec![9; length];
            assert!(to_inside(b"system.posix_acl_default", &acl, IdShift::ROOT).is_err());
        }
    }

    #[test]
    fn only_attributes_of_the_image_are_kept() {
        for kept in [&b"user.mime_type"[..], NAME, b"system.posix_acl_default"] {
            assert!(is_kept(kept));
        }
        for dropped in
            [&b"user.overlay.opaque"[..], b"trusted.overlay.opaque", b"security.selinux", b"trusted.x"]
        {
            assert!(!is_kept(dropped));
        }
    }
}
