//! `apache.rocketmq.v2.Admin`, as far as it means something for one process. What a group lags, who is connected, resets,
//! messages by id and key, a test message. The rest is refused with UNSUPPORTED and its reason.

use std::sync::Arc;

use foliomq_delivery::{DeliveryError, Group, GroupQueue, ResetTo};
use foliomq_proto::v2::{
    self, Code, Message, Resource, Status as Answer, SystemProperties,
    describe_group_accumulation_response::GroupAccumulation,
    describe_subscription_response::ClientSubscriptionInfo, list_message_request::SearchKey,
    settings::PubSub, telemetry_command::Command,
};
use foliomq_store::StoreError;
use tonic::{Request, Response, Status};

use crate::broker::Broker;
use crate::caller::Caller;
use crate::properties::{read_message, unix_ms, unix_ms_of};
use crate::send::{accepted_types, send};
use crate::settings::of_group;
use crate::status::{Refusal, ok};
use crate::time_span::time_spans;
use crate::{inquiry, name};

/// Most messages of one query.
const MAX_FOUND: usize = 64;

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

macro_rules! unsupported {
    ($response:ident, $what:expr) => {
        answered!($response, Err(Refusal::unsupported($what)))
    };
}

fn status(refusal: Refusal) -> Answer {
    refusal.status(crate::caller::Language::Other)
}

#[tonic::async_trait]
impl v2::admin_server::Admin for Admin {
    async fn change_log_level(
        &self,
        _: Request<v2::ChangeLogLevelRequest>,
    ) -> Result<Response<v2::ChangeLogLevelResponse>, Status> {
        // Its answer has no room for a code.
        Err(Status::unimplemented(
            "the log level is set when the broker starts",
        ))
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
        let found = self.subscriptions(&caller, request.group.as_ref(), request.topic.as_ref());
        answered!(
            ListSubscriptionResponse,
            found.map(|found| {
                let mut all = Vec::new();
                for (_, subscription) in found {
                    if !all.contains(&subscription) {
                        all.push(subscription);
                    }
                }
                v2::ListSubscriptionResponse {
                    status: Some(ok()),
                    subscription_info: all,
                }
            })
        )
    }

    async fn describe_subscription(
        &self,
        request: Request<v2::DescribeSubscriptionRequest>,
    ) -> Result<Response<v2::DescribeSubscriptionResponse>, Status> {
        let caller = Caller::new(request.metadata().as_ref());
        let request = request.into_inner();
        let found = self.subscriptions(&caller, request.group.as_ref(), request.topic.as_ref());
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
        _: Request<v2::DeleteSubscriptionRequest>,
    ) -> Result<Response<v2::DeleteSubscriptionResponse>, Status> {
        unsupported!(
            DeleteSubscriptionResponse,
            "subscriptions come with each receive, so that deleting them is"
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
        let request = request.into_inner();
        let answer = name::group(request.group.as_ref(), &caller).map(|group| {
            let declared = self.0.clients.declared().into_iter();
            let of =
                declared.filter(|(own, settings)| of_group(settings, own).as_ref() == Some(&group));
            v2::ListConsumerConnectionResponse {
                status: Some(ok()),
                client_info: of.map(|(own, settings)| client(&own, &settings)).collect(),
            }
        });
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
        _: Request<v2::GetConsumerRunningInfoRequest>,
    ) -> Result<Response<v2::GetConsumerRunningInfoResponse>, Status> {
        unsupported!(
            GetConsumerRunningInfoResponse,
            "the protocol has no command to ask a client how it runs, so that this is"
        )
    }

    async fn get_topic_route(
        &self,
        _: Request<v2::GetTopicRouteRequest>,
    ) -> Result<Response<v2::GetTopicRouteResponse>, Status> {
        unsupported!(GetTopicRouteResponse, "routes of the older protocol are")
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
            tags: [("queues".to_owned(), found.queues.to_string())].into(),
            ..Default::default()
        })
    }

    /// What the connected consumers declared that they subscribe to.
    fn subscriptions(
        &self,
        caller: &Caller,
        group: Option<&Resource>,
        topic: Option<&Resource>,
    ) -> Result<Vec<(v2::ClientInfo, v2::SubscriptionInfo)>, Refusal> {
        let group = group
            .map(|group| name::group(Some(group), caller))
            .transpose()?;
        let topic = topic
            .map(|topic| name::topic(Some(topic), caller))
            .transpose()?;
        let mut found = Vec::new();
        for (own, settings) in self.0.clients.declared() {
            let in_group = of_group(&settings, &own);
            let Some(PubSub::Subscription(subscription)) = &settings.pub_sub else {
                continue;
            };
            if group.is_some() && in_group != group {
                continue;
            }
            for entry in &subscription.subscriptions {
                if topic.is_some() && name::topic(entry.topic.as_ref(), &own).ok() != topic {
                    continue;
                }
                let info = v2::SubscriptionInfo {
                    group: subscription.group.clone(),
                    topic: entry.topic.clone(),
                    expression: entry.expression.clone(),
                    online: true,
                    message_model: v2::MessageModel::Clustering.into(),
                    ..Default::default()
                };
                found.push((client(&own, &settings), info));
            }
        }
        let mut seen: Vec<v2::SubscriptionInfo> =
            found.iter().map(|(_, info)| info.clone()).collect();
        seen.dedup();
        for (_, info) in &mut found {
            let same = |other: &v2::SubscriptionInfo| {
                (&other.group, &other.topic) != (&info.group, &info.topic)
                    || other.expression == info.expression
            };
            info.subscription_consistency = seen.iter().all(same);
        }
        Ok(found)
    }

    async fn accumulation(
        &self,
        caller: &Caller,
        request: &v2::DescribeGroupAccumulationRequest,
    ) -> Result<v2::DescribeGroupAccumulationResponse, Refusal> {
        if request.lite_topic.is_some() {
            return Err(Refusal::unsupported("lite topics are"));
        }
        let name = name::group(request.group.as_ref(), caller)?;
        let wanted = request
            .topics
            .iter()
            .map(|topic| name::topic(Some(topic), caller));
        let wanted = wanted.collect::<Result<Vec<_>, _>>()?;
        let work = move |handles: &crate::broker::Handles| {
            let found = handles.groups.group(&name);
            found.ok_or_else(|| DeliveryError::UnknownGroup { group: name }.into())
        };
        let Group { queues, .. } = self.0.blocking(work).await?;
        let of = |topic: &str| sum(queues.iter().filter(|queue| queue.topic == topic));
        Ok(v2::DescribeGroupAccumulationResponse {
            status: Some(ok()),
            accumulation: Some(sum(queues.iter())),
            topic_accumulation: wanted
                .iter()
                .map(|topic| (topic.clone(), of(topic)))
                .collect(),
            ..Default::default()
        })
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
        let work = move |handles: &crate::broker::Handles| {
            Ok(handles.groups.reset(&group, &topic, to, unix_ms())?)
        };
        self.0.blocking(work).await?;
        Ok(v2::ResetGroupOffsetResponse { status: Some(ok()) })
    }

    async fn messages(
        &self,
        caller: &Caller,
        request: v2::ListMessageRequest,
    ) -> Result<v2::ListMessageResponse, Refusal> {
        let topic = name::topic(request.topic.as_ref(), caller)?;
        let most = usize::try_from(request.max_message_nums).unwrap_or(0);
        let most = if most == 0 {
            MAX_FOUND
        } else {
            most.min(MAX_FOUND)
        };
        let key = request.search_key;
        let work = move |handles: &crate::broker::Handles| match key {
            Some(SearchKey::MessageId(id)) => Ok(handles.store.find_by_id(&topic, &id, most)?),
            Some(SearchKey::MessageKey(key)) => {
                Ok(handles.store.find_by_key(&topic, &key, most)?)
            }
            Some(_) => Err(Refusal::unsupported("searching but by id or key is")),
            None => Err(Refusal::new(
                Code::BadRequest,
                "a query names an id or a key",
            )),
        };
        let mut found = self.0.blocking(work).await?;
        let begin = request.begin_timestamp.as_ref().map_or(0, unix_ms_of);
        let end = request.end_timestamp.as_ref().map_or(u64::MAX, unix_ms_of);
        let queue = request.queue_id;
        found.retain(|message| {
            (begin..=end).contains(&message.store_time())
                && queue.is_none_or(|queue| i64::from(queue) == i64::from(message.queue_id()))
        });
        let named = request.topic.unwrap_or_default();
        let host = &self.0.store_host;
        let messages = found
            .iter()
            .map(|message| read_message(message, named.clone(), host));
        Ok(v2::ListMessageResponse {
            status: Some(ok()),
            messages: messages.collect(),
            scroll_id: String::new(),
        })
    }

    async fn stack_trace(
        &self,
        caller: &Caller,
        request: v2::PrintThreadStackTraceRequest,
    ) -> Result<v2::PrintThreadStackTraceResponse, Refusal> {
        let answer = inquiry::stack_trace(&self.0, caller, &request.client_id).await?;
        let trace = match answer.command {
            Some(Command::ThreadStackTrace(trace)) => trace.thread_stack_trace,
            _ => None,
        };
        Ok(v2::PrintThreadStackTraceResponse {
            status: Some(answer.status.unwrap_or_else(ok)),
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
        let in_group = self.0.clients.declared().iter().any(|(own, settings)| {
            own.client_id == request.client_id && of_group(settings, own).as_ref() == Some(&group)
        });
        if !in_group {
            let what = format!(
                "no client {} of group {group} is connected",
                request.client_id
            );
            return Err(Refusal::new(Code::NotFound, what));
        }
        let id = request.message_id;
        let work = move |handles: &crate::broker::Handles| {
            let found = handles.store.find_by_id(&topic, &id, 1)?;
            let none =
                || Refusal::new(Code::MessageNotFound, format!("no message {id} in {topic}"));
            found.into_iter().next().ok_or_else(none)
        };
        let found = self.0.blocking(work).await?;
        let named = request.topic.unwrap_or_default();
        let mut message = read_message(&found, named, &self.0.store_host);
        if let Some(system) = &mut message.system_properties {
            // Clients do not read a message without one.
            system.delivery_attempt = Some(1);
        }
        let answer = inquiry::verify(&self.0, caller, &request.client_id, message).await?;
        let status = Some(answer.status.unwrap_or_else(ok));
        Ok(v2::VerifyMessageResponse { status })
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
        let work = move |handles: &crate::broker::Handles| time_spans(handles, group, &topics);
        Ok(v2::QueryTimeSpanResponse {
            status: Some(ok()),
            queue_time_span_list: self.0.blocking(work).await?,
        })
    }

    /// Clients by what they declared; rates are not counted.
    fn runtime_stats(&self) -> v2::GetProxyRuntimeStatsResponse {
        let declared = self.0.clients.declared();
        let is_producer =
            |settings: &v2::Settings| matches!(settings.pub_sub, Some(PubSub::Publishing(_)));
        let producers = declared.iter().filter(|(_, own)| is_producer(own)).count();
        v2::GetProxyRuntimeStatsResponse {
            status: Some(ok()),
            proxy_name: "foliomq".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            connections: self.0.clients.count() as i64,
            producers: producers as i64,
            consumers: (declared.len() - producers) as i64,
            ..Default::default()
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

fn client(caller: &Caller, settings: &v2::Settings) -> v2::ClientInfo {
    let agent = settings.user_agent.clone().unwrap_or_default();
    v2::ClientInfo {
        client_id: caller.client_id.clone(),
        language: agent.language().as_str_name().to_owned(),
        version: agent.version,
        hostname: agent.hostname,
        message_model: v2::MessageModel::Clustering.into(),
        ..Default::default()
    }
}

fn sum<'a>(queues: impl Iterator<Item = &'a GroupQueue>) -> GroupAccumulation {
    queues.fold(GroupAccumulation::default(), |mut sum, queue| {
        let ready = queue.max_offset.saturating_sub(queue.next) as i64;
        sum.inflight_messages += queue.in_flight as i64;
        sum.ready_messages += ready;
        sum.accumulation += queue.in_flight as i64 + ready;
        sum
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
