//! Where models are found by name.

use std::env;
use std::path::{Path, PathBuf};

use mobilebert::{BUILT_IN, ErrorKind, Source};

use crate::failure::{Failure, Result};

/// The environment variable that names folders of models, separated as in `PATH`. The model `qa` is the
/// folder `qa` in the first of them that has it.
pub const MODELS_VARIABLE: &str = "MOBILEBERT_MODELS";

/// The file that makes a folder a model.
const CONFIG: &str = "config.json";

/// Finds a model by a name that a user gave: a built-in name, the path of a folder, the name of a folder in
/// [`MODELS_VARIABLE`], or a hub id in the local cache.
///
/// The engine would look for a built-in name in the checkout that it was compiled from. A shipped library
/// must not: it names the built-in models that [`MODELS_VARIABLE`] holds, and leaves data packages to the
/// binding, which asks its language's package manager when the failure is `unknown_model`.
///
/// # Errors
/// `unknown_model` says what was tried and what to do.
pub fn find(name: &str) -> Result<Source> {
    find_in(name, &models_folders())
}

fn models_folders() -> Vec<PathBuf> {
    env::var_os(MODELS_VARIABLE)
        .map(|folders| env::split_paths(&folders).filter(|folder| !folder.as_os_str().is_empty()).collect())
        .unwrap_or_default()
}

fn find_in(name: &str, folders: &[PathBuf]) -> Result<Source> {
    let (plain, marked) = match name.strip_prefix("built-in:") {
        Some(plain) => (plain, true),
        None => (name, false),
    };
    let built_in = BUILT_IN.contains(&plain);
    if built_in && !marked && Path::new(name).join(CONFIG).is_file() {
        return Err(unknown(
            name,
            "it is both a built-in model and a model folder in the working directory",
            format!("pass `./{name}` for the folder, and `built-in:{name}` for the built-in model"),
        ));
    }
    if built_in || (is_plain(name) && !Path::new(name).exists()) {
        let found = folders.iter().map(|folder| folder.join(plain)).find(|f| f.join(CONFIG).is_file());
        if let Some(folder) = found {
            return Ok(Source::Folder(folder));
        }
    }
    if built_in {
        return Err(unknown(
            name,
            "its files are not installed",
            format!(
                "install the package of this model, or set {MODELS_VARIABLE} to a folder that holds `{plain}`"
            ),
        ));
    }
    Ok(Source::Name(name.to_owned()))
}

/// Returns true for a name that is no path and no hub id.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':', '\0'])
}

fn unknown(name: &str, reason: &str, hint: String) -> Failure {
    let (source_name, reason) = (name.to_owned(), reason.to_owned());
    mobilebert::Error::from(ErrorKind::UnknownModel { source_name, reason, hint }).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            std::fs::write(folder.path().join(name).join(CONFIG), "{}").unwrap();
        }
        folder
    }

    #[test]
    fn names_are_looked_up_in_the_folders_in_order() {
        let (first, second) = (folder_with(&["mine"]), folder_with(&["qa", "mine"]));
        let folders = [first.path().to_owned(), second.path().to_owned()];
        for (name, expected) in [
            ("qa", second.path().join("qa")),
            ("built-in:qa", second.path().join("qa")),
            ("mine", first.path().join("mine")),
        ] {
            match find_in(name, &folders).unwrap() {
                Source::Folder(found) => assert_eq!(found, expected),
                other => panic!("{name} gave {other:?}"),
            }
        }
        for name in ["org/name", "./mine", "built-in:mine", "elsewhere"] {
            assert!(matches!(find_in(name, &folders), Ok(Source::Name(found)) if found == name));
        }
    }

    /// The checkout that this test runs in has the model, and the machine of a user of a wheel has not.
    #[test]
    fn a_built_in_model_never_comes_from_the_checkout() {
        for name in ["qa", "built-in:sentiment"] {
            let failure = find_in(name, &[]).unwrap_err();
            assert_eq!((failure.code(), failure.place()), ("unknown_model", Some(name)));
            assert!(failure.message().contains(MODELS_VARIABLE), "{failure}");
            assert!(!failure.message().contains(env!("CARGO_MANIFEST_DIR")), "{failure}");
        }
    }
}
