//! Answers a question from a text: `cargo run --release --example question_answering`

use mobilebert::{AnswerOptions, QuestionAnswering, Result};

fn main() -> Result<()> {
    let context = "Ada Lovelace wrote the first published algorithm in 1843, for Charles Babbage's engine.";
    let qa = QuestionAnswering::open("qa")?;
    let options = AnswerOptions::with(|o| o.top_k = 3);
    for answer in qa.answers_with("When was the algorithm published?", context, &options)? {
        println!("{:.3}  bytes {}..{}  {}", answer.score, answer.start, answer.end, answer.answer);
    }
    Ok(())
}
