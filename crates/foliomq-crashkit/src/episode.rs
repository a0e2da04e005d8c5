//! One life of a store on a watched device, with a moment kept now and then.

use std::path::Path;

use foliomq_store::{Message, OpenError, Store, StoreError};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::consumer::Consumer;
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
    pub(crate) store: Store,
    consumer: Option<Consumer>,
    life: u64,
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
        life: u64,
    ) -> Result<Self, OpenError> {
        let store = mode.options(dir, random).open()?;
        Ok(Self {
            consumer: None,
            life,
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
        let found = Contents::of(&self.store)
            .map_err(|error| format!("cannot be read after the start: {error}"))?;
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
        self.consume()?;
        for _ in 0..STEPS {
            self.step()?;
            self.promise_durable();
            if self.random.random_bool(0.1) {
                self.keep()?;
            }
        }
        Ok(())
    }

    /// Closes the group's journal and the store: the one whether or not the other can be.
    pub(crate) fn close(&self) -> Result<(), StoreError> {
        let journal = self.consumer.as_ref().map_or(Ok(()), Consumer::close);
        let store = self.store.close();
        journal.map_err(delivery).and(store)
    }

    /// Closes the store, or leaves it as it is.
    pub(crate) fn end(mut self, clean: bool) -> Result<(History, Vec<Cut>), StoreError> {
        if let Some(consumer) = &self.consumer {
            consumer.close().map_err(delivery)?;
        }
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
        self.note_dropped()?;
        cuts.append(&mut self.cuts);
        Ok((self.history, cuts))
    }

    /// Notes what retention has dropped, for good.
    pub(crate) fn note_dropped(&mut self) -> Result<(), StoreError> {
        if self.store.topic(TOPIC).is_none() {
            return Ok(());
        }
        for queue in 0..QUEUES {
            let start = self.store.offsets(TOPIC, queue)?.start;
            let dropped = &mut self.history.dropped[queue as usize];
            *dropped = (*dropped).max(start);
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), StoreError> {
        match self.random.random_range(0..100) {
            0..60 => self.append(1),
            60..80 => {
                let count = self.random.random_range(2..8);
                self.append(count)
            }
            80..85 => self.consume(),
            85..90 => {
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
        let appended = self.history.sent.len();
        self.promise(|promise| promise.appended = appended);
        if self.random.random_bool(0.5) {
            self.store.wait_committed(submitted.end())?;
            if self.mode.is_sync() {
                let messages = self.history.sent.len();
                self.promise(|promise| promise.messages = messages);
            }
        }
        Ok(())
    }

    /// Receives a few messages, and acknowledges some of them.
    fn consume(&mut self) -> Result<(), StoreError> {
        if self.consumer.is_none() {
            let consumer = Consumer::open(&self.store, self.life).map_err(delivery)?;
            self.consumer = Some(consumer);
        }
        let Some(consumer) = &self.consumer else {
            return Ok(());
        };
        let deliveries = consumer.receive(3).map_err(delivery)?;
        let mut handle = None;
        for received in deliveries {
            let message = &received.message;
            if self.random.random_bool(0.5) {
                let place = (message.queue_id(), message.queue_offset());
                self.history.acked.insert(place);
                consumer.ack(&received.handle).map_err(delivery)?;
            }
            handle = Some(received.handle);
        }
        if handle.is_some() {
            self.promise(|promise| promise.handle = handle);
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
        let indexed = self.store.watermarks();
        self.store.flush()?;
        self.promise(|promise| {
            promise.messages = promise.messages.max(messages);
            promise.progress.extend(progress);
            promise.indexes |= indexed.dispatched.min(indexed.durable) > 0;
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

    /// Keeps this moment.
    pub(crate) fn keep(&mut self) -> Result<(), StoreError> {
        let cut = self.device.cut();
        let failed = |error: std::io::Error| StoreError::Read(error.to_string());
        self.cuts.push(cut.map_err(failed)?);
        Ok(())
    }
}

fn delivery(error: foliomq_delivery::DeliveryError) -> StoreError {
    StoreError::Read(error.to_string())
}
