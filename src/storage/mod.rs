//! Storage: desired state and history in SQL, behind verbs of the domain.
//!
//! SQLite is the embedded default, PostgreSQL serves installations with several nodes. Both implement [`Storage`] and
//! pass the same conformance suite. Nothing on the packet path calls it: the snapshot is fed from
//! [`Storage::changes_since`], observed state arrives through [`Storage::apply_observed`].
//!
//! Invariants: one change is one transaction (rows, generation, event row and audit row commit together); `seq` is
//! taken by updating the counter row as the transaction's last statement, so seq order is commit order; secrets reach
//! storage sealed and leave it sealed. What is done to a token or a clock has its audit row and its seq, too.

mod bulk;
mod commit;
mod commit_sql;
mod database;
mod history;
mod history_sql;
mod installation;
mod installation_sql;
pub mod migrate;
mod objects;
mod objects_sql;
mod observed;
mod observed_rows;
mod observed_sql;
mod postgres;
mod rows;
mod sqlite;
mod statement;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use crate::ids::{ServiceId, SessionId, TenantId, TokenId, Uid};
use crate::model::observed::{BindingRow, GrantRow, ObservedBatch, SessionRow};
use crate::model::{Envelope, Kind, Prefix};
use crate::secret::Secret;
use crate::time::Stamp;

pub use database::{open, open_unless_down};

/// A future that a storage verb returns.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StorageError>> + Send + 'a>>;

/// Why storage could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The database cannot be reached or does not answer; trying again later may help.
    #[error("the database is not available ({doing})")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// The driver's own error.
        #[source]
        source: sqlx::Error,
    },
    /// The database answered with an error.
    #[error("the database refused: {doing}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// The driver's own error.
        #[source]
        source: sqlx::Error,
    },
    /// Another object has this external id.
    #[error("external id `{external_id}` is taken by {holder}")]
    ExternalIdTaken {
        /// The id in question.
        external_id: String,
        /// Who has it.
        holder: String,
    },
    /// Another object holds this unique key.
    #[error("`{key}` is already used by {holder}")]
    KeyTaken {
        /// The key in question, as [`crate::model::Spec::unique_keys`] spells it.
        key: String,
        /// Id of the object that holds it.
        holder: String,
    },
    /// The object changed since it was read.
    #[error("{id} is at generation {actual}, not {expected}")]
    Conflict {
        /// Which object.
        id: String,
        /// Generation the writer expected.
        expected: u64,
        /// Generation found.
        actual: u64,
    },
    /// A stretch of a journal does not follow what storage has of it.
    #[error("storage has the journal of node {node} up to {actual}, and was given what follows {expected}")]
    Gap {
        /// Whose journal.
        node: u16,
        /// Position that the stretch follows.
        expected: u64,
        /// Position stored.
        actual: u64,
    },
    /// A referenced object does not exist (any more).
    #[error("{from} refers to {to}, which does not exist")]
    DanglingReference {
        /// The object written.
        from: String,
        /// The missing object.
        to: String,
    },
    /// The object is still referenced.
    #[error("{id} is still used by {referrers:?}")]
    InUse {
        /// Which object.
        id: String,
        /// Some of its referrers.
        referrers: Vec<String>,
    },
    /// The schema was made by a newer program.
    #[error(
        "the database has schema {found}, this lastmile knows up to {known}: run the newer lastmile, or restore a backup"
    )]
    SchemaTooNew {
        /// Version found.
        found: i64,
        /// Newest version known.
        known: i64,
    },
    /// Stored data cannot be read.
    #[error("stored {what} cannot be read: {why}")]
    Damaged {
        /// What was read.
        what: String,
        /// Why it failed.
        why: String,
    },
}

/// An object as stored: its spec is JSON without secrets, which stand sealed beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Identity and bookkeeping; `seq` is filled in by the transaction.
    pub envelope: Envelope,
    /// The spec, secrets replaced by markers, references resolved to ids.
    pub spec_json: String,
    /// The sealed secrets, if any.
    pub sealed: Option<Vec<u8>>,
}

/// Opens what storage keeps sealed.
pub trait Open: Send + Sync {
    /// The secrets of an object by member name; `None` when they cannot be opened.
    fn secrets(&self, stored: &StoredObject) -> Option<Vec<(String, Secret)>>;
}

/// One write within a change.
#[derive(Clone, Debug)]
pub struct Write {
    /// The object after the write; `envelope.deleted_at` makes it a deletion.
    pub object: StoredObject,
    /// Generation the writer saw: 0 creates, otherwise the row must still have it.
    pub expected_generation: u64,
    /// Keys that no other living object of the tenant may hold.
    pub unique_keys: Vec<String>,
    /// Objects it refers to, which must exist and not be deleted.
    pub refs: Vec<(Kind, Uid)>,
    /// What the audit row shows of the object before, secrets redacted; empty for a creation.
    pub before_json: String,
}

/// One change: all writes commit together under one seq.
#[derive(Clone, Debug)]
pub struct Change {
    /// When.
    pub at: Stamp,
    /// Who, as shown to people.
    pub actor: String,
    /// The API request or other cause.
    pub request: String,
    /// What.
    pub writes: Vec<Write>,
}

/// What can be acted on that is no object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActedOn {
    /// An API token.
    Token(TokenId),
    /// The clock of a node.
    Clock(u16),
}

/// What somebody did that changes no object: an audit row like that of a write, under a seq of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// When.
    pub at: Stamp,
    /// Who, as shown to people.
    pub actor: String,
    /// The API request or other cause.
    pub request: String,
    /// Operator.
    pub tenant: TenantId,
    /// To what.
    pub on: ActedOn,
    /// How it was before, without secrets; empty when it was not there.
    pub before_json: String,
    /// How it is now, without secrets; empty when it is gone.
    pub after_json: String,
}

/// How a single object is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// By id.
    Id(Uid),
    /// By external id in one source (`None`: made by an operator).
    External {
        /// Namespace.
        source: Option<String>,
        /// Id in it.
        id: String,
    },
    /// By external id in any source; ambiguous matches are all returned.
    AnySource {
        /// Id in some namespace.
        id: String,
    },
}

/// Which objects a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this source.
    pub source: Option<String>,
    /// Only with this exact external id.
    pub external_id: Option<String>,
    /// Only those referring to this object (such as services of a plan).
    pub refers_to: Option<Uid>,
    /// Only with all of these labels.
    pub labels: BTreeMap<String, String>,
}

/// Which history or observed rows are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedFilter {
    /// Only of this service.
    pub service: Option<ServiceId>,
    /// Only with this MAC address.
    pub mac: Option<crate::model::Mac>,
    /// Only overlapping this prefix.
    pub prefix: Option<Prefix>,
    /// Only in this state.
    pub state: Option<String>,
    /// From this time on (bindings: `at`; sessions: `updated_at`).
    pub from: Option<Stamp>,
    /// Before this time.
    pub to: Option<Stamp>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Key of the last row when there are more.
    pub next: Option<String>,
    /// The seq as of which the page was read.
    pub as_of_seq: u64,
}

/// An API token as stored: only the hash of its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Its id.
    pub id: TokenId,
    /// Operator it acts for.
    pub tenant: TenantId,
    /// Name shown to people.
    pub name: String,
    /// Namespace it writes in; `None` acts as an operator.
    pub source: Option<String>,
    /// SHA-256 of the secret part.
    pub hash: [u8; 32],
    /// Actions it may do, such as `service.write`; `*` means all.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Stamp,
    /// When it ends.
    pub expires_at: Option<Stamp>,
    /// When it was revoked.
    pub revoked_at: Option<Stamp>,
}

/// Ownership of one block of a pool (FIELD R5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRow {
    /// The pool.
    pub pool: Uid,
    /// Number of the block within the pool.
    pub block: u32,
    /// Node that owns it.
    pub node: u16,
    /// Epoch of that ownership: raised at every take-over.
    pub epoch: u64,
}

/// One change event: what readers catch up by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Commit number.
    pub seq: u64,
    /// When.
    pub at: Stamp,
    /// Operator.
    pub tenant: TenantId,
    /// Kind of object.
    pub kind: Kind,
    /// Which object.
    pub object: Uid,
    /// `created`, `updated` or `deleted`.
    pub action: String,
    /// Who.
    pub actor: String,
    /// The API request or other cause.
    pub request: String,
}

/// Everything the daemon asks of a database.
pub trait Storage: Send + Sync {
    /// Commits a change and returns its seq. All checks (generation, unique keys, references, referrers of deleted
    /// objects, external ids) happen inside the transaction.
    fn commit(&self, change: Change) -> Answer<'_, u64>;
    /// The newest committed seq.
    fn seq(&self) -> Answer<'_, u64>;
    /// Finds objects that are not deleted; more than one only for [`Lookup::AnySource`].
    fn find(&self, tenant: TenantId, kind: Kind, lookup: Lookup) -> Answer<'_, Vec<StoredObject>>;
    /// Lists objects in id order after `after`, which is [`Page::next`] of the page before.
    fn list(
        &self,
        tenant: TenantId,
        kind: Kind,
        filter: Filter,
        after: Option<String>,
        limit: usize,
    ) -> Answer<'_, Page<StoredObject>>;
    /// After-images of all objects changed in (`seq`, returned seq], deleted ones included, at most `limit` objects; a
    /// commit is never split over two answers.
    fn changes_since(&self, seq: u64, limit: usize) -> Answer<'_, (Vec<StoredObject>, u64)>;
    /// Living objects of a kind in id order after `after`, over all tenants: the bulk read at start.
    fn scan(&self, kind: Kind, after: Uid, limit: usize) -> Answer<'_, Vec<StoredObject>>;
    /// Events after `seq`, oldest first.
    fn events(&self, tenant: TenantId, seq: u64, limit: usize) -> Answer<'_, Vec<EventRow>>;

    /// Applies a stretch of a node's journal, once: a batch whose `after` is not the stored position changes nothing
    /// when it lies wholly before it, and is an error otherwise. Returns the stored position.
    fn apply_observed(&self, batch: ObservedBatch) -> Answer<'_, u64>;
    /// Journal position already applied for a node; 0 when none.
    fn applied_sequence(&self, node: u16) -> Answer<'_, u64>;
    /// Sessions, newest first.
    fn sessions(
        &self,
        tenant: TenantId,
        filter: ObservedFilter,
        after: Option<String>,
        limit: usize,
    ) -> Answer<'_, Page<SessionRow>>;
    /// One session.
    fn session(&self, tenant: TenantId, id: SessionId) -> Answer<'_, Option<SessionRow>>;
    /// Current grants, in prefix order.
    fn grants(
        &self,
        tenant: TenantId,
        filter: ObservedFilter,
        after: Option<String>,
        limit: usize,
    ) -> Answer<'_, Page<GrantRow>>;
    /// Grants whose last record was written by another node than `node` (FIELD R5), at most `limit` of them: of each node
    /// those after the sequence that `after` names for it, in the order of its journal.
    fn grants_of_others(&self, node: u16, after: Vec<(u16, u64)>, limit: usize) -> Answer<'_, Vec<GrantRow>>;
    /// Binding history, oldest first.
    fn bindings(
        &self,
        tenant: TenantId,
        filter: ObservedFilter,
        after: Option<String>,
        limit: usize,
    ) -> Answer<'_, Page<BindingRow>>;
    /// Removes bindings and closed sessions of days before `day`; returns how many rows went. Bounded to `limit` rows a
    /// call, so that it never holds the writer for long.
    fn purge_before(&self, day: u32, limit: usize) -> Answer<'_, u64>;

    /// Stores a token, with its audit row.
    fn put_token(&self, token: TokenRow, act: Act) -> Answer<'_, ()>;
    /// All tokens, revoked and expired ones included.
    fn tokens(&self) -> Answer<'_, Vec<TokenRow>>;
    /// Revokes a token, with its audit row; false when there is none. Of one that is revoked already nothing is written.
    fn revoke_token(&self, id: TokenId, at: Stamp, act: Act) -> Answer<'_, bool>;
    /// Writes an audit row alone.
    fn note(&self, act: Act) -> Answer<'_, ()>;

    /// A named key of the installation (sealed), storing `candidate` when there is none yet: every node gets the same.
    fn key(&self, tenant: TenantId, name: String, candidate: Vec<u8>) -> Answer<'_, Vec<u8>>;

    /// Claims blocks of a pool for a node: those of `blocks` without an owner become its own. Returns all rows of the pool.
    fn claim_blocks(&self, pool: Uid, blocks: Vec<u32>, node: u16) -> Answer<'_, Vec<BlockRow>>;
    /// Raises and returns the epoch of a node: the fence against an older process of the same node.
    fn raise_epoch(&self, node: u16) -> Answer<'_, u64>;

    /// Schema version found and newest known.
    fn schema_version(&self) -> Answer<'_, (i64, i64)>;
    /// Waits until another node's commit may have happened, or `timeout` has passed. Only a hint.
    fn changed(&self, timeout: std::time::Duration) -> Answer<'_, ()>;
    /// Whether other nodes may use the same database.
    fn is_shared(&self) -> bool;
    /// A cheap round trip, for readiness.
    fn ping(&self) -> Answer<'_, ()>;
}
