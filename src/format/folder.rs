//! The weight files of a model folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path};

use serde::Deserialize;

use super::checkpoint::format_error;
use super::{Bytes, Checkpoint};
use crate::error::{Error, ErrorKind, Result};

const SAFETENSORS: &str = "model.safetensors";
const PYTORCH: &str = "pytorch_model.bin";
/// Behind the name of the single file, this makes the name of the list of shards.
const INDEX: &str = ".index.json";

/// Adds one file to a checkpoint.
type Add = fn(&mut Checkpoint, &str, Bytes) -> Result<()>;

/// A list of shards. Its `metadata` is of no use here.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens the weights of a folder: the first that exists of `model.safetensors`, `model.safetensors.index.json` with
    /// the shards it lists, `pytorch_model.bin` and `pytorch_model.bin.index.json`.
    ///
    /// # Errors
    /// [`ErrorKind::MissingFile`] if there is none or a shard is missing; [`ErrorKind::Io`]; [`ErrorKind::Json`] and
    /// [`ErrorKind::Format`] if a file violates its format or a shard lacks a tensor that the list promises.
    pub fn open_folder(folder: &Path) -> Result<Self> {
        let forms: [(&str, Add); 2] = [(SAFETENSORS, Checkpoint::add_safetensors), (PYTORCH, add_pytorch)];
        for (single, add) in forms {
            let path = folder.join(single);
            if path.is_file() {
                let mut checkpoint = Self::default();
                add(&mut checkpoint, &path.display().to_string(), Bytes::map(&path)?)?;
                return Ok(checkpoint);
            }
            let index = folder.join(format!("{single}{INDEX}"));
            if index.is_file() {
                return open_shards(folder, &index, add);
            }
        }
        let expected =
            forms.iter().flat_map(|(single, _)| [(*single).to_owned(), format!("{single}{INDEX}")]);
        Err(missing(
            folder,
            expected.collect(),
            "place the weights there under one of these names, as Hugging Face's `save_pretrained` writes them",
        ))
    }
}

#[cfg(feature = "pickle")]
fn add_pytorch(checkpoint: &mut Checkpoint, label: &str, bytes: Bytes) -> Result<()> {
    checkpoint.add_pytorch(label, bytes)
}

#[cfg(not(feature = "pickle"))]
fn add_pytorch(_: &mut Checkpoint, label: &str, _: Bytes) -> Result<()> {
    Err(ErrorKind::NotBuilt {
        what: format!("the reader of PyTorch's files, such as {label}"),
        feature: "pickle",
    }
    .into())
}

fn open_shards(folder: &Path, index: &Path, add: Add) -> Result<Checkpoint> {
    let label = index.display().to_string();
    let bytes = fs::read(index).map_err(|e| Error::io(index, e))?;
    let Index { weight_map } = serde_json::from_slice(&bytes)
        .map_err(|source| Error::from(ErrorKind::Json { file: label.clone(), source }))?;
    if weight_map.is_empty() {
        return Err(format_error(&label, 0, "a `weight_map` from tensors to shards", "an empty one"));
    }
    let mut checkpoint = Checkpoint::default();
    for shard in weight_map.values().collect::<BTreeSet<_>>() {
        if !is_plain_file_name(shard) {
            let expected = "shards that are plain file names beside the list";
            return Err(format_error(&label, 0, expected, format!("{shard:?}")));
        }
        let path = folder.join(shard);
        if !path.is_file() {
            let hint = "the list of shards names it; fetch all files of the model";
            return Err(missing(folder, vec![shard.clone()], hint));
        }
        add(&mut checkpoint, &path.display().to_string(), Bytes::map(&path)?)?;
    }
    for (tensor, shard) in &weight_map {
        let path = folder.join(shard).display().to_string();
        let found = match checkpoint.entry(tensor) {
            Some(_) if checkpoint.file_of(tensor) == path => continue,
            Some(_) => format!("it in {}", checkpoint.file_of(tensor)),
            None => "no such tensor in any shard".to_owned(),
        };
        return Err(format_error(&label, 0, &format!("tensor `{tensor}` in {path}"), found));
    }
    Ok(checkpoint)
}

/// Whether a name is that of a file beside the one that names it: no folder, no `..`, no absolute path.
pub fn is_plain_file_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let plain = matches!(components.next(), Some(Component::Normal(only)) if only == name);
    plain && components.next().is_none() && !name.contains(['/', '\\', '\0'])
}

fn missing(folder: &Path, expected: Vec<String>, hint: &str) -> Error {
    ErrorKind::MissingFile { folder: folder.to_owned(), expected, hint: hint.to_owned() }.into()
}
