//! The answer to a pull: status, messages, next offset, the messages encoded from the stored bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use foliomq_proto::v2::{self, PullMessageResponse, Resource, pull_message_response::Content};
use foliomq_store::StoredMessage;
use prost::Message;

use crate::broker::Broker;
use crate::encoded;
use crate::message::{FRAME, put_framed, put_response};
use crate::properties::of_stored;
use crate::rope::{Rope, RopeBuilder};
use crate::status::ok;

/// The frames of one answer.
#[derive(Debug)]
pub(crate) struct Pulled {
    broker: Arc<Broker>,
    /// As the request named it.
    topic: Resource,
    status: Option<v2::Status>,
    messages: VecDeque<StoredMessage>,
    /// Where the next pull goes on.
    next: Option<u64>,
    ended: bool,
}

impl Pulled {
    pub(crate) fn new(
        broker: Arc<Broker>,
        topic: Resource,
        messages: Vec<StoredMessage>,
        next: u64,
    ) -> Self {
        Self {
            topic,
            messages: messages.into(),
            ..Self::empty(broker, ok(), Some(next))
        }
    }

    /// An answer without messages.
    pub(crate) fn empty(broker: Arc<Broker>, status: v2::Status, next: Option<u64>) -> Self {
        Self {
            broker,
            topic: Resource::default(),
            status: Some(status),
            messages: VecDeque::new(),
            next,
            ended: false,
        }
    }

    /// The next frame; `None` once all is out.
    pub(crate) fn next(&mut self) -> Option<Rope> {
        if self.ended {
            return None;
        }
        let mut out = RopeBuilder::default();
        if let Some(status) = self.status.take() {
            put_framed(out.scratch(), &response(Content::Status(status)));
        }
        while out.len() < FRAME
            && let Some(message) = self.messages.pop_front()
        {
            let added = of_stored(&message, &self.broker.store_host);
            put_response(&self.broker, &mut out, &self.topic, &message, &added);
        }
        if self.messages.is_empty() {
            if let Some(next) = self.next {
                put_framed(out.scratch(), &next_offset(next));
            }
            self.ended = true;
        }
        Some(out.finish(None).counted(&self.broker.wire))
    }

    /// Lets go of what is not encoded: the next frame is the last, and says that the next pull begins there.
    pub(crate) fn cut(&mut self) {
        if let Some(first) = self.messages.front() {
            self.next = Some(first.queue_offset());
            self.messages.clear();
        }
    }

    /// The same responses as messages, for tonic to encode.
    pub(crate) fn responses(self) -> impl Iterator<Item = PullMessageResponse> + Send {
        let Self {
            broker,
            topic,
            status,
            messages,
            next,
            ..
        } = self;
        let message = move |message: StoredMessage| {
            let added = of_stored(&message, &broker.store_host).encode_to_vec();
            response(Content::Message(v2::Message {
                topic: Some(topic.clone()),
                ..encoded::stored(&broker, &message, &added)
            }))
        };
        let status = status.map(|status| response(Content::Status(status)));
        let messages = messages.into_iter().map(message);
        let next = next.map(next_offset);
        status.into_iter().chain(messages).chain(next)
    }
}

fn next_offset(next: u64) -> PullMessageResponse {
    response(Content::NextOffset(next as i64))
}

fn response(content: Content) -> PullMessageResponse {
    PullMessageResponse {
        content: Some(content),
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Buf, Bytes, BytesMut};
    use proptest::prelude::*;

    use super::*;
    use crate::encode::tests::{SMALL, any_message, broker, publish, read_out, sent, topic};
    use crate::message::PREFIX;

    /// What is stored of a topic, its queues one after the other.
    fn stored(broker: &Broker, name: &str) -> Vec<StoredMessage> {
        let queues = 0..broker.store.topic(name).unwrap().queues;
        let read = |queue| broker.store.read_many(name, queue, 0, 100).unwrap();
        queues.flat_map(read).collect()
    }

    fn pulled(broker: &Arc<Broker>, name: &str) -> Pulled {
        let messages = stored(broker, name);
        let next = messages.len() as u64;
        Pulled::new(broker.clone(), topic(name), messages, next)
    }

    /// Each response with the bytes that it took.
    fn decode(mut stream: Bytes) -> Vec<(PullMessageResponse, usize)> {
        let mut responses = Vec::new();
        while stream.has_remaining() {
            assert_eq!(stream.get_u8(), 0, "not compressed");
            let len = stream.get_u32() as usize;
            let response = PullMessageResponse::decode(stream.split_to(len)).unwrap();
            responses.push((response, len));
        }
        responses
    }

    fn whole(mut answer: Pulled) -> Bytes {
        read_out(std::iter::from_fn(move || answer.next()))
    }

    /// Of properties in any order and number: the same messages, in no byte more or less than prost needs for them.
    #[test]
    fn an_answer_is_what_prost_encodes() {
        let (_dir, broker) = broker();
        let round = std::cell::Cell::new(0);
        let strategy = prop::collection::vec(any_message(), 1..20);
        proptest!(ProptestConfig::with_cases(48), |(mut messages in strategy)| {
            round.set(round.get() + 1);
            let name = format!("round-{}", round.get());
            for (n, message) in messages.iter_mut().enumerate() {
                message.topic = Some(topic(&name));
                message.system_properties.get_or_insert_default().message_id = format!("{n}");
            }
            publish(&broker, messages.clone());
            let own = decode(whole(pulled(&broker, &name)));
            let prost: Vec<_> = pulled(&broker, &name).responses().map(|response| {
                let len = response.encoded_len();
                (response, len)
            }).collect();
            prop_assert_eq!(own.len(), messages.len() + 2);
            prop_assert_eq!(own, prost);
        });
    }

    /// Around a message there is no choice of order: byte for byte.
    #[test]
    fn what_is_no_message_is_prosts_byte_for_byte() {
        let (_dir, broker) = broker();
        for next in [None, Some(0), Some(7), Some(1 << 40)] {
            let answer = || Pulled::empty(broker.clone(), ok(), next);
            let mut bytes = BytesMut::new();
            for response in answer().responses() {
                bytes.extend_from_slice(&[0]);
                bytes.extend_from_slice(&(response.encoded_len() as u32).to_be_bytes());
                bytes.extend_from_slice(&response.encode_to_vec());
            }
            assert_eq!(whole(answer()), bytes);
            assert!(bytes.len() > PREFIX);
        }
    }

    #[test]
    fn a_large_body_leaves_from_the_mapped_page_and_a_small_one_does_not() {
        let (_dir, broker) = broker();
        let bodies = [vec![1; SMALL], vec![2; SMALL - 1]];
        publish(&broker, bodies.map(|body| sent("pulled", "1", body)).into());
        let pages: Vec<_> = stored(&broker, "pulled")
            .iter()
            .map(|message| message.body().as_ptr())
            .collect();
        let rope = pulled(&broker, "pulled").next().unwrap();
        let mapped: Vec<&Bytes> = rope
            .pieces()
            .filter(|piece| broker.store.is_mapped(piece))
            .collect();
        assert_eq!(mapped.len(), 1, "only the large body is a piece of its own");
        assert!(pages.contains(&mapped[0].as_ptr()), "the store's own page");
        let counted = crate::encode::tests::counted(&broker);
        assert_eq!(counted, [SMALL, SMALL - 1, 0], "each body once");
        assert_eq!(
            (broker.wire.pinned(), rope.pinned()),
            (SMALL as u64, SMALL),
            "counted with the pages of all other answers"
        );
        drop(rope);
        assert_eq!((broker.wire.unread(), broker.wire.pinned()), (0, 0));
    }

    #[test]
    fn an_answer_that_is_cut_says_where_the_next_pull_begins() {
        let (_dir, broker) = broker();
        let large = |id: &str| sent("cut", id, vec![3; FRAME]);
        publish(&broker, vec![large("1"), large("2"), large("3")]);
        let mut answer = pulled(&broker, "cut");
        let first = answer.next().unwrap();
        answer.cut();
        let last = answer.next().unwrap();
        assert!(answer.next().is_none());
        let responses = decode(read_out([first, last].into_iter()));
        let contents: Vec<_> = responses
            .into_iter()
            .filter_map(|(response, _)| response.content)
            .collect();
        assert!(matches!(contents[1], Content::Message(_)));
        assert_eq!(contents[2..], [Content::NextOffset(1)]);
    }
}
