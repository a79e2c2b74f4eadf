//! Runs the subcommands, each of which has its own file.

mod answer;
mod bench;
mod classify;
mod compare;
mod completions;
mod convert;
mod embed;
pub(crate) mod external;
mod fill_mask;
mod finetune;
mod head;
mod infer;
mod inspect;
mod kernels;
mod man;
mod profile;
mod progress;
mod quantize;
mod sqnr;
mod tag;
mod tokenize;
mod watch;

use mobilebert::EngineOptions;

use super::args::{Args, Command, Global};
use super::batch::Task;
use super::failure::{Failure, complain};
use super::input::Records;
use super::output::{Output, Results};
use super::signals;
use super::target::Target;

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let global = &args.global;
    global.check()?;
    if let Command::Convert(_) | Command::Quantize(_) | Command::Finetune(_) = &args.command {
        signals::clean_up_at_interrupt_and_termination();
    }
    match &args.command {
        Command::Answer(args) => answer::run(args, global),
        Command::Classify(args) => classify::run(args, global),
        Command::Tag(args) => tag::run(args, global),
        Command::FillMask(args) => fill_mask::run(args, global),
        Command::Embed(args) => embed::run(args, global),
        Command::Tokenize(args) => tokenize::run(args, global),
        Command::Serve(args) => Err(external::SERVE.not_first(&args.flags)),
        Command::Sql(args) => Err(external::SQL.not_first(&args.flags)),
        Command::Inspect => inspect::run(global),
        Command::Infer(args) => infer::run(args, global),
        Command::Convert(args) => convert::run(args, global),
        Command::Quantize(args) => quantize::run(args, global),
        Command::Finetune(args) => finetune::run(args, global),
        Command::Compare(args) => compare::run(args, global),
        Command::Bench(args) => bench::run(args, global),
        Command::Profile(args) => profile::run(args, global),
        Command::Sqnr(args) => sqnr::run(args, global),
        Command::Completions(args) => completions::run(args, global),
        Command::Man(args) => man::run(args, global),
        Command::Kernels => kernels::run(global),
    }
}

/// The model of commands that have no default of their own.
const DEFAULT_MODEL: &str = "qa";

impl Global {
    /// Checks the numbers that decide how much memory is taken.
    fn check(&self) -> Result<(), Failure> {
        Ok(mobilebert_bench::check_threads(self.threads)?)
    }

    /// Returns the model of `--model`, or the default of the command. The default is a name that no folder
    /// can have.
    fn model<'a>(&'a self, default: &'static str) -> &'a str {
        self.model.as_deref().unwrap_or(match default {
            "qa" => "built-in:qa",
            "sentiment" => "built-in:sentiment",
            "ner" => "built-in:ner",
            "embed" => "built-in:embed",
            other => other,
        })
    }

    /// Returns the chosen model, for a command whose task no built-in model was trained for.
    fn chosen_model(&self, command: &str) -> Result<&str, Failure> {
        self.model.as_deref().ok_or_else(|| {
            let problem = format!("{command} has no built-in model; pass --model FOLDER or a hub id");
            Failure::Usage(problem)
        })
    }

    /// Prints what a user should know although nothing failed, unless `--quiet` was given.
    fn warn<W: std::fmt::Display>(&self, warnings: impl IntoIterator<Item = W>) {
        if !self.quiet {
            warnings.into_iter().for_each(|warning| complain(format_args!("warning: {warning}")));
        }
    }

    fn engine(&self) -> EngineOptions {
        let mut options = EngineOptions::new();
        if let Some(backend) = self.backend {
            options = options.backend(backend);
        }
        if let Some(threads) = self.threads {
            options = options.threads(threads);
        }
        if let Some(precision) = self.precision {
            options = options.precision(precision);
        }
        options
    }
}

/// Runs a task on records and writes the results to their place.
fn run_task<T: Task>(
    task: &T,
    records: Records,
    target: Target<'_>,
    results: Results<'_>,
    global: &Global,
) -> Result<(), Failure> {
    global.warn(&records.note);
    let output = Output::open(target, global, &records.header, results)?;
    super::batch::run(task, records, output, global, target.file().is_some())
}
