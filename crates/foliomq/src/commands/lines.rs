//! A file, line by line, into a topic.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use foliomq_client::{Error, Message, Producer};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::sync::mpsc;

use super::send::STDIN;
use crate::output::Output;
use crate::units::about;

/// A longer line is an error, not a body: it bounds what is held in memory.
const LONGEST_LINE: u64 = 64 << 20;
/// One call carries at most so many messages, and no more once it has so many bytes.
const BATCH_MESSAGES: usize = 500;
const BATCH_BYTES: usize = 1 << 20;
/// Lines that are read ahead of the sender.
const READ_AHEAD: usize = 2 * BATCH_MESSAGES;

/// A line without its line feed.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    /// Counted from 1.
    number: u64,
    text: Bytes,
}

/// What was sent so far.
#[derive(Debug, Default)]
struct Sent {
    messages: u64,
    bytes: u64,
    blank: u64,
}

/// Sends each line as a message like `template`. One batch is on its way at a time, so lines keep their order within a
/// queue; a batch is whatever has been read meanwhile, so a slow input is sent without delay.
pub async fn send(
    path: &Path,
    producer: &Producer,
    template: &Message,
    out: Output,
) -> anyhow::Result<()> {
    let (input, length) = open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (to_sender, mut lines) = mpsc::channel(READ_AHEAD);
    // A thread of its own: a read of a terminal cannot be cancelled, and nobody has to wait for it at the end.
    std::thread::spawn(move || {
        read(input, LONGEST_LINE, |line| {
            to_sender.blocking_send(line).is_ok()
        })
    });
    let progress = progress_bar(length);
    let (begin, mut sent) = (Instant::now(), Sent::default());
    let result = send_all(&mut lines, producer, template, &mut sent, &progress).await;
    progress.finish_and_clear();
    match result {
        Ok(()) => print(&sent, begin.elapsed(), out),
        Err(error) => Err(error.context(format!("stopped after {} messages", sent.messages))),
    }
}

async fn send_all(
    lines: &mut mpsc::Receiver<io::Result<Line>>,
    producer: &Producer,
    template: &Message,
    sent: &mut Sent,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    while let Some(first) = lines.recv().await {
        let (batch, broken) = gather(first, lines);
        let bytes: u64 = batch.iter().map(|line| line.text.len() as u64 + 1).sum();
        let blank = batch.iter().filter(|line| line.text.is_empty()).count() as u64;
        let batch: Vec<Line> = batch
            .into_iter()
            .filter(|line| !line.text.is_empty())
            .collect();
        send_batch(&batch, producer, template, sent).await?;
        sent.blank += blank;
        progress.inc(bytes);
        if let Some(error) = broken {
            return Err(error.into());
        }
    }
    Ok(())
}

/// The first line and those that are there already, as many as one call takes; and the error that ended them, if any.
fn gather(
    first: io::Result<Line>,
    lines: &mut mpsc::Receiver<io::Result<Line>>,
) -> (Vec<Line>, Option<io::Error>) {
    let (mut batch, mut bytes, mut next) = (Vec::new(), 0, Some(first));
    while let Some(line) = next {
        match line {
            Ok(line) => {
                bytes += line.text.len();
                batch.push(line);
            }
            Err(error) => return (batch, Some(error)),
        }
        let full = batch.len() >= BATCH_MESSAGES || bytes >= BATCH_BYTES;
        next = if full { None } else { lines.try_recv().ok() };
    }
    (batch, None)
}

/// A batch that is refused is stored in no part; line by line then, so that the error names the line.
async fn send_batch(
    batch: &[Line],
    producer: &Producer,
    template: &Message,
    sent: &mut Sent,
) -> anyhow::Result<()> {
    let message = |line: &Line| Message {
        body: line.text.clone(),
        ..template.clone()
    };
    match producer.send_batch(batch.iter().map(message)).await {
        Ok(_) => {
            batch.iter().for_each(|line| sent.count(line));
            return Ok(());
        }
        Err(Error::Refused { .. } | Error::RefusedMessage { .. }) => {}
        Err(error) => return Err(anyhow::Error::new(error).context(in_doubt(batch))),
    }
    for line in batch {
        producer
            .send(message(line))
            .await
            .with_context(|| format!("line {}", line.number))?;
        sent.count(line);
    }
    Ok(())
}

impl Sent {
    fn count(&mut self, line: &Line) {
        self.messages += 1;
        self.bytes += line.text.len() as u64;
    }
}

/// No answer: the lines of this call may be stored or not.
fn in_doubt(batch: &[Line]) -> String {
    match (batch.first(), batch.last()) {
        (Some(first), Some(last)) if first != last => {
            format!("lines {} to {} are in doubt", first.number, last.number)
        }
        (Some(only), _) => format!("line {} is in doubt", only.number),
        _ => String::new(),
    }
}

fn open(path: &Path) -> io::Result<(Box<dyn Read + Send>, Option<u64>)> {
    if path.as_os_str() == STDIN {
        return Ok((Box::new(io::stdin()), None));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let length = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(file), length))
}

/// Hands out lines until the end, an error (its last item), or until nobody takes them.
fn read(input: impl Read, longest: u64, mut take: impl FnMut(io::Result<Line>) -> bool) {
    let mut input = BufReader::with_capacity(1 << 18, input);
    for number in 1.. {
        let next = read_line(&mut input, number, longest).transpose();
        let Some(line) = next else { return };
        let is_last = line.is_err();
        if !take(line) || is_last {
            return;
        }
    }
}

fn read_line(input: &mut impl BufRead, number: u64, longest: u64) -> io::Result<Option<Line>> {
    let mut text = Vec::new();
    let read = input.take(longest + 1).read_until(b'\n', &mut text)?;
    if read == 0 {
        return Ok(None);
    }
    if text.last() == Some(&b'\n') {
        text.pop();
    } else if read as u64 > longest {
        let reason = format!("line {number} has more than {longest} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(Some(Line {
        number,
        text: text.into(),
    }))
}

/// On standard error, and only where that is a terminal.
fn progress_bar(length: Option<u64>) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => (
            ProgressBar::new(length),
            "{bar:40} {percent}%  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {bytes}  {bytes_per_sec}",
        ),
    };
    let style = ProgressStyle::with_template(template);
    style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
}

fn print(sent: &Sent, elapsed: Duration, mut out: Output) -> anyhow::Result<()> {
    let seconds = elapsed.as_secs_f64();
    let rate = sent.messages as f64 / seconds.max(f64::EPSILON);
    if out.is_json() {
        out.json(&json!({
            "messages": sent.messages, "bytes": sent.bytes, "blank_lines": sent.blank, "seconds": seconds,
            "messages_per_second": rate,
        }))?;
    } else {
        let blank = match sent.blank {
            0 => String::new(),
            blank => format!("; {blank} blank lines left out"),
        };
        out.line(format!(
            "sent {} messages ({}) in {seconds:.2} s: {rate:.0}/s{blank}",
            sent.messages,
            about(sent.bytes)
        ))?;
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, longest: u64) -> Vec<Result<(u64, String), String>> {
        let mut lines = Vec::new();
        read(text.as_bytes(), longest, |line| {
            let shown = line.map(|line| {
                (
                    line.number,
                    String::from_utf8_lossy(&line.text).into_owned(),
                )
            });
            lines.push(shown.map_err(|error| error.to_string()));
            true
        });
        lines
    }

    #[test]
    fn lines_are_numbered_and_lose_only_their_line_feed() {
        let expected = [(1, "a"), (2, ""), (3, "b\r"), (4, "c")]
            .map(|(number, text)| Ok((number, text.to_owned())));
        assert_eq!(all("a\n\nb\r\nc", 10), expected);
        assert_eq!(all("a\n", 10).len(), 1);
        assert!(all("", 10).is_empty());
    }

    #[test]
    fn a_line_beyond_the_limit_is_an_error_that_names_it() {
        assert_eq!(
            all("abc\nabcd\n", 3).pop(),
            Some(Err("line 2 has more than 3 bytes".to_owned()))
        );
        assert_eq!(all("abc\nabc", 3).len(), 2);
    }

    #[tokio::test]
    async fn a_batch_takes_what_is_there_up_to_its_limits() {
        let (sender, mut lines) = mpsc::channel(2 * BATCH_MESSAGES);
        let line = |number| {
            Ok(Line {
                number,
                text: Bytes::from_static(b"x"),
            })
        };
        for number in 2..=BATCH_MESSAGES as u64 + 1 {
            sender.send(line(number)).await.unwrap();
        }
        let (batch, broken) = gather(line(1), &mut lines);
        assert_eq!((batch.len(), broken.is_none()), (BATCH_MESSAGES, true));
        sender.send(Err(io::Error::other("gone"))).await.unwrap();
        let rest = lines.recv().await.unwrap();
        let (batch, broken) = gather(rest, &mut lines);
        assert_eq!(
            (batch.len(), broken.map(|error| error.to_string())),
            (1, Some("gone".to_owned()))
        );
    }
}
