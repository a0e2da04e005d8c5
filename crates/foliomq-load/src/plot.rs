//! Figures as SVG: panels of lines over a logarithmic or linear axis, or of bars, under one legend.
//!
//! Every sample has its spread, drawn as a whisker. A series keeps its colour and its mark in every panel of a figure.
//! The colours follow the reader's light or dark theme, and the ground is drawn, so that either is readable.
//!
//! ```
//! use foliomq_load::plot::{self, Axis, Figure, Lines, Point, Series};
//! use foliomq_load::spread::Spread;
//!
//! let point = |x: f64, y: f64| Point { x, y: Spread::of(&[0.9 * y, y, 1.2 * y]) };
//! let series = vec![
//!     Series::new("mapped", vec![point(128.0, 900.0), point(1024.0, 5000.0)]),
//!     Series::new("buffered", vec![point(128.0, 100.0), point(1024.0, 800.0)]),
//! ];
//! let x = Axis::log("body", |bytes| format!("{bytes} B"));
//! let y = Axis::linear("MB/s", plot::tick);
//! let figure = Figure::new("Reading", "warm, 3 rounds").panel(Lines { title: "1 thread".into(), x, y, series });
//! assert!(figure.svg().starts_with("<svg"));
//! ```

mod axis;
mod bars;
mod lines;
mod svg;

use crate::spread::Spread;

pub use axis::{Axis, Scale, tick};
pub use bars::{Bars, Group};
pub use lines::{Lines, Point, Series};
use svg::{Anchor, Svg};

/// Pixels of a panel, its axes and title included.
const PANEL: (f64, f64) = (460.0, 310.0);
/// Pixels around everything.
const BORDER: f64 = 16.0;
/// Pixels of a line of the legend.
const LEGEND_LINE: f64 = 20.0;

/// Several panels under one title and one legend.
#[derive(Debug)]
pub struct Figure {
    title: String,
    subtitle: String,
    columns: usize,
    colours: Vec<String>,
    panels: Vec<Panel>,
}

/// One diagram of a figure.
#[derive(Debug)]
pub enum Panel {
    /// Lines over a number.
    Lines(Lines),
    /// Bars over names.
    Bars(Bars),
}

impl From<Lines> for Panel {
    fn from(lines: Lines) -> Self {
        Self::Lines(lines)
    }
}

impl From<Bars> for Panel {
    fn from(bars: Bars) -> Self {
        Self::Bars(bars)
    }
}

/// The pixels between the axes of a panel.
#[derive(Debug, Clone, Copy)]
struct Area {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Figure {
    /// Without panels yet; two stand side by side.
    pub fn new(title: impl Into<String>, subtitle: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            subtitle: subtitle.into(),
            columns: 2,
            colours: Vec::new(),
            panels: Vec::new(),
        }
    }

    /// Adds a panel, to the right or in the next row.
    pub fn panel(mut self, panel: impl Into<Panel>) -> Self {
        self.panels.push(panel.into());
        self
    }

    /// Sets how many panels stand side by side; at least one.
    pub fn columns(mut self, columns: usize) -> Self {
        self.columns = columns.max(1);
        self
    }

    /// Gives these series their colours, in this order, whether they appear or not: for figures that go together.
    pub fn colours<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.colours = names.into_iter().map(Into::into).collect();
        self
    }

    /// The whole file.
    pub fn svg(&self) -> String {
        let columns = self.columns.clamp(1, self.panels.len().max(1));
        let rows = self.panels.len().div_ceil(columns);
        let width = 2.0 * BORDER + columns as f64 * PANEL.0;
        let names = self.names();
        let shown = |name: &str| {
            self.panels
                .iter()
                .any(|panel| panel.names().contains(&name))
        };
        let legend = Legend::new(&names, shown, width);
        let head = BORDER + 52.0 + legend.height();
        let height = head + rows as f64 * PANEL.1 + BORDER;
        let mut svg = Svg::new(width, height, &self.title);
        svg.text((BORDER, BORDER + 14.0), Anchor::Start, "title", &self.title);
        svg.text(
            (BORDER, BORDER + 34.0),
            Anchor::Start,
            "faint",
            &self.subtitle,
        );
        legend.draw(&mut svg, BORDER + 54.0);
        for (index, panel) in self.panels.iter().enumerate() {
            let left = BORDER + (index % columns) as f64 * PANEL.0;
            let top = head + (index / columns) as f64 * PANEL.1;
            panel.draw(&mut svg, (left, top), &names);
        }
        svg.finish()
    }

    /// The series of all panels, each once, after those whose colours are fixed: the place decides the colour.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.colours.iter().map(String::as_str).collect();
        for name in self.panels.iter().flat_map(Panel::names) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

impl Panel {
    fn names(&self) -> Vec<&str> {
        match self {
            Self::Lines(lines) => lines
                .series
                .iter()
                .map(|series| series.name.as_str())
                .collect(),
            Self::Bars(bars) => bars.series.iter().map(String::as_str).collect(),
        }
    }

    fn draw(&self, svg: &mut Svg, (left, top): (f64, f64), names: &[&str]) {
        let area = Area {
            left: left + 66.0,
            top: top + 30.0,
            right: left + PANEL.0 - 14.0,
            bottom: top + PANEL.1 - 46.0,
        };
        match self {
            Self::Lines(lines) => lines.draw(svg, area, names),
            Self::Bars(bars) => bars.draw(svg, area, names),
        }
    }
}

/// Where the name of each series stands.
struct Legend<'a> {
    entries: Vec<Entry<'a>>,
    lines: usize,
}

/// One name, with the place of its colour.
struct Entry<'a> {
    colour: usize,
    name: &'a str,
    x: f64,
    line: usize,
}

impl<'a> Legend<'a> {
    fn new(names: &[&'a str], shown: impl Fn(&str) -> bool, width: f64) -> Self {
        let (mut x, mut line) = (BORDER, 0);
        let mut entries = Vec::new();
        for (colour, name) in names.iter().enumerate().filter(|(_, name)| shown(name)) {
            let room = 50.0 + name.chars().map(width_of).sum::<f64>();
            if x + room > width - BORDER && x > BORDER {
                (x, line) = (BORDER, line + 1);
            }
            entries.push(Entry {
                colour,
                name,
                x,
                line,
            });
            x += room;
        }
        Self {
            entries,
            lines: line + 1,
        }
    }

    fn height(&self) -> f64 {
        self.lines as f64 * LEGEND_LINE
    }

    fn draw(&self, svg: &mut Svg, top: f64) {
        for Entry {
            colour,
            name,
            x,
            line,
        } in &self.entries
        {
            let y = top + *line as f64 * LEGEND_LINE;
            svg.path(*colour, &[(*x, y), (x + 22.0, y)]);
            svg.mark(*colour, (x + 11.0, y));
            svg.text((x + 28.0, y + 4.0), Anchor::Start, "ink", name);
        }
    }
}

/// Pixels of a letter, about: the reader's font is not known.
fn width_of(letter: char) -> f64 {
    if letter.is_uppercase() { 9.0 } else { 7.0 }
}

/// What a whisker spans, if it is worth drawing.
fn whisker(y: &Spread) -> Option<(f64, f64)> {
    (y.high > y.low).then_some((y.low, y.high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(names: &[&str]) -> Lines {
        let points = |at: usize| {
            let y = Spread::of(&[at as f64 + 1.0, at as f64 + 2.0]);
            vec![Point { x: 128.0, y }, Point { x: 4096.0, y }]
        };
        let series = names.iter().enumerate();
        let series = series
            .map(|(at, name)| Series::new(*name, points(at)))
            .collect();
        let x = Axis::log("bytes", |x| format!("{x}"));
        let y = Axis::linear("speed", |y| format!("{y}"));
        Lines {
            title: "a < b".into(),
            x,
            y,
            series,
        }
    }

    #[test]
    fn a_series_of_two_panels_stands_once_in_the_legend() {
        let figure = Figure::new("T", "S")
            .panel(lines(&["one", "two"]))
            .panel(lines(&["two", "three"]));
        assert_eq!(figure.names(), ["one", "two", "three"]);
        assert_eq!(figure.svg().matches(">two<").count(), 1);
    }

    #[test]
    fn a_colour_that_is_fixed_stays_when_its_neighbours_are_missing() {
        let figure = Figure::new("T", "S")
            .colours(["zero", "one", "two"])
            .panel(lines(&["two"]));
        let svg = figure.svg();
        assert!(svg.contains("class=\"line s2\"") && !svg.contains(">zero<"));
    }

    #[test]
    fn text_is_escaped_and_every_number_is_finite() {
        let svg = Figure::new("T & U", "S").panel(lines(&["one"])).svg();
        assert!(svg.contains("a &lt; b") && svg.contains("T &amp; U"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn an_empty_figure_is_still_a_file() {
        let x = Axis::log("bytes", |x| format!("{x}"));
        let y = Axis::log("speed", |y| format!("{y}"));
        let empty = Lines {
            title: "none".into(),
            x,
            y,
            series: Vec::new(),
        };
        let svg = Figure::new("T", "S").panel(empty).svg();
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"));
    }
}
