//! Readers of foreign files: checkpoints of TensorFlow, and graphs of ONNX and LiteRT. The formats that a
//! model folder may hold are read by `mobilebert::format`.

mod crc32c;
mod flatbuffer;
pub(crate) mod onnx;
mod protobuf;
mod sstable;
mod tensorbundle;
pub(crate) mod tflite;

pub(crate) use tensorbundle::is_index as is_tensorflow_index;
pub use tensorbundle::{open_tensorflow, read_tensorflow};
