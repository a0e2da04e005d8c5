//! What a leased message costs in memory. Alone in its process, so that the resident size is its own.

use foliomq_delivery::{Change, Leases, Taken};

const MESSAGES: u64 = 2_000_000;
const BATCH: u64 = 32;

/// Resident bytes of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

#[test]
fn a_leased_message_takes_about_90_bytes() {
    let mut leases = Leases::default();
    let before = resident();
    for batch in 0..MESSAGES / BATCH {
        let (start, sequence) = (batch * BATCH, leases.sequence());
        let run = start..start + BATCH;
        let next = start + BATCH;
        leases.apply(&Change::Taken(Taken {
            visible_at: batch,
            sequence,
            fresh: vec![run],
            next,
            ..Taken::default()
        }));
    }
    let each = (resident() - before) / MESSAGES;
    println!("{each} bytes for each leased message");
    assert_eq!(leases.in_flight() as u64, MESSAGES);
    assert!(each <= 100, "{each} bytes for each leased message");
}
