//! What is said of why something differs.

use serde::Serialize;

/// What kind of culprit was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Varied,
    Together,
    Nothing,
    Unsteady,
    Unsearched,
}

impl Kind {
    /// The one that reports call `name`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "varied" => Some(Self::Varied),
            "together" => Some(Self::Together),
            "nothing" => Some(Self::Nothing),
            "unsteady" => Some(Self::Unsteady),
            "unsearched" => Some(Self::Unsearched),
            _ => None,
        }
    }

    /// The sentence about it. `varied` are the variations with their values; `fails` is whether the build does.
    pub fn reason<'a>(self, varied: impl Iterator<Item = (&'a str, &'a str)>, fails: bool) -> String {
        let names = || varied.map(|(name, value)| format!("{name} ({value})")).collect::<Vec<_>>().join(", ");
        let differs = if fails { "fails" } else { "differs" };
        match self {
            Self::Varied => format!("{differs} because of {}", names()),
            Self::Together => format!("{differs} if all of these are varied: {}", names()),
            Self::Nothing => {
                "differs from build to build, whatever is varied: the time, or a random number".into()
            }
            Self::Unsearched => format!("{differs}; there was no time to find out why"),
            Self::Unsteady => "did not differ again: look at it in the experiment in which it did".into(),
        }
    }
}
