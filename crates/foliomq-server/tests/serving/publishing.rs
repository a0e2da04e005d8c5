//! How a Publish stream ends that the broker cannot go on with.

use bytes::Bytes;
use foliomq_proto::v1::{NewMessage, PublishRequest, PublishResponse};
use foliomq_proto::v2::Code;
use http::Request;
use http_body_util::{BodyExt, Full};
use prost::Message;
use tokio::time::timeout;

use crate::broker::{Broker, LIMIT};
use crate::garbage::{connect, framed};

/// A frame of one message.
fn frame(sequence: u64, size: usize) -> Bytes {
    let message = NewMessage {
        body: vec![7; size].into(),
        ..NewMessage::default()
    };
    let request = PublishRequest {
        producer_id: 9,
        sequence,
        topic: "t".to_owned(),
        messages: vec![message],
        ..PublishRequest::default()
    };
    framed(&request.encode_to_vec(), true)
}

/// Sends these on one stream; what is acknowledged, and the gRPC status at the end.
async fn publish(broker: &Broker, frames: &[Bytes]) -> (Vec<(u64, Code)>, String) {
    let request = Request::post("http://broker/foliomq.v1.Messaging/Publish")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(frames.concat())));
    let mut sender = connect(broker).await;
    let answer = async {
        let response = sender.send_request(request.unwrap()).await.unwrap();
        response.into_body().collect().await.unwrap()
    };
    let answer = timeout(LIMIT, answer).await.expect("the stream ends");
    let status = answer.trailers().expect("trailers")["grpc-status"].clone();
    let (mut bytes, mut acks) = (answer.to_bytes(), Vec::new());
    while !bytes.is_empty() {
        let prefix = bytes.split_to(5);
        let length = u32::from_be_bytes(prefix[1..].try_into().unwrap());
        let response = PublishResponse::decode(bytes.split_to(length as usize)).unwrap();
        let code = |status: Option<foliomq_proto::v2::Status>| status.unwrap().code();
        let told = response.acks.into_iter();
        acks.extend(told.map(|ack| (ack.sequence, code(ack.status))));
    }
    (acks, status.to_str().unwrap().to_owned())
}

const STORED: [(u64, Code); 2] = [(1, Code::Ok), (2, Code::Ok)];

#[tokio::test]
async fn a_frame_that_is_none_ends_the_stream_after_what_came_before_it_is_acknowledged() {
    let broker = Broker::start().await;
    let good = [frame(1, 10), frame(2, 10)];
    let (acks, status) = publish(&broker, &good).await;
    assert_eq!((acks.as_slice(), status.as_str()), (&STORED[..], "0"));
    let broker = Broker::start().await;
    let [first, second] = good;
    let none = framed(b"\x2a\xff", true);
    let (acks, status) = publish(&broker, &[first, second, none, frame(3, 10)]).await;
    let invalid = (tonic::Code::InvalidArgument as i32).to_string();
    assert_eq!((acks.as_slice(), status), (&STORED[..], invalid));
    broker.store.catch_up();
    let queues = 0..broker.store.topic("t").unwrap().queues;
    let end = |queue| broker.store.offsets("t", queue).unwrap().end;
    assert_eq!(
        queues.map(end).sum::<u64>(),
        2,
        "nothing after it is stored"
    );
}

#[tokio::test]
async fn a_frame_for_which_there_is_no_room_ends_the_stream_with_that() {
    let broker = Broker::start_with(|config| config.max_request_bytes = 100_000).await;
    let frames = [frame(1, 10), frame(2, 10), frame(3, 200_000)];
    let (acks, status) = publish(&broker, &frames).await;
    let exhausted = (tonic::Code::ResourceExhausted as i32).to_string();
    assert_eq!((acks.as_slice(), status), (&STORED[..], exhausted));
    let (acks, _) = publish(&broker, &[frame(3, 10)]).await;
    assert_eq!(acks, [(3, Code::Ok)], "and another stream goes on");
}
