//! NATS JetStream: publish with acknowledgements, pull.

use anyhow::{Context, Result, bail};
use bytes::{BufMut, BytesMut};
use tokio::net::TcpStream;

use super::BODY;
use super::drive::{Drive, Driven, Protocol, ask, line, run};

const CONNECT: &str =
    "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nSUB in.* 1\r\n";

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
    let consumer = r#"{"stream_name":"bench","config":{"durable_name":"c","deliver_policy":"all","ack_policy":"none"}}"#;
    let request = format!(
        "{CONNECT}{}",
        call("CONSUMER.DURABLE.CREATE.bench.c", consumer)
    );
    ask(&mut stream, request.as_bytes(), &mut publish).await?;
    let mut pull = Pull {
        batch: fetch,
        rest: 0,
        left: stored,
    };
    // All that is stored, once.
    let drive = &Drive {
        warmup: std::time::Duration::ZERO,
        ..*drive
    };
    run(stream, drive, 2 * fetch, server, &mut pull).await
}

/// A stream of its own, empty.
async fn create(stream: &mut TcpStream, publish: &mut Publish) -> Result<()> {
    let config = r#"{"name":"bench","subjects":["bench"],"storage":"file","num_replicas":1,"retention":"limits","discard":"old","max_bytes":2147483648}"#;
    let delete = format!("{CONNECT}{}", call("STREAM.DELETE.bench", ""));
    // One that is not there is no failure.
    let _ = ask(stream, delete.as_bytes(), publish).await;
    ask(
        stream,
        call("STREAM.CREATE.bench", config).as_bytes(),
        publish,
    )
    .await
}

fn call(method: &str, body: &str) -> String {
    format!("PUB $JS.API.{method} in.0 {}\r\n{body}\r\n", body.len())
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
        let Some((len, body)) = message(bytes)? else {
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
        if self.rest == 0 {
            self.rest = self.batch.min(self.left as usize);
            self.left -= self.rest as u64;
            if self.rest == 0 {
                return false;
            }
            let body = format!("{{\"batch\":{}}}", self.rest);
            out.put_slice(call("CONSUMER.MSG.NEXT.bench.c", &body).as_bytes());
        }
        self.rest -= 1;
        true
    }

    fn answer(&mut self, bytes: &[u8]) -> Result<Option<(usize, u64)>> {
        Ok(message(bytes)?.map(|(len, _)| (len, 1)))
    }

    fn timed(&self) -> bool {
        false
    }
}

/// Bytes of the first message with all that comes before it, and its body; `None` if it is not all there.
fn message(bytes: &[u8]) -> Result<Option<(usize, &[u8])>> {
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
            return Ok((bytes.len() >= whole).then(|| (whole, &bytes[at..at + size])));
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
        let bytes = b"INFO {}\r\n+OK\r\nMSG in.1 1 5\r\nhello\r\nMSG";
        assert_eq!(
            message(bytes).unwrap(),
            Some((bytes.len() - 3, &b"hello"[..]))
        );
        for cut in 0..bytes.len() - 3 {
            assert_eq!(message(&bytes[..cut]).unwrap(), None, "{cut}");
        }
        assert!(message(b"-ERR 'no'\r\n").is_err());
    }
}
