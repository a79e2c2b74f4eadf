//! Two models side by side: [`node_by_node`] on the same tokens, [`item_by_item`] on the same examples.

mod items;
mod mixed;
mod nodes;

pub use items::{Answered, Difference, ItemComparison, McNemar, Measured, item_by_item};
pub(crate) use mixed::Pair;
pub use mixed::{MixedWeights, first_to_flip};
pub use nodes::{Comparison, LayerDeviation, NodeDeviation, node_by_node};
