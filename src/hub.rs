//! Models by hub id, `org/name` or `org/name@revision`. They come from the local Hugging Face cache or, with
//! the feature `hub`, are downloaded into it.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{ErrorKind, Result};
use crate::files::{self, json};
use crate::source::BUILT_IN;

/// The advice for getting a model without the network.
const BY_HAND: &str = "to place it by hand, put config.json, vocab.txt (or tokenizer.json) and model.safetensors into a \
                       folder and pass the folder's path";

const DEFAULT_REVISION: &str = "main";

const CONFIG: &str = "config.json";

/// The weights, each as one file, or as several behind an [`INDEX`]. The first form that exists is the one
/// that is opened.
const WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];
const INDEX: &str = ".index.json";

/// A hub id, split and checked.
struct HubId<'a> {
    organisation: &'a str,
    name: &'a str,
    revision: &'a str,
}

impl<'a> HubId<'a> {
    fn parse(source: &'a str) -> Option<Self> {
        let (repository, revision) = source.split_once('@').unwrap_or((source, DEFAULT_REVISION));
        let (organisation, name) = repository.split_once('/')?;
        let plain = |part: &str, extra: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && !part.contains("..")
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c) || extra.contains(c))
        };
        let valid = plain(organisation, "") && plain(name, "") && plain(revision, "/");
        valid.then_some(Self { organisation, name, revision })
    }
}

/// Returns the local folder of a hub model.
pub(crate) fn resolve(source: &str) -> Result<PathBuf> {
    let unknown = |reason: String, hint: String| {
        Err(ErrorKind::UnknownModel { source_name: source.to_owned(), reason, hint }.into())
    };
    let Some(id) = HubId::parse(source) else {
        let reason = "it is neither a folder, nor a built-in name, nor a hub id like org/name".to_owned();
        return unknown(reason, format!("pass a model folder, or one of: {}", BUILT_IN.join(", ")));
    };
    let cache = cache_folder();
    if let Some(folder) = cache.as_deref().and_then(|cache| snapshot(cache, &id)) {
        return Ok(folder);
    }
    if env::var("HF_HUB_OFFLINE").is_ok_and(|v| !matches!(v.as_str(), "" | "0")) {
        let reason = "it is not, or not completely, in the local cache, and HF_HUB_OFFLINE is set".to_owned();
        return unknown(reason, BY_HAND.to_owned());
    }
    match download(&id, cache) {
        Ok(folder) => Ok(folder),
        Err(reason) => unknown(reason, BY_HAND.to_owned()),
    }
}

/// Returns the cache's folder, which is `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`,
/// as in Hugging Face's own tools.
fn cache_folder() -> Option<PathBuf> {
    let var = |name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    var("HF_HUB_CACHE")
        .or_else(|| var("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| env::home_dir().map(|home| home.join(".cache/huggingface/hub")))
}

fn snapshot(cache: &Path, id: &HubId<'_>) -> Option<PathBuf> {
    let repository = cache.join(format!("models--{}--{}", id.organisation, id.name));
    let commit = std::fs::read_to_string(repository.join("refs").join(id.revision));
    let commit = commit.as_deref().map_or(id.revision, str::trim);
    let folder = repository.join("snapshots").join(commit);
    is_complete(&folder).then_some(folder)
}

/// Returns true if a folder of the cache holds a complete model, and not just the files that another tool or
/// a broken download left there.
fn is_complete(folder: &Path) -> bool {
    let has = |file: &str| folder.join(file).is_file();
    let weights = WEIGHTS.into_iter().find_map(|single| {
        let index = format!("{single}{INDEX}");
        if has(single) {
            return Some(true);
        }
        has(&index).then(|| shards(&folder.join(index)).is_some_and(|shards| shards.iter().all(|s| has(s))))
    });
    has(CONFIG) && (has("vocab.txt") || has("tokenizer.json")) && weights == Some(true)
}

/// Reads the names of the files in a list of shards. The result is `None` if the list cannot be read or names
/// anything but files beside it.
fn shards(index: &Path) -> Option<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = json::parse(CONFIG, &files::read_small(index).ok()??).ok()?;
    let plain =
        |name: &String| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    (!shards.is_empty() && shards.iter().all(plain)).then_some(shards)
}

#[cfg(not(feature = "hub"))]
fn download(_: &HubId<'_>, _: Option<PathBuf>) -> Result<PathBuf, String> {
    Err("it is not, or not completely, in the local cache, and this build cannot download (cargo feature `hub`)"
        .to_owned())
}

/// Downloads a model into the cache. `config.json` comes last: a folder without it does not count as a model,
/// so a broken download is taken up again.
#[cfg(feature = "hub")]
fn download(id: &HubId<'_>, cache: Option<PathBuf>) -> Result<PathBuf, String> {
    use hf_hub::api::sync::ApiBuilder;
    use hf_hub::{Repo, RepoType};

    let failed = |e: hf_hub::api::sync::ApiError| format!("the hub said: {e}");
    let mut builder = ApiBuilder::from_env().with_progress(false);
    if let Some(cache) = cache {
        builder = builder.with_cache_dir(cache);
    }
    if let Some(token) = env::var("HF_TOKEN").ok().filter(|token| !token.is_empty()) {
        builder = builder.with_token(Some(token));
    }
    let api = builder.build().map_err(failed)?;
    let repository = format!("{}/{}", id.organisation, id.name);
    let repository = api.repo(Repo::with_revision(repository, RepoType::Model, id.revision.to_owned()));
    let info = repository.info().map_err(failed)?;
    let has = |file: &str| info.siblings.iter().any(|sibling| sibling.rfilename == file);
    let get = |file: &str| repository.get(file).map_err(failed);

    let index = |single: &str| format!("{single}{INDEX}");
    match WEIGHTS.into_iter().find(|single| has(single) || has(&index(single))) {
        Some(single) if has(single) => drop(get(single)?),
        Some(single) => {
            let index = index(single);
            let shards =
                shards(&get(&index)?).ok_or_else(|| format!("its {index} is not a list of shards"))?;
            for shard in shards {
                get(&shard)?;
            }
        }
        None => return Err(format!("it has neither of {}", WEIGHTS.join(", "))),
    }
    for file in crate::text::TOKENIZER_FILES.into_iter().filter(|file| has(file)) {
        get(file)?;
    }
    let config = get(CONFIG)?;
    config.parent().map(Path::to_owned).ok_or_else(|| "the cache has no folder for it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_split_and_strange_ones_refused() {
        let id = HubId::parse("google/mobilebert-uncased@refs/pr/3").unwrap();
        assert_eq!((id.organisation, id.name, id.revision), ("google", "mobilebert-uncased", "refs/pr/3"));
        assert_eq!(HubId::parse("org/name").unwrap().revision, DEFAULT_REVISION);
        for strange in [
            "name",
            "/name",
            "org/",
            "../up",
            "org/..",
            "a/b/c",
            "org/na me",
            "org/name@../../x",
            "org/name@",
        ] {
            assert!(HubId::parse(strange).is_none(), "{strange}");
        }
    }

    #[test]
    #[cfg_attr(target_family = "wasm", ignore = "no folder for temporary files")]
    fn a_snapshot_is_found_by_branch_and_by_commit() {
        let cache = tempfile::tempdir().unwrap();
        let repository = cache.path().join("models--org--name");
        let folder = repository.join("snapshots/abc123");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all(repository.join("refs")).unwrap();
        std::fs::write(repository.join("refs/main"), "abc123\n").unwrap();
        for file in ["config.json", "vocab.txt", "model.safetensors"] {
            assert_eq!(snapshot(cache.path(), &HubId::parse("org/name").unwrap()), None, "without {file}");
            std::fs::write(folder.join(file), "{}").unwrap();
        }
        for id in ["org/name", "org/name@main", "org/name@abc123"] {
            assert_eq!(snapshot(cache.path(), &HubId::parse(id).unwrap()).as_deref(), Some(&*folder), "{id}");
        }
        assert_eq!(snapshot(cache.path(), &HubId::parse("org/name@v2").unwrap()), None);
    }

    #[test]
    #[cfg_attr(target_family = "wasm", ignore = "no folder for temporary files")]
    fn a_model_in_shards_needs_all_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).unwrap();
        write("config.json", "{}");
        write("tokenizer.json", "{}");
        let index = r#"{"metadata": {}, "weight_map": {"x": "a-1-of-2.bin", "y": "b.bin", "z": "b.bin"}}"#;
        write("pytorch_model.bin.index.json", index);
        assert!(!is_complete(folder.path()));
        write("a-1-of-2.bin", "");
        assert!(!is_complete(folder.path()));
        write("b.bin", "");
        assert!(is_complete(folder.path()));
        // The loader prefers this form, so it has to be whole.
        write("model.safetensors.index.json", r#"{"weight_map": {"x": "missing.safetensors"}}"#);
        assert!(!is_complete(folder.path()));
    }

    #[test]
    #[cfg_attr(target_family = "wasm", ignore = "no folder for temporary files")]
    fn lists_of_shards_name_files_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let index = folder.path().join("index.json");
        let read = |text: &str| {
            std::fs::write(&index, text).unwrap();
            shards(&index)
        };
        let expected = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        assert_eq!(read(r#"{"weight_map": {"x": "a", "y": "b", "z": "a"}}"#), Some(expected));
        for name in ["../a", "/a", "a/b", "a\\\\b", "..", "", "\\u0000"] {
            assert_eq!(read(&format!(r#"{{"weight_map": {{"x": "{name}"}}}}"#)), None, "{name}");
        }
        for text in ["", "{}", r#"{"weight_map": {}}"#, r#"{"weight_map": {"x": 1}}"#] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
