//! The results of each function are those of the engine, bit for bit, in the layout that its type promises.

use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int8Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Int64Array, LargeStringArray, NullArray, StringArray, StringViewArray,
    UInt64Array,
};
use arrow_schema::DataType;
use mobilebert::{
    ClassifyOptions, Embedder, FillMask, QuestionAnswering, TextClassification, TokenClassification,
};
use mobilebert_sql_core::{Argument, Call, Error, Evaluator, Function, OnError, Options, is_text};

use crate::support::{column, evaluator, field, floats, ints, longs, models, root, strings};

const TEXTS: [&str; 5] =
    ["a joy to watch", "two hours of nothing", "a joy to watch", "", "It was fine, I guess."];

fn bits(score: f32) -> Option<u32> {
    Some(score.to_bits())
}

#[test]
fn labels_have_the_bits_of_direct_calls() {
    let direct = TextClassification::open("sentiment").unwrap();
    let rows = [Some(TEXTS[0]), None, Some(TEXTS[1]), Some(TEXTS[2]), Some(TEXTS[3]), Some(TEXTS[4])];
    let evaluator = evaluator(Function::Classify, "sentiment");
    let found = evaluator.evaluate(&[column(&rows)], rows.len()).unwrap();
    assert_eq!(*found.data_type(), evaluator.call().data_type());
    let (labels, scores) = (strings(&field(&found, "label")), floats(&field(&found, "score")));
    let truncated = field(&found, "truncated");
    for (row, text) in rows.iter().enumerate() {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            assert!(found.is_null(row), "row {row}");
            continue;
        };
        let expected = direct.classify(text).unwrap();
        let best = expected.best().unwrap();
        assert_eq!(labels[row].as_deref(), Some(best.label.as_str()), "{text}");
        assert_eq!(scores[row], bits(best.score), "{text}");
        assert_eq!(truncated.as_boolean().value(row), expected.truncated);
    }
    // One NULL, one empty text, one text twice: four were looked at, one of them in vain.
    let counts = evaluator.counts();
    assert_eq!((counts.calls, counts.rows, counts.computed, counts.failed), (1, 6, 4, 1));
}

#[test]
fn a_cut_text_says_so() {
    let long = "fine ".repeat(2000);
    let evaluator = evaluator(Function::Classify, "sentiment");
    let found = evaluator.evaluate(&[column(&[Some(&long), Some("fine")])], 2).unwrap();
    let truncated = field(&found, "truncated");
    assert_eq!(truncated.as_boolean().iter().collect::<Vec<_>>(), [Some(true), Some(false)]);
}

/// Every string type gives the same array.
#[test]
fn all_string_types_are_read() {
    let texts = [Some("a joy"), None, Some("two hours"), Some("a joy")];
    let keys = vec![Some(2_i8), None, Some(0), Some(2)];
    let values: ArrayRef = Arc::new(StringArray::from(vec!["two hours", "never asked for", "a joy"]));
    let views: ArrayRef = Arc::new(StringViewArray::from(vec!["two hours", "never asked for", "a joy"]));
    let long_keys = UInt64Array::from(vec![Some(2_u64), None, Some(0), Some(2)]);
    let columns: [ArrayRef; 5] = [
        Arc::new(StringArray::from(texts.to_vec())),
        Arc::new(LargeStringArray::from(texts.to_vec())),
        Arc::new(StringViewArray::from(texts.to_vec())),
        Arc::new(DictionaryArray::<Int8Type>::try_new(keys.into(), values).unwrap()),
        Arc::new(DictionaryArray::<UInt64Type>::try_new(long_keys, views).unwrap()),
    ];
    let mut expected = None;
    for column in columns {
        assert!(is_text(column.data_type()), "{}", column.data_type());
        let evaluator = evaluator(Function::Classify, "tiny");
        let kind = column.data_type().clone();
        let found = evaluator.evaluate(&[Argument::Column(column)], 4).unwrap();
        assert_eq!(evaluator.counts().computed, 2, "each distinct text once: {kind}");
        assert_eq!(&found, expected.get_or_insert_with(|| Arc::clone(&found)), "{kind}");
    }
}

#[test]
fn dictionaries_may_hold_nulls_and_nothing() {
    let evaluator = evaluator(Function::Tokens, "tiny");
    let values: ArrayRef = Arc::new(StringArray::from(vec![None, Some("a joy")]));
    let with_null = DictionaryArray::<Int8Type>::try_new(vec![0_i8, 1].into(), values).unwrap();
    let found = evaluator.evaluate(&[Argument::Column(Arc::new(with_null))], 2).unwrap();
    assert!(found.is_null(0) && found.is_valid(1));
    let empty: ArrayRef = Arc::new(StringArray::from(Vec::<&str>::new()));
    let empty = DictionaryArray::<Int8Type>::try_new(vec![None::<i8>, None].into(), empty).unwrap();
    let found = evaluator.evaluate(&[Argument::Column(Arc::new(empty))], 2).unwrap();
    assert_eq!(found.null_count(), 2);
    let nothing = evaluator.evaluate(&[Argument::Column(Arc::new(NullArray::new(3)))], 3).unwrap();
    assert_eq!(nothing.null_count(), 3);
}

/// Slices begin inside their buffers.
#[test]
fn slices_are_read_where_they_begin() {
    let whole: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None, Some("a joy"), Some("")]));
    let evaluator = evaluator(Function::Tokens, "tiny");
    let all = evaluator.evaluate(&[Argument::Column(Arc::clone(&whole))], 4).unwrap();
    let part = evaluator.evaluate(&[Argument::Column(whole.slice(1, 3))], 3).unwrap();
    assert_eq!(ints(&part), ints(&all)[1..]);
    assert_eq!(ints(&part)[2], Some(0), "an empty text has no tokens");
}

#[test]
fn scores_are_a_map_of_all_labels() {
    let direct = TextClassification::open("sentiment").unwrap();
    let options = ClassifyOptions::with(|o| o.top_k = usize::MAX);
    let expected = direct.classify_with(TEXTS[4], &options).unwrap();
    let evaluator = evaluator(Function::Scores, "sentiment");
    let found = evaluator.evaluate(&[column(&[None, Some(TEXTS[4]), Some("")])], 3).unwrap();
    let map = found.as_map();
    assert!(map.is_null(0) && map.is_valid(1) && map.is_null(2));
    assert_eq!(map.value(0).len() + map.value(2).len(), 0);
    let entries: ArrayRef = Arc::new(map.value(1));
    let labels: Vec<_> = expected.labels.iter().map(|label| Some(label.label.clone())).collect();
    assert_eq!(strings(&field(&entries, "key")), labels);
    let scores: Vec<_> = expected.labels.iter().map(|label| bits(label.score)).collect();
    assert_eq!(floats(&field(&entries, "value")), scores);
    assert!(labels.len() > 1);
}

#[test]
fn answers_have_byte_offsets_and_questions_may_be_literals() {
    let direct = QuestionAnswering::open("qa").unwrap();
    let question = "Who built the engine?";
    let contexts = [Some("The engine of Å was built by Ada in London."), None, Some("Bob built the engine.")];
    let evaluator = evaluator(Function::Answer, "qa");
    let literal = Argument::Literal(Some(question.to_owned()));
    let found = evaluator.evaluate(&[literal, column(&contexts)], 3).unwrap();
    assert_eq!(*found.data_type(), evaluator.call().data_type());
    for (row, context) in contexts.iter().enumerate() {
        let Some(context) = context else {
            assert!(found.is_null(row));
            continue;
        };
        let expected = direct.answer(question, context).unwrap();
        assert_eq!(strings(&field(&found, "answer"))[row].as_deref(), Some(expected.answer.as_str()));
        assert_eq!(floats(&field(&found, "score"))[row], bits(expected.score));
        let (start, end) = (longs(&field(&found, "start"))[row], longs(&field(&found, "end"))[row]);
        assert_eq!((start, end), (Some(expected.start as i64), Some(expected.end as i64)));
        assert_eq!(&context[start.unwrap() as usize..end.unwrap() as usize], expected.answer);
    }
    let nobody = evaluator.evaluate(&[Argument::Literal(None), column(&contexts)], 3).unwrap();
    assert_eq!(nobody.null_count(), 3);
}

/// "The context does not say" is NULL where it may win.
#[test]
fn no_answer_is_null_where_it_is_allowed() {
    let models = models();
    let mut options = Options::default();
    options.allow_no_answer = true;
    let call = Call::plan(&models, Function::Answer, None, options).unwrap();
    let evaluator = Evaluator::new(models, call);
    let questions = column(&[Some("Who built the engine?"), Some("What is the capital of France?")]);
    let context = Argument::Literal(Some("The engine was built by Ada.".to_owned()));
    let found = evaluator.evaluate(&[questions, context], 2).unwrap();
    let direct = QuestionAnswering::open("qa").unwrap();
    let options = mobilebert::AnswerOptions::with(|o| o.handle_impossible_answer = true);
    for (row, question) in ["Who built the engine?", "What is the capital of France?"].iter().enumerate() {
        let expected = direct.answer_with(question, "The engine was built by Ada.", &options).unwrap();
        assert_eq!(found.is_null(row), expected.answer.is_empty(), "{question}: {expected:?}");
    }
}

#[test]
fn entities_are_lists_of_structs() {
    let folder = root("tests/golden/checkpoints/mobilebert-ner-f32");
    let direct = TokenClassification::open(folder).unwrap();
    let texts = ["ada lives in london", "the engine"];
    let evaluator = evaluator(Function::Tag, "tiny-ner");
    let found = evaluator.evaluate(&[column(&[Some(texts[0]), None, Some(texts[1])])], 3).unwrap();
    assert_eq!(*found.data_type(), evaluator.call().data_type());
    let lists = found.as_list::<i32>();
    assert!(lists.is_null(1));
    let mut entities = 0;
    for (row, text) in [(0, texts[0]), (2, texts[1])] {
        let (expected, value) = (direct.tag(text).unwrap(), lists.value(row));
        assert_eq!(value.len(), expected.len(), "{text}");
        entities += expected.len();
        for (i, entity) in expected.iter().enumerate() {
            assert_eq!(strings(&field(&value, "entity"))[i].as_deref(), Some(entity.label.as_str()));
            assert_eq!(strings(&field(&value, "word"))[i].as_deref(), Some(entity.word.as_str()));
            assert_eq!(floats(&field(&value, "score"))[i], bits(entity.score));
            assert_eq!(longs(&field(&value, "start"))[i], Some(entity.start as i64));
            assert_eq!(longs(&field(&value, "end"))[i], Some(entity.end as i64));
        }
    }
    assert!(entities > 0, "the tiny model tags something");
}

#[test]
fn words_for_masks_are_lists_of_structs() {
    let direct = FillMask::open(root("tests/golden/checkpoints/mobilebert-mlm-f32")).unwrap();
    let text = "the [MASK] is [MASK]";
    let evaluator = evaluator(Function::FillMask, "tiny-mlm");
    let found = evaluator.evaluate(&[column(&[Some(text), Some("no mask here")])], 2).unwrap();
    assert_eq!(*found.data_type(), evaluator.call().data_type());
    assert!(found.is_null(1), "a text without a mask is NULL");
    let (value, expected) = (found.as_list::<i32>().value(0), direct.fill(text).unwrap());
    let all: Vec<_> =
        expected.iter().enumerate().flat_map(|(mask, fills)| fills.iter().map(move |f| (mask, f))).collect();
    assert_eq!((value.len(), expected.len()), (all.len(), 2));
    for (i, (mask, fill)) in all.into_iter().enumerate() {
        assert_eq!(ints(&field(&value, "mask"))[i], Some(mask as i32));
        assert_eq!(strings(&field(&value, "word"))[i].as_deref(), Some(fill.token_str.as_str()));
        assert_eq!(strings(&field(&value, "sequence"))[i].as_deref(), Some(fill.sequence.as_str()));
        assert_eq!(floats(&field(&value, "score"))[i], bits(fill.score));
    }
}

#[test]
fn vectors_have_a_fixed_size_and_similarity_is_their_cosine() {
    let direct = Embedder::open("embed").unwrap();
    let texts = ["How old are you?", "What is your age?", "The train leaves at noon."];
    let expected = direct.embed_batch(&texts).unwrap();
    let rows = [Some(texts[0]), None, Some(texts[1]), Some(texts[2])];
    let evaluator_ = evaluator(Function::Embed, "embed");
    let found = evaluator_.evaluate(&[column(&rows)], 4).unwrap();
    assert_eq!(*found.data_type(), evaluator_.call().data_type());
    let lists = found.as_fixed_size_list();
    assert!(lists.is_null(1));
    for (row, vector) in [(0, &expected[0]), (2, &expected[1]), (3, &expected[2])] {
        let value = lists.value(row);
        let bits: Vec<_> = vector.embedding.iter().map(|x| Some(x.to_bits())).collect();
        assert_eq!(floats(&value), bits);
    }
    let similarity = evaluator(Function::Similarity, "embed");
    let first = column(&[Some(texts[0]), None, Some(texts[0]), Some(texts[1])]);
    let second = column(&[Some(texts[1]), Some(texts[1]), Some(texts[2]), Some(texts[1])]);
    let cosines = floats(&similarity.evaluate(&[first, second], 4).unwrap());
    let cosine = |a: usize, b: usize| bits(expected[a].cosine(&expected[b]));
    assert_eq!(cosines, [cosine(0, 1), None, cosine(0, 2), cosine(1, 1)]);
    assert_eq!(similarity.counts().computed, 3, "each text once, in whichever column it stands");
}

#[test]
fn pairs_are_read_as_pairs() {
    let direct = TextClassification::open(root("tests/golden/checkpoints/bert-f32")).unwrap();
    let evaluator = evaluator(Function::ClassifyPair, "tiny");
    let (first, second) = ([Some("a joy"), Some("a joy"), None], [Some("two"), Some("hours"), Some("x")]);
    let found = evaluator.evaluate(&[column(&first), column(&second)], 3).unwrap();
    for row in 0..2 {
        let expected = direct.classify_pair(first[row].unwrap(), second[row].unwrap()).unwrap();
        assert_eq!(floats(&field(&found, "score"))[row], bits(expected.best().unwrap().score));
    }
    assert!(found.is_null(2));
    assert_eq!(evaluator.counts().computed, 2);
}

#[test]
fn a_text_that_cannot_be_read_fails_the_query_on_demand() {
    let models = models();
    let mut options = Options::default();
    options.on_error = OnError::Fail;
    let call = Call::plan(&models, Function::Classify, Some("tiny"), options).unwrap();
    let evaluator = Evaluator::new(models, call);
    let error = evaluator.evaluate(&[column(&[Some("a joy"), Some("fine"), Some("  ")])], 3).unwrap_err();
    assert!(matches!(error, Error::Row { row: 2, .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("row 2") && message.contains("mobilebert.on_error"), "{message}");
    assert!(message.contains(", the text \"  \": "), "{message}");
    // NULL stays NULL.
    assert!(evaluator.evaluate(&[column(&[None])], 1).unwrap().is_null(0));
}

/// A message holds the beginnings of the texts, on one line.
#[test]
fn a_failed_row_names_its_texts() {
    let models = models();
    let mut options = Options::default();
    options.on_error = OnError::Fail;
    let call = Call::plan(&models, Function::Answer, Some("tiny-qa"), options).unwrap();
    let question = "who wrote the 'book' é\n".repeat(100);
    let arguments = [column(&[Some(&question)]), column(&[Some("anna wrote it")])];
    let message = Evaluator::new(models, call).evaluate(&arguments, 1).unwrap_err().to_string();
    let line = r"who wrote the 'book' é\n";
    let expected = format!("row 0 of a batch, the texts \"{line}{line}who wrote the \"… and \"anna");
    assert!(message.contains(&expected) && message.len() < 400, "{message}");
}

#[test]
fn arguments_that_do_not_fit_are_refused() {
    let evaluator = evaluator(Function::Answer, "tiny-qa");
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    assert!(!is_text(&DataType::Int64));
    for (arguments, expected) in [
        (vec![column(&[Some("x")])], "question, context"),
        (vec![column(&[Some("x")]), column(&[Some("x"), None])], "argument 2"),
        (vec![column(&[Some("x")]), Argument::Column(numbers)], "Int64"),
    ] {
        let message = evaluator.evaluate(&arguments, 1).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(evaluator.evaluate(&[column(&[]), column(&[])], 0).unwrap().len(), 0);
}
