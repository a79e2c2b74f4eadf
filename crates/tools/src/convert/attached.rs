//! Reads the files that TFLite Metadata keeps in a zip archive behind a model: the vocabulary and the names
//! of the labels.

use std::path::Path;

use mobilebert::format::{Bytes, zip};
use mobilebert::{ErrorKind, Result};

pub(super) const VOCABULARY: &str = "vocab.txt";
pub(super) const LABELS: &str = "labels.txt";

/// Returns the vocabulary, if there is one.
pub(super) fn vocabulary(file: &Path) -> Result<Option<Vec<u8>>> {
    let packed = |found| {
        let hint = "unpack the file as a zip archive and pass --vocab FILE";
        ErrorKind::Conversion {
            file: file.display().to_string(),
            place: "the archive at the end of the file".into(),
            module: VOCABULARY.into(),
            expected: "a member that is stored, not compressed".to_owned(),
            found,
            hint: hint.into(),
        }
    };
    member(&Bytes::map(file)?, VOCABULARY).map_err(|found| packed(found).into())
}

/// Returns the names of the labels, one a line, if there are any. Names that cannot be read only add a note.
pub(super) fn labels(file: &Path, notes: &mut Vec<String>) -> Result<Option<Vec<String>>> {
    let text = match member(&Bytes::map(file)?, LABELS) {
        Ok(Some(bytes)) => String::from_utf8(bytes).map_err(|_| "bytes that are not UTF-8".to_owned()),
        Ok(None) => return Ok(None),
        Err(found) => Err(found),
    };
    match text {
        Ok(text) => Ok(Some(text.lines().map(|line| line.trim().to_owned()).collect())),
        Err(found) => {
            notes.push(format!("{LABELS} in the file cannot be read: {found}"));
            Ok(None)
        }
    }
}

/// Returns the bytes of a member of the archive, or why they cannot be read.
fn member(file: &[u8], name: &str) -> Result<Option<Vec<u8>>, String> {
    let members = zip::appended("the archive", file).map_err(|error| error.to_string())?;
    match members.as_ref().and_then(|members| members.get(name)) {
        Some(member) => Ok(Some(file[member.stored()?].to_vec())),
        None => Ok(None),
    }
}
