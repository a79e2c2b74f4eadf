//! Compares scores with those of the original implementations: scikit-learn, SciPy, seqeval and SQuAD's
//! definitions (`eval/reference/make_metric_goldens.py`).

use mobilebert::TagScheme;
use mobilebert_tools::metrics::classification::{accuracy, f1, macro_f1, matthews, pearson, spearman};
use mobilebert_tools::metrics::entities;
use mobilebert_tools::metrics::squad::{self, Item, Score, Version};
use serde_json::{Value, json};

/// The tolerance for sums in another order. scikit-learn and SciPy add or multiply in another order (NumPy
/// adds pairwise), so the last bits of sums over up to 1,500 numbers may differ.
const OTHER_ORDER: f64 = 1e-12;

fn goldens() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/metrics.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn list<T>(value: &Value, of: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().unwrap().iter().map(of).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn near(found: f64, expected: &Value, what: &str) {
    assert!((found - number(expected)).abs() <= OTHER_ORDER, "{what}: {found}, expected {expected}");
}

/// Both sides add in the order of the questions, so the scores have the same bits.
#[test]
fn squad_scores_are_those_of_the_official_scripts() {
    let goldens = goldens();
    let (mut first, mut second, mut items) = (Vec::new(), Vec::new(), Vec::new());
    for golden in goldens["squad"]["items"].as_array().unwrap() {
        let prediction = golden["prediction"].as_str().unwrap();
        let references = list(&golden["references"], text);
        assert_eq!(squad::normalize(prediction), golden["normalized"], "{prediction:?}");
        let expected = |version: &str| Score {
            exact: number(&golden[version]["exact"]),
            f1: number(&golden[version]["f1"]),
        };
        if !golden["v1"].is_null() {
            let score = squad::score(Version::V1, prediction, &references);
            assert_eq!(score, expected("v1"), "{prediction:?} {references:?}");
            first.push(score);
        }
        let score = squad::score(Version::V2, prediction, &references);
        assert_eq!(score, expected("v2"), "{prediction:?} {references:?}");
        second.push(score);
        let no_answer = number(&golden["null_odds"]);
        items.push(Item {
            score,
            has_answer: !references.is_empty(),
            answered: !prediction.is_empty(),
            no_answer,
        });
    }
    let totals = &goldens["squad"]["totals"];
    let (first, second) = (squad::totals(first).unwrap(), squad::totals(second).unwrap());
    assert_eq!((first.exact, first.f1), (number(&totals["v1_exact"]), number(&totals["v1_f1"])));
    assert_eq!((second.exact, second.f1), (number(&totals["v2_exact"]), number(&totals["v2_f1"])));
    for (name, best) in [
        ("exact", squad::best_threshold(&items, |s| s.exact).unwrap()),
        ("f1", squad::best_threshold(&items, |s| s.f1).unwrap()),
    ] {
        let expected = &goldens["squad"]["best"][name];
        assert_eq!((best.score, best.threshold), (number(&expected[0]), number(&expected[1])), "{name}");
    }
}

#[test]
fn classification_scores_are_those_of_scikit_learn() {
    for golden in goldens()["classes"].as_array().unwrap() {
        let class = |v: &Value| v.as_u64().unwrap() as usize;
        let (predicted, gold) = (list(&golden["predicted"], class), list(&golden["gold"], class));
        assert_eq!(accuracy(&predicted, &gold), number(&golden["accuracy"]));
        assert_eq!(f1(&predicted, &gold), number(&golden["f1"]));
        near(macro_f1(&predicted, &gold), &golden["macro_f1"], "macro F1");
        near(matthews(&predicted, &gold), &golden["matthews"], "Matthews");
    }
}

#[test]
fn correlations_are_those_of_scipy() {
    for golden in goldens()["values"].as_array().unwrap() {
        let (predicted, gold) = (list(&golden["predicted"], number), list(&golden["gold"], number));
        near(pearson(&predicted, &gold), &golden["pearson"], "Pearson");
        near(spearman(&predicted, &gold), &golden["spearman"], "Spearman");
    }
}

#[test]
fn entity_scores_are_those_of_seqeval() {
    for golden in goldens()["entities"].as_array().unwrap() {
        let sentences = |v: &Value| list(v, |sentence| list(sentence, text));
        let scores = entities::score(&sentences(&golden["predicted"]), &sentences(&golden["gold"]));
        assert_eq!(scores.accuracy, number(&golden["accuracy"]));
        let same = |found: &entities::EntityScore, expected: &Value, kind: &str| {
            assert_eq!(found.precision, number(&expected["precision"]), "{kind}");
            assert_eq!(found.recall, number(&expected["recall"]), "{kind}");
            assert_eq!(found.f1, number(&expected["f1-score"]), "{kind}");
            assert_eq!(found.support as f64, number(&expected["support"]), "{kind}");
        };
        same(&scores.all, &golden["all"], "all");
        let types = golden["types"].as_object().unwrap();
        assert_eq!(scores.types.keys().collect::<Vec<_>>(), types.keys().collect::<Vec<_>>());
        for (kind, found) in &scores.types {
            same(found, &types[kind], kind);
        }
    }
}

/// BIOES and BILOU in seqeval's strict mode (`eval/reference/make_tag_goldens.py`).
#[test]
fn strict_entities_are_those_of_seqeval() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/tags.json");
    let goldens: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for (name, scheme) in [("bioes", TagScheme::Bioes), ("bilou", TagScheme::Bilou)] {
        let golden = &goldens[name];
        let mut gold = Vec::new();
        for sequence in golden["sequences"].as_array().unwrap() {
            let tags = list(&sequence["tags"], text);
            let chunks = entities::chunks_in(scheme, &tags);
            let found: Vec<Value> = chunks.iter().map(|c| json!([c.kind, c.first, c.last])).collect();
            assert_eq!(Value::from(found), sequence["strict"], "{tags:?}");
            gold.push(tags);
        }
        let predicted = list(&golden["predicted"], |tags| list(tags, text));
        let scores = entities::score_in((scheme, &predicted), (scheme, &gold));
        let types = golden["types"].as_object().unwrap();
        assert_eq!(scores.types.keys().collect::<Vec<_>>(), types.keys().collect::<Vec<_>>());
        let pairs = scores.types.iter().map(|(kind, found)| (found, &types[kind]));
        for (found, expected) in pairs.chain([(&scores.all, &golden["micro"])]) {
            assert_eq!(found.precision, number(&expected["precision"]), "{name}");
            assert_eq!(found.recall, number(&expected["recall"]), "{name}");
            assert_eq!(found.f1, number(&expected["f1-score"]), "{name}");
            assert_eq!(found.support as f64, number(&expected["support"]), "{name}");
        }
    }
}
