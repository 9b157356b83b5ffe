//! ISO 9660 images with Rock Ridge, Joliet and El Torito, bootable from CD and from disk.
