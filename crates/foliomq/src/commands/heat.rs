//! `foliomq inspect --residency`: what of a log is in memory, drawn as a heat map.

use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::Context;
use foliomq_store::{Heat, SegmentResidency};
use serde_json::{Value, json};

use crate::arguments::Remote;
use crate::failure::Failure;
use crate::logs;
use crate::output::Output;
use crate::units::about;

/// From nothing to all, in equal steps; only an empty part is blank.
const SHADES: [char; 5] = ['·', '░', '▒', '▓', '█'];
/// Columns of a terminal that does not say.
const WIDTH: usize = 80;
/// Columns beside the map: position, gaps, and the sizes in memory and dirty.
const BESIDE: usize = 20 + 3 + 1 + 2 * 12;
/// Columns for what only the log's owner knows.
const OWNERS: usize = 3 * 12;
/// Terminal colours: resident, and with something dirty in it.
const RESIDENT: &str = "\x1b[32m";
const DIRTY: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// Prints the map of the log of the broker, which is asked for it.
pub async fn of_broker(remote: &Remote, out: &mut Output) -> anyhow::Result<()> {
    let segments = remote.connect().await?.admin().segments().await?;
    show(&format!("broker {}", remote.endpoint), &segments, out)
}

/// Prints the map of the messages' log in `dir`, a store's folder or a log's.
pub fn of_folder(dir: &Path, out: &mut Output) -> anyhow::Result<()> {
    let log = logs::message_log(dir);
    let segments =
        foliomq_store::residency(&log).with_context(|| format!("cannot read {}", log.display()))?;
    if segments.is_empty() {
        return Err(Failure::NotFound(format!("{} holds no log", dir.display())).into());
    }
    show(&format!("log {}", log.display()), &segments, out)
}

fn show(whose: &str, segments: &[SegmentResidency], out: &mut Output) -> anyhow::Result<()> {
    if out.is_json() {
        let segments: Vec<_> = segments.iter().map(segment).collect();
        return Ok(out.json(&json!({ "log": whose, "segments": segments }))?);
    }
    out.line(whose)?;
    draw(segments, Canvas::of_terminal())
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

    fn cells(self, owned: bool) -> usize {
        self.columns
            .saturating_sub(if owned { BESIDE + OWNERS } else { BESIDE })
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
    let owned = segments
        .iter()
        .any(|segment| segment.pages.locked.is_some());
    let cells = canvas.cells(owned);
    let mut heading = format!(
        "{:>20} |{:cells$}| {:>11} {:>11}",
        "SEGMENT", "", "RESIDENT", "DIRTY"
    );
    if owned {
        heading += &format!(" {:>11} {:>11} {:>11}", "MAPPED", "LOCKED", "PINNED");
    }
    let rows = segments
        .iter()
        .map(|segment| row(segment, cells, canvas, owned));
    let mut lines: Vec<String> = std::iter::once(heading).chain(rows).collect();
    lines.push(totals(segments));
    lines.push(legend(canvas));
    if segments.iter().any(|segment| segment.deleted) {
        lines.push("*: deleted, and still held by readers".to_owned());
    }
    lines
}

fn row(segment: &SegmentResidency, cells: usize, canvas: Canvas, owned: bool) -> String {
    let pages = &segment.pages;
    let map: String = squeeze(&pages.heat, cells)
        .into_iter()
        .map(|heat| canvas.cell(heat))
        .collect();
    let blank = cells - pages.heat.len().min(cells);
    let mark = if segment.deleted { "*" } else { "" };
    let mut line = format!(
        "{:>20} |{map}{:blank$}| {:>11} {:>11}",
        format!("{mark}{}", segment.base),
        "",
        about(pages.resident),
        unknown(pages.dirty),
    );
    if owned {
        let (mapped, locked) = (about(pages.mapped), unknown(pages.locked));
        line += &format!(" {mapped:>11} {locked:>11} {:>11}", unknown(pages.pinned()));
    }
    line
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
        unknown(changed),
        unknown(writing)
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

/// `?` where nobody says.
fn unknown(bytes: Option<u64>) -> String {
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
        "writeback": pages.writeback, "deleted": segment.deleted,
        "mapped": pages.locked.map(|_| pages.mapped), "locked": pages.locked, "pinned": pages.pinned(), "pins": pages.pins,
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
    fn what_the_owner_knows_stands_beside_it() {
        let pages = Residency {
            mapped: 16 << 20,
            locked: Some(0),
            pins: Some(2),
            heat: heat(&[1.0; 64]),
            ..Residency::default()
        };
        let segment = SegmentResidency {
            base: 5,
            size: 16 << 20,
            deleted: true,
            pages,
        };
        let canvas = Canvas {
            columns: 120,
            coloured: false,
        };
        let lines = draw(&[segment], canvas);
        assert!(
            lines[0].ends_with("MAPPED      LOCKED      PINNED"),
            "{}",
            lines[0]
        );
        assert!(
            lines[1].ends_with("16.0 MiB         0 B    16.0 MiB"),
            "{}",
            lines[1]
        );
        assert!(lines[1].contains(" *5 |") && lines[4].contains("deleted"));
        let widths = [0, 1].map(|line| lines[line].chars().count());
        assert!(widths[0] == widths[1] && widths[0] <= canvas.columns);
    }

    #[test]
    fn cells_are_means() {
        let squeezed = squeeze(&heat(&[0.0, 1.0, 1.0, 1.0]), 2);
        assert_eq!(squeezed, heat(&[0.5, 1.0]));
        assert_eq!(squeeze(&heat(&[1.0]), 8), heat(&[1.0]));
    }
}
