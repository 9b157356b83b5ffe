//! The shell scripts that run in the sandbox. Pure: facts in, text out, so that a test can read them.

use crate::lock::Step;
use crate::recipe::System;

/// Where the sandbox sees the files of its job, read-only.
pub(crate) const JOB: &str = "/run/selfsame";

/// `text` as one word of a shell command.
pub(crate) fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:=@_".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Installs the Essential set over its own unpacked files.
///
/// Nothing is configured yet that a dependency could stand on, so dependencies are not asked for.
pub(crate) fn bootstrap(base: &[String]) -> String {
    let debs: Vec<String> = base.iter().map(|name| deb(name)).collect();
    format!("set -e\ndpkg --force-depends --force-confold --force-unsafe-io --install {}\n", debs.join(" "))
}

/// Installs the rest in apt's own order; triggers wait for the end, as they do under apt.
pub(crate) fn install(steps: &[Step<'_>]) -> String {
    let mut script = String::from("set -e\n");
    for step in steps {
        let line = match step {
            Step::Unpack(names) => {
                let debs: Vec<String> = names.iter().map(|name| deb(name)).collect();
                format!("dpkg --force-confold --force-unsafe-io --no-triggers --unpack {}\n", debs.join(" "))
            }
            Step::Configure(names) => {
                let names: Vec<String> = names.iter().map(|name| quote(name)).collect();
                format!("dpkg --force-confold --no-triggers --configure {}\n", names.join(" "))
            }
        };
        script.push_str(&line);
    }
    script.push_str("dpkg --force-confold --configure -a\n");
    script
}

fn deb(name: &str) -> String {
    quote(&format!("{JOB}/debs/{name}.deb"))
}

/// How a script begins that makes files itself: their permissions are its own business.
const UNMASKED: &str = "set -e\numask 022\n";

/// Host name, locale and time zone.
pub(crate) fn settings(system: &System) -> String {
    let System { hostname, locale, timezone, users: _ } = system;
    let (host, loc, zone) = (quote(hostname), quote(locale), quote(timezone));
    let mut script = String::from(UNMASKED);
    script.push_str(&format!("echo {host} > /etc/hostname\n"));
    script.push_str(&format!(
        "[ -e /etc/hosts ] || printf '127.0.0.1\\tlocalhost\n127.0.1.1\\t%s\n::1\\tlocalhost ip6-localhost ip6-loopback\n' {host} > /etc/hosts\n"
    ));
    script.push_str("[ -e /etc/fstab ] || echo '# static file system information' > /etc/fstab\n");
    script.push_str(&format!(
        "if [ -e /usr/share/zoneinfo/{zone} ]; then\n  ln -sfn /usr/share/zoneinfo/{zone} /etc/localtime\n  echo {zone} > /etc/timezone\n\
         elif [ {zone} != Etc/UTC ]; then\n  echo \"time zone {zone} is not installed: add the package tzdata\" >&2; exit 1\nfi\n"
    ));
    script.push_str(&locale_gen(locale));
    script.push_str(&format!("echo LANG={loc} > /etc/default/locale\n"));
    script
}

/// Users, once the overlay is there: it may bring `/etc/skel`.
pub(crate) fn users(system: &System) -> String {
    let mut script = String::from(UNMASKED);
    for user in &system.users {
        let mut line = format!("useradd --create-home --shell {}", quote(&user.shell));
        if !user.groups.is_empty() {
            line.push_str(&format!(" --groups {}", quote(&user.groups.join(","))));
        }
        if let Some(hash) = &user.password_hash {
            line.push_str(&format!(" --password {}", quote(hash)));
        }
        script.push_str(&format!("{line} {}\n", quote(&user.name)));
    }
    script
}

/// Generates `locale`, unless the C library has it anyway.
fn locale_gen(locale: &str) -> String {
    if ["C", "POSIX"].contains(&locale) {
        return String::new();
    }
    let loc = quote(locale);
    // Nothing but the list of glibc says which character set `de_DE@euro` has.
    let (look_up, line) = match locale.split_once('.') {
        Some((_, rest)) => {
            let codeset = rest.split('@').next().unwrap_or(rest);
            // glibc takes both spellings in a locale's name, but localedef only knows the maps by their own names.
            let utf8 = codeset.replace('-', "").eq_ignore_ascii_case("utf8");
            (String::new(), quote(&format!("{locale} {}", if utf8 { "UTF-8" } else { codeset })))
        }
        None => {
            let list = "/usr/share/i18n/SUPPORTED";
            let look_up = format!(
                "  charset=\n  while read -r name map; do [ \"$name\" != {loc} ] || charset=$map; done < {list}\n\
                 \x20 if [ -z \"$charset\" ]; then\n    \
                 echo \"locale {loc} is not in {list}: name its character set, as in {loc}.UTF-8\" >&2; exit 1\n  fi\n"
            );
            (look_up, format!("\"{locale} $charset\""))
        }
    };
    format!(
        "if [ -x /usr/sbin/locale-gen ] && [ {loc} != C.UTF-8 ]; then\n{look_up}  echo {line} > /etc/locale.gen\n  locale-gen\n\
         elif [ {loc} != C.UTF-8 ]; then\n  echo \"locale {loc} cannot be made: add the package locales\" >&2; exit 1\nfi\n"
    )
}

/// Generates one initramfs, for the newest kernel, as `/var/tmp/selfsame-initrd`; prints that kernel's version.
///
/// It is packed again afterwards, so the cheapest compression that is there is asked for here.
pub(crate) fn initramfs() -> String {
    "set -e\nversion=$(cd /lib/modules && ls -d -- * | sort -V | tail -n 1)\n\
     if [ -z \"$version\" ] || [ ! -e \"/boot/vmlinuz-$version\" ]; then\n  \
       echo 'no kernel is installed: add the package linux-image-amd64' >&2; exit 1\nfi\n\
     if ! command -v mkinitramfs >/dev/null; then\n  \
       echo 'no mkinitramfs is installed: add the package live-boot or initramfs-tools' >&2; exit 1\nfi\n\
     list=/var/tmp/selfsame-list\n\
     (cd \"/lib/modules/$version\" && grep -rlaF --include='*.ko' firmware= . > $list || [ $? -eq 1 ])\n\
     mkdir -p \"/var/tmp/selfsame-firmware/lib/modules/$version\"\n\
     (cd \"/var/tmp/selfsame-firmware/lib/modules/$version\" && xargs -r -d '\\n' mkdir -p < $list)\n\
     compress=gzip\n\
     if [ -x /usr/bin/zstd ]; then compress=zstd; fi\n\
     mkinitramfs -c $compress -l 1 -o /var/tmp/selfsame-initrd \"$version\"\n\
     echo \"$version\" > /var/tmp/selfsame-kernel\n"
        .to_owned()
}

/// Shell functions that stand in for the programs which hooks call thousands of times, where the answer needs no
/// program: mkinitramfs starts 18,600 processes for a stock kernel, 15,200 of them `realpath` and `readlink`.
///
/// Appended to `hook-functions`. Each gives what the program of GNU coreutils gives for an absolute path without empty,
/// `.` or `..` components, and leaves everything else to the program.
pub(crate) const HOOK_FUNCTIONS: &str = include_str!("hook-functions.sh");

/// What stands for `copy_file` of initramfs-tools where that is the one of which this is known to do the same.
pub(crate) const COPY_FILE: &str = include_str!("copy-file.sh");

/// What apt knows of packages that nobody asked for by name: `/var/lib/apt/extended_states`.
pub(crate) fn extended_states(automatic: &[(String, String)]) -> String {
    let mut text = String::new();
    for (name, architecture) in automatic {
        text.push_str(&format!("Package: {name}\nArchitecture: {architecture}\nAuto-Installed: 1\n\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_shell_whole() {
        for text in ["", "a b", "it's", "$HOME `id` \"x\"", "plain-1.2:3", "a\nb"] {
            let script = format!("printf %s {}", quote(text));
            let output = std::process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
            assert_eq!(output.stdout, text.as_bytes());
        }
    }

    #[test]
    fn a_locale_gets_the_character_set_that_it_has() {
        let lines = |locale: &str| {
            let script = locale_gen(locale);
            let lines = script.lines().filter(|line| line.contains("echo") && line.contains("locale.gen"));
            lines.map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n")
        };
        // The exact script of the examples, whose keys it is part of.
        assert_eq!(
            locale_gen("en_US.UTF-8"),
            "if [ -x /usr/sbin/locale-gen ] && [ en_US.UTF-8 != C.UTF-8 ]; then\n  \
             echo 'en_US.UTF-8 UTF-8' > /etc/locale.gen\n  locale-gen\n\
             elif [ en_US.UTF-8 != C.UTF-8 ]; then\n  \
             echo \"locale en_US.UTF-8 cannot be made: add the package locales\" >&2; exit 1\nfi\n"
        );
        assert_eq!(lines("en_US.utf8"), "echo 'en_US.utf8 UTF-8' > /etc/locale.gen");
        assert_eq!(lines("sr_RS.UTF-8@latin"), "echo 'sr_RS.UTF-8@latin UTF-8' > /etc/locale.gen");
        assert_eq!(lines("ru_RU.KOI8-R"), "echo 'ru_RU.KOI8-R KOI8-R' > /etc/locale.gen");
        assert_eq!(lines("de_DE@euro"), "echo \"de_DE@euro $charset\" > /etc/locale.gen");
        assert_eq!(locale_gen("C"), "");
    }

    #[test]
    fn a_locale_without_a_character_set_is_looked_up() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(at("SUPPORTED"), "de_DE ISO-8859-1\nde_DE@euro ISO-8859-15\nde_DE.UTF-8 UTF-8\n")
            .unwrap();
        let run = |locale: &str| {
            let script = locale_gen(locale)
                .replace("[ -x /usr/sbin/locale-gen ]", "true")
                .replace("/usr/share/i18n/SUPPORTED", &at("SUPPORTED"))
                .replace("/etc/locale.gen\n  locale-gen", &at("locale.gen"));
            let output = std::process::Command::new("/bin/sh").args(["-ec", &script]).output().unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            if output.status.success() { std::fs::read_to_string(at("locale.gen")).unwrap() } else { text }
        };
        assert_eq!(run("de_DE@euro"), "de_DE@euro ISO-8859-15\n");
        assert_eq!(run("de_DE"), "de_DE ISO-8859-1\n");
        assert!(run("de_XX").contains("name its character set, as in de_XX.UTF-8"), "{}", run("de_XX"));
    }

    #[test]
    fn functions_of_hooks_answer_as_the_programs_do() {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "{HOOK_FUNCTIONS}\ncd {} && mkdir -p a/b 'a/sp ace' && : > a/file && ln -s a link && ln -s none broken\n\
             top=$PWD\n\
             for path in /bin / // /usr/bin/env /nowhere a a/file ./a '' \"$top/a\" \"$top/a/\" \"$top//a/file\" \
               \"//$top/a/file\" \"///$top/a/b/c\" \"$top/./a\" \"$top/a/../a/file\" \"$top/a/..\" \"$top/a/.\" \
               \"$top/link/file\" \"$top/link\" \"$top/broken\" \"$top/a/sp ace\" \"$top/a/file/x\" \"$top/none/x\"; do\n\
               for call in 'realpath -ms' 'realpath -s' 'readlink -f' 'realpath -m' 'readlink'; do\n\
                 ours=$($call \"$path\" 2>&1; echo $?); theirs=$(command $call \"$path\" 2>&1; echo $?)\n\
                 [ \"$ours\" = \"$theirs\" ] || printf '%s %s: %s, not %s\\n' \"$call\" \"$path\" \"$ours\" \"$theirs\"\n\
               done\ndone\nmkdir -p a/b && mkdir -p a/new && [ -d a/new ] || echo mkdir\n",
            quote(dir.path().to_str().unwrap())
        );
        let output = std::process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert_eq!((text(output.stdout), text(output.stderr)), (String::new(), String::new()));
        assert!(output.status.success());
    }

    #[test]
    fn the_order_of_the_lock_is_the_order_of_dpkg() {
        let steps = [Step::Unpack(vec!["a", "b"]), Step::Configure(vec!["a"])];
        assert_eq!(
            install(&steps),
            "set -e\n\
             dpkg --force-confold --force-unsafe-io --no-triggers --unpack /run/selfsame/debs/a.deb /run/selfsame/debs/b.deb\n\
             dpkg --force-confold --no-triggers --configure a\n\
             dpkg --force-confold --configure -a\n"
        );
    }
}
