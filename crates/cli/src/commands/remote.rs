//! Stores that machines share: what the commands that use one have in common.

use std::fmt;

use selfsame_apt::fetch::{FetchConfig, Secret};
use selfsame_apt::remote::{Counts, PublicKey, Pull, Pulled, Remote};
use serde::Serialize;

use super::Context;
use crate::failure::Failure;
use crate::source;
use crate::ui::binary_size;

/// Where the shared store is, and whose work in it is believed.
#[derive(Debug, clap::Args)]
pub struct Choice {
    /// Shared store (http:, https: or file:) that is asked for packages and compressed blocks before anybody else
    /// [default: SELFSAME_REMOTE]
    #[arg(long, value_name = "URL")]
    remote: Option<String>,
    /// Believe compressed blocks that this key signed (`selfsame store key` shows it); without it none are taken
    /// [default: SELFSAME_REMOTE_KEY]
    #[arg(long, value_name = "KEY")]
    remote_key: Option<String>,
}

/// A remote and the key that is trusted.
pub struct Known {
    pub remote: Remote,
    pub key: Option<PublicKey>,
}

impl Known {
    /// Makes it ready for one command.
    pub fn pull<'a>(&'a self, warn: &'a (dyn Fn(String) + Sync)) -> Pull<'a> {
        Pull::new(&self.remote, self.key.clone(), warn)
    }
}

impl Choice {
    /// The remote, if one is named.
    pub fn open(&self, cx: &Context, offline: bool) -> Result<Option<Known>, Failure> {
        let settings = &cx.settings;
        let Some(url) = self.remote.as_ref().or(settings.remote.as_ref()) else {
            return match self.remote_key {
                Some(_) => Err(missing().hint("or leave `--remote-key` out")),
                None => Ok(None),
            };
        };
        let key = self.remote_key.as_ref().or(settings.remote_key.as_ref());
        let key = key.map(|text| text.parse::<PublicKey>());
        let key = key.transpose().map_err(|error| {
            Failure::usage(error)
                .context("the key of the remote cannot be used")
                .hint("`selfsame store key FILE` prints the public key of whoever pushes")
        })?;
        Ok(Some(Known { remote: open(url, cx, offline)?, key }))
    }

    /// The remote, which must be named.
    pub fn required(&self, cx: &Context) -> Result<Known, Failure> {
        self.open(cx, false)?.ok_or_else(missing)
    }
}

/// Nobody said where the remote is.
pub fn missing() -> Failure {
    Failure::usage("no remote is named")
        .hint("say where with `--remote URL` or the environment variable SELFSAME_REMOTE")
}

/// The remote at `url`.
pub fn open(url: &str, cx: &Context, offline: bool) -> Result<Remote, Failure> {
    let unusable =
        || Failure::usage("SELFSAME_REMOTE_AUTH cannot be sent: it has something else than printable ASCII");
    let secret = cx.settings.remote_auth.as_deref();
    let authorization = secret.map(|text| Secret::new(text).ok_or_else(unusable)).transpose()?;
    let config = FetchConfig { authorization, ..source::config(&cx.settings, offline) };
    Remote::new(url, config).map_err(Failure::usage)
}

/// What came from a remote. The JSON form is an interface that scripts rely on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Files of the archives.
    pub packages: Part,
    /// Compressed blocks. Those that were here already do not count.
    pub blocks: Part,
}

/// What became of objects of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// How many came.
    pub pulled: u64,
    /// Their length.
    pub bytes: u64,
    /// How many the remote does not have.
    pub missing: u64,
    /// How many were not what they should be, and were not used.
    pub refused: u64,
    /// How many could not be had because the remote was out of order.
    pub failed: u64,
}

impl Report {
    /// The figures of `pulled`.
    pub fn of(pulled: &Pulled) -> Self {
        let part = |counts: &Counts| {
            let Counts { pulled, bytes, missing, refused, failed } = *counts;
            Part { pulled, bytes, missing, refused, failed }
        };
        Self { packages: part(&pulled.blobs), blocks: part(&pulled.entries) }
    }

    /// The sum of a figure.
    pub fn sum(&self, figure: impl Fn(&Part) -> u64) -> u64 {
        figure(&self.packages) + figure(&self.blocks)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packages, blocks } = self;
        let (packed, size) = (binary_size(packages.bytes), binary_size(blocks.bytes));
        write!(f, "{} packages ({packed}) and {} blocks ({size})", packages.pulled, blocks.pulled)?;
        match self.sum(|part| part.missing) {
            0 => Ok(()),
            missing => write!(f, "; it does not have {missing}"),
        }
    }
}
