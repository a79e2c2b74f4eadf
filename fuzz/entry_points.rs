//! The function that each fuzz target calls with arbitrary bytes. `crates/tools/tests/fuzz_corpus.rs` runs
//! the same functions on the corpus.

use mobilebert::format::{Bytes, Checkpoint, Tensor, WeightSource as _};
use mobilebert::graph::ParameterId;
use mobilebert::model::Weights;
use mobilebert::{ModelConfig, Tokenizer, TokenizerFiles, model};
use mobilebert_tools::{convert, foreign};

/// Reads `config.json`, and builds the graph that it describes.
pub(crate) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(config) = ModelConfig::from_json(text) {
        let graph = model::build(&config, config.head);
        assert!(graph.parameters.iter().all(|p| !p.name.is_empty() && !p.shape.contains(&0)));
    }
}

/// Reads a safetensors file. If it is accepted, the format's own crate has to accept it too, with the same
/// tensors.
pub(crate) fn safetensors(data: &[u8]) {
    let mut checkpoint = Checkpoint::default();
    if checkpoint.add_safetensors("fuzz", Bytes::Owned(data.to_vec())).is_err() {
        return;
    }
    let reference = safetensors::SafeTensors::deserialize(data).expect("a file that this crate accepted");
    assert_eq!(checkpoint.entries().count(), reference.len());
    for (name, entry) in checkpoint.entries() {
        let expected = reference.tensor(name).expect("a tensor that this crate found");
        assert_eq!(entry.shape, expected.shape());
        assert_eq!(checkpoint.bytes(name), Some(expected.data()));
        let _ = checkpoint.f32(name);
        let _ = checkpoint.i8(name);
    }
}

/// Reads a `torch.save` file in either of its forms.
pub(crate) fn pickle(data: &[u8]) {
    let mut checkpoint = Checkpoint::default();
    if checkpoint.add_pytorch("fuzz", Bytes::Owned(data.to_vec())).is_err() {
        return;
    }
    for (name, entry) in checkpoint.entries() {
        assert!(entry.byte_len() <= data.len());
        let _ = checkpoint.f32(name);
    }
}

/// Reads a TensorFlow checkpoint. The input is the length of the index file in four bytes, that file, and the
/// data file.
pub(crate) fn tensorbundle(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<4>() else { return };
    let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
    let (index, variables) = rest.split_at(length);
    let Ok(checkpoint) = foreign::read_tensorflow("fuzz", index, variables) else { return };
    for (name, entry) in checkpoint.entries() {
        assert!(entry.byte_len() <= variables.len());
        let _ = checkpoint.f32(name);
    }
}

/// Reads an ONNX model, from its bytes to the hash of its weights.
pub(crate) fn onnx(data: &[u8]) {
    if data.get(4..8) != Some(b"TFL3") {
        let _ = convert::graph_content_hash("fuzz", data.to_vec());
    }
}

/// Reads a LiteRT model, from its bytes to the hash of its weights.
pub(crate) fn tflite(data: &[u8]) {
    if data.get(4..8) == Some(b"TFL3") {
        let _ = convert::graph_content_hash("fuzz", data.to_vec());
    }
}

/// Builds a tokenizer and encodes a text. The input is the vocabulary, the settings, `tokenizer.json` and the
/// text, separated by bytes 0xff, which do not occur in UTF-8.
pub(crate) fn tokenizer(data: &[u8]) {
    let mut parts = data.split(|&b| b == 0xff);
    let mut part = || parts.next().unwrap_or_default();
    let (vocab, settings, json, text) = (part(), part(), part(), part());
    let mut files = TokenizerFiles::new("fuzz").vocab("vocab.txt", vocab);
    if !settings.is_empty() {
        files = files.tokenizer_config("tokenizer_config.json", settings);
    }
    if !json.is_empty() {
        files = files.tokenizer_json("tokenizer.json", json);
    }
    let (Ok(tokenizer), Ok(text)) = (Tokenizer::from_files(&files), std::str::from_utf8(text)) else {
        return;
    };
    let Ok(encoding) = tokenizer.encode(text) else { return };
    for i in 0..encoding.ids().len() {
        let _: &str = &text[encoding.span(i)];
    }
}

/// A BERT of one layer, whose weights may be in 4 bits.
const INT4: &str = r#"{
    "model_type": "bert", "architectures": ["BertForQuestionAnswering"], "vocab_size": 5, "hidden_size": 6,
    "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 33, "hidden_act": "gelu",
    "max_position_embeddings": 4, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
    "quantization_config": { "quant_method": "mobilebert-int8", "bits": 4, "group_size": 32, "scale_suffix": "_scale" }
}"#;

/// Reads the safetensors file of a model in 4 bits, from its bytes to the int8 weights that are run.
pub(crate) fn int4(data: &[u8]) {
    let _ = int4_tensors(data);
}

/// The number of tensors in int8 or in 4 bits; `None` if the file is refused.
pub(crate) fn int4_tensors(data: &[u8]) -> Option<usize> {
    let mut checkpoint = Checkpoint::default();
    checkpoint.add_safetensors("fuzz", Bytes::Owned(data.to_vec())).ok()?;
    let config = ModelConfig::from_json(INT4).expect("a configuration");
    let graph = model::build(&config, config.head);
    let weights = Weights::bind(checkpoint, &config, &graph).ok()?;
    let mut found = 0;
    for (i, parameter) in graph.parameters.iter().enumerate() {
        let Ok(tensor) = weights.tensor(ParameterId(i)) else { continue };
        if let Tensor::Int8 { values, scales } = &tensor {
            found += 1;
            assert!(values.iter().all(|&v| v != i8::MIN), "{}", parameter.name);
            assert!(scales.iter().all(|&s| s > 0.0 && s.is_finite()), "{}", parameter.name);
        }
        assert_eq!(tensor.into_f32().len(), parameter.shape.iter().product::<usize>(), "{}", parameter.name);
    }
    Some(found)
}
