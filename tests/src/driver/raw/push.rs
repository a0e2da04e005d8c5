//! A push consumer by hand: it does what the libraries' own do with the calls of the protocol.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use foliomq_proto::v2::retry_policy::Strategy;
use foliomq_proto::v2::settings::PubSub;
use foliomq_proto::v2::{
    ForwardMessageToDeadLetterQueueRequest, MessageQueue, QueryAssignmentRequest,
    ReceiveMessageRequest, Settings,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::calls::{
    ack, broken, change_invisible, expect_ok, filter, group, receive_request, subscription,
};
use super::connection::{CALL_LIMIT, Connection};
use super::message::endpoints;
use crate::driver::{Delivery, Failure, Received};

/// After a call that failed.
const PAUSE: Duration = Duration::from_millis(200);
/// For how long a lite message is put off.
const SUSPEND_MS: u64 = 1000;

/// One push consumer with its listener, which reports each message.
pub(super) struct Push {
    connection: Arc<Connection>,
    reports: mpsc::UnboundedSender<Delivery>,
    /// Pauses before the second delivery, the third, and so on.
    steps: Vec<Duration>,
    max_attempts: i64,
    fifo: bool,
    batch: i32,
    wait: Duration,
    /// The messages that the listener put off.
    suspended: Mutex<HashSet<String>>,
}

impl Push {
    /// As the broker's settings have it.
    pub fn new(
        connection: Arc<Connection>,
        settings: &Settings,
        reports: mpsc::UnboundedSender<Delivery>,
    ) -> Result<Self, Failure> {
        let lacking = || Failure::local("protocol", "settings lack what a push consumer needs");
        let Some(PubSub::Subscription(own)) = &settings.pub_sub else {
            return Err(lacking());
        };
        let policy = settings.backoff_policy.as_ref().ok_or_else(lacking)?;
        let Some(Strategy::CustomizedBackoff(backoff)) = &policy.strategy else {
            return Err(lacking());
        };
        let steps: Vec<Duration> = backoff.next.iter().map(known).collect();
        if steps.is_empty() || policy.max_attempts < 1 {
            return Err(lacking());
        }
        Ok(Self {
            connection,
            reports,
            steps,
            max_attempts: policy.max_attempts.into(),
            fifo: own.fifo(),
            batch: own.receive_batch_size(),
            wait: own
                .long_polling_timeout
                .as_ref()
                .map(known)
                .ok_or_else(lacking)?,
            suspended: Mutex::default(),
        })
    }

    /// Begins to receive; one task for each queue that the broker assigns.
    pub async fn start(self, tasks: &mut JoinSet<()>) -> Result<(), Failure> {
        let queues = self.assigned().await?;
        let push = Arc::new(self);
        for queue in queues {
            let push = push.clone();
            tasks.spawn(async move { push.receive(queue).await });
        }
        Ok(())
    }

    async fn assigned(&self) -> Result<Vec<MessageQueue>, Failure> {
        let connection = &self.connection;
        let (topic, _) = subscription(connection)?;
        let request = QueryAssignmentRequest {
            topic: connection.resource(topic),
            group: group(connection),
            endpoints: Some(endpoints(connection.address)),
        };
        let request = connection.request(request, CALL_LIMIT);
        let response = connection.client.clone().query_assignment(request).await;
        let response = response.map_err(broken)?.into_inner();
        expect_ok(response.status)?;
        let queues = response.assignments.into_iter();
        Ok(queues.filter_map(|one| one.message_queue).collect())
    }

    /// A call that failed is made again under the same attempt id: its answer may be lost.
    async fn receive(&self, queue: MessageQueue) {
        let mut number = 0;
        loop {
            let attempt = format!("{}-{}-{number}", self.connection.start.name, queue.id);
            match self.request(&queue, attempt).await {
                Ok(messages) => {
                    number += 1;
                    for message in messages {
                        self.consume(message).await;
                    }
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    async fn request(
        &self,
        queue: &MessageQueue,
        attempt: String,
    ) -> Result<Vec<Received>, Failure> {
        let (_, expression) = subscription(&self.connection)?;
        let request = ReceiveMessageRequest {
            group: group(&self.connection),
            message_queue: Some(queue.clone()),
            filter_expression: Some(filter(expression)),
            batch_size: self.batch,
            auto_renew: true,
            attempt_id: Some(attempt),
            ..Default::default()
        };
        let reply = receive_request(&self.connection, request, self.wait).await?;
        Ok(reply.messages)
    }

    async fn consume(&self, message: Received) {
        let done = match self.fifo && !self.connection.start.suspend_first {
            true => self.in_order(message).await,
            false => self.once(message).await,
        };
        if let Err(failure) = done {
            eprintln!("a delivery could not be settled: {failure}");
        }
    }

    /// Acknowledges a message, or gives it back for as long as the back-off says.
    async fn once(&self, message: Received) -> Result<(), Failure> {
        let (handle, attempt) = (message.handle.clone(), message.attempt);
        let suspend = self.suspends(&message);
        if !self.fails(message, suspend) {
            return ack(&self.connection, vec![handle]).await.map(drop);
        }
        let pause = match suspend {
            true => SUSPEND_MS,
            false => self.step(attempt).as_millis() as u64,
        };
        let given_back = change_invisible(&self.connection, handle, pause, suspend).await;
        given_back.map(drop)
    }

    /// Tries a message until it is done or its attempts are spent; what comes after it waits.
    async fn in_order(&self, mut message: Received) -> Result<(), Failure> {
        while self.fails(message.clone(), false) {
            if message.attempt >= self.max_attempts {
                return self.bury(message).await;
            }
            sleep(self.step(message.attempt)).await;
            message.attempt += 1;
        }
        ack(&self.connection, vec![message.handle]).await.map(drop)
    }

    /// Calls the listener, which reports.
    fn fails(&self, message: Received, suspend: bool) -> bool {
        let start = &self.connection.start;
        let only = start.fail_body.as_ref();
        let meant = only.is_none_or(|only| only.as_bytes() == message.body);
        let failed = suspend || meant && message.attempt <= i64::from(start.fail_attempts);
        let name = start.name.clone();
        // A scenario that has seen enough has dropped its end.
        let _ = self.reports.send(Delivery {
            message,
            name,
            failed,
        });
        failed
    }

    fn suspends(&self, message: &Received) -> bool {
        let mut seen = self.suspended.lock().expect("no panic holds the lock");
        self.connection.start.suspend_first && seen.insert(message.id.clone())
    }

    fn step(&self, attempt: i64) -> Duration {
        let index = usize::try_from(attempt - 1).unwrap_or(0);
        self.steps[index.min(self.steps.len() - 1)]
    }

    async fn bury(&self, message: Received) -> Result<(), Failure> {
        let connection = &self.connection;
        let request = ForwardMessageToDeadLetterQueueRequest {
            group: group(connection),
            topic: connection.resource(&message.topic),
            receipt_handle: message.handle,
            message_id: message.id,
            delivery_attempt: message.attempt as i32,
            max_delivery_attempts: self.max_attempts as i32,
            ..Default::default()
        };
        let request = connection.request(request, CALL_LIMIT);
        let mut client = connection.client.clone();
        let response = client.forward_message_to_dead_letter_queue(request).await;
        expect_ok(response.map_err(broken)?.into_inner().status)
    }
}

fn known(duration: &prost_types::Duration) -> Duration {
    Duration::try_from(*duration).unwrap_or_default()
}
