//! Who signed an `InRelease` file, judged as of a given time.
//!
//! [`verify_inrelease`] and, for what others kept, [`verify_collected`] are the only ways from a signed file to its text.
//! Cryptography and packet parsing are those of the `pgp` crate; framing and every policy decision are here, and none of
//! them reads a clock:
//!
//! - The file is one cleartext-signed text and one block of version 4 or 6 text signatures, nothing else.
//! - A signature counts for the primary key it descends from, once however often it signed, and only if that primary is
//!   in the policy. MD5, SHA-1 and RIPEMD-160 never count; neither do RSA keys below 2048 bits, nor DSA.
//! - A key must have been valid when it signed. That it expired since does not matter. A hard revocation (compromised,
//!   or no reason given) ends a key for all times; a soft one (retired, superseded) from its date on.
//! - A wrong signature by any key of the keyring refuses the file, as apt does, however many others are right.
//!
//! Sources: RFC 9580; apt's `methods/gpgv.cc`; the reasons are in `docs/decisions/openpgp.md`.

mod armor;
mod cert;
mod cleartext;
mod debian;
mod fingerprint;
mod keyring;
mod lines;
mod messages;
mod verify;

pub(crate) use cleartext::text_of;
pub use debian::debian_fingerprints;
pub use fingerprint::{Fingerprint, NotAFingerprint};
pub use keyring::{Keyring, KeyringError};
pub use messages::Messages;
pub use verify::{verify_collected, verify_inrelease};

use crate::date;

/// Which signatures are enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Fingerprints of the primary keys whose signatures count.
    pub primary_fingerprints: Vec<Fingerprint>,
    /// How many different ones must have signed, at least 1.
    pub threshold: usize,
    /// The time as of which the file is judged, in seconds since 1970-01-01 UTC: when it was fetched. No signature may be
    /// made later (but for [`crate::release::MAX_FUTURE`]) or have run out before.
    pub at: i64,
}

/// A text and who vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What was signed: LF between lines, none after the last, no blanks at line ends.
    pub text: Vec<u8>,
    /// The signatures that count, in the order of the file.
    pub signatures: Vec<Counted>,
}

impl Verified {
    /// Primary keys that signed, each once, sorted.
    pub fn signers(&self) -> Vec<Fingerprint> {
        let signers: std::collections::BTreeSet<_> = self.signatures.iter().map(|one| one.primary).collect();
        signers.into_iter().collect()
    }
}

/// A signature that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The primary key for which it counts.
    pub primary: Fingerprint,
    /// The key that made it: the primary itself or a subkey.
    pub key: Fingerprint,
    /// When it was made, by its own word, in seconds since 1970-01-01 UTC.
    pub created: i64,
    /// When it runs out, if it does.
    pub until: Option<i64>,
}

/// How a text was signed that somebody kept as a cleartext-signed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// As it is: an `InRelease` file.
    InRelease,
    /// As `Release`, with its last newline, by `Release.gpg`.
    Detached,
}

/// Why a signed file is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The file is not one signed text and one block of signatures.
    #[error("not a cleartext-signed file as archives publish them")]
    Framing(#[from] Framing),
    /// The signature block does not hold a few signature packets and nothing else.
    #[error("signature packet {packet}")]
    Packet {
        /// Number of the packet, counted from 1.
        packet: usize,
        /// What is wrong with it.
        source: PacketProblem,
    },
    /// A key of the keyring signed something else.
    #[error("the signature by {key} is not one of this text")]
    Bad {
        /// The key.
        key: Fingerprint,
    },
    /// The policy asks for nothing.
    #[error("a threshold of {threshold} with {keys} trusted keys cannot be judged")]
    Policy {
        /// Signatures asked for.
        threshold: usize,
        /// Different keys in the policy.
        keys: usize,
    },
    /// Too few trusted keys signed.
    #[error("{have} of {need} needed signatures by trusted keys{}", Uncounted::list(.uncounted))]
    Threshold {
        /// How many different primary keys of the policy signed validly.
        have: usize,
        /// How many must.
        need: usize,
        /// The other signatures, and why each does not count.
        uncounted: Vec<Uncounted>,
    },
    /// The OpenPGP library failed in a way it should not.
    #[error("the OpenPGP library panicked on this file")]
    Crashed,
}

/// What is wrong with an OpenPGP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketProblem {
    /// It breaks the rules of its type.
    #[error("packet is malformed")]
    Malformed,
    /// It ends too early.
    #[error("packet is cut short")]
    CutShort,
    /// Its version or algorithm is unknown.
    #[error("packet is of an unsupported version")]
    Unsupported,
    /// It is of a type that has no place here.
    #[error("packet of type {tag} does not belong here")]
    Misplaced {
        /// Packet type id of RFC 9580, section 5.
        tag: u8,
    },
    /// There are more than the limit allows.
    #[error("more than {limit} packets")]
    TooMany {
        /// The limit.
        limit: usize,
    },
}

impl PacketProblem {
    /// The library's own texts carry backtraces, so only the kind is kept.
    fn of(error: &pgp::errors::Error) -> Self {
        use pgp::errors::Error;
        match error {
            Error::InvalidPacketContent { source } => Self::of(source),
            Error::Unsupported { .. } | Error::Unimplemented { .. } => Self::Unsupported,
            Error::PacketIncomplete { .. } | Error::RequestedSizeTooLarge => Self::CutShort,
            Error::IO { source, .. } if source.kind() == std::io::ErrorKind::UnexpectedEof => Self::CutShort,
            _ => Self::Malformed,
        }
    }
}

/// A signature that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncounted {
    /// The key that made it, as far as known: a fingerprint, a key id, or nothing.
    pub issuer: String,
    /// Why it does not count.
    pub reason: Reason,
}

impl Uncounted {
    fn list(all: &[Self]) -> String {
        all.iter().map(|one| format!("; {} {}", one.issuer, one.reason)).collect()
    }
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// No key of the keyring made it.
    #[error("is not in the keyring")]
    UnknownKey,
    /// The key's primary is in the keyring, but not in the policy.
    #[error("belongs to {primary}, which is not trusted here")]
    NotTrusted {
        /// The primary key.
        primary: Fingerprint,
    },
    /// A version, type or algorithm that is not used for archives, or a condition that is not understood.
    #[error("made a signature with unsupported {what}")]
    Unsupported {
        /// What is unsupported.
        what: &'static str,
    },
    /// A hash that can be forged.
    #[error("signed with the weak hash {hash}")]
    WeakHash {
        /// Its name.
        hash: String,
    },
    /// Made after the time as of which is judged.
    #[error("signed at {}, after the time {}", date::serial(*.created), date::serial(*.at))]
    FromTheFuture {
        /// When the signature was made.
        created: i64,
        /// As of when it is judged.
        at: i64,
    },
    /// The signature itself has run out.
    #[error("made a signature that ran out at {}", date::serial(*.until))]
    RanOut {
        /// When it ran out.
        until: i64,
    },
    /// The key could not sign at that time, or at all.
    #[error("{0}")]
    Key(KeyProblem),
}

/// Why a key may not sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyProblem {
    /// It signed before it was made.
    #[error("did not exist before {}", date::serial(*.0))]
    NotYet(i64),
    /// It had expired.
    #[error("had expired at {}", date::serial(*.0))]
    Expired(i64),
    /// It, or its primary, was retired or superseded before.
    #[error("was retired at {}", date::serial(*.0))]
    Retired(i64),
    /// It, or its primary, is revoked as compromised or without a reason.
    #[error("is revoked")]
    Revoked,
    /// No valid statement by the primary binds it.
    #[error("has no valid binding to a primary key")]
    Unbound,
    /// Its binding does not allow it to sign, or it did not agree to the binding.
    #[error("is not a signing key")]
    NotForSigning,
    /// Its algorithm or size is too weak.
    #[error("is of a weak kind")]
    Weak,
}

/// A line that breaks the framing of an armored or cleartext-signed file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {rule}")]
pub struct Framing {
    /// Number of the line, counted from 1; 0 for the file as a whole.
    pub line: usize,
    /// The rule.
    pub rule: FramingRule,
}

/// A rule of the framing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FramingRule {
    /// Longer than [`crate::release::MAX_SIZE`].
    #[error("file of {size} bytes is above the limit")]
    TooLong {
        /// Length in bytes.
        size: u64,
    },
    /// Signature packets of more than 64 KiB.
    #[error("signatures of {size} bytes are above the limit")]
    SignaturesTooLong {
        /// Length in bytes.
        size: usize,
    },
    /// A control character.
    #[error("control character {byte:#04x}")]
    Control {
        /// The byte.
        byte: u8,
    },
    /// Bytes that are not UTF-8.
    #[error("bytes that are not UTF-8")]
    NotUtf8,
    /// The first line does not begin a signed message or key block.
    #[error("file does not start with the expected armor line")]
    Start,
    /// A header of the message that is not `Hash`.
    #[error("not a Hash header")]
    MessageHeader,
    /// A line of the text with a dash that is not escaped.
    #[error("line of the text starts with a dash")]
    Dash,
    /// The file ends before the signature.
    #[error("file has no signature block")]
    NoSignature,
    /// A line that is not an armor header.
    #[error("not an armor header")]
    ArmorHeader,
    /// Not base64.
    #[error("base64 is malformed")]
    Base64,
    /// The armor's checksum is wrong.
    #[error("checksum does not match")]
    Checksum,
    /// Data after the armor's checksum.
    #[error("line after the checksum")]
    AfterChecksum,
    /// The block does not end.
    #[error("{kind} block is not closed")]
    Unclosed {
        /// What the block holds.
        kind: &'static str,
    },
    /// Something after the end of the block.
    #[error("line after the end of the signature block")]
    AfterEnd,
}

#[cfg(test)]
mod tests;
