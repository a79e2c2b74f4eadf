//! Which kind of model stands at a path, and that model opened.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{ConvertOptions, graph_file, tensorflow};
use crate::config::{ModelConfig, QuantizationConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::format::onnx::is_onnx;
use crate::format::tflite::is_tflite;
use crate::format::{Bytes, Checkpoint, Tensor, WeightSource, is_tensorflow_index};
use crate::graph::{Graph, Parameter, ParameterId};
use crate::model::{self, Weights};
use crate::source::{BUILT_IN, ModelFiles, TOKENIZER_FILES};

/// Where a model comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SourceFormat {
    /// A folder in Hugging Face's layout, or one of its weight files.
    HuggingFace,
    /// A checkpoint of TensorFlow.
    TensorFlow,
    /// An ONNX graph.
    Onnx,
    /// A graph of LiteRT, formerly TensorFlow Lite.
    LiteRt,
}

impl SourceFormat {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            SourceFormat::HuggingFace => "Hugging Face",
            SourceFormat::TensorFlow => "TensorFlow",
            SourceFormat::Onnx => "ONNX",
            SourceFormat::LiteRt => "LiteRT",
        }
    }
}

/// A model as its source holds it.
pub(super) struct Source {
    pub(super) config: ModelConfig,
    /// The source's own `config.json` or what stands for it.
    pub(super) original: Map<String, Value>,
    pub(super) graph: Graph,
    /// Of the graph's parameters, then of `extra`.
    pub(super) weights: Box<dyn WeightSource>,
    /// Tensors that the graph does not read but that belong to the model: an unused pooler, another head.
    pub(super) extra: Vec<Parameter>,
    /// Whether the source holds numbers that were rounded, or folded into others, when it was exported.
    pub(super) approximate: bool,
}

/// A place where a model was found.
pub(super) struct Found {
    pub(super) format: SourceFormat,
    /// The folder of a model, or the file.
    pub(super) place: Place,
}

pub(super) enum Place {
    Model(ModelFiles),
    /// A weight file, and the folder it stands in.
    File(PathBuf, PathBuf),
}

impl Found {
    /// Where it is on the disk, if it is there.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Model(ModelFiles::Folder(path)) | Place::File(path, _) => Some(path),
            Place::Model(_) => None,
        }
    }

    /// The files beside the weights: `config.json`, the vocabulary.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match &self.place {
            Place::Model(files) => Ok(files.read(name)?.map(|bytes| bytes.into_owned())),
            Place::File(_, folder) => {
                Ok(ModelFiles::Folder(folder.clone()).read(name)?.map(|bytes| bytes.into_owned()))
            }
        }
    }

    pub(super) fn label(&self) -> String {
        match &self.place {
            Place::Model(files) => files.label(),
            Place::File(file, _) => file.display().to_string(),
        }
    }

    /// The fields of the configuration: of the file that the options name, else of the first of `names` that is there.
    fn config(&self, names: &[&str], options: &ConvertOptions) -> Result<Option<Map<String, Value>>> {
        let (label, bytes) = match &options.config {
            Some(path) => (path.display().to_string(), Some(fs::read(path).map_err(|e| Error::io(path, e))?)),
            None => {
                let mut found = (String::new(), None);
                for name in names {
                    if let Some(bytes) = self.read(name)? {
                        found = ((*name).to_owned(), Some(bytes));
                        break;
                    }
                }
                found
            }
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let json: &[u8] = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let map = serde_json::from_slice(json)
            .map_err(|source| Error::from(ErrorKind::Json { file: label, source }))?;
        Ok(Some(map))
    }

    /// The model.
    pub(super) fn open(&self, options: &ConvertOptions, notes: &mut Vec<String>) -> Result<Source> {
        match self.format {
            SourceFormat::HuggingFace => {
                let checkpoint = match &self.place {
                    Place::Model(files) => files.checkpoint()?,
                    Place::File(file, _) => weight_file(file)?,
                };
                let config = self.config(&["config.json"], options)?;
                let config = config.ok_or_else(|| self.no_config("config.json"))?;
                hugging_face(checkpoint, config, notes)
            }
            SourceFormat::TensorFlow => {
                let Place::File(index, _) = &self.place else {
                    return Err(self.no_config("bert_config.json"));
                };
                let config = self.config(&["bert_config.json", "config.json"], options)?;
                let config = config.ok_or_else(|| self.no_config("bert_config.json"))?;
                tensorflow::open(Checkpoint::open_tensorflow(index)?, config, notes)
            }
            SourceFormat::Onnx | SourceFormat::LiteRt => {
                let (bytes, folder) = self.graph_file()?;
                let config = self.config(&["config.json"], options)?;
                let flow = match self.format {
                    SourceFormat::Onnx => graph_file::onnx(&self.label(), bytes, Some(&folder))?,
                    _ => graph_file::tflite(&self.label(), bytes)?,
                };
                graph_file::open(flow, config, notes)
            }
        }
    }

    /// The bytes of a graph's file, mapped, and the folder that it stands in.
    fn graph_file(&self) -> Result<(Bytes, PathBuf)> {
        match &self.place {
            Place::File(file, folder) => Ok((Bytes::map(file)?, folder.clone())),
            Place::Model(files) => Err(self.no_config(&files.label())),
        }
    }

    fn no_config(&self, name: &str) -> Error {
        ErrorKind::MissingFile {
            folder: self.label().into(),
            expected: vec![name.to_owned()],
            hint: "place the model's configuration beside the weights, or pass --config FILE".to_owned(),
        }
        .into()
    }
}

/// Recognises what stands at `source` by its content.
pub(super) fn find(source: &str) -> Result<Found> {
    let path = Path::new(source);
    if path.is_file() {
        return file(path);
    }
    // A checkpoint's name as TensorFlow's programs take it, or one of its data files.
    let prefix = source.rsplit_once(".data-").map_or(source, |(prefix, _)| prefix);
    let index = PathBuf::from(format!("{prefix}.index"));
    if index.is_file() {
        return file(&index);
    }
    if path.is_dir() && !BUILT_IN.contains(&source) {
        return folder(path);
    }
    let place = Place::Model(ModelFiles::resolve(source)?);
    Ok(Found { format: SourceFormat::HuggingFace, place })
}

fn folder(path: &Path) -> Result<Found> {
    let hugging_face = ["model.safetensors", "pytorch_model.bin"]
        .iter()
        .any(|name| path.join(name).is_file() || path.join(format!("{name}.index.json")).is_file());
    if hugging_face {
        let place = Place::Model(ModelFiles::Folder(path.to_owned()));
        return Ok(Found { format: SourceFormat::HuggingFace, place });
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
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match recognise(path)? {
        Ok(format) => Ok(Found { format, place: Place::File(path.to_owned(), parent.to_owned()) }),
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

/// The format of a file by its first and last bytes, or what it is instead.
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

/// A zip archive, or a pickle (protocol 2 or later).
fn is_pytorch(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04") || matches!(head, [0x80, 2..=5, ..])
}

fn weight_file(path: &Path) -> Result<Checkpoint> {
    let label = path.display().to_string();
    let bytes = Bytes::map(path)?;
    let mut checkpoint = Checkpoint::default();
    if is_pytorch(&bytes) {
        checkpoint.add_pytorch(&label, bytes)?;
    } else {
        checkpoint.add_safetensors(&label, bytes)?;
    }
    Ok(checkpoint)
}

/// Weights with Hugging Face's names.
struct Named {
    weights: Weights,
    /// Name in the checkpoint of each extra parameter.
    extra: Vec<String>,
    parameters: usize,
}

impl WeightSource for Named {
    fn tensor(&self, parameter: ParameterId) -> Result<Tensor<'_>> {
        match parameter.0.checked_sub(self.parameters) {
            None => self.weights.tensor(parameter),
            Some(extra) => Ok(Tensor::F32(self.weights.checkpoint().f32(&self.extra[extra])?)),
        }
    }
}

fn hugging_face(
    checkpoint: Checkpoint,
    original: Map<String, Value>,
    notes: &mut Vec<String>,
) -> Result<Source> {
    let config = ModelConfig::from_json(&Value::Object(original.clone()).to_string())?;
    let graph = model::build(&config, config.head);
    let weights = Weights::bind(checkpoint, &config, &graph)?;
    let (mut extra, mut names, mut dropped): (Vec<Parameter>, _, _) = (Vec::new(), Vec::new(), Vec::new());
    for name in weights.extra() {
        let entry = weights.checkpoint().entry(name);
        let parameter = bare(&config, name);
        let tied = config.tie_word_embeddings && parameter.starts_with("cls.predictions.decoder.");
        let taken = extra.iter().any(|p| p.name == parameter);
        match entry {
            Some(entry) if weights.checkpoint().check_float(name).is_ok() && !tied && !taken => {
                let shape = entry.shape.clone();
                extra.push(Parameter { name: parameter, shape, quantizable: false });
                names.push(name.clone());
            }
            _ => dropped.push(name.as_str()),
        }
    }
    if !dropped.is_empty() {
        notes.push(format!("left out, because the model never reads them: {}", dropped.join(", ")));
    }
    let parameters = graph.parameters.len();
    let weights = Box::new(Named { weights, extra: names, parameters });
    Ok(Source { config, original, graph, weights, extra, approximate: false })
}

/// A checkpoint's name as the graph's parameters are called.
fn bare(config: &ModelConfig, name: &str) -> String {
    let name = name.strip_prefix(config.prefix()).and_then(|n| n.strip_prefix('.')).unwrap_or(name);
    name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
}

/// The tokenizer's files: those beside the weights, with the vocabulary that the options name.
pub(super) fn tokenizer_files(
    found: &Found,
    options: &ConvertOptions,
    notes: &mut Vec<String>,
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let [vocabulary_file, fast, settings, ..] = TOKENIZER_FILES;
    let mut files = Vec::new();
    for name in TOKENIZER_FILES {
        let bytes = match &options.vocab {
            Some(path) if name == vocabulary_file => Some(fs::read(path).map_err(|e| Error::io(path, e))?),
            // It would win over the vocabulary that was asked for.
            Some(_) if name == fast => None,
            _ => found.read(name)?,
        };
        files.extend(bytes.map(|bytes| (name, bytes)));
    }
    let vocabulary = files.iter().find(|(name, _)| *name == vocabulary_file).map(|(_, bytes)| bytes);
    let has = |wanted: &str| files.iter().any(|(name, _)| *name == wanted);
    if vocabulary.is_none() && !has(fast) {
        return Err(ErrorKind::MissingFile {
            folder: found.label().into(),
            expected: vec![vocabulary_file.to_owned(), fast.to_owned()],
            hint: "place the vocabulary that the model was trained with beside the weights, or pass --vocab FILE"
                .to_owned(),
        }
        .into());
    }
    let cased = vocabulary.is_some_and(|vocabulary| is_cased(vocabulary));
    if cased && !has(settings) && !has(fast) {
        notes.push(
            "the vocabulary has words in capitals, so texts keep their case (do_lower_case: false)".into(),
        );
        files.push((settings, b"{\n  \"do_lower_case\": false\n}\n".to_vec()));
    }
    Ok(files)
}

/// Whether a vocabulary has words in capitals. `[CLS]`, `[unused1]` and the like are no words.
fn is_cased(vocabulary: &[u8]) -> bool {
    /// A few might be oddities of an uncased vocabulary.
    const SOME: usize = 100;
    let lines = vocabulary.split(|&byte| byte == b'\n').filter(|line| !line.starts_with(b"["));
    let capitals = lines.clone().filter(|line| line.iter().any(u8::is_ascii_uppercase)).count();
    capitals > SOME || capitals * 4 > lines.count()
}

/// The suffix of int8 scales in the source, if it has int8 weights.
pub(super) fn is_int8(config: &ModelConfig) -> bool {
    matches!(config.quantization, Some(QuantizationConfig { .. }))
}
