//! What the messages of a queue take, kept up as they come and go.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::ops::Range;

use foliomq_consumequeue::{ConsumeQueues, Entry, QueueNumber};

use crate::error::StoreError;
use crate::stored::LOST;

/// Entries that are read at once.
const STEP: usize = 4096;
/// Entries that are held at once where the oldest of several queues are looked for: 2 MiB.
const HELD: usize = 1 << 16;
/// Offsets that are added up together.
const PART: u64 = 4096;

/// What the records of a queue's messages take: a sum for each part of the offsets, so that what is trimmed can be taken
/// off although its entries are gone. 8 bytes for 4096 messages.
#[derive(Debug, Default)]
pub(crate) struct Weight {
    /// The offsets that are counted.
    from: u64,
    to: u64,
    /// By part, from that of `from` on.
    parts: VecDeque<u64>,
}

/// By queue, of one topic.
pub(crate) type Weights = HashMap<QueueNumber, Weight>;

impl Weight {
    /// The first offset that counts.
    pub(crate) fn from(&self) -> u64 {
        self.from
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.parts.iter().sum()
    }

    /// Takes off what lies below `start`. `sum` tells what offsets take: less than a part of them. What was let go before
    /// stays so, even if the queue does not begin there yet.
    fn begin_at(
        &mut self,
        start: u64,
        sum: impl FnOnce(Range<u64>) -> Result<u64, StoreError>,
    ) -> Result<(), StoreError> {
        if start <= self.from {
            return Ok(());
        }
        if start >= self.to {
            *self = Self {
                from: start,
                to: start,
                parts: VecDeque::new(),
            };
            return Ok(());
        }
        let cut = !start.is_multiple_of(PART);
        let end = self.to.min((start / PART + 1) * PART);
        let left = if cut { Some(sum(start..end)?) } else { None };
        let gone = start / PART - self.from / PART;
        self.parts.drain(..gone as usize);
        if let (Some(first), Some(left)) = (self.parts.front_mut(), left) {
            *first = left;
        }
        self.from = start;
        Ok(())
    }

    /// Counts the message at the end.
    fn add(&mut self, bytes: u64) {
        if self.parts.is_empty() || self.to.is_multiple_of(PART) {
            self.parts.push_back(0);
        }
        if let Some(last) = self.parts.back_mut() {
            *last += bytes;
        }
        self.to += 1;
    }

    /// Lets the first message go.
    fn take_first(&mut self, bytes: u64) {
        self.from += 1;
        if let Some(first) = self.parts.front_mut() {
            *first = first.saturating_sub(bytes);
        }
        if self.from.is_multiple_of(PART) || self.from == self.to {
            self.parts.pop_front();
        }
    }

    /// Brings it up to what a queue holds. Looks at no more entries than there are `left`, and takes them off that.
    pub(crate) fn follow(
        &mut self,
        queues: &ConsumeQueues,
        number: QueueNumber,
        held: Range<u64>,
        left: &mut usize,
    ) -> Result<(), StoreError> {
        self.begin_at(held.start, |range| {
            let mut ahead = Ahead::new(number, range, STEP);
            let mut sum = 0;
            while let Some(entry) = ahead.next(queues)? {
                sum += bytes(&entry);
            }
            Ok(sum)
        })?;
        let mut ahead = Ahead::new(number, self.to..held.end, STEP);
        while *left > 0
            && let Some(entry) = ahead.next(queues)?
        {
            self.add(bytes(&entry));
            *left -= 1;
        }
        Ok(())
    }
}

/// Lets the oldest messages of several queues go, in the order of the log, until all together take no more than `limit`
/// bytes, or as many as are `left` are gone.
pub(crate) fn lighten(
    queues: &ConsumeQueues,
    weights: &mut Weights,
    limit: u64,
    left: &mut usize,
) -> Result<(), StoreError> {
    let mut total: u64 = weights.values().map(Weight::bytes).sum();
    if total <= limit || *left == 0 {
        return Ok(());
    }
    let mut oldest = Oldest::new(queues, weights)?;
    while total > limit
        && *left > 0
        && let Some((number, size)) = oldest.pop(queues)?
    {
        total = total.saturating_sub(size);
        *left -= 1;
        if let Some(weight) = weights.get_mut(&number) {
            weight.take_first(size);
        }
    }
    Ok(())
}

/// What a message counts for. Of one that a salvage gave up nothing is left.
fn bytes(entry: &Entry) -> u64 {
    match entry.size {
        LOST => 0,
        size => u64::from(size),
    }
}

/// Entries of a queue, read many at once.
struct Ahead {
    number: QueueNumber,
    /// Those that are not read yet.
    rest: Range<u64>,
    step: usize,
    read: std::vec::IntoIter<Entry>,
}

impl Ahead {
    fn new(number: QueueNumber, rest: Range<u64>, step: usize) -> Self {
        Self {
            number,
            rest,
            step,
            read: Vec::new().into_iter(),
        }
    }

    fn next(&mut self, queues: &ConsumeQueues) -> Result<Option<Entry>, StoreError> {
        if self.read.len() == 0 && !self.rest.is_empty() {
            let most = (self.rest.end - self.rest.start).min(self.step as u64);
            let mut entries = Vec::new();
            let found =
                queues.entries(self.number, self.rest.start, most as usize, &mut entries)?;
            self.rest.start += found as u64;
            self.read = entries.into_iter();
        }
        Ok(self.read.next())
    }
}

/// The messages of several queues, in the order of the log.
struct Oldest {
    queues: Vec<Ahead>,
    /// Position of each queue's oldest, its place in `queues`, and what it counts for.
    heads: BinaryHeap<Reverse<(u64, usize, u64)>>,
}

impl Oldest {
    /// Those that are counted.
    fn new(queues: &ConsumeQueues, weights: &Weights) -> Result<Self, StoreError> {
        let step = (HELD / weights.len().max(1)).clamp(1, STEP);
        let ahead = |(number, weight): (&QueueNumber, &Weight)| {
            Ahead::new(*number, weight.from..weight.to, step)
        };
        let mut oldest = Self {
            queues: weights.iter().map(ahead).collect(),
            heads: BinaryHeap::new(),
        };
        for index in 0..oldest.queues.len() {
            oldest.push(queues, index)?;
        }
        Ok(oldest)
    }

    fn push(&mut self, queues: &ConsumeQueues, index: usize) -> Result<(), StoreError> {
        if let Some(entry) = self.queues[index].next(queues)? {
            self.heads
                .push(Reverse((entry.position, index, bytes(&entry))));
        }
        Ok(())
    }

    fn pop(&mut self, queues: &ConsumeQueues) -> Result<Option<(QueueNumber, u64)>, StoreError> {
        let Some(Reverse((_, index, size))) = self.heads.pop() else {
            return Ok(None);
        };
        self.push(queues, index)?;
        Ok(Some((self.queues[index].number, size)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn size(offset: u64) -> u64 {
        offset * 7 % 1000
    }

    fn sizes(range: Range<u64>) -> u64 {
        range.map(size).sum()
    }

    #[derive(Debug, Clone)]
    enum Step {
        Add(u64),
        Take(u64),
        /// The queue begins so much later, or earlier: what was taken is not written down yet.
        Begin(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1..9000u64).prop_map(Step::Add),
            (1..5000u64).prop_map(Step::Take),
            (-100..9000i64).prop_map(Step::Begin),
            (-3..3i64).prop_map(|parts| Step::Begin(parts * PART as i64)),
        ]
    }

    proptest! {
        #[test]
        fn what_goes_is_taken_off_and_little_is_read_again(
            first in 0..10_000u64,
            steps in prop::collection::vec(step(), 1..40),
        ) {
            let mut weight = Weight::default();
            weight.begin_at(first, |_| unreachable!("nothing is counted")).unwrap();
            for step in steps {
                let Range { start, end } = weight.from..weight.to;
                match step {
                    Step::Add(count) => (end..end + count).for_each(|at| weight.add(size(at))),
                    Step::Take(count) => {
                        let taken = start..end.min(start + count);
                        taken.for_each(|at| weight.take_first(size(at)));
                    }
                    Step::Begin(by) => {
                        let begin = start.saturating_add_signed(by);
                        let read = |range: Range<u64>| {
                            assert!(range.end - range.start < PART && range.end <= end);
                            Ok(sizes(range))
                        };
                        weight.begin_at(begin, read).unwrap();
                        prop_assert_eq!(weight.from, begin.max(start));
                        prop_assert_eq!(weight.to, end.max(weight.from));
                    }
                }
                prop_assert_eq!(weight.bytes(), sizes(weight.from..weight.to));
            }
        }
    }
}
