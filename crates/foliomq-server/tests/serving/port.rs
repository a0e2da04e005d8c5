//! One port: TLS, plaintext, the services beside the protocol, and what is none of them.

use foliomq_load::tls;
use foliomq_proto::v2::{Code, QueryRouteRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Request;
use tonic::transport::Endpoint;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::broker::{Broker, Client, LIMIT, of, resource};

async fn route(client: &mut Client) -> i32 {
    let request = QueryRouteRequest {
        topic: Some(resource("orders")),
        endpoints: None,
    };
    let route = client
        .query_route(of("c", "JAVA", request))
        .await
        .unwrap()
        .into_inner();
    assert!(route.message_queues.iter().any(|queue| queue.id == 0));
    route.status.unwrap().code
}

#[tokio::test]
async fn tls_and_plaintext_share_the_port() {
    let broker = Broker::start().await;
    assert_eq!(route(&mut broker.client().await).await, Code::Ok as i32);
    // The server name that official clients send when they dial an address.
    let stream = TcpStream::connect(broker.address).await.unwrap();
    let stream = tls::connect(stream, Some("IPAuthority")).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        let stream = stream
            .take()
            .ok_or_else(|| std::io::Error::other("one connection"));
        async { stream }
    });
    let endpoint = Endpoint::from_static("http://IPAuthority");
    let channel = endpoint.connect_with_connector(connector).await.unwrap();
    assert_eq!(route(&mut Client::new(channel)).await, Code::Ok as i32);
}

#[tokio::test]
async fn the_key_is_the_owner_s_alone() {
    use std::os::unix::fs::PermissionsExt;
    let broker = Broker::start().await;
    let key = std::fs::metadata(broker.dir.path().join("tls/key.pem")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn anything_else_is_closed() {
    let broker = Broker::start().await;
    for first in [
        "GET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\n\r\n",
        "\0",
    ] {
        let mut stream = TcpStream::connect(broker.address).await.unwrap();
        stream.write_all(first.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A reset is as good as an end.
        let closed = timeout(LIMIT, stream.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "{first:?} is still open");
    }
    assert_eq!(route(&mut broker.client().await).await, Code::Ok as i32);
}

#[tokio::test]
async fn a_caller_says_who_it_is() {
    let broker = Broker::start().await;
    let mut client = broker.client().await;
    let route = client
        .query_route(QueryRouteRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(route.status.unwrap().code, Code::ClientIdRequired as i32);
}

#[tokio::test]
async fn health_and_reflection_answer() {
    let broker = Broker::start().await;
    let channel = broker.channel().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    for service in [
        "",
        "apache.rocketmq.v2.MessagingService",
        "foliomq.v1.Admin",
        "foliomq.v1.Messaging",
    ] {
        let request = tonic_health::pb::HealthCheckRequest {
            service: service.to_owned(),
        };
        let status = health.check(request).await.unwrap().into_inner().status;
        assert_eq!(status, ServingStatus::Serving as i32, "{service:?}");
    }

    type Reflection = tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient<
        tonic::transport::Channel,
    >;
    let question = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let asked = Request::new(tokio_stream::once(question));
    let answers = Reflection::new(channel).server_reflection_info(asked).await;
    let answer = answers
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap();
    let Some(MessageResponse::ListServicesResponse(listed)) = answer.message_response else {
        panic!("{answer:?}");
    };
    let names: Vec<_> = listed
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    for name in [
        "apache.rocketmq.v2.MessagingService",
        "foliomq.v1.Admin",
        "foliomq.v1.Messaging",
        "grpc.health.v1.Health",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
}
