//! Compares sentences by their vectors: `cargo run --release --example embedding`

use mobilebert::{Embedder, Result};

fn main() -> Result<()> {
    let embedder = Embedder::open("embed")?;
    let texts = ["How old are you?", "What is your age?", "The train leaves at noon."];
    let embeddings = embedder.embed_batch(&texts)?;
    for (text, embedding) in texts.iter().zip(&embeddings).skip(1) {
        println!("{:.3}  {:?} and {text:?}", embeddings[0].cosine(embedding), texts[0]);
    }
    Ok(())
}
