//! The function that the options of all tasks have in common.

use super::{AnswerOptions, ClassifyOptions, EmbedOptions, FillOptions, TagOptions};

macro_rules! with {
    ($($options:ident),+) => {$(
        impl $options {
            /// Makes the default options with some changes. The struct may gain fields, so a program outside
            /// this crate cannot write it out. This function keeps options a single expression.
            pub fn with(change: impl FnOnce(&mut Self)) -> Self {
                let mut options = Self::default();
                change(&mut options);
                options
            }
        }
    )+};
}

with!(AnswerOptions, ClassifyOptions, TagOptions, FillOptions, EmbedOptions);
