//! Figure 4: a consumer on the broker's host, which reads the log's pages itself.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use foliomq_benches::goal::Goal;
use foliomq_client::{Client, QueuePlace, QueueReader, ReaderOptions};
use foliomq_load::{BrokerSays, Connection, Delivery, Plan, Until, Workload, broker_says};
use tokio::time::timeout;

use crate::measure::{Bench, PATIENCE, Sample, Side, rate, ratio};
use crate::page::{Section, rates};

const BODY: usize = 1 << 10;
/// Messages of which it is looked where their bytes lie.
const LOOKED_AT: usize = 1000;

/// The cases, and whether they acknowledge.
const CASES: [(&str, Delivery, bool); 5] = [
    (
        "Subscribe, counted and not decoded",
        Delivery::Bodies,
        false,
    ),
    ("Subscribe, in the client's hands", Delivery::Decoded, false),
    ("mapped, in the client's hands", Delivery::Mapped, false),
    (
        "Subscribe for a group, acknowledged",
        Delivery::Decoded,
        true,
    ),
    ("mapped for a group, acknowledged", Delivery::Mapped, true),
];

pub fn run(bench: &Bench) -> Result<Section> {
    let broker = bench.broker("async", &["flush=async"])?;
    fill(bench, &broker)?;
    let cases =
        CASES.map(|(_, delivery, acknowledge)| (&broker, plan(bench, delivery, acknowledge)));
    let samples = bench.rounds(&cases)?;
    let (sent, in_place) = evidence(bench, &broker)?;
    let named = CASES.iter().zip(&samples);
    let named: Vec<_> = named
        .map(|((name, ..), samples)| ((*name).to_owned(), &samples[..]))
        .collect();
    let table = rates(
        "Stored bodies of 1 KiB, one connection, one stream. Processor time of the generator is that of the consumer.",
        &named,
    );
    let over = |left: usize, right: usize| ratio(&samples[left], &samples[right], rate).median;
    Ok(Section {
        number: 4,
        title: "Mapped consumer on the same host",
        text: format!(
            "The same messages over and over, in the page cache: as bodies over the connection, and as positions, at which the native client \
             finds the messages in its own read-only mapping of the log. In the client's hands a message is a value with topic, \
             queue, offset, properties and body; the consumer looks at the first and last byte of each body, and holds none. \
             Each pass opens the stream and the mapping anew. A mapped message's checksum is not looked at, nor is that of a body before it is \
             sent. Of {LOOKED_AT} mapped messages the address of the body was compared with the process's mappings, while the broker's counters of \
             sent body bytes were read before and after."
        ),
        tables: vec![table],
        goals: vec![
            Goal::at_least(
                4,
                "Mapped / Subscribe, counted and not decoded",
                over(2, 0),
                "x",
                4.0,
            ),
            Goal::at_least(
                4,
                "Mapped / Subscribe, both in the client's hands",
                over(2, 1),
                "x",
                4.0,
            ),
            Goal::at_least(
                4,
                "The same for a group, acknowledged",
                over(4, 3),
                "x",
                1.0,
            ),
            Goal::at_most(
                4,
                "Body bytes that the broker sent to mapped consumers",
                sent,
                "bytes",
                0.0,
            ),
            Goal::at_least(
                4,
                "Bodies that lie in a mapping of the log, of all",
                in_place,
                "",
                1.0,
            ),
        ],
        samples: samples.concat(),
        rows: Vec::new(),
    })
}

fn plan(bench: &Bench, delivery: Delivery, acknowledge: bool) -> Plan {
    Plan {
        workload: Workload::Consume,
        body: BODY,
        acknowledge,
        delivery,
        ..bench.plan()
    }
}

fn fill(bench: &Bench, side: &Side) -> Result<Sample> {
    let plan = Plan {
        body: BODY,
        batch: 64,
        until: Until::Messages((bench.scale.stored / BODY as u64).max(2 * LOOKED_AT as u64)),
        ..Plan::default()
    };
    bench.run(side, &plan)
}

/// Body bytes that the broker sent meanwhile, and the share of mapped bodies that lie where they should.
fn evidence(bench: &Bench, side: &Side) -> Result<(f64, f64)> {
    let folder = side.server.folder().context("the broker has a folder")?;
    let folder = folder.canonicalize()?;
    let mapped = plan(bench, Delivery::Mapped, false);
    let before = says(bench, side)?;
    bench.run(side, &mapped)?;
    let in_place = bench.runtime.block_on(async {
        let client = Client::connect(side.server.address()).await?;
        let places = (0..4).map(|queue_id| QueuePlace {
            topic: side.topic.clone(),
            queue_id,
            queue_offset: 0,
        });
        let options = ReaderOptions {
            mapped: true,
            ..ReaderOptions::default()
        };
        in_place(client.queue_reader(places, options), &folder).await
    })?;
    let after = says(bench, side)?;
    let sent = |says: &BrokerSays| says.by_reference + says.copied;
    Ok((
        sent(&after).saturating_sub(sent(&before)) as f64,
        in_place as f64 / LOOKED_AT as f64,
    ))
}

fn says(bench: &Bench, side: &Side) -> Result<BrokerSays> {
    bench.runtime.block_on(async {
        let connection = Connection::open(&side.target(), "evidence").await?;
        Ok(broker_says(&connection).await?)
    })
}

/// How many bodies lie in a shared read-only mapping of a file of the store.
async fn in_place(mut reader: QueueReader, folder: &Path) -> Result<usize> {
    let mut held = Vec::new();
    while held.len() < LOOKED_AT {
        held.push(
            timeout(PATIENCE, reader.next())
                .await
                .context("too few messages")??,
        );
    }
    let maps = fs::read_to_string("/proc/self/maps")?;
    let mappings: Vec<_> = maps
        .lines()
        .filter(|line| {
            line.contains(" r--s ") && folder.to_str().is_some_and(|folder| line.contains(folder))
        })
        .filter_map(range)
        .collect();
    let lies = |body: &[u8]| {
        let body = body.as_ptr_range();
        let (start, end) = (body.start as usize, body.end as usize);
        mappings
            .iter()
            .any(|(from, to)| *from <= start && end <= *to)
    };
    Ok(held
        .iter()
        .filter(|message| message.is_mapped() && lies(message.body()))
        .count())
}

/// The addresses of one line of `/proc/self/maps`.
fn range(line: &str) -> Option<(usize, usize)> {
    let (from, to) = line.split_whitespace().next()?.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some((address(from)?, address(to)?))
}
