//! Boot menus: the texts that isolinux and GRUB read.

use crate::recipe::Boot;

/// `isolinux.cfg`: one entry, started after the timeout, on screen and on the first serial port.
pub(crate) fn isolinux(boot: &Boot, title: &str) -> String {
    // TIMEOUT counts tenths of a second, and 0 would wait for ever.
    let timeout = (u32::from(boot.timeout) * 10).max(1);
    format!(
        "SERIAL 0 115200\nDEFAULT live\nPROMPT 1\nTIMEOUT {timeout}\nTOTALTIMEOUT {timeout}\n\
         SAY {title}\nLABEL live\n  LINUX /live/vmlinuz\n  INITRD /live/initrd.img\n  APPEND {}\n",
        boot.cmdline
    )
}

/// `grub.cfg`, for the signed GRUB of Debian, which finds its root by `/.disk/info` and has no serial module.
pub(crate) fn grub(boot: &Boot, title: &str) -> String {
    format!(
        "set default=0\nset timeout={}\nmenuentry \"{title}\" {{\n  linux /live/vmlinuz {}\n  \
         initrd /live/initrd.img\n}}\n",
        boot.timeout,
        boot.cmdline.replace(';', "\\;")
    )
}
