//! `mobilebert tokenize`

use mobilebert::{Encoding, ModelFiles, OffsetUnit, Result, Tokenizer};
use serde::{Serialize, Serializer};

use super::{DEFAULT_MODEL, run_task};
use crate::args::{self, Global};
use crate::batch::Task;
use crate::failure::Failure;
use crate::input::{Record, Records};
use crate::output::{Format, Output, Results, plain};
use crate::target::{Kinds, Target};

struct Tokenizing {
    tokenizer: Tokenizer,
    offsets: OffsetUnit,
}

/// The result as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    ids: &'a [u32],
    #[serde(serialize_with = "collect_tokens")]
    tokens: &'a Encoding,
    offsets: &'a [(usize, usize)],
    #[serde(skip_serializing_if = "Option::is_none")]
    type_ids: Option<&'a [u32]>,
}

fn collect_tokens<S: Serializer>(encoding: &&Encoding, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(encoding.tokens())
}

pub(super) fn run(args: &args::Tokenize, global: &Global) -> Result<(), Failure> {
    let target = Target::new(
        &args.texts.batch,
        args.texts.source().as_slice(),
        global.model(DEFAULT_MODEL),
        Kinds::default(),
    )?;
    let records = Records::of_texts(&args.texts, args.pair.as_deref(), None)?;
    let tokenizer = ModelFiles::resolve(global.model(DEFAULT_MODEL))?.tokenizer()?;
    global.warn(tokenizer.warnings());
    let task = Tokenizing { tokenizer, offsets: args.offsets };
    run_task(
        &task,
        records,
        target,
        Results { fields: &["ids", "tokens", "offsets", "type_ids"], ..Results::default() },
        global,
    )
}

impl Task for Tokenizing {
    type Outcome = Encoding;

    fn run(&self, fields: &[String]) -> Result<Encoding> {
        match fields {
            [text, pair] => self.tokenizer.encode_pair(text, pair),
            _ => self.tokenizer.encode(fields.first().map(String::as_str).unwrap_or_default()),
        }
    }

    fn write(
        &self,
        output: &mut Output,
        record: &Record,
        fields: &[String],
        encoding: Encoding,
    ) -> Result<(), Failure> {
        let span = |position| {
            encoding.sequence(position).map_or((0, 0), |_| {
                let span = encoding.span(position);
                (span.start, span.end)
            })
        };
        let mut offsets: Vec<(usize, usize)> = (0..encoding.len()).map(span).collect();
        for (text, field) in fields.iter().enumerate() {
            let of_text = offsets.iter_mut().enumerate().filter(|(i, _)| encoding.sequence(*i) == Some(text));
            self.offsets.convert(field, of_text.flat_map(|(_, (start, end))| [start, end]))?;
        }
        match output.format() {
            Format::Json => output.result(
                record,
                "tokens",
                &Line {
                    ids: encoding.ids(),
                    tokens: &encoding,
                    offsets: &offsets,
                    type_ids: (fields.len() > 1).then(|| encoding.type_ids()),
                },
            ),
            Format::Human | Format::Table => {
                let tokens: Vec<&str> = encoding.tokens().collect();
                match &record.file {
                    Some(file) => output.line(format_args!("{}\t{}", plain(file), tokens.join(" "))),
                    None => output.line(format_args!("{}", tokens.join(" "))),
                }
            }
        }
    }
}
