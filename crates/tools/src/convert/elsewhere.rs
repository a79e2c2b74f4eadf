//! Recognises by their content the formats that are not read, and says how to get from each to one that is.

use std::path::Path;

use mobilebert::format::{Bytes, zip};

/// A format that is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Elsewhere {
    /// What the file is.
    pub(super) found: &'static str,
    /// How to save the model as something that is read.
    pub(super) hint: &'static str,
}

const HDF5: Elsewhere = Elsewhere {
    found: "an HDF5 file of Keras",
    hint: "if it is `tf_model.h5` of transformers, install \"transformers<5\", tensorflow, tf-keras and \
           torch, and run `python -c \"from transformers import AutoConfig, \
           AutoModelForQuestionAnswering as M; from transformers.modeling_tf_pytorch_utils import \
           load_tf2_checkpoint_in_pytorch_model as load; \
           load(M.from_config(AutoConfig.from_pretrained('FOLDER')), 'FOLDER/tf_model.h5', \
           allow_missing_keys=True).save_pretrained('NEW')\"` with the class of the model's task; if it \
           is another Keras model, load it with the code that saved it, write what \
           `tf.lite.TFLiteConverter.from_keras_model(model).convert()` returns to a file, and convert \
           that",
};

const KERAS: Elsewhere = Elsewhere {
    found: "a Keras archive (.keras)",
    hint: "load it with `model = keras.models.load_model('FILE')`, write what \
           `tf.lite.TFLiteConverter.from_keras_model(model).convert()` returns to a file, and convert \
           that",
};

const SAVED_MODEL: Elsewhere = Elsewhere {
    found: "a TensorFlow SavedModel",
    hint: "run `python -c \"import tensorflow as tf; open('model.tflite', \
           'wb').write(tf.lite.TFLiteConverter.from_saved_model('FOLDER').convert())\"` and convert \
           model.tflite, or save the model as safetensors where it was trained",
};

const FROZEN: Elsewhere = Elsewhere {
    found: "a frozen TensorFlow graph",
    hint: "convert the checkpoint that it was frozen from, or write what \
           `tf.compat.v1.lite.TFLiteConverter.from_frozen_graph('FILE', INPUTS, OUTPUTS).convert()` \
           returns to a file and convert that",
};

/// A checkpoint whose variables are found through a graph of Python objects.
pub(super) const OBJECTS: Elsewhere = Elsewhere {
    found: "a checkpoint of objects (TensorFlow 2), whose names are those of a program's attributes",
    hint: "restore it with the program that wrote it, then `tf.saved_model.save(model, 'FOLDER')` and \
           `python -c \"import tensorflow as tf; open('model.tflite', \
           'wb').write(tf.lite.TFLiteConverter.from_saved_model('FOLDER').convert())\"`, and convert \
           model.tflite",
};

/// A safetensors file with the names of variables of TensorFlow.
pub(super) const TF_SAFETENSORS: Elsewhere = Elsewhere {
    found: "weights that a TensorFlow class of transformers saved",
    hint: "install \"transformers<5\", tensorflow and tf-keras, save `tf_model.h5` with \
           `TFAutoModelForQuestionAnswering.from_pretrained('FOLDER').save_pretrained('NEW', \
           safe_serialization=False)` and the class of the model's task, then run `mobilebert convert \
           NEW/tf_model.h5 DEST`, which shows the next step",
};

const GGUF: Elsewhere = Elsewhere {
    found: "a GGUF file, whose weights are quantised in another way",
    hint: "convert the model that it was made from",
};

const ORT: Elsewhere = Elsewhere {
    found: "ONNX Runtime's own format (.ort)",
    hint: "convert the .onnx file that it was made from",
};

const EXECUTORCH: Elsewhere = Elsewhere {
    found: "an ExecuTorch program (.pte)",
    hint: "convert the PyTorch model that it was made from",
};

const UNKNOWN: Elsewhere = Elsewhere {
    found: "something else",
    hint: "save the model as safetensors with `save_pretrained` of transformers, or export it to ONNX \
           with `optimum-cli export onnx --model FOLDER NEW`",
};

/// Returns what a file that begins with `head` is, if it is one of the formats that could be taken for
/// another.
pub(super) fn recognise(path: &Path, head: &[u8]) -> Option<Elsewhere> {
    let is_keras = || {
        let Ok(bytes) = Bytes::map(path) else { return false };
        let label = path.display().to_string();
        zip::members(&label, &bytes)
            .is_ok_and(|members| members.keys().any(|name| name.ends_with(".weights.h5")))
    };
    match head {
        [b'P', b'K', 3, 4, ..] => is_keras().then_some(KERAS),
        [0x89, b'H', b'D', b'F', ..] => Some(HDF5),
        [b'G', b'G', b'U', b'F', ..] => Some(GGUF),
        [_, _, _, _, b'O', b'R', b'T', b'M', ..] => Some(ORT),
        [_, _, _, _, b'E', b'T', b'1', _, ..] => Some(EXECUTORCH),
        _ if is_saved_model(head) => Some(SAVED_MODEL),
        _ if is_frozen(head) => Some(FROZEN),
        _ => None,
    }
}

/// Returns what to say of a file that nothing is known about.
pub(super) fn unknown() -> Elsewhere {
    UNKNOWN
}

/// Returns true for the schema version 1 and then a graph, which is a message of at least 128 bytes and
/// begins with a message. An ONNX file has a name there.
fn is_saved_model(head: &[u8]) -> bool {
    let Some(rest) = head.strip_prefix(&[0x08, 0x01, 0x12]) else { return false };
    let length = rest.iter().take_while(|&&byte| byte >= 0x80).count();
    length >= 1 && rest.get(length + 1) == Some(&0x0a)
}

/// Returns true for a node of a graph: a message with a name and then the name of an operator.
fn is_frozen(head: &[u8]) -> bool {
    fn text(head: &[u8], key: u8) -> Option<&[u8]> {
        let [found, length @ 1..=0x7f, rest @ ..] = head else { return None };
        let text = rest.get(..usize::from(*length)).filter(|_| *found == key)?;
        text.iter().all(u8::is_ascii_graphic).then_some(&rest[text.len()..])
    }
    let [0x0a, rest @ ..] = head else { return false };
    let length = rest.iter().take_while(|&&byte| byte >= 0x80).count();
    let node = rest.get(length + 1..).unwrap_or_default();
    text(node, 0x0a).and_then(|rest| text(rest, 0x12)).is_some()
}
