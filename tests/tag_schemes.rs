//! Groups tags in BIOES and BILOU as seqeval does (`eval/reference/make_tag_goldens.py`), and as a tagger's
//! entities.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use mobilebert::{AggregationStrategy, Entity, TagOptions, TagScheme, TokenClassification};
use serde_json::{Value, json};

const TEXT: &str = "Ada Lovelace lives in London with naïve friends, and Grace Hopper is not here.";

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[test]
fn groups_are_the_entities_of_seqeval() {
    let goldens: Value =
        serde_json::from_str(&fs::read_to_string(golden().join("tags.json")).unwrap()).unwrap();
    for (name, scheme) in [("bioes", TagScheme::Bioes), ("bilou", TagScheme::Bilou)] {
        assert_eq!(scheme.to_string(), name.to_uppercase());
        let sequences = goldens[name]["sequences"].as_array().unwrap();
        assert_eq!(sequences.len(), 80);
        for sequence in sequences {
            let tags: Vec<&str> =
                sequence["tags"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
            let entity =
                |group: &Range<usize>| json!([scheme.split(tags[group.start]).1, group.start, group.end - 1]);
            let groups = scheme.groups(&tags);
            let found: Vec<Value> =
                groups.iter().filter(|group| tags[group.start] != "O").map(entity).collect();
            assert_eq!(Value::from(found), sequence["default"], "{tags:?}");
            let covered: Vec<usize> = groups.into_iter().flatten().collect();
            assert_eq!(covered, (0..tags.len()).collect::<Vec<_>>(), "each tag is in one group");
        }
    }
}

/// Copies the golden tagger, whose five labels get other names.
fn tagger(folder: &Path, labels: [&str; 5]) -> TokenClassification {
    let source = golden().join("checkpoints/mobilebert-ner-f32");
    for entry in fs::read_dir(&source).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    let config = folder.join("config.json");
    let mut fields: Value = serde_json::from_str(&fs::read_to_string(&config).unwrap()).unwrap();
    let by_id = |(i, label): (usize, &&str)| (i.to_string(), json!(label));
    fields["id2label"] = Value::Object(labels.iter().enumerate().map(by_id).collect());
    fields["label2id"] =
        labels.iter().enumerate().map(|(i, label)| ((*label).to_owned(), json!(i))).collect();
    fs::write(config, fields.to_string()).unwrap();
    TokenClassification::open(folder.to_str().unwrap()).unwrap()
}

fn entities(tagger: &TokenClassification, strategy: AggregationStrategy) -> Vec<Entity> {
    let options = TagOptions::with(|o| {
        o.aggregation_strategy = strategy;
        o.ignore_labels.clear();
    });
    tagger.tag_with(TEXT, &options).unwrap()
}

/// For each scheme and strategy, the entities are the groups of the tags: `simple` joins the tags of tokens,
/// the others those of words.
#[test]
fn a_tagger_joins_by_the_scheme_of_its_labels() {
    use AggregationStrategy::{Average, First, Max, None as Tokens, Simple};
    for (labels, scheme) in [
        (["O", "B-PER", "I-PER", "E-PER", "S-PER"], TagScheme::Bioes),
        (["O", "B-PER", "I-PER", "L-PER", "U-PER"], TagScheme::Bilou),
        (["S-PER", "I-PER", "E-PER", "B-PER", "O"], TagScheme::Bioes),
        // Three of the four marks are another set of labels.
        (["O", "B-PER", "I-PER", "E-PER", "X-PER"], TagScheme::Bio),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let tagger = tagger(folder.path(), labels);
        assert_eq!(tagger.scheme(), scheme, "{labels:?}");
        let tokens = entities(&tagger, Tokens);
        let tags: Vec<&str> = tokens.iter().map(|token| token.label.as_str()).collect();
        let joined = |group: Range<usize>| {
            let parts = &tokens[group.clone()];
            let score = parts.iter().map(|part| part.score).sum::<f32>() / parts.len() as f32;
            let label = scheme.split(tags[group.start]).1.to_owned();
            (label, parts[0].start, parts[parts.len() - 1].end, score)
        };
        let expected: Vec<_> = scheme.groups(&tags).into_iter().map(joined).collect();
        let found: Vec<_> =
            entities(&tagger, Simple).into_iter().map(|e| (e.label, e.start, e.end, e.score)).collect();
        assert_eq!(found, expected, "{labels:?}");
        assert!(found.len() > 1 && found.len() < tokens.len(), "the text joins some tokens: {tags:?}");
        for strategy in [First, Average, Max] {
            for entity in entities(&tagger, strategy) {
                assert!(entity.grouped && entity.word == TEXT[entity.start..entity.end], "{entity:?}");
                let known = ["O", "PER", "X-PER", "E-PER"].contains(&entity.label.as_str());
                assert!(known && (scheme == TagScheme::Bio || entity.label != "E-PER"), "{entity:?}");
                // No word is cut: its first and last byte are not inside of one.
                let inside = |at: usize| {
                    let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
                    word(TEXT[..at].chars().next_back()) && word(TEXT[at..].chars().next())
                };
                assert!(!inside(entity.start) && !inside(entity.end), "{strategy:?}: {entity:?}");
            }
        }
    }
}
