//! initramfs images: concatenated cpio archives, each plain or compressed.
