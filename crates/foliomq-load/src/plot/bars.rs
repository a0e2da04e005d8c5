//! A panel of bars: groups side by side, in each one bar for each series.

use crate::spread::Spread;

use super::svg::{Anchor, Svg};
use super::{Area, Axis, whisker};

/// A diagram with a group of bars for each case.
#[derive(Debug)]
pub struct Bars {
    /// Its heading.
    pub title: String,
    /// The vertical axis.
    pub y: Axis,
    /// The names of the series: the same name has the same colour in every panel.
    pub series: Vec<String>,
    /// From left to right.
    pub groups: Vec<Group>,
}

/// The bars of one case.
#[derive(Debug)]
pub struct Group {
    /// What stands under it.
    pub name: String,
    /// One for each series, in their order; `None` where there is nothing to show.
    pub bars: Vec<Option<Spread>>,
}

/// The share of a group's room that its bars fill.
const FILLED: f64 = 0.82;

impl Bars {
    pub(super) fn draw(&self, svg: &mut Svg, area: Area, names: &[&str]) {
        let bars = self
            .groups
            .iter()
            .flat_map(|group| group.bars.iter().flatten());
        let range = self.y.range(bars.flat_map(|y| [y.low, y.high]));
        svg.frame(area, &self.title);
        svg.vertical_axis(area, &self.y, &range);
        let room = (area.right - area.left) / self.groups.len().max(1) as f64;
        let width = FILLED * room / self.series.len().max(1) as f64;
        for (index, group) in self.groups.iter().enumerate() {
            let left = area.left + room * index as f64;
            let middle = left + room / 2.0;
            svg.text(
                (middle, area.bottom + 17.0),
                Anchor::Middle,
                "faint",
                &group.name,
            );
            for (place, (bar, series)) in group.bars.iter().zip(&self.series).enumerate() {
                let Some(spread) = bar else { continue };
                let colour = names.iter().position(|name| name == series).unwrap_or(0);
                let x = left + room * (1.0 - FILLED) / 2.0 + width * place as f64;
                let top = area.y(&range, spread.median);
                svg.bar(colour, (x, top), (x + 0.9 * width, area.bottom));
                if let Some((low, high)) = whisker(spread) {
                    let at = x + 0.45 * width;
                    svg.rule((at, area.y(&range, low)), (at, area.y(&range, high)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::plot::Figure;

    use super::*;

    #[test]
    fn a_bar_that_is_not_there_is_left_out() {
        let bar = Some(Spread::of(&[1.0, 2.0, 3.0]));
        let groups = vec![
            Group {
                name: "first".into(),
                bars: vec![bar, None],
            },
            Group {
                name: "second".into(),
                bars: vec![bar, bar],
            },
        ];
        let y = Axis::linear("speed", |y| format!("{y}"));
        let series = vec!["a".into(), "b".into()];
        let svg = Figure::new("T", "S")
            .panel(Bars {
                title: "bars".into(),
                y,
                series,
                groups,
            })
            .svg();
        assert_eq!(svg.matches("class=\"bar ").count(), 3);
    }
}
