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
}

impl Pattern {
    fn fits(&self, path: &[u8]) -> bool {
        match self {
            Self::Whole(whole) => path == whole.as_bytes(),
            Self::Between(start, end) => {
                path.len() > start.len() + end.len()
                    && path.starts_with(start.as_bytes())
                    && path.ends_with(end.as_bytes())
            }
            Self::Name(name) => path.rsplit(|byte| *byte == b'/').next() == Some(name.as_bytes()),
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
