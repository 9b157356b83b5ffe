//! Makes those inputs of `fuzz/kept` that our own writers and fixtures give; `fuzz/seeds.sh` calls it and makes the others.

use std::error::Error;
use std::fs;
use std::io::Cursor;
use std::num::NonZero;
use std::path::PathBuf;

use selfsame_build::lock::Lock;
use selfsame_image::iso9660::{self, BiosBoot, Iso, Labels};
use selfsame_image::tree::{Kind, Leaf, Memory, Meta, Tree};
use selfsame_image::{Digest, Epoch, cpio, fat, gpt, initramfs, squashfs, tar, tree};
use selfsame_release::dsse::{IN_TOTO, seal};
use selfsame_release::{Output, Rebuild, SecretKey};
use selfsame_store::Store;
use selfsame_testkit::archive::{Deb, Index, Key, NOW, Sign, Suite, certificate, clearsign, collected};
use selfsame_testkit::readme::workspace;
use selfsame_testkit::tempfile;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const EPOCH: Epoch = Epoch(1_700_000_000);
/// The secret key whose public half the targets trust.
const SECRET: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC\n-----END PRIVATE KEY-----\n";

fn main() -> Result<()> {
    let (tree, memory) = fixture()?;
    images(&tree, &memory)?;
    archives(&tree, &memory)?;
    signed()?;
    product()?;
    Ok(())
}

fn keep(target: &str, name: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
    let dir = workspace().join("fuzz/kept").join(target);
    fs::create_dir_all(&dir)?;
    Ok(fs::write(dir.join(name), bytes)?)
}

/// A few files of each kind.
fn fixture() -> Result<(Tree, Memory)> {
    let (mut tree, mut memory) = (Tree::new(Meta::root(0o755, 0)), Memory::new());
    tree.insert_dir(b"etc", Meta::root(0o755, 1))?;
    let mut put = |path: &str, kind: Kind| -> Result<_> {
        let mut meta = Meta::root(0o644, i64::from(EPOCH.0) - 5);
        if path == "etc/motd" {
            meta.xattrs.insert((*b"user.note").into(), (*b"value").into());
        }
        Ok(tree.insert(path.as_bytes(), Leaf { meta, kind })?)
    };
    let code: Vec<u8> = (0..200_u32).flat_map(|number| (number * number).to_le_bytes()).collect();
    let motd = put("etc/motd", Kind::File(memory.add("Welcome.\n")))?;
    put("boot.bin", Kind::File(memory.add(code)))?;
    put("empty", Kind::File(memory.add("")))?;
    put("etc/large", Kind::File(memory.add("line\n".repeat(2000))))?;
    put("etc/link", Kind::Symlink((*b"../empty").into()))?;
    put("null", Kind::Char { major: 1, minor: 3 })?;
    put("pipe", Kind::Fifo)?;
    put("Gr\u{fc}\u{df}e, a name that is no short one", Kind::File(memory.add("umlauts\n")))?;
    tree.link(b"hard link", motd)?;
    Ok((tree, memory))
}

/// Only files and directories, without attributes: what every format can hold.
fn simple(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    for path in [&b"null"[..], b"pipe", b"etc/link", b"hard link"] {
        tree.remove(path);
    }
    tree.compact();
    tree.leaves_mut().iter_mut().for_each(|leaf| leaf.meta.xattrs.clear());
    tree
}

fn images(tree: &Tree, memory: &Memory) -> Result<()> {
    let one = NonZero::<usize>::MIN;
    for (name, codec) in [("gzip", "gzip:9"), ("xz", "xz:6"), ("zstd", "zstd:3"), ("lz4", "lz4:12")] {
        let codec = squashfs::codec_for(codec, 4096)?;
        let options = squashfs::Options {
            block_size: 4096,
            codec,
            epoch: EPOCH,
            export_table: name == "xz",
            sort: None,
            cache: None,
            progress: None,
        };
        let mut out = Cursor::new(Vec::new());
        squashfs::write(tree, memory, &options, one, &mut out)?;
        keep("squashfs", &format!("own-{name}"), out.into_inner())?;
    }
    let simple = simple(tree);
    let mut memory = memory.clone();
    let esp = memory.add(vec![0xe5; 4096]);
    let bios = Some(BiosBoot { image: b"boot.bin", info_table: true });
    let labels = Labels { volume: "SEED".into(), ..Labels::default() };
    let iso = Iso { tree: &simple, epoch: EPOCH, labels, joliet: true, bios, esp: Some(esp), hybrid: None };
    let mut out = Vec::new();
    iso9660::write(&iso, &memory, &mut out)?;
    // Little of the padding behind the volume is enough.
    out.truncate(out.len() - 148 * 2048);
    keep("iso9660", "own", out)?;
    let size = fat::Size::Exact(64 << 10);
    let fat =
        fat::Fat { tree: &simple, epoch: EPOCH, label: "SEED".into(), serial: 1, size, hidden_sectors: 0 };
    let mut out = Vec::new();
    fat::write(&fat, &memory, &mut out)?;
    keep("fat", "own", out)?;
    let mut table = gpt::Gpt::new(gpt::guid_from("disk", b""), 80);
    let id = gpt::guid_from("partition", b"");
    let name = "a name".to_owned();
    table.partitions = vec![gpt::Partition {
        number: 1,
        kind: gpt::Guid::ESP,
        id,
        first: 34,
        last: 40,
        attributes: 5,
        name,
    }];
    let mut out = Vec::new();
    let mbr = gpt::Mbr::protective(table.sectors);
    let text = b"text\n".to_vec();
    gpt::write(&mbr, &table, &[(1, &text)], &mut out)?;
    keep("gpt", "own", &out)?;
    keep("mbr", "protective", [&mbr.to_bytes()[..], &[0; 1536]].concat())
}

fn archives(tree: &Tree, memory: &Memory) -> Result<()> {
    let mut out = Vec::new();
    tar::write(tree, memory, EPOCH, &mut out)?;
    keep("tar", "own", out)?;
    let plain = {
        let mut tree = tree.clone();
        tree.leaves_mut().iter_mut().for_each(|leaf| leaf.meta.xattrs.clear());
        tree
    };
    let mut out = Vec::new();
    cpio::write(&plain, memory, EPOCH, &mut out)?;
    keep("cpio", "own", out)?;
    let part = |codec: Option<&str>| -> Result<_> {
        let codec = codec.map(str::parse).transpose()?;
        Ok(initramfs::Part { tree: &plain, contents: memory, codec })
    };
    for codec in ["zstd:3", "xz:6:dict=1048576"] {
        let mut out = Vec::new();
        initramfs::write(&[part(None)?, part(Some(codec))?], EPOCH, &mut out)?;
        keep("initramfs", &format!("own-{}", &codec[..2]), out)?;
    }
    keep("tree", "own", tree::text::to_string(tree))?;
    keep("deb", "own", package().bytes())?;
    keep("detect", "text", "text\n")?;
    keep("compare", "text", b"one\ntwo\nthree\n\0\x04\0\0\x03\0\x20\0")
}

fn package() -> Deb {
    Deb::new("hello", "1:1.0-1")
        .set("Depends", "libc6 (>= 2.34), a | b")
        .set("Provides", "greeting (= 1.0)")
        .set("Source", "hello-source (1.0)")
        .file("usr/bin/hello", 0o755, b"#!/bin/sh\necho hello\n")
        .script("postinst", "#!/bin/sh\nexit 0\n")
}

/// A suite and what signs it. The key is a part of the targets.
fn signed() -> Result<()> {
    let (key, other) = (Key::new("fuzz"), Key::new("other"));
    fs::write(workspace().join("fuzz/src/key.pgp"), key.certificate())?;
    keep("keyring", "binary", key.certificate())?;
    keep("keyring", "armored", certificate(&[&key, &other]))?;
    let suite =
        Suite::new("bookworm", &key).with(package()).with(Deb::new("other", "2").set("Architecture", "all"));
    let release = suite.release();
    let (mine, foreign) = (Sign::new(&key, NOW), Sign::new(&other, NOW));
    keep("release", "own", &release)?;
    keep("inrelease", "own", suite.in_release())?;
    keep("inrelease", "two-signatures", clearsign(&release, &[foreign, mine]))?;
    let in_a_row = [clearsign(&release, &[mine]), collected(&release, &[mine])];
    keep("collected", "in-a-row", in_a_row.concat())?;
    keep("collected", "detached", collected(&release, &[mine]))?;
    for Index { plain, xz, gz, .. } in suite.indexes().into_values() {
        keep("packages", "plain", plain)?;
        keep("packages", "xz", xz)?;
        keep("packages", "gz", gz)?;
    }
    Ok(())
}

fn product() -> Result<()> {
    let read = |path: &str| fs::read_to_string(workspace().join(path));
    keep("recipe", "init", read("crates/cli/src/commands/init.toml")?)?;
    keep("recipe", "live", read("examples/live/selfsame.toml")?)?;
    keep("recipe", "tiny", read("examples/tiny/selfsame.toml")?)?;
    // A lock of a few packages shows as much as one of many.
    let mut lock: Lock = read("examples/tiny/selfsame.lock")?.parse()?;
    let few: Vec<String> = lock.install.base.iter().take(3).cloned().collect();
    lock.packages.retain(|package| few.contains(&package.name));
    lock.install.automatic.retain(|name| few.contains(name));
    lock.install.groups.clear();
    lock.install.base = few;
    keep("lock", "tiny", lock.to_string())?;

    let (published, built) = (Digest::of(b"iso"), Digest::of(b"iso"));
    let rebuild = Rebuild {
        outputs: vec![Output { name: "x.iso".into(), published, built }],
        lock: Digest::of(b"lock"),
        commit: Some("4d".repeat(20)),
        epoch: 1,
        selfsame: "0.1.0".into(),
    };
    keep("statement", "own", rebuild.statement())?;
    keep("result", "statement", rebuild.statement())?;
    let secret = SecretKey::from_pem(SECRET)?;
    keep("result", "envelope", seal(IN_TOTO, rebuild.statement().as_bytes(), &secret))?;
    keep("result", "link", read("crates/release/tests/data/rebuilderd.link")?)?;

    let dir = tempfile::tempdir()?;
    let (store, key) = (Store::open(dir.path())?, Digest::of(b"key"));
    store.cache_put("fuzz", &key, b"payload\n")?;
    store.record_put("fuzz", &key, b"payload\n")?;
    let fan: PathBuf = store.path(&key).strip_prefix(dir.path().join("blobs"))?.into();
    let cached = fs::read(dir.path().join("cache/fuzz").join(&fan))?;
    keep("store", "cached", [&[0], &cached[..]].concat())?;
    let record = fs::read(dir.path().join("records/fuzz").join(&fan))?;
    keep("store", "record", [&[1], &record[..]].concat())?;
    keep("store", "blob", b"\x02bytes")?;
    keep("store", "layout", [&[3], &fs::read(dir.path().join("layout"))?[..]].concat())?;
    keep("store", "partial", b"\x04beginning")
}
