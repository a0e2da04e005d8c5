//! Redis Streams: XADD in a pipeline, XREAD.

use std::collections::VecDeque;

use anyhow::{Result, bail};
use bytes::{BufMut, BytesMut};
use tokio::net::TcpStream;

use super::drive::{Drive, Driven, Protocol, ask, line, run};
use super::roundtrip::{self, Passing};
use super::{BODY, FETCH};

/// Entries are numbered by us, so that a reader knows the number that it goes on from.
struct Add {
    stream: String,
    next: u64,
    last: u64,
    body: Vec<u8>,
}

struct Read {
    stream: String,
    after: u64,
    fetch: usize,
    stored: u64,
}

/// A group's only consumer, so that it knows which entries come: it reads a batch, and acknowledges each once it is there.
struct ReadGroup {
    stream: String,
    after: u64,
    fetch: u64,
    stored: u64,
    /// Commands of each request that has no answer yet, and the entry before the first that it reads.
    asked: VecDeque<(usize, u64)>,
    /// Batches that have come, by the same.
    came: VecDeque<u64>,
}

/// An entry a time, and a consumer that waits for them.
struct Pass {
    add: Add,
    /// The last entry that came, and the last that is acknowledged.
    came: u64,
    acknowledged: u64,
    /// Answers that are still to come to the consumer; the last of them has entries.
    waiting: usize,
}

pub async fn publish(
    stream: TcpStream,
    drive: &Drive,
    window: usize,
    server: u32,
) -> Result<Driven> {
    let mut add = Add::new("publish", u64::MAX);
    let mut stream = stream;
    ask(&mut stream, &command(&["DEL", "publish"]), &mut add).await?;
    run(stream, drive, window, server, &mut add).await
}

pub async fn read(
    mut stream: TcpStream,
    drive: &Drive,
    fetch: usize,
    stored: u64,
    acknowledge: bool,
    server: u32,
) -> Result<Driven> {
    let mut add = Add::new("read", stored);
    ask(&mut stream, &command(&["DEL", "read"]), &mut add).await?;
    let peer = stream.peer_addr()?;
    let filling = Drive {
        warmup: std::time::Duration::ZERO,
        time: std::time::Duration::from_secs(120),
    };
    run(stream, &filling, 256, server, &mut add).await?;
    let stream = TcpStream::connect(peer).await?;
    stream.set_nodelay(true)?;
    if acknowledge {
        return consume(stream, drive, fetch as u64, stored, server).await;
    }
    let mut reads = Read {
        stream: "read".to_owned(),
        after: 0,
        fetch,
        stored,
    };
    run(stream, drive, 2, server, &mut reads).await
}

/// As a group, which acknowledges.
async fn consume(
    mut stream: TcpStream,
    drive: &Drive,
    fetch: u64,
    stored: u64,
    server: u32,
) -> Result<Driven> {
    let group = command(&["XGROUP", "CREATE", "read", "g", "0"]);
    ask(&mut stream, &group, &mut Add::new("read", stored)).await?;
    let mut reads = ReadGroup {
        stream: "read".to_owned(),
        after: 0,
        fetch,
        stored,
        asked: VecDeque::new(),
        came: VecDeque::new(),
    };
    run(stream, drive, 2, server, &mut reads).await
}

pub async fn round_trip(
    mut stream: TcpStream,
    drive: &Drive,
    rate: f64,
    server: u32,
) -> Result<Driven> {
    let mut add = Add::new("pass", u64::MAX);
    ask(&mut stream, &command(&["DEL", "pass"]), &mut add).await?;
    let group = command(&["XGROUP", "CREATE", "pass", "g", "0", "MKSTREAM"]);
    ask(&mut stream, &group, &mut add).await?;
    let back = TcpStream::connect(stream.peer_addr()?).await?;
    back.set_nodelay(true)?;
    let mut pass = Pass {
        add,
        came: 0,
        acknowledged: 0,
        waiting: 0,
    };
    roundtrip::run((stream, back), drive, rate, server, &mut pass).await
}

impl Add {
    fn new(stream: &str, last: u64) -> Self {
        Self {
            stream: stream.to_owned(),
            next: 1,
            last,
            body: vec![b'x'; BODY],
        }
    }
}

impl Protocol for Add {
    fn request(&mut self, out: &mut BytesMut) -> bool {
        if self.next > self.last {
            return false;
        }
        let id = format!("{}-0", self.next);
        self.next += 1;
        out.put_slice(
            format!(
                "*5\r\n$4\r\nXADD\r\n${}\r\n{}\r\n",
                self.stream.len(),
                self.stream
            )
            .as_bytes(),
        );
        out.put_slice(format!("${}\r\n{id}\r\n$1\r\nb\r\n${BODY}\r\n", id.len()).as_bytes());
        out.put_slice(&self.body);
        out.put_slice(b"\r\n");
        true
    }

    fn answer(&mut self, bytes: &[u8]) -> Result<Option<(usize, u64)>> {
        Ok(value(bytes)?.map(|len| (len, 1)))
    }

    fn timed(&self) -> bool {
        true
    }
}

impl Protocol for Read {
    fn request(&mut self, out: &mut BytesMut) -> bool {
        if self.after + self.fetch as u64 > self.stored {
            self.after = 0;
        }
        let fetch = self.fetch.to_string();
        let after = format!("{}-0", self.after);
        out.put_slice(&command(&[
            "XREAD",
            "COUNT",
            &fetch,
            "STREAMS",
            &self.stream,
            &after,
        ]));
        self.after += self.fetch as u64;
        true
    }

    fn answer(&mut self, bytes: &[u8]) -> Result<Option<(usize, u64)>> {
        Ok(value(bytes)?.map(|len| (len, self.fetch as u64)))
    }

    fn timed(&self) -> bool {
        false
    }
}

impl Protocol for ReadGroup {
    fn request(&mut self, out: &mut BytesMut) -> bool {
        let mut commands = 1;
        if let Some(after) = self.came.pop_front() {
            acknowledge(&self.stream, after + 1..=after + self.fetch, out);
            commands += 1;
        }
        if self.after + self.fetch > self.stored {
            self.after = 0;
            out.put_slice(&command(&["XGROUP", "SETID", &self.stream, "g", "0"]));
            commands += 1;
        }
        let fetch = self.fetch.to_string();
        let group = ["XREADGROUP", "GROUP", "g", "c", "COUNT", &fetch];
        let stream = ["STREAMS", &self.stream, ">"];
        out.put_slice(&command(&[&group[..], &stream].concat()));
        self.asked.push_back((commands, self.after));
        self.after += self.fetch;
        true
    }

    fn answer(&mut self, bytes: &[u8]) -> Result<Option<(usize, u64)>> {
        let Some(&(commands, after)) = self.asked.front() else {
            return Ok(None);
        };
        let mut len = 0;
        for _ in 0..commands {
            match value(&bytes[len..])? {
                Some(more) => len += more,
                None => return Ok(None),
            }
        }
        self.asked.pop_front();
        self.came.push_back(after);
        Ok(Some((len, self.fetch)))
    }

    fn timed(&self) -> bool {
        false
    }
}

impl Passing for Pass {
    fn send(&mut self, out: &mut BytesMut) {
        self.add.request(out);
    }

    fn sent(&mut self, bytes: &[u8]) -> Result<Option<usize>> {
        value(bytes)
    }

    fn ask(&mut self, out: &mut BytesMut) {
        if self.waiting > 0 {
            return;
        }
        if self.acknowledged < self.came {
            acknowledge("pass", self.acknowledged + 1..=self.came, out);
            self.acknowledged = self.came;
            self.waiting += 1;
        }
        let fetch = FETCH.to_string();
        out.put_slice(&command(&[
            "XREADGROUP",
            "GROUP",
            "g",
            "c",
            "COUNT",
            &fetch,
            "BLOCK",
            "0",
            "STREAMS",
            "pass",
            ">",
        ]));
        self.waiting += 1;
    }

    fn came(&mut self, bytes: &[u8]) -> Result<Option<(usize, u64)>> {
        let Some(len) = value(bytes)? else {
            return Ok(None);
        };
        self.waiting -= 1;
        if self.waiting > 0 {
            return Ok(Some((len, 0)));
        }
        let entries = entries(&bytes[..len])?;
        self.came += entries;
        Ok(Some((len, entries)))
    }
}

fn acknowledge(stream: &str, entries: std::ops::RangeInclusive<u64>, out: &mut BytesMut) {
    let ids: Vec<String> = entries.map(|entry| format!("{entry}-0")).collect();
    let ids = ids.iter().map(String::as_str);
    let words: Vec<&str> = ["XACK", stream, "g"].into_iter().chain(ids).collect();
    out.put_slice(&command(&words));
}

/// Entries in an answer to a read of one stream: `*1 *2 $4 pass *N`.
fn entries(bytes: &[u8]) -> Result<u64> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let count = lines.nth(4).and_then(|line| line.strip_prefix(b"*"));
    let Some(count) = count.and_then(|count| count.strip_suffix(b"\r")) else {
        bail!("an answer without entries")
    };
    Ok(std::str::from_utf8(count)?.parse()?)
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len());
    for word in words {
        out.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    out.into_bytes()
}

/// Bytes of the first whole value; `None` if it is not all there.
fn value(bytes: &[u8]) -> Result<Option<usize>> {
    let Some((head, mut len)) = line(bytes) else {
        return Ok(None);
    };
    let Some((&kind, rest)) = head.split_first() else {
        bail!("an empty line")
    };
    let number = || -> Result<i64> { Ok(std::str::from_utf8(rest)?.parse()?) };
    match kind {
        b'-' => bail!("redis refused: {}", String::from_utf8_lossy(rest)),
        b'+' | b':' => Ok(Some(len)),
        b'$' => {
            let Ok(size) = usize::try_from(number()?) else {
                return Ok(Some(len));
            };
            let whole = len + size + 2;
            Ok((bytes.len() >= whole).then_some(whole))
        }
        b'*' => {
            for _ in 0..number()?.max(0) {
                match value(&bytes[len..])? {
                    Some(more) => len += more,
                    None => return Ok(None),
                }
            }
            Ok(Some(len))
        }
        other => bail!("a value of an unknown kind: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_counted() {
        let answer = b"*1\r\n*2\r\n$4\r\npass\r\n*12\r\n*2\r\n$3\r\n1-0\r\n";
        assert_eq!(entries(answer).unwrap(), 12);
        assert!(entries(b"*-1\r\n").is_err());
    }

    #[test]
    fn values_end_where_they_end() {
        let nested = b"*2\r\n$3\r\nabc\r\n*1\r\n:7\r\nrest";
        assert_eq!(value(nested).unwrap(), Some(nested.len() - 4));
        for cut in 0..nested.len() - 4 {
            assert_eq!(value(&nested[..cut]).unwrap(), None, "{cut}");
        }
        assert_eq!(value(b"$-1\r\n").unwrap(), Some(5));
        assert!(value(b"-ERR no\r\n").is_err());
    }
}
