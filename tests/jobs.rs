//! Tests jobs with any order of sequences, any neighbours in a pass and any scheduler, and one model below
//! many pipelines.

#[path = "support/hard.rs"]
#[expect(dead_code, reason = "of its models only the tools are used here")]
mod hard;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mobilebert::{
    AggregationStrategy, Answer, AnswerOptions, ClassifyOptions, Embedder, EngineOptions, Error, ErrorKind,
    FillMask, Head, Job, LongText, Model, ModelOptions, Pass, Precision, QuestionAnswering, Result,
    RunControl, TagOptions, TextClassification, TokenClassification,
};

const CONTEXT: &str = "anna works in paris and the king wrote a book at a good time of day ";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints").join(name)
}

fn qa() -> QuestionAnswering {
    QuestionAnswering::open(golden("mobilebert-f32")).unwrap()
}

fn small_windows() -> AnswerOptions {
    AnswerOptions::with(|o| {
        o.top_k = 5;
        (o.max_seq_len, o.doc_stride) = (Some(16), Some(4));
    })
}

/// Runs every sequence in its own pass and hands the rows back in the given order.
fn in_order<J: Job>(model: &Model, mut job: J, order: impl Fn(usize) -> Vec<usize>) -> J::Output {
    let count = job.count();
    for index in order(count) {
        let mut pass = Pass::new();
        pass.push(&job.sequence(index).unwrap()).unwrap();
        let rows = pass.run(model.engine()).unwrap();
        job.accept(index, rows.rows(0)).unwrap();
    }
    job.finish().unwrap()
}

/// Returns orders that a scheduler may choose.
fn orders() -> [fn(usize) -> Vec<usize>; 3] {
    fn odd_first(count: usize) -> Vec<usize> {
        (1..count).step_by(2).chain((0..count).step_by(2)).collect()
    }
    [|count| (0..count).collect(), |count| (0..count).rev().collect(), odd_first]
}

#[test]
fn results_do_not_depend_on_the_order_of_sequences() {
    let long = CONTEXT.repeat(8);
    let qa = qa();
    let context = qa.prepare(long.as_str()).unwrap();
    let options = small_windows();
    let expected = qa.answers_with("who ?", &long, &options).unwrap();
    let ranked = qa.rank_with(&[("who ?", &context)], &options).unwrap().remove(0);
    assert!(qa.prepare_answer("who ?", &context, &options).unwrap().count() > 8);

    let tagger = TokenClassification::open(golden("mobilebert-ner-f32")).unwrap();
    let tags = TagOptions::with(|o| {
        o.aggregation_strategy = AggregationStrategy::Average;
        o.ignore_labels.clear();
        (o.max_seq_len, o.doc_stride) = (Some(12), Some(5));
    });
    let entities = tagger.tag_with(&long, &tags).unwrap();

    let classifier = TextClassification::open(golden("bert-f32")).unwrap();
    let mean = ClassifyOptions::with(|o| {
        (o.top_k, o.long_text, o.max_seq_len) = (3, LongText::WindowsMean, Some(16));
    });
    let max = ClassifyOptions::with(|o| {
        (o.top_k, o.long_text, o.max_seq_len) = (3, LongText::WindowsMax, Some(16));
    });
    for order in orders() {
        let job = qa.prepare_answer("who ?", &context, &options).unwrap();
        assert_eq!(in_order(qa.model(), job, order), expected);
        let job = qa.prepare_rank("who ?", &context, &options).unwrap();
        assert_eq!(in_order(qa.model(), job, order), ranked);
        let job = tagger.prepare_tag(&long, &tags).unwrap();
        assert_eq!(in_order(tagger.model(), job, order), entities);
        for options in [&mean, &max] {
            let job = classifier.prepare_classify(&long, options).unwrap();
            let expected = classifier.classify_with(&long, options).unwrap();
            assert_eq!(in_order(classifier.model(), job, order), expected);
        }
    }
}

#[test]
fn texts_of_all_tasks_share_passes_and_keep_their_results() {
    let mlm = FillMask::open(golden("mobilebert-mlm-f32")).unwrap();
    let texts = ["a [MASK] b", "[MASK] and [MASK]", "the king [MASK]"];
    let batch = mlm.fill_batch(&texts).unwrap();
    for (text, found) in texts.iter().zip(&batch) {
        assert_eq!(found, &mlm.fill(text).unwrap(), "{text}");
    }
    assert_eq!(batch[1].len(), 2);

    let embedder = Embedder::open(golden("bert-f32")).unwrap();
    for (text, found) in texts.iter().zip(embedder.embed_batch(&texts).unwrap()) {
        assert_eq!(found, embedder.embed(text).unwrap(), "{text}");
    }

    let qa = qa();
    let contexts: Vec<String> =
        (1..20).map(|n| CONTEXT[..].split(' ').take(2 + n % 9).collect::<Vec<_>>().join(" ")).collect();
    let pairs: Vec<(&str, &str)> = contexts.iter().map(|context| ("who ?", context.as_str())).collect();
    let batch = qa.answer_batch(&pairs).unwrap();
    let alone: Vec<Vec<Answer>> = pairs.iter().map(|(q, c)| qa.answers(q, c).unwrap()).collect();
    assert_eq!(batch, alone);
    let jobs = pairs.iter().map(|(q, c)| qa.prepare_answer(q, &qa.prepare(*c)?, qa.options()));
    let mut passes = 0;
    let mut count = |progress: mobilebert::PassProgress| {
        passes = progress.passes;
        std::ops::ControlFlow::Continue(())
    };
    let mut control = RunControl::default();
    control.on_pass = Some(&mut count);
    let run: Result<Vec<_>> = qa.model().run(jobs, &mut control).unwrap().into_iter().collect();
    assert_eq!(run.unwrap(), batch);
    assert_eq!(passes, 1, "19 pairs of below 20 tokens fit one pass");
}

#[test]
fn a_job_takes_its_own_rows_once() {
    let qa = qa();
    let context = qa.prepare(CONTEXT).unwrap();
    let mut job = qa.prepare_answer("who ?", &context, &small_windows()).unwrap();
    assert_eq!(job.count(), 2);
    assert!(job.sequence(2).is_none());
    let rows = |job: &dyn Job<Output = Vec<Answer>>, index| {
        vec![0.5; 2 * job.sequence(index).unwrap().encoding().len()]
    };
    let (first, second) = (rows(&job, 0), rows(&job, 1));
    let refused = |result: Result<()>, word: &str| {
        let error = result.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Rows { .. }), "{error:?}");
        assert!(error.to_string().contains(word), "{word} is not in: {error}");
    };
    refused(job.accept(0, &first[1..]), "sequence 0: expected 16 rows of 2 numbers; found 31 numbers");
    refused(job.accept(2, &first), "one of 2 sequences");
    refused(job.finish().map(drop), "sequence 0");
    job.accept(1, &second).unwrap();
    refused(job.accept(1, &second), "once");
    refused(job.finish().map(drop), "sequence 0");
    job.accept(0, &first).unwrap();
    refused(job.accept(0, &first), "once");
    assert_eq!(job.finish().unwrap().len(), 5);
    refused(job.finish().map(drop), "finished");
    refused(job.finish().map(drop), "sequence 1");
}

#[test]
fn a_boxed_job_is_the_job() {
    let qa = qa();
    let context = qa.prepare(CONTEXT).unwrap();
    let job = || qa.prepare_answer("who ?", &context, &small_windows()).unwrap();
    let boxed: Box<dyn Job<Output = Vec<Answer>>> = Box::new(job());
    assert_eq!(Job::count(&boxed), 2);
    assert!(Job::sequence(&boxed, 1).is_some() && Job::sequence(&boxed, 2).is_none());
    assert_eq!(in_order(qa.model(), boxed, orders()[1]), in_order(qa.model(), job(), orders()[0]));
}

#[test]
fn a_pass_counts_its_sequences_and_tokens() {
    let qa = qa();
    let job = qa.prepare_answer("who ?", &qa.prepare(CONTEXT).unwrap(), &small_windows()).unwrap();
    let mut pass = Pass::new();
    assert_eq!((pass.sequences(), pass.tokens()), (0, 0));
    for (_, sequence) in job.sequences() {
        pass.push(&sequence).unwrap();
    }
    assert_eq!((pass.sequences(), pass.tokens()), (2, 16 + 14));
    pass.clear();
    assert_eq!((pass.sequences(), pass.tokens()), (0, 0));
}

/// Each call of the function that watches a run says what has been done.
#[test]
fn a_run_counts_passes_sequences_and_tokens() {
    let qa = qa();
    let context = qa.prepare(CONTEXT.repeat(60)).unwrap();
    let mut options = small_windows();
    (options.max_seq_len, options.doc_stride) = (Some(16), Some(0));
    let job = qa.prepare_answer("who ?", &context, &options).unwrap();
    let lengths: Vec<usize> = job.sequences().map(|(_, sequence)| sequence.encoding().len()).collect();
    // All windows but the last one have 16 tokens, and 32 of them fill a pass.
    assert!(lengths.len() > 70 && lengths[..lengths.len() - 1].iter().all(|&n| n == 16));
    let mut seen = Vec::new();
    let mut note = |progress: mobilebert::PassProgress| {
        seen.push((progress.passes, progress.sequences, progress.known_sequences, progress.tokens));
        std::ops::ControlFlow::Continue(())
    };
    let mut control = RunControl::default();
    control.on_pass = Some(&mut note);
    qa.model().run_one(job, &mut control).unwrap();
    let expected: Vec<_> = (1..=lengths.len().div_ceil(32))
        .map(|passes| {
            let sequences = (32 * passes).min(lengths.len());
            (passes, sequences, lengths.len(), lengths[..sequences].iter().sum())
        })
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn many_questions_have_the_answers_of_each() {
    let qa = qa();
    let questions = ["who ?", "where is paris ?", "what is good ?"];
    let alone = questions.map(|question| qa.answers(question, CONTEXT).unwrap());
    assert_eq!(qa.answer_many(&questions, CONTEXT).unwrap(), alone);
    let options = small_windows();
    let alone = questions.map(|question| qa.answers_with(question, CONTEXT, &options).unwrap());
    assert!(alone.iter().all(|answers| answers.len() == 5));
    assert_eq!(qa.answer_many_with(&questions, CONTEXT, &options).unwrap(), alone);
    assert_eq!(qa.answer_with(questions[0], CONTEXT, &options).unwrap(), alone[0][0]);
}

/// The golden models take 24 tokens.
#[test]
fn no_pipeline_takes_longer_sequences_than_its_model() {
    let qa = qa();
    let classifier = TextClassification::open(golden("bert-f32")).unwrap();
    let tagger = TokenClassification::open(golden("mobilebert-ner-f32")).unwrap();
    let embedder = Embedder::open(golden("bert-f32")).unwrap();
    let results = |n| {
        let answer = AnswerOptions::with(|o| (o.max_seq_len, o.doc_stride) = (Some(n), Some(1)));
        let classify = ClassifyOptions::with(|o| o.max_seq_len = Some(n));
        let tag = TagOptions::with(|o| (o.max_seq_len, o.doc_stride) = (Some(n), Some(1)));
        let embed = mobilebert::EmbedOptions::with(|o| o.max_seq_len = Some(n));
        [
            qa.answers_with("who ?", CONTEXT, &answer).map(drop),
            classifier.classify_with(CONTEXT, &classify).map(drop),
            tagger.tag_with(CONTEXT, &tag).map(drop),
            embedder.embed_with(CONTEXT, &embed).map(drop),
        ]
    };
    assert!(results(24).into_iter().all(|result| result.is_ok()));
    for result in results(25) {
        let error = result.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Option { option: "max_seq_len", .. }), "{error:?}");
        assert!(error.to_string().contains("at most 24"), "{error}");
    }
}

/// Setting one option of a model keeps the others.
#[test]
fn options_of_a_model_are_set_one_by_one() {
    let options = || ModelOptions::new().engine(EngineOptions::new().precision(Precision::Bf16));
    let orders = [
        options().head(Head::None).special_tokens_in_text(false),
        options().special_tokens_in_text(false).head(Head::None),
    ];
    for options in orders {
        let model = Model::open(golden("bert-f32"), options).unwrap();
        let precision = model.engine().backend().precision();
        assert_eq!((model.head(), precision), (Head::None, Precision::Bf16));
        assert_eq!(model.tokenizer().tokenize("[SEP]").unwrap().len(), 3);
    }
}

/// Whether `[SEP]` in a text is a special token is said by the options, or else by the model's files.
#[test]
fn special_tokens_in_text_are_what_the_options_or_the_files_say() {
    let folder = tempfile::tempdir().unwrap();
    hard::copy(&golden("bert-f32"), folder.path());
    let tokens = |options: ModelOptions| {
        let model = Model::open(folder.path(), options).unwrap();
        model.tokenizer().tokenize("[SEP]").unwrap().len()
    };
    assert_eq!(tokens(ModelOptions::new()), 1);
    let mut config: serde_json::Value = serde_json::from_slice(
        &std::fs::read(folder.path().join("tokenizer_config.json")).unwrap_or(b"{}".into()),
    )
    .unwrap();
    config["split_special_tokens"] = true.into();
    std::fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    assert_eq!(tokens(ModelOptions::new()), 3);
    assert_eq!(tokens(ModelOptions::new().special_tokens_in_text(true)), 1);
    assert_eq!(tokens(ModelOptions::new().special_tokens_in_text(false)), 3);
}

#[test]
fn rows_that_are_not_finite_fail_their_job() {
    let qa = qa();
    let context = qa.prepare(CONTEXT).unwrap();
    let mut job = qa.prepare_answer("who ?", &context, &small_windows()).unwrap();
    let mut rows = vec![0.5; 32];
    rows[7] = f32::NAN;
    for result in [job.accept(0, &rows), job.accept(1, &[0.0; 28]), job.finish().map(drop)] {
        let error = result.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::NotFinite { row: 3, value } if value.is_nan()),
            "{error:?}"
        );
    }
}

/// Returns a model whose results are not finite for texts with one word.
fn overflows_on_king(folder: &Path) -> TextClassification {
    let source = folder.join("model");
    hard::copy(&golden("bert-f32"), &source);
    let tokenizer = mobilebert::Tokenizer::open(&source).unwrap();
    let king = tokenizer.token_to_id("king").unwrap() as usize;
    hard::edit(&source, |tensors| {
        let table = tensors.get_mut("bert.embeddings.word_embeddings.weight").unwrap();
        table[king * 16..(king + 1) * 16].fill(3e38);
    });
    let engine = EngineOptions::new().precision(Precision::F32);
    TextClassification::open_with(&source, engine, ClassifyOptions::default()).unwrap()
}

#[test]
fn a_text_whose_rows_are_not_finite_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let classifier = overflows_on_king(folder.path());
    let texts = ["a good film", "the king wrote a book", "bad", ""];
    let not_finite = |error: &Error| matches!(error.kind(), ErrorKind::NotFinite { .. });
    assert!(not_finite(&classifier.classify(texts[1]).unwrap_err()));

    let jobs = texts.iter().map(|text| classifier.prepare_classify(text, classifier.options()));
    let results = classifier.model().run(jobs, &mut RunControl::default()).unwrap();
    assert_eq!(results.len(), 4);
    for i in [0, 2] {
        assert_eq!(results[i].as_ref().unwrap(), &classifier.classify(texts[i]).unwrap());
    }
    assert!(not_finite(results[1].as_ref().unwrap_err()), "{:?}", results[1]);
    assert!(matches!(results[3].as_ref().unwrap_err().kind(), ErrorKind::EmptyText { .. }));

    let error = classifier.classify_batch(&texts[..3]).unwrap_err();
    assert!(not_finite(&error) && error.to_string().starts_with("text 2: "), "{error}");
}

/// A job that names a token which the model does not have fails the pass that it is in, and only the job
/// itself gets the error.
#[test]
fn a_job_that_breaks_its_pass_fails_alone() {
    struct Foreign(mobilebert::Encoding);
    impl Job for Foreign {
        type Output = mobilebert::Classification;
        fn count(&self) -> usize {
            1
        }
        fn sequence(&self, _: usize) -> Option<mobilebert::pipeline::Sequence> {
            Some(mobilebert::pipeline::Sequence::new(self.0.clone()))
        }
        fn accept(&mut self, _: usize, _: &[f32]) -> Result<()> {
            Ok(())
        }
        fn finish(&mut self) -> Result<Self::Output> {
            unreachable!("its pass has failed")
        }
    }
    let classifier = TextClassification::open(golden("bert-f32")).unwrap();
    // The tokens come from another model and are more than the 24 positions of this one.
    let foreign = classifier.tokenizer().encode(&"a ".repeat(100)).unwrap();
    let job = |text| -> Result<Box<dyn Job<Output = _>>> {
        Ok(Box::new(classifier.prepare_classify(text, classifier.options())?))
    };
    let jobs = [job("good"), Ok(Box::new(Foreign(foreign)) as Box<dyn Job<Output = _>>), job("bad")];
    let results = classifier.model().run(jobs, &mut RunControl::default()).unwrap();
    assert_eq!(results[0].as_ref().unwrap(), &classifier.classify("good").unwrap());
    assert!(matches!(results[1].as_ref().unwrap_err().kind(), ErrorKind::Batch { .. }), "{:?}", results[1]);
    assert_eq!(results[2].as_ref().unwrap(), &classifier.classify("bad").unwrap());
}

#[test]
fn pipelines_with_different_options_share_one_loaded_model() {
    let model = Model::open(golden("mobilebert-f32"), ModelOptions::new()).unwrap();
    let one = QuestionAnswering::from_parts(model.clone(), AnswerOptions::default()).unwrap();
    let three = AnswerOptions::with(|o| (o.top_k, o.max_answer_len) = (3, 1));
    let three = QuestionAnswering::from_parts(model.clone(), three).unwrap();
    for pipeline in [&one, &three] {
        assert!(Arc::ptr_eq(pipeline.model().engine(), model.engine()));
        assert!(Arc::ptr_eq(pipeline.model().tokenizer(), model.tokenizer()));
    }
    assert_eq!(Arc::strong_count(model.engine()), 3, "the model's and one of each pipeline");
    assert_eq!(one.answers("who ?", CONTEXT).unwrap().len(), 1);
    let short = three.answers("who ?", CONTEXT).unwrap();
    assert_eq!(short.len(), 3);
    assert!(short.iter().all(|answer| !answer.answer.contains(' ')));
    // Options may be given to a call, without a separate pipeline.
    assert_eq!(one.answers_with("who ?", CONTEXT, three.options()).unwrap(), short);
}

#[test]
fn a_pipeline_refuses_a_model_of_another_head() {
    let classifier = Model::open(golden("bert-f32"), ModelOptions::new()).unwrap();
    let error = QuestionAnswering::from_parts(classifier.clone(), AnswerOptions::default()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WrongTask { .. }), "{error:?}");
    let headless = classifier.encoder().unwrap();
    let error = TextClassification::from_parts(headless, ClassifyOptions::default()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Option { option: "head", .. }), "{error:?}");
    assert!(error.to_string().contains("embeddings only"), "{error}");
}

/// The encoder below a head gives the same bits as the model that is opened without a head.
#[test]
fn an_embedder_shares_the_model_of_any_task() {
    let models = ["mobilebert-f32", "bert-f32", "mobilebert-ner-f32", "mobilebert-mlm-f32"].map(golden);
    for source in
        models.iter().map(PathBuf::as_path).chain([Path::new("models/qa"), Path::new("models/sentiment")])
    {
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            let options = EngineOptions::new().precision(precision);
            let model = Model::open(source, options.clone()).unwrap();
            assert_ne!(model.head(), Head::None);
            let shared = Embedder::from_parts(model, Default::default()).unwrap();
            let alone = Embedder::open_with(source, options, Default::default()).unwrap();
            let texts = ["anna works in paris", "a good time"];
            let vectors = shared.embed_batch(&texts).unwrap();
            assert_eq!(vectors, alone.embed_batch(&texts).unwrap(), "{} in {precision}", source.display());
        }
    }
}

#[test]
fn jobs_are_taken_up_only_when_a_pass_has_room() {
    let classifier = TextClassification::open(golden("bert-f32")).unwrap();
    let (taken, delivered, most_open) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let jobs = (0..600).map(|_| {
        taken.set(taken.get() + 1);
        most_open.set(most_open.get().max(taken.get() - delivered.get()));
        classifier.prepare_classify("good time", classifier.options())
    });
    let deliver = |index, result: Result<_>| {
        assert_eq!(index, delivered.get());
        result.unwrap();
        delivered.set(index + 1);
    };
    classifier.model().run_each(jobs, &mut RunControl::default(), deliver).unwrap();
    assert_eq!((taken.get(), delivered.get()), (600, 600));
    // Each has four tokens, so 128 of them fill a pass.
    assert_eq!(most_open.get(), 129);
}

#[test]
fn a_prepared_context_outlives_its_text_and_crosses_threads() {
    let qa = qa();
    let context = {
        let text = CONTEXT.to_owned();
        qa.prepare(text).unwrap()
    };
    let expected = qa.answers("who ?", CONTEXT).unwrap();
    let worker = std::thread::spawn({
        let (qa, context) = (qa.clone(), context.clone());
        move || qa.answers_in("who ?", &context).unwrap()
    });
    assert_eq!(worker.join().unwrap(), expected);
    assert_eq!(context.text(), CONTEXT);
}

#[test]
fn options_are_read_from_json_and_refuse_unknown_names() {
    let options: AnswerOptions = serde_json::from_str(r#"{"top_k": 3, "max_seq_len": 64}"#).unwrap();
    assert_eq!(options, AnswerOptions::with(|o| (o.top_k, o.max_seq_len) = (3, Some(64))));
    let options: ClassifyOptions =
        serde_json::from_str(r#"{"long_text": "windows-mean", "function_to_apply": "sigmoid"}"#).unwrap();
    assert_eq!(options.long_text, LongText::WindowsMean);
    assert_eq!(serde_json::to_value(&options).unwrap()["long_text"], "windows-mean");
    let options: TagOptions = serde_json::from_str(r#"{"aggregation_strategy": "first"}"#).unwrap();
    assert_eq!(options.ignore_labels, ["O"]);
    let error = serde_json::from_str::<AnswerOptions>(r#"{"top_n": 3}"#).unwrap_err();
    assert!(error.to_string().contains("top_n"), "{error}");
    // The names are those that the command line reads.
    for strategy in ["none", "simple", "first", "average", "max"] {
        let parsed: AggregationStrategy = strategy.parse().unwrap();
        assert_eq!(serde_json::to_value(parsed).unwrap(), strategy);
    }
    for rule in ["truncate", "windows-mean", "windows-max", "refuse"] {
        assert_eq!(serde_json::to_value(rule.parse::<LongText>().unwrap()).unwrap(), rule);
    }
}
