//! The report as Markdown.

use super::{Peer, Run, megabytes};

pub(super) fn page(runs: &[Run], peers: &[Peer]) -> String {
    let mut text = "# Evaluation\n\n".to_owned();
    let mut dates: Vec<&str> =
        runs.iter().map(|run| run.date.as_str()).filter(|date| !date.is_empty()).collect();
    dates.dedup();
    if !dates.is_empty() {
        text += &format!("{}\n\n", dates.join(", "));
    }
    text +=
        "| model | task | score | 95 % | examples | latency p50 | size |\n|---|---|---|---|---|---|---|\n";
    for run in runs {
        let score = run.main().map_or_else(String::new, |s| format!("{} {s:.2}", run.metric));
        let interval = run.interval.map_or_else(String::new, |[low, high]| format!("{low:.2} to {high:.2}"));
        let latency = run.latency_ms().map_or_else(String::new, |ms| format!("{ms:.2} ms"));
        let size = run.model_bytes.map_or_else(String::new, megabytes);
        let (name, task, total) = (cell(&run.name()), &run.task, run.total);
        text += &format!("| {name} | {task} | {score} | {interval} | {total} | {latency} | {size} |\n");
    }
    for peer in peers {
        let scores: Vec<String> = peer
            .scores
            .iter()
            .filter_map(|(name, value)| Some(format!("{name} {:.2}", value.as_f64()?)))
            .collect();
        let latency = peer.latency_ms.map_or_else(String::new, |ms| format!("{ms:.2} ms"));
        let size = peer.bytes.map_or_else(String::new, megabytes);
        text +=
            &format!("| {} (given) | | {} | | | {latency} | {size} |\n", cell(&peer.name), scores.join(", "));
    }
    for run in runs {
        text += &format!("\n## {}\n\n", cell(&run.name()));
        let hash = run.model_sha256.as_deref().unwrap_or("none");
        text += &format!("Weights sha256 `{hash}`; {}, {} threads, {}.\n", run.kernel, run.threads, run.cpu);
        if !run.data.is_empty() {
            let official = match run.data_official {
                Some(true) => ", the official file",
                Some(false) => ", not the official file",
                None => "",
            };
            text += &format!("Data {} (sha256 `{}`{official}).\n", cell(&run.data), run.data_sha256);
        }
        for group in &run.groups {
            text += &format!("\n| {} | {} | examples |\n|---|---|---|\n", group.title, group.metric);
            for row in &group.rows {
                text += &format!("| {} | {:.2} | {} |\n", cell(&row.name), row.score, row.examples);
            }
        }
        if let Some(confusion) = &run.confusion {
            let names: Vec<String> = confusion.predicted.iter().map(|name| cell(name)).collect();
            text += &format!("\n| data, {} | {} |\n|---|", confusion.unit, names.join(" | "));
            text += &format!("{}\n", "---|".repeat(names.len()));
            for (name, counts) in confusion.gold.iter().zip(&confusion.counts) {
                let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
                text += &format!("| {} | {} |\n", cell(name), counts.join(" | "));
            }
            text += &format!(
                "\nRows are the classes of the data, columns the predicted ones. {}\n",
                confusion.note
            );
        }
        if let Some(wrong) = &run.wrong {
            let (total, listed) = (wrong.total, wrong.listed.len());
            let shown = match total {
                0 => String::new(),
                _ => format!("; an HTML report shows {listed} of them"),
            };
            text += &format!("\n{total} of {} examples are wrong{shown}.\n", run.total);
        }
        if let Some(calibration) = &run.calibration {
            text += &format!("\nExpected calibration error {:.3}.\n", calibration.error);
        }
        if let Some(worst) = run.layers.iter().max_by(|a, b| a.error.total_cmp(&b.error)) {
            text += &format!("Largest error of a layer against f32: {:.3} ({}).\n", worst.error, worst.layer);
        }
        if let Some(latency) = &run.latency {
            text += &format!(
                "\n{}: {}. Cold start {:.1} ms and {:.2} ms.\n\n",
                latency.note, latency.sequences, latency.load_ms, latency.first_inference_ms
            );
            text += "| scenario | result | p50 ms | p90 ms | p99 ms |\n|---|---|---|---|---|\n";
            for s in &latency.scenarios {
                let result = match (&s.headline, &s.refused) {
                    (Some(headline), _) => headline.clone(),
                    (_, Some(reason)) => format!("no headline: {reason}"),
                    _ => String::new(),
                };
                let row = format!(
                    "| {} | {result} | {:.2} | {:.2} | {:.2} |\n",
                    s.scenario, s.p50_ms, s.p90_ms, s.p99_ms
                );
                text += &row;
            }
        }
    }
    text
}

/// Text of names and data inside a table: nothing of it is markup, and it stays in its cell.
fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' => cell.extend(['\\', c]),
            '<' => cell.push_str("&lt;"),
            '&' => cell.push_str("&amp;"),
            c if c.is_control() => cell.push(' '),
            c => cell.push(c),
        }
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::super::Run;
    use super::super::examples::Wrong;

    #[test]
    fn no_wrong_examples_are_not_shown_elsewhere() {
        let wrong = Wrong { total: 0, about: String::new(), listed: Vec::new() };
        let page = super::page(&[Run { total: 6, wrong: Some(wrong), ..Run::default() }], &[]);
        assert!(page.contains("\n0 of 6 examples are wrong.\n"), "{page}");
    }

    #[test]
    fn names_stay_in_their_cell() {
        assert_eq!(super::cell("a|b\n<i>_x_ & \\"), "a\\|b &lt;i>\\_x\\_ &amp; \\\\");
    }
}
