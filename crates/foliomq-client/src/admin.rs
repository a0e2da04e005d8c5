//! Administration: topics, groups, and a look into topics without a group.

use std::time::Duration;

use foliomq_proto::v1;
use tonic::{Request, Response, Status, Streaming};

use crate::admin_types::{
    Broker, Group, GroupOrder, GroupStart, ResetTo, TailFrom, Topic, TopicKind, tailed,
};
use crate::client::{Administration, Connection, within};
use crate::error::Result;
use crate::headers::Headers;
use crate::message::StoredMessage;
use crate::search::{Found, Search, SearchKey};
use crate::topic_settings::TopicUpdate;

/// Creates, lists and changes topics and groups. Every call may fail with [`Error::Refused`](crate::Error::Refused)
/// ([`TopicNotFound`](crate::Code::TopicNotFound) or [`ConsumerGroupNotFound`](crate::Code::ConsumerGroupNotFound) for what is
/// not there) or [`Error::Transport`](crate::Error::Transport).
#[derive(Debug, Clone)]
pub struct Admin {
    connection: Connection,
    pub(crate) calls: Administration,
}

impl Admin {
    pub(crate) fn new(connection: Connection, headers: &Headers) -> Self {
        let calls = connection.administration(headers);
        Self { connection, calls }
    }

    /// Creates a topic; 0 queues stand for the broker's default. One that is there with the same queues and type is no error,
    /// with others it is [`PreconditionFailed`](crate::Code::PreconditionFailed).
    pub async fn create_topic(&self, topic: &str, queues: u32, kind: TopicKind) -> Result<Topic> {
        let settings = TopicUpdate {
            queues: Some(queues),
            kind: Some(kind),
            ..TopicUpdate::default()
        };
        self.create_topic_with(topic, settings).await
    }

    /// Creates a topic that has these settings from its first moment on; what is `None` is as for any topic. One that is
    /// there with the same settings, as far as they are given, is no error.
    pub async fn create_topic_with(&self, topic: &str, settings: TopicUpdate) -> Result<Topic> {
        let request = settings.to_creation(topic);
        self.answer(self.calls.clone().create_topic(short(request)).await)?
            .try_into()
    }

    /// Every topic, by name.
    pub async fn topics(&self) -> Result<Vec<Topic>> {
        let answer = self.answer(
            self.calls
                .clone()
                .list_topics(short(v1::ListTopicsRequest {}))
                .await,
        )?;
        answer.topics.into_iter().map(Topic::try_from).collect()
    }

    /// One topic.
    pub async fn topic(&self, topic: &str) -> Result<Topic> {
        let request = v1::DescribeTopicRequest {
            topic: topic.to_owned(),
        };
        self.answer(self.calls.clone().describe_topic(short(request)).await)?
            .try_into()
    }

    /// Changes a topic, at once and durably. A topic keeps the queues that it has.
    pub async fn update_topic(&self, topic: &str, update: TopicUpdate) -> Result<Topic> {
        let request = update.to_wire(topic);
        self.answer(self.calls.clone().update_topic(short(request)).await)?
            .try_into()
    }

    /// Deletes a topic with its messages.
    pub async fn delete_topic(&self, topic: &str) -> Result<()> {
        let request = v1::DeleteTopicRequest {
            topic: topic.to_owned(),
        };
        self.answer(self.calls.clone().delete_topic(short(request)).await)
            .map(drop)
    }

    /// Every group, by name.
    pub async fn groups(&self) -> Result<Vec<Group>> {
        let answer = self.answer(
            self.calls
                .clone()
                .list_groups(short(v1::ListGroupsRequest {}))
                .await,
        )?;
        Ok(answer.groups.into_iter().map(Group::from).collect())
    }

    /// One group.
    pub async fn group(&self, group: &str) -> Result<Group> {
        let request = v1::DescribeGroupRequest {
            group: group.to_owned(),
        };
        self.answer(self.calls.clone().describe_group(short(request)).await)
            .map(Group::from)
    }

    /// Sets how often a message of the group is delivered before it is a dead letter; creates the group if need be.
    pub async fn update_group(&self, group: &str, max_attempts: u32) -> Result<Group> {
        let request = v1::UpdateGroupRequest {
            group: group.to_owned(),
            max_attempts,
            ..v1::UpdateGroupRequest::default()
        };
        self.answer(self.calls.clone().update_group(short(request)).await)
            .map(Group::from)
    }

    /// Sets the pauses between the deliveries of a message, in seconds: one after the other, or, with a factor, the first
    /// and the longest. Creates the group if need be; its connected clients are told.
    pub async fn set_backoff(
        &self,
        group: &str,
        seconds: Vec<u32>,
        factor: Option<f32>,
    ) -> Result<Group> {
        let request = v1::UpdateGroupRequest {
            group: group.to_owned(),
            backoff: Some(v1::Backoff { seconds, factor }),
            ..v1::UpdateGroupRequest::default()
        };
        self.answer(self.calls.clone().update_group(short(request)).await)
            .map(Group::from)
    }

    /// Sets how the group is held to the order of messages; creates the group if need be.
    pub async fn order_group(&self, group: &str, order: GroupOrder) -> Result<Group> {
        let request = v1::UpdateGroupRequest {
            group: group.to_owned(),
            order: Some(v1::Order::from(order).into()),
            ..v1::UpdateGroupRequest::default()
        };
        self.answer(self.calls.clone().update_group(short(request)).await)
            .map(Group::from)
    }

    /// Sets where the group begins in topics that it has not read before, and the shortest and longest invisible time that
    /// its receives may ask for, in seconds from 1 to 43,200; creates the group if need be. `None` leaves it as it is.
    pub async fn set_group_rules(
        &self,
        group: &str,
        start: Option<GroupStart>,
        invisible: Option<(u32, u32)>,
    ) -> Result<Group> {
        let bounds = |(shortest, longest)| v1::InvisibleBounds { shortest, longest };
        let request = v1::UpdateGroupRequest {
            group: group.to_owned(),
            start: start.map(v1::Start::from),
            invisible: invisible.map(bounds),
            ..v1::UpdateGroupRequest::default()
        };
        self.answer(self.calls.clone().update_group(short(request)).await)
            .map(Group::from)
    }

    /// Moves a group within one topic; its deliveries and attempts there are forgotten.
    pub async fn reset_group(&self, group: &str, topic: &str, to: ResetTo) -> Result<Group> {
        let (group, topic) = (group.to_owned(), topic.to_owned());
        let request = v1::ResetGroupRequest {
            group,
            topic,
            to: Some(to.into()),
        };
        self.answer(self.calls.clone().reset_group(short(request)).await)
            .map(Group::from)
    }

    /// Forgets a group, or what it has of a topic: progress, deliveries and attempts; none of its clients may be connected. Its
    /// dead letters stay.
    pub async fn delete_group(&self, group: &str, topic: Option<&str>) -> Result<()> {
        let request = v1::DeleteGroupRequest {
            group: group.to_owned(),
            topic: topic.unwrap_or_default().to_owned(),
        };
        self.answer(self.calls.clone().delete_group(short(request)).await)
            .map(drop)
    }

    /// Gives a group up to `most` of its dead letters again (`None`: all). Returns how many it gets, and of how many the
    /// original is gone.
    pub async fn redrive_group(&self, group: &str, most: Option<u64>) -> Result<(u64, u64)> {
        let request = v1::RedriveGroupRequest {
            group: group.to_owned(),
            limit: most.unwrap_or(0),
        };
        let answer = self.answer(self.calls.clone().redrive_group(short(request)).await)?;
        Ok((answer.back, answer.kept))
    }

    /// A topic's messages in the order of each queue; with `follow` also those to come, otherwise up to what is there now.
    pub async fn tail(&self, topic: &str, from: TailFrom, follow: bool) -> Result<Tail> {
        let request = v1::TailRequest {
            topic: topic.to_owned(),
            from: Some(from.into()),
            follow,
        };
        let stream = self.answer(self.calls.clone().tail(request).await)?;
        Ok(Tail {
            connection: self.connection.clone(),
            stream,
        })
    }

    /// The messages with an id, at most 64. A sender that repeats itself may have stored several.
    pub async fn find_by_id(&self, topic: &str, id: &str) -> Result<Vec<StoredMessage>> {
        self.find(topic, SearchKey::Id(id.to_owned())).await
    }

    /// The messages with a key, at most 64.
    pub async fn find_by_key(&self, topic: &str, key: &str) -> Result<Vec<StoredMessage>> {
        self.find(topic, SearchKey::Key(key.to_owned())).await
    }

    /// A page of messages by id, key, queue and the time at which they were stored.
    pub async fn search(&self, search: Search) -> Result<Found> {
        let request = search.into_wire();
        Found::from_wire(self.answer(self.calls.clone().query_messages(short(request)).await)?)
    }

    /// The broker itself.
    pub async fn broker(&self) -> Result<Broker> {
        self.answer(
            self.calls
                .clone()
                .describe_broker(short(v1::DescribeBrokerRequest {}))
                .await,
        )
        .map(Broker::from)
    }

    async fn find(&self, topic: &str, key: SearchKey) -> Result<Vec<StoredMessage>> {
        let search = Search {
            topic: topic.to_owned(),
            key: Some(key),
            ..Search::default()
        };
        Ok(self.search(search).await?.messages)
    }

    pub(crate) fn answer<T>(&self, answer: std::result::Result<Response<T>, Status>) -> Result<T> {
        answer
            .map(Response::into_inner)
            .map_err(|status| self.connection.error(status))
    }
}

/// A topic's messages as they come; see [`Admin::tail`].
#[derive(Debug)]
pub struct Tail {
    connection: Connection,
    stream: Streaming<v1::TailedMessage>,
}

impl Tail {
    /// The next message; `None` at the end of a tail that does not follow.
    ///
    /// # Errors
    /// [`Error::Transport`](crate::Error::Transport) if the broker went away.
    pub async fn next(&mut self) -> Result<Option<StoredMessage>> {
        let next = self
            .stream
            .message()
            .await
            .map_err(|status| self.connection.error(status))?;
        next.map(tailed).transpose()
    }
}

fn short<T>(message: T) -> Request<T> {
    within(message, Duration::ZERO)
}
