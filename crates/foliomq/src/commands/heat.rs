//! `foliomq inspect --residency`: what of a log is in memory, drawn as a heat map.

use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::Context;
use foliomq_store::{Heat, SegmentResidency};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::logs;
use crate::output::Output;
use crate::units::about;

/// From nothing to all, in equal steps; only an empty part is blank.
const SHADES: [char; 5] = ['·', '░', '▒', '▓', '█'];
/// Columns of a terminal that does not say.
const WIDTH: usize = 80;
/// Columns beside the map: position, sizes and gaps.
const BESIDE: usize = 20 + 3 + 1 + 2 * 12;
/// Terminal colours: resident, and with something dirty in it.
const RESIDENT: &str = "\x1b[32m";
const DIRTY: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// Prints the map of the messages' log in `dir`, a store's folder or a log's.
pub fn show(dir: &Path, out: &mut Output) -> anyhow::Result<()> {
    let log = logs::message_log(dir);
    let segments =
        foliomq_store::residency(&log).with_context(|| format!("cannot read {}", log.display()))?;
    if segments.is_empty() {
        return Err(Failure::NotFound(format!("{} holds no log", dir.display())).into());
    }
    if out.is_json() {
        let segments: Vec<_> = segments.iter().map(segment).collect();
        return Ok(out.json(&json!({ "log": log, "segments": segments }))?);
    }
    let canvas = Canvas::of_terminal();
    out.line(format!("log {}", log.display()))?;
    draw(&segments, canvas)
        .iter()
        .try_for_each(|line| out.line(line))?;
    Ok(())
}

/// How wide to draw, and whether in colours.
#[derive(Debug, Clone, Copy)]
struct Canvas {
    columns: usize,
    coloured: bool,
}

impl Canvas {
    fn of_terminal() -> Self {
        let out = io::stdout();
        let asked = std::env::var("COLUMNS").ok();
        let columns = match rustix::termios::tcgetwinsize(&out) {
            Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
            _ => asked
                .and_then(|columns| columns.parse().ok())
                .unwrap_or(WIDTH),
        };
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            columns,
            coloured: out.is_terminal() && !refused,
        }
    }

    fn cells(self) -> usize {
        self.columns
            .saturating_sub(BESIDE)
            .clamp(8, foliomq_store::HEAT_PARTS)
    }

    fn cell(self, heat: Heat) -> String {
        let shade = SHADES[(heat.resident * (SHADES.len() - 1) as f32).ceil() as usize];
        if !self.coloured || heat.resident == 0.0 {
            return shade.to_string();
        }
        let dirty = heat.dirty.is_some_and(|dirty| dirty > 0.0);
        let colour = if dirty { DIRTY } else { RESIDENT };
        format!("{colour}{shade}{PLAIN}")
    }
}

/// A heading, a row for each segment, the totals and the legend.
fn draw(segments: &[SegmentResidency], canvas: Canvas) -> Vec<String> {
    let cells = canvas.cells();
    let mut lines = vec![format!(
        "{:>20} |{:cells$}| {:>11} {:>11}",
        "SEGMENT", "", "RESIDENT", "DIRTY"
    )];
    lines.extend(segments.iter().map(|segment| {
        let map: String = squeeze(&segment.pages.heat, cells)
            .into_iter()
            .map(|heat| canvas.cell(heat))
            .collect();
        let drawn = segment.pages.heat.len().min(cells);
        format!(
            "{:>20} |{map}{:blank$}| {:>11} {:>11}",
            segment.base,
            "",
            about(segment.pages.resident),
            dirty(segment.pages.dirty),
            blank = cells - drawn
        )
    }));
    lines.push(totals(segments));
    lines.push(legend(canvas));
    lines
}

fn totals(segments: &[SegmentResidency]) -> String {
    let size = segments.iter().map(|s| s.size).sum();
    let resident = segments.iter().map(|s| s.pages.resident).sum::<u64>();
    let changed = segments.iter().map(|s| s.pages.dirty).sum::<Option<u64>>();
    let writing = segments
        .iter()
        .map(|s| s.pages.writeback)
        .sum::<Option<u64>>();
    let count = segments.len();
    format!(
        "{count} segments of {}: {} in memory, {} dirty, {} being written",
        about(size),
        about(resident),
        dirty(changed),
        dirty(writing)
    )
}

fn legend(canvas: Canvas) -> String {
    let [none, low, middle, high, all] = SHADES;
    let colours = match canvas.coloured {
        true => format!("; {RESIDENT}clean{PLAIN}, {DIRTY}with dirty pages{PLAIN}"),
        false => String::new(),
    };
    format!(
        "each cell: {none} none, {low} to 25 %, {middle} to 50 %, {high} to 75 %, {all} more{colours}"
    )
}

/// `?` where the kernel does not say.
fn dirty(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "?".to_owned(), about)
}

/// Neighbours put together until there are at most `cells`: the mean of each share.
fn squeeze(heat: &[Heat], cells: usize) -> Vec<Heat> {
    let cells = cells.min(heat.len());
    let mean = |part: &[Heat]| {
        let count = part.len() as f32;
        Heat {
            resident: part.iter().map(|heat| heat.resident).sum::<f32>() / count,
            dirty: part
                .iter()
                .map(|heat| heat.dirty)
                .sum::<Option<f32>>()
                .map(|sum| sum / count),
        }
    };
    (0..cells)
        .map(|cell| cell * heat.len() / cells..(cell + 1) * heat.len() / cells)
        .map(|part| mean(&heat[part]))
        .collect()
}

fn segment(segment: &SegmentResidency) -> Value {
    let pages = &segment.pages;
    let share = |of: fn(&Heat) -> Option<f32>| pages.heat.iter().map(of).collect::<Vec<_>>();
    json!({
        "base": segment.base, "size": segment.size, "resident": pages.resident, "dirty": pages.dirty,
        "writeback": pages.writeback,
        "heat": { "resident": share(|heat| Some(heat.resident)), "dirty": share(|heat| heat.dirty) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use foliomq_store::Residency;

    fn heat(resident: &[f32]) -> Vec<Heat> {
        let dirty = Some(0.0);
        let of = |&resident| Heat { resident, dirty };
        resident.iter().map(of).collect()
    }

    #[test]
    fn a_row_for_each_segment_as_wide_as_asked() {
        let pages = Residency {
            resident: 3 << 20,
            heat: heat(&[0.0, 0.01, 0.5, 1.0].repeat(16)),
            ..Residency::default()
        };
        let segments = [0, 16 << 20].map(|base| SegmentResidency {
            base,
            size: 16 << 20,
            deleted: false,
            pages: pages.clone(),
        });
        for columns in [0, 60, 112, 300] {
            let canvas = Canvas {
                columns,
                coloured: false,
            };
            let lines = draw(&segments, canvas);
            assert_eq!(lines.len(), 5);
            let width = lines[0].chars().count();
            assert!(lines[..3].iter().all(|line| line.chars().count() == width));
            assert!(columns < 60 || width <= columns, "{width} of {columns}");
        }
        let wide = draw(
            &segments,
            Canvas {
                columns: 300,
                coloured: false,
            },
        );
        assert!(wide[1].contains("·░▒█·░▒█") && wide[1].contains("3.0 MiB"));
        assert!(wide[3].contains("6.0 MiB in memory, ? dirty"));
    }

    #[test]
    fn cells_are_means() {
        let squeezed = squeeze(&heat(&[0.0, 1.0, 1.0, 1.0]), 2);
        assert_eq!(squeezed, heat(&[0.5, 1.0]));
        assert_eq!(squeeze(&heat(&[1.0]), 8), heat(&[1.0]));
    }
}
