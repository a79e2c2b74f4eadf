//! Draws charts as SVG: axes, lines, bars, points. Classes refer to the page's style sheet for colours.

use std::fmt::Write as _;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;
/// About the width of a character of a name.
const PER_CHARACTER: f64 = 8.0;

/// Maps numbers to places on an axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// An axis from 0, or from a little below the smallest number, to a little above the largest one.
    pub(super) fn around(values: impl Iterator<Item = f64> + Clone, from_zero: bool) -> Self {
        let high = values.clone().fold(f64::NEG_INFINITY, f64::max);
        let low = values.fold(f64::INFINITY, f64::min);
        if !low.is_finite() || !high.is_finite() {
            return Self { low: 0.0, high: 1.0 };
        }
        let room = if high > low { 0.12 * (high - low) } else { (0.05 * high.abs()).max(0.5) };
        Self { low: if from_zero { 0.0 } else { low - room }, high: high + room }
    }

    pub(super) fn fixed(low: f64, high: f64) -> Self {
        Self { low, high }
    }

    /// A note for an axis that does not begin at 0, so that nobody takes its lengths for amounts.
    pub(super) fn note(&self, name: &str) -> String {
        match self.low > 0.0 {
            true => format!("The axis of {name} begins at {:.1}, not at 0.", self.low),
            false => String::new(),
        }
    }

    fn share(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        share.clamp(0.0, 1.0)
    }

    /// About five round numbers.
    fn ticks(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough).unwrap_or(rough);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last).map(|i| i as f64 * step).collect()
    }
}

/// A chart that is being drawn.
pub(super) struct Chart {
    x: Scale,
    y: Scale,
    body: String,
    title: String,
}

/// Writes a number with as many digits as it needs.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v < 0.001 => format!("{value:.0e}"),
        _ => {
            let text = format!("{value:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

/// Escapes text for markup. Control characters that HTML does not allow are shown as U+FFFD.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' | '\r' => escaped.push(c),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A name that fits a number of pixels, cut if it has to be.
fn fit(name: &str, pixels: f64) -> String {
    let room = (((pixels - 4.0) / PER_CHARACTER) as usize).max(2);
    match name.chars().count() > room {
        true => name.chars().take(room - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}

impl Chart {
    /// Draws axes with their names. Screen readers read `title`.
    pub(super) fn new(title: &str, (x_name, x): (&str, Scale), (y_name, y): (&str, Scale)) -> Self {
        let mut chart = Self { x, y, body: String::new(), title: escape(title) };
        for tick in y.ticks() {
            let at = chart.py(tick);
            chart.draw(format_args!(
                r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{at:.1}" y2="{at:.1}"/>"#,
                WIDTH - RIGHT
            ));
            chart.text(LEFT - 8.0, at + 4.0, "end tick", &number(tick));
        }
        let middle = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
        chart.text(middle, HEIGHT - 8.0, "middle axis", x_name);
        let y_middle = TOP + (HEIGHT - TOP - BOTTOM) / 2.0;
        chart.draw(format_args!(
            r#"<text class="middle axis" transform="translate(14 {y_middle:.1}) rotate(-90)">{}</text>"#,
            escape(y_name)
        ));
        chart
    }

    /// A name below the x axis.
    pub(super) fn x_name(&mut self, x: f64, name: &str) {
        self.text(self.px(x), HEIGHT - BOTTOM + 18.0, "middle tick", name);
    }

    /// Numbers below the x axis.
    pub(super) fn x_ticks(mut self) -> Self {
        for tick in self.x.ticks() {
            let at = self.px(tick);
            self.text(at, HEIGHT - BOTTOM + 18.0, "middle tick", &number(tick));
        }
        self
    }

    fn px(&self, x: f64) -> f64 {
        LEFT + self.x.share(x) * (WIDTH - LEFT - RIGHT)
    }

    fn py(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.share(y) * (HEIGHT - TOP - BOTTOM)
    }

    fn draw(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.body, "{element}");
    }

    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        self.draw(format_args!(r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{}</text>"#, escape(text)));
    }

    /// A line through points, in the colour of a series.
    pub(super) fn line(&mut self, series: usize, points: &[(f64, f64)], dashed: bool) {
        let path: Vec<String> =
            points.iter().map(|&(x, y)| format!("{:.1},{:.1}", self.px(x), self.py(y))).collect();
        let dash = if dashed { " dashed" } else { "" };
        self.draw(format_args!(r#"<polyline class="line s{series}{dash}" points="{}"/>"#, path.join(" ")));
    }

    /// A disc with a label and a tooltip.
    pub(super) fn point(&mut self, series: usize, (x, y): (f64, f64), radius: f64, label: &str, hint: &str) {
        let (px, py) = (self.px(x), self.py(y));
        self.draw(format_args!(
            r#"<circle class="dot s{series}" cx="{px:.1}" cy="{py:.1}" r="{radius:.1}"><title>{}</title></circle>"#,
            escape(hint)
        ));
        if !label.is_empty() {
            let left = px > WIDTH * 0.62;
            let (at, class) =
                if left { (px - radius - 5.0, "end label") } else { (px + radius + 5.0, "label") };
            self.text(at, py + 4.0, class, label);
        }
    }

    /// A vertical whisker.
    pub(super) fn whisker(&mut self, series: usize, x: f64, low: f64, high: f64) {
        let (px, top, bottom) = (self.px(x), self.py(high), self.py(low));
        self.draw(format_args!(
            r#"<line class="whisker s{series}" x1="{px:.1}" x2="{px:.1}" y1="{top:.1}" y2="{bottom:.1}"/>"#
        ));
    }

    /// Bars side by side, each with a name below and a note above.
    pub(super) fn bars(&mut self, series: usize, bars: &[(String, f64, String)]) {
        let slot = (WIDTH - LEFT - RIGHT) / bars.len().max(1) as f64;
        let width = (slot * 0.66).min(64.0);
        let base = self.py(self.y.low);
        for (i, (name, value, note)) in bars.iter().enumerate() {
            let middle = LEFT + (i as f64 + 0.5) * slot;
            let top = self.py(*value);
            self.draw(format_args!(
                r#"<rect class="bar s{series}" x="{:.1}" y="{top:.1}" width="{width:.1}" height="{:.1}" rx="3"><title>{}</title></rect>"#,
                middle - width / 2.0,
                (base - top).max(0.5),
                escape(&format!("{name}: {} ({note})", number(*value)))
            ));
            self.text(middle, HEIGHT - BOTTOM + 18.0, "middle tick", &fit(name, slot));
            self.text(middle, top - 5.0, "middle note", &format!("{value:.1}"));
        }
    }

    /// The whole element.
    pub(super) fn finish(self) -> String {
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n{}</svg>\n",
            self.title, self.body
        )
    }
}
