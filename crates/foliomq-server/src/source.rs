//! Where the messages of a subscription come from: leases of a group, or queues from an offset on.

use std::sync::Arc;
use std::time::Duration;

use foliomq_delivery::{Delivery, Filter, Receive};
use foliomq_proto::v1::{Delivered, Open, open::From};
use foliomq_proto::v2::Code;
use foliomq_store::StoredMessage;
use futures_util::future::select_all;
use tokio::time::{Instant, sleep_until};

use crate::broker::{Broker, Handles};
use crate::caller::Caller;
use crate::catch_up::Reader;
use crate::credit::Allowance;
use crate::delivered::{Item, Outgoing};
use crate::name;
use crate::positions::{Position, Runs};
use crate::properties::{duration, unix_ms};
use crate::receive::filter;
use crate::rules;
use crate::scan::Scan;
use crate::status::Refusal;
use crate::topic_settings::readable;
use crate::unsent::Unsent;

/// Most messages of one response.
const MAX_BATCH: usize = 64;
/// Most positions of one response.
const MAX_POSITIONS: usize = 1024;
/// A response is closed once its bodies have so many bytes.
const FULL: usize = 64 << 10;
/// Size in the index of a message that was given up.
const LOST: u32 = 1;
const MAX_TOPICS: usize = 64;
const MAX_QUEUES: usize = 1024;
const DEFAULT_INVISIBLE: Duration = Duration::from_secs(60);
/// How long to wait when no lease ends sooner.
const LONGEST: Duration = Duration::from_secs(3600);

/// A source, and how its messages are sent.
#[derive(Debug)]
pub(crate) struct Source {
    from: Origin,
    positions: bool,
    reader: Reader,
    /// Which topic or queue comes next: all get their turn.
    turn: usize,
    /// Bytes of a body, by the last response.
    usual: usize,
}

/// A response, and what it costs of the credit.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) response: Outgoing,
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// How much one response may hold.
#[derive(Debug, Clone, Copy)]
struct Room {
    messages: usize,
    bytes: usize,
    positions: bool,
}

#[derive(Debug, Clone)]
enum Origin {
    Group {
        group: String,
        topics: Vec<String>,
        filter: Filter,
        invisible: Duration,
    },
    Queues {
        places: Vec<Place>,
        filter: Filter,
    },
}

/// A queue, and the offset that comes next.
#[derive(Debug, Clone)]
struct Place {
    topic: String,
    queue: u32,
    offset: u64,
}

/// What was found, what gives it back, and when to look again.
#[derive(Debug, Default)]
struct Batch {
    items: Vec<Item>,
    /// In place of these.
    runs: Runs,
    /// Of all bodies.
    bytes: usize,
    unsent: Option<Unsent>,
    next_visible: Option<u64>,
    /// A filter has passed over messages: there may be more at once.
    moved: bool,
}

impl Source {
    pub(crate) async fn new(broker: &Broker, caller: &Caller, open: Open) -> Result<Self, Refusal> {
        let bad = |what: String| Err(Refusal::new(Code::BadRequest, what));
        let filter = filter(broker, open.filter.as_ref())?;
        let from = match open.from {
            None => return bad("a subscription names a group or queues".to_owned()),
            Some(From::Group(source)) => {
                if !(1..=MAX_TOPICS).contains(&source.topics.len()) {
                    return bad(format!("a subscription names 1 to {MAX_TOPICS} topics"));
                }
                let group = name::group(Some(&name::resource(&source.group)), caller)?;
                let mut topics = Vec::new();
                for topic in &source.topics {
                    let topic = name::topic(Some(&name::resource(topic)), caller)?;
                    topics.push(broker.topic(&topic).await?.name);
                }
                if !broker.config.auto_create && broker.groups.group(&group).is_none() {
                    return Err(foliomq_delivery::DeliveryError::UnknownGroup { group }.into());
                }
                let rules = broker.groups.rules(&group);
                let longest = Duration::from_secs((*rules.invisible.end()).into());
                let asked = match &source.invisible {
                    Some(asked) => duration(asked),
                    None => Some(DEFAULT_INVISIBLE.min(longest)),
                };
                let invisible = rules::invisible(&rules, asked)?;
                Origin::Group {
                    group,
                    topics,
                    filter,
                    invisible,
                }
            }
            Some(From::Queues(source)) => {
                if !(1..=MAX_QUEUES).contains(&source.queues.len()) {
                    return bad(format!("a subscription names 1 to {MAX_QUEUES} queues"));
                }
                let mut places = Vec::new();
                for start in source.queues {
                    let topic = name::topic(Some(&name::resource(&start.topic)), caller)?;
                    // An unknown topic or queue is an error now, not when it is its turn.
                    broker.store.offsets(&topic, start.queue_id)?;
                    let (queue, offset) = (start.queue_id, start.queue_offset);
                    places.push(Place {
                        topic,
                        queue,
                        offset,
                    });
                }
                Origin::Queues { places, filter }
            }
        };
        Ok(Self {
            reader: from.reader(),
            from,
            positions: open.positions,
            turn: 0,
            usual: 1,
        })
    }

    /// The group whose leases are delivered.
    pub(crate) fn group(&self) -> Option<&str> {
        match &self.from {
            Origin::Group { group, .. } => Some(group),
            Origin::Queues { .. } => None,
        }
    }

    /// The next response, of no more than there is credit for; waits until there is one.
    pub(crate) async fn next(
        &mut self,
        broker: &Arc<Broker>,
        credit: Allowance,
    ) -> Result<Found, Refusal> {
        let room = self.room(credit);
        loop {
            let mut events = Vec::new();
            for topic in self.topics() {
                // Listened for before it is looked at: the permission, too, may change in between.
                events.push(broker.store.listen(topic)?);
                readable(broker, topic)?;
                if let Some(group) = self.group() {
                    events.push(broker.groups.listen(group, topic));
                }
            }
            let (mut from, turn) = (self.from.clone(), self.turn);
            // Reading may fault pages in: not on a thread of the runtime.
            let work = move |handles: &Handles| {
                let batch = from.take(handles, turn, room)?;
                Ok((from, batch))
            };
            let (from, batch) = broker.reading(self.reader, work).await?;
            (self.from, self.turn) = (from, turn.wrapping_add(1));
            if !batch.is_empty() {
                broker.delivered.add(batch.len(), unix_ms());
                return Ok(self.response(broker, batch));
            }
            if batch.moved {
                continue;
            }
            let left = batch.next_visible.map_or(LONGEST, |at| {
                Duration::from_millis(at.saturating_sub(unix_ms()))
            });
            tokio::select! {
                _ = select_all(events) => {}
                () = sleep_until(Instant::now() + left) => {}
            }
        }
    }

    /// As many messages as are likely to fit, since each one too many is leased for nothing.
    fn room(&self, credit: Allowance) -> Room {
        let (most, full) = match self.positions {
            true => (MAX_POSITIONS, usize::MAX),
            false => (MAX_BATCH, FULL),
        };
        let bytes = credit.bytes.min(full);
        let likely = bytes.div_ceil(self.usual);
        Room {
            messages: credit.messages.min(most).min(likely),
            bytes,
            positions: self.positions,
        }
    }

    fn response(&mut self, broker: &Broker, batch: Batch) -> Found {
        let (messages, bytes) = (batch.len(), batch.bytes);
        self.usual = (bytes / messages).max(1);
        let response = match self.positions {
            true => Outgoing::positions(broker, batch.runs, batch.unsent),
            false => Outgoing::deliveries(broker, batch.items, batch.unsent),
        };
        Found {
            response,
            messages,
            bytes,
        }
    }

    fn topics(&self) -> Vec<&str> {
        let mut topics: Vec<&str> = match &self.from {
            Origin::Group { topics, .. } => topics.iter().map(String::as_str).collect(),
            Origin::Queues { places, .. } => {
                places.iter().map(|place| place.topic.as_str()).collect()
            }
        };
        topics.sort_unstable();
        topics.dedup();
        topics
    }
}

impl Origin {
    fn reader(&self) -> Reader {
        match self {
            Self::Group { group, topics, .. } => Reader::of((group, topics)),
            Self::Queues { places, .. } => {
                let place = |place: &Place| (place.topic.clone(), place.queue);
                Reader::of(places.iter().map(place).collect::<Vec<_>>())
            }
        }
    }

    fn take(&mut self, handles: &Handles, turn: usize, room: Room) -> Result<Batch, Refusal> {
        let mut batch = Batch::default();
        match self {
            Self::Group { topics, .. } => {
                let topics = topics.clone();
                for n in 0..topics.len() {
                    let topic = &topics[(turn + n) % topics.len()];
                    let next_visible = self.lease(handles, topic, room, &mut batch)?;
                    let times = [batch.next_visible, next_visible];
                    batch.next_visible = times.into_iter().flatten().min();
                    if !batch.is_empty() {
                        break;
                    }
                }
            }
            Self::Queues { places, filter } => {
                for n in 0..places.len() {
                    let index = (turn + n) % places.len();
                    let place = &mut places[index];
                    match (&*filter, room.positions) {
                        (Filter::All, true) => place.locate(handles, room, &mut batch)?,
                        (Filter::All, false) => place.read(handles, room, &mut batch)?,
                        (filter, _) => place.sift(handles, filter, room, &mut batch)?,
                    }
                    if !batch.is_empty() || batch.moved {
                        break;
                    }
                }
            }
        }
        Ok(batch)
    }

    fn lease(
        &self,
        handles: &Handles,
        topic: &str,
        room: Room,
        batch: &mut Batch,
    ) -> Result<Option<u64>, Refusal> {
        let Self::Group {
            group,
            filter,
            invisible,
            ..
        } = self
        else {
            return Ok(None);
        };
        let request = Receive {
            group,
            topic,
            filter,
            most: room.messages,
            invisible: *invisible,
            auto_renew: false,
        };
        let received = handles.groups.receive(&request, unix_ms())?;
        let mut unsent = Unsent::new(handles.groups.clone(), &received.messages);
        for delivery in received.messages {
            if batch.bytes >= room.bytes {
                break;
            }
            batch.lease(delivery, room);
        }
        // What did not fit is given back, and comes with the next response.
        batch.unsent = Some(unsent.split_to(batch.len()));
        Ok(received.next_visible)
    }
}

impl Batch {
    fn len(&self) -> usize {
        self.items.len() + self.runs.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lease(&mut self, delivery: Delivery, room: Room) {
        let (message, attempt, handle) = (delivery.message, delivery.attempt, delivery.handle);
        match room.positions {
            true => {
                self.bytes += message.body().len();
                self.runs.push_leased(position(&message), attempt, handle);
            }
            false => {
                let head = Delivered {
                    attempt,
                    handle,
                    ..head(&message)
                };
                self.push(head, message);
            }
        }
    }

    fn locate(&mut self, message: &StoredMessage) {
        self.bytes += message.size() as usize;
        self.runs.push(position(message));
    }

    fn push(&mut self, head: Delivered, message: StoredMessage) {
        self.bytes += message.body().len();
        message.touch();
        self.items.push((head, message));
    }
}

impl Place {
    fn read(&mut self, handles: &Handles, room: Room, batch: &mut Batch) -> Result<(), Refusal> {
        let store = &handles.store;
        let end = store.offsets(&self.topic, self.queue)?.end;
        if self.offset >= end {
            return Ok(());
        }
        let messages = store.read_many(&self.topic, self.queue, self.offset, room.messages)?;
        // A whole batch that a salvage gave up is passed over: nothing else is missing below the end.
        if messages.is_empty() {
            self.offset = end.min(self.offset + room.messages as u64);
            batch.moved = true;
        }
        for message in messages {
            if batch.bytes >= room.bytes {
                break;
            }
            self.offset = message.queue_offset() + 1;
            batch.push(head(&message), message);
        }
        Ok(())
    }

    /// The messages that a filter lets through, or where they are. Of one that matches few, one look goes over so many only.
    fn sift(
        &mut self,
        handles: &Handles,
        filter: &Filter,
        room: Room,
        batch: &mut Batch,
    ) -> Result<(), Refusal> {
        let scan = Scan {
            topic: &self.topic,
            queue: self.queue,
            filter,
            most: room.messages,
        };
        let found = scan.look(&handles.store, self.offset)?;
        batch.moved = found.next > self.offset;
        self.offset = found.next;
        for message in found.messages {
            if batch.bytes >= room.bytes {
                self.offset = message.queue_offset();
                break;
            }
            match room.positions {
                true => batch.locate(&message),
                false => batch.push(head(&message), message),
            }
        }
        Ok(())
    }

    /// Where messages are, by the index alone.
    fn locate(&mut self, handles: &Handles, room: Room, batch: &mut Batch) -> Result<(), Refusal> {
        let store = &handles.store;
        let mut entries = Vec::new();
        let read = store.entries(
            &self.topic,
            self.queue,
            self.offset,
            room.messages,
            &mut entries,
        )?;
        batch.moved = read.start > self.offset || !entries.is_empty();
        self.offset = read.start;
        for entry in entries {
            if batch.bytes >= room.bytes {
                break;
            }
            if entry.size != LOST {
                batch.bytes += entry.size as usize;
                batch.runs.push(Position {
                    topic: &self.topic,
                    queue_id: self.queue,
                    queue_offset: self.offset,
                    position: entry.position,
                });
            }
            self.offset += 1;
        }
        Ok(())
    }
}

fn position(message: &StoredMessage) -> Position<'_> {
    Position {
        topic: message.topic(),
        queue_id: message.queue_id(),
        queue_offset: message.queue_offset(),
        position: message.position(),
    }
}

fn head(message: &StoredMessage) -> Delivered {
    Delivered {
        topic: message.topic().to_owned(),
        queue_id: message.queue_id(),
        queue_offset: message.queue_offset(),
        position: message.position(),
        store_unix_ms: message.store_time(),
        ..Delivered::default()
    }
}
