//! Sets of certificates.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use pgp::composed::{SignedPublicKey, SignedPublicKeyParser};
use pgp::packet::{Packet, PacketParser, PacketTrait};
use pgp::types::{KeyDetails, Tag};

use super::cert::{Cert, Key};
use super::lines::Lines;
use super::verify::guarded;
use super::{Fingerprint, Framing, FramingRule, KeyProblem, PacketProblem, armor, debian};

/// Most bytes of a keyring file.
const MAX_SIZE: usize = 4 << 20;
/// Most packets of a keyring file.
const MAX_PACKETS: usize = 20_000;

/// Certificates that signatures are checked against. Cheap to clone.
///
/// Being in a keyring makes a key known, not trusted: [`super::Policy`] names those that count.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    certs: Arc<Vec<Cert>>,
}

/// Why a keyring cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// Above the limit of 4 MiB.
    #[error("keyring of {size} bytes is above the limit of {MAX_SIZE}")]
    TooLong {
        /// Length in bytes.
        size: usize,
    },
    /// Armored, but not only and not well.
    #[error("armored keyring is malformed")]
    Framing(#[from] Framing),
    /// A packet that cannot be read, or does not belong into a keyring.
    #[error("keyring packet {packet}")]
    Packet {
        /// Number of the packet, counted from 1.
        packet: usize,
        /// What is wrong with it.
        source: PacketProblem,
    },
    /// A secret key, which must not be handed around.
    #[error("keyring packet {packet} is a secret key")]
    Secret {
        /// Number of the packet, counted from 1.
        packet: usize,
    },
    /// The packets do not make a certificate.
    #[error("certificate {certificate} of the keyring")]
    Certificate {
        /// Number of the certificate, counted from 1.
        certificate: usize,
        /// What is wrong.
        source: PacketProblem,
    },
    /// No certificate at all.
    #[error("keyring is empty")]
    Empty,
    /// The OpenPGP library failed in a way it should not.
    #[error("the OpenPGP library panicked on this keyring")]
    Crashed,
}

impl Keyring {
    /// Debian's archive keys since buster, as built into this program.
    pub fn debian() -> Self {
        static DEBIAN: LazyLock<Keyring> = LazyLock::new(|| {
            Keyring::from_bytes(debian::KEYS.concat().as_bytes())
                .expect("the built-in keys are read in a test")
        });
        DEBIAN.clone()
    }

    /// Reads certificates, binary or in one or more armored blocks.
    ///
    /// A certificate given twice is merged, so that a revocation in one copy holds. Certificates of unknown versions
    /// are left out.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyringError> {
        if bytes.len() > MAX_SIZE {
            return Err(KeyringError::TooLong { size: bytes.len() });
        }
        let armored = bytes.trim_ascii_start().starts_with(b"-----BEGIN");
        let binary = if armored { dearmor(bytes)? } else { bytes.to_vec() };
        guarded(|| read(&binary)).unwrap_or(Err(KeyringError::Crashed))
    }

    /// Fingerprints of the primary keys, sorted.
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        self.certs.iter().map(|cert| cert.fingerprint).collect()
    }

    /// Why nothing that the primary key `fingerprint` or one of its subkeys signs at time `at` would count; `None` if it
    /// would, or the key is not known.
    pub fn problem(&self, fingerprint: &Fingerprint, at: i64) -> Option<KeyProblem> {
        let keys = &self.certs.iter().find(|cert| cert.fingerprint == *fingerprint)?.keys;
        let problems: Option<Vec<_>> = keys.iter().map(|key| key.check(at).err()).collect();
        // Expiry of a subkey says when signing ended; the primary may never have been one to sign.
        problems?.into_iter().min_by_key(|problem| matches!(problem, KeyProblem::NotForSigning))
    }

    /// All keys with the fingerprint of their primary.
    pub(super) fn keys(&self) -> impl Iterator<Item = (Fingerprint, &Key)> {
        self.certs.iter().flat_map(|cert| cert.keys.iter().map(|key| (cert.fingerprint, key)))
    }
}

fn dearmor(bytes: &[u8]) -> Result<Vec<u8>, Framing> {
    let mut lines = Lines::new(bytes)?;
    let mut binary = Vec::new();
    while let Some(line) = lines.next() {
        match line.trim_ascii() {
            "" => {}
            "-----BEGIN PGP PUBLIC KEY BLOCK-----" => {
                binary.extend(armor::decode(&mut lines, "PUBLIC KEY BLOCK")?);
            }
            _ => return Err(lines.breaks(FramingRule::Start)),
        }
    }
    Ok(binary)
}

fn read(binary: &[u8]) -> Result<Keyring, KeyringError> {
    let mut packets = Vec::new();
    for (index, packet) in PacketParser::new(binary).enumerate() {
        let number = index + 1;
        let refuse = |source| KeyringError::Packet { packet: number, source };
        if number > MAX_PACKETS {
            return Err(refuse(PacketProblem::TooMany { limit: MAX_PACKETS }));
        }
        let packet = packet.map_err(|error| refuse(PacketProblem::of(&error)))?;
        match packet.tag() {
            Tag::PublicKey | Tag::PublicSubkey | Tag::UserId | Tag::UserAttribute | Tag::Signature => {
                packets.push(packet);
            }
            // GnuPG's own keyring files have these; they say nothing to others.
            Tag::Trust | Tag::Marker | Tag::Padding => {}
            Tag::SecretKey | Tag::SecretSubkey => return Err(KeyringError::Secret { packet: number }),
            other => return Err(refuse(PacketProblem::Misplaced { tag: other.into() })),
        }
    }
    if let Some(first) = packets.first().filter(|packet| !matches!(packet, Packet::PublicKey(_))) {
        let source = PacketProblem::Misplaced { tag: first.tag().into() };
        return Err(KeyringError::Packet { packet: 1, source });
    }
    let mut merged: BTreeMap<Fingerprint, SignedPublicKey> = BTreeMap::new();
    let parser = SignedPublicKeyParser::from_packets(packets.into_iter().map(Ok).peekable());
    for (index, certificate) in parser.enumerate() {
        let refuse = |source| KeyringError::Certificate { certificate: index + 1, source };
        let certificate = certificate.map_err(|error| refuse(PacketProblem::of(&error)))?;
        let Some(fingerprint) = Fingerprint::of(&certificate.primary_key.fingerprint()) else {
            continue;
        };
        match merged.entry(fingerprint) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(certificate);
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => merge(entry.get_mut(), certificate),
        }
    }
    let certs: Vec<_> = merged.values().filter_map(Cert::judge).collect();
    if certs.is_empty() { Err(KeyringError::Empty) } else { Ok(Keyring { certs: Arc::new(certs) }) }
}

fn merge(into: &mut SignedPublicKey, other: SignedPublicKey) {
    into.details.revocation_signatures.extend(other.details.revocation_signatures);
    into.details.direct_signatures.extend(other.details.direct_signatures);
    into.details.users.extend(other.details.users);
    into.public_subkeys.extend(other.public_subkeys);
}
