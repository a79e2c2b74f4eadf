//! Makes weights from a formula, so that full-size models need no file. `eval/reference/synthetic.py` is the
//! same formula in Python, so goldens of the original implementation need no weights either.
//!
//! Element `i` (row-major) of the tensor `name` is `base + amplitude * u`, in f32, where `u` in [-1, 1) comes
//! from the 24 high bits of SplitMix64 started at the FNV-1a hash of the name. Amplitudes keep the
//! activations of 24 layers in range: `gain * sqrt(3 / fan_in)` with gain 2 for query and key (attention that
//! is not flat) and 0.5 for other linears.

use std::borrow::Cow;

use crate::config::ModelConfig;
use crate::error::{ErrorKind, Result};
use crate::format::{Tensor, WeightSource};
use crate::graph::{Graph, Parameter, ParameterId};

/// The row of the word embeddings that stays zero, as PyTorch's `padding_idx` leaves it.
const PAD_TOKEN_ID: usize = 0;

/// Returns the configuration of the published model that `synthetic:NAME` stands for, with a
/// question-answering head and in full size. No file is read.
///
/// # Errors
/// [`ErrorKind::UnknownModel`] for another name.
pub fn config(name: &str) -> Result<ModelConfig> {
    let json = match name {
        "mobilebert" => {
            r#"{"model_type": "mobilebert", "architectures": ["MobileBertForQuestionAnswering"]}"#
        }
        "bert-base" => r#"{"model_type": "bert", "architectures": ["BertForQuestionAnswering"]}"#,
        _ => {
            return Err(ErrorKind::UnknownModel {
                source_name: format!("synthetic:{name}"),
                reason: "there is no synthetic model of that name".to_owned(),
                hint: "use synthetic:mobilebert or synthetic:bert-base".to_owned(),
            }
            .into());
        }
    };
    ModelConfig::from_json(json)
}

/// The formula's weights for a graph.
///
/// ```
/// use mobilebert::format::WeightSource;
/// use mobilebert::graph::ParameterId;
/// use mobilebert::model::{self, synthetic::Synthetic};
/// use mobilebert::{Head, ModelConfig};
///
/// let config = ModelConfig::from_json(r#"{"model_type": "mobilebert", "num_hidden_layers": 2}"#)?;
/// let graph = model::build(&config, Head::QuestionAnswering);
/// let weights = Synthetic::new(&graph);
/// let words = weights.tensor(ParameterId(0))?.into_f32();
/// assert_eq!(words.len(), 30522 * 128);
/// assert!(words[..128].iter().all(|&w| w == 0.0)); // [PAD]
/// # Ok::<(), mobilebert::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Synthetic {
    parameters: Vec<Parameter>,
    zero_pad_row: bool,
}

impl Synthetic {
    /// Returns weights for every parameter of `graph`.
    pub fn new(graph: &Graph) -> Self {
        Self { parameters: graph.parameters.clone(), zero_pad_row: true }
    }

    /// Keeps the values of the formula in the embedding of `[PAD]` too.
    #[must_use]
    pub fn nonzero_pad_row(mut self) -> Self {
        self.zero_pad_row = false;
        self
    }
}

impl WeightSource for Synthetic {
    fn tensor(&self, parameter: ParameterId) -> Result<Tensor<'_>> {
        let Parameter { name, shape, .. } = &self.parameters[parameter.0];
        let mut values = values(name, shape);
        if self.zero_pad_row && name == "embeddings.word_embeddings.weight" {
            values[PAD_TOKEN_ID * shape[1]..][..shape[1]].fill(0.0);
        }
        Ok(Tensor::F32(Cow::Owned(values)))
    }
}

/// Computes the formula, without the zero row of `[PAD]`.
pub fn values(name: &str, shape: &[usize]) -> Vec<f32> {
    let (base, amplitude) = range(name, shape);
    let seed = fnv1a(name.as_bytes());
    (1..=shape.iter().product::<usize>() as u64).map(|i| base + amplitude * uniform(seed, i)).collect()
}

fn range(name: &str, shape: &[usize]) -> (f32, f32) {
    if name.ends_with("_embeddings.weight") {
        (0.0, 0.5)
    } else if let [_, fan_in] = shape {
        let scores = name.ends_with(".self.query.weight") || name.ends_with(".self.key.weight");
        let gain = if scores { 2.0 } else { 0.5 };
        (0.0, (gain * (3.0 / *fan_in as f64).sqrt()) as f32)
    } else if name.ends_with("LayerNorm.weight") {
        (1.0, 0.1)
    } else {
        (0.0, 0.02)
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// Returns the `i`-th output of SplitMix64 as a multiple of 2^-23 in [-1, 1).
fn uniform(seed: u64, i: u64) -> f32 {
    let mut z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 40) as f32 / (1u32 << 23) as f32 - 1.0
}
