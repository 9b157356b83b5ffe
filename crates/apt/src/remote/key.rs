//! Keys of whoever compresses for others: Ed25519 (RFC 8032).

use std::fmt;
use std::fs::File;
use std::io;
use std::io::Read;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use selfsame_image::digest::Digest;

const FIRST_LINE: &str = "selfsame secret key 1";
const ALGORITHM: &str = "ed25519:";

/// The secret half: signs what is pushed.
pub struct SecretKey(SigningKey);

/// The public half: whoever names it believes what the other half signed. Displays as `ed25519:` and 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// A text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Not the public half of a key.
    #[error("a public key is `ed25519:` and 64 hexadecimal digits")]
    Public,
    /// Not a file of this program.
    #[error("a secret key file has the line {FIRST_LINE:?} and one of 64 hexadecimal digits")]
    Secret,
}

impl SecretKey {
    /// A key that nobody else has.
    ///
    /// # Errors
    /// If the kernel gives no random bytes.
    pub fn generate() -> io::Result<Self> {
        let mut seed = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut seed)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Reads what [`SecretKey::to_text`] gave.
    pub fn from_text(text: &str) -> Result<Self, BadKey> {
        let (first, seed) = text.trim_end().split_once('\n').ok_or(BadKey::Secret)?;
        let seed: Digest = seed.parse().map_err(|_| BadKey::Secret)?;
        if first == FIRST_LINE { Ok(Self(SigningKey::from_bytes(&seed.0))) } else { Err(BadKey::Secret) }
    }

    /// The text of a key file. Whoever has it can sign.
    pub fn to_text(&self) -> String {
        format!("{FIRST_LINE}\n{}\n", Digest(self.0.to_bytes()))
    }

    /// The half that may be given away.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// 128 hexadecimal digits.
    pub(super) fn sign(&self, statement: &str) -> String {
        self.0.sign(statement.as_bytes()).to_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {}", self.public())
    }
}

impl PublicKey {
    /// The 64 hexadecimal digits, for names of objects.
    pub(super) fn digits(&self) -> String {
        Digest(self.0.to_bytes()).to_string()
    }

    /// Whether `signature`, in hexadecimal digits, is one of this key over `statement`.
    pub(super) fn verifies(&self, statement: &str, signature: &str) -> bool {
        // The halves of a signature are as long as a digest, and in one spelling only.
        let Some((r, s)) = signature.split_at_checked(64) else { return false };
        let (Ok(r), Ok(s)) = (r.parse::<Digest>(), s.parse::<Digest>()) else { return false };
        // `strict` refuses keys of small order, for which a signature of one statement can be one of another.
        self.0.verify_strict(statement.as_bytes(), &Signature::from_components(r.0, s.0)).is_ok()
    }
}

impl FromStr for PublicKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let digits = text.trim().strip_prefix(ALGORITHM).ok_or(BadKey::Public)?;
        let bytes: Digest = digits.parse().map_err(|_| BadKey::Public)?;
        VerifyingKey::from_bytes(&bytes.0).map(Self).map_err(|_| BadKey::Public)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}{}", self.digits())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_being_written_down() {
        let secret = SecretKey::generate().unwrap();
        let public: PublicKey = secret.public().to_string().parse().unwrap();
        let again = SecretKey::from_text(&secret.to_text()).unwrap();
        let signature = again.sign("statement");
        assert!(public.verifies("statement", &signature) && !public.verifies("statements", &signature));
        assert!(!SecretKey::generate().unwrap().public().verifies("statement", &signature));
        assert!(!format!("{secret:?}").contains(&secret.to_text()[FIRST_LINE.len() + 1..]));
    }

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn signatures_are_those_of_the_standard() {
        let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
        let secret = SecretKey::from_text(&format!("{FIRST_LINE}\n{seed}\n")).unwrap();
        let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        assert_eq!(secret.public().to_string(), format!("ed25519:{public}"));
        let signature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        assert_eq!(secret.sign("r"), signature);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let digits = "0".repeat(63);
        for bad in
            ["", "ed25519:", &format!("ed25519:{digits}"), &format!("{digits}0"), &format!("rsa:{digits}0")]
        {
            assert_eq!(bad.parse::<PublicKey>(), Err(BadKey::Public), "{bad}");
        }
        for bad in ["", FIRST_LINE, &format!("{FIRST_LINE}\n{digits}\n"), &format!("other\n{digits}0\n")] {
            assert_eq!(SecretKey::from_text(bad).unwrap_err(), BadKey::Secret, "{bad}");
        }
        let public = SecretKey::generate().unwrap().public();
        for bad in ["", "0", &"0".repeat(127), &"0".repeat(128), &"é".repeat(64)] {
            assert!(!public.verifies("", bad), "{bad}");
        }
    }
}
