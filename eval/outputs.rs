//! Checks of the files that a command will write, before its work begins.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Checks that the outputs can be written, that they are different files, and that none of them is an input.
/// No file is changed, and none is left behind.
pub(crate) fn check(outputs: &[&Path], inputs: &[&Path]) -> Result<(), Failure> {
    let inputs: Vec<PathBuf> = inputs.iter().map(|path| place(path)).collect();
    let mut seen: Vec<PathBuf> = Vec::new();
    for &path in outputs {
        let found = place(path);
        let refuse = |problem: &str| Err(Failure::Usage(format!("{}: {problem}", path.display())));
        if inputs.contains(&found) {
            return refuse("is an input of this command and would be overwritten; give another file");
        }
        if seen.contains(&found) {
            return refuse("is given for two outputs; give each its own file");
        }
        seen.push(found);
        let is_new = !path.exists();
        OpenOptions::new().append(true).create(true).open(path).map_err(|e| Failure::output(path, e))?;
        if is_new {
            fs::remove_file(path).map_err(|e| Failure::output(path, e))?;
        }
    }
    Ok(())
}

/// The path without links and dots, so that two names of one file are equal. A file that does not exist yet
/// is named by its folder.
fn place(path: &Path) -> PathBuf {
    if let Ok(place) = fs::canonicalize(path) {
        return place;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = fs::canonicalize(folder.unwrap_or(Path::new(".")));
    match (folder, path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_new_files_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("data.json"), "{}").unwrap();
        fs::write(path("old.json"), "kept").unwrap();
        let message = |outputs: &[&Path]| match check(outputs, &[&path("data.json")]) {
            Ok(()) => String::new(),
            Err(Failure::Usage(message)) => message,
            Err(other) => format!("{other:?}"),
        };
        assert_eq!(message(&[&path("a.html"), &path("old.json")]), "");
        assert!(!path("a.html").exists(), "a file was left behind");
        assert_eq!(fs::read_to_string(path("old.json")).unwrap(), "kept");
        assert!(message(&[&path("./data.json")]).contains("is an input"));
        assert!(message(&[&path("b.json"), &path("./b.json")]).contains("two outputs"));
        assert!(message(&[folder.path()]).contains("Output"), "{}", message(&[folder.path()]));
        assert!(message(&[&path("data.json/x.html")]).contains("Output"));
    }
}
