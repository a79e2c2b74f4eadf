//! The evidence as files. They contain no dates and no paths, and numbers have no more digits than are
//! meaningful, so that the same model, data and kernels give the same bytes.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{GateReport, Sensitivity, chart};
use crate::compare::{Difference, Measured};
use mobilebert::quant::{Bits, Scales};
use mobilebert::{ErrorKind, Result};

const JSON: &str = "quantization.json";
const MARKDOWN: &str = "quantization.md";
const SVG: &str = "quantization.svg";

/// How many disagreements the Markdown file lists; the JSON file has all of them.
const LISTED: usize = 40;

/// The names and contents of the files.
pub(super) fn files(report: &GateReport) -> Result<[(&'static str, String); 3]> {
    let title = format!("{}, {} against f32", report.class, report.bits.name());
    Ok([
        (JSON, lines(&json(report)?)),
        (MARKDOWN, markdown(report)),
        (SVG, chart::error_by_module(&title, &report.modules, report.bits)),
    ])
}

fn json(r: &GateReport) -> Result<Value> {
    let four = r.bits == Bits::Four;
    let name = r.bits.name();
    let modules: Vec<Value> = r.modules.iter().map(|m| module(m, r.bits)).collect();
    let tensors = r.int8.tensors.iter().map(|tensor| {
        json!({
            "name": tensor.name,
            "stored": tensor.stored,
            "shape": tensor.shape,
            "bytes": tensor.bytes,
            "clipped_rows": tensor.clipped_rows,
            "sqnr_db": round(tensor.deviation.sqnr_db()),
            "relative_error": significant(tensor.deviation.relative_error()),
            "max_abs_error": significant(tensor.deviation.max_abs_error()),
        })
    });
    let attempts = r.attempts.iter().map(|attempt| {
        let mut value = json!({
            "keep_f32": attempt.keep_f32,
            "score": round(attempt.score),
            "drop": round(attempt.drop),
        });
        if four {
            value["keep_int8"] = json!(attempt.keep_int8);
        }
        value
    });
    let items = &r.items;
    let disagreements: Vec<Value> = items.differing.iter().map(|d| disagreement(d, name)).collect();
    let mut scheme = json!({
        "bits": 8,
        "weights": "symmetric, one f32 scale per row",
        "scales": scales(r.scales),
        "activations": "dynamic, per token",
        "keep_f32": r.keep_f32(),
    });
    let mut size = json!({
        "bytes": r.int8.bytes,
        "int8_tensors": r.int8.quantized_tensors - r.int8.int4_tensors,
        "f32_tensors": r.int8.f32_tensors,
    });
    if four {
        scheme["bits"] = json!(4);
        scheme["weights"] = json!(WEIGHTS_INT4);
        scheme["keep_int8"] = json!(r.keep_int8());
        size["int4_tensors"] = json!(r.int8.int4_tensors);
    }
    Ok(json!({
        "quantizer": format!("mobilebert {}", env!("CARGO_PKG_VERSION")),
        "model": r.class,
        "source_sha256": r.source_sha256,
        "weights_sha256": r.weights_sha256,
        "scheme": scheme,
        "size": size,
        "gate": {
            "task": r.task.name(),
            "metric": items.metric,
            "max_drop": r.max_drop,
            "drop": round(r.drop()),
            "data": r.data,
            "data_sha256": r.data_sha256,
            "examples": items.total,
        },
        "scores": {
            "f32": measured(&items.a)?,
            name: measured(&items.b)?,
            "difference_interval": items.difference_interval.map(|i| [round(i.low), round(i.high)]),
            "mcnemar": items.mcnemar.map(|m| json!({
                "only_f32_right": m.only_a,
                format!("only_{name}_right"): m.only_b,
                "p": significant(m.p),
            })),
        },
        "attempts": attempts.collect::<Vec<_>>(),
        "alone_examples": r.sensitivity_examples,
        "modules": modules,
        "tensors": tensors.collect::<Vec<_>>(),
        "disagreements": disagreements,
    }))
}

fn module(m: &Sensitivity, bits: Bits) -> Value {
    let mut value = json!({
        "module": m.module,
        "kept_f32": m.kept_f32,
        "relative_error": significant(m.relative_error),
        "sqnr_db": round(m.sqnr_db),
        "alone_sqnr_db": round(m.alone_sqnr_db),
        "alone_score": round(m.alone_score),
        "alone_drop": round(m.alone_drop),
        "alone_differing": m.alone_differing,
    });
    if bits == Bits::Four {
        value["kept_int8"] = json!(m.kept_int8);
    }
    value
}

fn disagreement(d: &Difference, name: &str) -> Value {
    let mut value = json!({ "id": d.id, "f32": d.a, name: d.b, "references": d.references });
    if let (Some(a), Some(b)) = (d.a_score, d.b_score) {
        value["f32_score"] = json!(round(a));
        value[format!("{name}_score")] = json!(round(b));
    }
    value
}

fn measured(m: &Measured) -> Result<Value> {
    let mut value = serde_json::to_value(&m.scores)
        .map_err(|source| ErrorKind::Json { file: JSON.to_owned(), source })?;
    if let Some(map) = value.as_object_mut() {
        for score in map.values_mut().filter(|value| value.is_f64()) {
            *score = json!(round(score.as_f64().unwrap_or(f64::NAN)));
        }
        map.insert("interval".to_owned(), json!(m.interval.map(|i| [round(i.low), round(i.high)])));
    }
    Ok(value)
}

fn scales(scales: Scales) -> &'static str {
    match scales {
        Scales::LeastError => "least squared error of the row among 49, 1 to 0.7 of the largest magnitude",
        _ => "largest magnitude of the row",
    }
}

/// Describes the weights of a model in 4 bits, whose scales are always those of least error.
const WEIGHTS_INT4: &str = "4 bits, symmetric; one f32 scale per row and one multiplier, 1 to 18, per 32 columns of it, both by \
                            least squared error; int8 in computation";

/// Rounds to two decimals. Numbers that are not finite become `null` in JSON.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Rounds to three significant digits.
fn significant(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// Writes JSON with each field, and each object of a list, on its own line.
fn lines(value: &Value) -> String {
    let Some(map) = value.as_object() else { return value.to_string() };
    let fields: Vec<String> = map
        .iter()
        .map(|(name, value)| match value.as_array() {
            Some(list) if list.iter().any(Value::is_object) => {
                let entries: Vec<String> = list.iter().map(|entry| format!("    {entry}")).collect();
                format!("  \"{name}\": [\n{}\n  ]", entries.join(",\n"))
            }
            _ => format!("  \"{name}\": {value}"),
        })
        .collect();
    format!("{{\n{}\n}}\n", fields.join(",\n"))
}

fn markdown(r: &GateReport) -> String {
    let (items, name, four) = (&r.items, r.bits.name(), r.bits == Bits::Four);
    let mut text = format!("# {} in {name}: what it costs\n\n", r.class);
    let mut line = |args: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{args}");
    };
    line(format_args!(
        "Measured on {} examples of `{}` (SHA-256 `{}`), task `{}`. The gate: {} may drop by {}; it drops by {:.2}.\n",
        items.total,
        r.data,
        r.data_sha256,
        r.task,
        items.metric,
        r.max_drop,
        r.drop()
    ));
    line(format_args!("| | {} | 95 % interval |\n|---|---|---|", items.metric));
    for (stored, measured) in [("f32", &items.a), (name, &items.b)] {
        let interval = measured.interval.map_or("-".to_owned(), |i| format!("{:.2} to {:.2}", i.low, i.high));
        line(format_args!("| {stored} | {:.2} | {interval} |", measured.scores.main()));
    }
    if let Some(i) = items.difference_interval {
        line(format_args!(
            "| {name} - f32, paired | {:.2} | {:.2} to {:.2} |",
            items.difference, i.low, i.high
        ));
    }
    if let Some(m) = items.mcnemar {
        line(format_args!(
            "\nOnly f32 is right on {}, only {name} on {} examples (McNemar's exact test: p = {:.3}).",
            m.only_a, m.only_b, m.p
        ));
    }
    let (int4, int8) = (r.int8.int4_tensors, r.int8.quantized_tensors - r.int8.int4_tensors);
    line(format_args!(
        "\n## Scheme\n\nWeights: {}. Activations: int8, one scale for each token. {}{int8} tensors in int8, {} in f32, {} bytes. \
         {}Modules in f32: {}.",
        match r.bits {
            Bits::Eight => format!("int8, one scale for each row, {}", scales(r.scales)),
            Bits::Four => WEIGHTS_INT4.to_owned(),
        },
        if four { format!("{int4} tensors in 4 bits, ") } else { String::new() },
        r.int8.f32_tensors,
        r.int8.bytes,
        if four { format!("Modules in int8: {}. ", modules(r.keep_int8(), "none")) } else { String::new() },
        modules(r.keep_f32(), "none")
    ));
    if r.attempts.len() > 1 {
        let (head, rule) = if four { ("in int8 | in f32", "---|---") } else { ("in f32", "---") };
        line(format_args!("\n| {head} | {} | drop |\n|{rule}|---|---|", items.metric));
        for attempt in &r.attempts {
            let kept = modules(&attempt.keep_f32, "nothing");
            let kept = match r.bits {
                Bits::Eight => kept,
                Bits::Four => format!("{} | {kept}", modules(&attempt.keep_int8, "nothing")),
            };
            line(format_args!("| {kept} | {:.2} | {:.2} |", attempt.score, attempt.drop));
        }
    }
    line(format_args!(
        "\n## Error by module\n\n![Error by module]({SVG})\n\nAlone: only this module is {}; over the first {} examples.\n",
        if four { "quantised: to 4 bits, or to int8 if all modules ended there" } else { "in int8" },
        r.sensitivity_examples
    ));
    line(format_args!(
        "| module | stored | error % | SQNR dB | alone: SQNR dB | {} drop | answers that differ |\n|---|---|---|---|---|---|---|",
        items.metric
    ));
    for m in &r.modules {
        line(format_args!(
            "| {} | {} | {:.2} | {:.1} | {:.1} | {:.2} | {} |",
            m.module.trim_end_matches('.'),
            m.stored(r.bits),
            100.0 * m.relative_error,
            m.sqnr_db,
            m.alone_sqnr_db,
            m.alone_drop,
            m.alone_differing
        ));
    }
    line(format_args!("\n## Answers that differ\n\n{} of {}.", items.differing.len(), items.total));
    if !items.differing.is_empty() {
        line(format_args!("\n| example | f32 | {name} | right |\n|---|---|---|---|"));
    }
    for d in items.differing.iter().take(LISTED) {
        line(format_args!(
            "| {} | {} | {} | {} |",
            cell(&d.id),
            cell(&d.a),
            cell(&d.b),
            cell(&d.references.join("; "))
        ));
    }
    if items.differing.len() > LISTED {
        line(format_args!("\nAnd {} more, in `{JSON}`.", items.differing.len() - LISTED));
    }
    text
}

fn modules(list: &[String], none: &str) -> String {
    if list.is_empty() { none.to_owned() } else { list.join(", ") }
}

/// Escapes text for a cell of a table.
fn cell(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
