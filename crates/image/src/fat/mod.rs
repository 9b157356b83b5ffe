//! FAT12, FAT16 and FAT32 file systems, as far as an EFI system partition needs them.
