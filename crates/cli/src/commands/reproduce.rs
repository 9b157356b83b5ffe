//! `selfsame reproduce`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use selfsame_build::recipe::{self, Recipe};
use selfsame_build::{execute, lock};
use selfsame_image::Digest;
use selfsame_release::{self as release, Rebuild, SecretKey, Verdict, dsse};
use serde::Serialize;

use super::build::{Asked, Reach};
use super::{Context, given, recipe_dir};
use crate::failure::{Failure, Status};
use crate::moment;
use crate::replace::replace;
use crate::ui::{Output, Present, harmless_line};

/// The longest key file that is read, in bytes.
const MAX_KEY: u64 = 1 << 16;

/// Build what somebody published again, and say whether the same bytes come out
///
/// Builds the recipe from its lock, as `selfsame build` does, and compares each published file with the built one of the
/// same name. Nothing that earlier builds made is used, and no shared store: only packages, which the lock pins.
///
/// With --key the result is signed, whichever it is, for others to use with `selfsame verify`. A key is a PEM file that
/// `openssl genpkey -algorithm ed25519` writes; `openssl pkey -pubout` writes the half that goes into policies.
///
/// A result that is signed must be one that others can get: a recipe that is not committed as it is, and a
/// SOURCE_DATE_EPOCH other than the date of the recipe or its commit, are refused then. `docs/verify.md` describes results.
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
    /// Sign although the recipe is not in Git, or not as it was committed; the result then names no commit
    #[arg(long, requires = "key")]
    allow_uncommitted: bool,
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
    result: Option<String>,
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
    path: String,
    /// 64 lower-case hexadecimal digits.
    sha256: String,
}

impl Present for Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        for Compared { name, identical, published, built } in &self.outputs {
            let name = harmless_line(name);
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

/// What is needed to sign, found out before anything is built.
struct Signer {
    key: SecretKey,
    /// Where the result goes.
    to: PathBuf,
    /// The commit that the recipe is at, else why none can be named.
    commit: Result<String, String>,
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let signer = args.key.as_deref().map(|key| signer(key, args, cx)).transpose()?;
    let asked = Asked {
        recipe: &args.recipe,
        out: &args.out,
        until: None,
        // What others compressed, or an earlier build made, is no witness.
        anew: true,
        forecast: false,
        reach: &args.reach,
        remote: None,
        place: None,
        keep: false,
    };
    asked.prepare(cx, |request| {
        let published = published(args, &request.recipe.file_names(), cx)?;
        let built = execute::build(request)?;
        let (compared, outputs) = compare(published, &built)?;
        let identical = compared.iter().all(|output| output.identical);
        let written = match &signer {
            None => Ok(None),
            Some(signer) => signer.sign(outputs, request, cx).map(Some),
        };
        if let Ok(Some(path)) = &written {
            cx.ui.note(&format!("the signed result is {}", path.display()));
        }
        for Compared { published, built, .. } in compared.iter().filter(|output| !output.identical) {
            cx.ui.note(&format!("`selfsame diff {} {}` says what differs", published.path, built.path));
        }
        let result = written.as_ref().ok().cloned().flatten().as_deref().map(lossy);
        // What was found is told, whatever becomes of the file.
        cx.ui.result(args.output, &Report { identical, outputs: compared, result })?;
        written?;
        Ok(if identical { Status::Success } else { Status::Negative })
    })
}

fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Whether a result can be signed with the key in the file `key`: to be asked before hours of building.
fn signer(key: &Path, args: &Args, cx: &Context) -> Result<Signer, Failure> {
    let secret = read_key(key)?;
    let (directory, _) = recipe_dir::find(&args.recipe)?;
    let recipe = recipe::load(&directory)?;
    moment::own(&recipe, &cx.settings)?;
    // Before the build reads recipe and lock: what changes later is found by asking again.
    let commit = moment::witness(&recipe);
    if let (Err(why), false) = (&commit, args.allow_uncommitted) {
        return Err(Failure::input(format!("there is no commit to name: {why}"))
            .context("a result that others cannot get is not signed")
            .hint("check out the commit that was released, or give --allow-uncommitted"));
    }
    Ok(Signer { key: secret, to: destination(key, args, &recipe)?, commit })
}

/// Where the result goes, which must be nothing that is needed, and in a directory that can be written.
fn destination(key: &Path, args: &Args, recipe: &Recipe) -> Result<PathBuf, Failure> {
    let path = match &args.out_result {
        Some(path) => path.clone(),
        None => args.out.join(format!("{}.rebuild.json", recipe.name)),
    };
    let cannot = || format!("cannot write the result {}", path.display());
    // The file itself, if it is there: that is what is replaced.
    let real = path.canonicalize().unwrap_or_else(|_| path.clone());
    let (Some(name), Some(parent)) = (real.file_name(), real.parent()) else {
        return Err(Failure::usage("it is no name of a file").context(cannot()));
    };
    if real.is_dir() {
        return Err(Failure::usage("it is a directory").context(cannot()));
    }
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let in_out = match (parent.canonicalize(), args.out.canonicalize()) {
        (Ok(parent), Ok(out)) => parent == out,
        // The build makes it.
        (Err(_), Err(_)) => parent == args.out,
        _ => false,
    };
    let own = [recipe::FILE, lock::FILE].map(|name| recipe.dir.join(name));
    let files =
        args.published.iter().map(PathBuf::as_path).chain([key]).chain(own.iter().map(PathBuf::as_path));
    let whole = parent.canonicalize().map(|parent| parent.join(name));
    let same = |file: &Path| matches!((file.canonicalize(), &whole), (Ok(file), Ok(whole)) if file == *whole);
    let made = in_out && recipe.file_names().iter().any(|made| **made == *name);
    if let Some(file) = files.into_iter().find(|file| same(file)) {
        let message = format!("it would be written over {}", file.display());
        return Err(Failure::usage(message).context(cannot()).hint("choose another file with --out-result"));
    }
    if made {
        let message = format!("the build makes a file {} there", name.to_string_lossy());
        return Err(Failure::usage(message).context(cannot()).hint("choose another file with --out-result"));
    }
    if !(in_out && parent.symlink_metadata().is_err()) {
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        let found = if parent.is_dir() {
            rustix::fs::access(parent, access).map_err(io::Error::from)
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        };
        found.map_err(|error| Failure::environment(error).context(cannot()))?;
    }
    Ok(path)
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
) -> Result<(Vec<Compared>, Vec<release::Output>), Failure> {
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
            published: Side { path: lossy(&path), sha256: digest.to_string() },
            built: Side { path: lossy(&file.path), sha256: output.built.to_string() },
        });
        outputs.push(output);
    }
    Ok((compared, outputs))
}

impl Signer {
    /// Signs the result and writes it; where it is.
    fn sign(
        &self,
        outputs: Vec<release::Output>,
        request: &execute::Request<'_>,
        cx: &Context,
    ) -> Result<PathBuf, Failure> {
        let commit = same_commit(self.commit.clone(), moment::witness(request.recipe));
        if let Err(why) = &commit {
            cx.ui.warn(&format!("the result names no commit: {why}"));
        }
        let rebuild = Rebuild {
            outputs,
            lock: request.lock.digest(),
            commit: commit.ok(),
            epoch: request.epoch.0,
            selfsame: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let text = dsse::seal(dsse::IN_TOTO, rebuild.statement().as_bytes(), &self.key);
        replace(&self.to, &text).map_err(|error| {
            Failure::environment(error).context(format!("cannot write the result {}", self.to.display()))
        })?;
        Ok(self.to.clone())
    }
}

/// The commit that was built: the recipe was at it before the build and is at it afterwards. Else why none can be named.
fn same_commit(before: Result<String, String>, after: Result<String, String>) -> Result<String, String> {
    let (before, after) =
        (before?, after.map_err(|why| format!("the recipe changed during the build: {why}"))?);
    match before == after {
        true => Ok(before),
        false => Err(format!("the recipe was at {before} before the build, and at {after} after it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_named_only_if_it_was_there_before_and_after() {
        let at = |commit: &str| Ok::<_, String>(commit.to_owned());
        assert_eq!(same_commit(at("a"), at("a")), at("a"));
        let message = same_commit(at("a"), at("b")).unwrap_err();
        assert_eq!(message, "the recipe was at a before the build, and at b after it");
        let message = same_commit(at("a"), Err("not committed as it is: x".into())).unwrap_err();
        assert_eq!(message, "the recipe changed during the build: not committed as it is: x");
        assert_eq!(same_commit(Err("why".into()), at("a")), Err("why".into()));
    }

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
