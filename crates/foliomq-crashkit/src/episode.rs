//! One life of a store on a watched device, with a moment kept now and then.

use std::path::Path;

use foliomq_store::{Message, OpenError, Store, StoreError};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::device::{Cut, Device};
use crate::history::{Contents, GROUP, History, QUEUES, Sent, TOPIC, make_topic};
use crate::mode::Mode;

/// Steps of one life.
const STEPS: usize = 60;

/// A store that is being used.
pub(crate) struct Episode<'a> {
    pub(crate) device: &'a Device,
    pub(crate) history: History,
    pub(crate) random: &'a mut StdRng,
    mode: Mode,
    store: Store,
    /// Where in the log each message ends, from the first one of this life on.
    ends: Vec<u64>,
    /// Messages that were there before.
    before: usize,
    pub(crate) cuts: Vec<Cut>,
}

impl<'a> Episode<'a> {
    /// Opens the store in `dir`.
    pub(crate) fn begin(
        mode: Mode,
        dir: &Path,
        device: &'a Device,
        history: History,
        random: &'a mut StdRng,
    ) -> Result<Self, OpenError> {
        let store = mode.options(dir, random).open()?;
        Ok(Self {
            device,
            history,
            random,
            mode,
            store,
            ends: Vec::new(),
            before: 0,
            cuts: Vec::new(),
        })
    }

    /// Checks what is there after opening, of which nothing may be lost from now on.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        let found = Contents::of(&self.store).map_err(|error| error.to_string())?;
        // Retention is at work already.
        for (dropped, offsets) in self.history.dropped.iter_mut().zip(&found.offsets) {
            *dropped = (*dropped).max(offsets.start);
        }
        self.history.check(&found, 0)?;
        let opening = self.history.promises[0].clone();
        self.history.go_on_from(&found);
        let now = self.history.promises.remove(0);
        self.history.promises = vec![opening, now];
        self.device.promise(1);
        self.before = self.history.sent.len();
        Ok(())
    }

    /// Uses the store for a while. Ends early, without an error, if the store refuses to go on.
    pub(crate) fn run(&mut self) -> Result<(), StoreError> {
        make_topic(&self.store)?;
        self.promise(|promise| promise.topic = true);
        for _ in 0..STEPS {
            self.step()?;
            self.promise_durable();
            if self.random.random_bool(0.1) {
                self.keep()?;
            }
        }
        Ok(())
    }

    /// Closes the store, or leaves it as it is.
    pub(crate) fn end(mut self, clean: bool) -> Result<(History, Vec<Cut>), StoreError> {
        if clean {
            self.store.close()?;
            let messages = self.history.sent.len();
            self.promise(|promise| promise.messages = messages);
            self.keep()?;
        }
        self.device.unplug();
        let mut cuts = self.device.take_cuts();
        // Retention may have been at work to the end.
        self.store.close()?;
        for queue in 0..QUEUES {
            let start = self.store.offsets(TOPIC, queue)?.start;
            let dropped = &mut self.history.dropped[queue as usize];
            *dropped = (*dropped).max(start);
        }
        cuts.append(&mut self.cuts);
        Ok((self.history, cuts))
    }

    fn step(&mut self) -> Result<(), StoreError> {
        match self.random.random_range(0..100) {
            0..60 => self.append(1),
            60..80 => {
                let count = self.random.random_range(2..8);
                self.append(count)
            }
            80..90 => {
                let queue = self.random.random_range(0..QUEUES);
                let end = self.store.offsets(TOPIC, queue)?.end;
                self.store.set_progress(GROUP, TOPIC, queue, end)
            }
            _ => self.flush(),
        }
    }

    /// Appends messages to one queue, and waits for them or not.
    fn append(&mut self, count: usize) -> Result<(), StoreError> {
        let queue = self.random.random_range(0..QUEUES);
        let first = self.history.sent.len();
        for n in first..first + count {
            let mut body = format!("{queue} {n} ").into_bytes();
            let len = body.len() + self.random.random_range(0..1800);
            body.resize_with(len, || self.random.random());
            self.history.sent.push(Sent { queue, body });
        }
        let ids: Vec<String> = (first..first + count).map(History::id).collect();
        let sent = self.history.sent[first..].iter().zip(&ids);
        let messages: Vec<Message<'_>> = sent
            .map(|(sent, id)| Message::new(&sent.body).id(id))
            .collect();
        let submitted = self.store.submit(TOPIC, Some(queue), &messages)?;
        let ends = submitted.appended.iter().map(|appended| appended.end());
        self.ends.extend(ends);
        if self.random.random_bool(0.5) {
            self.store.wait_committed(submitted.end())?;
            if self.mode.is_sync() {
                let messages = self.history.sent.len();
                self.promise(|promise| promise.messages = messages);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let messages = self.history.sent.len();
        let mut progress = Vec::new();
        for queue in 0..QUEUES {
            let kept = self.store.progress(GROUP, TOPIC, queue);
            progress.extend(kept.map(|offset| (queue, offset)));
        }
        self.store.flush()?;
        self.promise(|promise| {
            promise.messages = promise.messages.max(messages);
            promise.progress.extend(progress);
        });
        Ok(())
    }

    /// What the store says is on the device is promised, in any mode.
    fn promise_durable(&mut self) {
        let durable = self.store.watermarks().durable;
        let messages = self.before + self.ends.partition_point(|&end| end <= durable);
        if messages > self.promised().messages {
            self.promise(|promise| promise.messages = messages);
        }
    }

    fn promised(&self) -> &crate::history::Promise {
        &self.history.promises[self.history.promises.len() - 1]
    }

    fn promise(&mut self, change: impl FnOnce(&mut crate::history::Promise)) {
        let mut promise = self.promised().clone();
        change(&mut promise);
        self.history.promises.push(promise);
        self.device.promise(self.history.promises.len() as u64 - 1);
    }

    fn keep(&mut self) -> Result<(), StoreError> {
        let cut = self.device.cut();
        let failed = |error: std::io::Error| StoreError::Read(error.to_string());
        self.cuts.push(cut.map_err(failed)?);
        Ok(())
    }
}
