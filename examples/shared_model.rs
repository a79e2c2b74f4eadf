//! Two tasks over one loaded model, each with options of its own: `cargo run --release --example shared_model`

use std::sync::Arc;

use mobilebert::{AnswerOptions, Model, ModelOptions, QuestionAnswering, Result};

fn main() -> Result<()> {
    let model = Model::open("qa", ModelOptions::new())?;
    let facts = QuestionAnswering::from_parts(model.clone(), AnswerOptions::with(|o| o.max_answer_len = 3))?;
    let passages = AnswerOptions::with(|o| (o.top_k, o.max_answer_len) = (3, 60));
    let passages = QuestionAnswering::from_parts(model.clone(), passages)?;
    assert!(Arc::ptr_eq(facts.model().engine(), passages.model().engine()), "one set of weights");

    let context = facts.prepare("The engine was built by Ada in London. It was tested by Grace in New York.")?;
    println!("{}", facts.answers_in("Who built the engine?", &context)?[0].answer);
    for passage in passages.answers_in("Where was it tested?", &context)? {
        println!("{:.3}  {}", passage.score, passage.answer);
    }
    Ok(())
}
