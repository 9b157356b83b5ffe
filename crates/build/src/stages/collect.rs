//! Finalise: the layers become one tree, freed of what belongs to one build. What lower layers hold was captured when
//! they were made, so that a small change costs a small capture.

use std::collections::BTreeMap;
use std::path::PathBuf;

use selfsame_image::tree::{Content, Item, Kind, Layered, Memory};
use selfsame_image::{Digest, Tree};
use selfsame_store::Scratch;

use crate::event::Stage;
use crate::execute::{BuildError, Builder};
use crate::host::{self, CaptureLimits, DirContents};

use super::finalise::finalise;
use super::initramfs;
use super::job;
use super::layers::Layer;

/// The tree of the layers below the last one, and where its files are.
pub(crate) struct Base {
    tree: Tree,
    contents: DirContents,
    _mounted: host::Mounted,
    _dir: Scratch,
}

/// The final tree and all that is known of it.
pub(crate) struct Collected {
    /// What is packed.
    pub(crate) tree: Tree,
    /// The bytes of its files.
    pub(crate) contents: Layered<Memory, Layered<DirContents, DirContents>>,
    /// Digest of all that mkinitramfs may read.
    pub(crate) visible: Digest,
    /// Paths that are hidden from it, and whether they are directories.
    pub(crate) hidden: Vec<(&'static str, bool)>,
    /// What initramfs hooks share.
    pub(crate) hook_functions: Option<Content>,
    /// Whether there is a mkinitramfs where jobs look for programs.
    pub(crate) has_mkinitramfs: bool,
    /// The kernels, by version, whatever the recipe excludes.
    pub(crate) kernels: BTreeMap<String, Content>,
    /// Keeps the lower layers mounted.
    _base: (host::Mounted, Scratch),
}

/// Captures the merged `layers`, the topmost first, unless the topmost has that with it.
pub(crate) fn base(builder: &Builder<'_>, layers: &[Layer]) -> Result<Base, BuildError> {
    let stage = Stage::Finalise;
    let dir = builder.store.scratch()?;
    let files: Vec<PathBuf> = layers.iter().map(Layer::files).collect();
    let below: Vec<_> = files.iter().map(PathBuf::as_path).collect();
    let mounted = host::overlay_mount(builder.host, &below, None, dir.path())
        .map_err(|source| BuildError::Overlay { stage, source })?;
    let (tree, contents) = match layers.first().and_then(Layer::captured) {
        Some(tree) => {
            let open = |source| BuildError::Prepare { stage, path: dir.path().to_owned(), source };
            let contents = DirContents::of(mounted.path(), &tree).map_err(open)?;
            (tree, contents)
        }
        None => {
            let captured =
                host::capture(mounted.path(), builder.shift(), builder.jobs, CaptureLimits::default())?;
            if let Some(top) = layers.first() {
                top.keep_captured(&captured.0);
            }
            captured
        }
    };
    Ok(Base { tree, contents, _mounted: mounted, _dir: dir })
}

/// Lays `top` over `base` and takes out what does not belong into an image.
pub(crate) fn collect(builder: &Builder<'_>, base: Base, top: &Layer) -> Result<Collected, BuildError> {
    // In this order they are dropped if anything fails: the mount before its directory.
    let Base { _dir, _mounted, mut tree, contents } = base;
    let limits = CaptureLimits::default();
    let above = host::capture_upper(builder.host, &mut tree, &top.files(), builder.jobs, limits)?;
    // Before anything is taken out: mkinitramfs runs where all of it still is.
    let hidden = initramfs::hidden(&tree);
    let visible = initramfs::visible(&tree, &hidden, builder.epoch());
    let mut memory = Memory::new();
    finalise(&mut tree, &mut memory, &[], builder.epoch());
    let kernels = kernels(&tree);
    let hook_functions = match tree.get(initramfs::HOOK_FUNCTIONS.as_bytes()).map(|entry| entry.item) {
        Some(Item::Leaf(_, Kind::File(content))) => Some(*content),
        _ => None,
    };
    let has = |dir: &&str| tree.get(format!("{dir}/mkinitramfs").as_bytes()).is_some();
    let has_mkinitramfs = job::PROGRAM_DIRS.iter().any(|dir| has(&dir.trim_start_matches('/')));
    tree.remove_matching(&builder.recipe.exclude);
    tree.compact();
    Ok(Collected {
        tree,
        contents: Layered(memory, Layered(above, contents)),
        visible,
        hidden,
        hook_functions,
        has_mkinitramfs,
        kernels,
        _base: (_mounted, _dir),
    })
}

fn kernels(tree: &Tree) -> BTreeMap<String, Content> {
    let Some(Item::Dir(boot)) = tree.get(b"boot").map(|entry| entry.item) else { return BTreeMap::new() };
    let version = |name: &[u8]| String::from_utf8(name.strip_prefix(b"vmlinuz-")?.to_vec()).ok();
    let kernel = |path: Vec<u8>| match tree.get(&path)?.item {
        Item::Leaf(_, Kind::File(content)) => Some(*content),
        _ => None,
    };
    let entries = boot.entries().map(|(name, _)| name.as_bytes());
    entries.filter_map(|name| Some((version(name)?, kernel([b"boot/", name].concat())?))).collect()
}
