//! Recognises by its content which kind of model stands at a path.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::hugging_face::is_pytorch;
use super::source::{Found, SourceFormat};
use crate::foreign::is_tensorflow_index;
use crate::foreign::onnx::is_onnx;
use crate::foreign::tflite::is_tflite;
use mobilebert::{BUILT_IN, Error, ErrorKind, ModelFiles, Result};

/// Recognises by its content what stands at `source`.
pub(super) fn find(source: &str) -> Result<Found> {
    let path = Path::new(source);
    if path.is_file() {
        return file(path);
    }
    // This may be a checkpoint's name as TensorFlow's programs take it, or one of its data files.
    let prefix = source.rsplit_once(".data-").map_or(source, |(prefix, _)| prefix);
    let index = PathBuf::from(format!("{prefix}.index"));
    if index.is_file() {
        return file(&index);
    }
    if path.is_dir() && !BUILT_IN.contains(&source) {
        return folder(path);
    }
    let files = ModelFiles::resolve(source)?;
    Ok(Found { format: SourceFormat::HuggingFace, files, file: None })
}

fn folder(path: &Path) -> Result<Found> {
    let hugging_face = ["model.safetensors", "pytorch_model.bin"]
        .iter()
        .any(|name| path.join(name).is_file() || path.join(format!("{name}.index.json")).is_file());
    if hugging_face {
        let files = ModelFiles::Folder(path.to_owned());
        return Ok(Found { format: SourceFormat::HuggingFace, files, file: None });
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|e| Error::io(path, e))? {
        let file = entry.map_err(|e| Error::io(path, e))?.path();
        if file.is_file() && recognise(&file)?.is_ok() {
            files.push(file);
        }
    }
    files.sort();
    match files.as_slice() {
        [only] => file(only),
        [] => Err(ErrorKind::MissingFile {
            folder: path.to_owned(),
            expected: [
                "model.safetensors",
                "pytorch_model.bin",
                "NAME.ckpt.index",
                "NAME.onnx",
                "NAME.tflite",
            ]
            .map(str::to_owned)
            .to_vec(),
            hint: "pass the model's folder, or its weight file".to_owned(),
        }
        .into()),
        several => {
            let names: Vec<_> =
                several.iter().map(|f| f.file_name().unwrap_or_default().display().to_string()).collect();
            Err(ErrorKind::Input {
                place: path.display().to_string(),
                problem: format!("holds several models ({}); pass one of the files", names.join(", ")),
            }
            .into())
        }
    }
}

fn file(path: &Path) -> Result<Found> {
    let name = path.to_string_lossy();
    if let Some((prefix, _)) = name.rsplit_once(".data-") {
        let index = PathBuf::from(format!("{prefix}.index"));
        if index.is_file() {
            return file(&index);
        }
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match recognise(path)? {
        Ok(format) => {
            let files = ModelFiles::Folder(folder.to_owned());
            Ok(Found { format, files, file: Some(path.to_owned()) })
        }
        Err(found) => Err(ErrorKind::Conversion {
            file: path.display().to_string(),
            place: "byte 0".into(),
            module: "the model".into(),
            expected: "safetensors, a PyTorch file, a TensorFlow checkpoint, an ONNX or a LiteRT graph"
                .to_owned(),
            found: found.to_owned(),
            hint: "save the model in one of these formats".into(),
        }
        .into()),
    }
}

/// Returns the format of a file, judged by its first and last bytes, or a name for what it is instead.
fn recognise(path: &Path) -> Result<Result<SourceFormat, &'static str>> {
    const ENDS: usize = 64;
    let io = |e| Error::io(path, e);
    let mut file = File::open(path).map_err(io)?;
    let mut head = Vec::new();
    file.by_ref().take(ENDS as u64).read_to_end(&mut head).map_err(io)?;
    let mut tail = Vec::new();
    let length = file.seek(SeekFrom::End(0)).map_err(io)?;
    file.seek(SeekFrom::Start(length.saturating_sub(ENDS as u64))).map_err(io)?;
    file.read_to_end(&mut tail).map_err(io)?;
    Ok(by_ends(&head, &tail))
}

fn by_ends(head: &[u8], tail: &[u8]) -> Result<SourceFormat, &'static str> {
    let is_safetensors = head.get(8) == Some(&b'{') && head.get(4..8) == Some(&[0; 4]);
    if is_safetensors || is_pytorch(head) {
        Ok(SourceFormat::HuggingFace)
    } else if is_tensorflow_index(tail) {
        Ok(SourceFormat::TensorFlow)
    } else if is_tflite(head) {
        Ok(SourceFormat::LiteRt)
    } else if is_onnx(head) {
        Ok(SourceFormat::Onnx)
    } else if head.starts_with(b"\x89HDF") {
        Err("an HDF5 file of Keras: load it with `from_pretrained(..., from_tf=True)` and save it again")
    } else if head.starts_with(b"GGUF") {
        Err("a GGUF file, whose weights are quantised in another way")
    } else {
        Err("something else")
    }
}
