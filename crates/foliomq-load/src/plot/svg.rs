//! The few shapes that figures are made of.

use std::fmt::Write as _;

use super::axis::Range;
use super::{Area, Axis};

/// Which end of a text stands at its place.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A file in the making.
#[derive(Debug)]
pub(super) struct Svg {
    text: String,
}

/// Colours of the series: for a light ground and for a dark one.
const COLOURS: [(&str, &str); 10] = [
    ("#57606a", "#adbac7"),
    ("#0969da", "#58a6ff"),
    ("#1a7f37", "#4ac26b"),
    ("#bc4c00", "#f0883e"),
    ("#cf222e", "#ff7b72"),
    ("#8250df", "#bc8cff"),
    ("#0e8a8a", "#39c5cf"),
    ("#9a6700", "#e3b341"),
    ("#bf3989", "#f778ba"),
    ("#3d4f9f", "#a5b4fc"),
];

const STYLE: &str = "\
text { font: 12px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; }
.title { font-size: 17px; font-weight: 600; } .panel { font-size: 13px; font-weight: 600; }
.ground { fill: #ffffff; } .title, .panel, .ink { fill: #1f2328; } .faint { fill: #59636e; }
.grid { stroke: #e4e8ec; } .rule { stroke: #8c959f; } .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.whisker { stroke-width: 4; stroke-opacity: 0.3; }
";

const DARK: &str = "\
.ground { fill: #0d1117; } .title, .panel, .ink { fill: #e6edf3; } .faint { fill: #9198a1; }
.grid { stroke: #21262d; } .rule { stroke: #6e7681; }
";

impl Svg {
    pub(super) fn new(width: f64, height: f64, title: &str) -> Self {
        let style = style();
        let title = escaped(title);
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\" aria-label=\"{title}\">\n<title>{title}</title>\n<style>\n{style}</style>\n\
             <rect class=\"ground\" width=\"{width}\" height=\"{height}\" rx=\"8\"/>\n"
        );
        Self { text }
    }

    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }

    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        self.line(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    /// A thin line.
    pub(super) fn rule(&mut self, from: (f64, f64), to: (f64, f64)) {
        self.straight("rule", from, to);
    }

    /// From the lowest to the highest sample, behind the line of a series.
    pub(super) fn whisker(&mut self, colour: usize, from: (f64, f64), to: (f64, f64)) {
        let class = format!("whisker s{}", colour % COLOURS.len());
        self.straight(&class, from, to);
    }

    pub(super) fn path(&mut self, colour: usize, points: &[(f64, f64)]) {
        let points: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let (colour, dash) = (colour % COLOURS.len(), dash(colour));
        let points = points.join(" ");
        self.line(format_args!(
            "<polyline class=\"line s{colour}\"{dash} points=\"{points}\"/>"
        ));
    }

    /// A disc, a square or a diamond, so that colour is not the only difference.
    pub(super) fn mark(&mut self, colour: usize, (x, y): (f64, f64)) {
        let class = format!("f{}", colour % COLOURS.len());
        match colour % 3 {
            0 => self.line(format_args!(
                "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.4\"/>"
            )),
            1 => {
                let (x, y) = (x - 3.0, y - 3.0);
                self.line(format_args!(
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"6\" height=\"6\"/>"
                ));
            }
            _ => self.line(format_args!(
                "<path class=\"{class}\" d=\"M{x:.1} {y:.1}m0-4.4l4.4 4.4l-4.4 4.4l-4.4-4.4z\"/>"
            )),
        }
    }

    pub(super) fn bar(
        &mut self,
        colour: usize,
        (left, top): (f64, f64),
        (right, bottom): (f64, f64),
    ) {
        let (width, height, colour) = (
            right - left,
            (bottom - top).max(0.0),
            colour % COLOURS.len(),
        );
        self.line(format_args!(
            "<rect class=\"bar f{colour}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
        ));
    }

    /// The heading and the ground line of a panel.
    pub(super) fn frame(&mut self, area: Area, title: &str) {
        self.text((area.left, area.top - 10.0), Anchor::Start, "panel", title);
        self.rule((area.left, area.bottom), (area.right, area.bottom));
    }

    /// Ticks with labels, and a faint line across the panel for each.
    pub(super) fn vertical_axis(&mut self, area: Area, axis: &Axis, range: &Range) {
        for tick in range.ticks() {
            let y = area.y(range, tick);
            self.straight("grid", (area.left, y), (area.right, y));
            self.text(
                (area.left - 8.0, y + 4.0),
                Anchor::End,
                "faint",
                &(axis.show)(tick),
            );
        }
        let (x, y) = (area.left - 52.0, (area.top + area.bottom) / 2.0);
        let label = escaped(&axis.label);
        self.line(format_args!(
            "<text class=\"faint\" transform=\"translate({x:.1} {y:.1}) rotate(-90)\" text-anchor=\"middle\">{label}</text>"
        ));
    }

    fn straight(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.line(format_args!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        ));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{line}");
    }
}

/// Every second series is dashed, so that neighbours differ in print too.
fn dash(colour: usize) -> &'static str {
    if colour % 2 == 1 {
        " stroke-dasharray=\"7 3\""
    } else {
        ""
    }
}

fn style() -> String {
    let colours = |dark: bool| -> String {
        let rule = |(index, (on_light, on_dark)): (usize, &(&str, &str))| {
            let colour = if dark { on_dark } else { on_light };
            format!(".s{index} {{ stroke: {colour}; }} .f{index} {{ fill: {colour}; }}\n")
        };
        COLOURS.iter().enumerate().map(rule).collect()
    };
    let (light, dark) = (colours(false), colours(true));
    format!("{STYLE}{light}@media (prefers-color-scheme: dark) {{\n{DARK}{dark}}}\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
