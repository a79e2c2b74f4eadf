//! Compares the native backend with a plain interpreter of the graph, and tests that threads, batches,
//! kernels and observers do not change its answers.

use std::sync::Arc;

use super::*;
use crate::backend::Observer;
use crate::config::{Head, ModelConfig};
use crate::graph::{NormKind, Op, ParameterId, Rows, ValueId};
use crate::kernels::reference::activation::activation;
use crate::kernels::reference::norm::{affine, layer_norm};
use crate::model::{self, synthetic::Synthetic};
use crate::text::Batch;

const MOBILEBERT: &str = r#"{"model_type": "mobilebert", "num_hidden_layers": 3, "vocab_size": 500}"#;
const SMALL: &str = r#"{"model_type": "mobilebert", "num_hidden_layers": 2, "vocab_size": 300, "hidden_size": 72,
    "embedding_size": 20, "intra_bottleneck_size": 40, "intermediate_size": 100, "num_attention_heads": 4,
    "num_feedforward_networks": 2, "normalization_type": "layer_norm", "max_position_embeddings": 200}"#;
const BERT: &str = r#"{"model_type": "bert", "num_hidden_layers": 2, "vocab_size": 400, "hidden_size": 64,
    "intermediate_size": 200, "num_attention_heads": 2, "max_position_embeddings": 200}"#;

const DISTILBERT: &str = r#"{"model_type": "distilbert", "n_layers": 2, "vocab_size": 300, "dim": 48,
    "hidden_dim": 100, "n_heads": 4, "activation": "silu", "max_position_embeddings": 200}"#;
const ELECTRA: &str = r#"{"model_type": "electra", "num_hidden_layers": 2, "vocab_size": 300, "hidden_size": 64,
    "embedding_size": 24, "intermediate_size": 100, "num_attention_heads": 4, "max_position_embeddings": 200}"#;
const CONFIGS: [&str; 5] = [MOBILEBERT, SMALL, BERT, DISTILBERT, ELECTRA];

fn graph(config: &str, head: Head) -> Graph {
    model::build(&ModelConfig::from_json(config).unwrap(), head)
}

fn load(config: &str, head: Head, options: NativeOptions) -> NativeBackend {
    let graph = graph(config, head);
    let weights = Synthetic::new(&graph);
    NativeBackend::load(graph, &weights, options).unwrap()
}

fn batch(lengths: &[usize]) -> Batch {
    let mut batch = Batch::new();
    for (s, &n) in lengths.iter().enumerate() {
        let ids: Vec<u32> = (0..n).map(|i| ((i * 37 + s * 101 + n) % 290 + 1) as u32).collect();
        let types: Vec<u32> = (0..n).map(|i| u32::from(i > n / 2)).collect();
        batch.push(&ids, &types).unwrap();
    }
    batch
}

fn request(batch: &Batch) -> Request<'_> {
    Request::new(batch)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

fn on_threads<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
    if cfg!(target_family = "wasm") {
        // WebAssembly has only one thread.
        return f();
    }
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

/// Computes every value of the graph by the definition of its operation, with sums in f64.
fn interpret(graph: &Graph, request: &Request<'_>) -> Vec<Vec<f32>> {
    let source = Synthetic::new(graph);
    let p = |id: ParameterId| source.tensor(id).unwrap().into_f32().into_owned();
    let batch = request.batch;
    let mut values: Vec<Vec<f32>> = Vec::new();
    let normalise = |x: &mut [f32], norm: &crate::graph::Norm| {
        let (gamma, beta) = (p(norm.weight), p(norm.bias));
        for row in x.chunks_mut(gamma.len()) {
            match norm.kind {
                NormKind::NoNorm => affine(row, &gamma, &beta),
                NormKind::LayerNorm { eps } => layer_norm(row, &gamma, &beta, eps),
            }
        }
    };
    let matmul = |x: &[f32], inputs: usize, w: &[f32]| -> Vec<f32> {
        let dot = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32
        };
        x.chunks(inputs).flat_map(|x| w.chunks(inputs).map(move |w| dot(x, w))).collect()
    };
    for node in &graph.nodes {
        let width = |v: ValueId| graph.width(v);
        let out = match &node.op {
            Op::WordEmbedding { table, trigram } => {
                let (table, width) = (p(*table), graph.parameter(*table).shape[1]);
                let mut out = Vec::new();
                for s in 0..batch.sequences() {
                    let ids = &batch.ids()[batch.range(s)];
                    let row = |i: isize| match usize::try_from(i).ok().and_then(|i| ids.get(i)) {
                        Some(&id) => table[id as usize * width..][..width].to_vec(),
                        None => vec![0.0; width],
                    };
                    for i in 0..ids.len() as isize {
                        let around = if *trigram { vec![i + 1, i, i - 1] } else { vec![i] };
                        out.extend(around.into_iter().flat_map(row));
                    }
                }
                out
            }
            Op::PositionAndType { input, position, token_type, norm } => {
                let (mut x, position, types) = (values[input.0].clone(), p(*position), token_type.map(p));
                for s in 0..batch.sequences() {
                    for (i, row) in batch.range(s).enumerate() {
                        for c in 0..node.width {
                            let of_type =
                                |types: &Vec<f32>| types[batch.type_ids()[row] as usize * node.width + c];
                            x[row * node.width + c] +=
                                position[i * node.width + c] + types.as_ref().map_or(0.0, of_type);
                        }
                    }
                }
                normalise(&mut x, norm);
                x
            }
            Op::Linear { input, weight, bias, activation: function, residual, norm } => {
                let mut x = matmul(&values[input.0], width(*input), &p(*weight));
                let bias = p(*bias);
                for (i, x) in x.iter_mut().enumerate() {
                    *x = activation(*function, *x + bias[i % node.width]);
                    *x += residual.map_or(0.0, |r| values[r.0][i]);
                }
                norm.iter().for_each(|norm| normalise(&mut x, norm));
                x
            }
            Op::Attention { query, key, value, heads } => {
                let (w, size) = (node.width, node.width / heads);
                let mut out = vec![0.0; values[query.0].len()];
                for s in 0..batch.sequences() {
                    for (h, row) in (0..*heads).flat_map(|h| batch.range(s).map(move |row| (h, row))) {
                        let part = |v: &[f32], row: usize| v[row * w + h * size..][..size].to_vec();
                        let rows =
                            |v: ValueId| batch.range(s).map(|t| part(&values[v.0], t)).collect::<Vec<_>>();
                        let scale = 1.0 / (size as f32).sqrt();
                        let q = part(&values[query.0], row);
                        let o = crate::kernels::reference::attention::attention_f32(
                            &q,
                            &rows(*key),
                            &rows(*value),
                            scale,
                        );
                        out[row * w + h * size..][..size].copy_from_slice(&o);
                    }
                }
                out
            }
            Op::Select { input, rows } => {
                let chosen: Vec<usize> = match (rows, request.rows) {
                    (Rows::First, _) => (0..batch.sequences()).map(|s| batch.range(s).start).collect(),
                    (Rows::Requested, Some(rows)) => rows.to_vec(),
                    (Rows::Requested, None) => (0..batch.tokens()).collect(),
                };
                chosen
                    .into_iter()
                    .flat_map(|r| values[input.0][r * node.width..][..node.width].to_vec())
                    .collect()
            }
            Op::Vocabulary { input, decoder, extra, bias } => {
                let (x, w, e) = (&values[input.0], width(*input), graph.parameter(*decoder).shape[1]);
                let (decoder, extra, bias) = (p(*decoder), extra.map(p), p(*bias));
                let mut joined = Vec::new();
                for word in 0..node.width {
                    joined.extend_from_slice(&decoder[word * e..][..e]);
                    joined.extend((0..w - e).map(|i| extra.as_ref().unwrap()[i * node.width + word]));
                }
                let mut out = matmul(x, w, &joined);
                out.iter_mut().enumerate().for_each(|(i, x)| *x += bias[i % node.width]);
                out
            }
        };
        values.push(out);
    }
    values
}

/// Norm of the difference relative to the norm of the truth.
fn relative_error(truth: &[f32], found: &[f32]) -> f64 {
    assert_eq!(truth.len(), found.len());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let error: f64 = truth.iter().zip(found).map(|(a, b)| square(a - b)).sum();
    (error / truth.iter().map(|&x| square(x)).sum::<f64>()).sqrt()
}

const HEADS: [Head; 6] = [
    Head::None,
    Head::QuestionAnswering,
    Head::SequenceClassification,
    Head::TokenClassification,
    Head::MaskedLm,
    Head::MultipleChoice,
];

#[test]
fn f32_agrees_with_the_definition_and_bf16_and_int8_are_near() {
    let batch = batch(&[7, 33, 1, 70]);
    for config in CONFIGS {
        for head in HEADS {
            let graph = graph(config, head);
            let truth = interpret(&graph, &request(&batch)).pop().unwrap();
            let f32 = load(config, head, NativeOptions::new().precision(Precision::F32))
                .run(&request(&batch))
                .unwrap();
            let error = relative_error(&truth, &f32);
            assert!(error < 5e-6, "{config} {head:?}: f32 is off by {error}");
            for k in kernels::supported() {
                let options = NativeOptions::new().precision(Precision::Bf16).kernels(k.isa().name());
                let bf16 = load(config, head, options).run(&request(&batch)).unwrap();
                let error = relative_error(&truth, &bf16);
                assert!(
                    (1e-4..0.02).contains(&error),
                    "{config} {head:?} {}: bf16 is off by {error}",
                    k.isa()
                );
            }
            let int8 = load(config, head, NativeOptions::new()).run(&request(&batch)).unwrap();
            let error = relative_error(&truth, &int8);
            assert!(error < 0.05, "{config} {head:?}: int8 is off by {error}");
        }
    }
}

const PRECISIONS: [Precision; 3] = [Precision::Int8, Precision::Bf16, Precision::F32];

#[test]
fn requested_rows_are_those_of_all_rows() {
    let batch = batch(&[20, 50]);
    for precision in PRECISIONS {
        let model = load(MOBILEBERT, Head::MaskedLm, NativeOptions::new().precision(precision));
        let all = model.run(&request(&batch)).unwrap();
        let width = all.len() / 70;
        let rows = [69, 3, 20];
        let some = model.run(&Request { rows: Some(&rows), ..Request::new(&batch) }).unwrap();
        let expected: Vec<f32> = rows.iter().flat_map(|r| all[r * width..][..width].to_vec()).collect();
        assert_eq!(bits(&expected), bits(&some));
    }
}

#[test]
fn every_variant_gives_the_same_bits() {
    let batch = batch(&[5, 64, 17, 90, 1]);
    for config in CONFIGS {
        for precision in [Precision::Int8, Precision::F32] {
            let run = |k: &dyn Kernels| {
                let options = NativeOptions::new().precision(precision).kernels(k.isa().name());
                bits(&load(config, Head::SequenceClassification, options).run(&request(&batch)).unwrap())
            };
            let expected = run(kernels::best());
            for k in kernels::supported() {
                assert_eq!(expected, run(k), "{} {precision:?}", k.isa());
            }
        }
    }
}

/// The other tests compare results of one machine with each other. These hashes were recorded on x86-64 and
/// hold on every architecture.
#[test]
fn int8_gives_the_recorded_bits() {
    const RECORDED: [u64; 5] = [
        13_212_761_115_387_952_670,
        12_805_762_579_015_798_841,
        7_787_443_977_805_753_295,
        3_001_808_785_019_543_961,
        11_014_821_566_423_358_388,
    ];
    let batch = batch(&[5, 17, 33]);
    let hash = |values: &[f32]| {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
    };
    for k in kernels::supported() {
        let found = CONFIGS.map(|config| {
            let options = NativeOptions::new().kernels(k.isa().name());
            hash(&load(config, Head::TokenClassification, options).run(&request(&batch)).unwrap())
        });
        assert_eq!(RECORDED, found, "{}", k.isa());
    }
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "no threads")]
fn threads_do_not_change_the_answer() {
    // Small batches are cut within strips of sixteen tokens, which two threads then share.
    let few = [vec![9], vec![16], vec![17, 3], vec![23], vec![30], vec![47], vec![33, 2, 31], vec![61, 1]];
    let all = [vec![384], vec![5, 64, 17, 90, 1]].into_iter().chain(few.clone());
    same_on_all_threads(MOBILEBERT, all);
    // The heads of this one have ten columns, so the last line of a key is not full.
    same_on_all_threads(SMALL, few);
}

fn same_on_all_threads(config: &str, batches: impl IntoIterator<Item = Vec<usize>>) {
    let batches: Vec<_> = batches.into_iter().collect();
    for precision in PRECISIONS {
        let model = load(config, Head::QuestionAnswering, NativeOptions::new().precision(precision));
        for lengths in &batches {
            let batch = batch(lengths);
            let run = |threads| on_threads(threads, || bits(&model.run(&request(&batch)).unwrap()));
            let expected = run(1);
            for threads in [2, 3, 4, 7] {
                assert_eq!(expected, run(threads), "{lengths:?} {precision:?} {threads}");
            }
        }
    }
}

#[test]
fn batch_mates_do_not_change_the_answer() {
    let lengths: Vec<usize> = (0..32).map(|i| [12, 1, 47, 64, 16, 33, 90, 5][i % 8] + i / 8).collect();
    for precision in PRECISIONS {
        let model = load(MOBILEBERT, Head::QuestionAnswering, NativeOptions::new().precision(precision));
        let all = batch(&lengths);
        let alone: Vec<f32> = (0..32)
            .flat_map(|s| {
                let range = all.range(s);
                let one = Batch::single(&all.ids()[range.clone()], &all.type_ids()[range]).unwrap();
                model.run(&request(&one)).unwrap()
            })
            .collect();
        for size in [2, 8, 32] {
            let mut together = Vec::new();
            for first in (0..32).step_by(size) {
                let mut some = Batch::new();
                for s in first..first + size {
                    some.push(&all.ids()[all.range(s)], &all.type_ids()[all.range(s)]).unwrap();
                }
                together.extend(on_threads(2, || model.run(&request(&some)).unwrap()));
            }
            assert_eq!(bits(&alone), bits(&together), "{size}");
        }
    }
}

#[derive(Default)]
struct Recorder(Mutex<Vec<(String, Vec<f32>)>>);

impl Observer for Recorder {
    fn observe(&self, node: &Node, output: &[f32]) {
        self.0.lock().unwrap().push((node.name.clone(), output.to_vec()));
    }
}

#[test]
fn observers_see_every_value() {
    let batch = batch(&[7, 33]);
    for head in HEADS {
        let graph = graph(MOBILEBERT, head);
        let truth = interpret(&graph, &request(&batch));
        let model = load(MOBILEBERT, head, NativeOptions::new().precision(Precision::F32));
        let plain = model.run(&request(&batch)).unwrap();
        let recorder = Recorder::default();
        let observed = model.run(&Request { observer: Some(&recorder), ..request(&batch) }).unwrap();
        assert_eq!(bits(&plain), bits(&observed));
        let seen = recorder.0.into_inner().unwrap();
        assert_eq!(seen.len(), graph.nodes.len());
        for ((node, truth), (name, found)) in graph.nodes.iter().zip(&truth).zip(&seen) {
            assert_eq!(&node.name, name);
            let error = relative_error(truth, found);
            assert!(error < 1e-5, "{name}: {error}");
        }
    }
}

/// The observer sees a value before int8 linears quantise it, and observing does not change the answer.
#[test]
fn observers_see_what_int8_computes() {
    let batch = batch(&[7, 33]);
    for head in HEADS {
        let graph = graph(MOBILEBERT, head);
        let truth = interpret(&graph, &request(&batch));
        let model = load(MOBILEBERT, head, NativeOptions::new());
        let plain = model.run(&request(&batch)).unwrap();
        let recorder = Recorder::default();
        let observed = model.run(&Request { observer: Some(&recorder), ..request(&batch) }).unwrap();
        assert_eq!(bits(&plain), bits(&observed), "{head:?}");
        let seen = recorder.0.into_inner().unwrap();
        assert_eq!(seen.len(), graph.nodes.len());
        for ((node, truth), (name, found)) in graph.nodes.iter().zip(&truth).zip(&seen) {
            assert_eq!(&node.name, name);
            let error = relative_error(truth, found);
            assert!(error < 0.05, "{head:?} {name}: {error}");
        }
    }
}

#[test]
fn modules_can_be_left_in_f32() {
    let batch = batch(&[40]);
    let truth = interpret(&graph(MOBILEBERT, Head::None), &request(&batch)).pop().unwrap();
    let error = |modules: &[&str]| {
        let options = NativeOptions::new().keep_f32(modules.iter().copied());
        relative_error(&truth, &load(MOBILEBERT, Head::None, options).run(&request(&batch)).unwrap())
    };
    let (all, some, none) =
        (error(&[]), error(&["encoder.layer.0", "encoder.layer.1"]), error(&["encoder", "embeddings"]));
    assert!(none < some && some < all, "{none} {some} {all}");
}

#[test]
fn graphs_out_of_order_are_an_error() {
    let good = graph(MOBILEBERT, Head::QuestionAnswering);
    let mut swapped = good.clone();
    swapped.nodes.swap(1, 2);
    let cut = Graph { nodes: good.nodes[1..].to_vec(), ..good.clone() };
    let empty = Graph { nodes: Vec::new(), ..good.clone() };
    for (graph, message) in [(swapped, "reads value 1,"), (cut, "reads value"), (empty, "no nodes")] {
        let error = NativeBackend::load(graph, &Synthetic::new(&good), NativeOptions::new()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Backend { .. }), "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn unknown_kernels_are_an_error() {
    let graph = graph(MOBILEBERT, Head::None);
    let weights = Synthetic::new(&graph);
    let error = NativeBackend::load(graph, &weights, NativeOptions::new().kernels("mmx")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Option { option: "kernels", .. }), "{error}");
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "a panic ends the program")]
fn a_panic_leaves_the_engine_usable() {
    let model = load(MOBILEBERT, Head::QuestionAnswering, NativeOptions::new());
    let good = batch(&[100, 100]);
    let expected = bits(&model.run(&request(&good)).unwrap());
    let mut ids = good.ids().to_vec();
    ids[150] = 1_000_000;
    let bad = Batch::single(&ids, &vec![0; 200]).unwrap();
    for threads in [1, 2] {
        let outcome = on_threads(threads, || {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model.run(&request(&bad))))
        });
        assert!(outcome.is_err());
        let again = on_threads(threads, || bits(&model.run(&request(&good)).unwrap()));
        assert_eq!(expected, again);
    }
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "no threads")]
fn eight_threads_share_one_model() {
    let model = Arc::new(load(MOBILEBERT, Head::QuestionAnswering, NativeOptions::new()));
    let batches: Vec<Batch> = (0..8).map(|i| batch(&[10 + 13 * i, 40])).collect();
    let expected: Vec<_> = batches.iter().map(|b| bits(&model.run(&request(b)).unwrap())).collect();
    std::thread::scope(|scope| {
        for (batch, expected) in batches.iter().zip(&expected) {
            let model = Arc::clone(&model);
            scope.spawn(move || {
                for _ in 0..10 {
                    assert_eq!(expected, &bits(&model.run(&request(batch)).unwrap()));
                }
            });
        }
    });
}
