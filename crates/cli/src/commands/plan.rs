//! `selfsame build --plan`: what would be done, in words.

use std::io::{self, Write};

use selfsame_build::forecast::{Forecast, Reason, Verdict};
use selfsame_build::inputs::Change;
use serde::Serialize;

use crate::ui::{Present, binary_size, harmless};

/// How many reasons are told before the rest is only counted.
const TOLD: usize = 3;

/// What `build --plan` gives. The JSON form is an interface that scripts rely on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The stages, in the order they would run.
    stages: Vec<Planned>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Planned {
    name: &'static str,
    /// `kept`, `not needed`, `runs` or `may run`.
    verdict: &'static str,
    /// Why it runs, one phrase each.
    reasons: Vec<String>,
}

impl Plan {
    /// Puts `forecasts` into words.
    pub fn of(forecasts: Vec<Forecast>) -> Self {
        let planned = |forecast: Forecast| {
            let (verdict, reasons) = match forecast.verdict {
                Verdict::Kept => ("kept", Vec::new()),
                Verdict::NotNeeded => ("not needed", Vec::new()),
                Verdict::Runs(reasons) => ("runs", reasons.iter().map(phrase).collect()),
                Verdict::MayRun => ("may run", vec!["depends on what the stages before leave".to_owned()]),
            };
            Planned { name: forecast.stage.name(), verdict, reasons }
        };
        Self { stages: forecasts.into_iter().map(planned).collect() }
    }
}

fn phrase(reason: &Reason) -> String {
    match reason {
        Reason::NeverBuilt => "never built in this store".into(),
        Reason::Gone => "no result of this version is in the store".into(),
        Reason::Missing { packages: 1, bytes } => {
            format!("1 package ({}) is not in the store", binary_size(*bytes))
        }
        Reason::Missing { packages, bytes } => {
            format!("{packages} packages ({}) are not in the store", binary_size(*bytes))
        }
        Reason::Part { kept, of } => format!("{kept} of {of} groups are kept"),
        Reason::Needed(stages) => {
            let names: Vec<&str> = stages.iter().map(|stage| stage.name()).collect();
            format!("{} {} it", names.join(" and "), if names.len() == 1 { "needs" } else { "need" })
        }
        Reason::Changed(Change::Added(name)) => format!("{name} added"),
        Reason::Changed(Change::Removed(name)) => format!("{name} removed"),
        Reason::Changed(Change::Changed(name)) => format!("{name} changed"),
        Reason::Changed(Change::Order) => "order of its inputs changed".into(),
        Reason::Changed(Change::After(stage)) => format!("after {stage}"),
    }
}

impl Present for Plan {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        self.stages.iter().try_for_each(|Planned { name, verdict, reasons }| {
            if reasons.is_empty() {
                return writeln!(to, "{name:<10} {verdict}");
            }
            let (told, rest) = reasons.split_at(reasons.len().min(TOLD));
            let rest = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            // Names of hooks are whatever the file system allows.
            writeln!(to, "{name:<10} {verdict}: {}{rest}", harmless(&told.join(", ")).replace('\n', " "))
        })
    }
}

#[cfg(test)]
mod tests {
    use selfsame_build::event::Stage;

    use super::*;

    #[test]
    fn each_stage_has_a_line_with_its_first_reasons() {
        let changed = |name: &str| Reason::Changed(Change::Changed(name.into()));
        let runs = |stage, reasons| Forecast { stage, verdict: Verdict::Runs(reasons) };
        let many = vec![
            Reason::Changed(Change::Added("package nano".into())),
            Reason::Changed(Change::Removed("package vim".into())),
            changed("package ed"),
            changed("package x"),
            Reason::Changed(Change::After(Stage::Bootstrap)),
        ];
        let plan = Plan::of(vec![
            runs(Stage::Fetch, vec![Reason::Missing { packages: 2, bytes: 3 << 20 }]),
            runs(Stage::Unpack, vec![Reason::Needed(vec![Stage::Bootstrap, Stage::Install])]),
            Forecast { stage: Stage::Bootstrap, verdict: Verdict::Kept },
            runs(Stage::Install, many),
            runs(Stage::Settings, vec![Reason::NeverBuilt]),
            runs(Stage::Install, vec![Reason::Part { kept: 2, of: 3 }, Reason::Gone]),
            runs(Stage::Customise, vec![changed("hook a\x1b\nb"), Reason::Changed(Change::Order)]),
            runs(Stage::Finalise, vec![Reason::Gone]),
            Forecast { stage: Stage::Initramfs, verdict: Verdict::MayRun },
        ]);
        let mut text = Vec::new();
        plan.text(&mut text).unwrap();
        insta::assert_snapshot!(String::from_utf8(text).unwrap(), @r"
        fetch      runs: 2 packages (3.0 MiB) are not in the store
        unpack     runs: bootstrap and install need it
        bootstrap  kept
        install    runs: package nano added, package vim removed, package ed changed and 2 more
        settings   runs: never built in this store
        install    runs: 2 of 3 groups are kept, no result of this version is in the store
        customise  runs: hook a\u{1b} b changed, order of its inputs changed
        finalise   runs: no result of this version is in the store
        initramfs  may run: depends on what the stages before leave
        ");
        assert_eq!(
            serde_json::to_string(&plan.stages[2..3]).unwrap(),
            r#"[{"name":"bootstrap","verdict":"kept","reasons":[]}]"#
        );
    }
}
