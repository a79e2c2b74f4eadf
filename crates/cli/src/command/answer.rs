//! `mobilebert answer`

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mobilebert::{
    AnswerOptions, AnswerPlace, AnswersWithin, ModelOptions, OffsetUnit, PreparedContext, QuestionAnswering,
    Result,
};
use serde::Serialize;

use super::run_task;
use super::watch::Watch;
use crate::args::{self, Global};
use crate::batch::Task;
use crate::failure::Failure;
use crate::input::{Record, Records};
use crate::output::{Format, Output, Results, plain};
use crate::reader::{DASH, read_text};
use crate::table::Column;
use crate::target::{Kinds, Target};

const COLUMNS: [Column<'static>; 2] =
    [Column { flag: "", name: "question", wanted: None }, Column { flag: "", name: "context", wanted: None }];

struct Answering<'c> {
    pipeline: QuestionAnswering,
    /// The context of all questions. Without it each record has its own.
    shared: Option<Shared<'c>>,
    /// The last context of a record, which the next record may have too.
    last: RefCell<Option<PreparedContext>>,
    unit: OffsetUnit,
    several: bool,
    limit: Option<Limit>,
    watch: Watch,
}

/// How much of a long context is read.
#[derive(Debug, Clone, Copy)]
struct Limit {
    windows: Option<usize>,
    time: Option<Duration>,
}

/// The answers to one question.
struct Found {
    answers: Vec<mobilebert::Answer>,
    /// The part of the context that was read, if that is limited.
    part: Option<Part>,
}

/// The part of a context that was read.
#[derive(Serialize)]
struct Part {
    windows: usize,
    windows_read: usize,
    /// Where the rest starts and ends.
    unread: Vec<[usize; 2]>,
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
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    others: &'a [AnswerPlace],
    #[serde(flatten)]
    part: Option<&'a Part>,
}

/// The names of the fields of a [`Line`].
const FIELDS: [&str; 9] =
    ["question_index", "score", "start", "end", "answer", "others", "windows", "windows_read", "unread"];

pub(super) fn run(args: &args::Answer, global: &Global) -> Result<(), Failure> {
    let dash = (args.context.as_deref() == Some(DASH)).then_some(Path::new(DASH));
    let files = [&args.input, &args.questions_file, &args.context_file].map(|file| file.as_deref());
    let inputs: Vec<&Path> = files.into_iter().chain([dash]).flatten().collect();
    let target =
        Target::new(&args.batch, &inputs, global.model("qa"), Kinds { tables: true, vectors: false })?;
    let context = context(args)?;
    let records = records(args)?;
    let several = !records.is_single();
    let model =
        ModelOptions::new().engine(global.engine()).special_tokens_in_text(!args.no_special_tokens_in_text);
    let pipeline = QuestionAnswering::open_with(global.model("qa"), model, options(args))?;
    global.warn(pipeline.tokenizer().warnings());
    if args.handle_impossible_answer {
        global.warn(uncalibrated(global.model("qa"), pipeline.engine().config().handles_unanswerable));
    }
    let watch = Watch::new(global, args.progress);
    let share = |text: &'_ str| watch.read(text, || pipeline.prepare(text));
    let prepared = context.as_deref().map(share).transpose()?;
    let shared = prepared.zip(context.as_deref()).map(|(context, text)| Shared { context, text });
    let time = args.deadline_ms.map(Duration::from_millis);
    let limit = Limit { windows: args.max_windows, time };
    let limit = (limit.windows.is_some() || limit.time.is_some()).then_some(limit);
    let columns = ["question_index", "score", "start", "end", "answer", "windows_read", "windows"];
    let columns = if limit.is_some() { &columns[..] } else { &columns[..5] };
    let (last, unit) = (RefCell::new(None), args.offsets);
    let task = Answering { pipeline, shared, last, unit, several, limit, watch };
    run_task(&task, records, target, Results { columns, fields: &FIELDS, dimensions: None }, global)
}

/// Returns a warning if a model is not known to tell questions without an answer from others.
fn uncalibrated(model: &str, handles_unanswerable: Option<bool>) -> Option<String> {
    let reason = match handles_unanswerable {
        Some(true) => return None,
        Some(false) => "its config.json says that it does not tell questions without an answer from others",
        None => {
            "its config.json does not say that it tells questions without an answer from others, as models trained on \
             SQuAD 2.0 do (\"handles_unanswerable\": true)"
        }
    };
    let advice = "an answer may be given, with a high score, where the context has none";
    Some(format!("the \"no answer\" of `{model}` is not calibrated: {reason}; {advice}"))
}

fn options(args: &args::Answer) -> AnswerOptions {
    AnswerOptions::with(|o| {
        (o.top_k, o.handle_impossible_answer) = (args.top_k, args.handle_impossible_answer);
        o.null_threshold = args.null_threshold;
        (o.max_seq_len, o.doc_stride) = (args.max_seq_len, args.doc_stride);
        (o.merge_equal_texts, o.null_competes) = (!args.no_merge_equal_texts, args.null_competes);
        o.max_question_len = args.max_question_len.unwrap_or(o.max_question_len);
        o.max_answer_len = args.max_answer_len.unwrap_or(o.max_answer_len);
    })
}

fn context(args: &args::Answer) -> Result<Option<String>, Failure> {
    let is_stdin = |path: &Path| path.as_os_str() == DASH;
    let from_stdin =
        args.context.as_deref() == Some(DASH) || args.context_file.as_deref().is_some_and(is_stdin);
    if from_stdin && args.questions_file.as_deref().is_some_and(is_stdin) {
        let problem = "standard input cannot be both the context and the questions";
        return Err(Failure::Usage(problem.to_owned()));
    }
    match (&args.context, &args.context_file) {
        _ if from_stdin => read_text(Path::new(DASH)).map(Some),
        (Some(context), _) => Ok(Some(context.clone())),
        (None, Some(path)) if path.is_dir() => Ok(None),
        (None, Some(path)) => read_text(path).map(Some),
        (None, None) if args.input.is_some() => Ok(None),
        (None, None) => Err(Failure::Usage("pass --context, --context-file or --input".to_owned())),
    }
}

/// Returns the questions, or the rows of a batch file.
fn records(args: &args::Answer) -> Result<Records, Failure> {
    if let Some(path) = &args.input {
        if path.is_dir() {
            let problem = "is a folder; to ask its texts, pass it as --context-file, with --question";
            return Err(Failure::Usage(format!("--input {} {problem}", path.display())));
        }
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
    if let Some(folder) = args.context_file.as_deref().filter(|path| path.is_dir()) {
        let mut questions = Vec::new();
        while let Some(question) = records.next_batch(1)?.pop() {
            questions.push(question);
        }
        let questions: Arc<[Record]> = questions.into();
        // Each record holds the whole text, so each is made when there is room for it.
        records = Records::folder_with(folder, move |text| {
            let questions = Arc::clone(&questions);
            (0..questions.len()).map(move |i| of_both(&questions[i], &text))
        })?;
        records.header = vec!["file".to_owned(), COLUMNS[0].name.to_owned()];
        return Ok(records);
    }
    records.header = vec![COLUMNS[0].name.to_owned()];
    Ok(records)
}

/// Makes the record that puts a question to the text of a file.
fn of_both(question: &Record, text: &Record) -> Record {
    let (fields, place) = match (&question.fields, &text.fields) {
        (Err(problem), _) => (Err(problem.clone()), &question.place),
        (_, Err(problem)) => (Err(problem.clone()), &text.place),
        (Ok(question), Ok(context)) => (Ok([&question[..], context].concat()), &text.place),
    };
    Record {
        index: question.index,
        place: place.clone(),
        line: text.line,
        file: text.file.clone(),
        end: text.end,
        cells: [&text.cells[..], &question.cells].concat(),
        object: None,
        fields,
    }
}

fn record((index, question): (usize, &String)) -> Record {
    let place = format!("question {}", index + 1);
    let cells = vec![question.clone().into_bytes()];
    let fields = Ok(vec![question.clone()]);
    Record { index, place, line: None, file: None, end: 0, cells, object: None, fields }
}

impl Answering<'_> {
    /// Prepares a context, unless it is the same as that of the record before.
    fn prepare(&self, context: &str) -> Result<PreparedContext> {
        let mut last = self.last.borrow_mut();
        if let Some(prepared) = last.as_ref().filter(|prepared| prepared.text() == context) {
            return Ok(prepared.clone());
        }
        let prepared = self.watch.read(context, || self.pipeline.prepare(context))?;
        Ok(last.insert(prepared).clone())
    }
}

impl Task for Answering<'_> {
    type Outcome = Found;

    fn run(&self, fields: &[String]) -> Result<Self::Outcome> {
        let (question, context) = match (fields, &self.shared) {
            ([question, ..], Some(shared)) => (question, shared.context.clone()),
            ([question, context], None) => (question, self.prepare(context)?),
            _ => return Ok(Found { answers: Vec::new(), part: None }),
        };
        let (pipeline, options) = (&self.pipeline, self.pipeline.options());
        let Some(limit) = self.limit else {
            let job = pipeline.prepare_answer(question, &context, options)?;
            let answers = self.watch.run(|control| pipeline.model().run_one(job, control))?;
            return Ok(Found { answers, part: None });
        };
        let AnswersWithin { answers, windows, windows_read, unread, .. } = self.watch.run(|control| {
            control.deadline = limit.time.and_then(|time| Instant::now().checked_add(time));
            pipeline.answers_within(question, &context, options, limit.windows, control)
        })?;
        let unread = unread.into_iter().map(|part| [part.start, part.end]).collect();
        Ok(Found { answers, part: Some(Part { windows, windows_read, unread }) })
    }

    fn write(
        &self,
        output: &mut Output,
        record: &Record,
        fields: &[String],
        mut found: Self::Outcome,
    ) -> Result<(), Failure> {
        let own = || fields.get(1).map(String::as_str).unwrap_or_default();
        let context = self.shared.as_ref().map_or_else(own, |shared| shared.text);
        let offsets = found.answers.iter_mut().flat_map(|a| {
            let others = a.others.iter_mut().flat_map(|place| [&mut place.start, &mut place.end]);
            [&mut a.start, &mut a.end].into_iter().chain(others)
        });
        let unread = found.part.iter_mut().flat_map(|part| part.unread.as_flattened_mut());
        self.unit.convert(context, offsets.chain(unread))?;
        let part = found.part.as_ref();
        if self.several && output.format() == Format::Human {
            let file = record.file.as_deref().map(|file| format!("{}: ", plain(file))).unwrap_or_default();
            output.line(format_args!("{file}{}. {}", record.index + 1, plain(&fields[0])))?;
        }
        for found in &found.answers {
            let line = Line {
                question_index: record.index,
                score: found.score,
                start: found.start,
                end: found.end,
                answer: &found.answer,
                others: &found.others,
                part,
            };
            match output.format() {
                Format::Json => output.result(record, "answer", &line)?,
                Format::Human => {
                    let answer =
                        if line.answer.is_empty() { "(no answer)".into() } else { plain(line.answer) };
                    let others = match line.others.len() {
                        0 => String::new(),
                        1 => "\t(and 1 more place)".to_owned(),
                        count => format!("\t(and {count} more places)"),
                    };
                    let part = part.map_or_else(String::new, |part| {
                        format!("\t({} of {} windows read)", part.windows_read, part.windows)
                    });
                    let (score, start, end) = (line.score, line.start, line.end);
                    output.line(format_args!("{answer}\t{score:.4}\t{start}..{end}{others}{part}"))?;
                }
                Format::Table => {
                    let cells = [record.index, line.start, line.end].map(|number| number.to_string());
                    let [index, start, end] = cells;
                    let mut row = vec![index, line.score.to_string(), start, end, found.answer.clone()];
                    let part = part.iter().flat_map(|part| [part.windows_read, part.windows]);
                    row.extend(part.map(|number| number.to_string()));
                    output.row(record, &row)?;
                }
            }
        }
        Ok(())
    }
}
