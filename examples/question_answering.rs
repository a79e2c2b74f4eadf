//! Answers a question from a text: `cargo run --release --example question_answering`

use mobilebert::{QuestionAnsweringOptions, Result};

fn main() -> Result<()> {
    let context = "Ada Lovelace wrote the first published algorithm in 1843, for Charles Babbage's engine.";
    let qa = QuestionAnsweringOptions::new().top_k(3).open("qa")?;
    for answer in qa.answers("When was the algorithm published?", context)? {
        println!("{:.3}  bytes {}..{}  {}", answer.score, answer.start, answer.end, answer.answer);
    }
    Ok(())
}
