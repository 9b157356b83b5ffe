//! A long series of snapshots in little space: files as differences from earlier ones.
//!
//! Of an index that is *thin*, the store has what makes its content of an earlier index's content, and the numbers of
//! which the compressed bytes follow ([`Shape`]); that they do was tried before. Of a signed file it has the difference
//! alone. Everything that is made again is checked against the digest it is known by.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};

use selfsame_image::Digest;
use selfsame_image::codec::remake::Shape;
use selfsame_image::codec::{Wrapping, patch};
use selfsame_image::tree::Content;
use selfsame_store::{Store, StoreError};

use crate::packages::{UnpackError, unpack};

/// Kind of the records that say how to make a file again, by the file's digest.
const KIND: &str = "thin";
/// How many differences lie on each other at most. Each one costs copying its content once when the last one is read.
const DEEPEST: u32 = 64;
/// A chain of so many leads nowhere. Chains become longer than [`DEEPEST`] where a file that others are made of is made thin
/// itself.
const ENDLESS: usize = 4096;

/// Held while a record is written, after it was seen that no chain leads back to where it begins.
static ONE: Mutex<()> = Mutex::new(());

/// Why a file could not be made thin, or not be made again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ThinError {
    /// A record that another version of this program wrote, or nobody.
    #[error("record thin {of} cannot be read")]
    Record {
        /// The file.
        of: Digest,
    },
    /// What it was made of is not there.
    #[error("{of} is kept as a difference from {base}, which is not in the store")]
    NoBase {
        /// The file.
        of: Digest,
        /// The earlier one, or the difference.
        base: Digest,
    },
    /// A compressed file cannot be read.
    #[error("{of}")]
    Unpack {
        /// The file.
        of: Digest,
        /// What is wrong.
        source: UnpackError,
    },
    /// The codec failed.
    #[error("{of} cannot be made again")]
    Codec {
        /// The file.
        of: Digest,
        /// What it says.
        source: std::io::Error,
    },
    /// It came out as something else.
    #[error("{of} was made again and is {found}")]
    Mismatch {
        /// The file.
        of: Digest,
        /// What came out.
        found: Digest,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How a file is made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thin {
    /// The file.
    pub of: Content,
    /// What it holds; the file itself, if it is not compressed.
    pub plain: Content,
    /// How it is compressed, if it is.
    pub shape: Option<Shape>,
    /// The earlier file, whose content this one's is made of.
    pub base: Digest,
    /// The difference, a blob of the store.
    pub patch: Content,
    /// How many differences lie on each other.
    depth: u32,
}

impl std::fmt::Display for Thin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { of, plain, shape, base, patch, depth } = self;
        let shape = shape.map_or("none".to_owned(), |shape| shape.to_string());
        writeln!(f, "of {} {}\nplain {} {}\nshape {shape}", of.size, of.digest, plain.size, plain.digest)?;
        writeln!(f, "base {base}\npatch {} {}\ndepth {depth}", patch.size, patch.digest)
    }
}

impl Thin {
    /// Reads the text form, as it is printed; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
        let content = |text: String| {
            let (size, digest) = text.split_once(' ')?;
            Some(Content { size: size.parse().ok()?, digest: digest.parse().ok()? })
        };
        let (of, plain) = (content(field("of")?)?, content(field("plain")?)?);
        let shape = match field("shape")?.as_str() {
            "none" => None,
            shape => Some(shape.parse().ok()?),
        };
        let (base, patch) = (field("base")?.parse().ok()?, content(field("patch")?)?);
        let thin = Self { of, plain, shape, base, patch, depth: field("depth")?.parse().ok()? };
        (thin.to_string() == text).then_some(thin)
    }

    /// How the file `of` is made again, if that is kept.
    pub fn find(store: &Store, of: &Digest) -> Result<Option<Self>, ThinError> {
        let Some(bytes) = store.record_get(KIND, of)? else { return Ok(None) };
        let thin =
            std::str::from_utf8(&bytes).ok().and_then(Self::parse).filter(|thin| thin.of.digest == *of);
        thin.map(Some).ok_or(ThinError::Record { of: *of })
    }

    /// All files that can be made again.
    pub fn all(store: &Store) -> Result<Vec<Digest>, ThinError> {
        Ok(store.record_keys(KIND)?)
    }

    /// Forgets how to make the file again. The difference stays.
    pub fn forget(store: &Store, of: &Digest) -> Result<(), ThinError> {
        Ok(store.record_remove(KIND, of)?)
    }

    /// Keeps how to make `of` again with the help of `base`, an earlier file that is there or thin itself. `None` if that
    /// would not save much, or if its compression is not one that can be repeated.
    ///
    /// Whether it can is tried by doing it, also where a record says so, unless `of` is gone already. `of` is not removed.
    /// Blocks are compressed on `jobs` threads.
    pub fn make(
        store: &Store,
        of: &Content,
        base: &Content,
        jobs: NonZero<usize>,
    ) -> Result<Option<Self>, ThinError> {
        let known = Self::find(store, &of.digest)?;
        let Some(file) = store.read(&of.digest)? else { return Ok(known) };
        if let Some(thin) = known {
            if thin.gives(store, &file, jobs) {
                return Ok(Some(thin));
            }
            // What it was made of is damaged or gone: the file is the only copy.
            Self::forget(store, &of.digest)?;
        }
        let depth = Self::find(store, &base.digest)?.map_or(1, |base| base.depth + 1);
        if depth > DEEPEST || Self::leads_to(store, &base.digest, &of.digest)? {
            return Ok(None);
        }
        let plain = content_of(&file, of)?;
        let failed = |source| ThinError::Codec { of: of.digest, source };
        let shape = match Wrapping::detect(&file) {
            Wrapping::None => None,
            _ => match Shape::of(&file, &plain) {
                Some(shape) if shape.make(&plain, jobs).map_err(failed)? == file => Some(shape),
                _ => return Ok(None),
            },
        };
        let old = match Self::plain(store, base) {
            Ok(Some(old)) => old,
            // It was lost: this one must not depend on it.
            Ok(None) | Err(ThinError::NoBase { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let patch = patch::make(&old, &plain).map_err(failed)?;
        if patch.len() as u64 > of.size / 2 {
            return Ok(None);
        }
        store.put(&patch)?;
        let (plain, patch) = (Content::of(&plain), Content::of(&patch));
        let thin = Self { of: *of, plain, shape, base: base.digest, patch, depth };
        // Two threads must not make two files of each other.
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        if Self::leads_to(store, &base.digest, &of.digest)? {
            return Ok(None);
        }
        store.record_put(KIND, &of.digest, thin.to_string().as_bytes())?;
        Ok(Some(thin))
    }

    /// Whether `from` is `to`, or is made of it, directly or not: then `to` must not be made of `from`.
    fn leads_to(store: &Store, from: &Digest, to: &Digest) -> Result<bool, ThinError> {
        let mut at = *from;
        for _ in 0..=ENDLESS {
            if at == *to {
                return Ok(true);
            }
            match Self::find(store, &at)? {
                Some(thin) => at = thin.base,
                None => return Ok(false),
            }
        }
        // Longer than it can be.
        Ok(true)
    }

    /// Whether `file` comes out when it is made again, without the help of the file itself.
    fn gives(&self, store: &Store, file: &[u8], jobs: NonZero<usize>) -> bool {
        let base = Content { size: 0, digest: self.base };
        if Self::leads_to(store, &self.base, &self.of.digest).unwrap_or(true) {
            return false;
        }
        let (Ok(Some(old)), Ok(Some(patch))) = (Self::plain(store, &base), store.read(&self.patch.digest))
        else {
            return false;
        };
        let size = usize::try_from(self.plain.size).unwrap_or(usize::MAX);
        let Ok(plain) = patch::apply(&old, &patch, size) else { return false };
        match self.shape {
            None => plain == file,
            Some(shape) => shape.make(&plain, jobs).is_ok_and(|made| made == file),
        }
    }

    /// What the file `of` holds, whether it is there or thin; `None` if it is neither.
    pub fn plain(store: &Store, of: &Content) -> Result<Option<Vec<u8>>, ThinError> {
        let mut chain = Vec::new();
        let mut at = *of;
        let mut plain = loop {
            if let Some(file) = store.read(&at.digest)? {
                // Of a base only the digest is known, which the store checked.
                let content = Content { size: file.len() as u64, ..at };
                break content_of(&file, &content)?;
            }
            match Self::find(store, &at.digest)? {
                // No chain leads back to where it began: `make` sees to it.
                Some(thin) if chain.len() <= ENDLESS => {
                    at = Content { size: 0, digest: thin.base };
                    chain.push(thin);
                }
                _ => {
                    let Some(thin) = chain.last() else { return Ok(None) };
                    return Err(ThinError::NoBase { of: thin.of.digest, base: at.digest });
                }
            }
        };
        for thin in chain.into_iter().rev() {
            let of = thin.of.digest;
            let missing = ThinError::NoBase { of, base: thin.patch.digest };
            let patch = store.read(&thin.patch.digest)?.ok_or(missing)?;
            let size = usize::try_from(thin.plain.size).unwrap_or(usize::MAX);
            plain = patch::apply(&plain, &patch, size).map_err(|source| ThinError::Codec { of, source })?;
            let found = Digest::of(&plain);
            if found != thin.plain.digest {
                return Err(ThinError::Mismatch { of, found });
            }
        }
        Ok(Some(plain))
    }

    /// Makes the file `of` again, if it is thin and not there. Returns whether it is there now.
    pub fn restore(store: &Store, of: &Content, jobs: NonZero<usize>) -> Result<bool, ThinError> {
        if store.size(&of.digest) == Some(of.size) {
            return Ok(true);
        }
        let Some(thin) = Self::find(store, &of.digest)? else { return Ok(false) };
        let Some(plain) = Self::plain(store, of)? else { return Ok(false) };
        let file = match thin.shape {
            None => plain,
            Some(shape) => {
                shape.make(&plain, jobs).map_err(|source| ThinError::Codec { of: of.digest, source })?
            }
        };
        let found = Digest::of(&file);
        if found != of.digest {
            return Err(ThinError::Mismatch { of: of.digest, found });
        }
        store.put(&file)?;
        Ok(true)
    }
}

/// What `file`, which must be `content`, holds.
fn content_of(file: &[u8], content: &Content) -> Result<Vec<u8>, ThinError> {
    unpack(file, content, None).map_err(|source| ThinError::Unpack { of: content.digest, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOBS: NonZero<usize> = NonZero::<usize>::MIN;

    fn index(changed: u64) -> Vec<u8> {
        let stanza = |n: u64| {
            let number = if n % 1000 == changed % 1000 { n + changed } else { n };
            format!(
                "Package: p{n}\nSHA256: {:032x}\n\n",
                u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_1234_5678)
            )
        };
        (0..3000).map(stanza).collect::<String>().into_bytes()
    }

    fn shape() -> Shape {
        "xz:6e:check=4:block=100000:header=16".parse().unwrap()
    }

    fn packed(changed: u64) -> Vec<u8> {
        shape().make(&index(changed), JOBS).unwrap()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("s")).unwrap();
        (dir, store)
    }

    /// A series of which all but the first file are thin, and their digests.
    fn series(store: &Store, length: u64) -> Vec<Content> {
        let files: Vec<_> = (0..length).map(packed).collect();
        let all: Vec<_> = files.iter().map(|file| Content::of(file)).collect();
        for file in &files {
            store.put(file).unwrap();
        }
        for pair in all.windows(2) {
            let thin = Thin::make(store, &pair[1], &pair[0], JOBS).unwrap().unwrap();
            assert!(thin.patch.size < pair[1].size / 10, "{} of {}", thin.patch.size, pair[1].size);
        }
        all[1..].iter().for_each(|of| store.remove(&of.digest).unwrap());
        all
    }

    #[test]
    fn a_series_takes_little_and_every_file_comes_back() {
        let (_dir, store) = store();
        let all = series(&store, 5);
        assert_eq!(Thin::all(&store).unwrap().len(), 4);
        for (number, of) in (0..).zip(&all) {
            assert_eq!(Thin::plain(&store, of).unwrap().unwrap(), index(number));
        }
        assert!(store.size(&all[3].digest).is_none(), "reading makes nothing");
        assert!(Thin::restore(&store, &all[3], JOBS).unwrap());
        assert_eq!(store.read(&all[3].digest).unwrap().unwrap(), packed(3));
        // What is there is what is taken.
        store.remove(&all[0].digest).unwrap();
        assert_eq!(Thin::plain(&store, &all[4]).unwrap().unwrap(), index(4));
        assert!(Thin::plain(&store, &all[2]).is_err());
        let other = Content::of(b"other");
        assert!(Thin::plain(&store, &other).unwrap().is_none());
        assert!(!Thin::restore(&store, &other, JOBS).unwrap());
    }

    #[test]
    fn plain_files_are_differences_alone_and_what_cannot_be_repeated_stays() {
        let (_dir, store) = store();
        let put = |bytes: &[u8]| {
            store.put(bytes).unwrap();
            Content::of(bytes)
        };
        let (old, new) = (put(&index(1)), put(&index(2)));
        let thin = Thin::make(&store, &new, &old, JOBS).unwrap().unwrap();
        assert_eq!((thin.shape, thin.plain), (None, new));
        store.remove(&new.digest).unwrap();
        assert!(Thin::restore(&store, &new, JOBS).unwrap());
        // Nothing in common; a file of another encoder; the file itself; one that is not there.
        let noise: Vec<u8> = (0..2000_u64).flat_map(|n| Digest::of(&n.to_le_bytes()).0).collect();
        let noise = put(&noise);
        assert_eq!(Thin::make(&store, &noise, &old, JOBS).unwrap(), None);
        let mut odd = packed(3);
        let last = odd.len() - 1;
        odd.truncate(last);
        let odd = put(&odd);
        assert!(!matches!(Thin::make(&store, &odd, &old, JOBS), Ok(Some(_))));
        assert_eq!(Thin::make(&store, &old, &old, JOBS).unwrap(), None);
        assert_eq!(Thin::make(&store, &Content::of(b"other"), &old, JOBS).unwrap(), None);
    }

    #[test]
    fn after_so_many_differences_a_file_is_kept_whole() {
        let (_dir, store) = store();
        let texts: Vec<Vec<u8>> = (0..=u64::from(DEEPEST) + 1).map(index).collect();
        let all: Vec<_> = texts.iter().map(|text| Content::of(text)).collect();
        for text in &texts {
            store.put(text).unwrap();
        }
        let made = all.windows(2).map(|pair| Thin::make(&store, &pair[1], &pair[0], JOBS).unwrap().is_some());
        assert_eq!(made.filter(|made| *made).count(), DEEPEST as usize);
        all[1..all.len() - 1].iter().for_each(|of| store.remove(&of.digest).unwrap());
        assert_eq!(Thin::plain(&store, &all[all.len() - 2]).unwrap().as_ref(), texts.get(all.len() - 2));
    }

    #[test]
    fn what_comes_back_is_not_made_of_what_is_made_of_it() {
        let (_dir, store) = store();
        let [p, q] = [index(1), index(2)].map(|text| {
            store.put(&text).unwrap();
            Content::of(&text)
        });
        Thin::make(&store, &q, &p, JOBS).unwrap().unwrap();
        store.remove(&q.digest).unwrap();
        assert_eq!(Thin::make(&store, &p, &q, JOBS).unwrap(), None);
        assert_eq!(Thin::make(&store, &p, &p, JOBS).unwrap(), None);
        assert_eq!(Thin::plain(&store, &q).unwrap().unwrap(), index(2));
        // A file whose difference was lost is whole again, and stays what it is.
        let thin = Thin::find(&store, &q.digest).unwrap().unwrap();
        store.put(&index(2)).unwrap();
        assert_eq!(Thin::make(&store, &q, &p, JOBS).unwrap().as_ref(), Some(&thin));
        store.remove(&p.digest).unwrap();
        assert_eq!(Thin::make(&store, &q, &p, JOBS).unwrap(), None);
        assert_eq!(Thin::find(&store, &q.digest).unwrap(), None);
    }

    #[test]
    fn damage_is_noticed() {
        let (dir, store) = store();
        let all = series(&store, 3);
        let thin = Thin::find(&store, &all[2].digest).unwrap().unwrap();
        assert_eq!(Thin::parse(&thin.to_string()), Some(thin.clone()));
        for text in ["", "of 1 2", &thin.to_string().replace("depth 2", "depth 02")] {
            assert_eq!(Thin::parse(text), None);
        }
        // A record that says something else gives an error, and no other bytes.
        let other =
            Thin { patch: Thin::find(&store, &all[1].digest).unwrap().unwrap().patch, ..thin.clone() };
        store.record_put(KIND, &all[2].digest, other.to_string().as_bytes()).unwrap();
        assert!(Thin::plain(&store, &all[2]).is_err() && Thin::restore(&store, &all[2], JOBS).is_err());
        let other =
            Thin { shape: Some("xz:6:check=4:block=100000:header=16".parse().unwrap()), ..thin.clone() };
        store.record_put(KIND, &all[2].digest, other.to_string().as_bytes()).unwrap();
        assert!(matches!(Thin::restore(&store, &all[2], JOBS), Err(ThinError::Mismatch { .. })));
        store.record_put(KIND, &all[2].digest, b"odd").unwrap();
        assert!(matches!(Thin::find(&store, &all[2].digest), Err(ThinError::Record { .. })));
        store.record_put(KIND, &all[2].digest, thin.to_string().as_bytes()).unwrap();
        let path = store.path(&thin.patch.digest);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[10] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        assert!(Thin::plain(&store, &all[2]).is_err());
        assert!(store.size(&all[2].digest).is_none());
        drop(dir);
    }
}
