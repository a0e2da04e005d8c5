//! Redis Streams: XADD in a pipeline, XREAD.

use anyhow::{Result, bail};
use bytes::{BufMut, BytesMut};
use tokio::net::TcpStream;

use super::BODY;
use super::drive::{Drive, Driven, Protocol, ask, line, run};

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
    let mut reads = Read {
        stream: "read".to_owned(),
        after: 0,
        fetch,
        stored,
    };
    run(stream, drive, 2, server, &mut reads).await
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
