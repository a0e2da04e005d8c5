//! The calls that the load makes. The channel connects again by itself when the broker is back.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use foliomq_proto::v2::messaging_service_client::MessagingServiceClient;
use foliomq_proto::v2::receive_message_response::Content;
use foliomq_proto::v2::{
    AckMessageEntry, AckMessageRequest, AckMessageResultEntry, ChangeInvisibleDurationRequest,
    Code, Encoding, LiteSubscriptionAction, Message, MessageQueue, MessageType,
    ReceiveMessageRequest, Resource, SendMessageRequest, SendResultEntry,
    SyncLiteSubscriptionRequest, SystemProperties,
};
use tonic::transport::{Channel, Endpoint};

use crate::ledger::Item;

const CALL: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(500);
/// The shortest that is allowed: an answer that a crash swallowed holds up an ordered queue for so long.
const INVISIBLE: i64 = 10;
const BATCH: i32 = 16;

/// A client with one topic, which is also the name of its group.
#[derive(Clone)]
pub struct Client {
    /// The protocol.
    pub calls: MessagingServiceClient<Channel>,
    id: String,
    name: Resource,
}

impl Client {
    /// Connects when it is first used.
    ///
    /// # Errors
    /// If the address makes no sense.
    pub fn new(address: SocketAddr, id: String, name: &str) -> Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();
        let name = Resource {
            name: name.to_owned(),
            ..Resource::default()
        };
        Ok(Self {
            calls: MessagingServiceClient::new(channel),
            id,
            name,
        })
    }

    /// A request of this client, with a deadline.
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let id = self.id.parse().expect("ids are plain");
        request.metadata_mut().insert("x-mq-client-id", id);
        request.set_timeout(CALL);
        request
    }

    /// A plain message whose body names it.
    pub fn message(&self, (sender, number): Item) -> Message {
        Message {
            topic: Some(self.name.clone()),
            system_properties: Some(SystemProperties {
                message_id: format!("{sender:04X}{number:08X}"),
                body_encoding: Encoding::Identity.into(),
                message_type: MessageType::Normal.into(),
                born_timestamp: Some(SystemTime::now().into()),
                ..SystemProperties::default()
            }),
            body: format!("{sender}:{number}").into(),
            ..Message::default()
        }
    }

    /// Sends one message.
    ///
    /// # Errors
    /// If it may not be stored.
    pub async fn send(&self, message: Message) -> Result<SendResultEntry> {
        let messages = vec![message];
        let request = self.request(SendMessageRequest { messages });
        let response = self.calls.clone().send_message(request).await?.into_inner();
        let code = response.status.as_ref().map(|status| status.code());
        ensure!(code == Some(Code::Ok), "{:?}", response.status);
        response.entries.into_iter().next().context("no result")
    }

    /// One receive. Named as the one before it, it asks again for what that one did not get.
    ///
    /// # Errors
    /// If the broker is away.
    pub async fn receive(&self, attempt: &str) -> Result<Vec<Message>> {
        let request = ReceiveMessageRequest {
            group: Some(self.name.clone()),
            message_queue: Some(MessageQueue {
                topic: Some(self.name.clone()),
                id: -1,
                ..MessageQueue::default()
            }),
            batch_size: BATCH,
            attempt_id: Some(attempt.to_owned()),
            invisible_duration: Some(seconds(INVISIBLE)),
            long_polling_timeout: prost_types::Duration::try_from(POLL).ok(),
            ..ReceiveMessageRequest::default()
        };
        let request = self.request(request);
        let mut stream = self
            .calls
            .clone()
            .receive_message(request)
            .await?
            .into_inner();
        let mut messages = Vec::new();
        while let Some(part) = stream.message().await? {
            if let Some(Content::Message(message)) = part.content {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    /// Acknowledges, and returns what became of each handle.
    ///
    /// # Errors
    /// If the broker is away.
    pub async fn ack(&self, handles: &[String]) -> Result<Vec<AckMessageResultEntry>> {
        let entry = |handle: &String| AckMessageEntry {
            receipt_handle: handle.clone(),
            ..AckMessageEntry::default()
        };
        let request = AckMessageRequest {
            group: Some(self.name.clone()),
            topic: Some(self.name.clone()),
            entries: handles.iter().map(entry).collect(),
        };
        let response = self
            .calls
            .clone()
            .ack_message(self.request(request))
            .await?;
        Ok(response.into_inner().entries)
    }

    /// Subscribes to lite topics of the topic.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn subscribe_lite(&self, topics: Vec<String>) -> Result<()> {
        let request = SyncLiteSubscriptionRequest {
            action: LiteSubscriptionAction::PartialAdd.into(),
            topic: Some(self.name.clone()),
            group: Some(self.name.clone()),
            lite_topic_set: topics,
            ..SyncLiteSubscriptionRequest::default()
        };
        let request = self.request(request);
        let response = self.calls.clone().sync_lite_subscription(request).await?;
        let status = response.into_inner().status;
        let code = status.as_ref().map(|status| status.code());
        ensure!(code == Some(Code::Ok), "{status:?}");
        Ok(())
    }

    /// Gives a message back at once.
    ///
    /// # Errors
    /// If the broker is away.
    pub async fn give_back(&self, handle: &str) -> Result<()> {
        let request = ChangeInvisibleDurationRequest {
            group: Some(self.name.clone()),
            topic: Some(self.name.clone()),
            receipt_handle: handle.to_owned(),
            invisible_duration: Some(seconds(0)),
            ..ChangeInvisibleDurationRequest::default()
        };
        let request = self.request(request);
        self.calls
            .clone()
            .change_invisible_duration(request)
            .await?;
        Ok(())
    }
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}
