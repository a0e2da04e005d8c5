//! `foliomq.v1.Messaging/Subscribe`: one task delivers for as long as there is credit, another hears credit and settlements.

use std::sync::Arc;

use foliomq_proto::v1::{SubscribeRequest, SubscribeResponse, subscribe_request::Request};
use foliomq_proto::v2::Code;

use crate::broker::Broker;
use crate::caller::{Caller, Language};
use crate::credit::Credit;
use crate::requests::Requests;
use crate::responses::{self, Responses, Sender};
use crate::settling;
use crate::source::Source;
use crate::status::Refusal;

/// Opens a stream.
pub(crate) fn open(
    broker: Arc<Broker>,
    caller: Caller,
    requests: Requests<SubscribeRequest>,
) -> Responses {
    let (responses, outgoing) = responses::channel();
    let tasks = broker.tasks.clone();
    tasks.spawn(async move {
        if let Err(refusal) = serve(&broker, &caller, requests, &responses).await {
            let response = SubscribeResponse {
                status: Some(refusal.status(Language::Other)),
                ..SubscribeResponse::default()
            };
            // Not there any more if this does not arrive.
            let _ = responses.send(response.into()).await;
        }
    });
    outgoing
}

async fn serve(
    broker: &Arc<Broker>,
    caller: &Caller,
    mut requests: Requests<SubscribeRequest>,
    responses: &Sender,
) -> Result<(), Refusal> {
    let bad = |what: &str| Refusal::new(Code::BadRequest, what);
    let mut stopping = broker.stopping.subscribe();
    let first = tokio::select! {
        first = requests.next() => first,
        () = responses.closed() => return Ok(()),
        _ = stopping.wait_for(|stop| *stop) => return Ok(()),
    };
    let Some(Ok(first)) = first else {
        return Ok(());
    };
    let Some(Request::Open(open)) = first.request else {
        return Err(bad("the first request of a subscription opens it"));
    };
    let credit = Credit::new(&open)?;
    let source = Source::new(broker, caller, open).await?;
    let group = source.group().map(str::to_owned);
    broker.clients.attach(caller, group.as_deref());
    let ended = tokio::select! {
        ended = deliver(broker, source, &credit, responses) => ended,
        ended = hear(broker, caller, group.as_deref(), requests, &credit, responses) => ended,
        () = responses.closed() => Ok(()),
        _ = stopping.wait_for(|stop| *stop) => Ok(()),
    };
    broker.clients.detach(&caller.client_id);
    ended
}

/// Sends what there is, for as long as there is credit.
async fn deliver(
    broker: &Arc<Broker>,
    mut source: Source,
    credit: &Credit,
    responses: &Sender,
) -> Result<(), Refusal> {
    loop {
        // Room before messages: a reader that does not read holds none that could go to another.
        let Some(room) = responses.room().await else {
            return Ok(());
        };
        let found = source.next(broker, credit.some().await).await?;
        credit.spend(found.messages, found.bytes);
        room.send(found.response);
    }
}

/// Takes in credit and settlements until the client ends its side.
async fn hear(
    broker: &Arc<Broker>,
    caller: &Caller,
    group: Option<&str>,
    mut requests: Requests<SubscribeRequest>,
    credit: &Credit,
    responses: &Sender,
) -> Result<(), Refusal> {
    // A stream that breaks is the client's business: its leases end by themselves.
    while let Some(Ok(request)) = requests.next().await {
        match request.request {
            Some(Request::Credit(more)) => credit.add_messages(more)?,
            Some(Request::CreditBytes(more)) => credit.add_bytes(more)?,
            Some(Request::Settle(settle)) => {
                let settled = settling::settle(broker, caller, group, settle)?;
                let response = SubscribeResponse {
                    settled: vec![settled],
                    ..SubscribeResponse::default()
                };
                if !responses.send(response.into()).await {
                    return Ok(());
                }
            }
            Some(Request::Open(_)) | None => {
                let what = "a subscription is opened once";
                return Err(Refusal::new(Code::BadRequest, what));
            }
        }
    }
    Ok(())
}
