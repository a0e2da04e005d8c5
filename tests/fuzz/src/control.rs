//! A control file that lies to readers of other processes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use foliomq_segment::{Beginning, CONTROL, Control, Folder, Mark};
use foliomq_store::{Reader, ReaderOptions, Wait};

use crate::forged::forge;
use crate::image::{Content, Image};
use crate::judge::{Claim, compare};
use crate::mutation::Mutation;
use crate::outcome::Outcome;
use crate::panics::watch;
use crate::template::{Template, template};

/// How long a reader waits for news.
const PATIENCE: Duration = Duration::from_micros(100);
/// Messages that are read, at most.
const MOST: usize = 100;

/// Damages the control file before a reader opens it or, by bit 1 of the first byte, while it is open; by bit 2, its owner
/// is dead.
pub fn control(data: &[u8]) -> Outcome {
    let (&first, rest) = data.split_first().unwrap_or((&0, &[]));
    watch(|| {
        let template = template(first);
        let dir = template.image.write().expect("an image is written");
        let log = dir.path().join("commitlog");
        let folder = Folder::lock(&log).expect("nobody has it open");
        let beginning = Beginning {
            generation: 1,
            committed: Mark::Durable,
            start: 0,
            end: template.durable,
        };
        let owner = Control::create(&folder, &beginning).expect("there is room");
        let path = log.join(CONTROL);
        let lie = lie(&path, &Mutation::all(rest));
        let claim = Claim {
            sent: &template.sent,
            honest: true,
            kept_below: 0,
            verify_tells: false,
        };
        if first & 2 != 0 {
            return while_open(dir.path(), &path, &lie, &claim);
        }
        match first & 4 == 0 && lie.len() as u64 == fs::metadata(&path).map_or(0, |file| file.len())
        {
            true => write_over(&path, &lie),
            // Another file: the owner has its own mapped.
            false => {
                drop(owner);
                fs::remove_file(&path)
                    .and_then(|()| fs::write(&path, &lie))
                    .expect("it can be replaced");
            }
        }
        follow(dir.path(), template, &claim)
    })
}

/// The damaged content.
fn lie(path: &Path, mutations: &[Mutation]) -> Vec<u8> {
    let bytes = fs::read(path).expect("it was made");
    let content = Content {
        // Words without checksums, as those of a pool file.
        path: "consumequeue/control".into(),
        len: bytes.len(),
        bytes,
    };
    let mut image = Image {
        files: vec![content],
    };
    forge(&mut image, mutations, |_| true);
    let file = image.files.pop();
    file.map_or(Vec::new(), |mut file| {
        file.bytes.resize(file.len, 0);
        file.bytes
    })
}

/// Over the same file, so that whoever has it mapped sees it.
fn write_over(path: &Path, bytes: &[u8]) {
    let file = File::options().write(true).open(path).expect("it is there");
    file.write_all_at(bytes, 0).expect("it can be written");
}

fn while_open(dir: &Path, path: &Path, lie: &[u8], claim: &Claim<'_>) -> Outcome {
    let reader = match ReaderOptions::new(dir).wait(Wait::Spin).open() {
        Ok(reader) => reader,
        Err(error) => return Outcome::refused(error),
    };
    let before = read(&reader, claim);
    write_over(path, lie);
    Outcome::new(format!("{before}; then {}", read(&reader, claim)))
}

fn follow(dir: &Path, template: &Template, claim: &Claim<'_>) -> Outcome {
    let reader = match ReaderOptions::new(dir).open() {
        Ok(reader) => reader,
        Err(error) => return Outcome::refused(error),
    };
    for sent in template.sent.iter().step_by(7) {
        if let Ok(message) = reader.read_at(sent.position) {
            compare(&message, sent.queue, sent.offset, claim);
        }
        let _ = reader.read_at(sent.position + 8);
    }
    read(&reader, claim)
}

fn read(reader: &Reader, claim: &Claim<'_>) -> Outcome {
    let marks = reader.watermarks();
    let _ = (reader.state(), reader.generation(), reader.polls());
    let mut count = 0;
    let mut messages = reader.messages(marks.start);
    for message in messages.by_ref().take(MOST) {
        match message {
            Ok(message) => compare(&message, message.queue_id(), message.queue_offset(), claim),
            Err(error) => return Outcome::new(format!("read {count} messages; {error}")),
        }
        count += 1;
    }
    let _ = reader.messages(0).take(MOST).count();
    let _ = reader.wait_past(marks.committed, PATIENCE);
    match reader.tail().next_timeout(PATIENCE) {
        Ok(_) => Outcome::new(format!("read {count} messages")),
        Err(error) => Outcome::new(format!("read {count} messages; {error}")),
    }
}
