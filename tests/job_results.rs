//! Compares what jobs make of made-up rows with the definitions of their results: for labels, entities,
//! vectors and words for masks. `answer_search.rs` does this for answers.

#[path = "support/random.rs"]
mod random;

use std::path::{Path, PathBuf};

use mobilebert::pipeline::Pooling;
use mobilebert::{
    AggregationStrategy, Batch, ClassifyOptions, EmbedOptions, Embedder, Error, ErrorKind, FillMask,
    FillOptions, Job, LongText, ModelOptions, TagOptions, TextClassification, TokenClassification,
    WindowOptions,
};
use random::Random;

/// The words of the golden vocabularies, one token each.
const WORDS: [&str; 6] = ["anna", "works", "in", "paris", "and", "the"];
/// The models' longest sequence.
const LIMIT: usize = 24;
/// Sums of at most 24 numbers in f32, against f64.
const TOLERANCE: f64 = 1e-5;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints").join(name)
}

fn words(count: usize) -> String {
    (0..count).map(|i| WORDS[i % WORDS.len()]).collect::<Vec<_>>().join(" ")
}

/// Gives a job the rows that `row` makes for each sequence, and returns its result.
fn run<J: Job>(mut job: J, rows: &[Vec<f32>]) -> J::Output {
    assert_eq!((job.count(), job.sequences().count()), (rows.len(), rows.len()));
    assert!(job.sequence(rows.len()).is_none());
    for (index, rows) in rows.iter().enumerate() {
        job.accept(index, rows).unwrap();
    }
    job.finish().unwrap()
}

fn near(found: f32, expected: f64) -> bool {
    (f64::from(found) - expected).abs() <= TOLERANCE * expected.abs().max(1.0)
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|x| x.exp()).sum();
    logits.iter().map(|x| x.exp() / sum).collect()
}

/// Returns the indices of all scores, best first, and in their order where scores are equal.
fn ranked(scores: &[f64]) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..scores.len()).collect();
    indices.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    indices
}

#[test]
fn labels_are_those_of_the_pooled_logits() {
    let model = TextClassification::open(golden("bert-f32")).unwrap();
    let names = &model.engine().config().labels;
    for seed in 0..100 {
        let mut random = Random(seed);
        let policy = [LongText::Truncate, LongText::WindowsMean, LongText::WindowsMax][random.below(3)];
        let options = ClassifyOptions::with(|o| {
            (o.long_text, o.max_seq_len, o.doc_stride) = (policy, Some(8), Some(random.below(3)));
            o.top_k = 1 + random.below(3);
            o.threshold = (random.below(2) == 0).then(|| random.below(4) as f32 / 8.0);
            o.labels = names.iter().filter(|_| random.below(2) == 0).cloned().collect();
        });
        let length = 1 + random.below(30);
        let job = model.prepare_classify(&words(length), &options).unwrap();
        let rows: Vec<Vec<f32>> =
            (0..job.count()).map(|_| (0..names.len()).map(|_| random.logit(1.0)).collect()).collect();
        let found = run(job, &rows);

        let column = |label: usize| rows.iter().map(move |row| f64::from(row[label]));
        let pool = |label: usize| match policy {
            LongText::WindowsMax => column(label).fold(f64::NEG_INFINITY, f64::max),
            _ => column(label).sum::<f64>() / rows.len() as f64,
        };
        let scores = softmax(&(0..names.len()).map(pool).collect::<Vec<_>>());
        let is_wanted = |&label: &usize| {
            (options.labels.is_empty() || options.labels.contains(&names[label]))
                && options.threshold.is_none_or(|least| scores[label] >= f64::from(least))
        };
        let expected: Vec<usize> =
            ranked(&scores).into_iter().filter(is_wanted).take(options.top_k).collect();
        let case = format!("seed {seed}, {options:?}: {found:?}");
        assert_eq!(found.labels.len(), expected.len(), "{case}");
        for (found, &expected) in found.labels.iter().zip(&expected) {
            assert!(found.label == names[expected] && near(found.score, scores[expected]), "{case}");
        }
        // Two of the eight tokens are special.
        assert_eq!(found.truncated, policy == LongText::Truncate && length > 6, "{case}");
    }
}

/// A score that is equal to the threshold is reported.
#[test]
fn a_threshold_is_the_least_score() {
    let model = TextClassification::open(golden("bert-f32")).unwrap();
    let labels = |threshold: f32| {
        let options = ClassifyOptions::with(|o| (o.top_k, o.threshold) = (3, Some(threshold)));
        run(model.prepare_classify("anna works", &options).unwrap(), &[vec![0.0; 3]]).labels.len()
    };
    let third = 1.0_f32 / 3.0;
    assert_eq!((labels(third), labels(third.next_up()), labels(third.next_down())), (3, 0, 3));
}

/// A text of exactly the limit is whole, and one token more is cut or refused.
#[test]
fn texts_and_pairs_are_too_long_beyond_the_limit() {
    let model = TextClassification::open(golden("bert-f32")).unwrap();
    let with = |long_text| ClassifyOptions::with(|o| o.long_text = long_text);
    let too_long = |error: Error| match *error.kind() {
        ErrorKind::TooLong { found, limit, .. } => (found, limit),
        ref other => panic!("{other:?}"),
    };
    for long_text in [LongText::Truncate, LongText::Refuse, LongText::WindowsMean, LongText::WindowsMax] {
        let options = with(long_text);
        for (count, fits) in [(LIMIT - 3, true), (LIMIT - 2, true), (LIMIT - 1, false), (2 * LIMIT, false)] {
            let job = model.prepare_classify(&words(count), &options);
            match (long_text, fits) {
                (LongText::Refuse, false) => assert_eq!(too_long(job.unwrap_err()), (count + 2, LIMIT)),
                (LongText::Truncate | LongText::Refuse, _) => {
                    let result = run(job.unwrap(), &[vec![0.0; 3]]);
                    assert_eq!(result.truncated, !fits, "{count} words");
                }
                _ => assert_eq!(job.unwrap().count() == 1, fits, "{count} words"),
            }
        }
        // A pair has three special tokens, and is never cut into windows.
        for (count, fits) in [(LIMIT - 5, true), (LIMIT - 4, true), (LIMIT - 3, false)] {
            let job = model.prepare_classify_pair("anna", &words(count), &options);
            if long_text == LongText::Truncate || fits {
                assert_eq!(run(job.unwrap(), &[vec![0.0; 3]]).truncated, !fits, "{count} words");
            } else {
                assert_eq!(too_long(job.unwrap_err()), (count + 4, LIMIT));
            }
        }
    }
}

#[test]
fn a_batch_has_the_results_of_its_texts() {
    let model = TextClassification::open(golden("bert-f32")).unwrap();
    let (texts, pairs) = (["anna", "paris works"], [("anna", "works in paris"), ("the", "and")]);
    let alone = texts.map(|text| model.classify(text).unwrap());
    assert_eq!(model.classify_batch(&texts).unwrap(), alone);
    let alone = pairs.map(|(a, b)| model.classify_pair(a, b).unwrap());
    assert_eq!(model.classify_pair_batch(&pairs).unwrap(), alone);
    let two = ClassifyOptions::with(|o| o.top_k = 2);
    let alone = pairs.map(|(a, b)| model.classify_pair_with(a, b, &two).unwrap());
    assert_eq!(model.classify_pair_batch_with(&pairs, &two).unwrap(), alone);
    assert!(alone.iter().all(|result| result.labels.len() == 2));

    let tagger = TokenClassification::open(golden("mobilebert-ner-f32")).unwrap();
    let all = TagOptions::with(|o| o.ignore_labels.clear());
    let alone = texts.map(|text| tagger.tag_with(text, &all).unwrap());
    assert!(alone.iter().all(|entities| !entities.is_empty()));
    assert_eq!(tagger.tag_batch_with(&texts, &all).unwrap(), alone);
    let tagger = TokenClassification::from_parts(tagger.model().clone(), all.clone()).unwrap();
    assert_eq!(tagger.options(), &all);
    assert_eq!(texts.map(|text| tagger.tag(text).unwrap()), alone);
    assert_eq!(tagger.tag_batch(&texts).unwrap(), alone);
}

/// The label of a token is that of the window that shows most of its poorer side, the first of equal ones.
#[test]
fn tokens_have_the_label_of_the_window_that_shows_most() {
    let model = TokenClassification::open(golden("mobilebert-ner-f32")).unwrap();
    let names = &model.engine().config().labels;
    for seed in 0..100 {
        let mut random = Random(seed);
        let room = 4 + random.below(6);
        let options = TagOptions::with(|o| {
            o.aggregation_strategy = AggregationStrategy::None;
            o.ignore_labels.clear();
            (o.max_seq_len, o.doc_stride) = (Some(room + 2), Some(random.below(room - 1)));
        });
        let text = words(1 + random.below(40));
        let job = model.prepare_tag(text.as_str(), &options).unwrap();
        let rows: Vec<Vec<f32>> = job
            .sequences()
            .map(|(_, sequence)| {
                (0..sequence.encoding().len() * names.len()).map(|_| random.logit(1.0)).collect()
            })
            .collect();
        let found = run(job, &rows);

        let tokens = model.tokenizer().tokenize(&text).unwrap();
        let windows = WindowOptions::new(room + 2).doc_stride(options.doc_stride.unwrap());
        let windows: Vec<_> = tokens.windows(&windows).unwrap().map(|window| window.tokens()).collect();
        assert_eq!(found.len(), tokens.len());
        for (token, entity) in found.iter().enumerate() {
            let sides = |window: &std::ops::Range<usize>| (token - window.start).min(window.end - 1 - token);
            let holds = |i: &usize| windows[*i].contains(&token);
            let most = (0..windows.len()).filter(holds).map(|i| sides(&windows[i])).max().unwrap();
            let index = (0..windows.len()).find(|i| holds(i) && sides(&windows[*i]) == most).unwrap();
            // The first row is that of `[CLS]`.
            let row = 1 + token - windows[index].start;
            let logits: Vec<f64> =
                rows[index][row * names.len()..][..names.len()].iter().map(|&x| f64::from(x)).collect();
            let best = ranked(&logits)[0];
            let case = format!("seed {seed}, token {token}: {entity:?}");
            assert!(entity.label == names[best] && near(entity.score, softmax(&logits)[best]), "{case}");
            assert_eq!((&*entity.word, entity.grouped), (WORDS[token % WORDS.len()], false), "{case}");
        }
    }
}

/// Of the parts of a word that have equal scores, the first one gives the word its label.
#[test]
fn the_first_of_equal_parts_of_a_word_counts() {
    let model = TokenClassification::open(golden("mobilebert-ner-f32")).unwrap();
    let options = TagOptions::with(|o| o.aggregation_strategy = AggregationStrategy::Max);
    let job = model.prepare_tag("kings", &options).unwrap();
    assert_eq!(job.sequence(0).unwrap().encoding().len(), 4, "a word of two parts");
    // The first part is B-PER, the second one B-LOC.
    let mut rows = vec![0.0; 4 * 5];
    (rows[5 + 1], rows[2 * 5 + 3]) = (4.0, 4.0);
    let found = run(job, std::slice::from_ref(&rows));
    assert_eq!((found.len(), &*found[0].label, &*found[0].word), (1, "PER", "kings"));
    rows[2 * 5 + 3] = 4.5;
    let found = run(model.prepare_tag("kings", &options).unwrap(), &[rows]);
    assert_eq!((found.len(), &*found[0].label, &*found[0].word), (1, "LOC", "kings"));
}

#[test]
fn vectors_are_the_pooled_rows() {
    let model = Embedder::open(golden("mobilebert-f32")).unwrap();
    let width = model.engine().config().hidden_size;
    let poolings = [
        Pooling::Mean,
        Pooling::Cls,
        Pooling::Max,
        Pooling::MeanSqrtLen,
        Pooling::WeightedMean,
        Pooling::LastToken,
    ];
    assert_eq!((model.poolings(), model.dimensions()), (vec![Pooling::Mean], width));
    for (seed, pooling) in (0..10).flat_map(|seed| poolings.map(|pooling| (seed, pooling))) {
        let mut random = Random(seed);
        let (length, normalize) = (1 + random.below(30), random.below(2) == 0);
        let options = EmbedOptions::with(|o| (o.pooling, o.normalize) = (Some(pooling), Some(normalize)));
        let job = model.prepare_embed(&words(length), &options).unwrap();
        let truncated = length + 2 > LIMIT;
        assert_eq!(job.is_truncated(), truncated);
        let tokens = job.sequence(0).unwrap().encoding().len();
        assert_eq!(tokens, (length + 2).min(LIMIT));
        let rows: Vec<f32> = (0..tokens * width).map(|_| random.logit(1.0)).collect();
        let found = run(job, std::slice::from_ref(&rows));
        assert_eq!((found.embedding.len(), found.truncated), (width, truncated));

        let at = |token: usize, column: usize| f64::from(rows[token * width + column]);
        let sum = |column: usize| (0..tokens).map(|token| at(token, column)).sum::<f64>();
        let n = tokens as f64;
        let value = |column: usize| match pooling {
            Pooling::Cls => at(0, column),
            Pooling::LastToken => at(tokens - 1, column),
            Pooling::Max => (0..tokens).map(|token| at(token, column)).fold(f64::NEG_INFINITY, f64::max),
            Pooling::MeanSqrtLen => sum(column) / n.sqrt(),
            Pooling::WeightedMean => {
                let weighted = (0..tokens).map(|token| (token + 1) as f64 * at(token, column));
                weighted.sum::<f64>() / (1..=tokens).sum::<usize>() as f64
            }
            _ => sum(column) / n,
        };
        let mut expected: Vec<f64> = (0..width).map(value).collect();
        if normalize {
            let length = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
            expected.iter_mut().for_each(|x| *x /= length);
        }
        for (found, expected) in found.embedding.iter().zip(&expected) {
            assert!(near(*found, *expected), "seed {seed}, {options:?}: {found} and {expected}");
        }
    }
}

#[test]
fn a_cosine_is_the_dot_product_over_the_lengths() {
    let model = Embedder::open(golden("mobilebert-f32")).unwrap();
    let width = model.engine().config().hidden_size;
    let options = EmbedOptions::with(|o| (o.pooling, o.normalize) = (Some(Pooling::Cls), Some(false)));
    let vector = |values: &[f32]| {
        let job = model.prepare_embed("anna", &options).unwrap();
        let mut rows = vec![0.0; 3 * width];
        rows[..values.len()].copy_from_slice(values);
        run(job, &[rows])
    };
    let a = vector(&[3.0, 4.0]);
    // The lengths are 5 and 10, and the products 24 and 64.
    assert!(near(a.cosine(&vector(&[8.0, 6.0])), 48.0 / 50.0));
    assert!(near(a.cosine(&vector(&[-6.0, -8.0])), -1.0));
    assert!(near(a.cosine(&a), 1.0));
    assert_eq!(a.cosine(&vector(&[])), 0.0);
    assert_eq!(vector(&[]).cosine(&vector(&[])), 0.0);
}

#[test]
fn words_for_masks_are_the_best_of_the_vocabulary_or_of_the_targets() {
    let model = FillMask::open(golden("mobilebert-mlm-f32")).unwrap();
    let width = model.engine().config().vocab_size;
    for seed in 0..30 {
        let mut random = Random(seed);
        let options = FillOptions::with(|o| {
            o.top_k = 1 + random.below(6);
            let targets = WORDS.iter().filter(|_| random.below(2) == 0);
            o.targets = targets.map(|&word| word.to_owned()).collect();
        });
        let job = model.prepare_fill("the [MASK] and [MASK] works", &options).unwrap();
        let rows: Vec<f32> = (0..2 * width).map(|_| random.logit(1.0)).collect();
        let found = run(job, std::slice::from_ref(&rows));
        assert_eq!(found.len(), 2);
        for (mask, (found, row)) in found.iter().zip(rows.chunks(width)).enumerate() {
            let scores = softmax(&row.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
            let id = |word: &String| model.tokenizer().token_to_id(word).unwrap() as usize;
            let candidates: Vec<usize> = match options.targets.is_empty() {
                true => (0..width).collect(),
                false => options.targets.iter().map(id).collect(),
            };
            let of_candidates: Vec<f64> = candidates.iter().map(|&id| scores[id]).collect();
            let expected: Vec<usize> = ranked(&of_candidates).into_iter().map(|i| candidates[i]).collect();
            assert_eq!(found.len(), expected.len().min(options.top_k));
            for (found, &id) in found.iter().zip(&expected) {
                let case = format!("seed {seed}, {options:?}: {found:?}");
                assert!(found.token as usize == id && near(found.score, scores[id]), "{case}");
                assert_eq!(model.tokenizer().id_to_token(id as u32), Some(&*found.token_str), "{case}");
                let text = match mask {
                    0 => format!("the {} and [MASK] works", found.token_str),
                    _ => format!("the [MASK] and {} works", found.token_str),
                };
                assert_eq!(found.sequence, text, "{case}");
            }
        }
    }
}

#[test]
fn a_masked_text_is_never_cut() {
    let model = FillMask::open(golden("mobilebert-mlm-f32")).unwrap();
    let text = |count: usize| format!("[MASK] {}", words(count - 1));
    let prepared = |count| model.prepare_fill(&text(count), &FillOptions::default());
    assert_eq!(prepared(LIMIT - 2).unwrap().sequence(0).unwrap().encoding().len(), LIMIT);
    for count in [LIMIT - 1, LIMIT, 3 * LIMIT] {
        let error = prepared(count).unwrap_err();
        let is_expected = matches!(
            *error.kind(),
            ErrorKind::TooLong { found, limit, .. } if found == count + 2 && limit == LIMIT
        );
        assert!(is_expected, "{error:?}");
    }
}

/// Pipelines give back the options that they were made with.
#[test]
fn pipelines_say_their_options() {
    let classify = ClassifyOptions::with(|o| o.top_k = 2);
    let model = TextClassification::open_with(golden("bert-f32"), ModelOptions::new(), classify.clone());
    assert_eq!(model.unwrap().options(), &classify);
    let fill = FillOptions::with(|o| o.top_k = 3);
    let model = FillMask::open_with(golden("mobilebert-mlm-f32"), ModelOptions::new(), fill.clone());
    assert_eq!(model.unwrap().options(), &fill);
    let embed = EmbedOptions::with(|o| o.pooling = Some(Pooling::Cls));
    let model = Embedder::open_with(golden("bert-f32"), ModelOptions::new(), embed.clone()).unwrap();
    assert_eq!(model.options(), &embed);
    assert_eq!(model.poolings(), [Pooling::Cls]);
}

/// Padding is taken off each row of a padded batch, and what is wrong is named with its place.
#[test]
fn padded_rows_become_sequences() {
    let (ids, types) = ([5, 6, 7, 8, 9, 0, 10, 0, 0], [0, 0, 1, 0, 1, 0, 1, 0, 0]);
    let mask = [1, 1, 1, 1, 1, 0, 1, 0, 0];
    let batch = Batch::from_padded(&ids, &types, &mask, 3).unwrap();
    let mut expected = Batch::new();
    expected.push(&[5, 6, 7], &[0, 0, 1]).unwrap();
    expected.push(&[8, 9], &[0, 1]).unwrap();
    expected.push(&[10], &[1]).unwrap();
    assert_eq!(batch, expected);

    let place =
        |types: &[u32], mask: &[u32], width: usize| match *Batch::from_padded(&ids, types, mask, width)
            .unwrap_err()
            .kind()
        {
            ErrorKind::Batch { sequence, position, what, found, .. } => (sequence, position, what, found),
            ref other => panic!("{other:?}"),
        };
    assert_eq!(place(&types[..8], &mask, 3), (0, 0, "number of type ids", 8));
    assert_eq!(place(&types, &mask[..8], 3), (0, 0, "number of mask values", 8));
    for width in [0, 2, 4, 10] {
        assert_eq!(place(&types, &mask, width), (0, 0, "number of type ids", 9), "width {width}");
    }
    assert_eq!(place(&types, &[1, 1, 1, 1, 0, 1, 1, 0, 0], 3), (1, 2, "mask", 1));
    assert_eq!(place(&types, &[1, 1, 1, 1, 1, 0, 1, 0, 7], 3), (2, 2, "mask", 7));
    assert_eq!(place(&types, &[1, 2, 1, 1, 1, 0, 1, 0, 0], 3), (0, 1, "mask", 2));
    assert_eq!(place(&types, &[1, 1, 1, 0, 0, 0, 1, 0, 0], 3), (1, 0, "number of tokens", 0));
    assert_eq!(Batch::from_padded(&[], &[], &[], 3).unwrap(), Batch::new());
    Batch::from_padded(&[], &[], &[], 0).unwrap_err();
    assert_eq!((batch.max_len(), Batch::new().max_len()), (3, 0));
    expected.push(&[1; 7], &[0; 7]).unwrap();
    assert_eq!(expected.max_len(), 7);
}
