//! What a build would do, and why, without doing it.

use std::collections::BTreeSet;

use crate::event::Stage;
use crate::execute::{BuildError, Builder, Request, needs};
use crate::inputs::{Change, LastBuild};
use crate::output;
use crate::plan::{self, Plan};
use crate::stages;

/// What would happen to a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// The stage.
    pub stage: Stage,
    /// What would happen.
    pub verdict: Verdict,
}

/// Whether a stage would run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its result is in the store.
    Kept,
    /// It makes nothing that is kept, and nothing would need it.
    NotNeeded,
    /// It would run, for these reasons: at least one.
    Runs(Vec<Reason>),
    /// That depends on what the stages before it leave.
    MayRun,
}

/// Why a stage would run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No build of the image came this far with this store.
    NeverBuilt,
    /// What it depends on is not what it was.
    Changed(Change),
    /// It was done just so, but the result is gone.
    Gone,
    /// Packages are not in the store.
    Missing {
        /// How many.
        packages: usize,
        /// Their length in bytes.
        bytes: u64,
    },
    /// It has several layers, of which so many of all are kept.
    Part {
        /// How many of the lowest are kept: at least one, and not all.
        kept: usize,
        /// How many there are.
        of: usize,
    },
    /// Later stages need what it makes, which is never kept.
    Needed(Vec<Stage>),
}

/// What is in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Whether all outputs are there.
    image: bool,
    /// Packages that are not: how many and how long.
    missing: (usize, u64),
    /// Stages whose layers are there.
    layers: BTreeSet<Stage>,
    /// How many of the lowest groups of packages are there, of how many.
    groups: (usize, usize),
    /// Whether the initramfs is there; `None` if it cannot be known which one it will be.
    initramfs: Option<bool>,
}

/// Says for each stage of `request` whether it would run. Looks into the store, and changes nothing there.
///
/// Packages count as there if files of their names are: a damaged one shows when it is used.
pub fn forecast(request: &Request<'_>) -> Result<Vec<Forecast>, BuildError> {
    let builder = Builder::new(request)?;
    let last = LastBuild::find(request.store, &request.recipe.name);
    let seen = look(&builder, last.as_ref())?;
    Ok(judge(&builder.plan, last.as_ref(), &seen))
}

fn look(builder: &Builder<'_>, last: Option<&LastBuild>) -> Result<Seen, BuildError> {
    let keys = builder.layer_keys();
    let (kept, groups) = (builder.kept_layers(), builder.plan.groups.len());
    // A stage of several layers is there if all of them are.
    let gone: BTreeSet<Stage> = keys[kept..].iter().map(|(stage, _)| *stage).collect();
    let layers = keys.iter().map(|(stage, _)| *stage).chain([Stage::Install]);
    let visible = last.and_then(|last| last.visible(builder.plan.customise));
    let initramfs = visible.map(|visible| {
        let key = plan::initramfs_key(visible, builder.recipe.initramfs_codec, builder.epoch());
        stages::initramfs::find(builder, key).map(|found| found.is_some())
    });
    Ok(Seen {
        image: output::find(builder.store, builder.image_key(builder.plan_digest()))?.is_some(),
        missing: missing(builder)?,
        layers: layers.filter(|stage| !gone.contains(stage)).collect(),
        groups: (kept.saturating_sub(1).min(groups), groups),
        initramfs: initramfs.transpose()?,
    })
}

fn missing(builder: &Builder<'_>) -> Result<(usize, u64), BuildError> {
    let there = |file: &crate::lock::Blob| builder.store.size(&file.sha256) == Some(file.size);
    let packages = builder.to_unpack()?.concat();
    let needed = builder.lock.packages.iter().filter(|package| needs(&packages, package));
    let missing = needed.filter(|package| !there(&package.file));
    Ok(missing.fold((0, 0), |(count, bytes), package| (count + 1, bytes + package.file.size)))
}

/// What follows from the plan, from what the last build of the image had, and from what is in the store.
fn judge(plan: &Plan, last: Option<&LastBuild>, seen: &Seen) -> Vec<Forecast> {
    let mut list = Vec::new();
    let mut add = |stage, verdict| list.push(Forecast { stage, verdict });
    let unless = |kept: bool, reasons: Vec<Reason>| match kept {
        true => Verdict::Kept,
        false => Verdict::Runs(reasons),
    };
    let (packages, bytes) = seen.missing;
    add(Stage::Fetch, unless(seen.image || packages == 0, vec![Reason::Missing { packages, bytes }]));
    let needs_debs = [Stage::Bootstrap, Stage::Install].into_iter().filter(|s| !seen.layers.contains(s));
    let needs_debs: Vec<Stage> = needs_debs.collect();
    add(
        Stage::Unpack,
        match seen.image || needs_debs.is_empty() {
            true => Verdict::NotNeeded,
            false => Verdict::Runs(vec![Reason::Needed(needs_debs)]),
        },
    );
    for (index, inputs) in plan.inputs.iter().enumerate() {
        let changes = match last {
            Some(last) => last.changes(inputs),
            None => None,
        };
        let mut reasons = match changes {
            None => vec![Reason::NeverBuilt],
            Some(changes) if changes.is_empty() => vec![Reason::Gone],
            Some(changes) => changes.into_iter().map(Reason::Changed).collect(),
        };
        let verdict = match inputs.stage {
            _ if seen.image => Verdict::Kept,
            Stage::Initramfs => match seen.initramfs {
                Some(kept) => unless(kept, reasons),
                None => Verdict::MayRun,
            },
            Stage::Finalise | Stage::Pack | Stage::Assemble => {
                // Their results are kept all together or not at all: what runs without a reason of its own runs for
                // one that has one.
                let own = |inputs| last.and_then(|last| last.changes(inputs)).is_none_or(|c| !c.is_empty());
                let later = plan.inputs.iter().skip(index + 1).filter(|i| i.stage != Stage::Initramfs);
                if reasons == [Reason::Gone]
                    && let Some(later) = later.into_iter().find(|inputs| own(inputs))
                {
                    reasons = vec![Reason::Needed(vec![later.stage])];
                }
                Verdict::Runs(reasons)
            }
            Stage::Install if !seen.layers.contains(&Stage::Install) => {
                let (kept, of) = seen.groups;
                if kept > 0 {
                    reasons.insert(0, Reason::Part { kept, of });
                }
                Verdict::Runs(reasons)
            }
            stage => unless(seen.layers.contains(&stage), reasons),
        };
        add(inputs.stage, verdict);
    }
    list
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use selfsame_image::{Digest, Epoch};

    use super::*;
    use crate::lock::sample;
    use crate::recipe::Recipe;

    fn planned(change: impl FnOnce(&mut Recipe, &mut plan::Inputs)) -> Plan {
        let text = "format = 1\n[image]\nname = \"x\"\noutputs = [\"iso\"]\n\
                    [archives.debian]\nsuites = [\"bookworm\"]\nkeys = \"debian\"\n[[hooks]]\nrun = \"h\"\n";
        let mut recipe = crate::recipe::parse(Path::new("r"), text).unwrap();
        let mut inputs = plan::Inputs { overlay: None, hooks: vec![Digest::of(b"hook")], sort: None };
        change(&mut recipe, &mut inputs);
        plan::plan(&recipe, &sample(), &inputs, Epoch(5)).unwrap()
    }

    /// The last build was made by this plan.
    fn last() -> LastBuild {
        let mut last = LastBuild::default();
        last.note(&planned(|_, _| ()).inputs);
        last
    }

    fn layers(stages: &[Stage]) -> BTreeSet<Stage> {
        stages.iter().copied().collect()
    }

    fn all_layers() -> BTreeSet<Stage> {
        layers(&[Stage::Bootstrap, Stage::Install, Stage::Settings, Stage::Customise])
    }

    /// One line for each stage.
    fn text(plan: &Plan, last: Option<&LastBuild>, seen: &Seen) -> String {
        let line = |forecast: Forecast| format!("{}: {:?}\n", forecast.stage, forecast.verdict);
        judge(plan, last, seen).into_iter().map(line).collect()
    }

    #[test]
    fn nothing_runs_when_the_image_is_kept() {
        let seen = Seen { image: true, missing: (1, 5), ..Seen::default() };
        let list = judge(&planned(|_, _| ()), None, &seen);
        let runs = |forecast: &&Forecast| !matches!(forecast.verdict, Verdict::Kept | Verdict::NotNeeded);
        assert_eq!(list.iter().find(runs), None);
        assert_eq!(list.len(), 10);
    }

    #[test]
    fn an_empty_store_has_no_earlier_build() {
        let seen = Seen { missing: (2, 5), ..Seen::default() };
        insta::assert_snapshot!(text(&planned(|_, _| ()), None, &seen), @r"
        fetch: Runs([Missing { packages: 2, bytes: 5 }])
        unpack: Runs([Needed([Bootstrap, Install])])
        bootstrap: Runs([NeverBuilt])
        install: Runs([NeverBuilt])
        settings: Runs([NeverBuilt])
        customise: Runs([NeverBuilt])
        finalise: Runs([NeverBuilt])
        initramfs: MayRun
        pack: Runs([NeverBuilt])
        assemble: Runs([NeverBuilt])
        ");
    }

    #[test]
    fn a_change_of_the_overlay_is_named_where_it_counts() {
        let plan = planned(|_, inputs| inputs.overlay = Some(Digest::of(b"overlay")));
        let mut seen = Seen { layers: all_layers(), ..Seen::default() };
        seen.layers.remove(&Stage::Customise);
        insta::assert_snapshot!(text(&plan, Some(&last()), &seen), @r#"
        fetch: Kept
        unpack: NotNeeded
        bootstrap: Kept
        install: Kept
        settings: Kept
        customise: Runs([Changed(Added("overlay"))])
        finalise: Runs([Changed(After(Customise))])
        initramfs: MayRun
        pack: Runs([Changed(After(Finalise))])
        assemble: Runs([Changed(After(Initramfs)), Changed(After(Pack))])
        "#);
    }

    #[test]
    fn what_only_a_later_stage_needs_says_so() {
        let plan = planned(|recipe, _| recipe.volume_id = "OTHER".into());
        let seen = Seen { layers: all_layers(), initramfs: Some(true), ..Seen::default() };
        insta::assert_snapshot!(text(&plan, Some(&last()), &seen), @r#"
        fetch: Kept
        unpack: NotNeeded
        bootstrap: Kept
        install: Kept
        settings: Kept
        customise: Kept
        finalise: Runs([Needed([Assemble])])
        initramfs: Kept
        pack: Runs([Needed([Assemble])])
        assemble: Runs([Changed(Changed("volume id"))])
        "#);
    }

    #[test]
    fn groups_that_are_kept_are_counted() {
        let mut seen = Seen { layers: all_layers(), groups: (2, 3), ..Seen::default() };
        seen.layers.remove(&Stage::Install);
        let text = text(&planned(|_, _| ()), Some(&last()), &seen);
        assert!(text.contains("install: Runs([Part { kept: 2, of: 3 }, Gone])"), "{text}");
    }

    #[test]
    fn results_that_are_gone_are_called_so() {
        let seen = Seen { layers: layers(&[Stage::Bootstrap]), initramfs: Some(false), ..Seen::default() };
        insta::assert_snapshot!(text(&planned(|_, _| ()), Some(&last()), &seen), @r"
        fetch: Kept
        unpack: Runs([Needed([Install])])
        bootstrap: Kept
        install: Runs([Gone])
        settings: Runs([Gone])
        customise: Runs([Gone])
        finalise: Runs([Gone])
        initramfs: Runs([Gone])
        pack: Runs([Gone])
        assemble: Runs([Gone])
        ");
    }
}
