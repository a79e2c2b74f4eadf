//! Files by what they are, and not by name.

use std::fs::{self, Metadata};
use std::path::Path;

/// Returns true if both names exist and name one file, also if one of them is a link to the other, hard or
/// symbolic. What is written to one of them destroys the other.
pub fn is_same_file(a: &Path, b: &Path) -> bool {
    let (Ok(first), Ok(second)) = (fs::metadata(a), fs::metadata(b)) else { return false };
    is_same_metadata(&first, &second).unwrap_or_else(|| {
        let places = (fs::canonicalize(a), fs::canonicalize(b));
        matches!(places, (Ok(a), Ok(b)) if a == b)
    })
}

/// Returns whether two metadata are those of one file, or `None` on systems where the standard library has no
/// number of a file.
#[cfg(unix)]
pub fn is_same_metadata(a: &Metadata, b: &Metadata) -> Option<bool> {
    use std::os::unix::fs::MetadataExt as _;
    Some((a.dev(), a.ino()) == (b.dev(), b.ino()))
}

/// Returns whether two metadata are those of one file, or `None` on systems where the standard library has no
/// number of a file.
#[cfg(not(unix))]
pub fn is_same_metadata(_: &Metadata, _: &Metadata) -> Option<bool> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_of_a_file_are_that_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a"), "same text").unwrap();
        fs::write(path("b"), "same text").unwrap();
        assert!(is_same_file(&path("a"), &path("./a")));
        assert!(!is_same_file(&path("a"), &path("b")));
        assert!(!is_same_file(&path("absent"), &path("absent")), "there is no such file");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_the_file_that_they_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a"), "").unwrap();
        fs::hard_link(path("a"), path("hard")).unwrap();
        std::os::unix::fs::symlink("hard", path("soft")).unwrap();
        for name in ["hard", "soft"] {
            assert!(is_same_file(&path("a"), &path(name)), "{name}");
        }
    }
}
