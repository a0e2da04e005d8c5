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

fn answer(broker: &Arc<Broker>, caller: &Caller, settings: Settings, commands: &Commands) {
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
    if let Some(command) = settings::current(&broker, &client_id) {
        let _ = commands.try_send(Ok(command));
    }
}
