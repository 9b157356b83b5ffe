//! Cache entries on a remote: signed, because no digest says beforehand what they should be.
//!
//! ```text
//! selfsame entry 1 <kind> <key> <SHA-256 of the payload> <length of the payload> <signature of all before the space>\n
//! <payload>
//! ```
//! A reader makes the statement from what it asked for and what it found, so that an entry under another one's name, and
//! every changed bit, is noticed.

use selfsame_image::digest::Digest;

use super::{PublicKey, SecretKey};

/// Why an entry is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// The header does not fit what was asked for, or the bytes behind it.
    #[error("it is not what its name says, or not whole")]
    Other,
    /// Somebody else made it.
    #[error("its signature is not one of the key that is trusted")]
    Signature,
}

fn statement(kind: &str, key: &Digest, payload: &[u8]) -> String {
    format!("selfsame entry 1 {kind} {key} {} {}", Digest::of(payload), payload.len())
}

/// The object that holds `payload`: the same each time it is made.
pub(super) fn seal(secret: &SecretKey, kind: &str, key: &Digest, payload: &[u8]) -> Vec<u8> {
    let statement = statement(kind, key, payload);
    let header = format!("{statement} {}\n", secret.sign(&statement));
    [header.as_bytes(), payload].concat()
}

/// The payload of `object`, if `trusted` signed it as that of `kind` and `key`.
pub(super) fn open(
    trusted: &PublicKey,
    kind: &str,
    key: &Digest,
    mut object: Vec<u8>,
) -> Result<Vec<u8>, Untrusted> {
    let start = object.iter().position(|byte| *byte == b'\n').ok_or(Untrusted::Other)? + 1;
    let (header, payload) = object.split_at(start);
    let header = std::str::from_utf8(header).map_err(|_| Untrusted::Other)?.trim_end_matches('\n');
    let (said, signature) = header.rsplit_once(' ').ok_or(Untrusted::Other)?;
    let expected = statement(kind, key, payload);
    if said != expected {
        return Err(Untrusted::Other);
    }
    if !trusted.verifies(&expected, signature) {
        return Err(Untrusted::Signature);
    }
    object.drain(..start);
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_signed_under_this_name_comes_back() {
        let secret = SecretKey::generate().unwrap();
        let (public, key) = (secret.public(), Digest::of(b"key"));
        let object = seal(&secret, "squashfs", &key, b"pay\nload");
        assert_eq!(object, seal(&secret, "squashfs", &key, b"pay\nload"), "names are immutable");
        let open = |object: &[u8]| open(&public, "squashfs", &key, object.to_vec());
        assert_eq!(open(&object).unwrap(), b"pay\nload");
        for at in 0..object.len() {
            for bit in [1, 0x20, 0x80] {
                let mut changed = object.clone();
                changed[at] ^= bit;
                // Digits may be written in capitals: that is the same signature.
                let same =
                    String::from_utf8_lossy(&changed).eq_ignore_ascii_case(&String::from_utf8_lossy(&object));
                assert!(open(&changed).is_err() || (same && open(&changed).unwrap() == b"pay\nload"), "{at}");
            }
            open(&object[..at]).unwrap_err();
        }
        open(&[&object[..], b"x"].concat()).unwrap_err();
        let other = SecretKey::generate().unwrap();
        assert_eq!(open(&seal(&other, "squashfs", &key, b"pay\nload")), Err(Untrusted::Signature));
        assert_eq!(
            open(&seal(&secret, "squashfs", &Digest::of(b"other"), b"pay\nload")),
            Err(Untrusted::Other)
        );
        assert_eq!(open(&seal(&secret, "zisofs", &key, b"pay\nload")), Err(Untrusted::Other));
    }
}
