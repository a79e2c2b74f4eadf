//! Makes models that int8 cannot represent well from a tiny golden model.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

const BERT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/checkpoints/bert-f32");

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

pub(crate) fn edit(folder: &Path, change: impl Fn(&mut BTreeMap<String, Vec<f32>>)) {
    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |data: &[u8]| {
        data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect::<Vec<f32>>()
    };
    let mut tensors: BTreeMap<String, Vec<f32>> =
        file.tensors().into_iter().map(|(name, view)| (name, floats(view.data()))).collect();
    change(&mut tensors);
    let data: BTreeMap<String, Vec<u8>> = tensors
        .into_iter()
        .map(|(name, values)| (name, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = data.iter().map(|(name, data)| {
        let view = file.tensor(name).unwrap();
        (name, TensorView::new(view.dtype(), view.shape().to_vec(), data).unwrap())
    });
    let written = safetensors::serialize(views, None).unwrap();
    fs::write(&path, written).unwrap();
}

/// Writes a model that computes the same as the original in f32, but has a layer that is hard for int8: a
/// neuron that nothing reads is so large that the scale of its token leaves no bits for the others.
pub(crate) fn hard_model(folder: &Path) -> String {
    let to = folder.join("hard");
    copy(Path::new(BERT), &to);
    edit(&to, |tensors| {
        let (columns, neuron) = (24, 5);
        tensors.get_mut("bert.encoder.layer.1.intermediate.dense.bias").unwrap()[neuron] = 1e4;
        let read = tensors.get_mut("bert.encoder.layer.1.output.dense.weight").unwrap();
        read.iter_mut().skip(neuron).step_by(columns).for_each(|weight| *weight = 0.0);
    });
    to.display().to_string()
}
