//! Opens the weight files of a model folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use serde::Deserialize;

use super::checkpoint::format_error;
use super::{Bytes, Checkpoint};
use crate::error::{Error, ErrorKind, Result};
use crate::files::json;

const SAFETENSORS: &str = "model.safetensors";
const PYTORCH: &str = "pytorch_model.bin";
/// The ending that turns the name of the single file into the name of the list of shards.
const INDEX: &str = ".index.json";

/// A function that adds one file to a checkpoint.
type Add = fn(&mut Checkpoint, &str, Bytes) -> Result<()>;

/// A list of shards. Its `metadata` is not used.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens the weights of a folder. These are the first that exist of `model.safetensors`,
    /// `model.safetensors.index.json` with the shards it lists, `pytorch_model.bin`, and
    /// `pytorch_model.bin.index.json` with its shards.
    ///
    /// # Errors
    /// [`ErrorKind::MissingFile`] if there is none or a shard is missing; [`ErrorKind::Io`];
    /// [`ErrorKind::Json`] and [`ErrorKind::Format`] if a file violates its format or a shard lacks a tensor
    /// that the list promises.
    pub fn open_folder(folder: &Path) -> Result<Self> {
        Self::open_files(folder, |name| match Bytes::map(&folder.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        })
    }

    /// Opens the weights among files that need not be in a folder, by the rules of
    /// [`Checkpoint::open_folder`]. `open` returns the content of a file, or `None` if there is no such file.
    /// In errors, `place` stands before the names of the files.
    ///
    /// # Errors
    /// The errors of [`Checkpoint::open_folder`] and of `open`.
    pub fn open_files(place: &Path, open: impl Fn(&str) -> Result<Option<Bytes>>) -> Result<Self> {
        let forms: [(&str, Add); 2] = [(SAFETENSORS, Checkpoint::add_safetensors), (PYTORCH, add_pytorch)];
        for (single, add) in forms {
            if let Some(bytes) = open(single)? {
                let mut checkpoint = Self::default();
                add(&mut checkpoint, &place.join(single).display().to_string(), bytes)?;
                return Ok(checkpoint);
            }
            let index = format!("{single}{INDEX}");
            if let Some(bytes) = open(&index)? {
                return open_shards(place, &index, &bytes, open, add);
            }
        }
        let expected =
            forms.iter().flat_map(|(single, _)| [(*single).to_owned(), format!("{single}{INDEX}")]);
        Err(missing(
            place,
            expected.collect(),
            "place the weights there under one of these names, as Hugging Face's `save_pretrained` writes them",
        ))
    }
}

fn is_absent(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
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

fn open_shards(
    place: &Path,
    index: &str,
    bytes: &[u8],
    open: impl Fn(&str) -> Result<Option<Bytes>>,
    add: Add,
) -> Result<Checkpoint> {
    let label = place.join(index).display().to_string();
    let Index { weight_map } = json::parse(&label, bytes)?;
    if weight_map.is_empty() {
        return Err(format_error(&label, 0, "a `weight_map` from tensors to shards", "an empty one"));
    }
    let mut checkpoint = Checkpoint::default();
    for shard in weight_map.values().collect::<BTreeSet<_>>() {
        if !is_plain_file_name(shard) {
            let expected = "shards that are plain file names beside the list";
            return Err(format_error(&label, 0, expected, format!("{shard:?}")));
        }
        let Some(bytes) = open(shard)? else {
            let hint = "the list of shards names it; fetch all files of the model";
            return Err(missing(place, vec![shard.clone()], hint));
        };
        add(&mut checkpoint, &place.join(shard).display().to_string(), bytes)?;
    }
    for (tensor, shard) in &weight_map {
        let path = place.join(shard).display().to_string();
        let found = match checkpoint.entry(tensor) {
            Some(_) if checkpoint.file_of(tensor) == path => continue,
            Some(_) => format!("it in {}", checkpoint.file_of(tensor)),
            None => "no such tensor in any shard".to_owned(),
        };
        return Err(format_error(&label, 0, &format!("tensor `{tensor}` in {path}"), found));
    }
    Ok(checkpoint)
}

/// Returns true if a name is a plain file name, without a folder, `..` or an absolute path. A list of shards
/// may name only files beside itself.
pub fn is_plain_file_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let plain = matches!(components.next(), Some(Component::Normal(only)) if only == name);
    plain && components.next().is_none() && !name.contains(['/', '\\', '\0'])
}

fn missing(folder: &Path, expected: Vec<String>, hint: &str) -> Error {
    ErrorKind::MissingFile { folder: folder.to_owned(), expected, hint: hint.to_owned() }.into()
}
