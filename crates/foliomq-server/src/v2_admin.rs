//! `apache.rocketmq.v2.Admin`, as far as it means something for one process. What a group lags, who is connected, resets,
//! messages by id, key and time, a test message. What has no meaning here is refused with UNSUPPORTED and its reason.

use std::collections::HashMap;
use std::sync::Arc;

use foliomq_delivery::ResetTo;
use foliomq_proto::v2::{
    self, Code, Message, Status as Answer, SystemProperties,
    describe_subscription_response::ClientSubscriptionInfo, list_message_request::SearchKey,
    settings::PubSub,
};
use foliomq_store::{StoreError, Topic, lite_name};
use tonic::{Request, Response, Status};

use crate::broker::{Broker, Handles};
use crate::caller::Caller;
use crate::connected::client_info;
use crate::inquiry::Trial;
use crate::listing::{MAX_FOUND, Place, Query, Search};
use crate::properties::{read_message, unix_ms, unix_ms_of};
use crate::send::{accepted_types, send};
use crate::settings::of_group;
use crate::status::{Refusal, grpc_status, ok};
use crate::time_span::time_spans;
use crate::topic_settings::on_route;
use crate::{
    accumulation, connected, forget, inquiry, listing, log_control, name, route_data, subscribed,
};

/// The protocol's administration of a broker.
#[derive(Debug, Clone)]
pub(crate) struct Admin(pub(crate) Arc<Broker>);

/// The answer, or one that says why not.
macro_rules! answered {
    ($response:ident, $result:expr) => {
        Ok(Response::new($result.unwrap_or_else(|refusal: Refusal| {
            let mut response = v2::$response::default();
            response.status = Some(status(refusal));
            response
        })))
    };
}

fn status(refusal: Refusal) -> Answer {
    refusal.status(crate::caller::Language::Other)
}

#[tonic::async_trait]
impl v2::admin_server::Admin for Admin {
    async fn change_log_level(
        &self,
        request: Request<v2::ChangeLogLevelRequest>,
    ) -> Result<Response<v2::ChangeLogLevelResponse>, Status> {
        let remark = self.change_log(request.get_ref().level);
        // Its answer has no room for a code.
        let remark = remark.map_err(grpc_status)?;
        Ok(Response::new(v2::ChangeLogLevelResponse { remark }))
    }

    async fn describe_topic_status(
        &self,
        request: Request<v2::DescribeTopicStatusRequest>,
    ) -> Result<Response<v2::DescribeTopicStatusResponse>, Status> {
        answered!(DescribeTopicStatusResponse, self.topic_status(&request))
    }

    async fn list_subscription(
        &self,
        request: Request<v2::ListSubscriptionRequest>,
    ) -> Result<Response<v2::ListSubscriptionResponse>, Status> {
        let caller = Caller::new(request.metadata().as_ref());
        let request = request.into_inner();
        let (group, topic) = (request.group.as_ref(), request.topic.as_ref());
        let found = subscribed::find(&self.0, &caller, group, topic);
        answered!(
            ListSubscriptionResponse,
            found.map(|found| v2::ListSubscriptionResponse {
                status: Some(ok()),
                subscription_info: subscribed::distinct(found),
            })
        )
    }

    async fn describe_subscription(
        &self,
        request: Request<v2::DescribeSubscriptionRequest>,
    ) -> Result<Response<v2::DescribeSubscriptionResponse>, Status> {
        let caller = Caller::new(request.metadata().as_ref());
        let request = request.into_inner();
        let (group, topic) = (request.group.as_ref(), request.topic.as_ref());
        let found = subscribed::find(&self.0, &caller, group, topic);
        let info = |(client, subscription)| ClientSubscriptionInfo {
            client_info: Some(client),
            subscription_info: Some(subscription),
        };
        answered!(
            DescribeSubscriptionResponse,
            found.map(|found| v2::DescribeSubscriptionResponse {
                status: Some(ok()),
                client_subscription_info: found.into_iter().map(info).collect(),
            })
        )
    }

    async fn delete_subscription(
        &self,
        request: Request<v2::DeleteSubscriptionRequest>,
    ) -> Result<Response<v2::DeleteSubscriptionResponse>, Status> {
        let caller = Caller::new(request.metadata().as_ref());
        let deleted = self.delete(&caller, request.get_ref()).await;
        answered!(
            DeleteSubscriptionResponse,
            deleted.map(|()| v2::DeleteSubscriptionResponse { status: Some(ok()) })
        )
    }

    async fn describe_group_accumulation(
        &self,
        request: Request<v2::DescribeGroupAccumulationRequest>,
    ) -> Result<Response<v2::DescribeGroupAccumulationResponse>, Status> {
        let caller = Caller::new(request.metadata().as_ref());
        let answer = self.accumulation(&caller, request.get_ref()).await;
        answered!(DescribeGroupAccumulationResponse, answer)
    }

    async fn list_consumer_connection(
        &self,
        request: Request<v2::ListConsumerConnectionRequest>,
    ) -> Result<Response<v2::ListConsumerConnectionResponse>, Status> {
        let caller = Caller::new(request.metadata().as_ref());
        let answer = self.consumers(&caller, request.get_ref());
        answered!(ListConsumerConnectionResponse, answer)
    }

    async fn reset_group_offset(
        &self,
        request: Request<v2::ResetGroupOffsetRequest>,
    ) -> Result<Response<v2::ResetGroupOffsetResponse>, Status> {
        let caller = Caller::new(request.metadata().as_ref());
        answered!(
            ResetGroupOffsetResponse,
            self.reset(&caller, request.into_inner()).await
        )
    }

    async fn query_message(
        &self,
        request: Request<v2::ListMessageRequest>,
    ) -> Result<Response<v2::ListMessageResponse>, Status> {
        let caller = Caller::new(request.metadata().as_ref());
        answered!(
            ListMessageResponse,
            self.messages(&caller, request.into_inner()).await
        )
    }

    async fn print_thread_stack_trace(
        &self,
        request: Request<v2::PrintThreadStackTraceRequest>,
    ) -> Result<Response<v2::PrintThreadStackTraceResponse>, Status> {
        let caller = Caller::new(request.metadata().as_ref());
        let answer = self.stack_trace(&caller, request.into_inner()).await;
        answered!(PrintThreadStackTraceResponse, answer)
    }

    async fn verify_message(
        &self,
        request: Request<v2::VerifyMessageRequest>,
    ) -> Result<Response<v2::VerifyMessageResponse>, Status> {
        let caller = Caller::new(request.metadata().as_ref());
        let answer = self.verify(&caller, request.into_inner()).await;
        answered!(VerifyMessageResponse, answer)
    }

    async fn admin_send_message(
        &self,
        request: Request<v2::AdminSendMessageRequest>,
    ) -> Result<Response<v2::AdminSendMessageResponse>, Status> {
        let caller = Caller::new(request.metadata().as_ref());
        answered!(
            AdminSendMessageResponse,
            self.send(&caller, request.into_inner()).await
        )
    }

    async fn get_consumer_running_info(
        &self,
        request: Request<v2::GetConsumerRunningInfoRequest>,
    ) -> Result<Response<v2::GetConsumerRunningInfoResponse>, Status> {
        let caller = Caller::new(request.metadata().as_ref());
        let answer = self.running_info(&caller, request.get_ref());
        answered!(GetConsumerRunningInfoResponse, answer)
    }

    async fn get_topic_route(
        &self,
        request: Request<v2::GetTopicRouteRequest>,
    ) -> Result<Response<v2::GetTopicRouteResponse>, Status> {
        let caller = Caller::new(request.metadata().as_ref());
        let topic = name::topic(request.get_ref().topic.as_ref(), &caller);
        let route = topic.and_then(|topic| route_data::of_topic(&self.0, &topic));
        answered!(
            GetTopicRouteResponse,
            route.map(|topic_route_data| v2::GetTopicRouteResponse {
                status: Some(ok()),
                topic_route_data,
            })
        )
    }

    async fn query_time_span(
        &self,
        request: Request<v2::QueryTimeSpanRequest>,
    ) -> Result<Response<v2::QueryTimeSpanResponse>, Status> {
        let caller = Caller::new(request.metadata().as_ref());
        let answer = self.time_span(&caller, request.get_ref()).await;
        answered!(QueryTimeSpanResponse, answer)
    }

    async fn get_proxy_runtime_stats(
        &self,
        _: Request<v2::GetProxyRuntimeStatsRequest>,
    ) -> Result<Response<v2::GetProxyRuntimeStatsResponse>, Status> {
        answered!(GetProxyRuntimeStatsResponse, Ok(self.runtime_stats()))
    }
}

impl Admin {
    fn topic_status(
        &self,
        request: &Request<v2::DescribeTopicStatusRequest>,
    ) -> Result<v2::DescribeTopicStatusResponse, Refusal> {
        let caller = Caller::new(request.metadata().as_ref());
        let topic = name::topic(request.get_ref().topic.as_ref(), &caller)?;
        let unknown = || StoreError::UnknownTopic {
            topic: topic.clone(),
        };
        let found = self.0.store.topic(&topic).ok_or_else(unknown)?;
        let types = accepted_types(found.kind);
        Ok(v2::DescribeTopicStatusResponse {
            status: Some(ok()),
            // Of a topic that takes every type, none.
            topic_message_type: match types[..] {
                [only] => only.into(),
                _ => v2::MessageType::Unspecified.into(),
            },
            tags: tags(&found),
            ..Default::default()
        })
    }

    fn change_log(&self, level: i32) -> Result<String, Refusal> {
        use v2::change_log_level_request::Level;
        let level = Level::try_from(level)
            .map_err(|_| Refusal::new(Code::BadRequest, format!("{level} is no log level")))?;
        let filter = log_control::filter(&level.as_str_name().to_ascii_lowercase());
        let (before, now) = self.0.log()?.change(&filter)?;
        Ok(format!(
            "the log filter is {now} until the broker ends; it was {before}"
        ))
    }

    /// The consumers of a group whose telemetry is open; those of them that read a topic, or a lite topic of it.
    fn consumers(
        &self,
        caller: &Caller,
        request: &v2::ListConsumerConnectionRequest,
    ) -> Result<v2::ListConsumerConnectionResponse, Refusal> {
        let group = name::group(request.group.as_ref(), caller)?;
        let topic = request.topic.as_ref();
        let topic = topic.map(|topic| name::topic(Some(topic), caller));
        let topic = topic.transpose()?;
        let readers = match (&topic, &request.lite_topic) {
            (_, None) => None,
            (Some(topic), Some(lite)) => Some(self.0.groups.lite_readers(&group, topic, lite)),
            (None, Some(_)) => {
                let what = "a lite topic is named together with its topic";
                return Err(Refusal::new(Code::BadRequest, what));
            }
        };
        let declared = self.0.clients.declared(|own, settings| {
            of_group(settings, own).as_ref() == Some(&group)
                && match (&readers, &topic) {
                    (Some(readers), _) => readers.iter().any(|id| **id == own.client_id),
                    (None, Some(topic)) => reads(settings, own, topic),
                    (None, None) => true,
                }
        });
        let info =
            |(own, settings): &(Caller, v2::Settings)| client_info(&self.0.clients, own, settings);
        Ok(v2::ListConsumerConnectionResponse {
            status: Some(ok()),
            client_info: declared.iter().map(info).collect(),
        })
    }

    fn running_info(
        &self,
        caller: &Caller,
        request: &v2::GetConsumerRunningInfoRequest,
    ) -> Result<v2::GetConsumerRunningInfoResponse, Refusal> {
        let group = name::group(request.group.as_ref(), caller)?;
        let id = &request.client_id;
        let info = connected::running_info(&self.0.clients, id, &group);
        let info = info.ok_or_else(|| {
            let what = format!("no client {id} of group {group} is connected");
            Refusal::new(Code::NotFound, what)
        })?;
        Ok(v2::GetConsumerRunningInfoResponse {
            status: Some(ok()),
            consumer_running_info: Some(info),
        })
    }

    async fn accumulation(
        &self,
        caller: &Caller,
        request: &v2::DescribeGroupAccumulationRequest,
    ) -> Result<v2::DescribeGroupAccumulationResponse, Refusal> {
        let group = name::group(request.group.as_ref(), caller)?;
        let topics = request
            .topics
            .iter()
            .map(|topic| name::topic(Some(topic), caller));
        let topics = topics.collect::<Result<Vec<_>, _>>()?;
        let lite = request.lite_topic.clone();
        if lite.is_some() && topics.is_empty() {
            let what = "a lite topic is named together with its topic";
            return Err(Refusal::new(Code::BadRequest, what));
        }
        let work = move |handles: &Handles| {
            accumulation::describe(handles, &group, &topics, lite.as_deref())
        };
        self.0.blocking(work).await
    }

    /// A filter comes with each receive: whichever is named, it is what the group has of the topic that goes.
    async fn delete(
        &self,
        caller: &Caller,
        request: &v2::DeleteSubscriptionRequest,
    ) -> Result<(), Refusal> {
        let group = name::group(request.group.as_ref(), caller)?;
        let topic = name::topic(request.topic.as_ref(), caller)?;
        forget::group(&self.0, group, Some(topic)).await
    }

    async fn reset(
        &self,
        caller: &Caller,
        request: v2::ResetGroupOffsetRequest,
    ) -> Result<v2::ResetGroupOffsetResponse, Refusal> {
        let group = name::group(request.group.as_ref(), caller)?;
        let topic = name::topic(request.topic.as_ref(), caller)?;
        let time = request.reset_timestamp.as_ref().map(unix_ms_of);
        let time = time.ok_or_else(|| Refusal::new(Code::BadRequest, "a reset names a time"))?;
        let to = ResetTo::Time(time);
        let work =
            move |handles: &Handles| Ok(handles.groups.reset(&group, &topic, to, unix_ms())?);
        self.0.blocking(work).await?;
        Ok(v2::ResetGroupOffsetResponse { status: Some(ok()) })
    }

    async fn messages(
        &self,
        caller: &Caller,
        request: v2::ListMessageRequest,
    ) -> Result<v2::ListMessageResponse, Refusal> {
        let query = query(&request, caller)?;
        let (found, next) = self
            .0
            .blocking(move |handles| listing::find(handles, &query))
            .await?;
        let named = request.topic.unwrap_or_default();
        let host = &self.0.store_host;
        let messages = found
            .iter()
            .map(|message| read_message(message, named.clone(), host));
        Ok(v2::ListMessageResponse {
            status: Some(ok()),
            messages: messages.collect(),
            scroll_id: next.map(Place::text).unwrap_or_default(),
        })
    }

    async fn stack_trace(
        &self,
        caller: &Caller,
        request: v2::PrintThreadStackTraceRequest,
    ) -> Result<v2::PrintThreadStackTraceResponse, Refusal> {
        let (status, trace) = inquiry::stack_trace(&self.0, caller, &request.client_id).await?;
        Ok(v2::PrintThreadStackTraceResponse {
            status: Some(status),
            thread_stack_trace: trace,
        })
    }

    async fn verify(
        &self,
        caller: &Caller,
        request: v2::VerifyMessageRequest,
    ) -> Result<v2::VerifyMessageResponse, Refusal> {
        let group = name::group(request.group.as_ref(), caller)?;
        let topic = name::topic(request.topic.as_ref(), caller)?;
        let trial = Trial {
            client_id: request.client_id,
            group,
            topic,
            message_id: request.message_id,
        };
        let named = request.topic.unwrap_or_default();
        let answer = inquiry::verify(&self.0, caller, trial, named).await?;
        Ok(v2::VerifyMessageResponse {
            status: Some(answer),
        })
    }

    async fn time_span(
        &self,
        caller: &Caller,
        request: &v2::QueryTimeSpanRequest,
    ) -> Result<v2::QueryTimeSpanResponse, Refusal> {
        let group = name::group(request.group.as_ref(), caller)?;
        let topics = request
            .topics
            .iter()
            .map(|topic| name::topic(Some(topic), caller));
        let topics = topics.collect::<Result<Vec<_>, _>>()?;
        let work = move |handles: &Handles| time_spans(handles, group, &topics);
        Ok(v2::QueryTimeSpanResponse {
            status: Some(ok()),
            queue_time_span_list: self.0.blocking(work).await?,
        })
    }

    /// Clients by what they declared.
    fn runtime_stats(&self) -> v2::GetProxyRuntimeStatsResponse {
        let (mut producers, mut consumers) = (0, 0);
        self.0.clients.declared(|_, settings| {
            match settings.pub_sub {
                Some(PubSub::Publishing(_)) => producers += 1,
                _ => consumers += 1,
            }
            false
        });
        let (since, now) = (self.0.started, unix_ms());
        v2::GetProxyRuntimeStatsResponse {
            status: Some(ok()),
            proxy_name: "foliomq".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            in_tps: self.0.sent.per_second(since, now),
            out_tps: self.0.delivered.per_second(since, now),
            connections: self.0.clients.count() as i64,
            producers,
            consumers,
        }
    }

    async fn send(
        &self,
        caller: &Caller,
        request: v2::AdminSendMessageRequest,
    ) -> Result<v2::AdminSendMessageResponse, Refusal> {
        let mut system: SystemProperties = request.system_properties.unwrap_or_default();
        system.tag = request.tag.or(system.tag);
        system.keys.extend(request.key);
        if system.message_id.is_empty() {
            system.message_id = new_id();
        }
        let message = Message {
            topic: request.topic,
            user_properties: request.user_properties,
            system_properties: Some(system),
            body: request.body.into(),
        };
        let request = v2::SendMessageRequest {
            messages: vec![message],
        };
        let sent = send(&self.0, caller, request).await?;
        let entry = sent.entries.into_iter().next().unwrap_or_default();
        Ok(v2::AdminSendMessageResponse {
            status: sent.status,
            message_id: entry.message_id,
        })
    }
}

/// What of a topic the protocol has no field for.
fn tags(topic: &Topic) -> HashMap<String, String> {
    let permission = on_route(topic.settings.permission).as_str_name();
    let tags = [
        ("queues", topic.queues.to_string()),
        ("permission", permission.to_owned()),
    ];
    tags.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Whether the consumer declares that it reads the topic.
fn reads(settings: &v2::Settings, own: &Caller, topic: &str) -> bool {
    let Some(PubSub::Subscription(subscription)) = &settings.pub_sub else {
        return false;
    };
    let mut entries = subscription.subscriptions.iter();
    entries.any(|entry| name::topic(entry.topic.as_ref(), own).as_deref() == Ok(topic))
}

fn query(request: &v2::ListMessageRequest, caller: &Caller) -> Result<Query, Refusal> {
    let mut topic = name::topic(request.topic.as_ref(), caller)?;
    let bad = |what: &str| Refusal::new(Code::BadRequest, what);
    let from = match request.scroll_id.as_deref() {
        None | Some("") => None,
        Some(text) => Some(Place::parse(text)?),
    };
    let search = match &request.search_key {
        Some(SearchKey::MessageId(id)) => Search::Id(id.clone()),
        Some(SearchKey::MessageKey(key)) => Search::Key(key.clone()),
        Some(SearchKey::LiteTopic(lite)) => {
            topic = lite_name(&topic, lite);
            Search::All(from)
        }
        Some(SearchKey::Subscription(_)) => {
            return Err(Refusal::unsupported(
                "messages have no subscription; its group is asked by DescribeGroupAccumulation, and a search by id, key or time: \
                 searching by subscription is",
            ));
        }
        None => Search::All(from),
    };
    let queue = request.queue_id.map(u32::try_from).transpose();
    let most = match (request.max_message_nums, request.page_size.unwrap_or(0)) {
        (0, 0) => MAX_FOUND as i32,
        (0, most) | (most, 0) => most,
        (most, page) => most.min(page),
    };
    let begin = request.begin_timestamp.as_ref().map_or(0, unix_ms_of);
    let end = request.end_timestamp.as_ref().map_or(u64::MAX, unix_ms_of);
    let most = usize::try_from(most).map_err(|_| bad("a count is not below 0"))?;
    let before = u64::try_from(request.page_num.unwrap_or(1).max(1) - 1).unwrap_or(0);
    Ok(Query {
        topic,
        search,
        queue: queue.map_err(|_| bad("a queue's number is not below 0"))?,
        times: begin..=end,
        most,
        skip: before * most.clamp(1, MAX_FOUND) as u64,
    })
}

/// An id in the clients' own form: version 1, `FOLIOQ` for a hardware address, process, time, count.
fn new_id() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let process = std::process::id() as u16;
    let (time, count) = (unix_ms() / 1000, COUNT.fetch_add(1, Ordering::Relaxed));
    format!("01464F4C494F51{process:04X}{:08X}{count:08X}", time as u32)
}
