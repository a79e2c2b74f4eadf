//! The report as Markdown.

use super::{Peer, Run, megabytes};

pub(super) fn page(runs: &[Run], peers: &[Peer]) -> String {
    let mut text = "# Evaluation\n\n".to_owned();
    text +=
        "| model | task | score | 95 % | examples | latency p50 | size |\n|---|---|---|---|---|---|---|\n";
    for run in runs {
        let score = run.main().map_or_else(String::new, |s| format!("{} {s:.2}", run.metric));
        let interval = run.interval.map_or_else(String::new, |[low, high]| format!("{low:.2} to {high:.2}"));
        let latency = run.latency_ms().map_or_else(String::new, |ms| format!("{ms:.2} ms"));
        let size = run.model_bytes.map_or_else(String::new, megabytes);
        let (name, task, total) = (run.name(), &run.task, run.total);
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
        text += &format!("| {} (given) | | {} | | | {latency} | {size} |\n", peer.name, scores.join(", "));
    }
    for run in runs {
        text += &format!("\n## {}\n\n", run.name());
        let hash = run.model_sha256.as_deref().unwrap_or("none");
        text += &format!("Weights sha256 `{hash}`; {}, {} threads, {}.\n", run.kernel, run.threads, run.cpu);
        if !run.data.is_empty() {
            let official = match run.data_official {
                Some(true) => ", the official file",
                Some(false) => ", not the official file",
                None => "",
            };
            text += &format!("Data {} (sha256 `{}`{official}).\n", run.data, run.data_sha256);
        }
        for group in &run.groups {
            text += &format!("\n| {} | {} | examples |\n|---|---|---|\n", group.title, group.metric);
            for row in &group.rows {
                text += &format!("| {} | {:.2} | {} |\n", row.name, row.score, row.examples);
            }
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
