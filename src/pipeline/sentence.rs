//! The settings for a model's embeddings in the files of sentence-transformers.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::embedder::Pooling;
use crate::error::{ErrorKind, Result};
use crate::files::json;
use crate::text::Encoding;

const MODULES: &str = "modules.json";
const LENGTH_AND_CASE: &str = "sentence_bert_config.json";
const PROMPTS: &str = "config_sentence_transformers.json";
const CONFIG: &str = "config.json";

/// The way in which a folder of sentence-transformers makes a vector from a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SentenceSettings {
    /// The pooled vectors that are put end to end. There is at least one.
    pub(super) poolings: Vec<Pooling>,
    pub(super) normalize: bool,
    pub(super) max_seq_len: Option<usize>,
    /// True if texts are lower-cased before the tokenizer sees them.
    pub(super) lower_case: bool,
    /// The prompt that every text begins with.
    pub(super) prompt: String,
}

/// An entry of `modules.json`.
#[derive(Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    class: String,
}

impl Module {
    /// Returns the last part of the class's path. The path differs between versions.
    fn kind(&self) -> &str {
        self.class.rsplit('.').next().unwrap_or_default()
    }

    fn config(&self) -> Result<String> {
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
        if self.path.is_empty() || self.path.starts_with('.') || !self.path.chars().all(is_plain) {
            let expected = format!("the name of a folder for {}", self.class);
            return Err(refused(MODULES, &expected, format!("`{}`", self.path)));
        }
        Ok(format!("{}/{CONFIG}", self.path))
    }
}

/// The content of `1_Pooling/config.json`. Old versions have a flag for each mode, new ones have one or
/// several names.
#[derive(Deserialize)]
struct PoolingConfig {
    pooling_mode: Option<Names>,
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_max_tokens: bool,
    pooling_mode_mean_tokens: Option<bool>,
    #[serde(default)]
    pooling_mode_mean_sqrt_len_tokens: bool,
    #[serde(default)]
    pooling_mode_weightedmean_tokens: bool,
    #[serde(default)]
    pooling_mode_lasttoken: bool,
    include_prompt: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Several(Vec<String>),
}

impl PoolingConfig {
    /// Returns the modes in the order in which sentence-transformers puts their vectors end to end.
    fn poolings(&self, file: &str) -> Result<Vec<Pooling>> {
        let mut flags = [
            (self.pooling_mode_cls_token, Pooling::Cls),
            (self.pooling_mode_max_tokens, Pooling::Max),
            (self.pooling_mode_mean_tokens.unwrap_or(true), Pooling::Mean),
            (self.pooling_mode_mean_sqrt_len_tokens, Pooling::MeanSqrtLen),
            (self.pooling_mode_weightedmean_tokens, Pooling::WeightedMean),
            (self.pooling_mode_lasttoken, Pooling::LastToken),
        ];
        if let Some(names) = &self.pooling_mode {
            let names = match names {
                Names::One(name) => std::slice::from_ref(name),
                Names::Several(names) => names,
            };
            flags.iter_mut().for_each(|(flag, _)| *flag = false);
            for name in names {
                let mode = name.parse::<Pooling>().ok();
                match flags.iter_mut().find(|(_, pooling)| Some(*pooling) == mode) {
                    Some((flag, _)) => *flag = true,
                    None => return Err(refused(file, "a known `pooling_mode`", format!("`{name}`"))),
                }
            }
        }
        let chosen: Vec<Pooling> = flags.iter().filter(|(flag, _)| *flag).map(|(_, p)| *p).collect();
        match chosen.is_empty() {
            true => Err(refused(file, "one mode of pooling at least", "none".to_owned())),
            false => Ok(chosen),
        }
    }
}

#[derive(Deserialize, Default)]
struct LengthAndCase {
    max_seq_length: Option<usize>,
    do_lower_case: Option<bool>,
}

#[derive(Deserialize, Default)]
struct Prompts {
    #[serde(default)]
    prompts: std::collections::BTreeMap<String, String>,
    default_prompt_name: Option<String>,
}

/// A function that reads a file of a model folder.
type Read<'r> = &'r dyn Fn(&str) -> Result<Option<Vec<u8>>>;

impl SentenceSettings {
    /// Reads the settings of a folder that has a `modules.json`.
    ///
    /// # Errors
    /// [`ErrorKind::Json`], and [`ErrorKind::Format`] for a module or setting that is not supported.
    pub(super) fn read(read: Read<'_>) -> Result<Option<Self>> {
        let Some(modules) = parsed::<Vec<Module>>(read, MODULES)? else { return Ok(None) };
        let LengthAndCase { max_seq_length, do_lower_case } =
            parsed(read, LENGTH_AND_CASE)?.unwrap_or_default();
        // One token beside the special ones is the least that a sequence can have.
        if let Some(length) = max_seq_length.filter(|&length| length <= Encoding::SPECIAL_SINGLE) {
            let expected = format!("`max_seq_length` of at least {}", Encoding::SPECIAL_SINGLE + 1);
            return Err(refused(LENGTH_AND_CASE, &expected, length.to_string()));
        }
        let mut settings = Self {
            poolings: Vec::new(),
            normalize: false,
            max_seq_len: max_seq_length,
            lower_case: do_lower_case.unwrap_or(false),
            prompt: String::new(),
        };
        let Prompts { prompts, default_prompt_name } = parsed(read, PROMPTS)?.unwrap_or_default();
        if let Some(name) = default_prompt_name {
            let prompt = prompts.get(&name).cloned();
            let unknown = || refused(PROMPTS, "a `default_prompt_name` among `prompts`", format!("`{name}`"));
            settings.prompt = prompt.ok_or_else(unknown)?;
        }
        let expected = "the modules Transformer, Pooling and perhaps Normalize, in this order";
        for (i, module) in modules.iter().enumerate() {
            match module.kind() {
                "Transformer" if i == 0 && module.path.is_empty() => {}
                "Transformer" if i == 0 => {
                    let expected =
                        "a Transformer in the folder itself; open the folder that it names instead";
                    return Err(refused(MODULES, expected, format!("`{}`", module.path)));
                }
                "Pooling" if i == 1 => {
                    let file = module.config()?;
                    let Some(config) = parsed::<PoolingConfig>(read, &file)? else {
                        return Err(refused(MODULES, &format!("{file} beside it"), "none".to_owned()));
                    };
                    settings.poolings = config.poolings(&file)?;
                    if config.include_prompt == Some(false) && !settings.prompt.is_empty() {
                        let expected = "`include_prompt` true for a model with a default prompt";
                        return Err(refused(&file, expected, "false".to_owned()));
                    }
                }
                "Normalize" if i > 1 => settings.normalize = true,
                _ => return Err(refused(MODULES, expected, format!("`{}`", module.class))),
            }
        }
        match settings.poolings.is_empty() {
            true => Err(refused(MODULES, expected, format!("{} modules", modules.len()))),
            false => Ok(Some(settings)),
        }
    }
}

/// Reads the files that say how a model of sentence-transformers makes vectors, with their names in its
/// folder. A copy of the model in another format needs them too. A folder that is not one of
/// sentence-transformers has no such file.
///
/// `read` gives the content of a file by its name, as [`crate::ModelFiles::read`] does.
///
/// # Errors
/// The errors of `read`, and [`ErrorKind::Json`] and [`ErrorKind::Format`] for modules that this library does
/// not run.
pub fn sentence_files(read: &dyn Fn(&str) -> Result<Option<Vec<u8>>>) -> Result<Vec<(String, Vec<u8>)>> {
    if SentenceSettings::read(read)?.is_none() {
        return Ok(Vec::new());
    }
    let mut names = vec![MODULES.to_owned(), LENGTH_AND_CASE.to_owned(), PROMPTS.to_owned()];
    for module in parsed::<Vec<Module>>(read, MODULES)?.unwrap_or_default() {
        if module.kind() == "Pooling" {
            names.push(module.config()?);
        }
    }
    let mut files = Vec::new();
    for name in names {
        files.extend(read(&name)?.map(|bytes| (name, bytes)));
    }
    Ok(files)
}

fn parsed<T: DeserializeOwned>(read: Read<'_>, name: &str) -> Result<Option<T>> {
    let Some(bytes) = read(name)? else { return Ok(None) };
    json::parse(name, &bytes).map(Some)
}

fn refused(file: &str, expected: &str, found: String) -> crate::Error {
    ErrorKind::Format { file: file.into(), offset: 0, expected: expected.into(), found }.into()
}
