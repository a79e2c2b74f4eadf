//! A bar chart of each module's error, as an SVG file that needs no other file.

use std::fmt::Write as _;

use super::Sensitivity;
use mobilebert::quant::Bits;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 56.0;
const ROW: f64 = 24.0;
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1c2430}.note{fill:#5b6675}.int8{fill:#3b6fb6}.f32{fill:#b9c2ce}";
const STYLE_INT4: &str = ".int4{fill:#7a4fa3}";

/// Bars of the relative error in percent; modules in f32 are grey.
pub(super) fn error_by_module(title: &str, modules: &[Sensitivity], bits: Bits) -> String {
    let (style, legend) = match bits {
        Bits::Eight => ("", ""),
        Bits::Four => (STYLE_INT4, "; blue: in int8"),
    };
    let height = TOP + ROW * modules.len() as f64 + 16.0;
    let most =
        modules.iter().map(|module| module.relative_error).filter(|e| e.is_finite()).fold(0.0, f64::max);
    let scale = if most > 0.0 { (WIDTH - LEFT - RIGHT) / most } else { 0.0 };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{0}\">\n\
         <style>{STYLE}{style}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"16\" y=\"22\">{0}</text>\n\
         <text class=\"note\" x=\"16\" y=\"42\">Error of each module's output against f32, inherited errors included, in % of its \
         norm; grey: in f32{legend}</text>\n",
        escape(title)
    );
    for (i, module) in modules.iter().enumerate() {
        let middle = TOP + ROW * (i as f64 + 0.5);
        let length = if module.relative_error.is_finite() { module.relative_error * scale } else { 0.0 };
        let class = module.stored(bits);
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text><rect class=\"{class}\" x=\"{LEFT}\" y=\"{:.1}\" \
             width=\"{:.1}\" height=\"16\" rx=\"2\"/><text class=\"note\" x=\"{:.1}\" y=\"{:.1}\">{:.2}</text>",
            LEFT - 8.0,
            middle + 4.5,
            escape(module.module.trim_end_matches('.')),
            middle - 8.0,
            length.max(1.0),
            LEFT + length.max(1.0) + 6.0,
            middle + 4.5,
            100.0 * module.relative_error
        );
    }
    svg + "</svg>\n"
}

/// Escapes text for markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
