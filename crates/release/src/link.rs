//! Results of rebuilderd: in-toto links, which it signs for what it could reproduce and for nothing else.

use selfsame_image::Digest;

use crate::json::{self, Malformed, Object, Value, cut};
use crate::rebuild::digest;

/// How the name of the step begins that rebuilderd signs. Its owner may have signed links of other steps, such as one that
/// downloaded the file.
const STEP: &str = "rebuild ";

/// Refuses what is signed like a link, and is not one.
pub(crate) fn is_link(link: &Object) -> Result<(), Malformed> {
    let kind = json::text(link, "_type", "signed._type")?;
    if kind != "link" {
        return Err(Malformed::Value { field: "signed._type", value: cut(kind), expected: "`link`" });
    }
    Ok(())
}

/// Name and digest of the file that `link` says came out of a rebuild.
pub(crate) fn product(link: &Object) -> Result<(&str, Digest), Malformed> {
    is_link(link)?;
    let step = json::text(link, "name", "signed.name")?;
    let products = json::object(link, "products", "signed.products")?;
    let file = step.strip_prefix(STEP).and_then(|file| Some((file, products.get(file)?)));
    let (file, digests) = file.ok_or_else(|| Malformed::Value {
        field: "signed.name",
        value: cut(step),
        expected: "`rebuild ` and the name of a product",
    })?;
    Ok((file, digest(digests.object("signed.products")?, "signed.products.sha256")?))
}

/// The bytes that signatures of a link are over.
pub(crate) fn message(signed: &Value) -> Result<Vec<u8>, Malformed> {
    let mut bytes = Vec::new();
    signed.canonical(&mut bytes)?;
    Ok(bytes)
}
