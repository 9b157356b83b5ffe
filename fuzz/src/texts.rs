//! Readers of texts and words of our own.

use selfsame_image::codec::Codec;
use selfsame_image::codec::remake::Shape;
use selfsame_image::gpt::Guid;
use selfsame_image::squashfs::Sort;
use selfsame_image::tree::{self, Name, Pattern};
use selfsame_image::{Digest, epoch};

use super::structure::{halves, text, walk};

/// The text of a tree.
pub(crate) fn tree(bytes: &[u8]) {
    let Ok(tree) = tree::text::parse(bytes) else { return };
    walk(&tree);
    let _digests = tree::merkle::digests(&tree);
    let text = tree::text::to_string(&tree);
    assert_eq!(text.as_bytes(), bytes, "a tree has one text");
}

/// A list of priorities, and the paths it is asked for: itself.
pub(crate) fn sort(bytes: &[u8]) {
    let Ok(sort) = Sort::parse(bytes) else { return };
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        let _priority = sort.priority(line);
    }
}

/// A pattern, a zero, and a path.
pub(crate) fn pattern(bytes: &[u8]) {
    let (pattern, path) = halves(bytes);
    let Some(Ok(pattern)) = text(pattern).map(str::parse::<Pattern>) else { return };
    let matches = pattern.matches(path);
    let again: Pattern = pattern.to_string().parse().expect("what a pattern prints as is one");
    assert_eq!(again.matches(path), matches, "and the same one");
}

/// Single words: digests, identifiers, codecs, names of files, keys.
pub(crate) fn words(bytes: &[u8]) {
    let _name = Name::new(bytes);
    let Some(word) = text(bytes) else { return };
    if let Ok(digest) = word.parse::<Digest>() {
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }
    if let Ok(guid) = word.parse::<Guid>() {
        assert_eq!(guid.to_string().parse(), Ok(guid));
        assert_eq!(Guid::from_disk(guid.to_disk()), guid);
    }
    if let Ok(codec) = word.parse::<Codec>() {
        assert_eq!(codec.to_string().parse(), Ok(codec));
    }
    if let Ok(shape) = word.parse::<Shape>() {
        assert_eq!(shape.to_string(), word);
    }
    if let Ok(fingerprint) = word.parse::<selfsame_apt::openpgp::Fingerprint>() {
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
    }
    if let Ok(key) = word.parse::<selfsame_apt::remote::PublicKey>() {
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    if let Ok(key) = selfsame_apt::remote::SecretKey::from_text(word) {
        let again = selfsame_apt::remote::SecretKey::from_text(&key.to_text()).expect("it was written so");
        assert_eq!(again.public(), key.public());
    }
    let _path = selfsame_apt::release::check_path(word);
    let _source = selfsame_apt::snapshot::check_source(word);
}

/// Moments.
pub(crate) fn date(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(seconds) = selfsame_apt::date::parse(text) {
        let _serial = selfsame_apt::date::serial(seconds);
        assert!((0..=i64::from(u32::MAX)).contains(&seconds), "{seconds} is a time of an image");
    }
    if let Ok(moment) = selfsame_build::time::parse_epoch(text) {
        let again = epoch::civil(moment.0).to_string();
        assert_eq!(selfsame_build::time::parse_epoch(&again), Ok(moment));
    }
}
