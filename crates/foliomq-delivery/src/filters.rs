//! Filters that are compiled once, and shared by all who ask with the same expression.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::{DeliveryError, Filter};

/// Most filters that are kept, and bytes of their expressions: compiled, one takes up to forty times as much. Then those go
/// that were not asked for longest.
const MOST: usize = 1024;
const MOST_BYTES: usize = 256 << 10;

/// Compiled filters by expression. Each receive names its own, most often the same as the one before; another expression is
/// another filter, and the one that nobody asks for any more makes room in time.
#[derive(Debug, Default)]
pub struct Filters {
    kept: Mutex<Kept>,
    compiled: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    filters: [HashMap<Box<str>, Used>; 2],
    bytes: usize,
    uses: u64,
}

#[derive(Debug)]
struct Used {
    filter: Filter,
    /// When it was asked for last, counted in uses of all.
    last: u64,
}

/// What an expression is written in; the place of its filters.
#[derive(Debug, Clone, Copy)]
enum Language {
    Tags,
    Sql,
}

impl Filters {
    /// As [`Filter::tags`].
    pub fn tags(&self, expression: &str) -> Result<Filter, DeliveryError> {
        if matches!(expression.trim(), "" | "*") {
            return Ok(Filter::All);
        }
        self.filter(Language::Tags, expression, Filter::tags)
    }

    /// As [`Filter::sql`].
    pub fn sql(&self, expression: &str) -> Result<Filter, DeliveryError> {
        self.filter(Language::Sql, expression, Filter::sql)
    }

    /// How many expressions were compiled. What is not well-formed does not count, and is not kept.
    pub fn compiled(&self) -> u64 {
        self.compiled.load(Ordering::Relaxed)
    }

    fn filter(
        &self,
        language: Language,
        expression: &str,
        compile: impl FnOnce(&str) -> Result<Filter, DeliveryError>,
    ) -> Result<Filter, DeliveryError> {
        if let Some(known) = self.kept.lock().find(language, expression) {
            return Ok(known);
        }
        // Without the lock: a long expression holds up nobody else.
        let filter = compile(expression)?;
        self.compiled.fetch_add(1, Ordering::Relaxed);
        self.kept.lock().keep(language, expression, filter.clone());
        Ok(filter)
    }
}

impl Kept {
    fn find(&mut self, language: Language, expression: &str) -> Option<Filter> {
        self.uses += 1;
        let used = self.filters[language as usize].get_mut(expression)?;
        used.last = self.uses;
        Some(used.filter.clone())
    }

    fn keep(&mut self, language: Language, expression: &str, filter: Filter) {
        while self.count() >= MOST || self.bytes + expression.len() > MOST_BYTES {
            if !self.forget_one() {
                return;
            }
        }
        let last = self.uses;
        let used = Used { filter, last };
        let before = self.filters[language as usize].insert(expression.into(), used);
        if before.is_none() {
            self.bytes += expression.len();
        }
    }

    fn count(&self) -> usize {
        self.filters.iter().map(HashMap::len).sum()
    }

    /// Forgets the one that was not asked for longest; false: there is none.
    fn forget_one(&mut self) -> bool {
        let all = self.filters.iter().zip(0..);
        let all = all.flat_map(|(filters, place)| filters.iter().map(move |one| (place, one)));
        let oldest = all.min_by_key(|(_, (_, used))| used.last);
        let Some((place, expression)) = oldest.map(|(place, (text, _))| (place, text.clone()))
        else {
            return false;
        };
        self.bytes -= expression.len();
        let filters: &mut HashMap<_, _> = &mut self.filters[place];
        filters.remove(&expression).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::MAX_EXPRESSION;

    #[test]
    fn an_expression_is_compiled_once_and_another_one_is_another_filter() {
        let filters = Filters::default();
        let first = filters.sql("price > 20").unwrap();
        for _ in 0..3 {
            let again = filters.sql("price > 20").unwrap();
            let (Filter::Sql(first), Filter::Sql(again)) = (&first, &again) else {
                panic!("{again:?}");
            };
            assert!(Arc::ptr_eq(first, again), "the same one, shared");
        }
        assert_eq!(filters.compiled(), 1);
        let changed = filters.sql("price > 30").unwrap();
        assert_eq!((changed != first, filters.compiled()), (true, 2));
        assert_eq!(filters.sql("price > 30"), Filter::sql("price > 30"));
        // The same text in the other language.
        assert_eq!(filters.tags("price > 30"), Filter::tags("price > 30"));
        assert_eq!(filters.compiled(), 3);
        for _ in 0..2 {
            filters.sql("price >").unwrap_err();
        }
        assert_eq!(filters.compiled(), 3);
    }

    #[test]
    fn the_longest_unused_make_room_by_count_and_by_bytes() {
        let filters = Filters::default();
        let kept = || {
            let kept = filters.kept.lock();
            (kept.count(), kept.bytes)
        };
        filters.tags("often").unwrap();
        for n in 0..2 * MOST {
            filters.tags("often").unwrap();
            filters.sql(&format!("a = {n}")).unwrap();
            assert!(kept().0 <= MOST);
        }
        assert_eq!(filters.compiled(), 1 + 2 * MOST as u64, "it stays");
        filters.sql(&format!("a = {}", 2 * MOST - 1)).unwrap();
        assert_eq!(filters.compiled(), 1 + 2 * MOST as u64);
        filters.sql("a = 0").unwrap();
        assert_eq!(filters.compiled(), 2 + 2 * MOST as u64, "it went");
        for n in 0..64 {
            let long = format!("{n:>MAX_EXPRESSION$}");
            filters.tags(&long).unwrap();
            assert!(kept().1 <= MOST_BYTES);
        }
        let all = filters.kept.lock();
        let bytes = all.filters.iter().flat_map(HashMap::keys);
        assert_eq!(bytes.map(|text| text.len()).sum::<usize>(), all.bytes);
    }
}
