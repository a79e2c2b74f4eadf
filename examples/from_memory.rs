//! Opens a model whose files the program has read itself: `cargo run --release --example from_memory`

use std::sync::Arc;

use mobilebert::{MemoryFiles, QuestionAnswering};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "models/qa".to_owned());
    let read = |name: &str| std::fs::read(format!("{folder}/{name}"));
    let weights: Arc<[u8]> = read("model.safetensors")?.into();
    let files = MemoryFiles::new("a model in memory")
        .file("config.json", read("config.json")?)
        .file("tokenizer_config.json", read("tokenizer_config.json")?)
        .file("vocab.txt", read("vocab.txt")?)
        .file("model.safetensors", Arc::clone(&weights));
    let qa = QuestionAnswering::open(files)?;
    // The engine has packed the weights, so only the program holds these bytes again.
    assert_eq!(Arc::strong_count(&weights), 1);
    drop(weights);
    println!("{}", qa.answer("Who built it?", "It was built by Ada.")?.answer);
    Ok(())
}
