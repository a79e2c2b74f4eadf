//! The parts of the HTML page about single examples: the matrix of classes, and the list of wrong examples.

use super::Run;
use super::confusion::Confusion;
use super::examples::WrongExample;
use super::svg::escape;

/// How many wrong examples are shown before the reader asks for more.
const OPEN: usize = 10;
/// The most columns that have names instead of numbers.
const WORDED: usize = 5;
/// The most characters that such a name may have.
const SHORT: usize = 10;
/// The number of shades in the style sheet.
const SHADES: usize = 5;

/// The card of the matrix, or `None` if the task has no classes.
pub(super) fn confusion(run: &Run) -> Option<String> {
    let Confusion { unit, gold, predicted, counts, has_others, note } = run.confusion.as_ref()?;
    // Columns have no room for many or long names: they have numbers then, and rows say which is which.
    let is_wide = predicted.len() > WORDED || predicted.iter().any(|name| name.chars().count() > SHORT);
    let column = |(k, name): (usize, &String)| match is_wide {
        true => format!("<th scope=\"col\" title=\"{}\">{}</th>", escape(name), k + 1),
        false => format!("<th scope=\"col\">{}</th>", isolated(name)),
    };
    let head: String = predicted.iter().enumerate().map(column).collect();
    let mut rows = String::new();
    for (i, (name, counts)) in gold.iter().zip(counts).enumerate() {
        let total: usize = counts.iter().sum();
        let number = if is_wide { format!("{} ", i + 1) } else { String::new() };
        rows += &format!("<tr><th scope=\"row\" title=\"{}\">{number}{}</th>", escape(name), isolated(name));
        for (k, &count) in counts.iter().enumerate() {
            let side = if i == k { "right" } else { "wrong" };
            // Shades are shares of the row. Any example at all has the first shade.
            let shade = (count * SHADES).div_ceil(total.max(1)).min(SHADES);
            rows += &format!("<td class=\"{side} shade{shade}\">{count}</td>");
        }
        rows += &format!("<td class=\"sum\">{total}</td></tr>\n");
    }
    let total: usize = counts.iter().flatten().sum();
    let right: usize = (0..gold.len()).filter_map(|i| counts.get(i)?.get(i)).sum();
    let right = match *has_others {
        // The last class of such a matrix mixes right and wrong ones.
        true => String::new(),
        false => format!("{right} of {total} {unit} are right. "),
    };
    let more = predicted.iter().enumerate().skip(gold.len()).filter(|_| is_wide);
    let more: String = more.map(|(k, name)| format!("Column {} is “{name}”. ", k + 1)).collect();
    let note = format!("{right}{more}Shades are shares of a row. {note}");
    let wide = if is_wide { " wide" } else { "" };
    Some(format!(
        "<figure class=\"matrix{wide}\"><h2>What was taken for what</h2><p class=\"about\">{}: rows are the classes of the \
         data, columns the predicted ones, in {}</p>\n<div class=\"scroll\"><table><thead><tr><td></td>{head}\
         <th scope=\"col\">all</th></tr></thead>\n<tbody>{rows}</tbody></table></div>\n<p class=\"small\">{}</p></figure>\n",
        escape(&run.name()),
        escape(unit),
        escape(note.trim_end())
    ))
}

/// The section of wrong examples; empty if the data has no labels.
pub(super) fn wrong(run: &Run) -> String {
    let Some(wrong) = &run.wrong else { return String::new() };
    let heading = format!("<h2>Wrong examples, {}</h2>", escape(&run.name()));
    if wrong.total == 0 {
        return format!("<section>{heading}<p>None of {} examples is wrong.</p></section>\n", run.total);
    }
    let shown = match wrong.listed.len() < wrong.total {
        true => format!("{} of the {} wrong examples are shown", wrong.listed.len(), wrong.total),
        false => format!("{} wrong", wrong.total),
    };
    let about = format!("{shown}; {} examples in all. {}", run.total, wrong.about);
    let list = |examples: &[WrongExample]| examples.iter().map(item).collect::<String>();
    let (first, rest) = wrong.listed.split_at(wrong.listed.len().min(OPEN));
    let mut text = format!("<section>{heading}<p>{}</p>\n{}", escape(&about), list(first));
    if !rest.is_empty() {
        text += &format!("<details><summary>{} more</summary>\n{}</details>\n", rest.len(), list(rest));
    }
    text + "</section>\n"
}

fn item(example: &WrongExample) -> String {
    let sure = example.confidence.map_or_else(String::new, |c| format!(", confidence {:.1} %", 100.0 * c));
    let mut text = format!("<article><h3>{}{sure}</h3>\n<dl>", isolated(&example.id));
    for named in &example.texts {
        text += &pair("", &named.name, &named.text);
    }
    text += &pair("gold", "expected", &example.gold);
    text += &pair("predicted", "predicted", &example.predicted);
    text + "</dl></article>\n"
}

fn pair(class: &str, name: &str, text: &str) -> String {
    format!("<dt>{}</dt><dd class=\"{class}\">{}</dd>\n", escape(name), isolated(text))
}

/// Text of the data. Marks of writing direction in it have no effect on the rest of the page.
fn isolated(text: &str) -> String {
    format!("<bdi>{}</bdi>", escape(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(names: &[&str], more: &[&str], counts: Vec<Vec<usize>>) -> String {
        card_of(names, more, counts, (false, ""))
    }

    fn card_of(
        names: &[&str],
        more: &[&str],
        counts: Vec<Vec<usize>>,
        (has_others, note): (bool, &str),
    ) -> String {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (gold, predicted) = (owned(names), owned(&[names, more].concat()));
        let (unit, note) = ("words".to_owned(), note.to_owned());
        let confusion = Some(Confusion { unit, gold, predicted, counts, has_others, note });
        super::confusion(&Run { confusion, ..Run::default() }).unwrap()
    }

    #[test]
    fn rows_sum_and_shade() {
        let card = card(&["no", "yes"], &[], vec![vec![9, 1], vec![0, 5]]);
        for part in [
            "<th scope=\"col\"><bdi>no</bdi></th>",
            "<td class=\"right shade5\">9</td><td class=\"wrong shade1\">1</td><td class=\"sum\">10</td>",
            "<td class=\"wrong shade0\">0</td><td class=\"right shade5\">5</td><td class=\"sum\">5</td>",
            "14 of 15 words are right.",
        ] {
            assert!(card.contains(part), "no {part} in {card}");
        }
    }

    #[test]
    fn a_row_of_several_classes_has_no_right_ones() {
        let counts = || vec![vec![9, 1], vec![0, 5]];
        let note = "The 3 smallest of 4 classes are counted together as “all others”.";
        let card = |has_others| card_of(&["no", "all others"], &[], counts(), (has_others, note));
        assert!(!card(true).contains("are right") && card(true).contains("counted together"));
        assert!(card(false).contains("14 of 15 words are right."), "the words of a note decide nothing");
    }

    #[test]
    fn long_names_become_numbers_of_columns() {
        let card = card(
            &["a name of <many> letters", "b"],
            &["none of the classes"],
            vec![vec![1, 0, 2], vec![0, 0, 0]],
        );
        assert!(card.contains("\">1</th>") && card.contains("\">3</th>"), "{card}");
        assert!(card.contains(">1 <bdi>a name of &lt;many&gt; letters</bdi></th>"), "{card}");
        assert!(card.contains("Column 3 is “none of the classes”.") && !card.contains("<many>"), "{card}");
    }
}
