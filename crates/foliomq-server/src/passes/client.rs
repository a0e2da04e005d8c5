//! The other side: a call, and what it asks for.

use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use foliomq_proto::v1::{
    GroupSource, Open, QueueSource, QueueStart, SubscribeRequest, SubscribeResponse, open::From,
    subscribe_request::Request,
};
use foliomq_proto::v2;
use h2::client::SendRequest;
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{MESSAGES, SUBSCRIBE, TOPIC};
use crate::encode::tests::topic;

/// Makes one call over a stream of its own, and reads its answer.
pub(super) async fn ask<S>(stream: S, path: &str, message: Vec<u8>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut requests, connection) = h2::client::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 20)
        .handshake(stream)
        .await
        .unwrap();
    let driving = tokio::spawn(connection);
    read(&mut requests, path, message).await;
    driving.abort();
}

/// Makes a call, and reads its answer to the end; that of a subscription until it has brought all messages.
async fn read(requests: &mut SendRequest<Bytes>, path: &str, message: Vec<u8>) {
    poll_fn(|context| requests.poll_ready(context))
        .await
        .unwrap();
    let request = http::Request::post(format!("http://broker{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-mq-client-id", "raw");
    let request = request.body(()).unwrap();
    let (response, mut stream) = requests.send_request(request, false).unwrap();
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    // A subscription ends with its requests.
    stream.send_data(frame.into(), path != SUBSCRIBE).unwrap();
    let mut body = response.await.unwrap().into_body();
    let (mut came, mut messages) = (BytesMut::new(), 0);
    while path != SUBSCRIBE || messages < MESSAGES {
        let Some(bytes) = body.data().await.transpose().unwrap() else {
            break;
        };
        body.flow_control().release_capacity(bytes.len()).unwrap();
        came.extend_from_slice(&bytes);
        messages += deliveries(&mut came);
    }
}

/// Takes out the responses of a subscription that are whole, and counts their deliveries. (Of other answers none counts.)
fn deliveries(came: &mut BytesMut) -> usize {
    let mut count = 0;
    while let Some(prefix) = came.first_chunk::<5>() {
        let len = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        if came.len() < 5 + len {
            break;
        }
        let response = SubscribeResponse::decode(&came.split_to(5 + len)[5..]);
        count += response.map_or(0, |response| response.deliveries.len());
    }
    count
}

pub(super) fn receive() -> v2::ReceiveMessageRequest {
    let duration = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    v2::ReceiveMessageRequest {
        group: Some(topic("readers")),
        message_queue: Some(v2::MessageQueue {
            topic: Some(topic(TOPIC)),
            ..v2::MessageQueue::default()
        }),
        batch_size: 32,
        invisible_duration: duration(600),
        long_polling_timeout: duration(5),
        ..v2::ReceiveMessageRequest::default()
    }
}

pub(super) fn pull() -> v2::PullMessageRequest {
    v2::PullMessageRequest {
        group: Some(topic("readers")),
        message_queue: Some(v2::MessageQueue {
            topic: Some(topic(TOPIC)),
            ..v2::MessageQueue::default()
        }),
        batch_size: 32,
        ..v2::PullMessageRequest::default()
    }
}

pub(super) fn subscribe(from: From) -> SubscribeRequest {
    SubscribeRequest {
        request: Some(Request::Open(Open {
            from: Some(from),
            credit: 100,
            ..Open::default()
        })),
    }
}

pub(super) fn group() -> From {
    From::Group(GroupSource {
        group: "readers".into(),
        topics: vec![TOPIC.into()],
        invisible: None,
    })
}

pub(super) fn queue() -> From {
    From::Queues(QueueSource {
        queues: vec![QueueStart {
            topic: TOPIC.into(),
            ..QueueStart::default()
        }],
    })
}
