//! The structures as they lie in the image, all big-endian.

use zerocopy::byteorder::{BE, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First bytes of an image.
pub(super) const MAGIC: [u8; 4] = *b"QFI\xfb";

/// Features that change what lies where (`incompatible_features`).
pub(super) mod feature {
    /// The data is in another file.
    pub(in crate::qcow2) const EXTERNAL: u64 = 4;
    /// Clusters are compressed in another way than by deflate.
    pub(in crate::qcow2) const COMPRESSION: u64 = 8;
    /// All that is understood: dirty and corrupt, too.
    pub(in crate::qcow2) const KNOWN: u64 = 0xf;
}

/// Header extension that says where the directory of bitmaps is.
pub(super) const BITMAPS: u32 = 0x2385_2875;

/// What versions 2 and 3 begin with.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawHeader {
    pub(super) magic: [u8; 4],
    pub(super) version: U32<BE>,
    pub(super) backing_file_offset: U64<BE>,
    pub(super) backing_file_size: U32<BE>,
    pub(super) cluster_bits: U32<BE>,
    pub(super) size: U64<BE>,
    pub(super) crypt_method: U32<BE>,
    pub(super) l1_size: U32<BE>,
    pub(super) l1_table_offset: U64<BE>,
    pub(super) refcount_table_offset: U64<BE>,
    pub(super) refcount_table_clusters: U32<BE>,
    pub(super) nb_snapshots: U32<BE>,
    pub(super) snapshots_offset: U64<BE>,
}

/// What follows in version 3.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawMore {
    pub(super) incompatible_features: U64<BE>,
    pub(super) compatible_features: U64<BE>,
    pub(super) autoclear_features: U64<BE>,
    pub(super) refcount_order: U32<BE>,
    pub(super) header_length: U32<BE>,
    /// Only if `header_length` has room for it.
    pub(super) compression_type: u8,
    pub(super) padding: [u8; 7],
}

/// In front of the data of a header extension.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawExtension {
    pub(super) kind: U32<BE>,
    pub(super) length: U32<BE>,
}

/// In front of the name of a snapshot.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawSnapshot {
    pub(super) l1_table_offset: U64<BE>,
    pub(super) l1_size: U32<BE>,
    pub(super) id_size: U16<BE>,
    pub(super) name_size: U16<BE>,
    pub(super) date_seconds: U32<BE>,
    pub(super) date_nanoseconds: U32<BE>,
    pub(super) vm_clock: U64<BE>,
    pub(super) vm_state_size: U32<BE>,
    pub(super) extra_data_size: U32<BE>,
}

const _: () = assert!(size_of::<RawHeader>() == 72 && size_of::<RawMore>() == 40);
const _: () = assert!(size_of::<RawSnapshot>() == 40);
