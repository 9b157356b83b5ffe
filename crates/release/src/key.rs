//! Keys of rebuilders: Ed25519 (RFC 8032) in the PEM files that OpenSSL writes.

use std::fmt;

use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use ed25519_dalek::pkcs8::spki::der::pem;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use selfsame_image::Digest;

/// What stands before the 32 bytes of a key in a SubjectPublicKeyInfo (RFC 8410, section 4).
const PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The same with the NULL parameters that RFC 8410 forbids and rebuilderd writes.
const PREFIX_WITH_NULL: [u8; 14] =
    [0x30, 0x2c, 0x30, 0x07, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x05, 0x00, 0x03, 0x21, 0x00];

/// The secret half: signs results.
pub struct SecretKey(SigningKey);

/// The public half: a policy names it.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// Name of a key: the SHA-256 of its SubjectPublicKeyInfo in DER, which is what
/// `openssl pkey -pubin -in key.pem -outform DER | sha256sum` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(pub Digest);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text is no key that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Not PEM, or more than one block of it.
    #[error("it is not one block of PEM: {0}")]
    Pem(String),
    /// PEM of something else.
    #[error("it is a {found:?}, not a {expected:?}")]
    Label {
        /// What the first line says.
        found: String,
        /// What it should say.
        expected: &'static str,
    },
    /// A key of another algorithm, or damaged.
    #[error("it is not an Ed25519 key")]
    Algorithm,
    /// A public key of small order, for which anybody can make signatures.
    #[error("it is a key for which anybody can make signatures")]
    Weak,
    /// A public key that no honest program makes: written in a second way, or with a part of small order. Programs differ in
    /// which signatures they take for such keys.
    #[error("it is a key that no honest program makes: not canonical, or not of prime order")]
    Mixed,
}

impl SecretKey {
    /// Reads PKCS #8 in PEM, as `openssl genpkey -algorithm ed25519` writes it.
    pub fn from_pem(text: &str) -> Result<Self, BadKey> {
        contents(text, "PRIVATE KEY")?;
        SigningKey::from_pkcs8_pem(bare(text)).map(Self).map_err(|_| BadKey::Algorithm)
    }

    /// The half that may be given away.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// 64 bytes; the same each time.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {}", self.public().id())
    }
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo in PEM, as `openssl pkey -pubout` writes it, or rebuilderd.
    pub fn from_pem(text: &str) -> Result<Self, BadKey> {
        let der = contents(text, "PUBLIC KEY")?;
        let bytes = der.strip_prefix(&PREFIX).or_else(|| der.strip_prefix(&PREFIX_WITH_NULL));
        let bytes: &[u8; 32] = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(BadKey::Algorithm)?;
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| BadKey::Algorithm)?;
        if key.is_weak() {
            return Err(BadKey::Weak);
        }
        let point = key.to_edwards();
        let honest = point.is_torsion_free() && point.compress().as_bytes() == bytes;
        if honest { Ok(Self(key)) } else { Err(BadKey::Mixed) }
    }

    /// Its name.
    pub fn id(&self) -> KeyId {
        KeyId(Digest::of(&[&PREFIX[..], self.0.as_bytes()].concat()))
    }

    /// Whether `signature` is one of this key over `message`.
    ///
    /// Strictly: nobody can write a signature in a second way, and points of small order are refused.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey {}", self.id())
    }
}

/// `text` without white space around it, and without the byte order mark that some editors write.
fn bare(text: &str) -> &str {
    text.trim_start_matches('\u{feff}').trim()
}

/// What is in the only block of `text`, which must have this label.
fn contents(text: &str, expected: &'static str) -> Result<Vec<u8>, BadKey> {
    let (found, der) =
        pem::decode_vec(bare(text).as_bytes()).map_err(|error| BadKey::Pem(error.to_string()))?;
    if found == expected { Ok(der) } else { Err(BadKey::Label { found: found.to_owned(), expected }) }
}

#[cfg(test)]
pub(crate) mod tests {
    use ed25519_dalek::pkcs8::EncodePublicKey as _;
    use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;

    use super::*;

    /// The key whose secret is 32 times `seed`.
    pub(crate) fn secret(seed: u8) -> SecretKey {
        SecretKey(SigningKey::from_bytes(&[seed; 32]))
    }

    /// The public half of `secret(seed)` as PEM.
    pub(crate) fn public_pem(seed: u8) -> String {
        secret(seed).0.verifying_key().to_public_key_pem(LineEnding::LF).unwrap()
    }

    /// The same as rebuilderd writes it.
    pub(crate) fn public_pem_with_null(seed: u8) -> String {
        as_pem("PUBLIC KEY", &[&PREFIX_WITH_NULL[..], secret(seed).public().0.as_bytes()].concat())
    }

    fn as_pem(label: &str, der: &[u8]) -> String {
        pem::encode_string(label, LineEnding::CRLF, der).unwrap()
    }

    #[test]
    fn both_forms_of_a_public_key_are_the_same_key() {
        let key = secret(7).public();
        assert_eq!(PublicKey::from_pem(&public_pem(7)).unwrap(), key);
        let other = PublicKey::from_pem(&public_pem_with_null(7)).unwrap();
        assert_eq!((other.id(), &other), (key.id(), &key));
    }

    #[test]
    fn a_byte_order_mark_before_a_key_is_passed_over() {
        assert_eq!(PublicKey::from_pem(&format!("\u{feff}{}", public_pem(7))).unwrap(), secret(7).public());
        let der = [&[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20][..], &[7; 32]];
        let pem = format!("\u{feff}{}", as_pem("PRIVATE KEY", &der.concat()));
        assert_eq!(SecretKey::from_pem(&pem).unwrap().public(), secret(7).public());
    }

    #[test]
    fn keys_that_no_honest_program_makes_are_refused() {
        // A true key to which the point of order 2, (0, -1), was added: (x, y) becomes (-x, -y).
        let key = secret(7).public();
        let mut mixed = *key.0.as_bytes();
        let sign = mixed[31] & 0x80;
        mixed[31] &= 0x7f;
        // p - y, with p = 2^255 - 19.
        let mut borrow = 0;
        for (at, byte) in mixed.iter_mut().enumerate() {
            let prime = match at {
                0 => 0xed,
                31 => 0x7f,
                _ => 0xff,
            };
            let rest = prime - i32::from(*byte) - borrow;
            borrow = i32::from(rest < 0);
            *byte = u8::try_from(rest.rem_euclid(256)).unwrap();
        }
        mixed[31] |= sign ^ 0x80;
        let read =
            |bytes: &[u8; 32]| PublicKey::from_pem(&as_pem("PUBLIC KEY", &[&PREFIX[..], bytes].concat()));
        let point = VerifyingKey::from_bytes(&mixed).unwrap().to_edwards();
        assert!(!point.is_small_order() && !point.is_torsion_free());
        assert_eq!(read(&mixed), Err(BadKey::Mixed));
        // y from p to 2^255 - 1 are a second way to write 0 to 18; those that are points are refused, each.
        let mut refused = 0;
        for low in 0xed..=0xff {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (low, 0x7f);
            if VerifyingKey::from_bytes(&bytes).is_ok() {
                assert!(matches!(read(&bytes), Err(BadKey::Weak | BadKey::Mixed)), "{low}");
                refused += 1;
            }
        }
        assert!(refused > 2);
    }

    #[test]
    fn what_is_no_key_is_refused_and_told() {
        let der = [&PREFIX[..], secret(7).public().0.as_bytes()].concat();
        let mut rsa = der.clone();
        rsa[8] = 0x71;
        let weak = [&PREFIX[..], &[1], &[0; 31]].concat();
        let label = BadKey::Label { found: "CERTIFICATE".into(), expected: "PUBLIC KEY" };
        for (text, expected) in [
            (as_pem("CERTIFICATE", &der), label),
            (as_pem("PUBLIC KEY", &der[..43]), BadKey::Algorithm),
            (as_pem("PUBLIC KEY", &[&der[..], &[0]].concat()), BadKey::Algorithm),
            (as_pem("PUBLIC KEY", &rsa), BadKey::Algorithm),
            (as_pem("PUBLIC KEY", &weak), BadKey::Weak),
        ] {
            assert_eq!(PublicKey::from_pem(&text), Err(expected), "{text}");
        }
        for text in [String::new(), "key".into(), public_pem(1) + &public_pem(2)] {
            assert!(matches!(PublicKey::from_pem(&text), Err(BadKey::Pem(_))), "{text}");
        }
        assert!(matches!(SecretKey::from_pem(&public_pem(1)), Err(BadKey::Label { .. })));
        assert_eq!(SecretKey::from_pem(&as_pem("PRIVATE KEY", &der)).unwrap_err(), BadKey::Algorithm);
    }

    #[test]
    fn a_secret_key_does_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", secret(7)), format!("SecretKey of {}", secret(7).public().id()));
    }
}
