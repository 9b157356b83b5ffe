//! How size and digest are written in a lock: `{ size = 151075, sha256 = "..." }`.

use selfsame_image::digest::{Digest, NotADigest};
use selfsame_image::tree::Content;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    size: u64,
    sha256: String,
}

impl From<&Content> for Wire {
    fn from(content: &Content) -> Self {
        Self { size: content.size, sha256: content.digest.to_string() }
    }
}

impl TryFrom<Wire> for Content {
    type Error = NotADigest;

    fn try_from(wire: Wire) -> Result<Self, NotADigest> {
        let digest: Digest = wire.sha256.parse()?;
        Ok(Self { size: wire.size, digest })
    }
}

pub(super) fn serialize<S: Serializer>(content: &Content, serializer: S) -> Result<S::Ok, S::Error> {
    Wire::from(content).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Content, D::Error> {
    Content::try_from(Wire::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// The same for something that may be absent.
pub(super) mod optional {
    use super::{Content, Deserialize, Deserializer, Serialize, Serializer, Wire};

    pub(in super::super) fn serialize<S: Serializer>(
        content: &Option<Content>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        content.as_ref().map(Wire::from).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Content>, D::Error> {
        let wire = Option::<Wire>::deserialize(deserializer)?;
        wire.map(Content::try_from).transpose().map_err(serde::de::Error::custom)
    }
}
