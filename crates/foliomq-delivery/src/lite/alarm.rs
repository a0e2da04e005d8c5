//! One time for each of many numbers, the earliest first: what is not due costs nothing.

use std::collections::{BTreeSet, HashMap};

use crate::Timestamp;

/// Times by number.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    by_time: BTreeSet<(Timestamp, u32)>,
    by_number: HashMap<u32, Timestamp>,
}

impl Alarm {
    /// Sets the time of a number in place of an earlier one; `None`: it has none.
    pub fn set(&mut self, number: u32, time: Option<Timestamp>) {
        let before = match time {
            Some(time) => {
                self.by_time.insert((time, number));
                self.by_number.insert(number, time)
            }
            None => self.by_number.remove(&number),
        };
        if let Some(before) = before.filter(|before| Some(*before) != time) {
            self.by_time.remove(&(before, number));
        }
    }

    /// The earliest time.
    pub fn first(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(time, _)| *time)
    }

    /// Takes out a number whose time has come.
    pub fn pop(&mut self, now: Timestamp) -> Option<u32> {
        let (time, number) = *self.by_time.first()?;
        if time > now {
            return None;
        }
        self.set(number, None);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_one_time() {
        let mut alarm = Alarm::default();
        alarm.set(1, Some(50));
        alarm.set(2, Some(30));
        alarm.set(1, Some(20));
        alarm.set(3, Some(10));
        alarm.set(3, None);
        alarm.set(2, Some(30));
        assert_eq!((alarm.first(), alarm.pop(19)), (Some(20), None));
        assert_eq!(
            (alarm.pop(30), alarm.pop(30), alarm.pop(30)),
            (Some(1), Some(2), None)
        );
        assert!(alarm.by_time.is_empty() && alarm.by_number.is_empty());
    }
}
