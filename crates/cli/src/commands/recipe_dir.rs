//! Finding a recipe on disk.

use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Name of the recipe inside its directory.
pub const RECIPE: &str = "selfsame.toml";

/// The recipe's directory, and the recipe's own path inside it.
///
/// A path of the file itself is a usual slip and is understood.
pub fn find(argument: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    let directory = match argument.file_name() {
        Some(name) if name == RECIPE && argument.is_file() => match argument.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        },
        _ => argument.to_owned(),
    };
    let recipe = directory.join(RECIPE);
    match std::fs::metadata(&recipe) {
        Ok(found) if found.is_file() => Ok((directory, recipe)),
        Ok(_) => Err(Failure::input(format!("{} is not a file", recipe.display()))),
        Err(error) if !directory.is_dir() => {
            Err(Failure::input(error)
                .context(format!("there is no recipe directory {}", directory.display())))
        }
        Err(error) => Err(Failure::input(error)
            .context(format!("cannot read the recipe {}", recipe.display()))
            .hint(format!("`selfsame init {}` writes one to start from", directory.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_and_file_name_the_same_recipe() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(RECIPE);
        let missing = find(dir.path()).unwrap_err().to_string();
        assert!(missing.contains("hint: `selfsame init "), "{missing}");
        std::fs::write(&file, "").unwrap();
        let expected = (dir.path().to_owned(), file.clone());
        assert_eq!(find(dir.path()).unwrap(), expected);
        assert_eq!(find(&file).unwrap(), expected);
        let nowhere = find(&dir.path().join("nowhere")).unwrap_err().to_string();
        assert!(nowhere.starts_with("error: there is no recipe directory "), "{nowhere}");
    }
}
