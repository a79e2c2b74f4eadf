//! The models that are served: each with the pipelines of its tasks, over one copy of its weights.

mod check;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mobilebert::{
    AnswerOptions, ClassifyOptions, EmbedOptions, Embedder, EngineOptions, Error, ErrorKind, FillMask,
    FillOptions, Head, Model, ModelConfig, ModelFiles, ModelOptions, QuestionAnswering, TagOptions,
    TextClassification, TokenClassification, Tokenizer,
};

use crate::config::{Config, ModelSetting};
use crate::schedule::{Lane, cost};
use crate::work::{Runs, Unit};

/// What a model was trained to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    Answer,
    Classify,
    Tag,
    FillMask,
    Embed,
}

impl Task {
    /// Returns the name in routes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Classify => "classify",
            Self::Tag => "tag",
            Self::FillMask => "fill-mask",
            Self::Embed => "embed",
        }
    }
}

/// The pipeline of the task that a model was trained for, if it has a head.
#[derive(Debug)]
enum Pipeline {
    Answer(QuestionAnswering),
    Classify(TextClassification),
    Tag(TokenClassification),
    FillMask(FillMask),
    /// The model has no head, or one for which there is no task here.
    None,
}

/// A model that is loaded.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) name: String,
    /// SHA-256 of the weight files.
    pub(crate) sha: String,
    /// The hash of what the model computes for a fixed sequence.
    pub(crate) self_check: String,
    pub(crate) task: Task,
    pipeline: Pipeline,
    embedder: Embedder,
    /// The longest sequence of which a vector is made.
    pub(crate) max_embed_len: usize,
    model: Model,
    /// The engine with the model's own head, and without.
    pub(crate) lane: Arc<Lane>,
    pub(crate) encoder: Arc<Lane>,
    /// How long it took to load and to run the first pass.
    pub(crate) ready_after: Duration,
    /// What the tokenizer's files may not mean.
    pub(crate) warnings: Vec<String>,
}

macro_rules! pipelines {
    ($($method:ident, $variant:ident, $type:ty, $task:literal;)+) => {$(
        /// Returns the pipeline of this task.
        ///
        /// # Errors
        /// [`ErrorKind::WrongTask`] if the model has another head.
        pub(crate) fn $method(&self) -> Result<&$type, Error> {
            match &self.pipeline {
                Pipeline::$variant(pipeline) => Ok(pipeline),
                _ => Err(self.wrong_task($task)),
            }
        }
    )+};
}

impl Served {
    pipelines! {
        answerer, Answer, QuestionAnswering, "question answering";
        classifier, Classify, TextClassification, "text classification";
        tagger, Tag, TokenClassification, "token classification";
        filler, FillMask, FillMask, "fill-mask";
    }

    /// Returns the pipeline that makes vectors, which every model has.
    pub(crate) fn embedder(&self) -> &Embedder {
        &self.embedder
    }

    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        self.model.tokenizer()
    }

    pub(crate) fn config(&self) -> &ModelConfig {
        self.model.config()
    }

    /// Returns the longest sequence, in tokens.
    pub(crate) fn max_len(&self) -> usize {
        self.model.max_len()
    }

    /// Returns the longest sequence of the task that the model was trained for. Models for embeddings may read
    /// less than their tables would allow.
    pub(crate) fn max_task_len(&self) -> usize {
        if self.task == Task::Embed { self.max_embed_len } else { self.max_len() }
    }

    /// Returns the width of a row that the model's own head gives.
    pub(crate) fn row_width(&self) -> usize {
        let config = self.config();
        match self.model.head() {
            Head::QuestionAnswering => 2,
            Head::SequenceClassification | Head::TokenClassification => config.labels.len(),
            Head::MaskedLm => config.vocab_size,
            Head::MultipleChoice => 1,
            _ => config.hidden_size,
        }
    }

    /// Returns true if the head gives one row for a whole sequence.
    pub(crate) fn is_one_row(&self) -> bool {
        matches!(self.model.head(), Head::SequenceClassification | Head::MultipleChoice)
    }

    /// Returns the memory that is kept for the next passes.
    pub(crate) fn arena_bytes(&self) -> usize {
        let own = self.lane.engine().kept_bytes();
        if Arc::ptr_eq(&self.lane, &self.encoder) { own } else { own + self.encoder.engine().kept_bytes() }
    }

    /// Returns the name of the number type that the model computes in.
    pub(crate) fn precision(&self) -> &'static str {
        match self.config().stored_precision() {
            mobilebert::Precision::Int8 => "int8",
            mobilebert::Precision::Bf16 => "bf16",
            _ => "f32",
        }
    }

    fn wrong_task(&self, task: &'static str) -> Error {
        let head = match task {
            "question answering" => Head::QuestionAnswering,
            "text classification" => Head::SequenceClassification,
            "token classification" => Head::TokenClassification,
            _ => Head::MaskedLm,
        };
        match mobilebert::pipeline::check_head(self.config(), head, task) {
            Err(error) => error,
            // A model without a head goes with every task in `check_head`, but has no rows for this one.
            Ok(()) => Error::option("model", format!("one for {task}"), format!("`{}`", self.name)),
        }
    }
}

/// All models, in the order of the settings.
#[derive(Debug, Default)]
pub(crate) struct Models {
    all: Vec<Arc<Served>>,
}

impl Models {
    /// Loads all models of the settings, and runs a first pass on each.
    ///
    /// # Errors
    /// Those of loading, with the model's name.
    pub(crate) fn load(config: &Config) -> Result<Self, Error> {
        let all = config.models.iter().map(|setting| Self::load_one(setting, config).map(Arc::new));
        Ok(Self { all: all.collect::<Result<_, _>>()? })
    }

    /// Loads one model and runs a first pass on it.
    ///
    /// # Errors
    /// Those of loading, with the model's name.
    pub(crate) fn load_one(setting: &ModelSetting, config: &Config) -> Result<Served, Error> {
        mobilebert::Context::context(load(setting, config), || format!("model `{}`", setting.name))
    }

    /// Returns these models and another one, in the order of the settings. It takes the place of the one that
    /// has its name.
    pub(crate) fn with(&self, model: Served, config: &Config) -> Self {
        let mut all = self.without(&model.name).all;
        all.push(Arc::new(model));
        all.sort_by_key(|model| config.models.iter().position(|setting| setting.name == model.name));
        Self { all }
    }

    /// Returns what is wrong if a model has the weights and the configuration that another one of its name
    /// had, and computes other numbers.
    pub(crate) fn contradiction(&self, before: &Self) -> Option<String> {
        let differs = |model: &&Arc<Served>| {
            let is_same = |old: &&Arc<Served>| old.sha == model.sha && old.config() == model.config();
            let same = before.get(&model.name).filter(is_same);
            same.is_some_and(|old| old.self_check != model.self_check)
        };
        let model = self.all.iter().find(differs)?;
        Some(format!("model `{}`: the same weights compute other numbers than before", model.name))
    }

    /// Returns these models but one.
    pub(crate) fn without(&self, name: &str) -> Self {
        Self { all: self.all.iter().filter(|model| model.name != name).cloned().collect() }
    }

    pub(crate) fn all(&self) -> &[Arc<Served>] {
        &self.all
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Served>> {
        self.all.iter().find(|model| model.name == name)
    }

    /// Returns the model that requests mean which name none: the first one of the task, or else the first of
    /// all that can do it.
    pub(crate) fn default_for(&self, task: Task) -> Option<&Arc<Served>> {
        let own = self.all.iter().find(|model| model.task == task);
        own.or_else(|| self.all.first().filter(|_| task == Task::Embed))
    }
}

fn load(setting: &ModelSetting, config: &Config) -> Result<Served, Error> {
    let start = Instant::now();
    let files = ModelFiles::resolve(setting.source.as_str())?;
    let sha = files.weights_sha256()?;
    let model = Model::open(&files, ModelOptions::new().engine(EngineOptions::new().on_caller()))?;
    let folder = match &files {
        ModelFiles::Folder(folder) => Some(folder.clone()),
        _ => None,
    };
    drop(files);
    let (task, pipeline) = match model.head() {
        Head::QuestionAnswering => (
            Task::Answer,
            Pipeline::Answer(QuestionAnswering::from_parts(model.clone(), AnswerOptions::default())?),
        ),
        Head::SequenceClassification => (
            Task::Classify,
            Pipeline::Classify(TextClassification::from_parts(model.clone(), ClassifyOptions::default())?),
        ),
        Head::TokenClassification => {
            (Task::Tag, Pipeline::Tag(TokenClassification::from_parts(model.clone(), TagOptions::default())?))
        }
        Head::MaskedLm => {
            (Task::FillMask, Pipeline::FillMask(FillMask::from_parts(model.clone(), FillOptions::default())?))
        }
        _ => (Task::Embed, Pipeline::None),
    };
    let embedder = Embedder::from_parts(model.clone(), EmbedOptions::default())?;
    // The folder may set a limit below the model's own; a text that is too long for both shows which holds.
    let long = embedder.prepare_embed(&"a ".repeat(model.max_len()), embedder.options())?;
    let max_embed_len = mobilebert::Job::sequence(&long, 0).map_or(0, |sequence| sequence.encoding().len());
    let warnings = model.tokenizer().warnings().to_vec();
    let pace = warm_up(&**model.engine(), model.config(), config.budget_tokens, model.max_len())?;
    let self_check = model.engine().self_check()?;
    if let Some(folder) = folder {
        check::compare(&folder, &self_check)?;
    }
    let lane = Lane::new(Arc::clone(model.engine()) as Arc<dyn Runs>, pace);
    let encoder = match model.head() {
        // A model without a head is its own encoder, and so texts of both share passes.
        Head::None => Arc::clone(&lane),
        _ => Lane::new(Arc::clone(embedder.model().engine()) as Arc<dyn Runs>, pace),
    };
    let ready_after = start.elapsed();
    Ok(Served {
        name: setting.name.clone(),
        sha,
        self_check,
        task,
        pipeline,
        embedder,
        max_embed_len,
        model,
        lane,
        encoder,
        ready_after,
        warnings,
    })
}

/// Runs a pass of the size of the budget, so that the memory for it is there, and returns the seconds for a
/// token equivalent.
fn warm_up(engine: &dyn Runs, config: &ModelConfig, budget: usize, longest: usize) -> Result<f64, Error> {
    let length = longest.min(budget).clamp(1, 128.min(config.max_position_embeddings.max(1)));
    // More sequences would tell no more about the cost of one, and would only make the start longer.
    let count = (budget / length).clamp(1, 64);
    let unit = Unit { ids: vec![0; length], types: vec![0; length], requested: vec![0] };
    let units = vec![unit; count];
    let start = Instant::now();
    let rows = engine.run(&units)?;
    if let Some((row, &value)) = rows.of(0).iter().enumerate().find(|(_, value)| !value.is_finite()) {
        return Err(ErrorKind::NotFinite { row, value }.into());
    }
    Ok(start.elapsed().as_secs_f64() / (cost(length) * count as f64))
}
