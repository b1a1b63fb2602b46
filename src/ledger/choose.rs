//! Which address: the one that the slot had last, or for a newcomer one of the pools of its class, in their order (FIELD R19).
//!
//! What is chosen is reserved in the same step, and looked for in every other structure that may know of it afterwards.

use std::sync::Arc;

use super::{AdmitRequest, Denied, Ledger};
use crate::ids::PoolId;
use crate::journal::record::Role;
use crate::model::Prefix;
use crate::snapshot::types::Pool;

impl Ledger {
    /// Reserves the address that the slot had last, if nobody has it now, neither another holder nor `besides` another slot.
    pub(super) fn reclaim(
        &self,
        request: &AdmitRequest<'_>,
        prefix: Prefix,
        pool: PoolId,
        (slot, besides): (u8, &[Prefix]),
    ) -> Option<(Prefix, PoolId)> {
        let pool = self.pool(pool).filter(|_| !besides.contains(&prefix))?;
        let assigned_elsewhere = (request.fixed_holder)(request.space.key(), prefix)
            .is_some_and(|service| service.0 != request.holder.0);
        (!assigned_elsewhere && self.reserve_in(&pool, prefix, request.holder, slot, false))
            .then_some((prefix, pool.id))
    }

    /// Chooses an address for a newcomer, the one it asks for if possible, from the first pool that has one, but none of
    /// those that `besides` it other slots of the holder stand on.
    pub(super) fn choose(
        &self,
        request: &AdmitRequest<'_>,
        role: Role,
        pools: &[Arc<Pool>],
        (slot, besides): (u8, &[Prefix]),
    ) -> Result<(Prefix, PoolId), Denied> {
        let set = self.pools.load();
        let ledgers = || pools.iter().filter_map(|pool| set.by_id.get(&pool.id.0));
        let key = request.space.key();
        let refused = |prefix: Prefix| {
            besides.contains(&prefix)
                || (request.fixed_holder)(key, prefix).is_some_and(|service| service.0 != request.holder.0)
        };
        if let Some(wanted) = request.requested.filter(|wanted| !refused(*wanted)) {
            let of = ledgers().find(|pool| self.reserve_in(pool, wanted, request.holder, slot, false));
            if let Some(pool) = of {
                return Ok((wanted, pool.id));
            }
        }
        let mut last = None;
        for pool in ledgers() {
            while let Some(prefix) = pool.choose(request.holder, slot, request.now, &refused) {
                if !self.is_used_elsewhere(key, prefix, request.holder, Some(pool)) {
                    return Ok((prefix, pool.id));
                }
                pool.set_aside(prefix, request.holder);
            }
            last = Some(pool.id);
        }
        let Some(last) = last else { return Err(Denied::NoPool { role }) };
        if ledgers().any(|pool| pool.keeps_for_last_holders(request.now)) {
            return Err(Denied::Settling { pool: last });
        }
        Err(Denied::Exhausted { pool: last, role })
    }
}
