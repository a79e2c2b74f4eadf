//! Schedules its own forward passes, which serve two questions in turn:
//! `cargo run --release --example own_scheduler`

use mobilebert::{Job as _, Pass, QuestionAnswering, Result};

fn main() -> Result<()> {
    let qa = QuestionAnswering::open("qa")?;
    let filler = "Trees grow slowly and rivers run to the sea. ".repeat(150);
    let context = qa.prepare(filler.clone() + "The engine was built by Ada in London. " + &filler)?;
    let questions = ["Who built the engine?", "Where was the engine built?"];
    let prepare = |question| qa.prepare_answer(question, &context, qa.options());
    let mut jobs = questions.into_iter().map(prepare).collect::<Result<Vec<_>>>()?;

    let mut waiting: Vec<(usize, usize)> = Vec::new();
    jobs.iter().enumerate().for_each(|(j, job)| waiting.extend((0..job.count()).map(|index| (j, index))));
    waiting.sort_by_key(|&(j, index)| (index, j)); // by turns
    for owners in waiting.chunks(4) {
        let mut pass = Pass::new();
        for &(j, index) in owners {
            jobs[j].sequence(index).iter().try_for_each(|sequence| pass.push(sequence))?;
        }
        let rows = pass.run(qa.engine())?;
        for (place, &(j, index)) in owners.iter().enumerate() {
            jobs[j].accept(index, rows.rows(place))?;
        }
    }
    for (question, job) in questions.iter().zip(&mut jobs) {
        println!("{question}  {}", job.finish()?[0].answer);
    }
    Ok(())
}
