//! NATS JetStream: publish with acknowledgements, pull.

use anyhow::{Context, Result, bail};
use bytes::{BufMut, BytesMut};
use tokio::net::TcpStream;

use super::drive::{Drive, Driven, Protocol, ask, line, run};
use super::roundtrip::{self, Passing};
use super::{BODY, FETCH};

const CONNECT: &str = "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n";
/// Where answers go: each of two connections would get those of the other.
const IN: &str = "in";
const BACK: &str = "back";

struct Publish {
    left: u64,
    body: Vec<u8>,
}

/// Messages of a pull consumer, a batch at a time; each batch counts as a request for each of its messages.
struct Pull {
    batch: usize,
    /// Of the present batch, not yet asked for by the loop.
    rest: usize,
    /// Messages that were not asked for yet: a pull for more than there are would wait.
    left: u64,
    /// Acknowledgements that are not sent yet; `None`: none is wanted.
    acks: Option<BytesMut>,
}

/// A message a time, and a pull consumer that always has some more to come.
struct Pass {
    body: Vec<u8>,
    acks: BytesMut,
    /// Messages that were asked for and have not come.
    wanted: usize,
}

pub async fn publish(
    mut stream: TcpStream,
    drive: &Drive,
    window: usize,
    server: u32,
) -> Result<Driven> {
    let mut publish = Publish::new(u64::MAX);
    create(&mut stream, &mut publish).await?;
    run(stream, drive, window, server, &mut publish).await
}

pub async fn read(
    mut stream: TcpStream,
    drive: &Drive,
    fetch: usize,
    stored: u64,
    acknowledge: bool,
    server: u32,
) -> Result<Driven> {
    let mut publish = Publish::new(stored);
    create(&mut stream, &mut publish).await?;
    let peer = stream.peer_addr()?;
    let filling = Drive {
        warmup: std::time::Duration::ZERO,
        time: std::time::Duration::from_secs(120),
    };
    run(stream, &filling, 1024, server, &mut publish).await?;
    let mut stream = TcpStream::connect(peer).await?;
    stream.set_nodelay(true)?;
    consume(&mut stream, IN, acknowledge, &mut publish).await?;
    let mut pull = Pull {
        batch: fetch,
        rest: 0,
        left: stored,
        acks: acknowledge.then(BytesMut::new),
    };
    // All that is stored, once.
    let drive = &Drive {
        warmup: std::time::Duration::ZERO,
        ..*drive
    };
    run(stream, drive, 2 * fetch, server, &mut pull).await
}

pub async fn round_trip(
    mut stream: TcpStream,
    drive: &Drive,
    rate: f64,
    server: u32,
) -> Result<Driven> {
    let mut publish = Publish::new(u64::MAX);
    create(&mut stream, &mut publish).await?;
    let mut back = TcpStream::connect(stream.peer_addr()?).await?;
    back.set_nodelay(true)?;
    consume(&mut back, BACK, true, &mut publish).await?;
    let mut pass = Pass {
        body: publish.body,
        acks: BytesMut::new(),
        wanted: 0,
    };
    roundtrip::run((stream, back), drive, rate, server, &mut pass).await
}

/// A pull consumer of all that there is.
async fn consume(
    stream: &mut TcpStream,
    inbox: &str,
    acknowledge: bool,
    publish: &mut Publish,
) -> Result<()> {
    let policy = if acknowledge { "explicit" } else { "none" };
    let consumer = format!(
        r#"{{"stream_name":"bench","config":{{"durable_name":"c","deliver_policy":"all","ack_policy":"{policy}","max_ack_pending":100000}}}}"#
    );
    let create = call(inbox, "CONSUMER.DURABLE.CREATE.bench.c", &consumer);
    let request = format!("{}{create}", connect(inbox));
    ask(stream, request.as_bytes(), publish).await
}

/// A stream of its own, empty.
async fn create(stream: &mut TcpStream, publish: &mut Publish) -> Result<()> {
    let config = r#"{"name":"bench","subjects":["bench"],"storage":"file","num_replicas":1,"retention":"limits","discard":"old","max_bytes":2147483648}"#;
    let delete = format!("{}{}", connect(IN), call(IN, "STREAM.DELETE.bench", ""));
    // One that is not there is no failure.
    let _ = ask(stream, delete.as_bytes(), publish).await;
    ask(
        stream,
        call(IN, "STREAM.CREATE.bench", config).as_bytes(),
        publish,
    )
    .await
}

fn connect(inbox: &str) -> String {
    format!("{CONNECT}SUB {inbox}.* 1\r\n")
}

fn call(inbox: &str, method: &str, body: &str) -> String {
    format!(
        "PUB $JS.API.{method} {inbox}.0 {}\r\n{body}\r\n",
        body.len()
    )
}

impl Publish {
    fn new(messages: u64) -> Self {
        Self {
            left: messages,
            body: vec![b'x'; BODY],
        }
    }
}

impl Protocol for Publish {
    fn request(&mut self, out: &mut BytesMut) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        out.put_slice(format!("PUB bench in.1 {BODY}\r\n").as_bytes());
        out.put_slice(&self.body);
        out.put_slice(b"\r\n");
        true
    }

    fn answer(&mut self, bytes: &[u8]) -> Result<Option<(usize, u64)>> {
        let Some(Found { len, body, .. }) = message(bytes)? else {
            return Ok(None);
        };
        // An error to a deletion says that nothing was there.
        if contains(body, b"\"error\"") && !contains(body, b"stream not found") {
            bail!("nats refused: {}", String::from_utf8_lossy(body));
        }
        Ok(Some((len, 1)))
    }

    fn timed(&self) -> bool {
        true
    }
}

impl Protocol for Pull {
    fn request(&mut self, out: &mut BytesMut) -> bool {
        if let Some(acks) = &mut self.acks {
            out.put(acks.split());
        }
        if self.rest == 0 {
            self.rest = self.batch.min(self.left as usize);
            self.left -= self.rest as u64;
            if self.rest == 0 {
                return false;
            }
            let body = format!("{{\"batch\":{}}}", self.rest);
            out.put_slice(call(IN, "CONSUMER.MSG.NEXT.bench.c", &body).as_bytes());
        }
        self.rest -= 1;
        true
    }

    fn answer(&mut self, bytes: &[u8]) -> Result<Option<(usize, u64)>> {
        let Some(found) = message(bytes)? else {
            return Ok(None);
        };
        if let Some(acks) = &mut self.acks {
            acknowledge(found.reply, acks);
        }
        Ok(Some((found.len, 1)))
    }

    fn timed(&self) -> bool {
        false
    }
}

impl Passing for Pass {
    fn send(&mut self, out: &mut BytesMut) {
        out.put_slice(format!("PUB bench in.1 {BODY}\r\n").as_bytes());
        out.put_slice(&self.body);
        out.put_slice(b"\r\n");
    }

    fn sent(&mut self, bytes: &[u8]) -> Result<Option<usize>> {
        let found = message(bytes)?;
        if let Some(found) = found
            .as_ref()
            .filter(|found| contains(found.body, b"\"error\""))
        {
            bail!("nats refused: {}", String::from_utf8_lossy(found.body));
        }
        Ok(found.map(|found| found.len))
    }

    fn ask(&mut self, out: &mut BytesMut) {
        out.put(self.acks.split());
        if self.wanted < FETCH {
            self.wanted += FETCH;
            let body = format!("{{\"batch\":{FETCH}}}");
            out.put_slice(call(BACK, "CONSUMER.MSG.NEXT.bench.c", &body).as_bytes());
        }
    }

    fn came(&mut self, bytes: &[u8]) -> Result<Option<(usize, u64)>> {
        let Some(found) = message(bytes)? else {
            return Ok(None);
        };
        acknowledge(found.reply, &mut self.acks);
        self.wanted = self.wanted.saturating_sub(1);
        Ok(Some((found.len, 1)))
    }
}

fn acknowledge(reply: &[u8], out: &mut BytesMut) {
    out.put_slice(b"PUB ");
    out.put_slice(reply);
    out.put_slice(b" 4\r\n+ACK\r\n");
}

/// A message, with all that comes before it.
#[derive(Debug, PartialEq)]
struct Found<'a> {
    len: usize,
    /// The subject to which an acknowledgement goes; empty without one.
    reply: &'a [u8],
    body: &'a [u8],
}

/// The first message; `None` if it is not all there.
fn message(bytes: &[u8]) -> Result<Option<Found<'_>>> {
    let mut at = 0;
    loop {
        let Some((head, len)) = line(&bytes[at..]) else {
            return Ok(None);
        };
        at += len;
        if head.starts_with(b"MSG ") || head.starts_with(b"HMSG ") {
            let size = head.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
            let size: usize = std::str::from_utf8(size)?
                .parse()
                .context("the size of a message")?;
            let whole = at + size + 2;
            let words: Vec<&[u8]> = head.split(|byte| *byte == b' ').collect();
            let sizes = if head.starts_with(b"HMSG ") { 2 } else { 1 };
            let reply = match words.len() - sizes {
                4 => words[3],
                _ => &[],
            };
            return Ok((bytes.len() >= whole).then(|| Found {
                len: whole,
                reply,
                body: &bytes[at..at + size],
            }));
        }
        // PING needs an answer after minutes only; INFO, PONG and +OK need none.
        if head.starts_with(b"-ERR") {
            bail!("nats refused: {}", String::from_utf8_lossy(head));
        }
    }
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_behind_other_lines() {
        let found = |bytes| message(bytes).unwrap();
        let is = |len, reply, body| Some(Found { len, reply, body });
        let bytes: &[u8] = b"INFO {}\r\n+OK\r\nMSG in.1 1 5\r\nhello\r\nMSG";
        assert_eq!(found(bytes), is(bytes.len() - 3, b"", b"hello"));
        let asking: &[u8] = b"MSG bench 1 $JS.ACK.x 5\r\nhello\r\n";
        assert_eq!(found(asking), is(asking.len(), b"$JS.ACK.x", b"hello"));
        let headers: &[u8] = b"HMSG bench 1 $JS.ACK.x 2 7\r\nhhhello\r\n";
        assert_eq!(found(headers), is(headers.len(), b"$JS.ACK.x", b"hhhello"));
        for cut in 0..bytes.len() - 3 {
            assert_eq!(message(&bytes[..cut]).unwrap(), None, "{cut}");
        }
        assert!(message(b"-ERR 'no'\r\n").is_err());
    }
}
