//! Checks of the files that a command will write, before its work begins.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use mobilebert::ModelFiles;

use crate::files::is_same_file;

/// The most links that are followed from one name, as on Linux.
const MAX_LINKS: usize = 40;

/// The reason why a file is no place for an output.
#[derive(Debug)]
pub enum OutputProblem {
    /// The file must not be written; the message names it.
    Refused(String),
    /// The file cannot be written.
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

/// Checks that the outputs can be written, that they are different files, and that none of them is an input
/// or belongs to the model. No file or link is changed, and none is left behind.
///
/// # Errors
/// Returns an [`OutputProblem`] for the first output that is no place for results.
pub fn check(outputs: &[&Path], inputs: &[&Path], model: Option<&str>) -> Result<(), OutputProblem> {
    let folder = model.and_then(model_folder);
    let folder = folder.as_deref();
    let mut seen: Vec<(&Path, PathBuf)> = Vec::new();
    for &path in outputs {
        let refuse = |problem: &str| Err(OutputProblem::Refused(format!("{}: {problem}", path.display())));
        let io = |source| OutputProblem::Io { path: path.to_owned(), source };
        let target = target(path).map_err(io)?;
        let found = place(&target);
        if inputs.iter().any(|input| is_same_file(input, path) || place(input) == found) {
            return refuse("is an input of this command and would be overwritten; give another file");
        }
        if folder.is_some_and(|folder| belongs_to(folder, path, &found)) {
            return refuse(IN_MODEL);
        }
        if seen.iter().any(|(other, place)| *place == found || is_same_file(other, path)) {
            return refuse("is given for two outputs; give each its own file");
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => return refuse("is a folder; give the name of a file"),
            // To open a pipe would wait for a reader.
            Ok(metadata) if !metadata.is_file() => {
                return refuse("is a device, a pipe or a socket; give the name of a regular file");
            }
            _ => try_to_write(&target).map_err(io)?,
        }
        seen.push((path, found));
    }
    Ok(())
}

const IN_MODEL: &str = "would be part of the model, which is an input; give a file outside of its folder";

/// Checks that an output does not belong to the folder of a model, also not under another name.
///
/// # Errors
/// Returns [`OutputProblem::Refused`] if it does.
pub fn check_outside_of_model(output: &Path, model: &str) -> Result<(), OutputProblem> {
    match model_folder(model) {
        Some(folder) if belongs_to(&folder, output, &place(output)) => {
            Err(OutputProblem::Refused(format!("{}: {IN_MODEL}", output.display())))
        }
        _ => Ok(()),
    }
}

/// Opens a file for writing without a change to it. A file that is made for that is removed again.
fn try_to_write(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_) => fs::remove_file(path),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().append(true).open(path).map(drop)
        }
        Err(e) => Err(e),
    }
}

/// The path that is written to: where the name is a link, the end of its links, which need not exist yet.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        if !fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) {
            return Ok(path);
        }
        // A relative target begins at the folder of the link; `join` takes an absolute one as it is.
        let next = fs::read_link(&path)?;
        path = path.parent().unwrap_or(Path::new("")).join(next);
    }
    Err(io::Error::other(format!("is a link that leads through more than {MAX_LINKS} others")))
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

/// The folder of a model, or `None` if it has none. A model that cannot be found is reported when it is
/// opened.
fn model_folder(model: &str) -> Option<PathBuf> {
    match ModelFiles::resolve(model) {
        Ok(ModelFiles::Folder(folder)) => fs::canonicalize(folder).ok(),
        _ => None,
    }
}

/// Whether a file lies in the folder of a model, or is one of its files under another name.
fn belongs_to(folder: &Path, path: &Path, place: &Path) -> bool {
    let is_inside = place.parent() == Some(folder);
    let mut files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    is_inside || files.any(|file| is_same_file(&file, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `check` says about outputs in a folder that has the input `data.json`; empty if they are good.
    fn message(folder: &Path, outputs: &[&str]) -> String {
        let outputs: Vec<PathBuf> = outputs.iter().map(|name| folder.join(name)).collect();
        let outputs: Vec<&Path> = outputs.iter().map(PathBuf::as_path).collect();
        let model = folder.join("model");
        match check(&outputs, &[&folder.join("data.json")], model.to_str()) {
            Ok(()) => String::new(),
            Err(OutputProblem::Refused(message)) => message,
            Err(other) => format!("{other:?}"),
        }
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("model")).unwrap();
        for (name, text) in [("data.json", "{}"), ("old.json", "kept"), ("model/config.json", "{}")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn outputs_are_new_files_of_their_own() {
        let folder = folder();
        let message = |outputs: &[&str]| message(folder.path(), outputs);
        assert_eq!(message(&["a.html", "old.json"]), "");
        assert!(!folder.path().join("a.html").exists(), "a file was left behind");
        assert_eq!(fs::read_to_string(folder.path().join("old.json")).unwrap(), "kept");
        assert!(message(&["./data.json"]).contains("is an input"));
        assert!(message(&["b.json", "./b.json"]).contains("two outputs"));
        assert!(message(&["."]).contains("is a folder"), "{}", message(&["."]));
        assert!(message(&["data.json/x.html"]).contains("Io"));
    }

    #[test]
    fn the_folder_of_a_model_is_no_place_for_outputs() {
        let folder = folder();
        for name in ["model/config.json", "model/new.json", "model/../model/new.json"] {
            assert!(message(folder.path(), &[name]).contains("part of the model"), "{name}");
        }
        assert_eq!(fs::read_dir(folder.path().join("model")).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_stay() {
        use std::os::unix::fs::symlink;
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        let message = |outputs: &[&str]| message(folder.path(), outputs);
        fs::hard_link(path("data.json"), path("hard.json")).unwrap();
        fs::hard_link(path("model/config.json"), path("config.json")).unwrap();
        fs::hard_link(path("old.json"), path("other.json")).unwrap();
        let links = [("new.html", "link.html"), ("link.html", "link2.html"), ("data.json", "soft.json")];
        for (target, link) in
            [&links[..], &[("loop.html", "loop.html"), ("absent/a.html", "lost.html")]].concat()
        {
            symlink(target, path(link)).unwrap();
        }
        assert_eq!(message(&["link2.html"]), "");
        assert!(!path("new.html").exists(), "a file was left behind");
        for link in ["link.html", "link2.html"] {
            assert!(path(link).is_symlink(), "{link} was removed");
        }
        assert!(message(&["link2.html", "new.html"]).contains("two outputs"));
        assert!(message(&["old.json", "other.json"]).contains("two outputs"));
        for name in ["hard.json", "soft.json"] {
            assert!(message(&[name]).contains("is an input"), "{name}");
        }
        assert!(message(&["config.json"]).contains("part of the model"));
        assert!(message(&["loop.html"]).contains("more than 40"), "{}", message(&["loop.html"]));
        assert!(message(&["lost.html"]).contains("Io"));
    }
}
