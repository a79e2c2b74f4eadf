//! Vectors for texts.

use std::borrow::Cow;

use serde::Serialize;

use super::runner::Runner;
use crate::config::Head;
use crate::engine::{Engine, EngineOptions};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::text::{Encoding, Tokenizer, WindowOptions};

/// How the hidden states of a text's tokens become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Pooling {
    /// Their mean, special tokens included (as sentence-transformers does).
    #[default]
    Mean,
    /// The first token's.
    Cls,
}

impl std::str::FromStr for Pooling {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "mean" => Ok(Self::Mean),
            "cls" => Ok(Self::Cls),
            other => Err(Error::option("pooling", "`mean` or `cls`", format!("`{other}`"))),
        }
    }
}

/// How vectors are made.
#[derive(Debug, Clone)]
#[must_use]
pub struct EmbedderOptions {
    engine: EngineOptions,
    pooling: Pooling,
    normalize: bool,
    max_seq_len: Option<usize>,
}

impl Default for EmbedderOptions {
    fn default() -> Self {
        Self { engine: EngineOptions::new(), pooling: Pooling::Mean, normalize: true, max_seq_len: None }
    }
}

impl EmbedderOptions {
    /// Mean pooling, vectors of length 1.
    pub fn new() -> Self {
        Self::default()
    }

    /// How the model is run.
    pub fn engine(mut self, engine: EngineOptions) -> Self {
        self.engine = engine;
        self
    }

    /// How hidden states become one vector.
    pub fn pooling(mut self, pooling: Pooling) -> Self {
        self.pooling = pooling;
        self
    }

    /// Whether vectors have length 1, so that their dot product is the cosine.
    pub fn normalize(mut self, normalize: bool) -> Self {
        self.normalize = normalize;
        self
    }

    /// Longest sequence in tokens. Default: the model's limit.
    pub fn max_seq_len(mut self, tokens: usize) -> Self {
        self.max_seq_len = Some(tokens);
        self
    }

    /// Opens a model; see [`crate::ModelFiles::resolve`] for `source`. Any model will do; its head is not used.
    ///
    /// # Errors
    /// Those of [`Engine::open`], and [`ErrorKind::Option`].
    pub fn open(self, source: &str) -> Result<Embedder> {
        let runner = Runner::open(source, Head::None, "embedding", |t| t, self.engine.clone())?;
        let max_seq_len = runner.max_seq_len(self.max_seq_len, usize::MAX)?;
        WindowOptions::new(max_seq_len).room(Encoding::SPECIAL_SINGLE)?;
        Ok(Embedder { runner, max_seq_len, options: self })
    }
}

/// A text's vector.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Embedding {
    /// `hidden_size` numbers.
    pub embedding: Vec<f32>,
    /// Whether the end of the text was not read, because it did not fit the model.
    pub truncated: bool,
}

impl Embedding {
    /// Cosine of the angle to another vector: 1 for the same direction, 0 if either is zero.
    pub fn cosine(&self, other: &Embedding) -> f32 {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        let lengths =
            (dot(&self.embedding, &self.embedding) * dot(&other.embedding, &other.embedding)).sqrt();
        if lengths > 0.0 { dot(&self.embedding, &other.embedding) / lengths } else { 0.0 }
    }
}

/// Embeds texts.
#[derive(Debug)]
pub struct Embedder {
    runner: Runner,
    max_seq_len: usize,
    options: EmbedderOptions,
}

impl Embedder {
    /// Opens a model with default options.
    ///
    /// # Errors
    /// As [`EmbedderOptions::open`].
    pub fn open(source: &str) -> Result<Self> {
        EmbedderOptions::new().open(source)
    }

    /// The engine below.
    pub fn engine(&self) -> &Engine {
        &self.runner.engine
    }

    /// The tokenizer below.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.runner.tokenizer
    }

    /// The vector of a text.
    ///
    /// # Errors
    /// [`ErrorKind::EmptyText`] for a text without words.
    pub fn embed(&self, text: &str) -> Result<Embedding> {
        let mut embeddings = self.embed_batch(&[text])?;
        embeddings.pop().ok_or_else(|| ErrorKind::EmptyText { what: "text" }.into())
    }

    /// The vector of each text, computed in batches. No result depends on the others.
    ///
    /// # Errors
    /// As [`Embedder::embed`], for the first text that fails.
    pub fn embed_batch<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<Embedding>> {
        let encode = |(i, text): (usize, &T)| {
            let tokens = self.runner.tokenize(text.as_ref(), "text");
            tokens
                .and_then(|t| t.encode_truncated(None, self.max_seq_len))
                .context(|| format!("text {}", i + 1))
        };
        let encoded = texts.iter().enumerate().map(encode).collect::<Result<Vec<_>>>()?;
        let mut embeddings = Vec::with_capacity(texts.len());
        let encodings = encoded.iter().map(|(encoding, _)| Cow::Borrowed(encoding));
        self.runner.run(encodings, |_, rows, width| embeddings.push(self.pool(rows, width)))?;
        let embedding = |(embedding, (_, truncated))| Embedding { embedding, truncated };
        Ok(embeddings.into_iter().zip(encoded).map(embedding).collect())
    }

    fn pool(&self, rows: &[f32], width: usize) -> Vec<f32> {
        let mut vector = rows[..width].to_vec();
        if self.options.pooling == Pooling::Mean {
            for row in rows.chunks_exact(width).skip(1) {
                vector.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
            let tokens = (rows.len() / width) as f32;
            vector.iter_mut().for_each(|sum| *sum /= tokens);
        }
        if self.options.normalize {
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            // Below this a direction is rounding noise; sentence-transformers uses the same floor.
            vector.iter_mut().for_each(|x| *x /= length.max(1e-12));
        }
        vector
    }
}
