//! Partition tables, boot file systems and hybrid images, held against the reference programs for each.

mod archives;
mod causes;
mod compare;
mod elf;
mod erofs;
mod ext4;
mod fat;
mod gpt;
mod hostile;
mod iso;
mod iso_peers;
mod known_cases;
mod leaves;
mod pe;
mod qcow2;
mod sqlite;
mod squashfs_peers;
mod support;
mod symbols;
mod trees;
mod zip;
