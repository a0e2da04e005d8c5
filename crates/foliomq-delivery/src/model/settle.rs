//! What the model expects of what ends or changes a delivery.

use std::time::Duration;

use foliomq_delivery::ResetTo;
use proptest::sample::Index;

use super::fixture::{GROUP, TOPIC, is_invalid};
use super::world::{Entry, MAX_ATTEMPTS, Place, World};

impl World {
    /// A handle that was good, and whether it still is.
    fn choose(&self, which: &Index) -> Option<(Place, String, bool)> {
        let places: Vec<Place> = self.handles.keys().copied().collect();
        if places.is_empty() {
            return None;
        }
        let place = *which.get(&places);
        let held =
            matches!(self.model[&place], Entry::Out { visible_at, .. } if visible_at > self.f.now);
        Some((place, self.handles[&place].clone(), held))
    }

    fn is_unsure(&self, place: Place) -> bool {
        matches!(self.model[&place], Entry::DoneOrOut { .. })
    }

    pub fn ack(&mut self, which: &Index) {
        let Some((place, handle, held)) = self.choose(which) else {
            return;
        };
        let result = self.f.ack(&handle);
        if held {
            result.unwrap();
            self.model.insert(place, Entry::Done);
            self.void(place);
            self.seen.note("acked");
        } else if !self.is_unsure(place) {
            let done = matches!(self.model[&place], Entry::Done | Entry::Dead);
            assert_eq!(
                result.is_ok(),
                done,
                "{place:?} {:?}: {result:?}",
                self.model[&place]
            );
        }
    }

    pub fn ack_old(&mut self, which: &Index) {
        if self.old.is_empty() {
            return;
        }
        let (place, handle) = which.get(&self.old);
        if !self.is_unsure(*place) {
            let result = self.f.ack(handle);
            let done = matches!(self.model[place], Entry::Done | Entry::Dead);
            assert_eq!(
                result.is_ok(),
                done,
                "{place:?} {:?}: {result:?}",
                self.model[place]
            );
            assert!(done || is_invalid(&result));
            self.seen.note("acked late");
        }
    }

    /// Handles that were good and old ones, some perhaps more than once.
    pub fn ack_all(&mut self, which: &[Index]) {
        let good: Vec<_> = which.iter().filter_map(|one| self.choose(one)).collect();
        let old = which.iter().filter(|_| !self.old.is_empty());
        let old = old.map(|one| one.get(&self.old).clone());
        let mut asked: Vec<(Place, String, bool)> =
            old.map(|(place, handle)| (place, handle, false)).collect();
        asked.extend(good);
        let handles: Vec<&String> = asked.iter().map(|(_, handle, _)| handle).collect();
        let results = self.f.ack_all(&handles);
        assert_eq!(results.len(), asked.len());
        let before = self.model.clone();
        for ((place, _, held), result) in asked.iter().zip(results) {
            if *held {
                result.unwrap();
                self.model.insert(*place, Entry::Done);
                self.void(*place);
                self.seen.note("acked together");
            } else if !matches!(before[place], Entry::DoneOrOut { .. }) {
                let done = matches!(before[place], Entry::Done | Entry::Dead);
                assert_eq!(result.is_ok(), done, "{place:?} {:?}", before[place]);
            }
        }
    }

    pub fn change(&mut self, which: &Index, invisible: Duration) {
        let Some((place, handle, held)) = self.choose(which) else {
            return;
        };
        let result = self.f.change(&handle, invisible);
        if !held {
            assert!(is_invalid(&result), "{result:?}");
            return;
        }
        let Entry::Out {
            attempt,
            auto_renew,
            ..
        } = self.model[&place]
        else {
            unreachable!("it is held")
        };
        let visible_at = self.f.now + invisible.as_millis() as u64;
        self.model.insert(
            place,
            Entry::Out {
                visible_at,
                attempt,
                auto_renew,
            },
        );
        self.hand_out(place, result.unwrap());
        self.seen.note("invisible time changed");
    }

    pub fn renew(&mut self, which: &Index) {
        let Some((place, handle, held)) = self.choose(which) else {
            return;
        };
        let by = Duration::from_secs(10);
        let result = self.f.groups.renew(&handle, by, self.f.now);
        match self.model[&place] {
            Entry::Out {
                attempt,
                auto_renew: true,
                ..
            } if held => {
                result.unwrap();
                let visible_at = self.f.now + by.as_millis() as u64;
                self.model.insert(
                    place,
                    Entry::Out {
                        visible_at,
                        attempt,
                        auto_renew: true,
                    },
                );
                self.seen.note("extended");
            }
            _ => assert!(is_invalid(&result), "{result:?}"),
        }
    }

    pub fn release(&mut self, which: &Index) {
        let Some((place, handle, held)) = self.choose(which) else {
            return;
        };
        let result = self.f.groups.release(&handle, self.f.now);
        match self.model[&place] {
            Entry::Out { attempt, .. } if held => {
                result.unwrap();
                self.model.insert(
                    place,
                    Entry::Back {
                        attempt: attempt - 1,
                    },
                );
                self.void(place);
                self.seen.note("released");
            }
            _ => assert!(is_invalid(&result), "{result:?}"),
        }
    }

    pub fn dead_letter(&mut self, which: &Index) {
        let Some((place, handle, held)) = self.choose(which) else {
            return;
        };
        let result = self.f.bury(&handle);
        if !held {
            let done = matches!(self.model[&place], Entry::Done | Entry::Dead);
            assert!(
                self.is_unsure(place) || result.is_ok() == done,
                "{result:?}"
            );
            return;
        }
        result.unwrap();
        self.model.insert(
            place,
            Entry::Back {
                attempt: MAX_ATTEMPTS,
            },
        );
        self.settle_dead();
        assert_eq!(self.model[&place], Entry::Dead);
    }

    pub fn reset(&mut self, to: &Index) {
        let target = to.index(20) as u64;
        if self.f.groups.group(GROUP).is_none() {
            return;
        }
        self.f
            .groups
            .reset(GROUP, TOPIC, ResetTo::Offset(target), self.f.now)
            .unwrap();
        for (place, entry) in &mut self.model {
            let floor = self.floors.get(&place.0).copied().unwrap_or(0);
            *entry = if place.1 < target.max(floor) {
                Entry::Done
            } else {
                Entry::New
            };
        }
        self.seen.note("reset");
        let handles = std::mem::take(&mut self.handles);
        self.old.extend(handles);
    }
}
