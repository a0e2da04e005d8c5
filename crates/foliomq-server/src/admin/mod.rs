//! `foliomq.v1.Admin`: what the command line asks for.

mod segments;
mod tail;
mod words;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use foliomq_delivery::ResetTo;
use foliomq_proto::{v1, v2};
use foliomq_store::{Flush, StoreError, TopicOptions};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::broker::{Broker, Handles};
use crate::config::Encoding;
use crate::inquiry::Trial;
use crate::listing::Place;
use crate::messaging::caller;
use crate::properties::{timestamp, unix_ms, unix_ms_of};
use crate::status::{Refusal, grpc_status};
use crate::topic_settings::Update;
use crate::{connected, forget, inquiry, listing, rules, settings, topic_settings};

use segments::listed;
use tail::{TAIL_BATCH, Tail, tailed};
pub(crate) use words::topic_kind;
use words::{backoff_of, group, group_lite, order_of, topic_type};

/// Administration of a broker.
#[derive(Debug, Clone)]
pub(crate) struct Admin(pub(crate) Arc<Broker>);

impl Admin {
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Handles) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        self.0
            .blocking(work)
            .await
            .map(Response::new)
            .map_err(grpc_status)
    }
}

#[tonic::async_trait]
impl v1::admin_server::Admin for Admin {
    type TailStream = ReceiverStream<Result<v1::TailedMessage, Status>>;

    async fn create_topic(
        &self,
        request: Request<v1::CreateTopicRequest>,
    ) -> Result<Response<v1::Topic>, Status> {
        let request = request.into_inner();
        let given = request.settings.unwrap_or_default();
        topic_settings::check(Some(request.r#type), &given).map_err(grpc_status)?;
        let options = TopicOptions {
            queues: request.queues,
            kind: topic_kind(request.r#type()),
        };
        let created = self.work(move |handles| {
            let set = |settings: &mut _| topic_settings::apply(&given, settings);
            let created = handles
                .store
                .create_topic_with(&request.topic, options, set)?;
            describe_topic(handles, &created.name)
        });
        let created = created.await?;
        // Some read it already, and were told what holds of a topic that is not there.
        settings::renew_readers(&self.0, &created.get_ref().topic);
        Ok(created)
    }

    async fn list_topics(
        &self,
        _: Request<v1::ListTopicsRequest>,
    ) -> Result<Response<v1::ListTopicsResponse>, Status> {
        self.work(|handles| {
            let topics = handles.store.topics();
            // One that is deleted meanwhile is left out.
            let topics = topics
                .iter()
                .filter_map(|topic| describe_topic(handles, &topic.name).ok())
                .collect();
            Ok(v1::ListTopicsResponse { topics })
        })
        .await
    }

    async fn describe_topic(
        &self,
        request: Request<v1::DescribeTopicRequest>,
    ) -> Result<Response<v1::Topic>, Status> {
        self.work(move |handles| describe_topic(handles, &request.get_ref().topic))
            .await
    }

    async fn update_topic(
        &self,
        request: Request<v1::UpdateTopicRequest>,
    ) -> Result<Response<v1::Topic>, Status> {
        let update = Update::new(request.into_inner()).map_err(grpc_status)?;
        let changed = update.topic().to_owned();
        let answer = self
            .work(move |handles| {
                let change = |topic: &mut _| update.apply(topic);
                handles.groups.update_topic(update.topic(), change)?;
                describe_topic(handles, update.topic())
            })
            .await?;
        settings::renew_readers(&self.0, &changed);
        Ok(answer)
    }

    async fn delete_topic(
        &self,
        request: Request<v1::DeleteTopicRequest>,
    ) -> Result<Response<v1::DeleteTopicResponse>, Status> {
        self.work(move |handles| {
            handles.store.delete_topic(&request.get_ref().topic)?;
            Ok(v1::DeleteTopicResponse {})
        })
        .await
    }

    async fn list_groups(
        &self,
        _: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        self.work(|handles| {
            Ok(v1::ListGroupsResponse {
                groups: handles.groups.groups().into_iter().map(group).collect(),
            })
        })
        .await
    }

    async fn describe_group(
        &self,
        request: Request<v1::DescribeGroupRequest>,
    ) -> Result<Response<v1::Group>, Status> {
        self.work(move |handles| {
            let name = request.into_inner().group;
            let found = handles.groups.group(&name).map(group);
            let lite = handles.groups.lite_progress(&name).into_iter();
            let lite = lite.map(group_lite).collect();
            found
                .map(|found| v1::Group { lite, ..found })
                .ok_or_else(|| foliomq_delivery::DeliveryError::UnknownGroup { group: name }.into())
        })
        .await
    }

    async fn update_group(
        &self,
        request: Request<v1::UpdateGroupRequest>,
    ) -> Result<Response<v1::Group>, Status> {
        let v1::UpdateGroupRequest {
            group: name,
            max_attempts,
            backoff,
            order,
            start,
            invisible,
        } = request.into_inner();
        let changed = name.clone();
        let backoff = backoff.map(backoff_of).transpose().map_err(grpc_status)?;
        let order = order.map(order_of).transpose().map_err(grpc_status)?;
        let answer = self
            .work(move |handles| {
                if let Some(backoff) = backoff {
                    handles.groups.set_backoff(&name, backoff)?;
                }
                if let Some(order) = order {
                    handles.groups.set_order(&name, order)?;
                }
                if start.is_some() || invisible.is_some() {
                    handles.groups.set_rules(&name, |rules| {
                        rules.start = start.map_or(rules.start, rules::start_of);
                        if let Some(v1::InvisibleBounds { shortest, longest }) = invisible {
                            rules.invisible = shortest..=longest;
                        }
                    })?;
                }
                let attempts = Some(max_attempts).filter(|&attempts| attempts > 0);
                Ok(group(handles.groups.update(&name, attempts)?))
            })
            .await;
        // Also if a part of it was refused: what comes before that is in effect.
        settings::renew(&self.0, &changed);
        answer
    }

    async fn reset_group(
        &self,
        request: Request<v1::ResetGroupRequest>,
    ) -> Result<Response<v1::Group>, Status> {
        self.work(move |handles| {
            let v1::ResetGroupRequest {
                group: name,
                topic,
                to,
            } = request.into_inner();
            let to = match to {
                Some(v1::reset_group_request::To::Edge(edge))
                    if edge == v1::Edge::Latest as i32 =>
                {
                    ResetTo::Latest
                }
                Some(v1::reset_group_request::To::Time(time)) => ResetTo::Time(unix_ms_of(&time)),
                Some(v1::reset_group_request::To::Offset(offset)) => ResetTo::Offset(offset),
                Some(v1::reset_group_request::To::Edge(_)) | None => ResetTo::Earliest,
            };
            Ok(group(handles.groups.reset(&name, &topic, to, unix_ms())?))
        })
        .await
    }

    async fn delete_group(
        &self,
        request: Request<v1::DeleteGroupRequest>,
    ) -> Result<Response<v1::DeleteGroupResponse>, Status> {
        let v1::DeleteGroupRequest { group, topic } = request.into_inner();
        let topic = Some(topic).filter(|topic| !topic.is_empty());
        let forgotten = forget::group(&self.0, group, topic).await;
        forgotten.map_err(grpc_status)?;
        Ok(Response::new(v1::DeleteGroupResponse {}))
    }

    async fn redrive_group(
        &self,
        request: Request<v1::RedriveGroupRequest>,
    ) -> Result<Response<v1::RedriveGroupResponse>, Status> {
        let v1::RedriveGroupRequest { group, limit } = request.into_inner();
        let most = if limit == 0 { u64::MAX } else { limit };
        self.work(move |handles| {
            let redriven = handles.groups.redrive(&group, most, unix_ms())?;
            Ok(v1::RedriveGroupResponse {
                back: redriven.back,
                kept: redriven.kept,
            })
        })
        .await
    }

    async fn tail(
        &self,
        request: Request<v1::TailRequest>,
    ) -> Result<Response<Self::TailStream>, Status> {
        let request = request.into_inner();
        let topic = self.0.store.topic(&request.topic);
        let unknown = || StoreError::UnknownTopic {
            topic: request.topic.clone(),
        };
        let topic = topic.ok_or_else(|| grpc_status(unknown().into()))?;
        let (sender, receiver) = mpsc::channel(TAIL_BATCH);
        let tail = Tail {
            broker: self.0.clone(),
            topic: topic.name,
            queues: topic.queues,
            sender,
        };
        self.0.tasks.spawn(tail.run(request));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn query_messages(
        &self,
        request: Request<v1::QueryMessagesRequest>,
    ) -> Result<Response<v1::QueryMessagesResponse>, Status> {
        let query = words::query(request.into_inner()).map_err(grpc_status)?;
        self.work(move |handles| {
            let (found, next) = listing::find(handles, &query)?;
            Ok(v1::QueryMessagesResponse {
                messages: found.iter().map(tailed).collect(),
                next_page: next.map(Place::text).unwrap_or_default(),
            })
        })
        .await
    }

    async fn list_clients(
        &self,
        request: Request<v1::ListClientsRequest>,
    ) -> Result<Response<v1::ListClientsResponse>, Status> {
        let found = connected::list(&self.0.clients, request.get_ref());
        Ok(Response::new(found))
    }

    async fn describe_client(
        &self,
        request: Request<v1::DescribeClientRequest>,
    ) -> Result<Response<v1::Client>, Status> {
        let id = &request.get_ref().client_id;
        let found = connected::describe(&self.0.clients, id);
        let none = || Refusal::new(v2::Code::NotFound, format!("no client {id} is connected"));
        let found = found.ok_or_else(|| grpc_status(none()))?;
        Ok(Response::new(found))
    }

    async fn verify_message(
        &self,
        request: Request<v1::VerifyMessageRequest>,
    ) -> Result<Response<v1::VerifyMessageResponse>, Status> {
        let operator = caller(&request);
        let request = request.into_inner();
        let named = v2::Resource {
            name: request.topic.clone(),
            ..v2::Resource::default()
        };
        let trial = Trial {
            client_id: request.client_id,
            group: request.group,
            topic: request.topic,
            message_id: request.message_id,
        };
        let answer = inquiry::verify(&self.0, &operator, trial, named).await;
        let status = Some(answer.map_err(grpc_status)?);
        Ok(Response::new(v1::VerifyMessageResponse { status }))
    }

    async fn trace_client(
        &self,
        request: Request<v1::TraceClientRequest>,
    ) -> Result<Response<v1::TraceClientResponse>, Status> {
        let operator = caller(&request);
        let id = &request.get_ref().client_id;
        let answer = inquiry::stack_trace(&self.0, &operator, id).await;
        let (status, trace) = answer.map_err(grpc_status)?;
        let threads = trace.unwrap_or(status.message);
        Ok(Response::new(v1::TraceClientResponse { threads }))
    }

    async fn change_log(
        &self,
        request: Request<v1::ChangeLogRequest>,
    ) -> Result<Response<v1::ChangeLogResponse>, Status> {
        let log = self.0.log().map_err(grpc_status)?;
        let changed = log.change(&request.get_ref().filter);
        let (before, now) = changed.map_err(grpc_status)?;
        Ok(Response::new(v1::ChangeLogResponse { before, now }))
    }

    async fn list_segments(
        &self,
        request: Request<v1::ListSegmentsRequest>,
    ) -> Result<Response<v1::ListSegmentsResponse>, Status> {
        let request = request.into_inner();
        self.work(move |handles| listed(&handles.store, &request))
            .await
    }

    async fn describe_broker(
        &self,
        _: Request<v1::DescribeBrokerRequest>,
    ) -> Result<Response<v1::Broker>, Status> {
        let broker = &self.0;
        let marks = broker.store.watermarks();
        let bill = broker.store.preheat_bill();
        Ok(Response::new(v1::Broker {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            start: marks.start,
            appended: marks.appended,
            durable: marks.durable,
            committed: marks.committed,
            dispatched: marks.dispatched,
            segments: broker.store.segments().len() as u64,
            body_bytes_by_reference: broker.body_bytes_by_reference.load(Ordering::Relaxed),
            body_bytes_packed: broker.body_bytes_packed.load(Ordering::Relaxed),
            body_bytes_copied: broker.body_bytes_copied.load(Ordering::Relaxed),
            unread_bytes: broker.wire.unread(),
            pinned_bytes: broker.wire.pinned(),
            delayed_messages: broker.groups.waiting() as u64,
            open_transactions: broker.groups.transactions() as u64,
            connected_clients: broker.clients.count() as u64,
            start_time_unix_ms: broker.started,
            refusing: broker
                .store
                .refusing()
                .map(|error| error.to_string())
                .unwrap_or_default(),
            preheat: Some(v1::PreheatBill {
                microseconds: u64::try_from(bill.time.as_micros()).unwrap_or(u64::MAX),
                pages: bill.pages,
                faults_avoided: bill.avoided,
                faults_taken: bill.missed,
            }),
            bytes_written: bytes_written().unwrap_or_default(),
            bytes_appended: marks.appended.saturating_sub(broker.store.recovery().end),
            flush: match broker.store.options().flush {
                Flush::Sync => "sync",
                Flush::Async { .. } => "async",
            }
            .to_owned(),
            encoding: match broker.config.encoding {
                Encoding::Own => "own",
                Encoding::Tonic => "tonic",
            }
            .to_owned(),
        }))
    }
}

/// Bytes of pages that this process has dirtied, less what it took back before it was written; none without procfs.
pub(crate) fn bytes_written() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    Some(field("write_bytes:")?.saturating_sub(field("cancelled_write_bytes:")?))
}

fn describe_topic(handles: &Handles, name: &str) -> Result<v1::Topic, Refusal> {
    let store = &handles.store;
    let topic = store.topic(name).ok_or_else(|| StoreError::UnknownTopic {
        topic: name.to_owned(),
    })?;
    let queue = |id| -> Result<v1::Queue, Refusal> {
        let offsets = store.offsets(name, id)?;
        let mut last = Vec::new();
        if !offsets.is_empty() {
            store.entries(name, id, offsets.end - 1, 1, &mut last)?;
        }
        let last_store_time = last.first().map(|entry| timestamp(entry.store_time));
        Ok(v1::Queue {
            id,
            min_offset: offsets.start,
            max_offset: offsets.end,
            last_store_time,
        })
    };
    let queues = (0..topic.queues).map(queue).collect::<Result<_, _>>()?;
    Ok(v1::Topic {
        lite_topics: store.lite_count(name) as u64,
        topic: topic.name,
        r#type: topic_type(topic.kind).into(),
        queues,
        settings: Some(topic_settings::shown(&topic.settings)),
    })
}
