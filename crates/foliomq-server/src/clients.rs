//! The clients that are there, by client id.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use foliomq_proto::v2::settings::PubSub;
use foliomq_proto::v2::{Resource, Settings, TelemetryCommand};
use parking_lot::{Mutex, MutexGuard};
use prost::Message;
use tokio::sync::{mpsc, watch};
use tonic::Status;

use crate::caller::Caller;
use crate::properties::unix_ms;

/// A client that is silent for so long is gone. The slowest official heartbeat comes every 30 s.
pub(crate) const EXPIRY: Duration = Duration::from_secs(60);
/// Most clients that are remembered; a call of one more is served all the same.
const MAX_CLIENTS: usize = 100_000;

/// Largest settings of a client that are remembered, bytes, and of which more than one set may wait for it.
pub(crate) const MAX_SETTINGS: usize = 16 << 10;

/// Where commands to a client's telemetry stream go. Bounded, and written without waiting: some clients stop reading.
pub(crate) type Commands = mpsc::Sender<Result<TelemetryCommand, Status>>;

/// The registry of clients.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    clients: Mutex<HashMap<String, Client>>,
    /// Counts questions, so that the producers of a topic take turns.
    asked: AtomicUsize,
    /// For clients past the limit: never tells of an end.
    unknown: watch::Sender<u64>,
    /// Held while settings are read and on their way.
    telling: Mutex<()>,
}

#[derive(Debug)]
pub(crate) struct Client {
    /// When it first gave a sign of life, Unix milliseconds.
    pub(crate) since: u64,
    seen: Instant,
    /// Of its newest call, as the next three.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) language: &'static str,
    pub(crate) version: String,
    /// Its group, as its heartbeats or its streams name it.
    pub(crate) group: Option<String>,
    /// Its open streams of our own protocol.
    pub(crate) streams: u32,
    /// Counts up when the client says that it ends: its polls are to end.
    terminated: Arc<watch::Sender<u64>>,
    /// Of the newest telemetry stream.
    commands: Option<Commands>,
    /// Who it is, and its own settings, as it declared them last.
    declared: Option<Box<(Caller, Settings)>>,
    /// Its settings are to be sent again on the next heartbeat.
    repeat: bool,
}

impl Client {
    fn new() -> Self {
        Self {
            since: unix_ms(),
            seen: Instant::now(),
            peer: None,
            language: "",
            version: String::new(),
            group: None,
            streams: 0,
            terminated: Arc::new(watch::Sender::new(0)),
            commands: None,
            declared: None,
            repeat: false,
        }
    }

    fn saw(&mut self, caller: &Caller) {
        self.seen = Instant::now();
        self.peer = caller.peer.or(self.peer);
        self.language = caller.language_name;
        if self.version != caller.version {
            self.version.clone_from(&caller.version);
        }
    }

    /// When it last gave a sign of life, Unix milliseconds.
    pub(crate) fn last_seen(&self) -> u64 {
        let ago = u64::try_from(self.seen.elapsed().as_millis()).unwrap_or(u64::MAX);
        unix_ms().saturating_sub(ago)
    }

    /// Whether it can be asked something.
    pub(crate) fn has_telemetry(&self) -> bool {
        self.commands
            .as_ref()
            .is_some_and(|commands| !commands.is_closed())
    }

    /// Who it is, and its own settings, as it declared them last.
    pub(crate) fn declared(&self) -> Option<&(Caller, Settings)> {
        self.declared.as_deref()
    }

    /// The topic that the client publishes to, as it names it, if `named` knows it.
    fn topic(&self, named: impl Fn(&Resource, &Caller) -> bool) -> Option<&Resource> {
        let (caller, settings) = self.declared.as_deref()?;
        let Some(PubSub::Publishing(publishing)) = &settings.pub_sub else {
            return None;
        };
        publishing.topics.iter().find(|topic| named(topic, caller))
    }
}

impl Clients {
    /// Notes a sign of life.
    pub(crate) fn saw(&self, caller: &Caller) {
        self.with(caller, |_| ());
    }

    /// Tells of the client's end, from now on.
    pub(crate) fn watch(&self, caller: &Caller) -> watch::Receiver<u64> {
        self.with(caller, |client| client.terminated.subscribe())
            .unwrap_or_else(|| self.unknown.subscribe())
    }

    /// A stream of our own protocol begins, for a group if it names one.
    pub(crate) fn attach(&self, caller: &Caller, group: Option<&str>) {
        if !caller.has_id() {
            return;
        }
        self.with(caller, |client| {
            client.streams = client.streams.saturating_add(1);
            client.group = group.map(str::to_owned).or(client.group.take());
        });
    }

    /// A stream that was [attached](Self::attach) is over.
    pub(crate) fn detach(&self, client_id: &str) {
        if let Some(client) = self.clients.lock().get_mut(client_id) {
            client.streams = client.streams.saturating_sub(1);
            client.seen = Instant::now();
        }
    }

    /// Looks at a client.
    pub(crate) fn look<T>(&self, client_id: &str, look: impl FnOnce(&Client) -> T) -> Option<T> {
        self.clients.lock().get(client_id).map(look)
    }

    /// The first `most` of the clients that `wanted` takes, in the order of their ids, from behind `after` on.
    pub(crate) fn page<T>(
        &self,
        after: &str,
        most: usize,
        wanted: impl Fn(&Client) -> bool,
        look: impl Fn(&str, &Client) -> T,
    ) -> Vec<T> {
        let clients = self.clients.lock();
        let fits = |(id, client): &(&String, &Client)| id.as_str() > after && wanted(client);
        let mut found: Vec<_> = clients.iter().filter(fits).collect();
        if found.len() > most {
            found.select_nth_unstable_by_key(most, |(id, _)| *id);
            found.truncate(most);
        }
        found.sort_unstable_by_key(|(id, _)| *id);
        found
            .into_iter()
            .map(|(id, client)| look(id, client))
            .collect()
    }

    /// Makes this the client's telemetry stream.
    pub(crate) fn connect(&self, caller: &Caller, commands: Commands) {
        self.with(caller, |client| client.commands = Some(commands));
    }

    /// This telemetry stream is over; a newer one of the same client stays.
    pub(crate) fn disconnect(&self, client_id: &str, commands: &Commands) {
        if let Some(client) = self.clients.lock().get_mut(client_id) {
            client
                .commands
                .take_if(|newest| newest.same_channel(commands));
        }
    }

    /// Sends a command to the client of this id. False: its telemetry is not open, or it does not read. No sign of life.
    pub(crate) fn send_to(&self, client_id: &str, command: TelemetryCommand) -> bool {
        let clients = self.clients.lock();
        let client = clients.get(client_id);
        let commands = client.and_then(|client| client.commands.clone());
        drop(clients);
        commands.is_some_and(|commands| commands.try_send(Ok(command)).is_ok())
    }

    /// Lets one at a time tell a client its settings: from before they are read until they are sent. Otherwise one who read them
    /// before a change could send them after the one who read them since, and the old ones would hold.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.telling.lock()
    }

    /// Keeps what the client declares of itself, unless that is too large to be remembered.
    pub(crate) fn declare(&self, caller: &Caller, settings: &Settings) {
        let small = settings.encoded_len() <= MAX_SETTINGS;
        let declared = small.then(|| Box::new((caller.clone(), settings.clone())));
        self.with(caller, |client| client.declared = declared);
    }

    /// What the clients declared whose telemetry is open, as far as `wanted` takes it.
    pub(crate) fn declared(
        &self,
        mut wanted: impl FnMut(&Caller, &Settings) -> bool,
    ) -> Vec<(Caller, Settings)> {
        let clients = self.clients.lock();
        let open = clients.values().filter(|client| client.commands.is_some());
        let declared = open.filter_map(|client| client.declared());
        let wanted = declared.filter(|(own, settings)| wanted(own, settings));
        wanted.cloned().collect()
    }

    /// Sends a command to a producer that has declared a topic that `named` knows, and reads its telemetry; `false` if there is
    /// none. Each time another one, as far as there are several.
    pub(crate) fn ask(
        &self,
        named: impl Fn(&Resource, &Caller) -> bool,
        command: impl Fn(&Resource) -> TelemetryCommand,
    ) -> bool {
        let clients = self.clients.lock();
        let publishes = |client: &&Client| client.topic(&named).is_some();
        let producers: Vec<&Client> = clients.values().filter(publishes).collect();
        let first = self.asked.fetch_add(1, Ordering::Relaxed);
        let mut in_turn = (0..producers.len()).map(|n| producers[(first + n) % producers.len()]);
        in_turn.any(|client| {
            let found = client.topic(&named).zip(client.commands.as_ref());
            // A full or closed stream: somebody else, or later.
            found.is_some_and(|(topic, commands)| commands.try_send(Ok(command(topic))).is_ok())
        })
    }

    /// The client's settings are to be sent again on its next heartbeat.
    pub(crate) fn repeat_later(&self, caller: &Caller) {
        self.with(caller, |client| client.repeat = true);
    }

    /// A heartbeat. True: its settings are to be sent again with this one.
    pub(crate) fn heartbeat(&self, caller: &Caller, group: Option<String>) -> bool {
        let repeat = self.with(caller, |client| {
            client.group = group.or(client.group.take());
            std::mem::take(&mut client.repeat)
        });
        repeat.unwrap_or(false)
    }

    /// The client ends: its waiting receives return.
    pub(crate) fn terminate(&self, client_id: &str) {
        if let Some(client) = self.clients.lock().remove(client_id) {
            client.terminated.send_modify(|count| *count += 1);
        }
    }

    /// Whether the client gave a sign of life lately.
    pub(crate) fn is_alive(&self, client_id: &str) -> bool {
        self.clients
            .lock()
            .get(client_id)
            .is_some_and(|client| client.seen.elapsed() < EXPIRY)
    }

    /// Forgets those that are gone; telemetry or a stream that is still open keeps a client.
    pub(crate) fn expire(&self) {
        let open = |client: &Client| client.streams > 0 || client.has_telemetry();
        self.clients
            .lock()
            .retain(|_, client| client.seen.elapsed() < EXPIRY || open(client));
    }

    pub(crate) fn count(&self) -> usize {
        self.clients.lock().len()
    }

    fn with<T>(&self, caller: &Caller, change: impl FnOnce(&mut Client) -> T) -> Option<T> {
        let mut clients = self.clients.lock();
        let room = clients.len() < MAX_CLIENTS;
        // Most are known: their names are not copied.
        let client = match clients.get_mut(&caller.client_id) {
            Some(known) => known,
            None if room => clients
                .entry(caller.client_id.clone())
                .or_insert_with(Client::new),
            None => return None,
        };
        client.saw(caller);
        Some(change(client))
    }
}
