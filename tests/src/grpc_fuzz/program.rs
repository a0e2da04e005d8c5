//! A client by chance: calls one after the other, each made of what the ones before have brought.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};

use super::call::{Call, Connection, End, ask, connect, framed};
use super::judge;
use super::schema::{Method, Schema};
use super::words::Words;
use super::write::Writer;

/// Calls of one program.
const CALLS: usize = 24;
/// How long after its deadline, or after the longest poll, a call is said to hang. The machine may be busy.
const GRACE: Duration = Duration::from_secs(20);
/// The longest poll.
const LONGEST: Duration = Duration::from_secs(20);
/// Deadlines as a client may write them; of those without a duration, none is meant.
const DEADLINES: [(&str, Option<Duration>); 6] = [
    ("2S", Some(Duration::from_secs(2))),
    ("300m", Some(Duration::from_millis(300))),
    ("1n", None),
    ("99999999H", None),
    ("S", None),
    ("-1S", None),
];

/// Something that should not have happened.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The method's path.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// The call.
    pub call: String,
}

/// What programs have done, and left behind.
#[derive(Debug, Default)]
pub struct Tally {
    /// Calls that were made.
    pub calls: usize,
    /// Answers with the status OK of gRPC.
    pub answered: usize,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// The connections of programs that are over, with the requests that they hold open.
    pub left: Vec<Connection>,
}

/// Runs one program.
///
/// # Errors
/// If the broker takes no connection.
pub async fn run(schema: &Schema, address: SocketAddr, mut random: StdRng) -> Result<Tally> {
    let mut connection = connect(address).await?;
    let mut words = Words::default();
    let mut tally = Tally::default();
    let client = format!("c{}", random.random_range(0..4));
    for _ in 0..CALLS {
        let method = choose(schema, &mut random);
        let mut call = make(schema, method, &words, &client, &mut random);
        let garbage = random.random_bool(0.06);
        if garbage {
            damage(&mut call, &mut random);
        }
        tally.calls += 1;
        let what = match ask(&mut connection, &call).await {
            End::Abandoned => None,
            End::Hung => Some("no answer".to_owned()),
            End::Broken(_) if garbage => None,
            End::Broken(what) => Some(format!("the connection broke: {what}")),
            End::Answered(answer) if garbage => judge::fault_of_garbage(&answer),
            End::Answered(answer) => {
                tally.answered += usize::from(matches!(answer.grpc, Some((0, _))));
                for message in &answer.messages {
                    words.learn(schema, &method.output, message);
                }
                judge::fault(schema, method, &call, &answer)
            }
        };
        if connection.is_closed() {
            connection = connect(address).await?;
        }
        if let Some(what) = what {
            tally.findings.push(Finding {
                path: method.path.clone(),
                what,
                call: shown(&call),
            });
        }
    }
    tally.left.push(connection);
    Ok(tally)
}

/// What moves messages comes more often than the rest; what removes all that there is, rarely.
fn choose<'a>(schema: &'a Schema, random: &mut impl Rng) -> &'a Method {
    loop {
        let method = &schema.methods[random.random_range(0..schema.methods.len())];
        let weight = match method.path.rsplit('/').next() {
            Some("SendMessage" | "ReceiveMessage" | "AckMessage" | "Publish" | "Subscribe") => 1.0,
            Some("DeleteTopic" | "CreateTopic") => 0.05,
            _ => 0.4,
        };
        if random.random_bool(weight) {
            return method;
        }
    }
}

fn make(
    schema: &Schema,
    method: &Method,
    words: &Words,
    client: &str,
    random: &mut StdRng,
) -> Call {
    let count = match method.streams_in {
        true => random.random_range(0..6),
        false => 1,
    };
    let mut message = || framed(&Writer::new(schema, words, random).message(&method.input));
    let body = (0..count).map(|_| message()).collect();
    let (deadline, limit) = DEADLINES[[0, 0, 0, 1, 2, 3, 4, 5][random.random_range(0..8)]];
    let language = ["JAVA", "PYTHON", "HTTP", "RUST", "", "\t?"];
    let mut headers = vec![
        ("content-type", "application/grpc".to_owned()),
        ("grpc-timeout", deadline.to_owned()),
        (
            "x-mq-language",
            language[random.random_range(0..language.len())].to_owned(),
        ),
    ];
    if random.random_bool(0.97) {
        headers.push(("x-mq-client-id", client.to_owned()));
    }
    if random.random_bool(0.1) {
        let namespaces = ["", "n", "a b", "%"];
        let namespace = namespaces[random.random_range(0..namespaces.len())];
        headers.push(("x-mq-namespace", namespace.to_owned()));
        headers.push(("authorization", "MQv2-HMAC-SHA1 Credential=,".to_owned()));
    }
    Call {
        path: method.path.clone(),
        headers,
        body,
        held_open: method.streams_in && random.random_bool(0.5),
        endless: method.path.ends_with("/Tail") || method.path.ends_with("/Watch"),
        abandoned: random
            .random_bool(0.05)
            .then(|| Duration::from_millis(random.random_range(0..30))),
        limit: limit.unwrap_or(LONGEST) + GRACE,
    }
}

/// Makes something of a call that is no gRPC request, or none that the broker has.
fn damage(call: &mut Call, random: &mut StdRng) {
    call.held_open = false;
    let whole = call.body.concat();
    let mut bytes = whole.clone();
    match random.random_range(0..8) {
        0 => bytes.truncate(random.random_range(0..=whole.len())),
        1 => bytes.extend([0, 0xff, 0xff, 0xff, 0xff, 1]),
        2 => bytes = vec![1, 0, 0, 0, 2, 0x1f, 0x8b],
        3 => bytes.clear(),
        4 => call.path.push('x'),
        5 => call.headers[0].1 = "application/json".to_owned(),
        6 => {
            let mut noise = vec![0; random.random_range(1..200)];
            random.fill_bytes(&mut noise);
            bytes = framed(&noise).to_vec();
        }
        _ => {
            for _ in 0..random.random_range(1..5) {
                if !bytes.is_empty() {
                    let place = random.random_range(0..bytes.len());
                    bytes[place] = random.random();
                }
            }
        }
    }
    call.body = vec![Bytes::from(bytes)];
}

/// Enough of a call to make it again.
fn shown(call: &Call) -> String {
    const SHOWN: usize = 2048;
    let mut bytes = call.body.concat();
    let len = bytes.len();
    bytes.truncate(SHOWN);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let cut = if len > SHOWN { "..." } else { "" };
    format!(
        "{:?}{} body of {len} bytes {hex}{cut}",
        call.headers,
        if call.held_open { " held open," } else { "," },
    )
}
