//! What was measured, as text and as JSON.

use std::io;

use foliomq_load::spread::{Spread, significant};
use foliomq_load::{Api, Delivery, Latency, Plan, Report, Until, Workload};
use serde_json::json;

use super::reports;
use super::side::{Outcome, Side};
use crate::output::Output;
use crate::units::about;

/// One run.
pub fn outcome(side: &Side, outcome: &Outcome, out: &mut Output) -> io::Result<()> {
    let report = &outcome.report;
    let whose = match outcome.spawned {
        true => "started for this, in a temporary folder",
        false => "which ran already",
    };
    let says = &outcome.broker;
    out.line(format!(
        "{}{}: broker {} at {} ({whose}), flush {}, encoding {}",
        side.name,
        side.change
            .as_ref()
            .map(|change| format!(" ({change})"))
            .unwrap_or_default(),
        says.version,
        outcome.address,
        known(&says.flush),
        known(&says.encoding),
    ))?;
    out.line(format!("  load        {}", load(&report.plan)))?;
    out.line(format!(
        "  rate        {} messages/s, {} MB/s ({} messages in {} s)",
        count(report.rate),
        significant(report.megabytes),
        report.messages,
        significant(report.seconds),
    ))?;
    let is_paced = report.plan.rate.is_some() && report.late.count > 0;
    if report.latency.count > 0 || is_paced {
        out.line(format!("  {:<11}{}", "", cells(SHARES.map(str::to_owned))))?;
    }
    if report.latency.count > 0 {
        out.line(format!("  latency    {}", times(&report.latency)))?;
    }
    if is_paced {
        out.line(format!(
            "  departures {}  later than intended",
            times(&report.late)
        ))?;
    }
    if report.plan.workload != Workload::Consume {
        out.line(format!("  outstanding {}", outstanding(report)))?;
    }
    out.line(format!(
        "  processor   {}",
        processor(report, outcome.broker_cpu)
    ))?;
    out.flush()
}

/// How the two sides compare, round by round.
pub fn ratio(sides: &[Side], a: &[Outcome], b: &[Outcome], out: &mut Output) -> io::Result<()> {
    let changed = sides
        .last()
        .and_then(|side| side.change.clone())
        .unwrap_or_default();
    out.line(format!(
        "B / A, with B = {changed} (median of {} rounds, lowest to highest):",
        a.len()
    ))?;
    let mut line = |name: &str, of: fn(&Report) -> f64| {
        let ratios = reports(b).zip(reports(a)).map(|(b, a)| of(b) / of(a));
        let ratios: Vec<f64> = ratios.filter(|ratio| ratio.is_finite()).collect();
        match ratios.is_empty() {
            true => Ok(()),
            false => out.line(format!("  {name:<11} {}", Spread::of(&ratios))),
        }
    };
    line("rate", |report| report.rate)?;
    line("p50", |report| report.latency.p50)?;
    line("p99", |report| report.latency.p99)
}

/// Everything, for other programs.
pub fn json(sides: &[Side], outcomes: &[Vec<Outcome>]) -> serde_json::Result<String> {
    let side = |(side, outcomes): (&Side, &Vec<Outcome>)| json!({"name": side.name, "change": side.change, "runs": outcomes});
    let sides: Vec<_> = sides.iter().zip(outcomes).map(side).collect();
    let document = json!({
        "foliomq": env!("CARGO_PKG_VERSION"),
        "units": {"latency": "us", "late": "us", "oldest": "us", "cpu": "s", "rate": "messages/s"},
        "sides": sides,
    });
    serde_json::to_string_pretty(&document)
}

fn load(plan: &Plan) -> String {
    let what = match plan.workload {
        Workload::Produce => "produce",
        Workload::Consume => "consume",
        Workload::Roundtrip => "roundtrip",
    };
    let (api, lanes) = match plan.api {
        Api::Native => (
            "native",
            format!(
                "{} each with up to {} messages",
                many(plan.streams, "stream"),
                plan.in_flight
            ),
        ),
        Api::V2 => ("v2", format!("each with up to {} calls", plan.in_flight)),
    };
    let pace = match plan.rate {
        Some(rate) => format!("open loop at {} messages/s", count(rate)),
        None => "closed loop".to_owned(),
    };
    let until = match plan.until {
        Until::Time(time) => format!("{} s", significant(time.as_secs_f64())),
        Until::Messages(messages) => format!("{messages} messages"),
    };
    let way = match plan.delivery {
        Delivery::Bodies => "",
        Delivery::Decoded => ", decoded by the client",
        Delivery::Mapped => ", mapped by the client",
    };
    format!(
        "{what}, {api}{way}: bodies of {}, {} a request, {}, {lanes} in flight; {pace}, {until}",
        about(plan.body as u64),
        plan.batch,
        many(plan.connections, "connection"),
    )
}

fn many(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// Heads of the table of latencies.
const SHARES: [&str; 6] = ["p50", "p90", "p99", "p99.9", "p99.99", "longest"];

fn times(latency: &Latency) -> String {
    cells(latency.quantiles().map(|(_, value)| time(value)))
}

/// One row.
fn cells(cells: [String; 6]) -> String {
    cells.map(|cell| format!("{cell:>10}")).concat()
}

fn outstanding(report: &Report) -> String {
    match report.outstanding {
        0 => "none".to_owned(),
        messages => format!(
            "{} messages had no answer in the end, the oldest for {}",
            count(messages as f64),
            time(report.oldest)
        ),
    }
}

fn processor(report: &Report, broker: Option<f64>) -> String {
    let cores = |seconds: f64| significant(seconds / report.seconds.max(1e-9));
    let generator = format!("generator {} cores", cores(report.generator_cpu));
    let gigabytes = report.megabytes * report.seconds / 1e3;
    match broker {
        // The warm-up is in it, too: a bound from above.
        Some(broker) => format!(
            "{generator}; broker {} s, {} s per GB, the warm-up included",
            significant(broker),
            significant(broker / gigabytes.max(1e-9)),
        ),
        None => format!("{generator}; the broker is another's process"),
    }
}

fn known(word: &str) -> &str {
    match word {
        "" => "unknown",
        word => word,
    }
}

/// A number with its thousands apart.
pub fn count(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Microseconds, in the unit that fits.
pub fn time(microseconds: f64) -> String {
    match microseconds {
        us if us >= 1e6 => format!("{} s", significant(us / 1e6)),
        us if us >= 1e3 => format!("{} ms", significant(us / 1e3)),
        us => format!("{us:.0} us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(
            [0.0, 999.4, 1000.0, 1_234_567.0].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [7.0, 1500.0, 2.5e6].map(time),
            ["7 us", "1.50 ms", "2.50 s"]
        );
    }
}
