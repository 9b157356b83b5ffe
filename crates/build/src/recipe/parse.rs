//! Reading `selfsame.toml`: TOML in, a checked [`Recipe`] out, or an error with line and column.

mod check;
mod origins;
mod raw;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use self::check::Check;
use self::raw::RawRecipe;
use super::{FILE, Packages, Recipe};

/// Why there is no usable recipe.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The directory holds no recipe.
    #[error("{} is not there", path.display())]
    Missing {
        /// The file that was looked for.
        path: PathBuf,
    },
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of the file is wrong.
    #[error("{}:{line}:{column}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// The rule that is broken, with the value that breaks it.
        problem: String,
        /// The nearest thing that would be right.
        hint: Option<String>,
    },
}

/// Reads and checks the recipe in `dir`.
pub fn load(dir: &Path) -> Result<Recipe, RecipeError> {
    let path = dir.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(RecipeError::Missing { path }),
        Err(source) => return Err(RecipeError::Io { path, source }),
    };
    let text = String::from_utf8(text).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        RecipeError::Invalid {
            path: path.clone(),
            line,
            column: 1,
            problem: "is not UTF-8".into(),
            hint: None,
        }
    })?;
    parse(dir, &text)
}

/// Checks the text of a recipe that lies in `dir`. Files it names are not touched.
pub fn parse(dir: &Path, text: &str) -> Result<Recipe, RecipeError> {
    let check = Check { path: dir.join(FILE), text };
    let raw: RawRecipe = check.toml()?;
    if *raw.format.get_ref() != 1 {
        let problem = format!("format {} is not known to this version, which reads 1", raw.format.get_ref());
        return Err(check.at(raw.format.span(), problem));
    }
    let outputs = check.outputs(&raw.image.outputs)?;
    let name = check.word(&raw.image.name, "an image name", "._+-")?;
    let volume_id = match &raw.image.volume_id {
        Some(id) => check.volume_id(id)?,
        None => default_volume_id(&name),
    };
    let archives = check.archives(raw.archives)?;
    let local = check.local(&raw.overlay, &archives)?;
    let from = check.guards(&raw.packages.from, &archives, &local)?;
    let packages = Packages { from, ..check.packages(&raw.packages)? };
    let epoch = raw.image.epoch.as_ref().map(|text| check.epoch(text)).transpose()?;
    Ok(Recipe {
        dir: dir.to_owned(),
        outputs,
        epoch,
        volume_id,
        squashfs: check.squashfs(&raw.squashfs)?,
        initramfs_codec: check.initramfs_codec(raw.initramfs.codec.as_ref())?,
        boot: check.boot(&raw.boot)?,
        builder_kernel: check.builder_kernel(&raw.builder)?,
        archives,
        local,
        packages,
        system: check.system(&raw.system)?,
        overlay: raw.files.overlay.as_ref().map(|path| check.inside(path)).transpose()?,
        exclude: raw
            .files
            .exclude
            .iter()
            .map(|text| check.parsed(Some(text), ""))
            .collect::<Result<_, _>>()?,
        hooks: raw.hooks.iter().map(|hook| check.inside(&hook.run)).collect::<Result<_, _>>()?,
        name,
    })
}

fn default_volume_id(name: &str) -> String {
    let letter = |c: char| {
        if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }
    };
    name.chars().take(32).map(letter).collect()
}
