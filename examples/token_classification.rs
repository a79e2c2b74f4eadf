//! Tags the words of a text with your own model:
//! `cargo run --release --example token_classification -- MODEL_FOLDER "Ada lives in London"`

use mobilebert::{AggregationStrategy, Result, TagOptions, TokenClassification};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(model), Some(text)) = (args.next(), args.next()) else {
        eprintln!("usage: token_classification MODEL_FOLDER TEXT");
        std::process::exit(2);
    };
    let tagger = TokenClassification::open(&model)?;
    let options = TagOptions::with(|o| o.aggregation_strategy = AggregationStrategy::First);
    for entity in tagger.tag_with(&text, &options)? {
        println!(
            "{:6} {:.3}  bytes {}..{}  {}",
            entity.label, entity.score, entity.start, entity.end, entity.word
        );
    }
    Ok(())
}
