//! Measures whole models, and compares a batch of mixed lengths with its sequences one by one. Answers are
//! checked before they are timed. Throughput is in multiply-adds.

mod common;

use std::time::{Duration, Instant};

use common::{Model, PRECISIONS, batch, output, pass, pool};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mobilebert::backend::Backend as _;
use mobilebert::backend::native::NativeOptions;
use mobilebert::model::synthetic;

const LENGTHS: [usize; 3] = [16, 128, 384];

/// Lengths of long and short sequences, in no order.
const MIXED: [usize; 8] = [128, 16, 384, 48, 64, 256, 32, 96];

fn model(name: &str) -> Model {
    let config = synthetic::config(name).unwrap();
    let head = config.head;
    Model::new(config, head)
}

fn models(c: &mut Criterion) {
    for name in ["mobilebert", "bert-base"] {
        let model = model(name);
        model.check(&batch(&[17]));
        for precision in PRECISIONS {
            let backend = model.load(NativeOptions::new().precision(precision));
            let mut group = c.benchmark_group(format!("{name}_{precision}"));
            group.sample_size(20);
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

/// Times both in turns, so that a drift of the machine's speed affects both, and prints the ratio of the
/// medians.
fn mixed_lengths(_: &mut Criterion) {
    // `cargo test` runs benches once, only to see that they work.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { 31 } else { 1 };
    let model = model("mobilebert");
    let together = batch(&MIXED);
    let alone: Vec<_> = (0..MIXED.len())
        .map(|s| {
            let range = together.range(s);
            mobilebert::Batch::single(&together.ids()[range.clone()], &together.type_ids()[range]).unwrap()
        })
        .collect();
    for precision in PRECISIONS {
        let backend = model.load(NativeOptions::new().precision(precision));
        let mut answer = output(&backend, &together);
        let mut parts: Vec<_> = alone.iter().map(|one| output(&backend, one)).collect();
        for threads in [1, 2] {
            let pool = pool(threads);
            let (mut batched, mut summed) = (Vec::new(), Vec::new());
            for _ in 0..=rounds {
                let start = Instant::now();
                pass(&pool, &backend, &together, &mut answer);
                let middle = Instant::now();
                for (one, part) in alone.iter().zip(&mut parts) {
                    pass(&pool, &backend, one, part);
                }
                batched.push(middle - start);
                summed.push(middle.elapsed());
            }
            assert_eq!(answer, parts.concat(), "batch mates change the answer");
            // The first round is a warm-up.
            let (batched, summed) = (median(&mut batched[1..]), median(&mut summed[1..]));
            println!(
                "{precision}, {threads} threads: {MIXED:?} together {batched:.1?}, one by one {summed:.1?}, ratio {:.3}",
                batched.as_secs_f64() / summed.as_secs_f64()
            );
        }
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

criterion_group!(benches, models, mixed_lengths);
criterion_main!(benches);
