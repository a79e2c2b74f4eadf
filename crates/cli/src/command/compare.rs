//! `mobilebert compare`

use mobilebert::ModelFiles;
use mobilebert_tools::compare::{Answered, ItemComparison, first_to_flip, item_by_item};
use mobilebert_tools::metrics::interval::Interval;
use mobilebert_tools::task::TaskOptions;
use serde::Serialize;

use super::progress;
use crate::args::{self, Global};
use crate::failure::Failure;
use crate::output::{Format, Output, plain};

/// The result as a line of JSON.
#[derive(Serialize)]
struct Report<'r> {
    task: &'static str,
    model_a: &'r str,
    model_b: &'r str,
    #[serde(flatten)]
    found: &'r ItemComparison,
}

pub(super) fn run(args: &args::Compare, global: &Global) -> Result<(), Failure> {
    let mut data = args.task.read(&args.data)?;
    data.truncate(args.limit.map_or(usize::MAX, |examples| examples.get()));
    let bar = progress::bar(global);
    let open = |source: &str| TaskOptions::new(args.task).engine(global.engine()).open(source);
    let (mut a, b) = (open(&args.a)?, open(&args.b)?);
    let answered = |evaluator, what: &str| {
        Answered::new(evaluator, &data, &|done| progress::show(&bar, what, done, data.len()))
    };
    let (of_a, of_b) = (answered(&a, "A")?, answered(&b, "B")?);
    let mut found = item_by_item(&data, &of_a, &of_b);
    let files = (&ModelFiles::resolve(&args.a)?, &ModelFiles::resolve(&args.b)?);
    first_to_flip(files, &mut a, &global.engine(), global.precision, &data, &mut found)?;
    bar.finish_and_clear();
    let mut output = Output::stdout(global);
    match output.format() {
        Format::Json => {
            let (model_a, model_b) = (args.a.as_str(), args.b.as_str());
            output.json(&Report { task: args.task.name(), model_a, model_b, found: &found })?;
        }
        Format::Human | Format::Table => human(args, &found, &mut output)?,
    }
    output.flush()
}

fn human(args: &args::Compare, found: &ItemComparison, output: &mut Output) -> Result<(), Failure> {
    let between = |interval: Option<Interval>| {
        interval.map_or(String::new(), |i| format!("  [{:.2}, {:.2}]", i.low, i.high))
    };
    output.line(format_args!("{}, {} examples, {}", args.task, found.total, found.metric))?;
    for (name, source, measured) in [("A", &args.a, &found.a), ("B", &args.b, &found.b)] {
        let interval = between(measured.interval);
        output.line(format_args!("{name}           {:.2}{interval}  {source}", measured.scores.main()))?;
    }
    output.line(format_args!("B - A       {:.2}{}", found.difference, between(found.difference_interval)))?;
    if let Some(m) = found.mcnemar {
        output.line(format_args!("only A right {}, only B right {}: p = {:.3}", m.only_a, m.only_b, m.p))?;
    }
    output.line(format_args!("{} answers differ", found.differing.len()))?;
    for d in &found.differing {
        let flipped = d
            .flipped_by
            .as_ref()
            .map_or(String::new(), |module| format!("  flipped by {}", module.trim_end_matches('.')));
        let right = if d.references.is_empty() { "nothing".to_owned() } else { d.references.join(" | ") };
        output.line(format_args!(
            "\n{}{flipped}\n  A      {}\n  B      {}\n  right  {}",
            d.id,
            plain(&d.a),
            plain(&d.b),
            plain(&right)
        ))?;
    }
    Ok(())
}
