//! Files that are known to differ from build to build.

/// How a path is recognised, and of what it tells. The first that fits counts.
static KNOWN: &[(Pattern, &str)] = &[
    (Pattern::Whole("etc/machine-id"), "machine-id"),
    (Pattern::Whole("var/lib/dbus/machine-id"), "machine-id"),
    (Pattern::Whole("etc/shadow"), "password-day"),
    (Pattern::Between("etc/", "-"), "backup"),
    (Pattern::Between("var/cache/debconf/", "-old"), "backup"),
    (Pattern::Between("var/lib/dpkg/", "-old"), "backup"),
    (Pattern::Between("etc/ssh/ssh_host_", ""), "generated-key"),
    (Pattern::Between("etc/ssl/private/", ""), "generated-key"),
    (Pattern::Whole("etc/ssl/certs/ssl-cert-snakeoil.pem"), "generated-key"),
    (Pattern::Between("var/lib/dkms/mok.", ""), "generated-key"),
    (Pattern::Whole("var/lib/systemd/random-seed"), "random-seed"),
    (Pattern::Between("var/lib/systemd/catalog/", ""), "systemd-catalog"),
    (Pattern::Between("var/cache/ldconfig/", ""), "linker-cache"),
    (Pattern::Between("var/cache/fontconfig/", ""), "font-cache"),
    (Pattern::Between("var/cache/man/", ""), "manual-index"),
    (Pattern::Between("var/cache/apt/", ""), "apt-cache"),
    (Pattern::Between("var/lib/apt/lists/", ""), "apt-cache"),
    (Pattern::Between("var/lib/initramfs-tools/", ""), "initramfs-digest"),
    (Pattern::Between("etc/apt/apt.conf.d/01autoremove-kernels", ""), "kernel-version"),
    (Pattern::Between("var/lib/dkms/", ""), "dkms"),
    (Pattern::Between("var/cache/apparmor/", ""), "apparmor-cache"),
    (Pattern::Between("etc/apparmor.d/cache/", ""), "apparmor-cache"),
    (Pattern::Between("var/cache/swcatalog/", ""), "appstream-cache"),
    (Pattern::Between("var/cache/app-info/", ""), "appstream-cache"),
    (Pattern::Between("", ".xb"), "appstream-cache"),
    (Pattern::Between("usr/lib/jvm/", ".jsa"), "class-data"),
    (Pattern::Between("root/.cache/", ""), "compiler-cache"),
    (Pattern::Between("root/.cargo/", ""), "compiler-cache"),
    (Pattern::Between("etc/console-setup/cached_", ""), "console-cache"),
    (Pattern::Between("var/cache/cracklib/", ""), "cracklib-dictionary"),
    (Pattern::Between("var/cache/dictionaries-common/", ""), "dictionary-index"),
    (Pattern::Between("var/lib/aspell/", ""), "dictionary-index"),
    (Pattern::Between("var/lib/ispell/", ""), "dictionary-index"),
    (Pattern::Between("", ".elc"), "emacs-bytecode"),
    (Pattern::Between("", ".kbx"), "gnupg-keybox"),
    (Pattern::Name("trustdb.gpg"), "gnupg-keybox"),
    (Pattern::Whole("usr/share/info/dir"), "info-directory"),
    (Pattern::Whole("etc/ssl/certs/java/cacerts"), "java-keystore"),
    (Pattern::Whole("usr/lib/locale/locale-archive"), "locale-archive"),
    (Pattern::Whole("etc/mdadm/mdadm.conf"), "mdadm"),
    (Pattern::Between("kernel/x86/microcode/", ""), "microcode"),
    (Pattern::Start(".wh."), "overlay-residue"),
    (Pattern::Name("startupCache"), "script-cache"),
    (Pattern::Inside("startupCache"), "script-cache"),
    (Pattern::Inside("jsloader"), "script-cache"),
    (Pattern::Between("var/lib/ucf/", ""), "state-of-ucf"),
    (Pattern::Between("var/lib/systemd/deb-systemd-helper-", ""), "state-of-ucf"),
    (Pattern::Between("var/lib/texmf/", ".fmt"), "tex-format"),
    (Pattern::Between("etc/gconf/", ""), "user-settings"),
    (Pattern::Name("%gconf.xml"), "user-settings"),
    (Pattern::Between("etc/dconf/db/", ""), "user-settings"),
    (Pattern::Between("usr/lib/", "/vlc/plugins/plugins.dat"), "vlc-plugins"),
    (Pattern::Between("var/log/", ""), "log"),
    (Pattern::Between("", ".pyc"), "python-bytecode"),
    (Pattern::Name("loaders.cache"), "module-cache"),
    (Pattern::Name("immodules.cache"), "module-cache"),
    (Pattern::Name("giomodule.cache"), "module-cache"),
    (Pattern::Name("mimeinfo.cache"), "module-cache"),
    (Pattern::Name("mime.cache"), "module-cache"),
    (Pattern::Name("icon-theme.cache"), "module-cache"),
    (Pattern::Name("gschemas.compiled"), "module-cache"),
];

enum Pattern {
    /// This path.
    Whole(&'static str),
    /// Paths that begin and end so.
    Between(&'static str, &'static str),
    /// Files of this name, in any directory.
    Name(&'static str),
    /// Files whose name begins so, in any directory.
    Start(&'static str),
    /// Files in a directory of this name, wherever that is.
    Inside(&'static str),
}

impl Pattern {
    fn fits(&self, path: &[u8]) -> bool {
        let parts = || path.rsplit(|byte| *byte == b'/');
        match self {
            Self::Whole(whole) => path == whole.as_bytes(),
            Self::Between(start, end) => {
                path.len() > start.len() + end.len()
                    && path.starts_with(start.as_bytes())
                    && path.ends_with(end.as_bytes())
            }
            Self::Name(name) => parts().next() == Some(name.as_bytes()),
            Self::Start(start) => parts().next().is_some_and(|name| name.starts_with(start.as_bytes())),
            Self::Inside(directory) => parts().skip(1).any(|part| part == directory.as_bytes()),
        }
    }
}

/// The cause that a path alone tells of.
pub(super) fn cause(path: &[u8]) -> Option<&'static str> {
    let path = path.strip_prefix(b".").filter(|rest| rest.starts_with(b"/")).unwrap_or(path);
    let path = path.strip_prefix(b"/").unwrap_or(path);
    KNOWN.iter().find(|(pattern, _)| pattern.fits(path)).map(|(_, cause)| *cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_known_with_and_without_a_slash() {
        for (path, expected) in [
            ("etc/machine-id", Some("machine-id")),
            ("/etc/machine-id", Some("machine-id")),
            ("./etc/machine-id", Some("machine-id")),
            ("etc/passwd-", Some("backup")),
            ("etc/passwd", None),
            ("usr/lib/python3/x/__pycache__/a.cpython-311.pyc", Some("python-bytecode")),
            (".pyc", None),
            ("usr/share/icons/hicolor/icon-theme.cache", Some("module-cache")),
            ("var/log/dpkg.log", Some("log")),
            ("var/log/", None),
            ("home/x/etc/machine-id", None),
            ("var/lib/dkms/mok.key", Some("generated-key")),
            ("var/lib/dkms/wl/6.1/build/make.log", Some("dkms")),
            ("usr/share/.wh.doc", Some("overlay-residue")),
            ("root/.mozilla/x/startupCache/a.bin", Some("script-cache")),
            ("usr/lib/x86_64-linux-gnu/vlc/plugins/plugins.dat", Some("vlc-plugins")),
            ("usr/lib/jvm/java-17/lib/server/classes.jsa", Some("class-data")),
            ("kernel/x86/microcode/AuthenticAMD.bin", Some("microcode")),
        ] {
            assert_eq!(cause(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn every_cause_named_here_is_explained() {
        for (_, cause) in KNOWN {
            assert!(super::super::cause(cause).is_some(), "{cause}");
        }
    }
}
