//! The tables of the file as they are written: names and types, nothing checked beyond them.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

/// The whole file.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawRecipe {
    pub(super) format: Spanned<u64>,
    pub(super) image: RawImage,
    #[serde(default)]
    pub(super) squashfs: RawSquashfs,
    #[serde(default)]
    pub(super) initramfs: RawInitramfs,
    #[serde(default)]
    pub(super) boot: RawBoot,
    #[serde(default)]
    pub(super) builder: RawBuilder,
    pub(super) archives: Spanned<BTreeMap<Spanned<String>, RawArchive>>,
    #[serde(default)]
    pub(super) overlay: Vec<RawLocal>,
    #[serde(default)]
    pub(super) packages: RawPackages,
    #[serde(default)]
    pub(super) system: RawSystem,
    #[serde(default)]
    pub(super) files: RawFiles,
    #[serde(default)]
    pub(super) hooks: Vec<RawHook>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawImage {
    pub(super) name: Spanned<String>,
    pub(super) outputs: Spanned<Vec<Spanned<String>>>,
    pub(super) epoch: Option<Spanned<String>>,
    pub(super) volume_id: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawSquashfs {
    pub(super) codec: Option<Spanned<String>>,
    pub(super) block_size: Option<Spanned<String>>,
    pub(super) sort: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawInitramfs {
    pub(super) codec: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawBuilder {
    pub(super) kernel: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawBoot {
    pub(super) cmdline: Option<Spanned<String>>,
    pub(super) timeout: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawArchive {
    #[serde(default)]
    pub(super) mirrors: Vec<Spanned<String>>,
    pub(super) suites: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) components: Vec<Spanned<String>>,
    pub(super) keys: Spanned<RawKeys>,
    pub(super) threshold: Option<Spanned<u64>>,
    pub(super) serial: Option<Spanned<String>>,
    pub(super) priority: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawLocal {
    pub(super) name: Spanned<String>,
    pub(super) directory: Spanned<String>,
    pub(super) priority: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "keys are \"debian\" or { file = \"…\", fingerprints = [\"…\"] }")]
pub(super) enum RawKeys {
    BuiltIn(String),
    File(RawKeyFile),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKeyFile {
    pub(super) file: String,
    pub(super) fingerprints: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawPackages {
    pub(super) architecture: Option<Spanned<String>>,
    pub(super) priority: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) recommends: bool,
    #[serde(default)]
    pub(super) include: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) from: BTreeMap<Spanned<String>, Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawSystem {
    pub(super) hostname: Option<Spanned<String>>,
    pub(super) locale: Option<Spanned<String>>,
    pub(super) timezone: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) users: Vec<RawUser>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawUser {
    pub(super) name: Spanned<String>,
    pub(super) password_hash: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) groups: Vec<Spanned<String>>,
    pub(super) shell: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawFiles {
    pub(super) overlay: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) exclude: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawHook {
    pub(super) run: Spanned<String>,
}
