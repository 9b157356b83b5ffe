//! Which byte of an image is whose.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use zerocopy::FromBytes;

use super::guest::{Guest, Inside, NAME, Place, Run};
use super::layout::{BITMAPS, RawExtension, RawHeader, RawMore, RawSnapshot, feature};
use super::read::{Cluster, Corruption, Image, Qcow2Error, corrupt, take};
use crate::extent::{
    Container, Field, Owner, Parsed, Role, Room, Source, Structure, Unreadable, dated, fields_of, show,
};
use crate::io::{ReadAt, ReadError, wide};

const FORMAT: &str = "qcow2";
/// Snapshots that are looked at, as QEMU has it (`QCOW_MAX_SNAPSHOTS`).
const MOST_SNAPSHOTS: u32 = 65_536;
/// Extensions of the header that are looked at; there are five kinds.
const MOST_EXTENSIONS: usize = 64;
/// Bytes that even a short compressed cluster counts for.
const LEAST_PACKED: u64 = 64;

static HEADER: Structure = Structure { name: "header", fields: header };
static EXTENSION: Structure = Structure { name: "header extension", fields: extension };
static BACKING: Structure = Structure::plain("name of the backing file");
static L1: Structure = Structure { name: "level 1 table", fields: table };
static L2: Structure = Structure { name: "level 2 table", fields: table };
static REFCOUNT_TABLE: Structure = Structure { name: "refcount table", fields: table };
static REFCOUNTS: Structure = Structure::plain("refcounts");
static SNAPSHOT: Structure = Structure { name: "snapshot", fields: snapshot };
static BITMAP_DIRECTORY: Structure = Structure::plain("directory of bitmaps");
static DATA: Structure = Structure::plain("data");
static PACKED: Structure = Structure::plain("compressed data");
static KEPT: Structure = Structure::plain("data that reads as zeros");
static SNAPSHOT_DATA: Structure = Structure::plain("data of a snapshot");
static FREE: Structure = Structure::plain("free clusters");

/// The structure of an image. The disk that a guest sees is the file inside.
///
/// # Errors
/// If the header cannot be believed. Everything else that is wrong is among [`Parsed::faults`].
pub fn extents(source: &Source, room: &Room) -> Result<Parsed, Unreadable> {
    let found = Container::new(FORMAT, source)?;
    let image = Image::open(source).map_err(|error| Unreadable::new(FORMAT, &error))?;
    let left = found.size().saturating_mul(2);
    let mut claims = Claims { source, image: &image, found, runs: Vec::new(), tables: BTreeSet::new(), left };
    let there = claims.all(room);
    let Claims { found, runs, .. } = claims;
    let packed = runs.iter().filter(|(_, _, place)| matches!(place, Place::Packed(..)));
    let held = packed.map(|(_, len, _)| len).sum();
    let mut parsed = found.finish();
    let guest = Guest {
        source: Arc::clone(source),
        packing: image.packing,
        cluster: image.cluster,
        size: image.raw.size.get(),
        runs,
        last: Mutex::default(),
    };
    parsed.held = held;
    parsed.members = Box::new(Inside { guest: Arc::new(guest), there });
    Ok(parsed)
}

struct Claims<'a> {
    source: &'a Source,
    image: &'a Image,
    found: Container,
    /// Parts of the guest's disk.
    runs: Vec<Run>,
    /// Level 2 tables and refcount blocks that were met.
    tables: BTreeSet<u64>,
    /// Bytes of tables and clusters that may still be met: an honest image has fewer than its size.
    left: u64,
}

impl Claims<'_> {
    /// Claims everything; whether the guest's disk can be read.
    fn all(&mut self, room: &Room) -> bool {
        self.header();
        let told = self.refcounts();
        self.tell(told);
        let raw = &self.image.raw;
        let (at, count) = (raw.l1_table_offset.get(), raw.l1_size.get());
        let disk = self.found.owner(NAME.as_bytes());
        // The disk is the only file; its clusters are claimed as they are met.
        let file = self.found.file(disk);
        let active = match self.readable() {
            Ok(()) => {
                self.level_1(at, count, &mut |claims, guest, cluster| claims.active(file, guest, cluster))
            }
            Err(error) => Err(error),
        };
        let mut there = active.is_ok();
        self.tell(active);
        let packed = self.runs.iter().filter(|(_, _, place)| matches!(place, Place::Packed(..)));
        if packed.map(|(_, len, _)| len).sum::<u64>() > room.plain {
            let feature = "compressed clusters that hold more bytes than there is room for";
            self.tell(Err(ReadError::Unsupported { at, feature }));
            there = false;
        }
        let told = self.snapshots();
        self.tell(told);
        self.found.claim_own(0, self.image.size, &FREE);
        there
    }

    fn tell(&mut self, result: Result<(), Qcow2Error>) {
        if let Err(error) = result {
            self.found.note(&error);
        }
    }

    /// Whether the clusters are here, and can be read.
    fn readable(&self) -> Result<(), Qcow2Error> {
        let raw = &self.image.raw;
        if self.image.features & feature::EXTERNAL != 0 {
            return Err(ReadError::Unsupported { at: 72, feature: "data in another file" });
        }
        if raw.crypt_method.get() != 0 {
            return Err(ReadError::Unsupported { at: 32, feature: "encryption" });
        }
        // More than the tables have room for.
        let most = u64::from(raw.l1_size.get()).saturating_mul(self.image.cluster / 8);
        if raw.size.get() > most.saturating_mul(self.image.cluster) {
            return Err(corrupt(24, Corruption::Field { field: "size", value: raw.size.get() }));
        }
        Ok(())
    }

    /// Takes bytes that are met from those that an honest image has.
    fn spend(&mut self, at: u64, len: u64) -> Result<(), Qcow2Error> {
        self.left = self.left.checked_sub(len).ok_or(corrupt(at, Corruption::Flood))?;
        Ok(())
    }

    fn header(&mut self) {
        let Image { header_length, cluster, .. } = *self.image;
        let (backing, len) =
            (self.image.raw.backing_file_offset.get(), self.image.raw.backing_file_size.get());
        self.found.claim_own(0, header_length, &HEADER);
        if backing != 0 {
            self.found.claim_own(backing, u64::from(len).min(1023), &BACKING);
        }
        let mut at = header_length;
        for _ in 0..MOST_EXTENSIONS {
            let Ok(raw) = take::<RawExtension>(self.source, at) else { break };
            let len = 8 + u64::from(raw.length.get()).next_multiple_of(8);
            if raw.kind.get() == 0 || at + len > cluster {
                break;
            }
            self.found.claim_own(at, len, &EXTENSION);
            if raw.kind.get() == BITMAPS
                && let Ok([_, size, start]) = take::<[[u8; 8]; 3]>(self.source, at + 8)
            {
                let [size, start] = [size, start].map(u64::from_be_bytes);
                self.found.claim_own(start, size, &BITMAP_DIRECTORY);
            }
            at += len;
        }
        // The end of the extensions.
        self.found.claim_own(at, 8, &EXTENSION);
    }

    /// A table of numbers of 8 bytes.
    fn table(&mut self, at: u64, len: u64) -> Result<Vec<u64>, Qcow2Error> {
        self.image.inside(0, at, len)?;
        self.spend(at, len)?;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.source.read_exact_at(&mut bytes, at).map_err(|source| ReadError::Io { at, len, source })?;
        let entries = bytes.as_chunks().0;
        Ok(entries.iter().map(|entry| u64::from_be_bytes(*entry)).collect())
    }

    fn refcounts(&mut self) -> Result<(), Qcow2Error> {
        let (raw, cluster) = (&self.image.raw, self.image.cluster);
        let at = raw.refcount_table_offset.get();
        let len = u64::from(raw.refcount_table_clusters.get()) * cluster;
        self.found.claim_own(at, len, &REFCOUNT_TABLE);
        for block in self.table(at, len)?.into_iter().filter_map(Image::table) {
            if self.tables.insert(block) {
                self.found.claim_own(block, cluster, &REFCOUNTS);
            }
        }
        Ok(())
    }

    /// Calls `each` with the first guest byte of each cluster that a level 1 table leads to, and the cluster.
    fn level_1(
        &mut self,
        at: u64,
        count: u32,
        each: &mut dyn FnMut(&mut Self, u64, Cluster) -> Result<(), Qcow2Error>,
    ) -> Result<(), Qcow2Error> {
        let cluster = self.image.cluster;
        let len = u64::from(count) * 8;
        self.found.claim_own(at, len, &L1);
        for (number, entry) in (0_u64..).zip(self.table(at, len)?) {
            let Some(place) = Image::table(entry) else { continue };
            self.image.inside(at, place, cluster)?;
            if self.tables.insert(place) {
                self.found.claim_own(place, cluster, &L2);
            }
            let base = number.saturating_mul(cluster / 8).saturating_mul(cluster);
            for (index, entry) in (0_u64..).zip(self.table(place, cluster)?) {
                each(self, base.saturating_add(index * cluster), self.image.cluster(entry))?;
            }
        }
        Ok(())
    }

    /// Claims a cluster of the disk as it is now.
    fn active(&mut self, file: u32, guest: u64, cluster: Cluster) -> Result<(), Qcow2Error> {
        let Image { cluster: len, size, .. } = *self.image;
        let disk = self.image.raw.size.get();
        let used = len.min(disk.saturating_sub(guest));
        match cluster {
            Cluster::Hole => {}
            Cluster::Kept(at) => {
                self.spend(at, len)?;
                self.found.claim_own(at, len, &KEPT);
            }
            Cluster::Plain(at) => {
                // The last cluster of the image may be cut off behind what the disk has of it.
                self.image.inside(at, at, used)?;
                self.spend(at, len)?;
                let claimed = len.min(size - at);
                self.found.data(file, at, claimed, &DATA);
                match self.runs.last_mut() {
                    Some((start, run, Place::Plain(from)))
                        if *start + *run == guest && *from + *run == at =>
                    {
                        *run += used;
                    }
                    _ if used > 0 => self.runs.push((guest, used, Place::Plain(at))),
                    _ => {}
                }
            }
            Cluster::Packed(at, packed) => {
                self.image.inside(at, at, packed)?;
                self.spend(at, packed.max(LEAST_PACKED))?;
                self.found.data(file, at, packed, &PACKED);
                if used > 0 {
                    self.runs.push((guest, used, Place::Packed(at, packed)));
                }
            }
        }
        Ok(())
    }

    /// Claims the table of snapshots, and what only they have.
    fn snapshots(&mut self) -> Result<(), Qcow2Error> {
        let mut at = self.image.raw.snapshots_offset.get();
        for number in 0..self.image.raw.nb_snapshots.get().min(MOST_SNAPSHOTS) {
            let raw: RawSnapshot = take(self.source, at)?;
            let extra = u64::from(raw.extra_data_size.get());
            let (id, name) = (u64::from(raw.id_size.get()), u64::from(raw.name_size.get()));
            let len = wide(size_of::<RawSnapshot>()) + extra + id + name;
            self.image.inside(at, at, len)?;
            let mut text = vec![0; usize::try_from(name).expect("two bytes")];
            let name_at = at + len - name;
            self.source.read_exact_at(&mut text, name_at).map_err(|source| ReadError::Io {
                at: name_at,
                len: name,
                source,
            })?;
            let owner = match &*text {
                b"" => self.found.owner(format!("snapshot {}", number + 1).as_bytes()),
                name => self.found.owner(name),
            };
            self.found.claim(at, len, &SNAPSHOT, owner);
            let (table, count) = (raw.l1_table_offset.get(), raw.l1_size.get());
            self.level_1(table, count, &mut |claims, _, cluster| claims.old(owner, cluster))?;
            at = (at + len).next_multiple_of(8);
        }
        Ok(())
    }

    /// Claims a cluster of a snapshot, if the disk has it no more.
    fn old(&mut self, owner: Owner, cluster: Cluster) -> Result<(), Qcow2Error> {
        let (at, len) = match cluster {
            Cluster::Hole => return Ok(()),
            Cluster::Kept(at) | Cluster::Plain(at) => (at, self.image.cluster),
            Cluster::Packed(at, len) => (at, len),
        };
        self.spend(at, len.max(LEAST_PACKED))?;
        self.found.claim(at, len, &SNAPSHOT_DATA, owner);
        Ok(())
    }
}

fn header(bytes: &[u8]) -> Vec<Field> {
    let mut all = fields_of!(
        bytes,
        0,
        RawHeader {
            magic,
            version,
            backing_file_offset Place,
            backing_file_size Place,
            cluster_bits,
            size,
            crypt_method,
            l1_size Place,
            l1_table_offset Place,
            refcount_table_offset Place,
            refcount_table_clusters Place,
            nb_snapshots Place,
            snapshots_offset Place,
        }
    );
    let start = size_of::<RawHeader>();
    let Some(rest) = bytes.get(start..).filter(|rest| !rest.is_empty()) else { return all };
    // Images of QEMU before 5.1 have no type of compression.
    let more = rest.len() >= size_of::<RawMore>();
    let padded = [rest, &[0; size_of::<RawMore>()]].concat();
    let fields = fields_of!(
        &padded,
        wide(start),
        RawMore {
            incompatible_features,
            compatible_features,
            autoclear_features,
            refcount_order,
            header_length,
            compression_type,
            padding,
        }
    );
    all.extend(fields.into_iter().filter(|field| more || field.at + field.len <= wide(bytes.len())));
    all
}

fn extension(bytes: &[u8]) -> Vec<Field> {
    let mut all = fields_of!(bytes, 0, RawExtension { kind, length Place });
    let Ok((raw, data)) = RawExtension::read_from_prefix(bytes) else { return all };
    if let Some(field) = all.first_mut() {
        let name = match raw.kind.get() {
            0 => "end",
            0xe279_2aca => "format of the backing file",
            0x6803_f857 => "names of features",
            BITMAPS => "bitmaps",
            0x0537_be77 => "encryption",
            0x4441_5441 => "name of the data file",
            _ => "unknown",
        };
        field.value = format!("{name} ({:#x})", raw.kind.get());
    }
    if !data.is_empty() {
        all.push(show(bytes, 8, data.len(), "data"));
    }
    all
}

/// Entries of a table that are not empty.
fn table(bytes: &[u8]) -> Vec<Field> {
    let entry = |(index, entry): (usize, &[u8; 8])| {
        let number = u64::from_be_bytes(*entry);
        let name = format!("entry {index}").into();
        let value = format!("{number:#x}");
        (number != 0).then_some(Field { at: wide(index * 8), len: 8, name, value, role: Role::Place })
    };
    bytes.as_chunks().0.iter().enumerate().filter_map(entry).collect()
}

fn snapshot(bytes: &[u8]) -> Vec<Field> {
    let mut all = fields_of!(
        bytes,
        0,
        RawSnapshot {
            l1_table_offset Place,
            l1_size Place,
            id_size Place,
            name_size Place,
            date_seconds,
            date_nanoseconds,
            vm_clock,
            vm_state_size,
            extra_data_size Place,
        }
    );
    all.iter_mut().filter(|field| field.name == "date_seconds").for_each(dated);
    let Ok((raw, _)) = RawSnapshot::read_from_prefix(bytes) else { return all };
    let lens = [u64::from(raw.extra_data_size.get()), raw.id_size.get().into(), raw.name_size.get().into()];
    let mut at = size_of::<RawSnapshot>();
    for (len, name) in lens.into_iter().zip(["extra data", "id", "name"]) {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let field = show(bytes, at.min(bytes.len()), len, name);
        at = at.saturating_add(len);
        if field.len > 0 {
            all.push(field);
        }
    }
    all
}
