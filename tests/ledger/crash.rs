//! A crash of the server: what it forgets, and what its clients may still rely on.
//!
//! A record that nobody waited for may be lost. The address it was about is nobody else's until the pools have settled; a
//! session that is heard of before has it for good. Lost leases, assignments by name, and what is not heard of in time are
//! forgotten.

use lastmile::limits::CONFIRM_WINDOW_SECS;
use lastmile::model::Prefix;

use crate::rig::nas;
use crate::truth::Leased;
use crate::world::{LONGEST_SECS, World};

impl World {
    pub fn crash(&mut self) {
        self.say(|| "crash".to_owned());
        self.stats.crashes += 1;
        self.journal.queue.clear();
        let base = self.recovery_base();
        self.ledger = self.journal.rebuilt(&self.pools, base.as_deref());
        self.now = self.now.plus_secs(1);
        let hold_until = self.now.plus_secs(LONGEST_SECS);
        self.journal.start(&self.ledger, self.now, hold_until);
        self.ledger.settle(self.now);
        let settled_at = self.now.plus_secs(CONFIRM_WINDOW_SECS);
        self.fold_committed();
        let mut forgotten = 0;
        let edited = self.pools_edited;
        for client in &mut self.clients {
            let fold = &self.fold;
            // What nobody waited for may be lost: an address had back, an Accept on a grant that another session opened.
            let opened = |prefix: Prefix, slot: u8| {
                fold.live
                    .get(&(client.space.vrf.to_string(), prefix, client.holder, slot))
                    .map(|known| known.1)
            };
            if let Some(online) = &mut client.online {
                let heard = fold.sessions.get(&(client.holder, online.slot));
                let (session, slot, until) = (online.session, online.slot, online.until);
                let given_by = nas(online.nas);
                // An Accept on what an earlier one or a lease opened is known by its end and its NAS.
                let accepted = |prefix: Prefix| {
                    let key = (client.space.vrf.to_string(), prefix, client.holder, slot);
                    fold.accepted.get(&key).is_some_and(|known| known.0 >= until && known.1 == given_by)
                };
                let known = |prefix: &Prefix| {
                    let opened = opened(*prefix, slot);
                    let ours = || opened == Some(session) || accepted(*prefix);
                    opened.is_some() && (heard == Some(&session) || (heard.is_none() && ours()))
                };
                let (sure, unsure): (Vec<_>, Vec<_>) = online
                    .prefixes
                    .iter()
                    .chain(online.unsure.iter().map(|(prefix, _)| prefix))
                    .partition(|prefix| known(prefix));
                forgotten += unsure.len();
                // What a pool gave before is nobody else's until the pools have settled; assignments by name may change, and
                // of pools that overlap each has a last holder.
                let kept = |prefix: &Prefix| {
                    let named = client.fixed == Some(*prefix) || client.routed.contains(prefix);
                    !named && !edited && fold.was_given(&client.space, *prefix, client.holder, slot)
                };
                online.unsure = unsure.into_iter().filter(kept).map(|prefix| (prefix, settled_at)).collect();
                online.prefixes = sure;
            }
            let lost = |leased: &mut Leased| opened(leased.prefix, leased.slot).is_none();
            forgotten += usize::from(client.leased.take_if(lost).is_some());
        }
        self.stats.forgotten += forgotten as u64;
    }

    /// What a client reported in time is its own again; what it did not report in time is forgotten.
    /// Where an earlier Accept had ended sooner, the ledger knows of that end only: it keeps what it keeps after any crash.
    pub fn settle_unsure(&mut self) {
        let held_until = self.ledger.hold_until();
        for client in &mut self.clients {
            let Some(online) = &mut client.online else { continue };
            if self.fold.sessions.get(&(client.holder, online.slot)) == Some(&online.session) {
                let (slot, until) = (online.slot, online.until);
                let key = |prefix: Prefix| (client.space.vrf.to_string(), prefix, client.holder, slot);
                let live = |prefix: Prefix| self.fold.live.contains_key(&key(prefix));
                let short =
                    |prefix: Prefix| self.fold.accepted.get(&key(prefix)).is_none_or(|end| end.0 < until);
                let back: Vec<_> = online.unsure.extract_if(.., |(prefix, _)| live(*prefix)).collect();
                if back.iter().any(|(prefix, _)| short(*prefix)) {
                    online.until = until.min(held_until);
                }
                online.prefixes.extend(back.into_iter().map(|(prefix, _)| prefix));
            }
            online.unsure.retain(|(_, until)| *until > self.now);
        }
    }
}
