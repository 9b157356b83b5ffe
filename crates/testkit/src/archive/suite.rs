//! Suites: packages, indexes and `Release` files, and what can be wrong with them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZero;
use std::path::Path;

use selfsame_image::Digest;
use selfsame_image::codec::Codec;
use selfsame_image::codec::remake::Shape;
use selfsame_image::epoch::civil;

use super::{Deb, Key, NOW, Sign, clearsign};

/// Which digest fields a `Release` file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digests {
    /// `SHA256`, as Debian today.
    Sha256,
    /// `MD5Sum` with made-up digests only.
    WeakOnly,
    /// None.
    None,
}

/// Bytes of a `Packages` file in all forms.
#[derive(Clone, Debug)]
pub struct Index {
    /// Plain.
    pub plain: Vec<u8>,
    /// xz.
    pub xz: Vec<u8>,
    /// gzip.
    pub gz: Vec<u8>,
}

impl Index {
    /// Compresses the plain bytes.
    pub fn of(plain: Vec<u8>) -> Self {
        // As Debian makes them: `xz -6e -T0`.
        let shape: Shape = "xz:6e:check=4:block=25165824:header=20".parse().unwrap();
        let xz = shape.make(&plain, NonZero::<usize>::MIN).unwrap();
        let gz = gzip(&plain);
        Self { plain, xz, gz }
    }
}

/// A gzip member (RFC 1952) around the deflate stream of a zlib stream (RFC 1950), whose header has 2 bytes and whose
/// checksum has 4.
fn gzip(plain: &[u8]) -> Vec<u8> {
    let zlib = Codec::Gzip { level: 1 }.compress(plain).unwrap();
    let crc = plain.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    });
    let size = u32::try_from(plain.len()).expect("fixtures are small");
    let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let deflate = &zlib[2..zlib.len() - 4];
    [&header[..], deflate, &(!crc).to_le_bytes(), &size.to_le_bytes()].concat()
}

/// One suite of an archive. All fields may be changed before it is written.
#[derive(Debug)]
pub struct Suite<'a> {
    /// Directory below `dists/`.
    pub path: String,
    /// `Codename`; empty leaves the field out.
    pub codename: String,
    /// `Suite`; empty leaves the field out.
    pub suite: String,
    /// `Date` in seconds; `None` leaves the field out.
    pub date: Option<i64>,
    /// `Valid-Until` in seconds.
    pub valid_until: Option<i64>,
    /// `Components` as written; by default those of the packages.
    pub components: Option<String>,
    /// `Architectures` as written.
    pub architectures: String,
    /// Lines added to the `Release` file before the digests.
    pub extra: String,
    /// Whether `Acquire-By-Hash: yes` is written, and the by-hash files with it.
    pub by_hash: bool,
    /// Which of `""`, `.xz`, `.gz` are listed and written.
    pub forms: Vec<&'static str>,
    /// Digest fields.
    pub digests: Digests,
    /// Packages by component.
    pub packages: BTreeMap<String, Vec<Deb>>,
    /// What becomes of the text of each index before it is digested.
    pub index: fn(String) -> String,
    /// Who signs.
    pub signatures: Vec<Sign<'a>>,
}

impl<'a> Suite<'a> {
    /// A suite with a good signature, dated a minute before it.
    pub fn new(codename: &str, key: &'a Key) -> Self {
        Self {
            path: codename.to_owned(),
            codename: codename.to_owned(),
            suite: "stable".to_owned(),
            date: Some(NOW - 60),
            valid_until: None,
            components: None,
            architectures: "amd64".to_owned(),
            extra: String::new(),
            by_hash: true,
            forms: vec!["", ".xz", ".gz"],
            digests: Digests::Sha256,
            packages: BTreeMap::from([("main".to_owned(), Vec::new())]),
            index: |text| text,
            signatures: vec![Sign::new(key, NOW)],
        }
    }

    /// Adds a package to `main`.
    pub fn with(mut self, deb: Deb) -> Self {
        self.packages.entry("main".to_owned()).or_default().push(deb);
        self
    }

    /// The indexes by path below the suite's directory, without the ending of the form.
    pub fn indexes(&self) -> BTreeMap<String, Index> {
        let mut all = BTreeMap::new();
        for (component, debs) in &self.packages {
            for architecture in self.architectures.split_whitespace() {
                let mut plain = String::new();
                for deb in debs.iter().filter(|deb| [architecture, "all"].contains(&deb.get("Architecture")))
                {
                    let bytes = deb.bytes();
                    let (size, sha256) = (bytes.len(), Digest::of(&bytes));
                    let file = pool_path(component, deb);
                    write!(plain, "{}Filename: {file}\nSize: {size}\nSHA256: {sha256}\n\n", deb.control())
                        .unwrap();
                }
                let path = format!("{component}/binary-{architecture}/Packages");
                all.insert(path, Index::of((self.index)(plain).into_bytes()));
            }
        }
        all
    }

    /// The text of the `Release` file.
    pub fn release(&self) -> String {
        let mut out = String::from("Origin: Fixture\nLabel: Fixture\n");
        for (name, value) in [("Suite", &self.suite), ("Codename", &self.codename)] {
            if !value.is_empty() {
                writeln!(out, "{name}: {value}").unwrap();
            }
        }
        for (name, time) in [("Date", self.date), ("Valid-Until", self.valid_until)] {
            if let Some(time) = time {
                writeln!(out, "{name}: {}", http_date(time).replace("GMT", "UTC")).unwrap();
            }
        }
        if self.by_hash {
            out.push_str("Acquire-By-Hash: yes\n");
        }
        let components = self.packages.keys().map(String::as_str).collect::<Vec<_>>().join(" ");
        let components = self.components.as_ref().unwrap_or(&components);
        write!(out, "Architectures: {}\nComponents: {components}\n{}", self.architectures, self.extra)
            .unwrap();
        match self.digests {
            Digests::Sha256 => out.push_str("SHA256:\n"),
            Digests::WeakOnly => out.push_str("MD5Sum:\n"),
            Digests::None => return out,
        }
        for (path, index) in self.indexes() {
            for (form, bytes) in self.written(&index) {
                let digest = Digest::of(bytes).to_string();
                let digest = if self.digests == Digests::WeakOnly { &digest[..32] } else { &digest };
                writeln!(out, " {digest} {:>8} {path}{form}", bytes.len()).unwrap();
            }
        }
        out
    }

    /// The signed form of [`Suite::release`].
    pub fn in_release(&self) -> String {
        clearsign(&self.release(), &self.signatures)
    }

    fn written<'i>(&self, index: &'i Index) -> Vec<(&'static str, &'i [u8])> {
        let all = [("", &index.plain[..]), (".xz", &index.xz[..]), (".gz", &index.gz[..])];
        all.into_iter().filter(|(form, _)| self.forms.contains(form)).collect()
    }

    /// Writes `dists/PATH` and the pool below `root`.
    pub fn write(&self, root: &Path) {
        let dists = root.join("dists").join(&self.path);
        put(&dists.join("InRelease"), self.in_release().as_bytes());
        put(&dists.join("Release"), self.release().as_bytes());
        for (path, index) in self.indexes() {
            for (form, bytes) in self.written(&index) {
                let file = dists.join(format!("{path}{form}"));
                put(&file, bytes);
                if self.by_hash {
                    put(&file.with_file_name("by-hash/SHA256").join(Digest::of(bytes).to_string()), bytes);
                }
            }
        }
        for (component, debs) in &self.packages {
            for deb in debs {
                put(&root.join(pool_path(component, deb)), &deb.bytes());
            }
        }
    }
}

/// Suites that share a root.
#[derive(Debug, Default)]
pub struct Archive<'a> {
    /// The suites.
    pub suites: Vec<Suite<'a>>,
}

impl Archive<'_> {
    /// Writes the archive below `root`, which is then good for `file:` and for [`super::serve`].
    pub fn write(&self, root: &Path) {
        self.suites.iter().for_each(|suite| suite.write(root));
    }
}

fn pool_path(component: &str, deb: &Deb) -> String {
    let name = deb.get("Package");
    format!("pool/{component}/{}/{name}/{}", &name[..1], deb.file_name())
}

fn put(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// A date as HTTP and `Release` files write it: `Thu, 15 Jan 2026 12:00:00 GMT`.
pub fn http_date(seconds: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = u32::try_from(seconds).expect("fixture times are between 1970 and 2106");
    let date = civil(seconds);
    let (day, month) = (DAYS[(seconds / 86_400 % 7) as usize], MONTHS[usize::from(date.month) - 1]);
    format!(
        "{day}, {:02} {month} {} {:02}:{:02}:{:02} GMT",
        date.day, date.year, date.hour, date.minute, date.second
    )
}
