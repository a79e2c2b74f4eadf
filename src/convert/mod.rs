//! FOREIGN -> OURS: model folders in, int8 model folders out.

mod int8;

pub use int8::{Int8Report, to_int8};
