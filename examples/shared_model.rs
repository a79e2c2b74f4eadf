//! Runs two tasks, answers and embeddings, on one loaded model: `cargo run --release --example shared_model`

use mobilebert::{AnswerOptions, EmbedOptions, Embedder, Model, ModelOptions, QuestionAnswering, Result};

fn main() -> Result<()> {
    let model = Model::open("qa", ModelOptions::new())?;
    let qa = QuestionAnswering::from_parts(model.clone(), AnswerOptions::with(|o| o.max_answer_len = 3))?;
    let embedder = Embedder::from_parts(model, EmbedOptions::default())?;

    let question = "Who built the engine?";
    let sentences = ["The engine was built by Ada in London.", "Rivers run to the sea."];
    let asked = embedder.embed(question)?;
    for (sentence, embedding) in sentences.iter().zip(embedder.embed_batch(&sentences)?) {
        println!("{:.3}  {sentence}", asked.cosine(&embedding));
    }
    let context = qa.prepare(sentences.join(" "))?;
    for answer in qa.answers_in_with(question, &context, &AnswerOptions::with(|o| o.top_k = 2))? {
        println!("{:.3}  {}", answer.score, answer.answer);
    }
    Ok(())
}
