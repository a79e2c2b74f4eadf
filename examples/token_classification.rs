//! Finds the people, places and organisations of a text:
//! `cargo run --release --example token_classification -- "Ada lives in London"`

use mobilebert::{Result, TokenClassification};

fn main() -> Result<()> {
    let text = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "Ada Lovelace left London for the Bank of England.".to_owned());
    let tagger = TokenClassification::open("ner")?;
    for entity in tagger.tag(&text)? {
        println!(
            "{:4} {:.3}  bytes {}..{}  {}",
            entity.label, entity.score, entity.start, entity.end, entity.word
        );
    }
    Ok(())
}
