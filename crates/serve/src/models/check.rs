//! The self-check: what a model computes for a fixed sequence, as a hash. Models in int8 give the same numbers on
//! every machine, so another hash means that the weights, the memory or the processor are not what they were.

use std::io::Read as _;
use std::path::Path;

use mobilebert::{Error, ErrorKind, ModelConfig};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::work::{Runs, Unit};

/// The file of a model folder that says which hash is right.
const FILE: &str = "self-check.json";
/// The file holds a hash; a larger one is something else.
const MOST_BYTES: u64 = 4096;

/// What the file says.
#[derive(Deserialize)]
struct Expected {
    logits_sha256: String,
}

/// Runs a fixed sequence, with tokens from all over the vocabulary, and returns the hash of its rows.
///
/// # Errors
/// Those of the engine, and [`ErrorKind::NotFinite`].
pub(super) fn hash(engine: &dyn Runs, config: &ModelConfig, longest: usize) -> Result<String, Error> {
    const LENGTH: usize = 24;
    /// A prime number, so that the tokens differ unless the vocabulary has a multiple of it.
    const STEP: usize = 7919;
    let length = LENGTH.min(longest).max(1);
    let ids = (0..length).map(|i| (i * STEP % config.vocab_size.max(1)) as u32).collect();
    let types = (0..length).map(|i| u32::from(config.type_vocab_size > 1 && i >= length / 2)).collect();
    let rows = engine.run(&[Unit { ids, types, requested: vec![0] }])?;
    let values = rows.of(0);
    if let Some((row, &value)) = values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
        return Err(ErrorKind::NotFinite { row, value }.into());
    }
    let mut hash = Sha256::new();
    values.iter().for_each(|value| hash.update(value.to_le_bytes()));
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
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
