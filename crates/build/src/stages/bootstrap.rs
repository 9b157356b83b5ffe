//! Bootstrap: the Essential set and apt, unpacked in-process, then installed by their own dpkg.

use crate::event::{Event, Stage};
use crate::execute::{BuildError, Builder};
use crate::sandbox::Root;

use super::debs::PlainDebs;
use super::layers::{Layer, NewLayer};
use super::{script, unpack};

/// Keeps services from being started by maintainer scripts: `invoke-rc.d` asks it. Removed by finalise.
pub(crate) const POLICY_RC_D: &[u8] = b"#!/bin/sh\nexit 101\n";

/// Makes the first layer.
pub(crate) fn run(builder: &Builder<'_>, debs: &PlainDebs, new: NewLayer) -> Result<Layer, BuildError> {
    let stage = Stage::Bootstrap;
    let base = &builder.lock.install.base;
    builder.observer.on(Event::Total { stage, amount: 2 * base.len() as u64 });
    let time = i64::from(builder.epoch().0);
    let mut root = unpack::Root::create(&new.files(), builder.shift(), time)?;
    for package in base.iter().filter_map(|name| builder.lock.image_package(name)) {
        root.plain_deb(debs, package)?;
    }
    root.file("var/lib/dpkg/status", b"", 0o644)?;
    root.file("var/lib/dpkg/available", b"", 0o644)?;
    root.file("var/lib/dpkg/arch", format!("{}\n", builder.lock.request.architecture).as_bytes(), 0o644)?;
    root.file("usr/sbin/policy-rc.d", POLICY_RC_D, 0o755)?;
    root.finish()?;
    let job = builder.job_with_debs(stage, &new, debs, base.iter().map(String::as_str))?;
    builder.runner().script(stage, Root::Dir(new.files()), &job, &script::bootstrap(base))?;
    Ok(new.commit()?)
}
