//! Messages of a topic page by page, without a group: by id, by key, or as the queues hold them.

use std::ops::RangeInclusive;

use foliomq_proto::v2::Code;
use foliomq_store::{Store, StoreError, StoredMessage};

use crate::broker::Handles;
use crate::status::Refusal;

/// Most messages of one page.
pub(crate) const MAX_FOUND: usize = 64;
/// A page takes no more messages once it has so many bytes of bodies: it is answered as a whole, in memory.
pub(crate) const MAX_BYTES: usize = 4 << 20;

/// Which messages of a topic.
#[derive(Debug)]
pub(crate) enum Search {
    Id(String),
    Key(String),
    /// All, queue by queue, in the order of each; from a place on that the page before has named.
    All(Option<Place>),
}

/// Where a list goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) queue: u32,
    pub(crate) offset: u64,
}

impl Place {
    /// As [`text`](Self::text) has made it.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let parts = text.split_once('.');
        let place = parts.and_then(|(queue, offset)| {
            Some(Self {
                queue: queue.parse().ok()?,
                offset: offset.parse().ok()?,
            })
        });
        place
            .ok_or_else(|| Refusal::new(Code::BadRequest, "no page has named this as the next one"))
    }

    pub(crate) fn text(self) -> String {
        format!("{}.{}", self.queue, self.offset)
    }
}

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) topic: String,
    pub(crate) search: Search,
    /// Of this queue only.
    pub(crate) queue: Option<u32>,
    /// Stored within these times, Unix milliseconds.
    pub(crate) times: RangeInclusive<u64>,
    /// At most so many, and no more than [`MAX_FOUND`].
    pub(crate) most: usize,
    /// Without so many that come before, unless a place says where to begin.
    pub(crate) skip: u64,
}

/// A page, and where the next one begins.
pub(crate) type Page = (Vec<StoredMessage>, Option<Place>);

/// Finds a page. What is found by id or key comes in one.
pub(crate) fn find(handles: &Handles, query: &Query) -> Result<Page, Refusal> {
    let (store, most) = (&handles.store, query.most.clamp(1, MAX_FOUND));
    let skip = usize::try_from(query.skip).unwrap_or(usize::MAX);
    let with_skipped = most.saturating_add(skip).min(MAX_FOUND);
    let mut found = match &query.search {
        Search::Id(id) => store.find_by_id(&query.topic, id, with_skipped)?,
        Search::Key(key) => store.find_by_key(&query.topic, key, with_skipped)?,
        Search::All(from) => return list(store, query, *from, most),
    };
    found.retain(|message| {
        let queue = query.queue.is_none_or(|queue| queue == message.queue_id());
        queue && query.times.contains(&message.store_time())
    });
    found.drain(..skip.min(found.len()));
    cut(&mut found, &[]);
    Ok((found, None))
}

/// Leaves out what would make an answer too large that has `before` already; the first of all stays in any case. Returns the
/// offset of the first that is left out.
fn cut(found: &mut Vec<StoredMessage>, before: &[StoredMessage]) -> Option<u64> {
    let size = |message: &StoredMessage| message.body().len().max(1);
    let mut bytes = before.iter().map(size).sum::<usize>();
    let fits = found.iter().take_while(|message| {
        let first = bytes == 0;
        bytes += size(message);
        first || bytes <= MAX_BYTES
    });
    let fits = fits.count();
    let left_out = found.get(fits).map(StoredMessage::queue_offset);
    found.truncate(fits);
    left_out
}

fn list(store: &Store, query: &Query, from: Option<Place>, most: usize) -> Result<Page, Refusal> {
    if from.is_none() {
        // Whoever asks after an acknowledgement finds what it was for.
        store.catch_up();
    }
    let queues = queues(store, query)?;
    let (first, last) = (*queues.start(), *queues.end());
    let from = match from {
        None if query.skip > 0 => match behind(store, query, queues)? {
            None => return Ok((Vec::new(), None)),
            place => place,
        },
        from => from,
    };
    let first = from.map_or(first, |from| from.queue.max(first));
    let mut page = Vec::new();
    for queue in first..=last {
        let mut offset = store.offset_at(&query.topic, queue, *query.times.start())?;
        if let Some(from) = from.filter(|from| from.queue == queue) {
            offset = offset.max(from.offset);
        }
        let mut next = read(store, query, Place { queue, offset }, most, &mut page)?;
        if next.is_none() && queue < last && page.len() >= most {
            next = Some(Place {
                queue: queue + 1,
                offset: 0,
            });
        }
        if next.is_some() {
            return Ok((page, next));
        }
    }
    Ok((page, None))
}

/// The queues that are looked into.
fn queues(store: &Store, query: &Query) -> Result<RangeInclusive<u32>, Refusal> {
    let unknown = || StoreError::UnknownTopic {
        topic: query.topic.clone(),
    };
    let topic = store.topic(&query.topic).ok_or_else(unknown)?;
    Ok(match query.queue {
        Some(queue) => queue..=queue,
        None => 0..=topic.queues.saturating_sub(1),
    })
}

/// Where those begin that come behind the skipped ones; `None`: there are none.
fn behind(
    store: &Store,
    query: &Query,
    queues: RangeInclusive<u32>,
) -> Result<Option<Place>, Refusal> {
    let (topic, mut skip) = (&query.topic, query.skip);
    for queue in queues {
        let begin = store.offset_at(topic, queue, *query.times.start())?;
        let end = match query.times.end().checked_add(1) {
            Some(after) => store.offset_at(topic, queue, after)?,
            None => store.offsets(topic, queue)?.end,
        };
        let held = end.saturating_sub(begin);
        if skip < held {
            let offset = begin + skip;
            return Ok(Some(Place { queue, offset }));
        }
        skip -= held;
    }
    Ok(None)
}

/// Adds what one queue has from a place on, until the page has as many as it may; returns where it has more within the times.
fn read(
    store: &Store,
    query: &Query,
    from: Place,
    most: usize,
    page: &mut Vec<StoredMessage>,
) -> Result<Option<Place>, Refusal> {
    let Place { queue, offset } = from;
    let (most, end) = (
        most.saturating_sub(page.len()),
        store.offsets(&query.topic, queue)?.end,
    );
    let mut found = store.read_many(&query.topic, queue, offset, most)?;
    let read_to = match found.last() {
        Some(last) => last.queue_offset() + 1,
        // What a salvage gave up is passed over.
        None => end.min(offset.saturating_add(most as u64)),
    };
    let in_time = found.partition_point(|message| message.store_time() <= *query.times.end());
    let over = in_time < found.len();
    found.truncate(in_time);
    let left_out = cut(&mut found, page);
    page.append(&mut found);
    let more = left_out.or((!over && read_to < end).then_some(read_to));
    Ok(more.map(|offset| Place { queue, offset }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_as_it_went() {
        let place = Place {
            queue: 3,
            offset: 1 << 40,
        };
        assert_eq!(Place::parse(&place.text()), Ok(place));
        for bad in ["", "1", "1.", ".1", "-1.0", "1.1.1", "a.b"] {
            assert!(Place::parse(bad).is_err(), "{bad:?}");
        }
    }
}
