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
        place.ok_or_else(|| Refusal::new(Code::BadRequest, "no page has brought this scroll id"))
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
}

/// A page, and where the next one begins.
pub(crate) type Page = (Vec<StoredMessage>, Option<Place>);

/// Finds a page. What is found by id or key comes in one.
pub(crate) fn find(handles: &Handles, query: &Query) -> Result<Page, Refusal> {
    let (store, most) = (&handles.store, query.most.clamp(1, MAX_FOUND));
    let mut found = match &query.search {
        Search::Id(id) => store.find_by_id(&query.topic, id, most)?,
        Search::Key(key) => store.find_by_key(&query.topic, key, most)?,
        Search::All(from) => return list(store, query, *from, most),
    };
    found.retain(|message| {
        let queue = query.queue.is_none_or(|queue| queue == message.queue_id());
        queue && query.times.contains(&message.store_time())
    });
    cut(&mut found);
    Ok((found, None))
}

/// Gives up what would make the answer too large; the first stays in any case.
pub(crate) fn cut(found: &mut Vec<StoredMessage>) {
    let mut bytes = 0;
    let fits = found.iter().take_while(|message| {
        let first = bytes == 0;
        bytes += message.body().len().max(1);
        first || bytes <= MAX_BYTES
    });
    let fits = fits.count();
    found.truncate(fits);
}

fn list(store: &Store, query: &Query, from: Option<Place>, most: usize) -> Result<Page, Refusal> {
    let unknown = || StoreError::UnknownTopic {
        topic: query.topic.clone(),
    };
    let topic = store.topic(&query.topic).ok_or_else(unknown)?;
    let (first, last) = match query.queue {
        Some(queue) => (queue, queue),
        None => (0, topic.queues.saturating_sub(1)),
    };
    let first = from.map_or(first, |from| from.queue.max(first));
    for queue in first..=last {
        let mut offset = store.offset_at(&query.topic, queue, *query.times.start())?;
        if let Some(from) = from.filter(|from| from.queue == queue) {
            offset = offset.max(from.offset);
        }
        let page = read(store, query, queue, offset, most)?;
        let next = match page.1 {
            None if queue < last => Some(Place {
                queue: queue + 1,
                offset: 0,
            }),
            next => next,
        };
        if !page.0.is_empty() || next.is_none_or(|next| next.queue == queue) {
            return Ok((page.0, next));
        }
    }
    Ok((Vec::new(), None))
}

/// A page of one queue; a place where it has more within the times.
fn read(
    store: &Store,
    query: &Query,
    queue: u32,
    offset: u64,
    most: usize,
) -> Result<Page, Refusal> {
    let end = store.offsets(&query.topic, queue)?.end;
    let mut found = store.read_many(&query.topic, queue, offset, most)?;
    let read_to = match found.last() {
        Some(last) => last.queue_offset() + 1,
        // What a salvage gave up is passed over.
        None => end.min(offset.saturating_add(most as u64)),
    };
    let in_time = found.partition_point(|message| message.store_time() <= *query.times.end());
    let over = in_time < found.len();
    found.truncate(in_time);
    let whole = found.len();
    cut(&mut found);
    let next = match found.last() {
        Some(last) if found.len() < whole => Some(last.queue_offset() + 1),
        _ => (!over && read_to < end).then_some(read_to),
    };
    Ok((found, next.map(|offset| Place { queue, offset })))
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
