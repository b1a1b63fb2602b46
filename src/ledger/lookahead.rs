//! Asking ahead for the memory in which a holder's state lies, in steps of which each needs what the one before brought.
//!
//! Before an admission of several holders: [`crate::prefetch`] tells why. It changes nothing.

use super::Ledger;
use crate::journal::record::Holder;
use crate::prefetch;

impl Ledger {
    /// First step: where the holder is found.
    pub fn touch(&self, holder: Holder) {
        self.shard(holder).lock().holders.touch(holder.0);
    }

    /// Second step: its first slot.
    pub fn touch_slot(&self, holder: Holder) {
        if let Some(state) = self.shard(holder).lock().holders.at(holder.0)
            && let Some(slot) = state.slots.first()
        {
            prefetch::touch(slot);
        }
    }

    /// Third step: the session there, and the Accept that waits for one.
    pub fn touch_session(&self, holder: Holder) {
        if let Some(state) = self.shard(holder).lock().holders.at(holder.0)
            && let Some(slot) = state.slots.first()
        {
            if let Some(session) = &slot.session {
                prefetch::touch(&**session);
            }
            if let Some(pending) = &slot.pending {
                prefetch::touch(&**pending);
            }
        }
    }
}
