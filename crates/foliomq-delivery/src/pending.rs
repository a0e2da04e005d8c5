//! What is known of hidden messages: kept up with the store's ledger, saved in the journal's snapshots.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::thread;
use std::time::Duration;

use foliomq_store::{Awaits, LedgerEntry, LedgerEvent, Store, StoreError};

use crate::carry::Old;
use crate::ended::{Ended, REMEMBERED};
use crate::journal::Journal;
use crate::record::Record;
use crate::waiting::{Due, Waiting};
use crate::wire::{Input, put_all};
use crate::{DeliveryError, Timestamp};

/// Ledger lines that are read at once.
const LINES: usize = 4096;
/// Messages in one record of a snapshot: about 50 KiB.
const CHUNK: usize = 2048;
/// Between two records, so that a snapshot of millions leaves the processor and the journal to what is due; and all of these
/// pauses together, at most.
const PAUSE: Duration = Duration::from_millis(1);
const PAUSES: Duration = Duration::from_secs(1);
/// After so many ledger lines, or as many as there are messages, they are saved again: what a restart reads at most.
const SAVE_AFTER: usize = 1 << 18;

/// A hidden message as a snapshot has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Saved {
    pub id: u64,
    /// Where it lies now.
    pub position: u64,
    pub state: State,
}

/// A half message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Half {
    /// When it was stored.
    pub since: Timestamp,
    /// When somebody is asked about it next, and how often that was done.
    pub ask_at: Timestamp,
    pub asked: u32,
}

/// What the journal has of hidden messages.
#[derive(Debug, Default)]
pub(crate) struct Journalled {
    /// Parts of a snapshot whose last has not come.
    parts: Vec<Saved>,
    /// The last that is whole, and the log position below which everything is in it.
    saved: Option<(u64, Vec<Saved>)>,
    /// Half messages that were asked about, by id.
    asked: HashMap<u64, Half>,
}

impl Journalled {
    /// Forgets a snapshot that has seen more than the log has, up to `end`: a power cut, or a salvage, has taken the rest.
    /// Returns whether it had.
    pub fn forget_what_is_lost(&mut self, end: u64) -> bool {
        self.saved.take_if(|(seen, _)| *seen > end).is_some()
    }

    pub fn part(&mut self, (first, last): (bool, bool), seen: u64, messages: Vec<Saved>) {
        if first {
            self.parts.clear();
        }
        self.parts.extend(messages);
        if last {
            self.saved = Some((seen, std::mem::take(&mut self.parts)));
        }
    }

    pub fn asked(&mut self, id: u64, half: Half) {
        self.asked.insert(id, half);
    }
}

/// What a hidden message waits for, and how that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Its time.
    Delayed { due: Timestamp, recalled: bool },
    /// A decision about it.
    Half(Half),
}

const WAITS: u8 = 1;
const RECALLED: u8 = 2;
const HALF: u8 = 3;

impl Saved {
    /// The bytes of one message in a record of a snapshot.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let moved = self.position - self.id;
        match self.state {
            State::Delayed { due, recalled } => {
                out.push(if recalled { RECALLED } else { WAITS });
                put_all(out, [self.id, moved, due]);
            }
            State::Half(half) => {
                out.push(HALF);
                put_all(
                    out,
                    [
                        self.id,
                        moved,
                        half.since,
                        half.ask_at,
                        u64::from(half.asked),
                    ],
                );
            }
        }
    }

    pub fn decode(input: &mut Input<'_>) -> Option<Self> {
        let kind = input.byte()?;
        let id = input.number()?;
        let position = id.checked_add(input.number()?)?;
        let time = input.number()?;
        let state = match kind {
            WAITS | RECALLED => State::Delayed {
                due: time,
                recalled: kind == RECALLED,
            },
            HALF => State::Half(Half {
                since: time,
                ask_at: input.number()?,
                asked: input.small()?,
            }),
            _ => return None,
        };
        Some(Self {
            id,
            position,
            state,
        })
    }
}

impl State {
    fn new(awaits: Awaits, stored: Timestamp) -> Self {
        match awaits {
            Awaits::Time(due) => Self::Delayed {
                due,
                recalled: false,
            },
            Awaits::Decision(ask_at) => Self::Half(Half {
                since: stored,
                ask_at,
                asked: 0,
            }),
        }
    }
}

/// Every hidden message that is neither in its queue nor given up.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub waiting: Waiting,
    /// Those that wait for a decision, by id.
    pub halves: BTreeMap<u64, Half>,
    /// What was decided lately.
    pub ended: Ended,
    /// Where those lie that retention has carried forward, by id. The others lie where their id says.
    carried: HashMap<u64, u64>,
    /// Those that are being carried now, few: what ends their wait waits until they lie where they are to.
    pub carrying: Vec<Old>,
    /// The ledger's line that comes next.
    line: u64,
    /// Lines since the last snapshot.
    unsaved: usize,
    /// The half message that somebody was asked about last.
    asked_last: u64,
    /// Every message due by then was taken out.
    pub taken_to: Timestamp,
}

impl Pending {
    /// From the last snapshot and the ledger after it.
    pub fn load(store: &Store, journalled: Journalled) -> Result<Self, DeliveryError> {
        let Journalled { saved, asked, .. } = journalled;
        let (seen, saved) = saved.unwrap_or_default();
        let mut known: HashMap<u64, Saved> = saved.into_iter().map(|one| (one.id, one)).collect();
        let line = store.ledger_at(seen)?;
        let mut pending = Self {
            line: line.saturating_sub(REMEMBERED as u64),
            ..Self::default()
        };
        pending.read(store, |pending, store, line| {
            pending.ended.take(line);
            match line.position < seen {
                true => Ok(()),
                false => replay(&mut known, store, line),
            }
        })?;
        for (id, half) in asked {
            if let Some(State::Half(known)) = known.get_mut(&id).map(|one| &mut one.state)
                && known.asked < half.asked
            {
                (known.ask_at, known.asked) = (half.ask_at, half.asked);
            }
        }
        let start = store.watermarks().start;
        // The others were carried forward and settled, or retention would have left them.
        let there = known.into_values().filter(|one| one.position >= start);
        there.for_each(|one| pending.restore(&one));
        Ok(pending)
    }

    fn restore(&mut self, one: &Saved) {
        match one.state {
            State::Half(half) => _ = self.halves.insert(one.id, half),
            State::Delayed { due, recalled } => {
                self.waiting.add(due, one.id);
                if recalled {
                    self.waiting.recall(one.id);
                }
            }
        }
        if one.position != one.id {
            self.carried.insert(one.id, one.position);
        }
    }

    /// Takes in what the store has entered since.
    pub fn follow(&mut self, store: &Store) -> Result<(), DeliveryError> {
        self.read(store, Self::take)
    }

    fn read(
        &mut self,
        store: &Store,
        mut take: impl FnMut(&mut Self, &Store, &LedgerEntry) -> Result<(), DeliveryError>,
    ) -> Result<(), DeliveryError> {
        let mut lines = Vec::new();
        loop {
            lines.clear();
            let next = store.ledger(self.line, LINES, &mut lines)?;
            for line in &lines {
                take(self, store, line)?;
            }
            self.unsaved += lines.len();
            self.line = next;
            if lines.len() < LINES {
                return Ok(());
            }
        }
    }

    /// What is taken out of `waiting` was taken out here before its line came.
    fn take(&mut self, _: &Store, line: &LedgerEntry) -> Result<(), DeliveryError> {
        match line.event {
            LedgerEvent::Hidden(Awaits::Time(due)) => self.waiting.add(due, line.position),
            LedgerEvent::Hidden(awaits @ Awaits::Decision(_)) => {
                if let State::Half(half) = State::new(awaits, line.store_time) {
                    self.halves.insert(line.position, half);
                }
            }
            LedgerEvent::Revealed { id } | LedgerEvent::Cancelled { id } => {
                self.halves.remove(&id);
                self.carried.remove(&id);
            }
            // Carried by this process, which has noted it.
            LedgerEvent::Carried => {}
        }
        Ok(())
    }

    /// Where the message lies.
    pub fn position(&self, id: u64) -> u64 {
        self.carried.get(&id).copied().unwrap_or(id)
    }

    /// Notes that retention has carried the message to `position`.
    pub fn carry(&mut self, id: u64, position: u64) {
        self.carried.insert(id, position);
    }

    /// Id, state and position of up to `most` half messages that somebody is to be asked about. They take turns, so that those
    /// about which nobody can be asked hold up no others.
    pub fn due_halves(&mut self, now: Timestamp, most: usize) -> Vec<(u64, Half, u64)> {
        let (last, halves) = (self.asked_last, &self.halves);
        let after = halves.range((Bound::Excluded(last), Bound::Unbounded));
        let in_turn = after.chain(halves.range(..=last));
        let due = in_turn.filter(|(_, half)| half.ask_at <= now);
        let due = due.map(|(&id, &half)| (id, half, self.position(id)));
        let due: Vec<_> = due.take(most).collect();
        self.asked_last = due.last().map_or(last, |(id, ..)| *id);
        due
    }

    /// The next tick makes a snapshot.
    pub fn save_soon(&mut self) {
        self.unsaved = usize::MAX / 2;
    }

    /// Whether a restart would have much to read.
    pub fn save_due(&self) -> bool {
        self.unsaved > SAVE_AFTER.max(self.waiting.len() + self.halves.len())
    }

    /// All of them, for a snapshot. Nothing is delivered meanwhile, so they are copied as they lie, into the memory `waiting`.
    pub fn collect(
        &mut self,
        store: &Store,
        mut waiting: Vec<Due>,
    ) -> Result<Snapshot, DeliveryError> {
        let seen = store.watermarks().dispatched;
        self.follow(store)?;
        self.unsaved = 0;
        self.waiting.copy(&mut waiting);
        Ok(Snapshot {
            seen,
            waiting,
            recalled: self.waiting.recalled().clone(),
            halves: self.halves.iter().map(|(&id, &half)| (id, half)).collect(),
            carried: self.carried.clone(),
        })
    }
}

/// Every hidden message at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The log position below which everything is in here.
    seen: u64,
    waiting: Vec<Due>,
    /// Which of those.
    recalled: HashSet<u64>,
    halves: Vec<(u64, Half)>,
    /// See [`Pending`].
    carried: HashMap<u64, u64>,
}

impl Snapshot {
    /// Memory for so many messages and some more. The kernel gives a page when it is touched first, which takes longer than to
    /// copy into it: here, where nobody waits.
    pub fn room(count: usize) -> Vec<Due> {
        let mut room = vec![(1, 1); count + count / 16];
        std::hint::black_box(&mut room).clear();
        room
    }

    /// Writes them into the journal, as a part of its own snapshot.
    pub fn save(&self, journal: &Journal) -> Result<(), DeliveryError> {
        let count = self.waiting.len() + self.halves.len();
        let parts = count.div_ceil(CHUNK).max(1);
        let pause = PAUSE.min(PAUSES / u32::try_from(parts).unwrap_or(u32::MAX));
        let mut messages = self.messages();
        for part in 0..parts {
            if part > 0 {
                thread::sleep(pause);
            }
            journal.append(&Record::Pending {
                first: part == 0,
                last: part + 1 == parts,
                seen: self.seen,
                messages: messages.by_ref().take(CHUNK).collect(),
            })?;
        }
        Ok(())
    }

    fn messages(&self) -> impl Iterator<Item = Saved> {
        let delayed = self.waiting.iter().map(|&(due, id)| {
            let recalled = self.recalled.contains(&id);
            (id, State::Delayed { due, recalled })
        });
        let halves = self.halves.iter();
        let halves = halves.map(|&(id, half)| (id, State::Half(half)));
        delayed.chain(halves).map(|(id, state)| Saved {
            id,
            position: self.carried.get(&id).copied().unwrap_or(id),
            state,
        })
    }
}

/// Brings a line of the ledger into effect on what a snapshot, or nothing, has told.
fn replay(
    known: &mut HashMap<u64, Saved>,
    store: &Store,
    line: &LedgerEntry,
) -> Result<(), DeliveryError> {
    match line.event {
        LedgerEvent::Hidden(awaits) => {
            let (id, position) = (line.position, line.position);
            let state = State::new(awaits, line.store_time);
            known.insert(
                id,
                Saved {
                    id,
                    position,
                    state,
                },
            );
        }
        LedgerEvent::Revealed { id } => _ = known.remove(&id),
        LedgerEvent::Cancelled { id } => match known.get_mut(&id).map(|one| &mut one.state) {
            Some(State::Delayed { recalled, .. }) => *recalled = true,
            _ => _ = known.remove(&id),
        },
        LedgerEvent::Carried => match store.hidden(line.position) {
            Ok(hidden) => {
                let id = hidden.id;
                let state = State::new(hidden.awaits, line.store_time);
                let position = line.position;
                let one = known.entry(id).or_insert(Saved {
                    id,
                    position,
                    state,
                });
                one.position = position;
            }
            // Carried again since, or given up by a salvage.
            Err(StoreError::Deleted { .. } | StoreError::Lost { .. }) => {}
            Err(error) => return Err(error.into()),
        },
    }
    Ok(())
}
