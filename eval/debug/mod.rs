//! Finds the layer, tensor and channel that changed an answer.

mod search;

use mobilebert::model::{self, Weights};
use mobilebert::{Head, ModelConfig, ModelFiles, TokenizedText, Tokenizer, Window, WindowOptions};
use mobilebert_tools::dataset::Squad;
use serde::Serialize;

use self::search::{Found, Models, Replay};
use crate::args::Debug;
use crate::failure::{Failure, print};
use crate::inputs::Input;
use crate::layers::{self, LayerError};

/// Longest sequence, as the pipeline's default.
const MAX_SEQ_LEN: usize = 384;

/// The result for one question.
#[derive(Debug, Serialize)]
struct Replayed {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    question: String,
    /// The model in question.
    answer: String,
    /// The reference in f32.
    reference: String,
    /// `None` if the answers agree.
    found: Option<Found>,
    layers: Vec<LayerError>,
}

pub(crate) fn run(args: &Debug) -> Result<(), Failure> {
    let source = args.reference.as_deref().unwrap_or(&args.model.model);
    let (files, reference) = (ModelFiles::resolve(&args.model.model)?, ModelFiles::resolve(source)?);
    let config = ModelConfig::from_json(&files.config_json()?)?;
    if config.head != Head::QuestionAnswering {
        return Err(Failure::Input(format!("{} does not answer questions", args.model.model)));
    }
    let reference_config = ModelConfig::from_json(&reference.config_json()?)?;
    let graph = model::build(&config, config.head);
    let reference_graph = model::build(&reference_config, reference_config.head);
    if graph != reference_graph {
        let problem = "have different architectures, so their tensors cannot be swapped";
        return Err(Failure::Input(format!("{} and {source} {problem}", args.model.model)));
    }
    let weights = Weights::bind(files.checkpoint()?, &config, &graph)?;
    let right = Weights::bind(reference.checkpoint()?, &reference_config, &graph)?;
    let stored = config.stored_precision();
    let models = Models {
        config: &config,
        graph: &graph,
        suspect: &weights,
        reference: &right,
        engine: args.model.engine(),
        precision: args.model.how.precision.unwrap_or(stored),
    };
    let replay = Replay::new(models)?;
    let tokenizer = files.tokenizer()?;
    let questions = questions(args)?;
    let limit = tokenizer
        .model_max_length()
        .map_or(config.max_position_embeddings, |most| most.min(config.max_position_embeddings));
    let options = WindowOptions::new(args.model.how.max_seq_len.unwrap_or(MAX_SEQ_LEN).min(limit));
    let mut last = None;
    for (id, question, context) in &questions {
        let replayed = one(&replay, &tokenizer, &options, (id.as_deref(), question, context))?;
        let is_found = replayed.found.is_some();
        last = Some(replayed);
        if is_found {
            break;
        }
    }
    let Some(replayed) = last else { return Err(Failure::Input("there is no question".to_owned())) };
    print(&match args.json {
        true => format!("{}\n", serde_json::to_string(&replayed).unwrap_or_default()),
        false => human(&replayed, questions.len()),
    })
}

type Asked = (Option<String>, String, String);

fn questions(args: &Debug) -> Result<Vec<Asked>, Failure> {
    if let (Some(question), Some(context)) = (&args.question, &args.context) {
        let is_blank = |(_, text): &(&str, &String)| text.trim().is_empty();
        if let Some((flag, _)) = [("--question", question), ("--context", context)].into_iter().find(is_blank)
        {
            return Err(Failure::Usage(format!("{flag} is empty")));
        }
        return Ok(vec![(None, question.clone(), context.clone())]);
    }
    let Some(path) = &args.data else { return Ok(Vec::new()) };
    let squad = Squad::read(path)?;
    let wanted = |id: &str| args.id.as_deref().is_none_or(|wanted| wanted == id);
    let questions = squad.questions.iter().filter(|q| wanted(&q.id));
    let asked: Vec<Asked> =
        questions.map(|q| (Some(q.id.clone()), q.question.clone(), squad.context(q).to_owned())).collect();
    match (asked.is_empty(), &args.id) {
        (true, Some(id)) => {
            let known: Vec<String> = squad.questions.iter().take(3).map(|q| format!("`{}`", q.id)).collect();
            let (all, known) = (squad.questions.len(), known.join(", "));
            let problem = format!("no question `{id}`; the ids of its {all} questions begin with {known}");
            Err(Failure::Input(format!("{}: {problem}", path.display())))
        }
        _ => Ok(asked),
    }
}

/// Replays the first window whose answers differ, or else the first one.
fn one(
    replay: &Replay<'_>,
    tokenizer: &Tokenizer,
    options: &WindowOptions,
    (id, question, context): (Option<&str>, &str, &str),
) -> Result<Replayed, Failure> {
    let (asked, text): (TokenizedText, TokenizedText) =
        (tokenizer.tokenize(question)?, tokenizer.tokenize(context)?);
    let windows: Vec<Window> = text.windows_with_question(&asked, options)?.collect();
    let mut chosen = None;
    for window in &windows {
        let input = Input::from(window.encoding().clone());
        let answers = replay.answers(&input, window.positions())?;
        let differ = answers.0 != answers.1;
        if chosen.is_none() || differ {
            chosen = Some((window, input, answers));
        }
        if differ {
            break;
        }
    }
    let Some((window, input, (suspect, reference))) = chosen else {
        return Err(Failure::Input("the context is empty".to_owned()));
    };
    let words = |(first, last): (usize, usize)| {
        let (start, end) = (window.encoding().span(first).start, window.encoding().span(last).end);
        context.get(start..end).unwrap_or_default().to_owned()
    };
    let found = match suspect == reference {
        true => None,
        false => Some(replay.search(&input, window.positions())?),
    };
    Ok(Replayed {
        id: id.map(str::to_owned),
        question: question.to_owned(),
        answer: words(suspect),
        reference: words(reference),
        found,
        layers: layers::errors(replay.suspect(), replay.reference(), &[input])?,
    })
}

fn human(r: &Replayed, questions: usize) -> String {
    let mut text = format!("{}\n", r.question);
    text += &format!("answer     {:?}\nreference  {:?}\n", r.answer, r.reference);
    match &r.found {
        None if questions > 1 => {
            text += &format!("no difference in {questions} questions; this is the last\n")
        }
        None => text += "no difference\n",
        Some(found) => text += &format!("{found}\n"),
    }
    text += "\nerror by layer\n";
    for layer in &r.layers {
        text += &format!("  {:<18} {:.5}\n", layer.layer, layer.error);
    }
    text
}
