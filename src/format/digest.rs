//! Computes the digest that names models, data and results.

use sha2::{Digest as _, Sha256};

/// Returns the SHA-256 of some parts, laid end to end, as 64 lower-case hexadecimal digits.
///
/// ```
/// use mobilebert::format::sha256;
///
/// let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// assert_eq!(sha256([""]), empty);
/// assert_eq!(sha256(["ab", "c"]), sha256(["abc"]));
/// ```
pub fn sha256(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
    let mut hasher = Sha256::new();
    parts.into_iter().for_each(|part| hasher.update(part));
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
