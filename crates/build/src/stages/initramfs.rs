//! Initramfs: generated once, at the end, by the image's own initramfs-tools, then packed again by our writers. Not at
//! all when an earlier build made it of the same files.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};

use selfsame_image::codec::{Codec, Wrapping};
use selfsame_image::io::ReadAt as _;
use selfsame_image::tree::{Content, Contents as _, Item, merkle};
use selfsame_image::{Digest, Epoch, Tree, initramfs};
use serde::{Deserialize, Serialize};

use crate::event::Stage;
use crate::execute::{BuildError, Builder};
use crate::host;
use crate::lock::Blob;
use crate::plan;
use crate::sandbox::Root;

use super::collect::Collected;
use super::layers::{Layer, NewLayer};
use super::script;

/// The kernel's version and the packed initramfs, which is in the store.
pub(crate) struct Initramfs {
    pub(crate) version: String,
    pub(crate) content: Content,
}

/// Kind of the records that remember an initramfs.
const KIND: &str = "initramfs";

#[derive(Serialize, Deserialize)]
struct Remembered {
    version: String,
    file: Blob,
}

/// Directories and files that mkinitramfs does not see, because nothing that belongs into an initramfs lies there: a
/// change below them does not make it run again. It cannot read them, so this is a fact and not a hope.
pub(crate) const HIDDEN: &[&str] = &[
    "etc/apt",
    "etc/bash.bashrc",
    "etc/cron.d",
    "etc/cron.daily",
    "etc/cron.hourly",
    "etc/cron.monthly",
    "etc/cron.weekly",
    "etc/issue",
    "etc/issue.net",
    "etc/logrotate.d",
    "etc/motd",
    "etc/profile",
    "etc/profile.d",
    "etc/skel",
    "etc/sudoers.d",
    "etc/systemd/system",
    "etc/systemd/user",
    "etc/xdg",
    "home",
    "media",
    "mnt",
    "srv",
    "usr/games",
    "usr/include",
    "usr/local/include",
    "usr/local/man",
    "usr/share/applications",
    "usr/share/backgrounds",
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/games",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/metainfo",
    "usr/share/sounds",
    "usr/share/wallpapers",
    "usr/src",
    "var/backups",
    "var/mail",
    "var/spool",
    "var/www",
];

/// The file that hooks and mkinitramfs itself take their functions from.
pub(crate) const HOOK_FUNCTIONS: &str = "usr/share/initramfs-tools/hook-functions";

/// What mkinitramfs gets to see in place of what lies there.
pub(crate) struct View {
    hidden: Vec<(&'static str, bool)>,
    hook_functions: Option<Vec<u8>>,
}

/// What mkinitramfs shall see of `collected`.
pub(crate) fn view(collected: &Collected) -> Result<View, BuildError> {
    let read = |content: &Content| -> io::Result<Vec<u8>> {
        let reader = collected.contents.open(content)?;
        let mut bytes = vec![0; usize::try_from(content.size).map_err(|_| io::ErrorKind::InvalidData)?];
        reader.read_exact_at(&mut bytes, 0)?;
        if Digest::of(&bytes) != content.digest {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{HOOK_FUNCTIONS} changed")));
        }
        Ok(functions(&bytes, &COPY_FILE))
    };
    let hook_functions = collected.hook_functions.as_ref().map(read).transpose();
    let hook_functions = hook_functions.map_err(|source| BuildError::Initramfs { source })?;
    Ok(View { hidden: collected.hidden.clone(), hook_functions })
}

/// SHA-256 of `copy_file` in initramfs-tools 0.142+deb12u3: what [`script::COPY_FILE`] does the same as.
pub(crate) const COPY_FILE: [&str; 1] = ["51544bd45a9588e55bc4e0360c984bffb32384200502abecb9dfd99d068d0aa1"];

/// The functions of hooks, `original`, with those that need no processes after them; `copy_file` only if its text has one
/// of the digests `known`.
fn functions(original: &[u8], known: &[&str]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    let find = |text: &[u8], from: usize| {
        let found = original.get(from..)?.windows(text.len()).position(|window| window == text)?;
        Some(from + found)
    };
    let (head, tail) = (b"\ncopy_file() {\n", b"\n}\n");
    let body = find(head, 0).map(|at| at + 1).zip(find(head, 0).and_then(|at| find(tail, at)));
    bytes.extend_from_slice(script::HOOK_FUNCTIONS.as_bytes());
    if let Some((start, end)) = body.map(|(start, end)| (start, end + tail.len()))
        && known.contains(&Digest::of(&original[start..end]).to_string().as_str())
    {
        bytes.splice(start..start, *b"selfsame_");
        bytes.extend_from_slice(script::COPY_FILE.as_bytes());
    }
    bytes
}

/// Which of the hidden paths `tree` has, and whether they are directories. Links and special files are not hidden.
pub(crate) fn hidden(tree: &Tree) -> Vec<(&'static str, bool)> {
    let is_dir = |path: &&'static str| match tree.get(path.as_bytes())?.item {
        Item::Dir(_) => Some((*path, true)),
        Item::Leaf(_, selfsame_image::tree::Kind::File(_)) => Some((*path, false)),
        Item::Leaf(..) => None,
    };
    HIDDEN.iter().filter_map(is_dir).collect()
}

/// Places that the sandbox covers with file systems of its own.
const COVERED: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];

/// Digest of what is left of the merged layers `tree` without what is `hidden`. That there is something hidden can still
/// be seen. Times beyond the epoch say when layers were made, and are cut in the result too.
pub(crate) fn visible(tree: &Tree, hidden: &[(&str, bool)], epoch: Epoch) -> Digest {
    let mut tree = tree.clone();
    tree.clamp_times(epoch);
    for path in COVERED {
        tree.remove(path.as_bytes());
    }
    let mut text = String::new();
    for (path, is_dir) in hidden {
        tree.remove(path.as_bytes());
        text.push_str(&format!("{path} {is_dir}\n"));
    }
    // Removing a name changes no time of the directory in a tree, so nothing of it is left.
    tree.compact();
    Digest::of(format!("{}\n{text}", merkle::digest(&tree)).as_bytes())
}

/// The key of the initramfs of `collected`.
pub(crate) fn key(builder: &Builder<'_>, collected: &Collected) -> Digest {
    plan::initramfs_key(collected.visible, builder.recipe.initramfs_codec, builder.epoch())
}

/// The initramfs that an earlier build made with `key`, if the store still has it.
pub(crate) fn find(builder: &Builder<'_>, key: Digest) -> Result<Option<Initramfs>, BuildError> {
    let Some(bytes) = builder.store.record_get(KIND, &builder.in_store(Stage::Initramfs, key))? else {
        return Ok(None);
    };
    let Ok(Remembered { version, file }) = serde_json::from_slice(&bytes) else { return Ok(None) };
    let content = Content::from(file);
    let there = builder.store.size(&content.digest) == Some(content.size);
    Ok(there.then_some(Initramfs { version, content }))
}

/// Generates the initramfs of the system in `lowers`, the topmost first, which became `collected`.
pub(crate) fn run(
    builder: &Builder<'_>,
    lowers: &[Layer],
    view: &View,
    key: Digest,
    new: NewLayer,
) -> Result<Initramfs, BuildError> {
    let stage = Stage::Initramfs;
    let root = Root::Overlay {
        lowers: lowers.iter().map(Layer::files).collect(),
        upper: new.files(),
        work: builder.overlay_work(stage, &new)?,
    };
    let mut job = builder.job(stage, &new)?;
    let io = |source| BuildError::Initramfs { source };
    job.hide(&view.hidden).map_err(io)?;
    if let Some(bytes) = &view.hook_functions {
        job.replace(HOOK_FUNCTIONS, bytes).map_err(io)?;
    }
    // 18,000 short processes: each would read the files of a locale.
    job.locale = "C";
    builder.runner().script(stage, root, &job, &script::initramfs())?;
    // What ran there may have left anything at these names.
    let made = |name: &str| host::open_below(&new.files(), &format!("var/tmp/{name}")).map_err(io);
    let version = version(made("selfsame-kernel")?).map_err(io)?;
    let mut packed = BufWriter::with_capacity(1 << 16, builder.store.writer()?);
    repack(&made("selfsame-initrd")?, builder.recipe.initramfs_codec, builder.epoch(), &mut packed)?;
    packed.flush().map_err(io)?;
    let packed = packed.into_inner().map_err(|error| io(error.into_error()))?;
    let content = packed.finish(None)?;
    if builder.keeps_results() {
        let remembered = Remembered { version: version.clone(), file: content.into() };
        let bytes = serde_json::to_vec(&remembered).expect("a version and numbers are always JSON");
        builder.store.record_put(KIND, &builder.in_store(Stage::Initramfs, key), &bytes)?;
    }
    Ok(Initramfs { version, content })
}

/// Reads the version of a kernel.
fn version(file: File) -> io::Result<String> {
    let mut text = String::new();
    file.take(200).read_to_string(&mut text)?;
    let version = text.trim();
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b".+-_~".contains(&byte);
    if (1..=100).contains(&version.len()) && version.bytes().all(fine) {
        return Ok(version.to_owned());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("{version:?} is no version of a kernel")))
}

/// The most plain bytes of an initramfs that is taken: the kernel must hold it in memory, and so do we.
const LARGEST: u64 = 2 << 30;

/// Writes the segments of `raw` again in canonical form: microcode stays plain, the rest gets `codec`.
fn repack(raw: &File, codec: Codec, epoch: Epoch, out: &mut impl Write) -> Result<(), BuildError> {
    let mut segments = initramfs::read(raw, LARGEST).map_err(|error| BuildError::Repack(Box::new(error)))?;
    for tree in segments.iter_mut().flat_map(|segment| &mut segment.trees) {
        tree.clamp_times(epoch);
        tree.compact();
    }
    let parts: Vec<_> = segments
        .iter()
        .flat_map(|segment| {
            let codec = (segment.wrapping != Wrapping::None).then_some(codec);
            segment.trees.iter().map(move |tree| initramfs::Part { tree, contents: segment, codec })
        })
        .collect();
    initramfs::write(&parts, epoch, out).map_err(|error| BuildError::Repack(Box::new(error)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use selfsame_image::tree::{Leaf, Meta};

    use super::*;

    #[test]
    fn a_copy_file_that_is_known_gets_another_name_and_any_other_stays() {
        let body = "copy_file() {\n\techo \"$1\"\n}\n";
        let original = format!("# head\n{body}\nother() {{\n\t:\n}}\n");
        let digest = Digest::of(body.as_bytes()).to_string();
        let text = |known: &str| String::from_utf8(functions(original.as_bytes(), &[known])).unwrap();
        let renamed = text(&digest);
        assert!(renamed.starts_with("# head\nselfsame_copy_file() {\n\techo"), "{renamed}");
        assert!(renamed.contains("\nother() {\n") && renamed.ends_with(script::COPY_FILE));
        let left = text("another");
        assert!(left.starts_with(&original) && left.ends_with(script::HOOK_FUNCTIONS));
        assert_eq!(
            functions(b"nothing", &[&digest]),
            ["nothing", script::HOOK_FUNCTIONS].concat().as_bytes()
        );
    }

    #[test]
    fn what_is_hidden_changes_nothing_and_all_else_does() {
        let tree = |files: &[(&str, &str)]| {
            let mut tree = Tree::new(Meta::root(0o755, 0));
            for dir in ["etc", "etc/skel", "usr"] {
                tree.insert_dir(dir.as_bytes(), Meta::root(0o755, 0)).unwrap();
            }
            for (path, bytes) in files {
                tree.insert(path.as_bytes(), Leaf::file(Meta::root(0o644, 0), Content::of(bytes.as_bytes())))
                    .unwrap();
            }
            tree
        };
        let digest = |files: &[(&str, &str)]| {
            let tree = tree(files);
            visible(&tree, &hidden(&tree), Epoch(10))
        };
        let base = digest(&[("etc/issue", "1"), ("etc/fstab", "1")]);
        assert_eq!(base, digest(&[("etc/issue", "2"), ("etc/fstab", "1"), ("etc/skel/x", "1")]));
        assert_ne!(base, digest(&[("etc/issue", "1"), ("etc/fstab", "2")]));
        // What finalise takes out can be read as long as it is there.
        assert_ne!(base, digest(&[("etc/issue", "1"), ("etc/fstab", "1"), ("etc/ssh_host_key", "1")]));
        // A name that is there or not can be asked for.
        assert_ne!(base, digest(&[("etc/fstab", "1")]));
        assert_eq!(hidden(&tree(&[("etc/issue", "1")])), [("etc/issue", false), ("etc/skel", true)]);
    }

    #[test]
    fn only_versions_of_kernels_are_taken_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            std::fs::write(dir.path().join("v"), text).unwrap();
            version(File::open(dir.path().join("v")).unwrap())
        };
        assert_eq!(read("6.1.0-44-amd64\n").unwrap(), "6.1.0-44-amd64");
        for text in ["", "\n", "../x", "a b", &"1".repeat(300), "root:x:0:0"] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
