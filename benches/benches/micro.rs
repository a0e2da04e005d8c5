//! Costs of single calls of the store: append, read by reference, index lookup. Run: `cargo bench -p foliomq-benches`.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use foliomq_benches::bench::{self, Bench, TOPIC};
use foliomq_benches::payload::{Payload, Random, touch};
use foliomq_benches::scale::Scale;
use foliomq_consumequeue::{ConsumeQueues, Entry};
use foliomq_store::{Message, ReadMode};

const SIZES: [usize; 3] = [128, 1 << 10, 16 << 10];
/// Messages that reads choose from.
const MESSAGES: u64 = 10_000;

fn place() -> Bench {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/benches");
    Bench::new(&folder, Scale::quick()).expect("a folder for the stores")
}

fn append(criterion: &mut Criterion) {
    let bench = place();
    let mut group = criterion.benchmark_group("append");
    for size in SIZES {
        let folder = bench.place().expect("a folder");
        let store = bench::open(bench.options(folder.path()), 1).expect("a store");
        let payload = Payload::new(size);
        let mut index = 0;
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                index += 1;
                store
                    .append_to(TOPIC, 0, &Message::new(payload.body(index)))
                    .expect("an append")
            });
        });
    }
}

fn read(criterion: &mut Criterion) {
    let bench = place();
    for mode in [ReadMode::Mapped, ReadMode::Buffered] {
        let mut group = criterion.benchmark_group(format!("read {mode:?}"));
        for size in SIZES {
            let folder = bench.place().expect("a folder");
            let store =
                bench::open(bench.options(folder.path()).read_mode(mode), 1).expect("a store");
            let payload = Payload::new(size);
            for index in 0..MESSAGES {
                store
                    .append_to(TOPIC, 0, &Message::new(payload.body(index)))
                    .expect("an append");
            }
            bench::wait_dispatched(&store).expect("the messages in the index");
            let mut random = Random::new(0xB00C);
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter(|| {
                    let message = store
                        .read(TOPIC, 0, random.below(MESSAGES))
                        .expect("a read");
                    touch(message.expect("a message").body())
                });
            });
        }
    }
}

fn lookup(criterion: &mut Criterion) {
    let bench = place();
    let folder = bench.place().expect("a folder");
    let store = bench::open(bench.options(folder.path()), 1).expect("a store");
    let payload = Payload::new(SIZES[0]);
    for index in 0..MESSAGES {
        store
            .append_to(TOPIC, 0, &Message::new(payload.body(index)))
            .expect("an append");
    }
    bench::wait_dispatched(&store).expect("the messages in the index");
    let (mut random, mut entries) = (Random::new(0xB00C), Vec::with_capacity(32));
    criterion.bench_function("index lookup of 32 entries", |bencher| {
        bencher.iter(|| {
            entries.clear();
            let offset = random.below(MESSAGES - 32);
            black_box(
                store
                    .entries(TOPIC, 0, offset, 32, &mut entries)
                    .expect("entries"),
            )
        });
    });
}

/// Entering into the consume queues, as the dispatcher does: one queue, and a million in turn.
fn put(criterion: &mut Criterion) {
    /// Prime, so that every queue comes once before any comes twice.
    const STRIDE: u64 = 611_953;
    let bench = place();
    let mut group = criterion.benchmark_group("consume queue put");
    for count in [1, 1_000_000] {
        let folder = bench.place().expect("a folder");
        let queues = ConsumeQueues::open(folder.path(), 0).expect("consume queues");
        let mut index = 0;
        let mut next = || {
            let (queue, offset) = ((index * STRIDE % count) as u32, index / count);
            let position = index << 10;
            index += 1;
            let entry = Entry {
                position,
                size: 1 << 10,
                tag_hash: 0,
                store_time: index,
            };
            (queue, offset, entry)
        };
        // Each queue has its first extent.
        for _ in 0..count {
            let (queue, offset, entry) = next();
            queues.put(queue, offset, entry).expect("a put");
        }
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                let (queue, offset, entry) = next();
                queues.put(queue, offset, entry).expect("a put");
            });
        });
        group.bench_function(BenchmarkId::new("by a writer", count), |bencher| {
            let mut writer = queues.writer();
            bencher.iter(|| {
                let (queue, offset, entry) = next();
                writer.put(queue, offset, entry).expect("a put");
            });
        });
    }
}

criterion_group!(benches, append, read, lookup, put);
criterion_main!(benches);
