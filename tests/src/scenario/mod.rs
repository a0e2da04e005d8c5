//! The conformance scenarios, written once for every client library.

mod basics;
mod context;
mod cross;
mod delay;
mod fifo;
mod filters;
mod idle;
mod letters;
mod limits;
mod lite;
mod namespace;
mod outage;
mod polling;
mod priority;
mod push;
mod redelivery;
mod runner;
mod startup;
mod tls;
mod transaction;

use anyhow::Result;
use futures_util::future::BoxFuture;

pub use context::{Context, Stage};
use letters::{ORIGIN_LIMIT, origin_of};
pub use runner::{Cell, Outcome, run};

use crate::driver::Kind;

/// One scenario: what every client that can must be able to do with the broker.
pub struct Scenario {
    /// Its number, or a letter for what the numbered list leaves out.
    pub id: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// What it needs of a client.
    pub needs: Needs,
    /// The scenario itself.
    pub run: for<'a> fn(&'a Context) -> BoxFuture<'a, Result<()>>,
}

/// What a scenario needs of a client library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// What every client can.
    Basics,
    /// Changing the invisible time of a received message.
    ChangeInvisible,
    /// A push consumer.
    Push,
    /// Sending several messages in one request.
    Batch,
    /// Recalling a delayed message.
    Recall,
    /// Messages with a priority.
    Priority,
    /// A push consumer of lite topics.
    LitePush,
    /// A simple consumer of lite topics.
    LiteSimple,
    /// A namespace for its topics and groups.
    Namespace,
}

impl Needs {
    /// Why `kind` cannot run such a scenario, if so.
    pub fn missing_in(self, kind: Kind) -> Option<&'static str> {
        match (self, kind) {
            (Self::ChangeInvisible, Kind::Rust) => Some("no changeInvisibleDuration in it"),
            (Self::LitePush | Self::LiteSimple, Kind::Rust) => Some("no lite topics in it"),
            (Self::LiteSimple, Kind::Node) => Some("no simple consumer of lite topics in it"),
            (Self::Namespace, Kind::Rust) => Some("no namespace in it"),
            (Self::Recall, Kind::Rust) => Some("no recall in it"),
            (Self::Priority, Kind::Rust) => Some("no priority in its messages"),
            (Self::Push, Kind::Rust) => Some("no push consumer in it"),
            (Self::Batch, Kind::Python | Kind::Node) => Some("it sends one message a request"),
            _ => None,
        }
    }
}

/// Every scenario, in the order of the table.
pub const ALL: &[Scenario] = &[
    Scenario {
        id: "1",
        title: "producer starts, stops, and the broker forgets it",
        needs: Needs::Basics,
        run: |context| Box::pin(startup::start_and_stop(context)),
    },
    Scenario {
        id: "3",
        title: "100 messages sent, received, acknowledged, none left",
        needs: Needs::Basics,
        run: |context| Box::pin(basics::hundred(context)),
    },
    Scenario {
        id: "4",
        title: "tag, keys, properties, id, birth time and body survive",
        needs: Needs::Basics,
        run: |context| Box::pin(basics::round_trip(context)),
    },
    Scenario {
        id: "5",
        title: "tag filters, colliding tags, no tag",
        needs: Needs::Basics,
        run: |context| Box::pin(filters::tags(context)),
    },
    Scenario {
        id: "6",
        title: "SQL92 filters, unknown properties, a syntax error",
        needs: Needs::Basics,
        run: |context| Box::pin(filters::sql(context)),
    },
    Scenario {
        id: "7",
        title: "receive(50) brings at most 32, receive(1) one",
        needs: Needs::Basics,
        run: |context| Box::pin(polling::batch_sizes(context)),
    },
    Scenario {
        id: "8",
        title: "an empty long poll ends in time without an error",
        needs: Needs::Basics,
        run: |context| Box::pin(polling::empty_poll(context)),
    },
    Scenario {
        id: "9",
        title: "a message sent during a long poll arrives at once",
        needs: Needs::Basics,
        run: |context| Box::pin(polling::wakes_up(context)),
    },
    Scenario {
        id: "10",
        title: "an unacknowledged message comes back, attempt 2, 3",
        needs: Needs::Basics,
        run: |context| Box::pin(redelivery::comes_back(context)),
    },
    Scenario {
        id: "11",
        title: "acknowledged too late: refused and redelivered",
        needs: Needs::Basics,
        run: |context| Box::pin(redelivery::late_ack(context)),
    },
    Scenario {
        id: "12",
        title: "invisible time prolonged and shortened, new handle",
        needs: Needs::ChangeInvisible,
        run: |context| Box::pin(redelivery::change_invisible(context)),
    },
    Scenario {
        id: "13",
        title: "invisible time of 5 s and of 13 h refused",
        needs: Needs::Basics,
        run: |context| Box::pin(redelivery::illegal_invisible_time(context)),
    },
    Scenario {
        id: "15",
        title: "push: 200 messages once each",
        needs: Needs::Push,
        run: |context| Box::pin(push::two_hundred(context)),
    },
    Scenario {
        id: "16",
        title: "push: a failed message comes back after 1 s",
        needs: Needs::Push,
        run: |context| Box::pin(push::first_backoff(context)),
    },
    Scenario {
        id: "17",
        title: "after 3 attempts a message is a dead letter",
        needs: Needs::Basics,
        run: |context| Box::pin(redelivery::dead_letter(context)),
    },
    Scenario {
        id: "19",
        title: "FIFO: all clients to one queue, in order, held back",
        needs: Needs::Basics,
        run: |context| Box::pin(fifo::in_order(context)),
    },
    Scenario {
        id: "21",
        title: "FIFO push: tried again, then a dead letter, then the rest",
        needs: Needs::Push,
        run: |context| Box::pin(fifo::push(context)),
    },
    Scenario {
        id: "23",
        title: "delay: at its time, at once if past, not beyond 40 days",
        needs: Needs::Basics,
        run: |context| Box::pin(delay::in_time(context)),
    },
    Scenario {
        id: "25",
        title: "transaction: committed it comes, rolled back it does not",
        needs: Needs::Basics,
        run: |context| Box::pin(transaction::ended(context)),
    },
    Scenario {
        id: "26",
        title: "open transaction: the producer is asked, and commits",
        needs: Needs::Basics,
        run: |context| Box::pin(transaction::asked_about(context)),
    },
    Scenario {
        id: "28",
        title: "priority: of a backlog the higher comes first",
        needs: Needs::Priority,
        run: |context| Box::pin(priority::higher_first(context)),
    },
    Scenario {
        id: "29",
        title: "lite push: what is subscribed to, in order, and no more",
        needs: Needs::LitePush,
        run: |context| Box::pin(lite::push(context)),
    },
    Scenario {
        id: "30",
        title: "lite simple consumer, quotas, illegal names",
        needs: Needs::LiteSimple,
        run: |context| Box::pin(lite::simple(context)),
    },
    Scenario {
        id: "31",
        title: "body and property limits",
        needs: Needs::Basics,
        run: |context| Box::pin(limits::sizes(context)),
    },
    Scenario {
        id: "32",
        title: "illegal topic, tag, property key, control character",
        needs: Needs::Basics,
        run: |context| Box::pin(limits::illegal_names(context)),
    },
    Scenario {
        id: "33",
        title: "a FIFO message to a NORMAL topic is refused",
        needs: Needs::Basics,
        run: |context| Box::pin(limits::wrong_type(context)),
    },
    Scenario {
        id: "34",
        title: "a missing topic is reported soon",
        needs: Needs::Basics,
        run: |context| Box::pin(startup::missing_topic(context)),
    },
    Scenario {
        id: "36",
        title: "any credentials pass: no authentication, no UNAUTHORIZED",
        needs: Needs::Basics,
        run: |context| Box::pin(startup::any_credentials(context)),
    },
    Scenario {
        id: "37",
        title: "empty credentials where no credentials are asked for",
        needs: Needs::Basics,
        run: |context| Box::pin(startup::empty_credentials(context)),
    },
    Scenario {
        id: "38",
        title: "TLS and plain text at once on the same port",
        needs: Needs::Basics,
        run: |context| Box::pin(tls::beside_plain_text(context)),
    },
    Scenario {
        id: "39",
        title: "kill -9 under load: nothing lost, clients go on",
        needs: Needs::Basics,
        run: |context| Box::pin(outage::kill_under_load(context)),
    },
    Scenario {
        id: "42",
        title: "a namespace: topics, groups and dead letters of its own",
        needs: Needs::Namespace,
        run: |context| Box::pin(namespace::apart(context)),
    },
    Scenario {
        id: "45",
        title: "idle for 130 s: still known, telemetry open, goes on",
        needs: Needs::Basics,
        run: |context| Box::pin(idle::goes_on(context)),
    },
    Scenario {
        id: "b",
        title: "50 messages in one request, in order in one queue",
        needs: Needs::Batch,
        run: |context| Box::pin(basics::batch(context)),
    },
    Scenario {
        id: "r",
        title: "a delayed message that is recalled does not come",
        needs: Needs::Recall,
        run: |context| Box::pin(delay::recalled(context)),
    },
    Scenario {
        id: "x",
        title: "its messages are read by every other client",
        needs: Needs::Basics,
        run: |context| Box::pin(cross::read_by_others(context)),
    },
];
