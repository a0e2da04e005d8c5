//! The same port over TLS.

use foliomq_client::{Client, ConsumerOptions, Error, Message, PublisherOptions, Tls};
use tokio::time::timeout;

use crate::broker::{Broker, LIMIT};

#[tokio::test]
async fn a_client_that_trusts_the_broker_s_certificate_streams_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    let tls = Tls::new()
        .ca_file(dir.path().join("tls/certificate.pem"))
        .unwrap();
    let client = Client::connect_tls(&broker.endpoint, tls.clone())
        .await
        .unwrap();
    let publisher = client.publisher(PublisherOptions::default());
    let mut consumer = client.consumer("g", ["orders"], ConsumerOptions::default());
    for size in [1, 5000, 1 << 20] {
        publisher
            .publish(Message::new("orders", vec![7; size]))
            .await
            .unwrap();
        let lease = timeout(LIMIT, consumer.next()).await.unwrap().unwrap();
        assert_eq!(lease.message().body(), vec![7; size]);
        lease.ack().await.unwrap();
    }
    // By a name of the certificate, though another was dialled; a name that it does not have is refused.
    let named = tls.clone().server_name("localhost");
    Client::connect_tls(&broker.endpoint, named).await.unwrap();
    let wrong = tls.server_name("elsewhere.example");
    let error = Client::connect_tls(&broker.endpoint, wrong)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Transport { .. }), "{error}");
    drop((consumer, publisher, client));
    broker.stop().await;
}

#[tokio::test]
async fn a_stranger_s_certificate_is_refused_and_what_is_no_certificate_is_an_error() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (broker, stranger) = (
        Broker::start(dir.path()).await,
        Broker::start(other.path()).await,
    );
    let of_other = Tls::new()
        .ca_file(other.path().join("tls/certificate.pem"))
        .unwrap();
    let error = Client::connect_tls(&broker.endpoint, of_other)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Transport { .. }), "{error}");
    let missing = Tls::new().ca_file(dir.path().join("nothing")).unwrap_err();
    assert!(matches!(missing, Error::Tls(_)), "{missing}");
    broker.stop().await;
    stranger.stop().await;
}
