//! Measures one layer of MobileBERT and of BERT-base, together with the embeddings. Answers are checked
//! before they are timed. Throughput is in multiply-adds.

mod common;

use common::{Model, PRECISIONS, batch, output, pass, pool};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mobilebert::backend::Backend as _;
use mobilebert::backend::native::NativeOptions;
use mobilebert::{Head, ModelConfig};

const LENGTHS: [usize; 3] = [16, 128, 384];

fn layers(c: &mut Criterion) {
    for name in ["mobilebert", "bert"] {
        let json = format!(r#"{{"model_type": "{name}", "num_hidden_layers": 1, "vocab_size": 1000}}"#);
        let model = Model::new(ModelConfig::from_json(&json).unwrap(), Head::None);
        model.check(&batch(&[17, 64]));
        for precision in PRECISIONS {
            let backend = model.load(NativeOptions::new().precision(precision));
            let mut group = c.benchmark_group(format!("layer_{name}_{precision}"));
            for threads in [1, 2] {
                let pool = pool(threads);
                for n in LENGTHS {
                    let batch = batch(&[n]);
                    let mut to = output(&backend, &batch);
                    group.throughput(Throughput::Elements(backend.graph().macs(&[n])));
                    group.bench_function(BenchmarkId::new(format!("{threads}_threads"), n), |b| {
                        b.iter(|| pass(&pool, &backend, &batch, &mut to));
                    });
                }
            }
            group.finish();
        }
    }
}

criterion_group!(benches, layers);
criterion_main!(benches);
