//! Positions in place of messages: one entry for messages whose queue offsets follow each other.

use foliomq_proto::v1::{Positions, SubscribeResponse};

/// Where a message is, and whose it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position<'a> {
    pub(crate) topic: &'a str,
    pub(crate) queue_id: u32,
    pub(crate) queue_offset: u64,
    /// Of its record in the commit log.
    pub(crate) position: u64,
}

/// The positions of one response.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    runs: Vec<Positions>,
    count: usize,
    /// Of the last.
    position: u64,
}

impl Runs {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Adds one without a group.
    pub(crate) fn push(&mut self, next: Position<'_>) {
        self.run(next);
    }

    /// Adds a delivery to a group.
    pub(crate) fn push_leased(&mut self, next: Position<'_>, attempt: u32, handle: String) {
        let run = self.run(next);
        run.attempts.push(attempt);
        run.handles.push(handle);
    }

    /// The run that the position was added to.
    fn run(&mut self, next: Position<'_>) -> &mut Positions {
        let from = match self.runs.last() {
            Some(last) if follows(last, next) => self.position,
            _ => {
                self.runs.push(Positions {
                    topic: next.topic.to_owned(),
                    queue_id: next.queue_id,
                    queue_offset: next.queue_offset,
                    ..Positions::default()
                });
                0
            }
        };
        self.count += 1;
        self.position = next.position;
        let last = self.runs.len() - 1;
        let run = &mut self.runs[last];
        run.positions.push(next.position.wrapping_sub(from) as i64);
        run
    }
}

impl From<Runs> for SubscribeResponse {
    fn from(runs: Runs) -> Self {
        Self {
            positions: runs.runs,
            ..Self::default()
        }
    }
}

fn follows(last: &Positions, next: Position<'_>) -> bool {
    last.queue_id == next.queue_id
        && last.queue_offset + last.positions.len() as u64 == next.queue_offset
        && last.topic == next.topic
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(queue_id: u32, queue_offset: u64, position: u64) -> Position<'static> {
        Position {
            topic: "t",
            queue_id,
            queue_offset,
            position,
        }
    }

    #[test]
    fn those_next_to_each_other_are_one_run() {
        let mut runs = Runs::default();
        for next in [at(0, 5, 1000), at(0, 6, 1100), at(0, 7, 1050)] {
            runs.push(next);
        }
        runs.push(at(0, 9, 2000));
        runs.push_leased(at(1, 10, 2100), 3, "h".to_owned());
        assert_eq!(runs.len(), 5);
        let response = SubscribeResponse::from(runs);
        let found = |run: &Positions| (run.queue_id, run.queue_offset, run.positions.clone());
        let found: Vec<_> = response.positions.iter().map(found).collect();
        assert_eq!(
            found,
            [
                (0, 5, vec![1000, 100, -50]),
                (0, 9, vec![2000]),
                (1, 10, vec![2100])
            ]
        );
        let last = &response.positions[2];
        assert_eq!(
            (&*last.attempts, &*last.handles),
            (&[3][..], &["h".to_owned()][..])
        );
    }
}
