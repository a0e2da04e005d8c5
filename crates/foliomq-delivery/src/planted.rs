//! Bugs that a test plants, to see that the model finds them. Compiled into this crate's own test harness only: every use
//! is under `cfg(test)`, which is set for no library that another crate, a program or an integration test links.

use std::cell::Cell;

use crate::lease::Change;
use crate::{Resolution, Timestamp};

/// What is done wrongly while it is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// After a restart the attempts of redelivered messages begin again.
    AttemptsReset,
    /// An ack is true in memory, but the journal does not have it.
    AckNotJournalled,
    /// A message is delivered once more often than the group allows.
    OneAttemptMore,
    /// An un-acked message of an ordered group holds back nothing.
    OrderNotHeld,
    /// A delayed message comes two seconds before its time.
    DelayedEarly,
    /// A recall is true in memory, but not in the log.
    RecallForgotten,
    /// A half message that is rolled back is delivered.
    RollbackDelivered,
}

impl Bug {
    pub const ALL: [Self; 7] = [
        Self::AttemptsReset,
        Self::AckNotJournalled,
        Self::OneAttemptMore,
        Self::OrderNotHeld,
        Self::DelayedEarly,
        Self::RecallForgotten,
        Self::RollbackDelivered,
    ];

    /// Whether it is planted in this thread.
    pub fn is_planted(self) -> bool {
        PLANTED.get() == Some(self)
    }
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants a bug in what this thread calls, or pulls it out again.
pub(crate) fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// The change as a restart takes it from the journal.
pub(crate) fn replayed(mut change: Change) -> Change {
    if let (true, Change::Taken(taken)) = (Bug::AttemptsReset.is_planted(), &mut change) {
        taken.again.iter_mut().for_each(|(_, attempt)| *attempt = 1);
    }
    change
}

/// Whether the journal misses a change.
pub(crate) fn is_unwritten(change: &Change) -> bool {
    let done = matches!(change, Change::Done { .. } | Change::AllDone { .. });
    Bug::AckNotJournalled.is_planted() && done
}

/// The attempts that a receive allows.
pub(crate) fn allowed(max_attempts: u32) -> u32 {
    max_attempts + u32::from(Bug::OneAttemptMore.is_planted())
}

/// Up to when delayed messages are due.
pub(crate) fn due(now: Timestamp) -> Timestamp {
    now + 2000 * u64::from(Bug::DelayedEarly.is_planted())
}

/// What is done about a half message.
pub(crate) fn carried_out(resolution: Resolution) -> Resolution {
    match Bug::RollbackDelivered.is_planted() {
        true => Resolution::Commit,
        false => resolution,
    }
}
