//! Bytes that are no request, and requests that are nearly good, to every method: nothing panics, everything answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use foliomq_proto::v2::{Code, QueryRouteRequest};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proptest::prelude::*;
use prost::Message;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::broker::{Broker, LIMIT, of, poll, publish, resource};

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Of every service that the broker describes.
fn paths() -> Vec<String> {
    let files = prost_types::FileDescriptorSet::decode(foliomq_proto::DESCRIPTORS).unwrap();
    let mut paths = Vec::new();
    for file in &files.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            paths.extend(
                service
                    .method
                    .iter()
                    .map(|method| format!("/{name}/{}", method.name())),
            );
        }
    }
    assert!(paths.len() > 25, "{paths:?}");
    paths
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let good = prop::sample::select(vec![
        poll("t", 1).encode_to_vec(),
        publish("t", 1, 30).encode_to_vec(),
        resource("t").encode_to_vec(),
    ]);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let nearly_good = (good, changes).prop_map(|(mut bytes, changes)| {
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes
    });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..80), nearly_good]
}

/// Bytes as one gRPC message, or as they are.
pub fn framed(bytes: &[u8], frame: bool) -> Bytes {
    let mut framed = BytesMut::new();
    if frame {
        framed.put_u8(0);
        framed.put_u32(bytes.len() as u32);
    }
    framed.put_slice(bytes);
    framed.freeze()
}

pub async fn connect(broker: &Broker) -> SendRequest<Full<Bytes>> {
    let stream = TokioIo::new(TcpStream::connect(broker.address).await.unwrap());
    let (sender, connection) = handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn ask(sender: &mut SendRequest<Full<Bytes>>, path: &str, body: Bytes) {
    let request = Request::post(format!("http://broker{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "250m")
        .header("x-mq-client-id", "garbage");
    let request = request.body(Full::new(body)).unwrap();
    let response = timeout(LIMIT, sender.send_request(request)).await;
    let response = response
        .expect("an answer")
        .expect("not a broken connection");
    assert_eq!(response.status(), 200);
    // Some streams stay open: what they begin with is enough.
    let rest = timeout(Duration::from_millis(20), response.into_body().collect());
    drop(rest.await);
}

#[test]
fn nothing_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        before(panic);
    }));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let broker = runtime.block_on(Broker::start());
    let paths = paths();
    let strategy = prop::collection::vec((any_bytes(), any::<bool>()), paths.len());
    proptest!(ProptestConfig::with_cases(6), |(bodies in strategy)| {
        runtime.block_on(async {
            let mut sender = connect(&broker).await;
            for (path, (bytes, frame)) in paths.iter().zip(bodies) {
                ask(&mut sender, path, framed(&bytes, frame)).await;
            }
        });
    });
    runtime.block_on(async {
        let topic = Some(resource("fine"));
        let request = of(
            "c",
            "JAVA",
            QueryRouteRequest {
                topic,
                endpoints: None,
            },
        );
        let route = broker
            .client()
            .await
            .query_route(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(route.status.unwrap().code, Code::Ok as i32);
    });
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
}
