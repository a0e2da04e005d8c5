//! Reads along with a store that another program has open, a broker's for instance: without a port, a lock or a copy.
//! `cargo run -p foliomq-examples --example reader FOLDER [TOPIC]`

use std::{env, error::Error, thread, time::Duration};

use foliomq_store::{ReaderError, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let folder = arguments.next().ok_or("which folder?")?;
    let reader = Store::open_reader(folder)?;
    let from_start = || reader.messages(reader.watermarks().start);
    let mut messages = match arguments.next() {
        Some(topic) => from_start().of_topic(topic),
        None => from_start(),
    };
    loop {
        // Asleep until the other program appends.
        match messages.next_timeout(Duration::from_secs(60)) {
            Ok(Some(message)) => {
                // A slice of the page in which the other program has put it.
                let body: &[u8] = message.body();
                let (queue, offset) = (message.queue_id(), message.queue_offset());
                println!(
                    "{} {queue}/{offset} {}",
                    message.topic(),
                    body.escape_ascii()
                );
            }
            Ok(None) => println!("nothing for a minute"),
            // It may come back: then this goes on where it was.
            Err(ReaderError::WriterGone { .. }) => thread::sleep(Duration::from_secs(1)),
            Err(error) => return Err(error.into()),
        }
    }
}
