//! Readers in other processes: this program starts itself again for them.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use foliomq_store::{
    Flush, Message, Options, Reader, ReaderError, ReaderOptions, State, Store, StoredMessage,
    TopicOptions, Wait,
};
use rustix::process::{Pid, Signal, kill_process};

const TOPIC: &str = "numbers";
/// The smallest, so that the log rolls.
const SEGMENT: u64 = 16 << 20;
/// For what takes milliseconds, unless the machine is starved.
const LONG: Duration = Duration::from_secs(60);
/// Every line that a child says begins with this: the test harness speaks too.
const MARK: &str = "child: ";

fn options(dir: &Path) -> Options {
    let interval = Duration::from_millis(500);
    Options::new(dir)
        .segment_size(SEGMENT)
        .flush(Flush::Async { interval })
}

fn open(options: Options) -> Store {
    let store = options.open().unwrap();
    let queues = 4;
    let topic = TopicOptions {
        queues,
        ..TopicOptions::default()
    };
    store.create_topic(TOPIC, topic).unwrap();
    store
}

/// The number first, then a tail whose length and bytes follow from it.
fn body(number: u64) -> Vec<u8> {
    let mut body = number.to_le_bytes().to_vec();
    body.resize(8 + (number * 37 % 8000) as usize, number as u8);
    body
}

fn append(store: &Store, number: u64) {
    store.append(TOPIC, &Message::new(&body(number))).unwrap();
}

fn number_of(message: &StoredMessage) -> u64 {
    let number = u64::from_le_bytes(message.body()[..8].try_into().unwrap());
    assert_eq!(message.body(), body(number));
    number
}

/// A process that plays a part.
struct Player {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Player {
    fn start(part: &str, dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "another_process",
                "--nocapture",
                "--test-threads=1",
            ])
            .env("FOLIO_PART", part)
            .env("FOLIO_DIR", dir)
            .stdout(Stdio::piped())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Waits for the next thing it says.
    fn says(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "it has ended");
            if let Some((_, said)) = line.split_once(MARK) {
                return said.trim_end().to_owned();
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until the kernel has it in this state (`S` asleep, `T` stopped).
    fn await_state(&self, state: char) {
        let path = format!("/proc/{}/stat", self.child.id());
        loop {
            let stat = std::fs::read_to_string(&path).unwrap();
            if stat.rsplit(") ").next().unwrap().starts_with(state) {
                return;
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(what: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{MARK}{what}").unwrap();
    out.flush().unwrap();
}

/// Not a test by itself: what this program does when a test starts it again.
#[test]
fn another_process() {
    let (Ok(part), Some(dir)) = (std::env::var("FOLIO_PART"), std::env::var_os("FOLIO_DIR")) else {
        return;
    };
    let dir = Path::new(&dir);
    match part.as_str() {
        "write" => write_until_killed(dir),
        "spin" => read_until_last(dir, Wait::Spin),
        _ => read_until_last(dir, Wait::Sleep),
    }
}

/// The last number of a test that has an end.
const LAST: u64 = 20_000;

fn read_until_last(dir: &Path, wait: Wait) {
    let reader = ReaderOptions::new(dir).wait(wait).open().unwrap();
    let mut messages = reader.messages(reader.watermarks().start);
    say("ready");
    for expected in 0..=LAST {
        let message = messages.next_timeout(LONG).unwrap().expect("more comes");
        assert_eq!(number_of(&message), expected);
        assert!(messages.next_position() <= reader.watermarks().committed);
    }
    say("done");
}

fn write_until_killed(dir: &Path) {
    let store = open(options(dir));
    for number in 0.. {
        append(&store, number);
        if number == 1000 {
            say("ready");
        }
    }
}

#[test]
fn readers_see_every_message_in_order_across_rolls() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let mut readers = ["sleep", "spin"].map(|part| Player::start(part, dir.path()));
    for reader in &mut readers {
        assert_eq!(reader.says(), "ready", "before the first message");
    }
    (0..=LAST).for_each(|number| append(&store, number));
    for reader in &mut readers {
        assert_eq!(reader.says(), "done");
    }
    assert!(store.segments().len() > 4, "it has rolled");
}

/// Whether somebody in another process is said to sleep until more is appended.
fn somebody_sleeps(dir: &Path) -> bool {
    let control = File::open(dir.join("commitlog/control")).unwrap();
    let mut word = [0; 4];
    control.read_exact_at(&mut word, 4096 + 128).unwrap();
    u32::from_ne_bytes(word) & 2 != 0
}

/// Every append returns, and after the first nobody is woken any more: the word says that nobody sleeps.
fn appends_wake_once(store: &Store, dir: &Path, numbers: std::ops::Range<u64>) {
    for number in numbers {
        append(store, number);
        assert!(!somebody_sleeps(dir), "after number {number}");
    }
}

#[test]
fn a_reader_that_dies_asleep_costs_one_wake() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let mut reader = Player::start("sleep", dir.path());
    assert_eq!(reader.says(), "ready");
    while !somebody_sleeps(dir.path()) {
        std::thread::yield_now();
    }
    reader.kill();
    assert!(somebody_sleeps(dir.path()), "he cannot take it back");
    appends_wake_once(&store, dir.path(), 0..500);
}

#[test]
fn a_reader_that_hangs_costs_one_wake_and_goes_on_later() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let mut reader = Player::start("sleep", dir.path());
    assert_eq!(reader.says(), "ready");
    while !somebody_sleeps(dir.path()) {
        std::thread::yield_now();
    }
    reader.signal(Signal::STOP);
    reader.await_state('T');
    appends_wake_once(&store, dir.path(), 0..500);
    reader.signal(Signal::CONT);
    (500..=LAST).for_each(|number| append(&store, number));
    assert_eq!(reader.says(), "done");
}

/// Reads all that is committed.
fn read_all(reader: &Reader, messages: &mut foliomq_store::Messages, next: &mut u64) {
    for message in &mut *messages {
        assert_eq!(number_of(&message.unwrap()), *next);
        *next += 1;
    }
    assert_eq!(messages.next_position(), reader.watermarks().committed);
}

#[test]
fn the_death_of_the_writer_is_noticed_and_the_next_one_followed() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Player::start("write", dir.path());
    assert_eq!(writer.says(), "ready");
    let reader = Store::open_reader(dir.path()).unwrap();
    let mut messages = reader.messages(reader.watermarks().start);
    let mut next = 0;
    while next < 1000 {
        let message = messages.next_timeout(LONG).unwrap().unwrap();
        assert_eq!(number_of(&message), next);
        next += 1;
    }
    writer.kill();
    read_all(&reader, &mut messages, &mut next);
    let gone = messages.next_timeout(LONG).unwrap_err();
    let process = u64::from(writer.child.id());
    assert!(matches!(gone, ReaderError::WriterGone { process: p } if p == process));
    assert!(Store::open_reader(dir.path()).is_err(), "nobody writes");

    let before = reader.generation();
    let store = open(options(dir.path()));
    append(&store, next);
    let message = messages.next_timeout(LONG).unwrap().unwrap();
    assert_eq!(number_of(&message), next);
    assert_ne!(reader.generation(), before, "the start was not a clean one");
}

#[test]
fn a_reader_outlives_a_clean_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let reader = Store::open_reader(dir.path()).unwrap();
    let mut messages = reader.tail();
    append(&store, 1);
    assert_eq!(number_of(&messages.next().unwrap().unwrap()), 1);
    append(&store, 2);
    store.close().unwrap();
    drop(store);
    assert_eq!(reader.state().unwrap(), State::Closed);
    assert_eq!(number_of(&messages.next().unwrap().unwrap()), 2);
    let gone = messages.next_timeout(LONG).unwrap_err();
    assert!(matches!(gone, ReaderError::WriterGone { .. }));

    let store = open(options(dir.path()));
    append(&store, 3);
    let message = messages.next_timeout(LONG).unwrap().unwrap();
    assert_eq!(number_of(&message), 3);
    assert_eq!(reader.state().unwrap(), State::Open);
}

#[test]
fn messages_are_found_by_position_topic_and_queue() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    store
        .create_topic("other", TopicOptions::default())
        .unwrap();
    let reader = Store::open_reader(dir.path()).unwrap();
    assert!(!reader.polls());
    let mut queue = reader.tail().of_topic(TOPIC).of_queue(2);
    let appended = store.append_to(TOPIC, 1, &Message::new(&body(1))).unwrap();
    store.append_to("other", 2, &Message::new(b"no")).unwrap();
    store.append_to(TOPIC, 2, &Message::new(&body(2))).unwrap();
    assert_eq!(number_of(&reader.read_at(appended.position).unwrap()), 1);
    let found: Vec<_> = queue
        .by_ref()
        .map(|found| number_of(&found.unwrap()))
        .collect();
    assert_eq!(found, [2]);
    assert!(
        queue
            .next_timeout(Duration::from_millis(1))
            .unwrap()
            .is_none()
    );
    let beyond = reader.read_at(reader.watermarks().appended).unwrap_err();
    assert!(matches!(beyond, ReaderError::NotCommitted { .. }));
    let inside = reader.read_at(appended.position + 8).unwrap_err();
    assert!(matches!(inside, ReaderError::Invalid { .. }));
}
