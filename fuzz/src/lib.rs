//! One target for each reader of what others give: what it must withstand, whatever the bytes are.
//!
//! libFuzzer runs them (`cargo +nightly fuzz run NAME`, `scripts/fuzz.sh` for all), and so does an ordinary test on the kept
//! inputs and mutations of them: `crates/cli/tests/fuzz`. A target does nothing but read, and panics if something is not as it
//! must be: what was read and written again is the same, each byte of a file has one owner, what is told of a comparison
//! adds up.

mod archives;
mod difference;
mod formats;
mod normalise;
mod product;
mod streams;
mod structure;
mod texts;

/// A reader, or several of one format.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of the program, and of the directory of its kept inputs. For a format that `detect` knows, that of the format.
    pub name: &'static str,
    /// What is done with an input.
    pub run: fn(&[u8]),
    /// How many mutations of its kept inputs the ordinary test tries: what takes a second or so.
    pub mutations: u32,
    /// Whether it takes inputs of any format, so that the kept ones of all formats are its own, too.
    pub any_format: bool,
}

const fn target(name: &'static str, mutations: u32, run: fn(&[u8])) -> Target {
    Target { name, run, mutations, any_format: false }
}

const fn any_format(name: &'static str, mutations: u32, run: fn(&[u8])) -> Target {
    Target { any_format: true, ..target(name, mutations, run) }
}

/// All targets.
pub static TARGETS: &[Target] = &[
    target("ar", 20_000, formats::ar),
    target("bzip2", 6000, streams::packed),
    target("collected", 6000, archives::collected),
    any_format("compare", 6000, difference::compare),
    target("cpio", 4000, formats::cpio),
    target("date", 20_000, texts::date),
    target("deb", 10_000, formats::deb),
    target("deb822", 20_000, archives::deb822),
    any_format("detect", 3000, difference::detect),
    target("elf", 6000, formats::elf),
    target("erofs", 3000, formats::erofs),
    target("ext4", 1500, formats::ext4),
    target("fat", 2000, formats::fat),
    target("fontconfig", 10_000, formats::fontconfig),
    target("gpt", 200, formats::gpt),
    target("gzip", 20_000, streams::packed),
    target("history", 20_000, archives::history),
    target("initramfs", 5000, formats::initramfs),
    target("inrelease", 20_000, archives::inrelease),
    target("iso9660", 2000, formats::iso9660),
    target("keyring", 8000, archives::keyring),
    target("lock", 6000, product::lock),
    target("lz4", 20_000, streams::packed),
    target("lzma", 10_000, streams::packed),
    target("mbr", 6000, formats::gpt),
    target("mirror", 20_000, archives::mirror),
    target("mo", 20_000, formats::mo),
    any_format("normalise", 8000, normalise::normalise),
    target("oldcpio", 10_000, formats::old_cpio),
    target("packages", 20_000, archives::packages),
    target("patch", 20_000, streams::patch),
    target("pattern", 20_000, texts::pattern),
    target("pe", 20_000, formats::pe),
    target("png", 20_000, formats::png),
    target("policy", 20_000, product::policy),
    target("pyc", 20_000, formats::pyc),
    target("qcow2", 4000, formats::qcow2),
    target("recipe", 8000, product::recipe),
    target("relation", 20_000, archives::relation),
    target("release", 20_000, archives::release),
    target("request", 20_000, product::request),
    target("result", 1500, product::result),
    target("shape", 150, streams::shape),
    target("simulation", 20_000, product::simulation),
    target("sort", 20_000, texts::sort),
    target("sources", 20_000, archives::sources),
    target("sourceslist", 20_000, archives::sources_list),
    target("sqlite", 5000, formats::sqlite),
    target("squashfs", 2500, formats::squashfs),
    target("statement", 20_000, product::statement),
    target("store", 600, product::store),
    target("stream", 5000, streams::stream),
    target("tar", 2000, formats::tar),
    target("thin", 20_000, archives::thin),
    target("tree", 20_000, texts::tree),
    target("version", 20_000, archives::version),
    target("words", 20_000, texts::words),
    target("xz", 10_000, streams::packed),
    target("zip", 10_000, formats::zip),
    target("zstd", 20_000, streams::packed),
];

/// The target of that name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
