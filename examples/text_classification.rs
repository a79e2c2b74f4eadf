//! Labels sentences: `cargo run --release --example text_classification`

use mobilebert::{Result, TextClassification};

fn main() -> Result<()> {
    let sentiment = TextClassification::open("sentiment")?;
    let texts = ["a joy to watch", "two hours of nothing", "warm, funny and wise"];
    for (text, result) in texts.iter().zip(sentiment.classify_batch(&texts)?) {
        if let Some(best) = result.best() {
            println!("{:8} {:.3}  {text}", best.label, best.score);
        }
    }
    Ok(())
}
