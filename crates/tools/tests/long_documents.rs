//! Long documents: a fact is planted in each, and `qa` has to find it among hundreds of windows.
//!
//! The documents are generated. Without other text they are made of sentences of this file. The second test
//! uses the English Wikipedia where the data folder (`../shared/data`, or `MOBILEBERT_DATA`) and the program
//! `zstd` are at hand; without them it prints that it is skipped, and passes.

use std::io::{Read as _, Write as _};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use mobilebert::{QuestionAnswering, RunControl};

/// A sentence that no other text has, a question about it, and the answer.
const FACTS: [[&str; 3]; 10] = [
    [
        "The harbour master of Velmora keeps exactly forty-one lanterns in the north tower.",
        "How many lanterns are kept in the north tower of Velmora?",
        "forty-one",
    ],
    [
        "The Tamsin viaduct was designed by Oluwaseun Brackley, who had never built a bridge before.",
        "Who designed the Tamsin viaduct?",
        "Oluwaseun Brackley",
    ],
    [
        "The Ondry choir moved its rehearsals to the old brickworks because the school hall was flooded.",
        "Why did the Ondry choir move its rehearsals?",
        "because the school hall was flooded",
    ],
    [
        "On 9 August 1963 the last tram of Kirvale ran to the depot and was never seen again.",
        "When did the last tram of Kirvale run?",
        "9 August 1963",
    ],
    [
        "Visitors to the Pellan archive must hand in their pens at the yellow door.",
        "What must visitors to the Pellan archive hand in?",
        "their pens",
    ],
    [
        "The recipe for Marrowick pie, which contains no marrow at all, calls for smoked pears.",
        "Which fruit does the recipe for Marrowick pie call for?",
        "smoked pears",
    ],
    [
        "Dr Halvard Inneby measured the depth of Lake Suro with a piano string and found 212 metres.",
        "How deep is Lake Suro?",
        "212 metres",
    ],
    [
        "The annual kite fair of Dunmarrow takes place on the roof of the salt works.",
        "Where does the kite fair of Dunmarrow take place?",
        "on the roof of the salt works",
    ],
    [
        "After the storm the Quillon lighthouse was painted green at the wish of the fishermen.",
        "What colour was the Quillon lighthouse painted?",
        "green",
    ],
    [
        "The Brannoch prize for glassblowing went to Teodora Wix in the year in which nobody else had entered.",
        "Who won the Brannoch prize for glassblowing?",
        "Teodora Wix",
    ],
];

/// A generated document.
struct Document {
    text: String,
    /// Where the planted sentence stands.
    fact: Range<usize>,
    question: &'static str,
    answer: &'static str,
}

/// Plants a fact in each text, between two lines, at another depth in each.
fn plant(texts: &[String]) -> Vec<Document> {
    let document = |(i, (text, [fact, question, answer])): (usize, (&String, &[&'static str; 3]))| {
        let wanted = text.len() * (2 * i + 1) / (2 * FACTS.len());
        let ends = text.match_indices('\n').map(|(end, _)| end + 1);
        let start = ends.min_by_key(|end| end.abs_diff(wanted)).unwrap_or(0);
        let planted = format!("{}{fact}\n{}", &text[..start], &text[start..]);
        Document { text: planted, fact: start..start + fact.len(), question, answer }
    };
    texts.iter().zip(&FACTS).enumerate().map(document).collect()
}

/// Text of about `bytes` bytes, of sentences about people, places and years that are like those of the facts.
fn filler(bytes: usize, mut state: u64) -> String {
    const PEOPLE: [&str; 8] = [
        "Anna Lund",
        "Karl Oduya",
        "Mei Tanaka",
        "Rosa Delgado",
        "Piet van Dam",
        "Lucy Ashford",
        "Omar Haddad",
        "Ivana Novak",
    ];
    const PLACES: [&str; 8] =
        ["Arden", "Lowick", "Sandholm", "Porto", "Castle Hill", "Nyborg", "the upper valley", "Green Bay"];
    const THINGS: [&str; 10] = [
        "lighthouse",
        "railway station",
        "town hall",
        "music school",
        "mill",
        "botanical garden",
        "lake",
        "harbour",
        "theatre",
        "glass factory",
    ];
    let mut pick = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut text = String::new();
    let mut sentences = 0;
    while text.len() < bytes {
        let (person, place) = (PEOPLE[pick(PEOPLE.len())], PLACES[pick(PLACES.len())]);
        let (thing, year, number) = (THINGS[pick(THINGS.len())], 1850 + pick(150), 3 + pick(300));
        text += &match pick(8) {
            0 => format!("The {thing} of {place} was built in {year} by {person}."),
            1 => {
                format!("In {year} the {thing} was closed for repairs, and {number} people signed a letter.")
            }
            2 => format!("{person} was born near {place} and taught there until {year}."),
            3 => format!("The {thing} is {number} metres long and was painted white in {year}."),
            4 => format!("Every spring a fair takes place beside the {thing} of {place}."),
            5 => format!("Because of a flood, {person} moved from {place} in the autumn of {year}."),
            6 => format!("A prize of {number} crowns was given to {person} for a book about the {thing}."),
            _ => format!("Visitors of {place} often ask for the {thing}, which is hard to find."),
        };
        sentences += 1;
        text.push(if sentences % 6 == 0 { '\n' } else { ' ' });
    }
    text.push('\n');
    text
}

/// Asks each document its question, and prints the answers. Returns how often the best answer stands in the
/// planted sentence, and how often it is the right one.
fn score(documents: &[Document]) -> (usize, usize) {
    let qa = QuestionAnswering::open("qa").unwrap();
    let (mut found, mut right) = (0, 0);
    for document in documents {
        let answer = qa.answer(document.question, &document.text).unwrap();
        let in_fact = document.fact.contains(&answer.start);
        let is_right = in_fact && answer.answer.trim_start_matches("the ") == document.answer;
        println!(
            "{} kB, at {}: {} -> {:?} ({:.3}){}",
            document.text.len() / 1000,
            document.fact.start,
            document.question,
            answer.answer,
            answer.score,
            if is_right {
                ""
            } else if in_fact {
                ", other words"
            } else {
                ", WRONG PLACE"
            }
        );
        found += usize::from(in_fact);
        right += usize::from(is_right);
    }
    println!("the right place in {found} of {}, the exact answer in {right}", documents.len());
    (found, right)
}

/// The number of windows that the shortened searches read, of 19 to 89.
const FEW_WINDOWS: usize = 4;

/// Returns how often the best answer stands in the planted sentence when only a few windows are read.
fn score_of_few_windows(documents: &[Document]) -> usize {
    let qa = QuestionAnswering::open("qa").unwrap();
    let is_found = |document: &&Document| {
        let context = qa.prepare(&*document.text).unwrap();
        let control = &mut RunControl::default();
        let found =
            qa.answers_within(document.question, &context, qa.options(), Some(FEW_WINDOWS), control).unwrap();
        let best = &found.answers[0];
        println!(
            "{} of {} windows: {} -> {:?} ({:.3})",
            found.windows_read, found.windows, document.question, best.answer, best.score
        );
        document.fact.contains(&best.start)
    };
    documents.iter().filter(is_found).count()
}

#[test]
fn facts_are_found_in_generated_documents() {
    let texts: Vec<String> = (0..10).map(|i| filler(20_000 + 2_000 * i, i as u64)).collect();
    let documents = plant(&texts);
    for (document, [fact, _, answer]) in documents.iter().zip(FACTS) {
        assert_eq!(document.text[document.fact.clone()], *fact);
        assert_eq!(
            (document.text.matches(fact).count(), document.text.matches(answer).count() > 0),
            (1, true)
        );
        assert!((20_000..40_000).contains(&document.text.len()), "{}", document.text.len());
    }
    // The sentences around each fact have its words hundreds of times, which misleads the model three times.
    assert_eq!(score(&documents).0, 7);
    // The windows that would mislead it are not among the few.
    assert_eq!(score_of_few_windows(&documents), 10);
}

/// Texts of 20 to 100 kB: whole articles of the English Wikipedia, one behind the other.
fn wikipedia() -> Result<Vec<String>, String> {
    let data = std::env::var_os("MOBILEBERT_DATA");
    let data = data.map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        PathBuf::from,
    );
    let path = data.join("text/enwiki-core-00.txt.zst");
    if !path.is_file() {
        return Err(format!("{} is absent; set MOBILEBERT_DATA", path.display()));
    }
    let zstd = Command::new("zstd").arg("-dcq").arg(&path).stdout(Stdio::piped()).spawn();
    let mut zstd = zstd.map_err(|e| format!("cannot run zstd: {e}"))?;
    let mut bytes = Vec::new();
    zstd.stdout.take().unwrap().take(8_000_000).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    // It may still have text to write, which nobody reads.
    let _ = (zstd.kill(), zstd.wait());
    let text = String::from_utf8_lossy(&bytes);
    let mut articles = text.split("\n\n").step_by(7);
    let text_of = |i: usize| {
        let bytes = 21_000 + i * 78_000 / 9;
        let mut text = String::new();
        while text.len() < bytes {
            text += articles.next().ok_or("too little text")?.trim();
            text.push('\n');
        }
        // The last article ends with the last whole paragraph that fits.
        let end = text[..text.floor_char_boundary(bytes)].rfind('\n').map_or(text.len(), |end| end + 1);
        text.truncate(end);
        Ok(text)
    };
    (0..FACTS.len()).map(text_of).collect()
}

#[test]
fn facts_are_found_in_articles_of_wikipedia() {
    let texts = match wikipedia() {
        Ok(texts) => texts,
        Err(reason) => {
            // The test harness would hide the text of `eprintln!` if the test passes.
            std::io::stderr().write_all(format!("SKIPPED: {reason}\n").as_bytes()).unwrap();
            return;
        }
    };
    let documents = plant(&texts);
    assert_eq!(score(&documents), (10, 6));
    assert_eq!(score_of_few_windows(&documents), 10);
}
