//! Extents, and how they come to cover a file.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::field::{Field, no_fields};

/// A kind of structure, in the words of its format.
pub struct Structure {
    /// Its name.
    pub name: &'static str,
    /// Cuts the bytes of one into fields. What is left out has no name of its own.
    pub fields: fn(&[u8]) -> Vec<Field>,
}

impl Structure {
    /// A structure without fields.
    pub const fn plain(name: &'static str) -> Self {
        Self { name, fields: no_fields }
    }
}

impl fmt::Debug for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Structure {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Whose a structure is: a path in the file, by its place in the list of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner(u32);

impl Owner {
    /// The file itself.
    pub const WHOLE: Self = Self(0);
}

/// Bytes with one owner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// Offset of the first byte.
    pub start: u64,
    /// Number of bytes, at least 1.
    pub len: u64,
    /// What they are.
    pub structure: &'static Structure,
    /// Whose they are.
    pub owner: Owner,
    /// First and number of the members that are encoded in them.
    members: (u32, u32),
}

impl Extent {
    /// Offset of the first byte behind it.
    pub fn end(&self) -> u64 {
        self.start + self.len
    }
}

/// Paths by number, in one piece of memory: there may be millions.
#[derive(Debug)]
pub struct Paths {
    bytes: Vec<u8>,
    /// Where each ends; the first one is empty.
    ends: Vec<usize>,
}

impl Default for Paths {
    fn default() -> Self {
        Self { bytes: Vec::new(), ends: vec![0] }
    }
}

impl Paths {
    /// Adds a path. The same path twice gives two owners.
    pub fn add(&mut self, path: &[u8]) -> Owner {
        self.bytes.extend_from_slice(path);
        self.ends.push(self.bytes.len());
        Owner(u32::try_from(self.ends.len() - 1).unwrap_or(0))
    }

    /// The path of an owner; empty for the file itself.
    pub fn of(&self, owner: Owner) -> &[u8] {
        let index = usize::try_from(owner.0).unwrap_or(0).min(self.ends.len() - 1);
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }
}

/// Which bytes are whose. Extents ascend, and each byte is in exactly one.
#[derive(Debug)]
pub struct Map {
    extents: Vec<Extent>,
    paths: Arc<Paths>,
    members: Vec<u32>,
}

impl Map {
    /// All extents, ascending.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// The path of an owner; empty for the file itself.
    pub fn path(&self, owner: Owner) -> &[u8] {
        self.paths.of(owner)
    }

    /// Numbers of the members that are encoded in an extent, wholly or in part.
    pub fn members(&self, extent: &Extent) -> &[u32] {
        let place = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let (first, count) = extent.members;
        self.members.get(place(first)..place(first).saturating_add(place(count))).unwrap_or_default()
    }

    /// Length of the file.
    pub fn size(&self) -> u64 {
        self.extents.last().map_or(0, Extent::end)
    }

    /// Index of the extent that has the byte at `at`.
    pub fn index_at(&self, at: u64) -> Option<usize> {
        let index = self.extents.partition_point(|extent| extent.end() <= at);
        (index < self.extents.len()).then_some(index)
    }
}

/// Collects claims.
#[derive(Debug)]
pub struct Builder {
    size: u64,
    claims: Vec<Extent>,
    members: Vec<u32>,
}

/// What nobody claimed.
static UNUSED: Structure = Structure::plain("unused");

impl Builder {
    /// For a file of `size` bytes.
    pub fn new(size: u64) -> Self {
        Self { size, claims: Vec::new(), members: Vec::new() }
    }

    /// Length of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Claims `len` bytes from `start` on. What lies beyond the file, or was claimed before, is left out.
    pub fn claim(&mut self, start: u64, len: u64, structure: &'static Structure, owner: Owner) {
        self.claim_encoded(start, len, structure, owner, &[]);
    }

    /// As [`Builder::claim`], for bytes in which `members` are encoded.
    pub fn claim_encoded(
        &mut self,
        start: u64,
        len: u64,
        structure: &'static Structure,
        owner: Owner,
        members: &[u32],
    ) {
        let len = len.min(self.size.saturating_sub(start));
        if len == 0 {
            return;
        }
        let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        // The extents of one file follow each other as a rule.
        let (have, want) = (self.members.len(), members.len());
        let again = have >= want && self.members[have - want..] == *members;
        let first = if again { have - want } else { have };
        if !again {
            self.members.extend_from_slice(members);
        }
        let members = (number(first), number(want));
        self.claims.push(Extent { start, len, structure, owner, members });
    }

    /// The map of all claims, in which the first claim of a byte counts. The rest of the file is unused.
    pub fn finish(mut self, paths: Arc<Paths>) -> Map {
        let overlap = |claims: &[Extent]| claims.windows(2).any(|pair| pair[0].end() > pair[1].start);
        let mut ordered = self.claims.clone();
        ordered.sort_by_key(|claim| claim.start);
        if overlap(&ordered) {
            ordered = without_overlap(&self.claims);
        }
        self.claims = ordered;
        let mut extents = Vec::with_capacity(self.claims.len());
        let mut at = 0;
        let unused = |start, end| Extent {
            start,
            len: end - start,
            structure: &UNUSED,
            owner: Owner::WHOLE,
            members: (0, 0),
        };
        for claim in self.claims {
            if claim.start > at {
                extents.push(unused(at, claim.start));
            }
            at = claim.end();
            extents.push(claim);
        }
        if at < self.size {
            extents.push(unused(at, self.size));
        }
        Map { extents, paths, members: self.members }
    }
}

/// Of each claim what no earlier one has, by ascending place.
fn without_overlap(claims: &[Extent]) -> Vec<Extent> {
    // What is taken, without gaps in between: each interval is merged once.
    let mut taken: BTreeMap<u64, u64> = BTreeMap::new();
    let mut all = Vec::new();
    for claim in claims {
        let (mut at, end) = (claim.start, claim.end());
        let before = taken.range(..at).next_back().filter(|(_, stop)| **stop >= at);
        let touched: Vec<(u64, u64)> =
            before.into_iter().chain(taken.range(at..=end)).map(|(start, stop)| (*start, *stop)).collect();
        let mut merged = (at, end);
        for (start, stop) in touched {
            if start > at {
                all.push(Extent { start: at, len: start - at, ..*claim });
            }
            at = at.max(stop);
            merged = (merged.0.min(start), merged.1.max(stop));
            taken.remove(&start);
        }
        if at < end {
            all.push(Extent { start: at, len: end - at, ..*claim });
        }
        taken.insert(merged.0, merged.1);
    }
    all.sort_by_key(|extent| extent.start);
    all
}

#[cfg(test)]
mod tests {
    use selfsame_testkit::Numbers;

    use super::*;

    static A: Structure = Structure::plain("a");
    static B: Structure = Structure::plain("b");

    fn shown(map: &Map) -> String {
        let one = |extent: &Extent| {
            let path = String::from_utf8_lossy(map.path(extent.owner)).into_owned();
            let members: Vec<_> = map.members(extent).iter().map(u32::to_string).collect();
            format!("{}+{} {:?} {path}{}", extent.start, extent.len, extent.structure, members.join(","))
        };
        map.extents().iter().map(one).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_byte_has_one_owner() {
        let mut builder = Builder::new(100);
        let mut paths = Paths::default();
        let x = paths.add(b"x");
        builder.claim(10, 5, &A, x);
        builder.claim(0, 50, &B, Owner::WHOLE);
        builder.claim_encoded(40, 30, &A, x, &[7, 8]);
        builder.claim(90, 1000, &A, x);
        builder.claim(12, 70, &B, x);
        builder.claim(200, 1, &A, x);
        builder.claim(5, 0, &A, x);
        let map = builder.finish(Arc::new(paths));
        assert_eq!(
            shown(&map),
            "0+10 b \n10+5 a x\n15+35 b \n50+20 a x7,8\n70+12 b x\n82+8 unused \n90+10 a x"
        );
        assert_eq!(map.size(), 100);
        for at in 0..100 {
            let extent = map.extents()[map.index_at(at).unwrap()];
            assert!((extent.start..extent.end()).contains(&at));
        }
        assert_eq!(map.index_at(100), None);
        assert_eq!(shown(&Builder::new(0).finish(Arc::default())), "");
        assert_eq!(shown(&Builder::new(3).finish(Arc::default())), "0+3 unused ");
    }

    #[test]
    fn claims_in_any_order_and_number_cover_the_file_once() {
        let mut random = Numbers(1);
        let mut below = |limit: usize| u64::try_from(random.below(limit)).unwrap();
        for _ in 0..2_000 {
            let size = below(40);
            let mut builder = Builder::new(size);
            let mut first: Vec<Option<&str>> = vec![None; usize::try_from(size).unwrap()];
            for _ in 0..below(8) {
                let (start, len) = (below(45), below(20));
                let structure = if below(2) == 0 { &A } else { &B };
                builder.claim(start, len, structure, Owner::WHOLE);
                for at in start..start + len {
                    if let Some(owner) = first.get_mut(usize::try_from(at).unwrap()) {
                        owner.get_or_insert(structure.name);
                    }
                }
            }
            let map = builder.finish(Arc::default());
            let covered: Vec<_> = map
                .extents()
                .iter()
                .flat_map(|extent| (extent.start..extent.end()).map(|at| (at, extent.structure.name)))
                .collect();
            let expected: Vec<_> = (0..).zip(first.iter().map(|owner| owner.unwrap_or("unused"))).collect();
            assert_eq!(covered, expected);
        }
    }
}
