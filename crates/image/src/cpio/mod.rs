//! cpio archives in the "newc" format, as the kernel unpacks them for an initramfs.
