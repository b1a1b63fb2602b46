//! Storage as far as the publisher uses it: rows in memory, in small pages.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use lastmile::ids::{TenantId, TokenId, Uid};
use lastmile::model::Kind;
use lastmile::model::observed::{BindingRow, GrantRow, ObservedBatch, SessionRow};
use lastmile::storage::{
    Act, Answer, BlockRow, Change, EventRow, Filter, Lookup, ObservedFilter, Page, Storage, StorageError,
    StoredObject, TokenRow,
};
use lastmile::time::Stamp;

/// Objects an answer holds at most, so that reading takes several.
const PAGE: usize = 7;

#[derive(Default)]
struct State {
    rows: BTreeMap<Uid, StoredObject>,
    seq: u64,
    meanwhile: Vec<StoredObject>,
    failing: bool,
}

/// The rows.
#[derive(Default)]
pub(crate) struct Rows(Mutex<State>);

impl Rows {
    /// Commits after-images and returns their seq.
    pub(crate) fn commit(&self, objects: &[StoredObject]) -> u64 {
        self.0.lock().unwrap().commit(objects)
    }

    /// Commits these right after the next scan that finds something.
    pub(crate) fn meanwhile(&self, objects: Vec<StoredObject>) {
        self.0.lock().unwrap().meanwhile = objects;
    }

    /// From now on every verb fails.
    pub(crate) fn fail(&self) {
        self.0.lock().unwrap().failing = true;
    }

    fn answer<T>(&self, read: impl FnOnce(&mut State) -> T) -> Result<T, StorageError> {
        let mut state = self.0.lock().unwrap();
        if state.failing { Err(unused()) } else { Ok(read(&mut state)) }
    }
}

impl State {
    fn commit(&mut self, objects: &[StoredObject]) -> u64 {
        self.seq += 1;
        for object in objects {
            let mut object = object.clone();
            object.envelope.seq = self.seq;
            self.rows.insert(object.envelope.id, object);
        }
        self.seq
    }
}

fn unused() -> StorageError {
    StorageError::Damaged { what: "rows".to_owned(), why: "not available in this test".to_owned() }
}

fn ready<'a, T: Send + 'a>(result: Result<T, StorageError>) -> Answer<'a, T> {
    Box::pin(std::future::ready(result))
}

fn never<'a, T: Send + 'a>() -> Answer<'a, T> {
    ready(Err(unused()))
}

impl Storage for Rows {
    fn seq(&self) -> Answer<'_, u64> {
        ready(self.answer(|state| state.seq))
    }

    fn changes_since(&self, seq: u64, _limit: usize) -> Answer<'_, (Vec<StoredObject>, u64)> {
        ready(self.answer(|state| {
            let mut changed: Vec<StoredObject> = state.rows.values().cloned().collect();
            changed.retain(|row| row.envelope.seq > seq);
            changed.sort_by_key(|row| row.envelope.seq);
            // Commits are never split: an answer ends before the first one that does not fit.
            let reached = changed.get(PAGE).map_or(state.seq, |next| next.envelope.seq.max(seq + 2) - 1);
            changed.retain(|row| row.envelope.seq <= reached);
            (changed, reached)
        }))
    }

    fn scan(&self, kind: Kind, after: Uid, _limit: usize) -> Answer<'_, Vec<StoredObject>> {
        ready(self.answer(|state| {
            let later = state.rows.range(after..).map(|(_, row)| row);
            let page: Vec<StoredObject> = later
                .filter(|row| row.envelope.kind == kind && row.envelope.id > after)
                .filter(|row| row.envelope.deleted_at.is_none())
                .take(PAGE)
                .cloned()
                .collect();
            if !page.is_empty() && !state.meanwhile.is_empty() {
                let objects = std::mem::take(&mut state.meanwhile);
                state.commit(&objects);
            }
            page
        }))
    }

    fn commit(&self, _: Change) -> Answer<'_, u64> {
        never()
    }
    fn find(&self, _: TenantId, _: Kind, _: Lookup) -> Answer<'_, Vec<StoredObject>> {
        never()
    }
    fn list(
        &self,
        _: TenantId,
        _: Kind,
        _: Filter,
        _: Option<String>,
        _: usize,
    ) -> Answer<'_, Page<StoredObject>> {
        never()
    }
    fn events(&self, _: TenantId, _: u64, _: usize) -> Answer<'_, Vec<EventRow>> {
        never()
    }
    fn apply_observed(&self, _: ObservedBatch) -> Answer<'_, u64> {
        never()
    }
    fn applied_sequence(&self, _: u16) -> Answer<'_, u64> {
        never()
    }
    fn sessions(
        &self,
        _: TenantId,
        _: ObservedFilter,
        _: Option<String>,
        _: usize,
    ) -> Answer<'_, Page<SessionRow>> {
        never()
    }
    fn session(&self, _: TenantId, _: lastmile::ids::SessionId) -> Answer<'_, Option<SessionRow>> {
        never()
    }
    fn grants(
        &self,
        _: TenantId,
        _: ObservedFilter,
        _: Option<String>,
        _: usize,
    ) -> Answer<'_, Page<GrantRow>> {
        never()
    }
    fn grants_of_others(&self, _: u16, _: Vec<(u16, u64)>, _: usize) -> Answer<'_, Vec<GrantRow>> {
        never()
    }
    fn bindings(
        &self,
        _: TenantId,
        _: ObservedFilter,
        _: Option<String>,
        _: usize,
    ) -> Answer<'_, Page<BindingRow>> {
        never()
    }
    fn purge_before(&self, _: u32, _: usize) -> Answer<'_, u64> {
        never()
    }
    fn put_token(&self, _: TokenRow, _: Act) -> Answer<'_, ()> {
        never()
    }
    fn tokens(&self) -> Answer<'_, Vec<TokenRow>> {
        never()
    }
    fn revoke_token(&self, _: TokenId, _: Stamp, _: Act) -> Answer<'_, bool> {
        never()
    }
    fn note(&self, _: Act) -> Answer<'_, ()> {
        never()
    }
    fn key(&self, _: TenantId, _: String, _: Vec<u8>) -> Answer<'_, Vec<u8>> {
        never()
    }
    fn claim_blocks(&self, _: Uid, _: Vec<u32>, _: u16) -> Answer<'_, Vec<BlockRow>> {
        never()
    }
    fn raise_epoch(&self, _: u16) -> Answer<'_, u64> {
        never()
    }
    fn schema_version(&self) -> Answer<'_, (i64, i64)> {
        never()
    }
    fn changed(&self, _: Duration) -> Answer<'_, ()> {
        never()
    }
    fn is_shared(&self) -> bool {
        false
    }
    fn ping(&self) -> Answer<'_, ()> {
        never()
    }
}
