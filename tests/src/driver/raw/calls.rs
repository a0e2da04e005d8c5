//! The calls of the protocol, one function each.

use std::time::Duration;

use foliomq_proto::v2::receive_message_response::Content;
use foliomq_proto::v2::{
    AckMessageEntry, AckMessageRequest, ChangeInvisibleDurationRequest, Code, FilterExpression,
    FilterType, HeartbeatRequest, LiteSubscriptionAction, MessageQueue,
    NotifyClientTerminationRequest, Permission, QueryRouteRequest, RecallMessageRequest,
    ReceiveMessageRequest, ReceiveMessageResponse, Resource, SendMessageRequest, SendResultEntry,
    Status, SyncLiteSubscriptionRequest,
};

use super::connection::{CALL_LIMIT, Connection};
use super::message::{endpoints, incoming, outgoing};
use crate::driver::{Failure, Outgoing, Reply, SQL_MARK};

/// Asks for the route of every topic and sends a heartbeat, as a client does when it starts.
pub(super) async fn announce(connection: &Connection) -> Result<(), Failure> {
    let start = &connection.start;
    for topic in start.topics.iter().chain(start.subscriptions.keys()) {
        let request = QueryRouteRequest {
            topic: connection.resource(topic),
            endpoints: Some(endpoints(connection.address)),
        };
        let request = connection.request(request, CALL_LIMIT);
        let response = connection
            .client
            .clone()
            .query_route(request)
            .await
            .map_err(broken)?;
        let route = response.into_inner();
        expect_ok(route.status)?;
        check_route(connection, topic, &route.message_queues)?;
    }
    heartbeat(connection).await
}

/// What clients read in a route, and stop at where it is otherwise.
fn check_route(
    connection: &Connection,
    topic: &str,
    queues: &[MessageQueue],
) -> Result<(), Failure> {
    let wrong = |what| Err(Failure::local("protocol", what));
    if !queues.iter().any(|queue| queue.id == 0) {
        return wrong("the route has no queue 0");
    }
    for queue in queues {
        let broker = queue.broker.clone().unwrap_or_default();
        if queue.topic != connection.resource(topic) {
            return wrong("a queue is of another topic than the one that was asked for");
        }
        if broker.endpoints != Some(endpoints(connection.address)) {
            return wrong("the route's endpoints are not those that were dialled");
        }
        if broker.id != 0 || broker.name.is_empty() {
            return wrong("the route's broker is none to write to");
        }
        if queue.permission() != Permission::ReadWrite || queue.accept_message_types.is_empty() {
            return wrong("a queue takes nothing");
        }
    }
    Ok(())
}

/// Tells that the client is there.
pub(super) async fn heartbeat(connection: &Connection) -> Result<(), Failure> {
    let request = HeartbeatRequest {
        group: group(connection),
        client_type: connection.kind.into(),
    };
    let request = connection.request(request, CALL_LIMIT);
    let response = connection
        .client
        .clone()
        .heartbeat(request)
        .await
        .map_err(broken)?;
    expect_ok(response.into_inner().status)
}

pub(super) async fn terminate(connection: &Connection) -> Result<Reply, Failure> {
    let request = NotifyClientTerminationRequest {
        group: group(connection),
    };
    let request = connection.request(request, CALL_LIMIT);
    let response = connection
        .client
        .clone()
        .notify_client_termination(request)
        .await;
    expect_ok(response.map_err(broken)?.into_inner().status)?;
    Ok(Reply::default())
}

pub(super) async fn send(
    connection: &Connection,
    messages: Vec<Outgoing>,
    batch: bool,
) -> Result<Reply, Failure> {
    let step = if batch { messages.len().max(1) } else { 1 };
    let mut sent = Reply::default();
    let mut messages = messages.into_iter().peekable();
    while messages.peek().is_some() {
        let messages = messages
            .by_ref()
            .take(step)
            .map(|message| outgoing(&connection.start.namespace, message))
            .collect();
        let entries = send_request(connection, SendMessageRequest { messages }).await?;
        for entry in entries {
            sent.ids.push(entry.message_id);
            sent.recall_handles.push(entry.recall_handle);
        }
    }
    Ok(sent)
}

pub(super) async fn recall(
    connection: &Connection,
    topic: &str,
    recall_handle: String,
) -> Result<Reply, Failure> {
    let request = RecallMessageRequest {
        topic: connection.resource(topic),
        recall_handle,
    };
    let request = connection.request(request, CALL_LIMIT);
    let response = connection.client.clone().recall_message(request).await;
    let response = response.map_err(broken)?.into_inner();
    expect_ok(response.status)?;
    Ok(Reply {
        ids: vec![response.message_id],
        ..Reply::default()
    })
}

/// Sends and returns one result for each message.
pub(super) async fn send_request(
    connection: &Connection,
    request: SendMessageRequest,
) -> Result<Vec<SendResultEntry>, Failure> {
    let sent = request.messages.len();
    let request = connection.request(request, CALL_LIMIT);
    let response = connection
        .client
        .clone()
        .send_message(request)
        .await
        .map_err(broken)?;
    let response = response.into_inner();
    expect_ok(response.status)?;
    if response.entries.len() != sent {
        return Err(Failure::local(
            "protocol",
            "not one result for each message",
        ));
    }
    for entry in &response.entries {
        expect_ok(entry.status.clone())?;
    }
    Ok(response.entries)
}

pub(super) async fn receive(
    connection: &Connection,
    max: u32,
    invisible_ms: u64,
) -> Result<Reply, Failure> {
    let start = &connection.start;
    let (topic, expression) = subscription(connection)?;
    let wait = Duration::from_millis(start.wait_ms);
    let request = ReceiveMessageRequest {
        group: group(connection),
        message_queue: Some(MessageQueue {
            topic: connection.resource(topic),
            id: -1,
            ..Default::default()
        }),
        filter_expression: Some(filter(expression)),
        batch_size: i32::try_from(max).unwrap_or(i32::MAX),
        invisible_duration: Some(duration(Duration::from_millis(invisible_ms))),
        auto_renew: false,
        long_polling_timeout: Some(duration(wait)),
        attempt_id: None,
    };
    receive_request(connection, request, wait).await
}

/// Receives, in a poll of at most `wait`.
pub(super) async fn receive_request(
    connection: &Connection,
    request: ReceiveMessageRequest,
    wait: Duration,
) -> Result<Reply, Failure> {
    let request = connection.request(request, wait + CALL_LIMIT);
    let response = connection
        .client
        .clone()
        .receive_message(request)
        .await
        .map_err(broken)?;
    let mut stream = response.into_inner();
    let mut parts = Vec::new();
    while let Some(part) = stream.message().await.map_err(broken)? {
        parts.push(part);
    }
    received(parts)
}

/// Takes the parts of a receive's answer apart: the status first, then messages, the time last.
fn received(parts: Vec<ReceiveMessageResponse>) -> Result<Reply, Failure> {
    let mut contents = parts.into_iter().filter_map(|part| part.content);
    let Some(Content::Status(status)) = contents.next() else {
        return Err(Failure::local(
            "protocol",
            "the answer does not begin with its status",
        ));
    };
    if !matches!(contents.next_back(), Some(Content::DeliveryTimestamp(_))) {
        return Err(Failure::local(
            "protocol",
            "the answer does not end with its delivery time",
        ));
    }
    let mut messages = Vec::new();
    for content in contents {
        let Content::Message(message) = content else {
            return Err(Failure::local(
                "protocol",
                "not a message between status and time",
            ));
        };
        messages.push(incoming(message)?);
    }
    match status.code() {
        Code::MessageNotFound if messages.is_empty() => {}
        // C++ takes it for an error.
        Code::Ok if messages.is_empty() => {
            return Err(Failure::local("protocol", "OK, and no message"));
        }
        _ => expect_ok(Some(status))?,
    }
    Ok(Reply {
        messages,
        ..Reply::default()
    })
}

pub(super) async fn ack(connection: &Connection, handles: Vec<String>) -> Result<Reply, Failure> {
    let (topic, _) = subscription(connection)?;
    let entries = handles
        .into_iter()
        .map(|receipt_handle| AckMessageEntry {
            receipt_handle,
            ..Default::default()
        })
        .collect();
    let request = AckMessageRequest {
        group: group(connection),
        topic: connection.resource(topic),
        entries,
    };
    let request = connection.request(request, CALL_LIMIT);
    let response = connection
        .client
        .clone()
        .ack_message(request)
        .await
        .map_err(broken)?;
    let response = response.into_inner();
    expect_ok(response.status)?;
    for entry in response.entries {
        expect_ok(entry.status)?;
    }
    Ok(Reply::default())
}

pub(super) async fn subscribe_lite(
    connection: &Connection,
    lite: String,
    on: bool,
) -> Result<Reply, Failure> {
    let (topic, _) = subscription(connection)?;
    let action = match on {
        true => LiteSubscriptionAction::PartialAdd,
        false => LiteSubscriptionAction::PartialRemove,
    };
    let request = SyncLiteSubscriptionRequest {
        action: action.into(),
        topic: connection.resource(topic),
        group: group(connection),
        lite_topic_set: vec![lite],
        ..Default::default()
    };
    let request = connection.request(request, CALL_LIMIT);
    let response = connection
        .client
        .clone()
        .sync_lite_subscription(request)
        .await;
    expect_ok(response.map_err(broken)?.into_inner().status)?;
    Ok(Reply::default())
}

pub(super) async fn change_invisible(
    connection: &Connection,
    handle: String,
    invisible_ms: u64,
    suspend: bool,
) -> Result<Reply, Failure> {
    let (topic, _) = subscription(connection)?;
    let request = ChangeInvisibleDurationRequest {
        group: group(connection),
        topic: connection.resource(topic),
        receipt_handle: handle,
        invisible_duration: Some(duration(Duration::from_millis(invisible_ms))),
        suspend: suspend.then_some(true),
        ..Default::default()
    };
    let request = connection.request(request, CALL_LIMIT);
    let response = connection
        .client
        .clone()
        .change_invisible_duration(request)
        .await;
    let response = response.map_err(broken)?.into_inner();
    expect_ok(response.status)?;
    Ok(Reply {
        handle: response.receipt_handle,
        ..Reply::default()
    })
}

pub(super) fn group(connection: &Connection) -> Option<Resource> {
    let group = &connection.start.group;
    (!group.is_empty())
        .then(|| connection.resource(group))
        .flatten()
}

pub(super) fn subscription(connection: &Connection) -> Result<(&str, &str), Failure> {
    let first = connection.start.subscriptions.first_key_value();
    let first = first.map(|(topic, tags)| (topic.as_str(), tags.as_str()));
    first.ok_or_else(|| Failure::local("driver", "this client subscribes to nothing"))
}

pub(super) fn filter(text: &str) -> FilterExpression {
    let (kind, expression) = match text.strip_prefix(SQL_MARK) {
        Some(sql) => (FilterType::Sql, sql),
        None => (FilterType::Tag, text),
    };
    FilterExpression {
        r#type: kind.into(),
        expression: expression.to_owned(),
    }
}

pub(super) fn expect_ok(status: Option<Status>) -> Result<(), Failure> {
    match status {
        Some(status) if status.code() == Code::Ok => Ok(()),
        Some(status) => Err(Failure {
            code: Some(status.code().as_str_name().to_owned()),
            message: status.message,
            class: "status".into(),
        }),
        None => Err(Failure::local("protocol", "the answer has no status")),
    }
}

/// A gRPC error: the protocol wants its own code in the answer instead.
pub(super) fn broken(status: tonic::Status) -> Failure {
    Failure::local("grpc", status.to_string())
}

fn duration(time: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        nanos: time.subsec_nanos().cast_signed(),
    }
}
