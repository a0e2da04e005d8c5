//! A message store inside a program: append, follow the tail from another thread, read by reference. No broker, no
//! async runtime. `cargo run -p foliomq-examples --example embedded [FOLDER]`

use std::{env, error::Error, path::PathBuf, thread, time::Duration};

use foliomq_store::{Message, Options, StoreError, TopicOptions};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let folder = env::args().nth(1).map(PathBuf::from);
    let folder = folder.unwrap_or(env::temp_dir().join("foliomq-embedded"));
    let store = Options::new(folder).segment_size(16 << 20).open()?;
    store.create_topic("orders", TopicOptions::default())?;

    // From where the group "kitchen" was last time; blocks until something comes.
    let from = store.progress("kitchen", "orders", 0).unwrap_or(0);
    let mut tail = store.tail("orders", 0, from)?;
    let kitchen = store.clone();
    let reader = thread::spawn(move || {
        while let Some(order) = tail.next_timeout(Duration::from_secs(1))? {
            // A slice of the page in which the log keeps it: nothing was copied.
            let body: &[u8] = order.body();
            println!("{} {}", order.queue_offset(), body.escape_ascii());
            kitchen.set_progress("kitchen", "orders", 0, tail.offset())?;
        }
        Ok::<(), StoreError>(())
    });

    for order in ["one latte", "two espressi", "a cup of tea"] {
        // It is on the device when this returns.
        store.append_to("orders", 0, &Message::new(order.as_bytes()).tag("hot"))?;
    }
    reader.join().expect("the reader does not panic")?;
    Ok(store.close()?)
}
