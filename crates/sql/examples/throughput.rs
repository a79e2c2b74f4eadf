//! Measures SQL against direct batched calls of the engine, on the same texts, threads and model.
//!
//! ```sh
//! cargo run --example throughput -- ROWS THREADS [MODEL] [TURNS]
//! ```
//!
//! `MODEL` is a source as in queries. Without it, a BERT of two layers of width 128 with random weights is
//! written. Both sides take turns; the medians of their times are compared, and so are their numbers of each
//! label.

#[path = "../tests/common/texts.rs"]
mod texts;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use datafusion::arrow::array::AsArray as _;
use datafusion::arrow::datatypes::Int64Type;
use mobilebert::{ClassifyOptions, EngineOptions, TextClassification};
use mobilebert_sql::{Session, Settings};
use tokio::runtime::Runtime;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;
type Labels = BTreeMap<String, i64>;

/// The texts that one call of the engine gets: those of a batch of a query.
const BATCH: usize = 1024;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, or: usize| args.get(index).map_or(Ok(or), |arg| arg.parse());
    let (rows, threads, turns) = (number(0, 100_000)?, number(1, 1)?, number(3, 3)?);
    let folder = tempfile::tempdir()?;
    let model = match args.get(2) {
        Some(model) => model.clone(),
        None => {
            let vocabulary = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/sentiment/vocab.txt");
            random_model(&folder.path().join("model"), Path::new(vocabulary))?
        }
    };
    let runtime = mobilebert_sql::runtime(threads)?;
    let settings = Settings::with(|settings| {
        settings.threads = threads;
        settings.models = vec![("m".to_owned(), model.clone())];
    });
    let session = Session::new(&settings)?;
    let texts = runtime.block_on(write(&session, folder.path(), rows))?;
    let options = ClassifyOptions::default();
    let direct = TextClassification::open_with(model.as_str(), EngineOptions::new().on_caller(), options)?;
    let query = format!(
        "select c['label'], count(*) from (select classify(text, 'm') as c from '{}/*.parquet') group by 1",
        folder.path().display()
    );
    // Both load the model before a time is taken.
    labels(&runtime, &session, "select classify('a', 'm')['label'], count(*) group by 1")?;
    calls(&direct, &texts[..BATCH.min(texts.len())], threads)?;
    let (mut of_calls, mut of_sql) = (Vec::new(), Vec::new());
    for turn in 1..=turns {
        let start = Instant::now();
        let expected = calls(&direct, &texts, threads)?;
        of_calls.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let found = labels(&runtime, &session, &query)?;
        of_sql.push(start.elapsed().as_secs_f64());
        assert_eq!(found, expected);
        println!("turn {turn}: calls {:.2} s, SQL {:.2} s", of_calls[turn - 1], of_sql[turn - 1]);
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (calls, sql) = (median(&mut of_calls), median(&mut of_sql));
    println!(
        "{rows} texts, {threads} threads: calls {:.0}/s, SQL {:.0}/s, SQL takes {:.3} of the time of calls",
        rows as f64 / calls,
        rows as f64 / sql,
        sql / calls
    );
    Ok(())
}

/// Writes different short texts into eight files, and returns them.
async fn write(session: &Session, folder: &Path, rows: usize) -> Result<Vec<String>> {
    let mut texts = Vec::with_capacity(rows);
    for file in 0..8 {
        let path = folder.join(format!("part-{file}.parquet"));
        texts::write(session, &path, file * rows / 8..(file + 1) * rows / 8).await?;
        let read = format!("select arrow_cast(text, 'Utf8') from '{}'", path.display());
        for batch in session.collect(&read).await? {
            texts.extend(batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
        }
    }
    Ok(texts)
}

/// Runs a query, and returns the number of each label.
fn labels(runtime: &Runtime, session: &Session, sql: &str) -> Result<Labels> {
    let mut labels = Labels::new();
    for batch in runtime.block_on(session.collect(sql))? {
        let names = batch.column(0).as_string::<i32>();
        let counts = batch.column(1).as_primitive::<Int64Type>();
        for (name, count) in names.iter().zip(counts) {
            *labels.entry(name.unwrap_or("NULL").to_owned()).or_default() += count.unwrap_or(0);
        }
    }
    Ok(labels)
}

/// Classifies texts by direct calls, each thread batch by batch, and returns the number of each label.
fn calls(model: &TextClassification, texts: &[String], threads: usize) -> Result<Labels> {
    let (next, labels, failed) = (AtomicUsize::new(0), Mutex::new(Labels::new()), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut own = Labels::new();
                while let Some(batch) = texts.chunks(BATCH).nth(next.fetch_add(1, Ordering::Relaxed)) {
                    match model.classify_batch(batch) {
                        Ok(found) => found.iter().filter_map(|found| found.best()).for_each(|best| {
                            *own.entry(best.label.clone()).or_default() += 1;
                        }),
                        Err(error) => *failed.lock().unwrap() = Some(error),
                    }
                }
                let mut labels = labels.lock().unwrap();
                own.into_iter().for_each(|(label, count)| *labels.entry(label).or_default() += count);
            });
        }
    });
    match failed.into_inner()? {
        Some(error) => Err(error.into()),
        None => Ok(labels.into_inner()?),
    }
}

/// Writes a BERT of two layers with random weights into a folder, and returns the folder.
fn random_model(folder: &Path, vocabulary: &Path) -> Result<String> {
    const HIDDEN: usize = 128;
    const INNER: usize = 512;
    let words = std::fs::read_to_string(vocabulary)?.lines().count();
    std::fs::create_dir_all(folder)?;
    std::fs::copy(vocabulary, folder.join("vocab.txt"))?;
    std::fs::write(
        folder.join("config.json"),
        format!(
            r#"{{"architectures": ["BertForSequenceClassification"], "model_type": "bert",
            "hidden_act": "gelu", "hidden_size": {HIDDEN}, "intermediate_size": {INNER},
            "num_attention_heads": 2, "vocab_size": {words}, "num_hidden_layers": 2,
            "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
            "id2label": {{"0": "negative", "1": "positive"}}, "label2id": {{"negative": 0, "positive": 1}}}}"#
        ),
    )?;
    let mut tensors: Vec<(String, Vec<usize>)> = vec![
        ("bert.embeddings.word_embeddings.weight".to_owned(), vec![words, HIDDEN]),
        ("bert.embeddings.position_embeddings.weight".to_owned(), vec![512, HIDDEN]),
        ("bert.embeddings.token_type_embeddings.weight".to_owned(), vec![2, HIDDEN]),
        ("classifier.weight".to_owned(), vec![2, HIDDEN]),
        ("classifier.bias".to_owned(), vec![2]),
    ];
    let mut dense = |name: String, rows: usize, columns: usize| {
        tensors.push((format!("{name}.weight"), vec![rows, columns]));
        tensors.push((format!("{name}.bias"), vec![rows]));
    };
    dense("bert.pooler.dense".to_owned(), HIDDEN, HIDDEN);
    for layer in 0..2 {
        let name = format!("bert.encoder.layer.{layer}");
        for part in ["self.query", "self.key", "self.value", "output.dense"] {
            dense(format!("{name}.attention.{part}"), HIDDEN, HIDDEN);
        }
        dense(format!("{name}.intermediate.dense"), INNER, HIDDEN);
        dense(format!("{name}.output.dense"), HIDDEN, INNER);
    }
    let norms = ["embeddings"].map(str::to_owned).into_iter().chain((0..2).flat_map(|layer| {
        [format!("encoder.layer.{layer}.attention.output"), format!("encoder.layer.{layer}.output")]
    }));
    for norm in norms {
        tensors.push((format!("bert.{norm}.LayerNorm.weight"), vec![HIDDEN]));
        tensors.push((format!("bert.{norm}.LayerNorm.bias"), vec![HIDDEN]));
    }
    let (mut header, mut data) = (String::new(), Vec::new());
    let mut state = 20_u64;
    for (name, shape) in &tensors {
        let start = data.len();
        for _ in 0..shape.iter().product() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let uniform = (state >> 40) as f32 / (1 << 24) as f32 - 0.5;
            let value = if name.ends_with("LayerNorm.weight") { 1.0 } else { 0.1 * uniform };
            data.extend(f32::to_le_bytes(value));
        }
        let comma = if header.is_empty() { "" } else { "," };
        let offsets = [start, data.len()];
        write!(header, r#"{comma}"{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":{offsets:?}}}"#)?;
    }
    let header = format!("{{{header}}}");
    let header = format!("{header:width$}", width = header.len().next_multiple_of(8));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    std::fs::write(folder.join("model.safetensors"), file)?;
    folder.to_str().map(str::to_owned).ok_or_else(|| "the folder's name is not UTF-8".into())
}
