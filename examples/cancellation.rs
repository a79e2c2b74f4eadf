//! Searches a long text for at most a quarter of a second, and reports the progress:
//! `cargo run --release --example cancellation`

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use mobilebert::{ErrorKind, PassProgress, QuestionAnswering, Result, RunControl};

fn main() -> Result<()> {
    let qa = QuestionAnswering::open("qa")?;
    let context = qa.prepare("Trees grow slowly and rivers run to the sea. ".repeat(2000))?;
    let job = qa.prepare_answer("Where do rivers run?", &context, qa.options())?;
    let mut tell = |progress: PassProgress| {
        println!("{} of {} windows", progress.sequences, progress.known_sequences);
        ControlFlow::Continue(())
    };
    let mut control = RunControl::default();
    control.deadline = Some(Instant::now() + Duration::from_millis(250));
    control.on_pass = Some(&mut tell);
    match qa.model().run_one(job, &mut control) {
        Ok(answers) => println!("{}", answers[0].answer),
        Err(e) if matches!(e.kind(), ErrorKind::DeadlineExceeded { .. }) => println!("no answer: {e}"),
        Err(e) => return Err(e),
    }
    Ok(())
}
