//! The bench itself: where stores are put, how they are opened, and in what order variants run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use event_listener::Listener;
use foliomq_store::{Flush, Options, Preheat, Retention, Store, TopicOptions, Watermarks};
use tempfile::TempDir;

use crate::scale::Scale;

/// The topic of every experiment.
pub const TOPIC: &str = "bench";
/// Bytes kept resident ahead of the append head: the store's default.
pub const WINDOW: u64 = 32 << 20;
/// How often an async store is flushed, here and in RocketMQ.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(500);
/// How long the dispatcher may take for what a run appended, before that is called a defect.
const DISPATCH_LIMIT: Duration = Duration::from_secs(60);

/// A folder on the disk that is measured, and how much to measure.
#[derive(Debug)]
pub struct Bench {
    folder: TempDir,
    /// Sizes and durations.
    pub scale: Scale,
}

impl Bench {
    /// Puts everything into a new folder below `parent`, which goes when the bench is dropped.
    pub fn new(parent: &Path, scale: Scale) -> Result<Self> {
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        let folder = tempfile::Builder::new()
            .prefix("foliomq-")
            .tempdir_in(parent)
            .with_context(|| format!("creating a folder in {}", parent.display()))?;
        Ok(Self { folder, scale })
    }

    /// The folder that stores and plain files live in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A folder of its own for one run, which goes when it is dropped.
    pub fn place(&self) -> Result<TempDir> {
        tempfile::tempdir_in(self.folder()).context("creating a folder for a run")
    }

    /// Store options that all experiments share: nothing is dropped by age or size.
    pub fn options(&self, folder: impl Into<PathBuf>) -> Options {
        let retention = Retention {
            age: None,
            size: None,
            disk: None,
            ..Retention::default()
        };
        Options::new(folder)
            .segment_size(self.scale.segment)
            .flush(Flush::Async {
                interval: FLUSH_INTERVAL,
            })
            .preheat(Preheat::Window { bytes: WINDOW })
            .retention(retention)
    }

    /// Runs each of `variants` a single time: for runs that are long enough to need no repetition.
    pub fn once<T>(
        &self,
        variants: usize,
        mut run: impl FnMut(usize) -> Result<T>,
    ) -> Result<Vec<Vec<T>>> {
        (0..variants)
            .map(|variant| run(variant).map(|result| vec![result]))
            .collect()
    }

    /// Runs each of `variants` once per round: A B C, then C B A, and so on. A round that is not counted comes first.
    /// Result `[v][r]` is variant `v` in round `r`.
    pub fn alternate<T>(
        &self,
        variants: usize,
        mut run: impl FnMut(usize) -> Result<T>,
    ) -> Result<Vec<Vec<T>>> {
        for variant in 0..variants {
            run(variant)?;
        }
        let mut results: Vec<Vec<T>> = (0..variants).map(|_| Vec::new()).collect();
        for round in 0..self.scale.rounds {
            for turn in 0..variants {
                let variant = if round % 2 == 0 {
                    turn
                } else {
                    variants - 1 - turn
                };
                results[variant].push(run(variant)?);
            }
        }
        Ok(results)
    }
}

/// Opens a store and creates the topic in it.
pub fn open(options: Options, queues: u32) -> Result<Store> {
    let store = options.open().context("opening the store")?;
    store
        .create_topic(
            TOPIC,
            TopicOptions {
                queues,
                ..TopicOptions::default()
            },
        )
        .context("creating the topic")?;
    Ok(store)
}

/// Waits until everything appended can be read through its consume queue.
pub fn wait_dispatched(store: &Store) -> Result<()> {
    let begin = Instant::now();
    loop {
        let listener = store.listen(TOPIC)?;
        let watermarks = store.watermarks();
        if watermarks.dispatched >= watermarks.appended {
            return Ok(());
        }
        let Watermarks {
            dispatched,
            appended,
            ..
        } = watermarks;
        ensure!(
            begin.elapsed() < DISPATCH_LIMIT,
            "the dispatcher stands at {dispatched} of {appended}"
        );
        // The topic's event comes before the dispatched watermark moves, so look again after a moment.
        listener.wait_timeout(Duration::from_millis(1));
    }
}

/// Runs `work(thread)` on so many threads at once; the time from the start of the first to the end of the last.
pub fn together(threads: u32, work: impl Fn(u32) -> Result<()> + Sync) -> Result<Duration> {
    let start = Barrier::new(threads as usize);
    let run = |index| -> Result<(Instant, Instant)> {
        start.wait();
        let begin = Instant::now();
        work(index)?;
        Ok((begin, Instant::now()))
    };
    let spans = thread::scope(|scope| {
        let run = &run;
        let workers: Vec<_> = (0..threads)
            .map(|index| scope.spawn(move || run(index)))
            .collect();
        let join = |worker: thread::ScopedJoinHandle<'_, Result<(Instant, Instant)>>| {
            worker
                .join()
                .map_err(|_| anyhow::anyhow!("a worker panicked"))?
        };
        workers.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let begin = spans
        .iter()
        .map(|span| span.0)
        .min()
        .context("no threads")?;
    let end = spans
        .iter()
        .map(|span| span.1)
        .max()
        .context("no threads")?;
    Ok(end - begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_turns_with_each_round_and_the_first_is_not_counted() {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new(
            folder.path(),
            Scale {
                rounds: 2,
                ..Scale::smoke()
            },
        )
        .unwrap();
        let mut order = Vec::new();
        let results = bench.alternate(3, |variant| {
            order.push(variant);
            Ok(order.len())
        });
        assert_eq!(results.unwrap(), [[4, 9], [5, 8], [6, 7]]);
        assert_eq!(order, [0, 1, 2, 0, 1, 2, 2, 1, 0]);
    }

    #[test]
    fn an_error_of_one_worker_is_the_error_of_all() {
        let failed = together(3, |index| {
            anyhow::ensure!(index != 1, "no");
            Ok(())
        });
        assert_eq!(failed.unwrap_err().to_string(), "no");
    }
}
