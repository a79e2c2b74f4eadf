//! The settings of a session that begin with `mobilebert.`.

use datafusion::common::config::{ConfigExtension, ConfigOptions};
use datafusion::common::extensions_options;
use datafusion::error::{DataFusionError, Result};
use mobilebert_sql_core::Options;

extensions_options! {
    /// `set mobilebert.… = …`.
    pub struct ModelOptions {
        /// What happens to a row whose text the model cannot read, such as an empty one: `null` or `fail`.
        pub on_error: String, default = "null".to_owned()

        /// True if `answer` may be NULL because the context does not say.
        pub allow_no_answer: bool, default = false
    }
}

impl ConfigExtension for ModelOptions {
    const PREFIX: &'static str = "mobilebert";
}

/// Returns the options of calls that are planned with this configuration.
pub(crate) fn of(config: &ConfigOptions) -> Result<Options> {
    let mut options = Options::default();
    if let Some(set) = config.extensions.get::<ModelOptions>() {
        options.on_error =
            set.on_error.parse().map_err(|error| DataFusionError::External(Box::new(error)))?;
        options.allow_no_answer = set.allow_no_answer;
    }
    Ok(options)
}
