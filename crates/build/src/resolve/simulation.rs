//! What `apt-get --simulate install` prints, read into steps.

/// One line of a simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// `Inst name (version origin [arch])`
    Unpack {
        /// Package name, without architecture.
        name: String,
        /// The version chosen.
        version: String,
    },
    /// `Conf name (version origin [arch])`
    Configure {
        /// Package name, without architecture.
        name: String,
    },
}

/// A line that begins like an action and is not one we know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("apt simulated a step that is not understood: {0:?}")]
pub struct OddStep(pub String);

/// Reads the actions in their order; everything else apt prints is skipped.
///
/// # Errors
/// A removal, or an action whose form is not `Inst name [old] (version …)` or `Conf name (version …)`.
pub(super) fn parse(text: &str) -> Result<Vec<Action>, OddStep> {
    let mut actions = Vec::new();
    for line in text.lines() {
        let odd = || OddStep(line.chars().take(200).collect());
        let Some((verb @ ("Inst" | "Conf" | "Remv" | "Purg"), rest)) = line.split_once(' ') else { continue };
        let (name, rest) = rest.split_once(' ').ok_or_else(odd)?;
        let name = name.split(':').next().unwrap_or(name).to_owned();
        let inside = rest.split_once('(').ok_or_else(odd)?.1;
        let version = inside.split([' ', ')']).next().filter(|v| !v.is_empty()).ok_or_else(odd)?.to_owned();
        actions.push(match verb {
            "Inst" => Action::Unpack { name, version },
            "Conf" => Action::Configure { name },
            _ => return Err(odd()),
        });
    }
    Ok(actions)
}

/// The steps of a lock that `text` comes to, which apt printed of a simulation.
///
/// # Errors
/// A step that is not understood.
pub fn simulated_steps(text: &str) -> Result<Vec<String>, OddStep> {
    parse(text).map(|actions| steps(&actions))
}

/// The steps of a lock: neighbours of the same kind together, one line each.
pub(super) fn steps(actions: &[Action]) -> Vec<String> {
    let mut steps: Vec<String> = Vec::new();
    for action in actions {
        let (verb, name) = match action {
            Action::Unpack { name, .. } => ("unpack", name),
            Action::Configure { name } => ("configure", name),
        };
        match steps.last_mut().filter(|step| step.split(' ').next() == Some(verb)) {
            Some(step) => *step += &format!(" {name}"),
            None => steps.push(format!("{verb} {name}")),
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "Reading package lists...\n\
        Inst libcom-err2 (1.47.0-2+b2 Debian:12.15/oldstable [amd64])\n\
        Inst dmsetup (2:1.02.185-2 Debian:12.15/oldstable [amd64]) []\n\
        Conf libcom-err2 (1.47.0-2+b2 Debian:12.15/oldstable [amd64])\n\
        Inst usrmerge [1] (37 Debian:12.15/oldstable [all])\n\
        Conf usrmerge (37 Debian:12.15/oldstable [all])\n\
        Conf dmsetup (2:1.02.185-2 Debian:12.15/oldstable [amd64])\n";

    #[test]
    fn neighbours_become_one_step() {
        let actions = parse(SAMPLE).unwrap();
        assert_eq!(actions[1], Action::Unpack { name: "dmsetup".into(), version: "2:1.02.185-2".into() });
        assert_eq!(
            steps(&actions),
            [
                "unpack libcom-err2 dmsetup",
                "configure libcom-err2",
                "unpack usrmerge",
                "configure usrmerge dmsetup"
            ]
        );
    }

    #[test]
    fn removals_are_refused() {
        assert!(parse("Remv dpkg (1 x)").is_err());
        assert!(parse("Inst dpkg").is_err());
    }
}
