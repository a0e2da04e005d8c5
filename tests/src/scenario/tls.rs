//! TLS and plain text on one port.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Context;
use crate::driver::{Kind, Outgoing};
use crate::session::{Session, WAIT};

const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);
/// Where a broker keeps the certificate that it made for itself, below its store.
const CERTIFICATE: &str = "tls/certificate.pem";

/// A producer with TLS and a consumer without, then the other way round, against the same port.
pub async fn beside_plain_text(context: &Context<'_>) -> Result<()> {
    let topic = context.topic().await?;
    let secure = secure_session(context).await?;
    let plain = context.session().await?;
    let ways = [("tls-in", &secure, &plain), ("tls-out", &plain, &secure)];
    for (purpose, producing, consuming) in ways {
        let producer = producing.producer(&[&topic]).await.context(purpose)?;
        let group = context.group(purpose);
        let consumer = consuming.simple_with(&group, &topic, purpose, WAIT).await;
        let consumer = consumer.context(purpose)?;
        let message = Outgoing::new(&topic, "secret").tag(purpose);
        let id = producer.send(message).await.context(purpose)?;
        let taken = consumer.take(1, ARRIVAL_LIMIT).await.context(purpose)?;
        ensure!(taken[0].id == id, "another message came: {:?}", taken[0]);
    }
    Ok(())
}

/// The client over TLS. The Rust client has none: raw calls, as its partner, stand in for it.
async fn secure_session(context: &Context<'_>) -> Result<Session> {
    let certificate = context.store().join(CERTIFICATE);
    let trusted = certificate
        .to_str()
        .context("the path is not UTF-8")?
        .to_owned();
    // gRPC of both languages reads the first; Node.js itself the second.
    let names = ["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "NODE_EXTRA_CA_CERTS"];
    let environment = names.map(|name| (name, trusted.clone()));
    let kind = if context.kind == Kind::Rust {
        Kind::Raw
    } else {
        context.kind
    };
    Ok(Session::open(kind, context.stage.address, &environment)
        .await?
        .with_tls())
}
