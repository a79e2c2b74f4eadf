//! Models by hub id, `org/name` or `org/name@revision`: from the local Hugging Face cache, or (feature `hub`) downloaded
//! into it.

use std::env;
use std::path::{Path, PathBuf};

use crate::error::{ErrorKind, Result};
use crate::source::BUILT_IN;

/// How to get a model without the network.
const BY_HAND: &str = "to place it by hand, put config.json, vocab.txt (or tokenizer.json) and model.safetensors into a \
                       folder and pass the folder's path";

const DEFAULT_REVISION: &str = "main";

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

/// The local folder of a hub model.
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
        let reason = "it is not in the local cache, and HF_HUB_OFFLINE is set".to_owned();
        return unknown(reason, BY_HAND.to_owned());
    }
    match download(&id) {
        Ok(folder) => Ok(folder),
        Err(reason) => unknown(reason, BY_HAND.to_owned()),
    }
}

/// `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`: as Hugging Face's own tools look.
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
    folder.join("config.json").is_file().then_some(folder)
}

#[cfg(not(feature = "hub"))]
fn download(_: &HubId<'_>) -> Result<PathBuf, String> {
    Err("it is not in the local cache, and this build cannot download (cargo feature `hub`)".to_owned())
}

#[cfg(feature = "hub")]
fn download(id: &HubId<'_>) -> Result<PathBuf, String> {
    use hf_hub::api::sync::ApiBuilder;
    use hf_hub::{Repo, RepoType};

    const TOKENIZER: [&str; 4] =
        ["vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];
    const WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

    let failed = |e: hf_hub::api::sync::ApiError| format!("the hub said: {e}");
    let api = ApiBuilder::from_env().with_progress(false).build().map_err(failed)?;
    let repository = format!("{}/{}", id.organisation, id.name);
    let repository = api.repo(Repo::with_revision(repository, RepoType::Model, id.revision.to_owned()));
    let info = repository.info().map_err(failed)?;
    let has = |file: &str| info.siblings.iter().any(|sibling| sibling.rfilename == file);

    let config = repository.get("config.json").map_err(failed)?;
    for file in TOKENIZER.into_iter().filter(|file| has(file)) {
        repository.get(file).map_err(failed)?;
    }
    match WEIGHTS.into_iter().find(|file| has(file)) {
        Some(file) => drop(repository.get(file).map_err(failed)?),
        None => {
            let shards = info.siblings.iter().map(|s| s.rfilename.as_str());
            for file in shards.filter(|f| f.starts_with("model") && f.contains(".safetensors")) {
                repository.get(file).map_err(failed)?;
            }
        }
    }
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
    fn a_snapshot_is_found_by_branch_and_by_commit() {
        let cache = tempfile::tempdir().unwrap();
        let repository = cache.path().join("models--org--name");
        let folder = repository.join("snapshots/abc123");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all(repository.join("refs")).unwrap();
        std::fs::write(repository.join("refs/main"), "abc123\n").unwrap();
        assert_eq!(snapshot(cache.path(), &HubId::parse("org/name").unwrap()), None, "without config.json");
        std::fs::write(folder.join("config.json"), "{}").unwrap();
        for id in ["org/name", "org/name@main", "org/name@abc123"] {
            assert_eq!(snapshot(cache.path(), &HubId::parse(id).unwrap()).as_deref(), Some(&*folder), "{id}");
        }
        assert_eq!(snapshot(cache.path(), &HubId::parse("org/name@v2").unwrap()), None);
    }
}
