//! What retention must leave alone because hidden messages lie in it.

use std::sync::atomic::Ordering;

use crate::change::Change;
use crate::error::StoreError;
use crate::shared::Shared;

impl Shared {
    /// Before the first hidden message: from `position` on the log is kept until somebody says otherwise.
    pub(crate) fn hold_from(&self, position: u64) -> Result<(), StoreError> {
        if self.registry.held().is_some() {
            return Ok(());
        }
        // A power cut must not take the log's end, and leave others below the position.
        self.log.flush()?;
        let _changing = self.changing.lock();
        if self.registry.held().is_none() {
            let change = Change::Held { position };
            self.meta.append(&change)?;
            // A power cut must not leave the message without this.
            self.meta.flush()?;
            self.registry.apply(&change);
        }
        Ok(())
    }

    /// No hidden message lies below `position`.
    pub(crate) fn keep_from(&self, position: u64) -> Result<(), StoreError> {
        match self.registry.held() {
            Some(held) if held < position => self.change(&Change::Held { position }),
            _ => Ok(()),
        }
    }

    /// What of `position` retention may drop; what it may not is noted for those who can carry the messages forward.
    pub(crate) fn unheld(&self, position: u64) -> u64 {
        let allowed = position.min(self.registry.held().unwrap_or(u64::MAX));
        let wanted = if allowed < position { position } else { 0 };
        self.wanted.store(wanted, Ordering::Release);
        allowed
    }
}
