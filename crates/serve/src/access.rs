//! Who may use the server: API keys, read from a file.

use std::io::Read as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// A file of keys is small; a larger one is something else.
const MOST_BYTES: u64 = 1 << 20;

/// Shorter keys can be guessed.
const SHORTEST: usize = 16;

/// The keys that are accepted, as hashes, so that all have the same length and none is kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys(Vec<[u8; 32]>);

impl Keys {
    /// Reads a file of keys: one a line; blank lines and lines that begin with `#` do not count.
    ///
    /// # Errors
    /// A message with the file and the line.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let place = path.display();
        let file = std::fs::File::open(path).map_err(|error| format!("{place}: {error}"))?;
        let mut text = String::new();
        let read = file.take(MOST_BYTES + 1).read_to_string(&mut text);
        read.map_err(|error| format!("{place}: {error}"))?;
        if text.len() as u64 > MOST_BYTES {
            return Err(format!("{place}: it has more than {MOST_BYTES} bytes; expected one key a line"));
        }
        let mut keys = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let key = line.trim();
            if key.is_empty() || key.starts_with('#') {
                continue;
            }
            if key.len() < SHORTEST || !key.bytes().all(|b| b.is_ascii_graphic()) {
                let expected = format!("expected a key of at least {SHORTEST} visible ASCII characters");
                return Err(format!("{place}, line {}: {expected}", i + 1));
            }
            keys.push(hashed(key.as_bytes()));
        }
        match keys.is_empty() {
            true => Err(format!("{place}: it holds no key; expected one a line")),
            false => Ok(Self(keys)),
        }
    }

    /// Returns the number of a key, in a time that does not depend on how much of it is right.
    pub(crate) fn find(&self, key: &[u8]) -> Option<usize> {
        let key = hashed(key);
        let mut found = None;
        for (i, known) in self.0.iter().enumerate() {
            if bool::from(known.ct_eq(&key)) {
                found = Some(i);
            }
        }
        found
    }
}

fn hashed(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_and_files_without_keys_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, "# ours\n\n0123456789abcdef\n  fedcba9876543210  \n").unwrap();
        let keys = Keys::read(&path).unwrap();
        assert_eq!(keys.find(b"0123456789abcdef"), Some(0));
        assert_eq!(keys.find(b"fedcba9876543210"), Some(1));
        assert_eq!(keys.find(b"0123456789abcdeg"), None);
        assert_eq!(keys.find(b""), None);
        for (text, expected) in
            [("", "holds no key"), ("short\n", "line 1"), ("\n0123456789 bcdefgh\n", "line 2")]
        {
            std::fs::write(&path, text).unwrap();
            let problem = Keys::read(&path).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
