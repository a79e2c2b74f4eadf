//! The tasks of the BERT engine as functions over columns: Arrow arrays go in, an Arrow array comes out.
//! Nothing here knows an SQL engine.
//!
//! 1. A [`Function`] and the name of a model become a [`Call`], which holds the content hash of the model and
//!    knows its [`Call::data_type`]. A call is data: it can be written into a plan and read on another
//!    machine.
//! 2. An [`Evaluator`] runs a call on [`Argument`]s. It computes each distinct text once, remembers what it
//!    computed last, counts what it did ([`Counts`]) and stops when it is told to.
//! 3. [`Models`] opens models by name and refuses those with another hash than the call's.
//!
//! ```
//! use std::sync::Arc;
//! use arrow_array::{Array, ArrayRef, StringArray, StructArray};
//! use mobilebert_sql_core::{Argument, Call, Evaluator, Function, Models, Options};
//!
//! # fn main() -> Result<(), mobilebert_sql_core::Error> {
//! let models = Models::new();
//! let call = Call::plan(&models, Function::Classify, Some("sentiment"), Options::default())?;
//! let evaluator = Evaluator::new(models, call);
//! let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a joy to watch"), None]));
//! let labels = evaluator.evaluate(&[Argument::Column(texts)], 2)?;
//! let labels = labels.as_any().downcast_ref::<StructArray>().unwrap();
//! assert!(labels.is_valid(0) && labels.is_null(1));
//! # Ok(())
//! # }
//! ```

// The lints are here and not in Cargo.toml because tests, benches and examples may do all of this.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod array;
mod call;
mod counts;
mod error;
mod evaluate;
mod memo;
mod models;
mod texts;
mod value;

pub use call::{Call, Function, OnError, Options};
pub use counts::{Counters, Counts};
pub use error::{Error, Result};
pub use evaluate::{Evaluator, Stop};
pub use models::{ModelRef, Models};
pub use texts::{Argument, is_text};
