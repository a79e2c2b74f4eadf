//! Shared by the benches of layers and models: weights from a formula, tokens, and the check of the answers
//! before they are timed.

use mobilebert::backend::native::{NativeBackend, NativeOptions};
use mobilebert::backend::{Backend as _, Precision, Request};
use mobilebert::model::{self, synthetic::Synthetic};
use mobilebert::{Batch, Head, ModelConfig};
use mobilebert_tools::candle::CandleBackend;
use rayon::{ThreadPool, ThreadPoolBuilder};

pub(crate) const PRECISIONS: [Precision; 3] = [Precision::Int8, Precision::Bf16, Precision::F32];

/// Largest error in f32 relative to the norm of the answer. Sums are in another order.
const F32_TOLERANCE: f64 = 2e-5;

/// Largest error in bf16 relative to the norm of the answer. The mantissa has eight bits.
const BF16_TOLERANCE: f64 = 0.02;

/// Largest error in int8 relative to the norm of the answer, through all layers. A wrong scale gives an error
/// near 1.
const INT8_TOLERANCE: f64 = 0.05;

/// A configuration and its head, with weights from a formula.
pub(crate) struct Model {
    config: ModelConfig,
    head: Head,
}

impl Model {
    pub(crate) fn new(config: ModelConfig, head: Head) -> Self {
        Self { config, head }
    }

    pub(crate) fn load(&self, options: NativeOptions) -> NativeBackend {
        let graph = model::build(&self.config, self.head);
        let weights = Synthetic::new(&graph);
        NativeBackend::load(graph, &weights, options).unwrap()
    }

    /// Compares the answers of all precisions with the reference backend, and int8 with its definition, the
    /// scalar kernels, bit by bit.
    ///
    /// # Panics
    /// If an answer is wrong.
    pub(crate) fn check(&self, batch: &Batch) {
        let graph = model::build(&self.config, self.head);
        let weights = Synthetic::new(&graph);
        let request = Request::new(batch);
        let truth = CandleBackend::load(graph, &weights).unwrap().run(&request).unwrap();
        let run = |options: NativeOptions| self.load(options).run(&request).unwrap();
        let [int8, bf16, f32] = PRECISIONS.map(|precision| run(NativeOptions::new().precision(precision)));
        let found = [(&f32, F32_TOLERANCE), (&bf16, BF16_TOLERANCE), (&int8, INT8_TOLERANCE)];
        for (found, tolerance) in found {
            let error = relative_error(&truth, found);
            assert!(error < tolerance, "off by {error}");
        }
        assert_eq!(
            int8,
            run(NativeOptions::new().kernels("scalar")),
            "int8 has other bits than its definition"
        );
    }
}

fn relative_error(truth: &[f32], found: &[f32]) -> f64 {
    assert_eq!(truth.len(), found.len());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let noise: f64 = truth.iter().zip(found).map(|(t, f)| square(t - f)).sum();
    (noise / truth.iter().map(|&t| square(t)).sum::<f64>()).sqrt()
}

/// A batch of sequences of these lengths, with various word ids.
pub(crate) fn batch(lengths: &[usize]) -> Batch {
    let mut batch = Batch::new();
    for (s, &n) in lengths.iter().enumerate() {
        let ids: Vec<u32> = (0..n).map(|i| ((i * 37 + s * 101) % 900 + 1) as u32).collect();
        batch.push(&ids, &vec![0; n]).unwrap();
    }
    batch
}

pub(crate) fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// Runs one pass, which writes to memory that is already allocated.
pub(crate) fn pass(pool: &ThreadPool, model: &NativeBackend, batch: &Batch, output: &mut [f32]) {
    pool.install(|| model.run_into(&Request::new(batch), output)).unwrap();
}

pub(crate) fn output(model: &NativeBackend, batch: &Batch) -> Vec<f32> {
    vec![0.0; model.output_len(&Request::new(batch))]
}
