//! `mobilebert answer`

use std::path::Path;

use mobilebert::{AnswerOptions, ModelOptions, OffsetUnit, PreparedContext, QuestionAnswering, Result};
use serde::Serialize;

use super::run_task;
use super::watch::Watch;
use crate::args::{self, Global};
use crate::batch::Task;
use crate::failure::Failure;
use crate::input::{Record, Records, read_text};
use crate::output::{Format, Output, plain};
use crate::table::Column;

/// The argument that stands for standard input.
const STDIN: &str = "-";

const COLUMNS: [Column<'static>; 2] =
    [Column { flag: "", name: "question", wanted: None }, Column { flag: "", name: "context", wanted: None }];

struct Answering<'c> {
    pipeline: QuestionAnswering,
    /// The context of all questions. Without it each record has its own.
    shared: Option<Shared<'c>>,
    unit: OffsetUnit,
    several: bool,
    watch: Watch,
}

/// The work that is done once for all questions.
struct Shared<'c> {
    context: PreparedContext,
    text: &'c str,
}

/// The result as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    question_index: usize,
    score: f32,
    start: usize,
    end: usize,
    answer: &'a str,
}

pub(super) fn run(args: &args::Answer, global: &Global) -> Result<(), Failure> {
    let context = context(args)?;
    let records = records(args)?;
    let several = !records.is_single();
    let model =
        ModelOptions::new().engine(global.engine()).special_tokens_in_text(!args.no_special_tokens_in_text);
    let pipeline = QuestionAnswering::open_with(global.model("qa"), model, options(args))?;
    global.warn(pipeline.tokenizer().warnings());
    let share = |text| Ok::<_, Failure>(Shared { context: pipeline.prepare(text)?, text });
    let shared = context.as_deref().map(share).transpose()?;
    let watch = Watch::new(global, args.progress);
    let task = Answering { pipeline, shared, unit: args.offsets, several, watch };
    let results = ["question_index", "score", "start", "end", "answer"];
    run_task(&task, records, &args.batch, args.input.as_deref(), &results, global)
}

fn options(args: &args::Answer) -> AnswerOptions {
    AnswerOptions::with(|o| {
        (o.top_k, o.handle_impossible_answer) = (args.top_k, args.handle_impossible_answer);
        (o.max_seq_len, o.doc_stride) = (args.max_seq_len, args.doc_stride);
        o.max_question_len = args.max_question_len.unwrap_or(o.max_question_len);
        o.max_answer_len = args.max_answer_len.unwrap_or(o.max_answer_len);
    })
}

fn context(args: &args::Answer) -> Result<Option<String>, Failure> {
    let is_stdin = |path: &Path| path.as_os_str() == STDIN;
    let from_stdin =
        args.context.as_deref() == Some(STDIN) || args.context_file.as_deref().is_some_and(is_stdin);
    if from_stdin && args.questions_file.as_deref().is_some_and(is_stdin) {
        let problem = "standard input cannot be both the context and the questions";
        return Err(Failure::Usage(problem.to_owned()));
    }
    match (&args.context, &args.context_file) {
        _ if from_stdin => read_text(Path::new(STDIN)).map(Some),
        (Some(context), _) => Ok(Some(context.clone())),
        (None, Some(path)) => read_text(path).map(Some),
        (None, None) if args.input.is_some() => Ok(None),
        (None, None) => Err(Failure::Usage("pass --context, --context-file or --input".to_owned())),
    }
}

/// Returns the questions, or the rows of a batch file.
fn records(args: &args::Answer) -> Result<Records, Failure> {
    if let Some(path) = &args.input {
        return Records::file(path, &COLUMNS, &args.batch);
    }
    let mut records = match (args.question.as_slice(), &args.questions_file) {
        ([], None) => return Err(Failure::Usage("pass --question, --questions-file or --input".to_owned())),
        ([], Some(path)) => Records::lines(path)?,
        ([question], None) => Records::single(vec![question.clone()]),
        (questions, None) => Records::list(questions.iter().enumerate().map(record).collect()),
        (questions, Some(path)) => {
            let mut all: Vec<Record> = questions.iter().enumerate().map(record).collect();
            let mut lines = Records::lines(path)?;
            while let Some(line) = lines.next_batch(1)?.pop() {
                all.push(Record { index: all.len(), ..line });
            }
            Records::list(all)
        }
    };
    records.header = vec![COLUMNS[0].name.to_owned()];
    Ok(records)
}

fn record((index, question): (usize, &String)) -> Record {
    let place = format!("question {}", index + 1);
    let cells = vec![question.clone().into_bytes()];
    Record { index, place, end: 0, cells, object: None, fields: Ok(vec![question.clone()]) }
}

impl Task for Answering<'_> {
    type Outcome = Vec<mobilebert::Answer>;

    fn run(&self, fields: &[String]) -> Result<Self::Outcome> {
        let (question, context) = match (fields, &self.shared) {
            ([question, ..], Some(shared)) => (question, shared.context.clone()),
            ([question, context], None) => (question, self.pipeline.prepare(context.as_str())?),
            _ => return Ok(Vec::new()),
        };
        let job = self.pipeline.prepare_answer(question, &context, self.pipeline.options())?;
        self.watch.run(|control| self.pipeline.model().run_one(job, control))
    }

    fn write(
        &self,
        output: &mut Output,
        record: &Record,
        fields: &[String],
        mut answers: Self::Outcome,
    ) -> Result<(), Failure> {
        let own = || fields.get(1).map(String::as_str).unwrap_or_default();
        let context = self.shared.as_ref().map_or_else(own, |shared| shared.text);
        self.unit.convert(context, answers.iter_mut().flat_map(|a| [&mut a.start, &mut a.end]))?;
        if self.several && output.format() == Format::Human {
            output.line(format_args!("{}. {}", record.index + 1, plain(&fields[0])))?;
        }
        for found in &answers {
            let line = Line {
                question_index: record.index,
                score: found.score,
                start: found.start,
                end: found.end,
                answer: &found.answer,
            };
            match output.format() {
                Format::Json => output.result(record, "answer", &line)?,
                Format::Human => {
                    let answer =
                        if line.answer.is_empty() { "(no answer)".into() } else { plain(line.answer) };
                    output.line(format_args!("{answer}\t{:.4}\t{}..{}", line.score, line.start, line.end))?;
                }
                Format::Table => {
                    let cells = [record.index, line.start, line.end].map(|number| number.to_string());
                    let [index, start, end] = cells;
                    output.row(record, &[index, line.score.to_string(), start, end, found.answer.clone()])?;
                }
            }
        }
        Ok(())
    }
}
