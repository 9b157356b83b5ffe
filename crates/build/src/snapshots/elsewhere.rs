//! What others saw, in the store: one record for each sighting, added and never changed, and the signed file as a blob.
//!
//! It is kept apart from the history of what was seen here: whoever imports files of others must be able to do so without
//! making an honest mirror look like one that goes back.

use selfsame_apt::snapshot::{Elsewhere, Sighting};
use selfsame_image::Digest;
use selfsame_store::{Store, StoreError};

use super::KeptError;

/// Kind of the records.
const KIND: &str = "elsewhere";

/// All that `store` knows others to have seen.
pub fn elsewhere(store: &Store) -> Result<Elsewhere, KeptError> {
    let mut all = Elsewhere::default();
    for key in store.record_keys(KIND)? {
        let Some(bytes) = store.record_get(KIND, &key)? else { continue };
        let line = std::str::from_utf8(&bytes).ok().and_then(Sighting::parse);
        let unreadable =
            || KeptError::Unreadable { kind: KIND, key, problem: "it is not a sighting".to_owned() };
        all.add(line.ok_or_else(unreadable)?);
    }
    Ok(all)
}

/// Adds a sighting of `file` to `store`, and to `all` of it. Returns whether it is new.
pub(super) fn add(
    store: &Store,
    all: &mut Elsewhere,
    one: Sighting,
    file: &[u8],
) -> Result<bool, StoreError> {
    let line = one.to_string();
    let new = all.add(one);
    if new {
        store.put(file)?;
        store.record_put(KIND, &Digest::of(line.as_bytes()), line.as_bytes())?;
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use selfsame_apt::openpgp::Form;

    use super::*;

    #[test]
    fn sightings_are_added_once_with_their_file_and_odd_records_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("s")).unwrap();
        let one = Sighting {
            archive: "debian".to_owned(),
            codename: "sid".to_owned(),
            date: 5,
            text: Digest::of(b"text"),
            file: Digest::of(b"file"),
            form: Form::InRelease,
            source: "a friend".to_owned(),
        };
        let mut all = elsewhere(&store).unwrap();
        assert_eq!(all.iter().count(), 0);
        assert!(add(&store, &mut all, one.clone(), b"file").unwrap());
        assert!(!add(&store, &mut all, one.clone(), b"file").unwrap());
        assert!(store.contains(&one.file));
        assert_eq!(elsewhere(&store).unwrap(), all);
        assert_eq!(super::super::history(&store).unwrap(), Default::default(), "nothing was seen here");
        store.record_put(KIND, &Digest::of(b"x"), b"debian sid\n").unwrap();
        let message = elsewhere(&store).unwrap_err().to_string();
        assert!(message.ends_with("of kind elsewhere cannot be read: it is not a sighting"), "{message}");
    }
}
