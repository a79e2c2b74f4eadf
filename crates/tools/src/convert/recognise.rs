//! Recognises by its content which kind of model stands at a path.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::elsewhere::{self, Elsewhere};
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
    let mut listing = Listing::default();
    listing.read(path)?;
    // The layout of models on the hub.
    if listing.models.is_empty() && path.join(ONNX_FOLDER).is_dir() {
        listing.read(&path.join(ONNX_FOLDER))?;
    }
    match listing.models.as_slice() {
        [only] => file(only),
        [] => match listing.elsewhere.into_iter().next() {
            Some((path, found)) => Err(not_read(&path, found)),
            None => Err(nothing(path, &listing.names)),
        },
        several => {
            let name = |file: &PathBuf| file.strip_prefix(path).unwrap_or(file).display().to_string();
            let names: Vec<_> = several.iter().map(name).collect();
            Err(ErrorKind::Input {
                place: path.display().to_string(),
                problem: format!("holds several models ({}); pass one of the files", names.join(", ")),
            }
            .into())
        }
    }
}

/// The folder of a model's folder in which optimum and the hub keep graphs.
const ONNX_FOLDER: &str = "onnx";

/// What stands in a folder.
#[derive(Default)]
struct Listing {
    models: Vec<PathBuf>,
    elsewhere: Vec<(PathBuf, Elsewhere)>,
    names: Vec<String>,
}

impl Listing {
    fn read(&mut self, folder: &Path) -> Result<()> {
        let entries = fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
        let mut paths = entries
            .map(|entry| Ok(entry.map_err(|e| Error::io(folder, e))?.path()))
            .collect::<Result<Vec<PathBuf>>>()?;
        paths.sort();
        for path in paths {
            self.names.push(path.file_name().unwrap_or_default().display().to_string());
            if !path.is_file() {
                continue;
            }
            match recognise(&path)? {
                Ok(_) => self.models.push(path),
                Err(Some(found)) => self.elsewhere.push((path, found)),
                Err(None) => {}
            }
        }
        Ok(())
    }
}

fn nothing(folder: &Path, names: &[String]) -> Error {
    /// The most names that the error lists.
    const MOST: usize = 12;
    let expected = ["model.safetensors", "pytorch_model.bin", "NAME.ckpt.index", "NAME.onnx", "NAME.tflite"];
    let more = if names.len() > MOST { ", ..." } else { "" };
    let names = names.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join(", ");
    let found = if names.is_empty() { "it is empty".to_owned() } else { format!("it holds {names}{more}") };
    ErrorKind::MissingFile {
        folder: folder.to_owned(),
        expected: expected.map(str::to_owned).to_vec(),
        hint: format!(
            "looked in the folder and in its folder {ONNX_FOLDER}; {found}; pass the model's folder, or its weight \
             file"
        ),
    }
    .into()
}

fn not_read(path: &Path, Elsewhere { found, hint }: Elsewhere) -> Error {
    ErrorKind::Conversion {
        file: path.display().to_string(),
        place: "the file".into(),
        module: "the model".into(),
        expected: "safetensors, a PyTorch file, a TensorFlow checkpoint, an ONNX or a LiteRT graph"
            .to_owned(),
        found: found.to_owned(),
        hint: hint.into(),
    }
    .into()
}

fn file(path: &Path) -> Result<Found> {
    let name = path.to_string_lossy();
    if let Some((prefix, _)) = name.rsplit_once(".data-") {
        let index = PathBuf::from(format!("{prefix}.index"));
        if index.is_file() {
            return file(&index);
        }
    }
    let mut folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let format =
        recognise(path)?.map_err(|found| not_read(path, found.unwrap_or_else(elsewhere::unknown)))?;
    // The files beside a graph in the folder `onnx` stand one folder up.
    let is_apart =
        format == SourceFormat::Onnx && folder.ends_with(ONNX_FOLDER) && !folder.join(CONFIG).is_file();
    if let Some(parent) = folder.parent().filter(|parent| is_apart && parent.join(CONFIG).is_file()) {
        folder = parent;
    }
    Ok(Found { format, files: ModelFiles::Folder(folder.to_owned()), file: Some(path.to_owned()) })
}

const CONFIG: &str = "config.json";

/// Returns the format of a file, judged by its first and last bytes, or what it is instead, if that is known.
fn recognise(path: &Path) -> Result<Result<SourceFormat, Option<Elsewhere>>> {
    const ENDS: usize = 64;
    let io = |e| Error::io(path, e);
    let mut file = File::open(path).map_err(io)?;
    let mut head = Vec::new();
    file.by_ref().take(ENDS as u64).read_to_end(&mut head).map_err(io)?;
    let mut tail = Vec::new();
    let length = file.seek(SeekFrom::End(0)).map_err(io)?;
    file.seek(SeekFrom::Start(length.saturating_sub(ENDS as u64))).map_err(io)?;
    file.read_to_end(&mut tail).map_err(io)?;
    if let Some(found) = elsewhere::recognise(path, &head) {
        return Ok(Err(Some(found)));
    }
    Ok(by_ends(&head, &tail).ok_or(None))
}

fn by_ends(head: &[u8], tail: &[u8]) -> Option<SourceFormat> {
    let is_safetensors = head.get(8) == Some(&b'{') && head.get(4..8) == Some(&[0; 4]);
    if is_safetensors || is_pytorch(head) {
        Some(SourceFormat::HuggingFace)
    } else if is_tensorflow_index(tail) {
        Some(SourceFormat::TensorFlow)
    } else if is_tflite(head) {
        Some(SourceFormat::LiteRt)
    } else {
        is_onnx(head).then_some(SourceFormat::Onnx)
    }
}
