//! Checks that the samples of `eval/samples` are what their README and the models' cards say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use mobilebert::TextIndex;
use mobilebert_tools::dataset::{GlueTask, Gold, Labelled, Squad};

fn sample(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../eval/samples")).join(name)
}

fn sentences(name: &str) -> Labelled {
    let data = GlueTask::Sst2.read(&sample(name)).unwrap();
    let texts: BTreeSet<&str> = data.examples.iter().map(|example| example.text.as_str()).collect();
    assert_eq!(texts.len(), data.examples.len(), "{name} repeats a sentence");
    assert!(texts.iter().all(|text| text.trim() == *text && !text.is_empty()), "{name}");
    data
}

#[test]
fn sixty_questions_nine_of_them_without_an_answer() {
    let data = Squad::read(&sample("questions.json")).unwrap();
    let ids: BTreeSet<&str> = data.questions.iter().map(|question| question.id.as_str()).collect();
    assert_eq!((data.questions.len(), ids.len()), (60, 60));
    assert_eq!(data.questions.iter().filter(|question| question.answers.is_empty()).count(), 9);
    for question in &data.questions {
        let context = data.context(question);
        let index = TextIndex::new(context);
        for answer in &question.answers {
            let start = index.byte_of_char(answer.answer_start).unwrap();
            assert!(context[start..].starts_with(&answer.text), "{}: {}", question.id, answer.text);
        }
    }
}

#[test]
fn sixty_sentences_half_of_them_positive() {
    let classes = sentences("sentences.tsv").gold_classes().unwrap();
    assert_eq!((classes.len(), classes.iter().sum::<usize>()), (60, 30));
}

#[test]
fn two_hundred_sentences_of_five_domains() {
    let data = sentences("domains.tsv");
    let text = std::fs::read_to_string(sample("domains.tsv")).unwrap();
    let mut counts: BTreeMap<(&str, usize), usize> = BTreeMap::new();
    for (line, example) in text.lines().skip(1).zip(&data.examples) {
        let Some(Gold::Class(class)) = example.gold else { panic!("{line}") };
        *counts.entry((line.rsplit('\t').next().unwrap(), class)).or_default() += 1;
    }
    let domains = ["apps", "hotels", "negation", "products", "tweets"];
    let expected = domains.iter().flat_map(|&domain| [((domain, 0), 20), ((domain, 1), 20)]);
    assert_eq!(counts, expected.collect());
    let others = sentences("sentences.tsv");
    let known = |text: &str| others.examples.iter().any(|other| other.text == text);
    assert!(!data.examples.iter().any(|example| known(&example.text)));
}

#[test]
fn thirty_facts_without_a_label() {
    let data = sentences("neutral.tsv");
    assert_eq!(data.examples.len(), 30);
    assert!(data.examples.iter().all(|example| example.gold.is_none()));
}
