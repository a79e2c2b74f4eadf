//! The parts of the HTML page about single examples: the matrix of classes, and the list of wrong examples.

use super::Run;
use super::examples::{Confusion, WrongExample};
use super::svg::escape;

/// How many wrong examples are shown before the reader asks for more.
const OPEN: usize = 10;
/// The number of shades in the style sheet.
const SHADES: usize = 5;

/// The card of the matrix, or `None` if the task has no classes.
pub(super) fn confusion(run: &Run) -> Option<String> {
    let Confusion { unit, gold, predicted, counts, note } = run.confusion.as_ref()?;
    let head: String =
        predicted.iter().map(|name| format!("<th scope=\"col\">{}</th>", isolated(name))).collect();
    let mut rows = String::new();
    for (i, (name, counts)) in gold.iter().zip(counts).enumerate() {
        let total: usize = counts.iter().sum();
        rows += &format!("<tr><th scope=\"row\">{}</th>", isolated(name));
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
    let others = note.contains("counted together");
    let right = match others {
        // The last class of such a matrix mixes right and wrong ones.
        true => String::new(),
        false => format!("{right} of {total} {unit} are right. "),
    };
    let note = format!("{right}Shades are shares of a row. {note}");
    Some(format!(
        "<figure class=\"matrix\"><h2>What was taken for what</h2><p class=\"about\">{}: rows are the classes of the \
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
