//! A panel of lines over a number.

use crate::spread::Spread;

use super::axis::Range;
use super::svg::{Anchor, Svg};
use super::{Area, Axis, whisker};

/// A diagram with one line for each series.
#[derive(Debug)]
pub struct Lines {
    /// Its heading.
    pub title: String,
    /// The horizontal axis. Its ticks are the values of the points, as far as there is room.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines.
    pub series: Vec<Series>,
}

/// One line.
#[derive(Debug)]
pub struct Series {
    /// Its name in the legend: the same name has the same colour in every panel.
    pub name: String,
    /// From left to right.
    pub points: Vec<Point>,
}

/// One measured place of a line.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// Where on the horizontal axis.
    pub x: f64,
    /// The median is on the line, low and high end the whisker.
    pub y: Spread,
}

impl Series {
    /// A line through `points`.
    pub fn new(name: impl Into<String>, points: Vec<Point>) -> Self {
        Self {
            name: name.into(),
            points,
        }
    }
}

impl Lines {
    pub(super) fn draw(&self, svg: &mut Svg, area: Area, names: &[&str]) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = self.x.range(points().map(|point| point.x));
        let y = self
            .y
            .range(points().flat_map(|point| [point.y.low, point.y.high]));
        svg.frame(area, &self.title);
        svg.vertical_axis(area, &self.y, &y);
        self.draw_horizontal_axis(svg, area, &x);
        for series in &self.series {
            let colour = names
                .iter()
                .position(|name| *name == series.name)
                .unwrap_or(0);
            draw_series(svg, area, series, (&x, &y), colour);
        }
    }

    /// A tick at every value, a label where it does not run into the one before.
    fn draw_horizontal_axis(&self, svg: &mut Svg, area: Area, x: &Range) {
        let mut values: Vec<f64> = self
            .series
            .iter()
            .flat_map(|s| s.points.iter().map(|p| p.x))
            .collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let mut free = f64::NEG_INFINITY;
        for value in values {
            let (at, label) = (area.x(x, value), (self.x.show)(value));
            let half = 3.2 * label.chars().count() as f64;
            svg.rule((at, area.bottom), (at, area.bottom + 4.0));
            if at - half > free {
                svg.text((at, area.bottom + 17.0), Anchor::Middle, "faint", &label);
                free = at + half + 4.0;
            }
        }
        let middle = (area.left + area.right) / 2.0;
        svg.text(
            (middle, area.bottom + 34.0),
            Anchor::Middle,
            "faint",
            &self.x.label,
        );
    }
}

fn draw_series(
    svg: &mut Svg,
    area: Area,
    series: &Series,
    (x, y): (&Range, &Range),
    colour: usize,
) {
    for point in &series.points {
        let at = area.x(x, point.x);
        if let Some((low, high)) = whisker(&point.y) {
            svg.whisker(colour, (at, area.y(y, low)), (at, area.y(y, high)));
        }
    }
    let place = |point: &Point| (area.x(x, point.x), area.y(y, point.y.median));
    let places: Vec<_> = series.points.iter().map(place).collect();
    svg.path(colour, &places);
    places.into_iter().for_each(|place| svg.mark(colour, place));
}

impl Area {
    pub(super) fn x(&self, range: &Range, value: f64) -> f64 {
        self.left + range.place(value) * (self.right - self.left)
    }

    pub(super) fn y(&self, range: &Range, value: f64) -> f64 {
        self.bottom - range.place(value) * (self.bottom - self.top)
    }
}
