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
        grub_words(&boot.cmdline)
    )
}

/// The command line in words of GRUB's script language. Words that mean themselves stay as they are.
///
/// Quotes and backslashes are refused by the recipe, because GRUB hands them to the kernel behind a backslash.
fn grub_words(cmdline: &str) -> String {
    // Those of the lexer, and those that name files where they stand outside quotes.
    let special = |c: char| "$;{}|&<>#*?[]".contains(c);
    let quoted = |word: &str| if word.contains(special) { format!("'{word}'") } else { word.to_owned() };
    cmdline.split_ascii_whitespace().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(cmdline: &str) -> Boot {
        Boot { cmdline: cmdline.into(), timeout: 1 }
    }

    #[test]
    fn grub_reads_every_word_as_it_stands() {
        assert_eq!(
            grub(&boot("boot=live console=ttyS0,115200 a=1;2 $x {y} b|c &d <e> #f g* h?[i]"), "t"),
            "set default=0\nset timeout=1\nmenuentry \"t\" {\n  \
             linux /live/vmlinuz boot=live console=ttyS0,115200 'a=1;2' '$x' '{y}' 'b|c' '&d' '<e>' '#f' 'g*' 'h?[i]'\n  \
             initrd /live/initrd.img\n}\n"
        );
    }

    #[test]
    fn both_menus_have_the_same_command_line() {
        let boot = boot("boot=live  quiet x=$1");
        let line = |menu: String, before: &str| {
            let found = menu.lines().find_map(|line| line.trim().strip_prefix(before).map(str::to_owned));
            found.unwrap().replace('\'', "").split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(line(isolinux(&boot, "t"), "APPEND "), line(grub(&boot, "t"), "linux /live/vmlinuz "));
    }
}
