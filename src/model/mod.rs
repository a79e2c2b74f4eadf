//! Turns tokens into hidden states: the architecture, written once as a [`Graph`].
//!
//! Each file builds the part of the network that its name says, with the names of the original
//! implementation. Nothing is computed here. A builder appends nodes, and backends run them.

mod attention;
mod bottleneck;
mod builder;
mod embeddings;
mod encoder;
mod ffn;
pub mod names;
pub mod synthetic;
mod weights;

pub use weights::Weights;

pub(crate) use builder::{Builder, Dense};

use crate::config::{Head, ModelConfig};
use crate::graph::Graph;
use crate::head;

/// Builds the graph of a configuration with the given head on top.
///
/// ```
/// use mobilebert::{Head, ModelConfig, model};
///
/// let config = ModelConfig::from_json(r#"{"model_type": "mobilebert"}"#)?;
/// let graph = model::build(&config, Head::QuestionAnswering);
/// assert_eq!(graph.nodes.last().map(|n| (n.name.as_str(), n.width)), Some(("qa_outputs", 2)));
/// # Ok::<(), mobilebert::Error>(())
/// ```
pub fn build(config: &ModelConfig, head: Head) -> Graph {
    let mut builder = Builder::new(config);
    let embedded = embeddings::build(&mut builder);
    let hidden = encoder::build(&mut builder, embedded);
    head::build(&mut builder, hidden, head);
    builder.finish()
}
