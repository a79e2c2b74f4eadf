//! One object for each task.

mod answer;
mod classify;
mod embed;
mod fill;
mod tag;

use mobilebert_bindings::Place;

use crate::failure::count;

/// The place of a piece of a text, in UTF-16 units.
#[derive(Debug, Clone, uniffi::Record)]
pub(crate) struct Piece {
    /// The first unit.
    pub start: i32,
    /// The unit behind the last.
    pub end: i32,
}

impl From<Place> for Piece {
    fn from(place: Place) -> Self {
        Self { start: count(place.utf16.start), end: count(place.utf16.end) }
    }
}

/// Writes the methods that the objects of all tasks have: opening, and the model below.
macro_rules! opening {
    ($object:ident, $options:ty, $open:ident) => {
        #[uniffi::export]
        impl $object {
            /// Opens a model for the task. The options are those of calls that bring none.
            #[uniffi::constructor]
            fn open(
                source: std::sync::Arc<crate::source::ModelSource>,
                loading: crate::options::Loading,
                options: Vec<crate::options::NamedOption>,
            ) -> crate::failure::Result<Self> {
                let options = crate::options::map(options)?;
                Ok(Self { pipeline: loading.opening()?.$open(source.get(), &options)? })
            }

            /// Does the task with a model that is loaded.
            #[uniffi::constructor]
            fn of_model(
                model: std::sync::Arc<crate::model::Model>,
                options: Vec<crate::options::NamedOption>,
            ) -> crate::failure::Result<Self> {
                let options = crate::options::map(options)?;
                let options = mobilebert_bindings::options::changed(&<$options>::default(), &options)?;
                let pipeline = mobilebert_bindings::$object::from_parts(model.model.clone(), options);
                Ok(Self { pipeline: pipeline.map_err(mobilebert_bindings::Failure::from)? })
            }

            /// Describes the model below.
            fn facts(&self) -> crate::model::ModelFacts {
                crate::model::facts(self.pipeline.model())
            }
        }
    };
}
pub(crate) use opening;
