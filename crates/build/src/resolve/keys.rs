//! Whose signatures count for an archive of a recipe.

use std::path::Path;

use selfsame_apt::openpgp::{Fingerprint, Keyring, debian_fingerprints};
use selfsame_apt::snapshot::ArchiveSpec;
use selfsame_image::tree::Content;
use selfsame_store::Store;

use super::ArchiveError;
use crate::recipe::{FilesError, Keys, Recipe, resolve};

/// The keys of the archive `name`, and what is asked of its `suite`.
///
/// # Panics
/// If the recipe has no such archive.
pub(crate) fn terms(
    recipe: &Recipe,
    name: &str,
    suite: &str,
) -> Result<(Keyring, ArchiveSpec), ArchiveError> {
    let archive = &recipe.archives[name];
    let (keys, fingerprints) = match &archive.keys {
        Keys::Debian => {
            if debian_fingerprints(suite).is_empty() {
                let (archive, suite) = (name.to_owned(), suite.to_owned());
                return Err(ArchiveError::UnknownSuite { archive, suite });
            }
            (Keyring::debian(), Vec::new())
        }
        Keys::File { file, fingerprints } => {
            let archive = || name.to_owned();
            let bytes = read_keys(&recipe.dir, file)
                .map_err(|source| ArchiveError::KeyFile { archive: archive(), source })?;
            let keys = Keyring::from_bytes(&bytes)
                .map_err(|source| ArchiveError::Keys { archive: archive(), source })?;
            // The recipe's parser lets only fingerprints through.
            (keys, fingerprints.iter().filter_map(|text| text.parse::<Fingerprint>().ok()).collect())
        }
    };
    let spec = ArchiveSpec {
        name: name.to_owned(),
        mirrors: Vec::new(),
        suites: archive.suites.clone(),
        components: archive.components.clone(),
        architectures: vec![recipe.packages.architecture.clone()],
        keyring: None,
        fingerprints,
        threshold: usize::from(archive.threshold),
    };
    Ok((keys, spec))
}

/// Puts the key file `file` into `store`.
pub(crate) fn keep(recipe: &Recipe, name: &str, file: &Path, store: &Store) -> Result<Content, ArchiveError> {
    let failed = |source| ArchiveError::KeyFile { archive: name.to_owned(), source };
    let bytes = read_keys(&recipe.dir, file).map_err(failed)?;
    store.put(&bytes)?;
    Ok(Content::of(&bytes))
}

/// The bytes of the key file `relative` of the recipe in `dir`, which no link may lead out of.
fn read_keys(dir: &Path, relative: &Path) -> Result<Vec<u8>, FilesError> {
    let path = resolve(dir, relative)?;
    std::fs::read(&path).map_err(|source| FilesError::Io { path: dir.join(relative), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_outside_the_recipe_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = dir.path().join("r");
        std::fs::create_dir(&recipe).unwrap();
        std::fs::write(dir.path().join("key"), "secret").unwrap();
        std::fs::write(recipe.join("mine"), "key").unwrap();
        std::os::unix::fs::symlink("../key", recipe.join("out")).unwrap();
        std::os::unix::fs::symlink("mine", recipe.join("in")).unwrap();
        let read = |name: &str| read_keys(&recipe, Path::new(name));
        assert_eq!(read("in").unwrap(), b"key");
        assert!(matches!(read("out"), Err(FilesError::Leaves { .. })));
        assert!(matches!(read("none"), Err(FilesError::Io { .. })));
    }
}
