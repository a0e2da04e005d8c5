//! Subscribe and Locate, as a client of the protocol sees them.

use foliomq_proto::v1::messaging_client::MessagingClient;
use foliomq_proto::v1::{
    Delivered, GroupSource, LocateRequest, Open, QueueSource, QueueStart, Settle, Settlement,
    SubscribeRequest, SubscribeResponse, open::From, subscribe_request::Request,
};
use foliomq_proto::v2::{Code, FilterExpression, FilterType, Message, SendMessageRequest};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::broker::{Broker, LIMIT, of, publish, resource};

struct Subscription {
    requests: mpsc::Sender<SubscribeRequest>,
    responses: Streaming<SubscribeResponse>,
}

impl Subscription {
    async fn open(broker: &Broker, open: Open) -> Self {
        let (requests, stream) = mpsc::channel(16);
        let request = |request| SubscribeRequest {
            request: Some(request),
        };
        requests.send(request(Request::Open(open))).await.unwrap();
        let mut client = MessagingClient::new(broker.channel().await);
        let opened = client.subscribe(ReceiverStream::new(stream)).await.unwrap();
        Self {
            requests,
            responses: opened.into_inner(),
        }
    }

    async fn say(&self, request: Request) {
        let request = Some(request);
        self.requests
            .send(SubscribeRequest { request })
            .await
            .unwrap();
    }

    async fn next(&mut self) -> SubscribeResponse {
        let next = timeout(LIMIT, self.responses.message()).await;
        next.unwrap().unwrap().expect("the stream goes on")
    }

    async fn take(&mut self, count: usize) -> Vec<Delivered> {
        let mut taken = Vec::new();
        while taken.len() < count {
            taken.extend(self.next().await.deliveries);
        }
        taken
    }
}

async fn send(broker: &Broker, ids: std::ops::Range<usize>, size: usize) {
    let mut client = broker.client().await;
    for id in ids {
        let sent = client.send_message(of("c", "JAVA", publish("t", id, size)));
        let status = sent.await.unwrap().into_inner().status.unwrap();
        assert_eq!(status.code, Code::Ok as i32, "{}", status.message);
    }
}

fn group(credit: u32) -> Open {
    Open {
        from: Some(From::Group(GroupSource {
            group: "readers".into(),
            topics: vec!["t".into()],
            invisible: None,
        })),
        credit,
        ..Open::default()
    }
}

#[tokio::test]
async fn no_more_comes_than_there_is_credit_for_and_what_comes_is_settled() {
    let broker = Broker::start().await;
    send(&broker, 0..10, 9000).await;
    let mut first = Subscription::open(&broker, group(4)).await;
    let taken = first.take(4).await;
    assert_eq!(taken.len(), 4);
    // Without credit the others stay for whoever asks: six of ten.
    let mut second = Subscription::open(&broker, group(100)).await;
    let others = second.take(6).await;
    assert_eq!(others.len(), 6);

    let settle = |id, how, delivery: &Delivered| {
        Request::Settle(Settle {
            id,
            topic: "t".into(),
            handles: vec![delivery.handle.clone()],
            how: how as i32,
            after: None,
        })
    };
    first.say(settle(1, Settlement::Ack, &taken[0])).await;
    let settled = first.next().await.settled;
    // All is well: nothing is said of each.
    assert_eq!((settled[0].id, &settled[0].statuses[..]), (1, &[][..]));
    // Given back: it comes to the one that has credit, and a nack counts where a release does not.
    first.say(settle(2, Settlement::Release, &taken[1])).await;
    assert_eq!(first.next().await.settled[0].id, 2);
    let again = second.take(1).await;
    assert_eq!(
        (&again[0].message, again[0].attempt),
        (&taken[1].message, 1)
    );
    first.say(settle(3, Settlement::Nack, &taken[2])).await;
    assert_eq!(first.next().await.settled[0].id, 3);
    let again = second.take(1).await;
    assert_eq!(
        (&again[0].message, again[0].attempt),
        (&taken[2].message, 2)
    );
    // An extension replaces the handle, and a forged one is refused with the protocol's code.
    first.say(settle(4, Settlement::Extend, &taken[3])).await;
    let settled = first.next().await.settled;
    assert_ne!(settled[0].handles, [taken[3].handle.clone()]);
    let handles = vec![taken[0].handle.clone(), String::new()];
    let request = Settle {
        id: 5,
        topic: "t".into(),
        handles,
        ..Settle::default()
    };
    first.say(Request::Settle(request)).await;
    let settled = first.next().await.settled;
    let codes = settled[0].statuses.iter().map(|status| status.code);
    let refused = Code::InvalidReceiptHandle as i32;
    assert_eq!(codes.collect::<Vec<_>>(), [Code::Ok as i32, refused]);
    // Nobody heard of the new handle: the old one will do. A time that is too long is no end of the stream.
    let hours = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    for (id, how, after, code) in [
        (6, Settlement::Extend, hours(3600), None),
        (
            7,
            Settlement::Nack,
            hours(13 * 3600),
            Some(Code::IllegalInvisibleTime),
        ),
        (8, Settlement::Ack, None, None),
    ] {
        let handles = vec![others[0].handle.clone()];
        let request = Settle {
            id,
            topic: "t".into(),
            handles,
            how: how as i32,
            after,
        };
        second.say(Request::Settle(request)).await;
        // The one that was put off by nothing may come first.
        let mut settled = Vec::new();
        while settled.is_empty() {
            settled = second.next().await.settled;
        }
        let codes = settled[0].statuses.iter().map(|status| status.code());
        assert!(codes.eq(code), "{id}: {settled:?}");
    }
}

#[tokio::test]
async fn what_comes_later_wakes_a_subscription_and_a_queue_is_resumed_at_its_offset() {
    let broker = Broker::start().await;
    send(&broker, 0..1, 100).await;
    let starts = |offset| {
        let start = |queue_id| QueueStart {
            topic: "t".into(),
            queue_id,
            queue_offset: offset,
        };
        Open {
            from: Some(From::Queues(QueueSource {
                queues: (0..8).map(start).collect(),
            })),
            credit: 100,
            ..Open::default()
        }
    };
    let mut stream = Subscription::open(&broker, starts(0)).await;
    let first = stream.take(1).await;
    assert_eq!(first[0].message.as_ref().unwrap().body, vec![0; 100]);
    send(&broker, 1..17, 9000).await;
    assert_eq!(stream.take(16).await.len(), 16);
    // Seventeen messages over eight queues: only one queue has a third.
    let mut resumed = Subscription::open(&broker, starts(2)).await;
    let rest = resumed.take(1).await;
    assert_eq!((rest.len(), rest[0].queue_offset), (1, 2));
}

#[tokio::test]
async fn positions_are_those_that_a_reader_of_the_folder_finds() {
    let broker = Broker::start().await;
    send(&broker, 0..9, 500).await;
    let open = Open {
        positions: true,
        ..group(100)
    };
    let mut stream = Subscription::open(&broker, open).await;
    let reader = foliomq_store::Store::open_reader(broker.dir.path()).unwrap();
    let mut seen = 0;
    while seen < 9 {
        let response = stream.next().await;
        assert!(response.deliveries.is_empty());
        for run in &response.positions {
            assert_eq!(run.positions.len(), run.handles.len());
            assert!(run.attempts.iter().all(|attempt| *attempt == 1));
            let mut position = 0;
            for (n, step) in run.positions.iter().enumerate() {
                position += step;
                let at = (run.queue_id, run.queue_offset + n as u64, position as u64);
                compare(&broker, &reader, at).await;
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 9);
}

/// A position, by the reader of the folder and by `Locate`.
async fn compare(
    broker: &Broker,
    reader: &foliomq_store::Reader,
    (queue_id, queue_offset, position): (u32, u64, u64),
) {
    let message = reader.read_at(position).unwrap();
    assert_eq!(
        (message.queue_id(), message.queue_offset()),
        (queue_id, queue_offset)
    );
    let mut client = MessagingClient::new(broker.channel().await);
    let request = LocateRequest {
        topic: "t".into(),
        queue_id,
        queue_offset,
        limit: 1,
    };
    let located = client.locate(request).await.unwrap().into_inner();
    assert_eq!(located.located[0].position, position);
    assert_eq!(located.located[0].size, message.size());
    let directory = located.place.unwrap().directory;
    assert_eq!(
        directory,
        broker.dir.path().canonicalize().unwrap().to_str().unwrap()
    );
}

#[tokio::test]
async fn a_bad_subscription_ends_with_the_protocols_code() {
    let broker = Broker::start().await;
    let cases = [
        (Open::default(), Code::BadRequest),
        (
            Open {
                credit: u32::MAX,
                ..group(0)
            },
            Code::BadRequest,
        ),
        (
            Open {
                from: Some(From::Group(GroupSource {
                    group: "not allowed".into(),
                    topics: vec!["t".into()],
                    invisible: None,
                })),
                ..Open::default()
            },
            Code::IllegalConsumerGroup,
        ),
        (
            Open {
                from: Some(From::Queues(QueueSource {
                    queues: vec![QueueStart {
                        topic: "none".into(),
                        ..QueueStart::default()
                    }],
                })),
                ..Open::default()
            },
            Code::TopicNotFound,
        ),
    ];
    for (open, code) in cases {
        let mut stream = Subscription::open(&broker, open).await;
        let status = stream.next().await.status.unwrap();
        assert_eq!(status.code, code as i32, "{}", status.message);
        let end = timeout(LIMIT, stream.responses.message()).await.unwrap();
        assert_eq!(end.unwrap(), None);
    }
}

/// Messages of the queue 0 of topic `t`, each with its number as the property `n`, every thousandth with the tag `thousandth`.
async fn send_tagged(broker: &Broker, count: usize) {
    let message = |n: usize| Message {
        topic: Some(resource("t")),
        user_properties: [("n".to_owned(), n.to_string())].into(),
        system_properties: Some(foliomq_proto::v2::SystemProperties {
            message_id: format!("id-{n}"),
            tag: (n % 1000 == 999).then(|| "thousandth".to_owned()),
            ..Default::default()
        }),
        body: n.to_string().into(),
    };
    let messages: Vec<_> = (0..count).map(message).collect();
    let mut client = broker.client().await;
    for batch in messages.chunks(500) {
        let messages = batch.to_vec();
        let sent = client.send_message(of("c", "JAVA", SendMessageRequest { messages }));
        let status = sent.await.unwrap().into_inner().status.unwrap();
        assert_eq!(status.code, Code::Ok as i32, "{}", status.message);
    }
}

fn filtered(kind: FilterType, expression: &str) -> Open {
    Open {
        from: Some(From::Queues(QueueSource {
            queues: vec![QueueStart {
                topic: "t".into(),
                ..QueueStart::default()
            }],
        })),
        filter: Some(FilterExpression {
            r#type: kind.into(),
            expression: expression.to_owned(),
        }),
        credit: 100,
        ..Open::default()
    }
}

/// The first of these comes from behind more messages than one look goes over, and none is waited for meanwhile.
#[tokio::test]
async fn queues_are_filtered_by_tag_and_by_condition() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1);
    send_tagged(&broker, 9500).await;
    let offsets = |taken: &[Delivered]| -> Vec<u64> {
        taken.iter().map(|taken| taken.queue_offset).collect()
    };
    let thousandths: Vec<u64> = (0..9).map(|n| n * 1000 + 999).collect();
    let by_tag = filtered(FilterType::Tag, "thousandth || none");
    let mut stream = Subscription::open(&broker, by_tag.clone()).await;
    assert_eq!(offsets(&stream.take(9).await), thousandths);

    let late = "n BETWEEN 8999 AND 9001 AND TAGS IS NULL";
    let mut by_condition = Subscription::open(&broker, filtered(FilterType::Sql, late)).await;
    let taken = by_condition.take(2).await;
    assert_eq!(offsets(&taken), [9000, 9001]);
    let body = |taken: &Delivered| taken.message.clone().unwrap().body;
    assert_eq!(body(&taken[0]), b"9000".as_slice());

    let mut positions = Subscription::open(
        &broker,
        Open {
            positions: true,
            ..by_tag
        },
    )
    .await;
    let mut found = Vec::new();
    while found.len() < 9 {
        for run in positions.next().await.positions {
            assert_eq!(run.positions.len(), 1, "no two are next to each other");
            let at = (0, run.queue_offset, run.positions[0] as u64);
            found.push(at.1);
            let reader = foliomq_store::Store::open_reader(broker.dir.path()).unwrap();
            compare(&broker, &reader, at).await;
        }
    }
    assert_eq!(found, thousandths);
    // What comes later is filtered as well.
    send_tagged(&broker, 1000).await;
    assert_eq!(offsets(&stream.take(1).await), [10_499]);
}

#[tokio::test]
async fn a_filter_of_queues_has_the_grammar_and_the_errors_of_a_group_s() {
    let broker = Broker::start().await;
    send(&broker, 0..1, 100).await;
    for (kind, expression) in [(FilterType::Sql, "n >"), (FilterType::Tag, "a|b")] {
        let queues = filtered(kind, expression);
        let of_group = Open {
            from: group(1).from,
            ..queues.clone()
        };
        let mut said = Vec::new();
        for open in [queues, of_group] {
            let mut stream = Subscription::open(&broker, open).await;
            said.push(stream.next().await.status.unwrap());
        }
        assert_eq!(said[0].code, Code::IllegalFilterExpression as i32);
        assert_eq!(said[0], said[1]);
    }
}

/// A unary call has no status in its answer: the code stands beside gRPC's.
#[tokio::test]
async fn locate_refuses_with_the_codes_of_the_protocol() {
    let broker = Broker::start_with(|config| config.auto_create = false).await;
    broker.create_topic("t", 1);
    let mut client = MessagingClient::new(broker.channel().await);
    let cases = [
        ("none", 0, Code::TopicNotFound, tonic::Code::NotFound),
        (
            "not allowed",
            0,
            Code::IllegalTopic,
            tonic::Code::InvalidArgument,
        ),
        ("t", 1, Code::BadRequest, tonic::Code::InvalidArgument),
    ];
    for (topic, queue_id, code, grpc) in cases {
        let request = LocateRequest {
            topic: topic.into(),
            queue_id,
            ..LocateRequest::default()
        };
        let refused = client.locate(request).await.unwrap_err();
        assert_eq!(refused.code(), grpc, "{topic}");
        let said = refused.metadata().get(foliomq_proto::CODE_KEY).unwrap();
        assert_eq!(said, (code as i32).to_string().as_str(), "{topic}");
    }
}
