//! A model without its head, over the same weights.

use super::Engine;
use crate::config::Head;
use crate::error::{Error, Result};
use crate::model;

impl Engine {
    /// The same model without its head: its [`Engine::forward`] returns the hidden state of each token,
    /// `hidden_size` numbers. It shares the weights and the threads of this engine. The results have the same
    /// bits as those of a model that is opened with [`Head::None`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::Option`] if the backend cannot share its weights. The native backend can.
    pub fn encoder(&self) -> Result<Self> {
        let graph = model::build(&self.config, Head::None);
        let backend = self.place.run(|| self.backend.prefix(&graph)).ok_or_else(|| {
            let expected = "one that runs a part of its graph over the same weights (`Backend::prefix`)";
            Error::option("backend", expected, format!("`{}`", self.backend.name()))
        })?;
        Ok(Self { config: self.config.clone(), backend, place: self.place.clone() })
    }
}
