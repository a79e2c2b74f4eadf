//! Writes the report as one HTML page that needs no other file.

use serde_json::Value;

use super::breakdown::GroupRow;
use super::svg::{Chart, Scale, escape};
use super::{Peer, Run, matrix, megabytes};
use crate::latency::Latency;

/// The number of series colours in the style sheet.
const SERIES: usize = 6;
/// How many bars a chart has room for.
const BARS: usize = 12;

pub(super) fn page(runs: &[Run], peers: &[Peer]) -> String {
    let title = escape(&title(runs));
    let mut body = format!("<header><h1>{title}</h1><p>{}</p></header>\n", escape(&subtitle(runs)));
    body += &table(runs, peers);
    let mut cards = Vec::new();
    cards.extend(pareto(runs, peers));
    cards.extend(latency(runs));
    for (i, run) in runs.iter().enumerate() {
        for group in &run.groups {
            let mut rows: Vec<&GroupRow> = group.rows.iter().collect();
            let mut left_out = String::new();
            if rows.len() > BARS {
                rows.sort_by_key(|row| usize::MAX - row.examples);
                rows.truncate(BARS);
                left_out = format!(" The {BARS} largest of {} groups are shown.", group.rows.len());
            }
            let sizes: Vec<String> =
                rows.iter().map(|row| format!("{}: {}", row.name, row.examples)).collect();
            let rows: Vec<(String, f64, String)> = rows
                .into_iter()
                .map(|row| (row.name.clone(), row.score, format!("{} examples", row.examples)))
                .collect();
            let title = format!("{}, {}", group.title, run.name());
            let y = (group.metric.as_str(), Scale::fixed(0.0, 105.0));
            let mut chart = Chart::new(&title, (&group.title, Scale::fixed(0.0, 1.0)), y);
            chart.bars(i % SERIES, &rows);
            let title = format!("{} by {}", group.metric, lower(&group.title));
            cards.push(card(
                &title,
                &run.name(),
                chart,
                &format!("Examples: {}.{left_out}", sizes.join(" · ")),
            ));
        }
    }
    cards.extend(runs.iter().filter_map(matrix::confusion));
    cards.extend(layers(runs));
    cards.extend(calibration(runs));
    body += &format!("<main>\n{}</main>\n", cards.concat());
    for run in runs {
        body += &matrix::wrong(run);
    }
    body += &format!("<section><h2>What was measured</h2>\n{}</section>\n", provenance(runs));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{}</style></head>\n<body>\n{body}</body></html>\n",
        include_str!("style.css")
    )
}

fn lower(title: &str) -> String {
    let mut chars = title.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// What the page is about: a model and its task, or several results.
fn title(runs: &[Run]) -> String {
    match runs {
        [run] if run.task.is_empty() => format!("Latency of {}", run.name()),
        [run] => format!("Evaluation of {} on {}", run.name(), run.task),
        _ => format!("Evaluation, {} results", runs.len()),
    }
}

/// The day of the results, or the first and the last one.
fn days(runs: &[Run]) -> Option<String> {
    let mut days: Vec<&str> = runs.iter().filter_map(|run| run.date.split(' ').next()).collect();
    days.retain(|day| !day.is_empty());
    days.sort_unstable();
    let (first, last) = (days.first()?, days.last()?);
    Some(if first == last { (*first).to_owned() } else { format!("{first} to {last}") })
}

fn subtitle(runs: &[Run]) -> String {
    let mut tasks: Vec<&str> =
        runs.iter().map(|run| run.task.as_str()).filter(|task| !task.is_empty()).collect();
    tasks.dedup();
    let cpu = runs.first().map_or("", |run| run.cpu.as_str());
    let mut parts: Vec<String> = days(runs).into_iter().collect();
    parts.push(if tasks.is_empty() { "latency".to_owned() } else { tasks.join(", ") });
    match runs {
        [run] if run.total > 0 => parts.push(format!("{} examples", run.total)),
        _ => {}
    }
    parts.push(cpu.to_owned());
    parts.join(" · ")
}

fn card(title: &str, about: &str, chart: Chart, note: &str) -> String {
    let note =
        if note.is_empty() { String::new() } else { format!("<p class=\"small\">{}</p>\n", escape(note)) };
    format!(
        "<figure><h2>{}</h2><p class=\"about\">{}</p>\n{}{note}</figure>\n",
        escape(title),
        escape(about),
        chart.finish()
    )
}

fn table(runs: &[Run], peers: &[Peer]) -> String {
    let mut rows = String::new();
    for (i, run) in runs.iter().enumerate() {
        let score = run.main().map_or_else(
            || "–".to_owned(),
            |s| format!("<span><b>{s:.2}</b> {}</span>", escape(&run.metric)),
        );
        let interval = run.interval.map_or_else(String::new, |[a, b]| format!("{a:.2} – {b:.2}"));
        let second = run.scores.iter().find(|(name, _)| **name != run.metric && *name != "types");
        let second = second.and_then(|(name, v)| Some(format!("{:.2} {}", v.as_f64()?, escape(name))));
        let latency = run.latency_ms().map_or_else(|| "–".to_owned(), |ms| format!("{ms:.2} ms"));
        let size = run.model_bytes.map_or_else(|| "–".to_owned(), megabytes);
        rows += &format!(
            "<tr><td><i class=\"key s{}\"></i>{}</td><td data-name=\"task\">{}</td><td data-name=\"score\">{score}</td>\
             <td data-name=\"95 % interval\">{interval}</td><td data-name=\"other score\">{}</td>\
             <td data-name=\"examples\">{}</td><td data-name=\"latency p50\">{latency}</td>\
             <td data-name=\"weights\">{size}</td></tr>\n",
            i % SERIES,
            escape(&run.name()),
            escape(&run.task),
            second.unwrap_or_default(),
            if run.total > 0 { run.total.to_string() } else { "–".to_owned() },
        );
    }
    for peer in peers {
        let scores: Vec<String> = peer
            .scores
            .iter()
            .filter_map(|(name, value)| Some(format!("{:.2} {}", value.as_f64()?, escape(name))))
            .collect();
        rows += &format!(
            "<tr class=\"peer\"><td><i class=\"key peer\"></i>{}</td><td data-name=\"task\">given</td>\
             <td data-name=\"score\">{}</td><td></td><td data-name=\"other score\">{}</td><td></td>\
             <td data-name=\"latency p50\">{}</td><td data-name=\"weights\">{}</td></tr>\n",
            escape(&peer.name),
            scores.first().cloned().unwrap_or_else(|| "–".to_owned()),
            scores.get(1).cloned().unwrap_or_default(),
            peer.latency_ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.2} ms")),
            peer.bytes.map_or_else(|| "–".to_owned(), megabytes),
        );
    }
    format!(
        "<section><table class=\"results\"><thead><tr><th>model</th><th>task</th><th>score</th><th>95 % interval</th>\
         <th>other score</th><th>examples</th><th>latency p50</th><th>weights</th></tr></thead>\n<tbody>{rows}</tbody></table></section>\n"
    )
}

/// The chart of accuracy against latency and size.
fn pareto(runs: &[Run], peers: &[Peer]) -> Option<String> {
    let metric = runs.iter().find(|run| run.main().is_some())?.metric.clone();
    let of_run = |(i, run): (usize, &Run)| {
        let hint = format!("{}: {:.2} {metric}, {:.2} ms", run.name(), run.main()?, run.latency_ms()?);
        let place = (run.latency_ms()?, run.main()?);
        (run.metric == metric).then(|| (i % SERIES, place, run.model_bytes, run.name(), hint, run.interval))
    };
    let of_peer = |peer: &Peer| {
        let score = peer.scores.get(&metric).and_then(Value::as_f64)?;
        let place = (peer.latency_ms?, score);
        let hint = format!("{}: {score:.2} {metric}, {:.2} ms", peer.name, place.0);
        Some((SERIES, place, peer.bytes, peer.name.clone(), hint, None))
    };
    let points: Vec<_> =
        runs.iter().enumerate().filter_map(of_run).chain(peers.iter().filter_map(of_peer)).collect();
    if points.is_empty() {
        return None;
    }
    let x = Scale::around(points.iter().map(|p| p.1.0), true);
    let ends = points.iter().flat_map(|p| p.5.map_or([p.1.1; 2], |ends| ends));
    let y = Scale::around(ends.collect::<Vec<_>>().into_iter(), false);
    let begins = y.note(&metric);
    let mut chart =
        Chart::new("Accuracy, latency and size", ("latency, median ms", x), (&metric, y)).x_ticks();
    // These points have no other that is both faster and more accurate.
    let mut front: Vec<(f64, f64)> = points
        .iter()
        .map(|p| p.1)
        .filter(|a| !points.iter().any(|b| b.1 != *a && b.1.0 <= a.0 && b.1.1 >= a.1))
        .collect();
    front.sort_by(|a, b| a.0.total_cmp(&b.0));
    if front.len() > 1 {
        chart.line(SERIES, &front, true);
    }
    for (series, place, bytes, name, hint, interval) in &points {
        if let Some([low, high]) = interval {
            chart.whisker(*series, place.0, *low, *high);
        }
        let radius = bytes.map_or(5.0, |bytes| (bytes as f64 / 1e6).sqrt().clamp(4.0, 26.0));
        chart.point(*series, *place, radius, name, hint);
    }
    let mut note = "Area: bytes of weights. Whiskers: 95 % interval.".to_owned();
    if front.len() > 1 {
        note += " Dashed: nothing here is both faster and better.";
    }
    let note = format!("{note} {begins}");
    Some(card(
        "Accuracy against latency against size",
        "up and to the left is better",
        chart,
        note.trim_end(),
    ))
}

/// The chart of the distribution of latencies: for each latency, the share of queries that took no longer.
fn latency(runs: &[Run]) -> Vec<String> {
    const TAIL: &str = "The slowest 1 % of the queries are not shown.";
    let mut cards = Vec::new();
    for scenario in ["SingleStream", "MultiStream", "Server"] {
        let found: Vec<(usize, &Run, &Latency, &crate::latency::Measured)> = runs
            .iter()
            .enumerate()
            .filter_map(|(i, run)| {
                let latency = run.latency.as_ref()?;
                let measured = latency.scenarios.iter().find(|s| s.scenario == scenario)?;
                Some((i % SERIES, run, latency, measured))
            })
            .collect();
        if found.is_empty() {
            continue;
        }
        // The slowest queries would leave no room for the others.
        let most = found.iter().flat_map(|f| f.3.quantiles_ms.get(99)).copied().fold(0.0, f64::max);
        let x = Scale::around([0.0, most].into_iter(), true);
        let y = ("queries, %", Scale::fixed(0.0, 100.0));
        let mut chart = Chart::new(&format!("Latency, {scenario}"), ("ms", x), y).x_ticks();
        let mut notes = Vec::new();
        for (series, run, latency, measured) in &found {
            let quantiles = measured.quantiles_ms.iter().take(100).enumerate();
            let points: Vec<(f64, f64)> = quantiles.map(|(percent, &ms)| (ms, percent as f64)).collect();
            chart.line(*series, &points, false);
            let result = match (&measured.headline, &measured.refused) {
                (Some(headline), _) => headline.clone(),
                (_, Some(reason)) => format!("no headline, {reason}"),
                _ => String::new(),
            };
            notes.push(format!(
                "{}: {result}; {}; {:.0} tokens on average.",
                run.name(),
                latency.sequences,
                latency.mean_tokens
            ));
        }
        let note = format!("{} {TAIL} {}.", notes.join(" "), found[0].2.note);
        cards.push(card(
            &format!("Latency, {scenario}"),
            "share of queries that took no longer",
            chart,
            &note,
        ));
    }
    cards
}

fn layers(runs: &[Run]) -> Option<String> {
    let with: Vec<(usize, &Run)> =
        runs.iter().enumerate().filter(|(_, run)| !run.layers.is_empty()).collect();
    let most = with.iter().map(|(_, run)| run.layers.len()).max()?;
    let errors = with.iter().flat_map(|(_, run)| run.layers.iter().map(|l| l.error)).collect::<Vec<_>>();
    let x = ("layer", Scale::fixed(-0.5, most as f64 - 0.5));
    let y = ("relative error", Scale::around(errors.into_iter(), true));
    let mut chart = Chart::new("Error by layer", x, y);
    let longest = with.iter().map(|(_, run)| &run.layers).max_by_key(|layers| layers.len())?;
    // Only as many names as there is room for.
    for (k, layer) in longest.iter().enumerate().filter(|(k, _)| k % longest.len().div_ceil(14) == 0) {
        let name = layer.layer.strip_prefix("encoder.layer.").unwrap_or(&layer.layer);
        chart.x_name(k as f64, if name == "embeddings" { "emb." } else { name });
    }
    for (i, run) in &with {
        let points: Vec<(f64, f64)> =
            run.layers.iter().enumerate().map(|(k, l)| (k as f64, l.error)).collect();
        chart.line(i % SERIES, &points, false);
        for (k, layer) in run.layers.iter().enumerate() {
            let last = k + 1 == run.layers.len();
            let label = if last { run.name() } else { String::new() };
            let hint = format!("{}: {:.4}", layer.layer, layer.error);
            chart.point(i % SERIES, (k as f64, layer.error), 3.0, &label, &hint);
        }
    }
    let note =
        "RMS of the difference over RMS of f32, from the embeddings on the left to the head on the right.";
    Some(card("Error by layer", "int8 against f32 on the same inputs", chart, note))
}

fn calibration(runs: &[Run]) -> Option<String> {
    let with: Vec<_> =
        runs.iter().enumerate().filter_map(|(i, run)| Some((i, run, run.calibration.as_ref()?))).collect();
    if with.is_empty() {
        return None;
    }
    let unit = Scale::fixed(0.0, 1.0);
    let mut chart = Chart::new("Calibration", ("confidence", unit), ("share that is right", unit)).x_ticks();
    chart.line(SERIES, &[(0.0, 0.0), (1.0, 1.0)], true);
    let mut notes = Vec::new();
    for (i, run, calibration) in with {
        let points: Vec<(f64, f64)> = calibration.bins.iter().map(|b| (b.confidence, b.accuracy)).collect();
        chart.line(i % SERIES, &points, false);
        for bin in &calibration.bins {
            let radius = (bin.examples as f64).sqrt().clamp(2.5, 9.0);
            let hint = format!("{} examples", bin.examples);
            chart.point(i % SERIES, (bin.confidence, bin.accuracy), radius, "", &hint);
        }
        notes.push(format!("{}: expected calibration error {:.3}.", run.name(), calibration.error));
    }
    Some(card("Calibration", "dashed: as sure as it is right", chart, &notes.join(" ")))
}

fn provenance(runs: &[Run]) -> String {
    let mut text = String::new();
    for run in runs {
        let hash = run.model_sha256.as_deref().unwrap_or("weights from a formula");
        text += &format!(
            "<p><b>{}</b><br>weights {}<br>{} kernels {}, {} threads, {}",
            escape(&run.model),
            escape(hash),
            escape(&run.backend),
            escape(&run.kernel),
            run.threads,
            escape(&run.cpu)
        );
        if !run.data.is_empty() {
            let official = match run.data_official {
                Some(true) => " (the official file)",
                Some(false) => " (not the official file)",
                None => "",
            };
            text += &format!("<br>data {}{official}, sha256 {}", escape(&run.data), escape(&run.data_sha256));
        }
        if let Some(latency) = &run.latency {
            let s = &latency.stability;
            text += &format!(
                "<br>cold start {:.1} ms to load, {:.2} ms for the first pass; machine: quartiles {:.0} % apart, drift {:+.0} %",
                latency.load_ms,
                latency.first_inference_ms,
                100.0 * s.spread,
                100.0 * s.drift
            );
        }
        if !run.date.is_empty() {
            text += &format!("<br>{}, mobilebert-eval {}", escape(&run.date), escape(&run.version));
        }
        text += "</p>\n";
    }
    text
}
