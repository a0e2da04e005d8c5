//! The response of a receive: status, messages, moment of delivery, the messages encoded from the stored bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use foliomq_delivery::Delivery;
use foliomq_proto::v2::{
    self, ReceiveMessageResponse, Resource, Status, receive_message_response::Content,
};
use prost::Message;

use crate::broker::Broker;
use crate::encoded;
use crate::message::{FRAME, put_framed, put_response};
use crate::properties::{of_delivery, timestamp, unix_ms};
use crate::rope::{Rope, RopeBuilder};
use crate::status::ok;
use crate::unsent::Unsent;

/// The frames of one response: status, messages, delivery timestamp, in this order.
///
/// Deliveries that have not left when the client goes away are given back: those of a frame under way by the frame's
/// rope, the others when this is dropped.
#[derive(Debug)]
pub(crate) struct Frames {
    broker: Arc<Broker>,
    /// As the request named it.
    topic: Resource,
    invisible: Duration,
    status: Option<Status>,
    deliveries: VecDeque<Delivery>,
    /// The handles of `deliveries`.
    unsent: Option<Unsent>,
    ended: bool,
}

impl Frames {
    pub(crate) fn new(
        broker: Arc<Broker>,
        topic: Resource,
        invisible: Duration,
        deliveries: Vec<Delivery>,
        unsent: Unsent,
    ) -> Self {
        Self {
            invisible,
            deliveries: deliveries.into(),
            unsent: Some(unsent),
            ..Self::empty(broker, topic, ok())
        }
    }

    /// A response without messages.
    pub(crate) fn empty(broker: Arc<Broker>, topic: Resource, status: Status) -> Self {
        Self {
            broker,
            topic,
            invisible: Duration::ZERO,
            status: Some(status),
            deliveries: VecDeque::new(),
            unsent: None,
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
        let mut count = 0;
        while out.len() < FRAME
            && let Some(delivery) = self.deliveries.pop_front()
        {
            self.put_message(&mut out, delivery);
            count += 1;
        }
        if self.deliveries.is_empty() {
            let now = Content::DeliveryTimestamp(timestamp(unix_ms()));
            put_framed(out.scratch(), &response(now));
            self.ended = true;
        }
        let unsent = self.unsent.as_mut().map(|unsent| unsent.split_to(count));
        Some(out.finish(unsent).counted(&self.broker.wire))
    }

    /// Gives back what is not encoded: the next frame is the last.
    pub(crate) fn give_back(&mut self) {
        self.deliveries.clear();
        self.unsent = None;
    }

    /// The same responses as messages, for tonic to encode.
    pub(crate) fn responses(mut self) -> impl Iterator<Item = ReceiveMessageResponse> + Send {
        let status = self.status.take().map(Content::Status);
        let mut unsent = self.unsent.take();
        let deliveries = std::mem::take(&mut self.deliveries).into_iter();
        let messages = deliveries.map(move |delivery| {
            if let Some(unsent) = unsent.as_mut() {
                unsent.split_to(1).sent();
            }
            Content::Message(self.message(delivery))
        });
        let last = std::iter::once_with(|| Content::DeliveryTimestamp(timestamp(unix_ms())));
        let contents = status.into_iter().chain(messages).chain(last);
        contents.map(response)
    }

    fn message(&self, delivery: Delivery) -> v2::Message {
        let message = delivery.message.clone();
        let added = of_delivery(delivery, self.invisible, &self.broker.store_host);
        v2::Message {
            topic: Some(self.topic.clone()),
            ..encoded::stored(&self.broker, &message, &added.encode_to_vec())
        }
    }

    fn put_message(&self, out: &mut RopeBuilder, delivery: Delivery) {
        let message = delivery.message.clone();
        let added = of_delivery(delivery, self.invisible, &self.broker.store_host);
        put_response(&self.broker, out, &self.topic, &message, &added);
    }
}

fn response(content: Content) -> ReceiveMessageResponse {
    ReceiveMessageResponse {
        content: Some(content),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::Ordering;

    use bytes::{Buf, BufMut, Bytes, BytesMut};
    use foliomq_delivery::{Filter, Groups, Receive};
    use foliomq_proto::v2::{Message as Sent, SendMessageRequest, SystemProperties};
    use foliomq_store::{Flush, Options, Store};
    use proptest::prelude::*;

    use super::*;
    use crate::caller::Caller;
    use crate::config::Config;
    use crate::message::{
        MESSAGE_BODY, MESSAGE_SYSTEM_PROPERTIES, MESSAGE_TOPIC, PREFIX, RESPONSE_MESSAGE,
    };
    use crate::send::send;

    const INVISIBLE: Duration = Duration::from_secs(30);
    pub(crate) const SMALL: usize = 4096;

    pub(crate) fn broker() -> (tempfile::TempDir, Arc<Broker>) {
        let dir = tempfile::tempdir().unwrap();
        let interval = Duration::from_millis(100);
        let mut options = Options::new(dir.path())
            .segment_size(16 << 20)
            .flush(Flush::Async { interval });
        options.retention.disk_refuse = 1.0;
        let store = options.open().unwrap();
        let groups = Groups::open(store.clone(), foliomq_delivery::Options::default()).unwrap();
        let mut config = Config::new(([127, 0, 0, 1], 0).into(), dir.path().join("tls"));
        config.by_reference_from = SMALL;
        let broker = Broker::new(config, store, groups, "127.0.0.1:1".to_owned());
        (dir, Arc::new(broker))
    }

    pub(crate) fn topic(name: &str) -> Resource {
        Resource {
            resource_namespace: String::new(),
            name: name.to_owned(),
        }
    }

    /// Stores messages of one topic, and waits until its queues have them.
    pub(crate) fn publish(broker: &Broker, messages: Vec<Sent>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let caller = Caller::new(&http::HeaderMap::new());
        let name = messages[0].topic.clone().unwrap().name;
        let expected = held(&broker.store, &name) + messages.len() as u64;
        let request = SendMessageRequest { messages };
        runtime.block_on(async {
            send(broker, &caller, request).await.unwrap();
            loop {
                let arrival = broker.store.listen(&name).unwrap();
                if held(&broker.store, &name) >= expected {
                    break;
                }
                arrival.await;
            }
        });
    }

    /// Messages in the queues of a topic.
    fn held(store: &Store, name: &str) -> u64 {
        let queues = 0..store.topic(name).map_or(0, |topic| topic.queues);
        let count = |queue| {
            let offsets = store.offsets(name, queue).unwrap();
            offsets.end - offsets.start
        };
        queues.map(count).sum()
    }

    fn take(broker: &Arc<Broker>, name: &str) -> Frames {
        take_for(broker, "readers", name)
    }

    fn take_for(broker: &Arc<Broker>, group: &str, name: &str) -> Frames {
        let request = Receive {
            group,
            topic: name,
            filter: &Filter::All,
            most: 32,
            invisible: INVISIBLE,
            auto_renew: false,
        };
        let received = broker.groups.receive(&request, unix_ms()).unwrap().messages;
        let unsent = Unsent::new(broker.groups.clone(), &received);
        Frames::new(broker.clone(), topic(name), INVISIBLE, received, unsent)
    }

    /// Every message of a stream of gRPC frames.
    fn decode(mut stream: Bytes) -> Vec<Content> {
        let mut contents = Vec::new();
        while stream.has_remaining() {
            assert_eq!(stream.get_u8(), 0, "not compressed");
            let len = stream.get_u32() as usize;
            let response = ReceiveMessageResponse::decode(stream.split_to(len)).unwrap();
            contents.push(response.content.unwrap());
        }
        contents
    }

    /// The bytes of frames.
    pub(crate) fn read_out(frames: impl Iterator<Item = Rope>) -> Bytes {
        let mut stream = BytesMut::new();
        frames.for_each(|rope| stream.put(rope));
        stream.freeze()
    }

    fn all(mut frames: Frames) -> Bytes {
        read_out(std::iter::from_fn(move || frames.next()))
    }

    /// Bytes of bodies: by reference, packed, copied.
    pub(crate) fn counted(broker: &Broker) -> [usize; 3] {
        let counters = [
            &broker.body_bytes_by_reference,
            &broker.body_bytes_packed,
            &broker.body_bytes_copied,
        ];
        counters.map(|counter| counter.load(Ordering::Relaxed) as usize)
    }

    pub(crate) fn sent(name: &str, id: &str, body: Vec<u8>) -> Sent {
        Sent {
            topic: Some(topic(name)),
            system_properties: Some(SystemProperties {
                message_id: id.to_owned(),
                ..SystemProperties::default()
            }),
            body: body.into(),
            ..Sent::default()
        }
    }

    prop_compose! {
        pub(crate) fn any_message()(
            body in prop_oneof![
                prop::collection::vec(any::<u8>(), 1..200),
                (1..40_000usize, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
            ],
            properties in prop::collection::hash_map("[a-zé]{1,9}", "[ -~ü]{0,20}", 0..6),
            tag in prop::option::of("[A-Z标]{1,5}"),
            keys in prop::collection::vec("[a-z0-9]{1,8}", 0..3),
            trace in prop::option::of("[a-f0-9]{16}"),
        ) -> Sent {
            let mut message = sent("any", "0", body);
            message.user_properties = properties;
            let system = message.system_properties.get_or_insert_default();
            system.tag = tag;
            system.keys = keys;
            system.trace_context = trace;
            message
        }
    }

    /// What must come out unchanged.
    fn kept(message: &Sent) -> impl PartialEq + std::fmt::Debug + use<> {
        let system = message.system_properties.clone().unwrap();
        let (id, tag, keys) = (system.message_id, system.tag, system.keys);
        let (properties, body) = (message.user_properties.clone(), message.body.clone());
        (
            message.topic.clone(),
            id,
            tag,
            keys,
            system.trace_context,
            properties,
            body,
        )
    }

    #[test]
    fn frames_decode_to_what_was_sent() {
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
            let mut contents = decode(all(take(&broker, &name)));

            prop_assert_eq!(contents.remove(0), Content::Status(ok()));
            let last = contents.pop();
            prop_assert!(matches!(last, Some(Content::DeliveryTimestamp(_))));
            prop_assert_eq!(contents.len(), messages.len());
            for (offset, (content, message)) in contents.into_iter().zip(&messages).enumerate() {
                let Content::Message(received) = content else { panic!("{content:?}") };
                prop_assert_eq!(kept(&received), kept(message));
                let system = received.system_properties.unwrap();
                prop_assert_eq!(system.queue_offset, Some(offset as i64));
                prop_assert_eq!(system.delivery_attempt, Some(1));
                prop_assert_eq!(system.body_encoding, 1);
                prop_assert_eq!(system.body_digest, Some(crate::properties::md5_digest(&message.body)));
                prop_assert!(system.receipt_handle.is_some_and(|handle| !handle.is_empty()));
                prop_assert!(system.store_timestamp.is_some() && system.born_timestamp.is_some());
            }
        });
    }

    /// What tonic encodes is the same as what we do, but for the moment of delivery.
    #[test]
    fn tonic_would_encode_the_same() {
        let (_dir, broker) = broker();
        let bodies = [1, 300, SMALL - 1, SMALL, 20_000];
        let messages = bodies.map(|len| {
            let mut message = sent("same", &len.to_string(), vec![7; len]);
            message.user_properties.insert("p".into(), "v".into());
            message
        });
        publish(&broker, messages.to_vec());
        let messages = |contents: Vec<Content>| {
            let message = |content| match content {
                Content::Message(mut message) => {
                    let system = message.system_properties.as_mut().unwrap();
                    assert!(system.receipt_handle.take().is_some());
                    Some(message)
                }
                _ => None,
            };
            contents.into_iter().filter_map(message).collect::<Vec<_>>()
        };
        let own = messages(decode(all(take(&broker, "same"))));
        assert_eq!(own.len(), bodies.len());
        let second = take_for(&broker, "others", "same");
        let contents = second.responses().filter_map(|response| response.content);
        assert_eq!(messages(contents.collect()), own);
    }

    /// Field 3 of `Message`, which a client would replace instead of merge if it came twice.
    #[test]
    fn system_properties_come_once() {
        let (_dir, broker) = broker();
        publish(&broker, vec![sent("once", "1", vec![7; 10])]);
        let mut stream = all(take(&broker, "once"));
        let status = stream.slice(1..5).get_u32() as usize;
        stream.advance(PREFIX + status + PREFIX);
        let field = |bytes: &mut Bytes| prost::encoding::decode_key(bytes).unwrap().0;
        assert_eq!(field(&mut stream), RESPONSE_MESSAGE);
        let len = prost::encoding::decode_varint(&mut stream).unwrap() as usize;
        let mut message = stream.split_to(len);
        let mut fields = Vec::new();
        while message.has_remaining() {
            fields.push(field(&mut message));
            let len = prost::encoding::decode_varint(&mut message).unwrap() as usize;
            message.advance(len);
        }
        assert_eq!(
            fields,
            [MESSAGE_TOPIC, MESSAGE_SYSTEM_PROPERTIES, MESSAGE_BODY]
        );
    }

    fn address(bytes: &[u8]) -> usize {
        bytes.as_ptr() as usize
    }

    #[test]
    fn a_large_body_leaves_from_the_mapped_page_and_a_small_one_does_not() {
        let (_dir, broker) = broker();
        publish(
            &broker,
            vec![
                sent("bodies", "1", vec![1; SMALL]),
                sent("bodies", "2", vec![2; SMALL - 1]),
            ],
        );
        let store: Store = broker.store.clone();
        let queues = 0..store.topic("bodies").unwrap().queues;
        let stored = queues.flat_map(|queue| store.read_many("bodies", queue, 0, 2).unwrap());
        let pages: Vec<usize> = stored.map(|message| address(message.body())).collect();

        let rope = take(&broker, "bodies").next().unwrap();
        let mapped: Vec<&Bytes> = rope
            .pieces()
            .filter(|piece| store.is_mapped(piece))
            .collect();
        assert_eq!(mapped.len(), 1, "only the large body is a piece of its own");
        assert_eq!((mapped[0].len(), mapped[0][0]), (SMALL, 1));
        assert!(
            pages.contains(&address(mapped[0])),
            "the page that the store reads"
        );
        assert_eq!(counted(&broker), [SMALL, SMALL - 1, 0], "each body once");
    }

    #[test]
    fn what_did_not_leave_is_given_back() {
        let (_dir, broker) = broker();
        let large = |id: &str| sent("gone", id, vec![3; FRAME]);
        publish(&broker, vec![large("1"), large("2"), large("3")]);

        let mut frames = take(&broker, "gone");
        let mut first = frames.next().unwrap();
        first.advance(first.remaining());
        let mut second = frames.next().unwrap();
        second.advance(second.remaining() - 1);
        // The client goes away: one message has left, one almost, one not at all.
        drop((first, second, frames));

        let contents = decode(all(take(&broker, "gone")));
        let again = contents.into_iter().filter_map(|content| match content {
            Content::Message(message) => message.system_properties,
            _ => None,
        });
        let again: Vec<_> = again
            .map(|system| (system.message_id, system.delivery_attempt))
            .collect();
        assert_eq!(
            again,
            [("2".to_owned(), Some(1)), ("3".to_owned(), Some(1))]
        );
    }
}
