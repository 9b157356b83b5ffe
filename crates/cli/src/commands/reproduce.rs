//! `selfsame reproduce`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use selfsame_build::execute;
use selfsame_image::Digest;
use selfsame_release::{self as release, Rebuild, SecretKey, Verdict, dsse};
use serde::Serialize;

use super::build::{Asked, Reach};
use super::{Context, given};
use crate::failure::{Failure, Status};
use crate::moment;
use crate::replace::replace;
use crate::ui::{Output, Present};

/// The longest key file that is read, in bytes.
const MAX_KEY: u64 = 1 << 16;

/// Build what somebody published again, and say whether the same bytes come out
///
/// Builds the recipe from its lock, as `selfsame build` does, and compares each published file with the built one of the
/// same name. Nothing that earlier builds made is used, and no shared store: only packages, which the lock pins.
///
/// With --key the result is signed, whichever it is, for others to use with `selfsame verify`. A key is a PEM file that
/// `openssl genpkey -algorithm ed25519` writes; `openssl pkey -pubout` writes the half that goes into policies.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame reproduce my-image download/live.iso
  selfsame reproduce my-image download/live.iso --key rebuilder.pem --out-result live.rebuild.json
  selfsame reproduce my-image download/live.iso --tag tags/1.0 --offline

Exit status: 0 the same bytes, 1 other bytes.")]
pub struct Args {
    /// Directory of the recipe
    recipe: PathBuf,
    /// Files that were published, under the names they were built with
    #[arg(required = true)]
    published: Vec<PathBuf>,
    /// Directory for what is built, made if missing
    #[arg(long, value_name = "DIR", default_value = "rebuilt")]
    out: PathBuf,
    /// Sign the result with the secret key in this file
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Where the signed result goes [default: NAME.rebuild.json in the directory for what is built]
    #[arg(long, value_name = "FILE", requires = "key")]
    out_result: Option<PathBuf>,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    output: Output,
}

/// What `reproduce` gives. The JSON form is an interface that scripts rely on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Report {
    /// Whether all files are the same.
    identical: bool,
    outputs: Vec<Compared>,
    /// The signed result, if one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<PathBuf>,
}

/// A published file and the one that was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Compared {
    name: String,
    identical: bool,
    published: Side,
    built: Side,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Side {
    path: PathBuf,
    /// 64 lower-case hexadecimal digits.
    sha256: String,
}

impl Present for Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        for Compared { name, identical, published, built } in &self.outputs {
            match identical {
                true => writeln!(to, "identical  {name}  {}", built.sha256)?,
                false => {
                    writeln!(to, "different  {name}")?;
                    writeln!(to, "  published  {}", published.sha256)?;
                    writeln!(to, "  built      {}", built.sha256)?;
                }
            }
        }
        Ok(())
    }
}

/// A published file, as it was before anything was built.
struct Published {
    name: String,
    path: PathBuf,
    digest: Digest,
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let key = args.key.as_deref().map(read_key).transpose()?;
    let asked = Asked {
        recipe: &args.recipe,
        out: &args.out,
        until: None,
        // What others compressed, or an earlier build made, is no witness.
        anew: true,
        forecast: false,
        reach: &args.reach,
        remote: None,
    };
    asked.prepare(cx, |request| {
        let published = published(args, &request.recipe.file_names(), cx)?;
        let built = execute::build(request)?;
        let (outputs, rebuild) = compare(published, &built, request)?;
        let result = match &key {
            None => None,
            Some(key) => Some(write(&rebuild, key, args, &request.recipe.name)?),
        };
        if let Some(path) = &result {
            cx.ui.note(&format!("the signed result is {}", path.display()));
        }
        for Compared { published, built, .. } in outputs.iter().filter(|output| !output.identical) {
            let [published, built] = [&published.path, &built.path].map(|path| path.display());
            cx.ui.note(&format!("`selfsame diff {published} {built}` says what differs"));
        }
        let identical = outputs.iter().all(|output| output.identical);
        cx.ui.result(args.output, &Report { identical, outputs, result })?;
        Ok(if identical { Status::Success } else { Status::Negative })
    })
}

/// The secret key in `path`.
fn read_key(path: &Path) -> Result<SecretKey, Failure> {
    let text = given::text(path, MAX_KEY, "the key")?;
    SecretKey::from_pem(&text).map_err(|error| {
        Failure::input(error)
            .context(format!("cannot sign with {}", path.display()))
            .hint("`openssl genpkey -algorithm ed25519 -out rebuilder.pem` makes a key")
    })
}

/// Hashes the published files, which must be among those of these `names`, and must not be overwritten by the build.
fn published(args: &Args, names: &[String], cx: &Context) -> Result<Vec<Published>, Failure> {
    let mut found: Vec<Published> = Vec::new();
    for path in &args.published {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if !names.contains(&name) {
            return Err(Failure::input(format!(
                "the recipe makes no file of the name of {}",
                path.display()
            ))
            .hint(format!("it makes {}; rename what was published", names.join(", "))));
        }
        if found.iter().any(|other| other.name == name) {
            return Err(Failure::usage(format!("two published files have the name {name}")));
        }
        let here = path.canonicalize().map_err(|error| {
            Failure::input(error).context(format!("cannot read what was published, {}", path.display()))
        })?;
        if args.out.canonicalize().is_ok_and(|out| here == out.join(&name)) {
            let message = format!("the build would write over what was published, {}", path.display());
            return Err(Failure::usage(message).hint("choose another directory with --out"));
        }
        found.push(Published { name, path: path.clone(), digest: given::digest(path, cx)? });
    }
    Ok(found)
}

/// Puts each published file beside the built one of its name.
fn compare(
    published: Vec<Published>,
    built: &execute::Built,
    request: &execute::Request<'_>,
) -> Result<(Vec<Compared>, Rebuild), Failure> {
    let (mut compared, mut outputs) = (Vec::new(), Vec::new());
    for Published { name, path, digest } in published {
        let same_name =
            |file: &&execute::BuiltFile| file.path.file_name().is_some_and(|other| *other == *name);
        let file = built.outputs.iter().find(same_name);
        let file = file.ok_or_else(|| Failure::internal(format!("the build did not make {name}")))?;
        let output = release::Output { name: name.clone(), published: digest, built: file.content.digest };
        compared.push(Compared {
            name,
            identical: output.verdict() == Verdict::Good,
            published: Side { path, sha256: digest.to_string() },
            built: Side { path: file.path.clone(), sha256: output.built.to_string() },
        });
        outputs.push(output);
    }
    let rebuild = Rebuild {
        outputs,
        lock: request.lock.digest(),
        commit: moment::commit(request.recipe),
        selfsame: env!("CARGO_PKG_VERSION").to_owned(),
    };
    Ok((compared, rebuild))
}

/// Signs the result and writes it.
fn write(rebuild: &Rebuild, key: &SecretKey, args: &Args, name: &str) -> Result<PathBuf, Failure> {
    let path = args.out_result.clone().unwrap_or_else(|| args.out.join(format!("{name}.rebuild.json")));
    let text = dsse::seal(dsse::IN_TOTO, rebuild.statement().as_bytes(), key);
    replace(&path, &text).map_err(|error| {
        Failure::environment(error).context(format!("cannot write the result {}", path.display()))
    })?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_form_has_the_promised_names() {
        let side = |path: &str| Side { path: path.into(), sha256: path.to_uppercase() };
        let output = Compared { name: "n".into(), identical: false, published: side("p"), built: side("b") };
        let report = Report { identical: false, outputs: vec![output], result: Some("r".into()) };
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"identical":false,"outputs":[{"name":"n","identical":false,"published":{"path":"p","sha256":"P"},"built":{"path":"b","sha256":"B"}}],"result":"r"}"#
        );
    }
}
