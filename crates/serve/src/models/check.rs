//! The self-check: the hash of what a model computes for a fixed sequence, compared with the one that its
//! folder holds. `mobilebert quantize` writes it.

use std::io::Read as _;
use std::path::Path;

use mobilebert::{Error, ErrorKind};
use serde::Deserialize;

/// The file of a model folder that says which hash is right.
const FILE: &str = "self-check.json";
/// The file holds a hash; a larger one is something else.
const MOST_BYTES: u64 = 4096;

/// What the file says.
#[derive(Deserialize)]
struct Expected {
    logits_sha256: String,
}

/// Compares a hash with that of the model's folder, if it has one.
///
/// # Errors
/// [`ErrorKind::Input`] for another hash, and for a file that holds none.
pub(super) fn compare(folder: &Path, found: &str) -> Result<(), Error> {
    let path = folder.join(FILE);
    let problem =
        |problem: String| Error::from(ErrorKind::Input { place: path.display().to_string(), problem });
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        // Most folders have none.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(problem(error.to_string())),
    };
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text).map_err(|error| problem(error.to_string()))?;
    let Expected { logits_sha256: expected } = serde_json::from_str(&text)
        .map_err(|error| problem(format!("expected an object with `logits_sha256`: {error}")))?;
    match expected == found {
        true => Ok(()),
        false => Err(problem(format!(
            "the self-check expects logits with the hash {expected}, but the model computes {found}; the weights \
             are others, or this machine computes wrongly"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_folder_is_compared() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path();
        let write = |text: &str| std::fs::write(folder.path().join(FILE), text).unwrap();
        assert!(compare(source, "ab").is_ok());
        write(r#"{"logits_sha256":"ab"}"#);
        assert!(compare(source, "ab").is_ok());
        let wrong = compare(source, "cd").unwrap_err().to_string();
        assert!(
            wrong.contains("self-check.json") && wrong.contains("hash ab") && wrong.contains("cd"),
            "{wrong}"
        );
        for text in ["", "{}", r#"{"logits_sha256":1}"#] {
            write(text);
            assert!(compare(source, "ab").unwrap_err().to_string().contains("logits_sha256"), "{text}");
        }
    }
}
