//! The telemetry stream: settings both ways, and commands to the client.

use std::sync::Arc;
use std::time::Duration;

use foliomq_proto::v2::{Settings, TelemetryCommand, telemetry_command::Command};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::broker::Broker;
use crate::caller::{Caller, Language};
use crate::clients::{Commands, MAX_SETTINGS};
use crate::requests::Requests;
use crate::settings;
use crate::status::grpc_status;

/// Commands that wait for a client to read them; more are dropped.
const QUEUE: usize = 64;
/// The Node.js client can miss the first settings when it has several topics: they come again after this long.
const REPEAT_AFTER: Duration = Duration::from_millis(500);

/// What goes to the client.
pub(crate) type Outgoing = ReceiverStream<Result<TelemetryCommand, Status>>;

/// Opens a stream. The response's headers leave at once: a client waits for them before it says anything.
pub(crate) fn open(
    broker: Arc<Broker>,
    caller: Caller,
    incoming: Requests<TelemetryCommand>,
) -> Outgoing {
    let (commands, outgoing) = mpsc::channel(QUEUE);
    broker.clients.connect(&caller, commands.clone());
    let tasks = broker.tasks.clone();
    tasks.spawn(async move {
        read(&broker, &caller, incoming, &commands).await;
        // The stream ends once nothing can be sent to it any more.
        broker.clients.disconnect(&caller.client_id, &commands);
    });
    ReceiverStream::new(outgoing)
}

async fn read(
    broker: &Arc<Broker>,
    caller: &Caller,
    mut incoming: Requests<TelemetryCommand>,
    commands: &Commands,
) {
    let mut stopping = broker.stopping.subscribe();
    loop {
        let command = tokio::select! {
            command = incoming.next() => command,
            () = commands.closed() => return,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        // The stream's end is not the client's: some live on without one.
        let Some(Ok(command)) = command else { return };
        broker.clients.saw(caller);
        match command.command {
            Some(Command::Settings(settings)) => answer(broker, caller, settings, commands),
            _ => broker.inquiries.answered(caller, command),
        }
    }
}

/// The client is known before its settings are read: who changes something of them later tells it.
fn answer(broker: &Arc<Broker>, caller: &Caller, settings: Settings, commands: &Commands) {
    let _turn = broker.clients.turn();
    broker.clients.declare(caller, &settings);
    let settings = match settings::complete(broker, caller, settings) {
        Ok(settings) => settings,
        Err(refusal) => {
            let _ = commands.try_send(Err(grpc_status(refusal)));
            return;
        }
    };
    let command = settings::command(settings);
    // What waits for a client that does not read is bounded in bytes, too.
    let is_small = command.encoded_len() <= MAX_SETTINGS;
    if is_small || commands.capacity() == QUEUE {
        // A client that does not read misses it, and asks again by itself.
        let _ = commands.try_send(Ok(command));
    }
    if caller.language == Language::Node && is_small {
        broker.clients.repeat_later(caller);
        let (id, commands) = (caller.client_id.clone(), commands.clone());
        broker.tasks.spawn(repeat(broker.clone(), id, commands));
    }
}

/// Says the settings again on the same stream, as they are by then: a topic or group may have changed.
async fn repeat(broker: Arc<Broker>, client_id: String, commands: Commands) {
    let mut stopping = broker.stopping.subscribe();
    tokio::select! {
        () = tokio::time::sleep(REPEAT_AFTER) => {}
        () = commands.closed() => return,
        _ = stopping.wait_for(|stop| *stop) => return,
    }
    settings::tell(&broker, &client_id, |command| {
        let _ = commands.try_send(Ok(command));
    });
}

#[cfg(test)]
mod tests {
    use std::thread::{self, JoinHandle};

    use foliomq_delivery::Order;
    use foliomq_proto::v2::{Resource, Subscription, SubscriptionEntry, settings::PubSub};
    use http::HeaderMap;

    use super::*;
    use crate::encode::tests::broker;

    fn caller() -> Caller {
        let mut headers = HeaderMap::new();
        headers.insert("x-mq-client-id", "c".parse().unwrap());
        Caller::new(&headers)
    }

    fn own() -> Settings {
        let group = Resource {
            name: "readers".to_owned(),
            ..Resource::default()
        };
        Settings {
            pub_sub: Some(PubSub::Subscription(Subscription {
                group: Some(group),
                ..Subscription::default()
            })),
            ..Settings::default()
        }
    }

    /// Attempts of the group, as the client is told one time after the other.
    fn told(outgoing: &mut mpsc::Receiver<Result<TelemetryCommand, Status>>) -> Vec<i32> {
        let mut attempts = Vec::new();
        while let Ok(command) = outgoing.try_recv() {
            let Some(Command::Settings(settings)) = command.unwrap().command else {
                panic!("no settings");
            };
            attempts.push(settings.backoff_policy.unwrap().max_attempts);
        }
        attempts
    }

    /// Time enough for one that nobody holds up to come to its end.
    fn let_run<T>(other: &JoinHandle<T>) {
        for _ in 0..100 {
            if other.is_finished() {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn settings_that_were_read_before_a_change_do_not_come_after_those_read_since() {
        let (_dir, broker) = broker();
        let (caller, (commands, mut outgoing)) = (caller(), mpsc::channel(QUEUE));
        broker.groups.update("readers", Some(3)).unwrap();
        broker.clients.connect(&caller, commands.clone());
        answer(&broker, &caller, own(), &commands);
        assert_eq!(told(&mut outgoing), [3]);
        let mut renewing = None;
        settings::tell(&broker, "c", |old| {
            broker.groups.update("readers", Some(5)).unwrap();
            let other = broker.clone();
            let renewed = thread::spawn(move || settings::renew(&other, "readers"));
            let_run(&renewed);
            renewing = Some(renewed);
            commands.try_send(Ok(old)).unwrap();
        });
        renewing.unwrap().join().unwrap();
        assert_eq!(told(&mut outgoing), [3, 5]);
    }

    #[test]
    fn a_client_that_comes_while_settings_change_is_told_the_new_ones_last() {
        let (_dir, broker) = broker();
        let (caller, (commands, mut outgoing)) = (caller(), mpsc::channel(QUEUE));
        broker.clients.connect(&caller, commands.clone());
        // Before it is known, nobody would tell it.
        broker.groups.update("readers", Some(3)).unwrap();
        settings::renew(&broker, "readers");
        let turn = broker.clients.turn();
        let (other, by) = (broker.clone(), caller.clone());
        let answering = thread::spawn(move || answer(&other, &by, own(), &commands));
        let_run(&answering);
        assert_eq!(told(&mut outgoing), [0; 0], "it is not its turn");
        broker.groups.update("readers", Some(5)).unwrap();
        drop(turn);
        settings::renew(&broker, "readers");
        answering.join().unwrap();
        let told = told(&mut outgoing);
        assert_eq!(told.last(), Some(&5), "{told:?}");
        assert!(!told.contains(&3), "{told:?}");
    }

    #[test]
    fn a_topic_that_is_not_there_yet_is_read_as_it_will_be() {
        let (_dir, broker) = broker();
        let (caller, (commands, mut outgoing)) = (caller(), mpsc::channel(QUEUE));
        let mut own = own();
        if let Some(PubSub::Subscription(subscription)) = &mut own.pub_sub {
            let topic = Some(crate::name::resource("later"));
            subscription.subscriptions.push(SubscriptionEntry {
                topic,
                ..SubscriptionEntry::default()
            });
        }
        for (order, expected) in [(Order::Auto, false), (Order::Queue, true)] {
            broker.groups.set_order("readers", order).unwrap();
            answer(&broker, &caller, own.clone(), &commands);
            let told = outgoing.try_recv().unwrap().unwrap().command;
            let Some(Command::Settings(Settings {
                pub_sub: Some(PubSub::Subscription(told)),
                ..
            })) = told
            else {
                panic!("{told:?}");
            };
            assert_eq!(told.fifo, Some(expected));
        }
    }
}
