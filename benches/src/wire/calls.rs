//! Single calls of the v2 API.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use foliomq_load::{Connection, frame};
use foliomq_proto::v2::{
    Code, Message, MessageQueue, ReceiveMessageRequest, ReceiveMessageResponse, Resource,
    SendMessageRequest, SendMessageResponse, SystemProperties, receive_message_response::Content,
};
use prost::Message as _;

const SERVICE: &str = "/apache.rocketmq.v2.MessagingService";

/// Waits at a topic for at most `most` messages; returns those that came.
pub async fn receive(
    connection: &Connection,
    topic: &str,
    most: i32,
    wait: Duration,
) -> Result<Vec<Message>> {
    let request = ReceiveMessageRequest {
        group: resource("waiters"),
        message_queue: Some(MessageQueue {
            topic: resource(topic),
            id: -1,
            ..MessageQueue::default()
        }),
        batch_size: most,
        invisible_duration: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
        long_polling_timeout: prost_types::Duration::try_from(wait).ok(),
        ..ReceiveMessageRequest::default()
    };
    let uri = connection.uri(&format!("{SERVICE}/ReceiveMessage"))?;
    let mut answer = connection.messages(&uri, frame(&request)).await?;
    let mut messages = Vec::new();
    while let Some(part) = answer.next().await? {
        if let Some(Content::Message(message)) = ReceiveMessageResponse::decode(part)?.content {
            messages.push(message);
        }
    }
    Ok(messages)
}

/// Sends one message.
pub async fn send(connection: &Connection, topic: &str, body: Vec<u8>) -> Result<()> {
    let message = Message {
        topic: resource(topic),
        system_properties: Some(SystemProperties {
            message_id: format!("01{:032X}", 1),
            ..SystemProperties::default()
        }),
        body: body.into(),
        ..Message::default()
    };
    let request = SendMessageRequest {
        messages: vec![message],
    };
    let uri = connection.uri(&format!("{SERVICE}/SendMessage"))?;
    let answer = connection.unary(&uri, frame(&request)).await?;
    let status = SendMessageResponse::decode(answer)?.status;
    let status = status.context("an answer without a status")?;
    ensure!(status.code() == Code::Ok, "a send is refused: {status:?}");
    Ok(())
}

fn resource(name: &str) -> Option<Resource> {
    Some(Resource {
        name: name.to_owned(),
        ..Resource::default()
    })
}
