//! What the environment says. The only file that reads environment variables.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use selfsame_image::Epoch;

use crate::failure::Failure;

/// Every environment variable that selfsame looks at, as it was when the process started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `SELFSAME_STORE`: the directory of the store.
    store: Option<PathBuf>,
    /// `XDG_CACHE_HOME`, used if absolute, as its specification wants.
    cache_home: Option<PathBuf>,
    /// `HOME`.
    home: Option<PathBuf>,
    /// `SOURCE_DATE_EPOCH`, not yet parsed: only commands that build care.
    source_date_epoch: Option<OsString>,
    /// `NO_COLOR` is set and not empty, or `TERM` is `dumb`.
    pub no_color: bool,
    /// `SELFSAME_REMOTE`: address of the shared store.
    pub remote: Option<String>,
    /// `SELFSAME_REMOTE_KEY`: whose compressed blocks are believed.
    pub remote_key: Option<String>,
    /// `SELFSAME_REMOTE_AUTH`: an `Authorization` header for the remote, such as `Bearer TOKEN`. A secret.
    pub remote_auth: Option<String>,
    /// `TERM`: the kind of the user's terminal.
    pub terminal: Option<OsString>,
    /// `TMPDIR`, used if absolute: where files without a name are made.
    temporary: Option<PathBuf>,
    /// Proxies for fetching.
    pub proxies: Proxies,
}

/// Proxies for plain and encrypted HTTP, in the words of curl(1); one never stands in for the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// `http_proxy` (lower case only: the other spelling can be set by a CGI request).
    pub http: Option<String>,
    /// `https_proxy` or `HTTPS_PROXY`.
    pub https: Option<String>,
    /// `no_proxy` or `NO_PROXY`: host names, separated by commas, that are reached without a proxy.
    pub none: Option<String>,
}

impl Settings {
    /// Reads the environment of this process.
    pub fn from_environment() -> Self {
        Self::read(|name| std::env::var_os(name))
    }

    /// Reads variables through `get`. An empty variable counts as unset, but for `SOURCE_DATE_EPOCH`.
    fn read(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let filled = |name: &str| get(name).filter(|value| !value.is_empty());
        let text = |names: &[&str]| names.iter().find_map(|name| filled(name)?.into_string().ok());
        let absolute = |name| filled(name).map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            store: filled("SELFSAME_STORE").map(PathBuf::from),
            cache_home: absolute("XDG_CACHE_HOME"),
            home: absolute("HOME"),
            source_date_epoch: get("SOURCE_DATE_EPOCH"),
            no_color: filled("NO_COLOR").is_some() || filled("TERM").is_some_and(|term| term == "dumb"),
            remote: text(&["SELFSAME_REMOTE"]),
            remote_key: text(&["SELFSAME_REMOTE_KEY"]),
            remote_auth: text(&["SELFSAME_REMOTE_AUTH"]),
            terminal: filled("TERM"),
            temporary: absolute("TMPDIR"),
            proxies: Proxies {
                http: text(&["http_proxy"]),
                https: text(&["https_proxy", "HTTPS_PROXY"]),
                none: text(&["no_proxy", "NO_PROXY"]),
            },
        }
    }

    /// A directory for files that nobody else sees.
    pub fn temporary(&self) -> &Path {
        self.temporary.as_deref().unwrap_or_else(|| Path::new("/tmp"))
    }

    /// The store: `argument` if given, else `SELFSAME_STORE`, else `selfsame` in the user's cache directory.
    pub fn store(&self, argument: Option<&PathBuf>) -> Result<PathBuf, Failure> {
        let cache = || {
            Some(
                self.cache_home
                    .clone()
                    .or_else(|| Some(self.home.as_ref()?.join(".cache")))?
                    .join("selfsame"),
            )
        };
        argument.or(self.store.as_ref()).cloned().or_else(cache).ok_or_else(|| {
            Failure::environment("there is no place for the store: HOME is not set to an absolute path")
                .hint("say where with `--store DIR` or the environment variable SELFSAME_STORE")
        })
    }

    /// `SOURCE_DATE_EPOCH` in seconds since 1970, if it is set.
    ///
    /// Malformed (anything but decimal digits, above 2^32 - 1) and later than `now` are errors.
    pub fn source_date_epoch(&self, now: SystemTime) -> Result<Option<Epoch>, Failure> {
        let Some(raw) = &self.source_date_epoch else {
            return Ok(None);
        };
        let shown = raw.to_string_lossy();
        let digits = raw.to_str().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
        let Some(seconds) = digits.and_then(|text| text.parse::<u32>().ok()) else {
            return Err(Failure::input(format!(
                "SOURCE_DATE_EPOCH is {shown:?}, which is not a whole number of seconds from 0 to {}",
                u32::MAX
            ))
            .hint("set it to decimal digits only, for example the output of `git log -1 --format=%ct`")
            .hint("or unset it: then the recipe's epoch or the commit's time is used"));
        };
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if u64::from(seconds) > now {
            return Err(Failure::input(format!(
                "SOURCE_DATE_EPOCH is {seconds} ({}), which lies in the future",
                Epoch(seconds).civil()
            ))
            .hint("an image cannot be dated after its build: choose an earlier time, or set this machine's clock"));
        }
        Ok(Some(Epoch(seconds)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        Settings::read(|name| Some(variables.iter().find(|(key, _)| *key == name)?.1.into()))
    }

    #[test]
    fn the_store_is_found_in_order_of_precedence() {
        let all = settings(&[("SELFSAME_STORE", "s"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]);
        assert_eq!(all.store(Some(&"a".into())).unwrap(), PathBuf::from("a"));
        assert_eq!(all.store(None).unwrap(), PathBuf::from("s"));
        for (variables, expected) in [
            (&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")][..], "/x/selfsame"),
            (&[("XDG_CACHE_HOME", "relative"), ("HOME", "/h")], "/h/.cache/selfsame"),
            (&[("SELFSAME_STORE", ""), ("HOME", "/h")], "/h/.cache/selfsame"),
        ] {
            assert_eq!(settings(variables).store(None).unwrap(), PathBuf::from(expected));
        }
        let nowhere = settings(&[("HOME", "relative")]).store(None).unwrap_err();
        assert!(nowhere.to_string().contains("SELFSAME_STORE"), "{nowhere}");
    }

    #[test]
    fn source_date_epoch_is_read_strictly() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let read = |value| settings(&[("SOURCE_DATE_EPOCH", value)]).source_date_epoch(now);
        assert_eq!(settings(&[]).source_date_epoch(now).unwrap(), None);
        assert_eq!(read("0").unwrap(), Some(Epoch(0)));
        assert_eq!(read("1000000000").unwrap(), Some(Epoch(1_000_000_000)));
        for wrong in ["", " 1", "1 ", "-1", "+1", "1.5", "0x10", "now", "4294967296", "99999999999999999999"]
        {
            let message = read(wrong).unwrap_err().to_string();
            assert!(message.starts_with(&format!("error: SOURCE_DATE_EPOCH is {wrong:?}")), "{message}");
        }
        let message = read("1000000001").unwrap_err().to_string();
        assert!(message.contains("1000000001 (2001-09-09T01:46:41Z), which lies in the future"), "{message}");
    }

    #[test]
    fn colour_is_off_when_asked_for() {
        assert!(!settings(&[("TERM", "xterm"), ("NO_COLOR", "")]).no_color);
        assert!(settings(&[("TERM", "dumb")]).no_color);
        assert!(settings(&[("NO_COLOR", "1")]).no_color);
    }

    #[test]
    fn proxies_have_the_usual_names() {
        let proxies =
            settings(&[("http_proxy", "a"), ("HTTP_PROXY", "b"), ("HTTPS_PROXY", "c"), ("NO_PROXY", "d")])
                .proxies;
        let text = |value: &str| Some(value.to_owned());
        assert_eq!(proxies, Proxies { http: text("a"), https: text("c"), none: text("d") });
    }
}
