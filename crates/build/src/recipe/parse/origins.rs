//! Where packages come from besides the signed archives, and which of two archives wins.

use std::collections::BTreeMap;

use selfsame_image::tree::Pattern;
use toml::Spanned;

use super::super::{Archive, Local};
use super::RecipeError;
use super::check::Check;
use super::raw::RawLocal;
use crate::nearest::nearest;

impl Check<'_> {
    /// apt's own range has more: 0 and below forbid packages, and above 1000 versions would go back; from nothing, none do.
    pub(super) fn priority(&self, raw: Option<&Spanned<u64>>) -> Result<Option<u16>, RecipeError> {
        let check = |number: &Spanned<u64>| {
            let fine = u16::try_from(*number.get_ref()).ok().filter(|number| (1..=1000).contains(number));
            fine.ok_or_else(|| self.at(number.span(), "a priority is 1 to 1000".into()))
        };
        raw.map(check).transpose()
    }

    pub(super) fn local(
        &self,
        raw: &[RawLocal],
        archives: &BTreeMap<String, Archive>,
    ) -> Result<BTreeMap<String, Local>, RecipeError> {
        let mut all = BTreeMap::new();
        for RawLocal { name: text, directory, priority } in raw {
            let name = self.word(text, "an archive name", "._-")?;
            if archives.contains_key(&name) || all.contains_key(&name) {
                return Err(self.at(text.span(), format!("there is another archive {name:?}")));
            }
            let directory = self.inside(directory)?;
            all.insert(name, Local { directory, priority: self.priority(priority.as_ref())? });
        }
        Ok(all)
    }

    pub(super) fn guards(
        &self,
        raw: &BTreeMap<Spanned<String>, Spanned<String>>,
        archives: &BTreeMap<String, Archive>,
        local: &BTreeMap<String, Local>,
    ) -> Result<BTreeMap<String, String>, RecipeError> {
        let mut guards = BTreeMap::new();
        for (names, archive) in raw {
            let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.*?".contains(c);
            let pattern = names.get_ref();
            if !pattern.chars().all(fine) || pattern.parse::<Pattern>().is_err() {
                let problem = format!("{pattern:?} is not the name of a package, nor a pattern with * and ?");
                return Err(self.at(names.span(), problem));
            }
            let known = || archives.keys().chain(local.keys()).map(String::as_str);
            if !known().any(|name| name == archive.get_ref()) {
                let hint = nearest(archive.get_ref(), known()).map(|name| format!("did you mean {name:?}?"));
                let problem = format!("there is no archive {:?}", archive.get_ref());
                return Err(self.at_with(archive.span(), problem, hint));
            }
            guards.insert(pattern.clone(), archive.get_ref().clone());
        }
        Ok(guards)
    }
}
