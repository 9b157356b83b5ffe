//! How much room a long series of snapshots takes: for `bench/series.sh`.
//!
//!     series shapes PACKAGES.xz...                        whether each file can be made again of its content
//!     series STORE DAYS NAME=INRELEASE,PACKAGES.xz,STANZAS,EVERY...
//!
//! Each suite begins with a real signed file and index. Every so many days so many of its stanzas become those of another
//! version, with new sizes and digests; the signed file then gets new digests for two thirds of its lines and new signatures.
//! (Nothing is verified here: what is measured does not depend on it.)

use std::num::NonZero;
use std::time::Instant;

use selfsame_apt::packages::unpack;
use selfsame_apt::snapshot::{ArchiveSpec, IndexRef, Snapshot, SuiteState, Thin};
use selfsame_build::snapshots::{Kept, KeptEvidence, Rules, collect};
use selfsame_image::Digest;
use selfsame_image::codec::remake::Shape;
use selfsame_image::tree::Content;
use selfsame_store::{Depth, Store};

const DAY: i64 = 86_400;
/// 2026-01-01.
const START: i64 = 1_767_225_600;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((word, files)) if word == "shapes" => files.iter().try_for_each(|file| shape_of(file)),
        Some((store, rest)) => series(store, rest[0].parse()?, &rest[1..]),
        None => Err("see the first lines of the source".into()),
    }
}

fn jobs() -> NonZero<usize> {
    std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

fn shape_of(path: &str) -> Result<()> {
    let file = std::fs::read(path)?;
    let plain = unpack(&file, &Content::of(&file), None)?;
    let begun = Instant::now();
    let shape = Shape::of(&file, &plain);
    let found = begun.elapsed().as_secs_f64();
    let same = match shape {
        Some(shape) => shape.make(&plain, jobs())? == file,
        None => false,
    };
    let name = path.rsplit("dists_").next().unwrap_or(path);
    let shape = shape.map_or("none".to_owned(), |shape| shape.to_string());
    println!(
        "| {name} | {} | {shape} | {same} | {found:.1} | {:.1} |",
        file.len(),
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

struct Suite {
    name: String,
    signed: String,
    stanzas: Vec<String>,
    churn: usize,
    every: i64,
    state: Option<SuiteState>,
}

/// Numbers that look like chance and are always the same.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        let digest = Digest::of(&self.0.to_le_bytes());
        u64::from_le_bytes(digest.0[..8].try_into().unwrap_or_default())
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap_or(0)
    }

    fn digest(&mut self) -> String {
        let number = self.next();
        Digest::of(&number.to_le_bytes()).to_string()
    }
}

impl Suite {
    fn parse(text: &str) -> Result<Self> {
        let (name, rest) = text.split_once('=').ok_or("NAME=...")?;
        let [signed, index, churn, every] = rest.split(',').collect::<Vec<_>>()[..] else {
            return Err(text.into());
        };
        let file = std::fs::read(index)?;
        let plain = String::from_utf8(unpack(&file, &Content::of(&file), None)?)?;
        Ok(Self {
            name: name.to_owned(),
            signed: std::fs::read_to_string(signed)?,
            stanzas: plain.split_inclusive("\n\n").map(str::to_owned).collect(),
            churn: churn.parse()?,
            every: every.parse()?,
            state: None,
        })
    }

    /// The state of a day: another one, or that of the day before.
    fn on(&mut self, day: i64, numbers: &mut Numbers, store: &Store) -> Result<SuiteState> {
        if let Some(state) = self.state.clone().filter(|_| day % self.every != 0) {
            return Ok(state);
        }
        if day > 0 {
            for _ in 0..self.churn {
                let at = numbers.below(self.stanzas.len());
                self.stanzas[at] = bumped(&self.stanzas[at], day, numbers);
            }
            self.signed = signed_anew(&self.signed, numbers);
        }
        let plain = self.stanzas.concat().into_bytes();
        let shape: Shape = "xz:6e:check=4:block=25165824:header=20".parse()?;
        let packed = shape.make(&plain, jobs())?;
        store.put(&packed)?;
        store.put(self.signed.as_bytes())?;
        let (packed, plain) = (Content::of(&packed), Content::of(&plain));
        let state = SuiteState {
            suite: self.name.clone(),
            codename: self.name.clone(),
            date: START + day * DAY,
            in_release: Content::of(self.signed.as_bytes()),
            signers: Vec::new(),
            indexes: vec![IndexRef { path: "main/binary-amd64/Packages.xz".to_owned(), packed, plain }],
        };
        self.state = Some(state.clone());
        Ok(state)
    }
}

/// Another version of a package.
fn bumped(stanza: &str, day: i64, numbers: &mut Numbers) -> String {
    let line = |line: &str| match line.split_once(": ") {
        Some((name @ ("SHA256" | "MD5sum"), old)) => {
            format!("{name}: {}\n", &numbers.digest()[..old.trim_end().len()])
        }
        Some(("Size", _)) => format!("Size: {}\n", numbers.below(1 << 22)),
        Some(("Version", old)) => format!("Version: {}+d{day}\n", old.trim_end()),
        Some(("Filename", old)) => {
            format!("Filename: {}\n", old.trim_end().replace("_amd64", &format!("+d{day}_amd64")))
        }
        _ => line.to_owned(),
    };
    stanza.split_inclusive('\n').map(line).collect()
}

/// A signed file with new digests for two thirds of its files, and new signatures.
fn signed_anew(text: &str, numbers: &mut Numbers) -> String {
    let mut is_signature = false;
    let mut line = |line: &str| {
        is_signature |= line.starts_with("-----BEGIN PGP SIGNATURE");
        let digest = line.split_whitespace().next().filter(|_| line.starts_with(' ')).unwrap_or_default();
        if is_signature && line.len() == 65 {
            let text = numbers.digest() + &numbers.digest();
            let text: String =
                text.bytes().map(|byte| char::from(b'A' + byte.wrapping_mul(7) % 57)).take(64).collect();
            return text + "\n";
        }
        if (digest.len() == 64 || digest.len() == 32) && numbers.below(3) > 0 {
            return line.replacen(digest, &numbers.digest()[..digest.len()], 1);
        }
        line.to_owned()
    };
    text.split_inclusive('\n').map(&mut line).collect()
}

fn series(path: &str, days: i64, suites: &[String]) -> Result<()> {
    let store = Store::open(path)?;
    let mut suites = suites.iter().map(|text| Suite::parse(text)).collect::<Result<Vec<_>>>()?;
    let spec = ArchiveSpec {
        name: "debian".to_owned(),
        mirrors: Vec::new(),
        suites: suites.iter().map(|suite| suite.name.clone()).collect(),
        components: vec!["main".to_owned()],
        architectures: vec!["amd64".to_owned()],
        keyring: None,
        fingerprints: Vec::new(),
        threshold: 1,
    };
    let mut numbers = Numbers(0);
    let (mut each, mut signed) = (0, 0);
    for day in 0..days {
        let states =
            suites.iter_mut().map(|suite| suite.on(day, &mut numbers, &store)).collect::<Result<Vec<_>>>()?;
        each += states.iter().map(|state| state.indexes[0].packed.size).sum::<u64>();
        signed += states.iter().map(|state| state.in_release.size).sum::<u64>();
        let evidence = |state: &SuiteState| KeptEvidence {
            suite: state.suite.clone(),
            asked: 1,
            agreeing: 1,
            agreed: Vec::new(),
            novelty: "newer".to_owned(),
            others: Vec::new(),
        };
        let evidence = states.iter().map(evidence).collect();
        let at = START + day * DAY;
        let serial = selfsame_apt::date::serial(at);
        let snapshot = Snapshot { archive: "debian".to_owned(), serial, at, suites: states };
        Kept { spec: spec.clone(), snapshot, evidence }.keep(&store)?;
    }
    let before = store.stat()?;
    let begun = Instant::now();
    let done = collect(&store, &Rules { before: None, whole: 2, jobs: jobs(), dry_run: false })?;
    let took = begun.elapsed().as_secs_f64();
    let after = store.stat()?;
    println!("| snapshots | {days} |");
    println!("| Packages.xz of each, together | {each} |");
    println!("| InRelease of each, together | {signed} |");
    println!("| blobs of different bytes | {} |", before.blob_bytes);
    let all = after.blob_bytes + after.record_bytes;
    println!("| blobs and records after gc | {all} in {} files, {took:.0} s |", after.blobs + after.records);
    println!(
        "| differences | {} of {} files, whole {} of {} |",
        done.patch_bytes, done.thin, done.whole_bytes, done.whole
    );
    println!("| Packages.xz of each : all of it | {:.1} |", each as f64 / all as f64);
    check(&store, &mut numbers)
}

/// Some of the files come back, and nothing is damaged.
fn check(store: &Store, numbers: &mut Numbers) -> Result<()> {
    let all = Thin::all(store)?;
    for _ in 0..5 {
        let digest = all[numbers.below(all.len())];
        let Some(thin) = Thin::find(store, &digest)? else { return Err("it was there".into()) };
        let begun = Instant::now();
        let plain = Thin::plain(store, &thin.of)?.map(|plain| plain.len());
        let read = begun.elapsed().as_secs_f64();
        assert!(Thin::restore(store, &thin.of, jobs())? && store.open_verified(&digest)?.is_some());
        println!(
            "| {} bytes of {plain:?} | read in {read:.2} s, made again in {:.1} s |",
            thin.of.size,
            begun.elapsed().as_secs_f64()
        );
    }
    assert_eq!(store.check(Depth::Bytes)?, []);
    Ok(())
}
