//! From a change to a decision table that knows it.
//!
//! A write is answered when it is durable *and* this node decides by it. Both steps run in a task of their own: a caller
//! that hangs up in between must not leave the node behind its own database.

use std::sync::Arc;
use std::time::Duration;

use super::{App, Refusal};
use crate::limits::{API_COMMIT_ATTEMPTS_MAX, API_DEADLINE_MS};
use crate::storage::{Change, StorageError};

impl App {
    /// Commits a change and returns its seq once this node decides by it.
    pub(super) async fn commit(self: &Arc<Self>, change: Change) -> Result<u64, CommitError> {
        let app = Arc::clone(self);
        let task = tokio::spawn(async move {
            let seq = app.storage().commit(change).await.map_err(CommitError::Storage)?;
            app.reach(seq).await.map_err(CommitError::Refused)?;
            Ok(seq)
        });
        task.await.unwrap_or_else(|error| {
            Err(CommitError::Refused(Refusal::Internal { why: format!("the commit task ended: {error}") }))
        })
    }

    /// Catches up with the database.
    pub async fn advance(&self) -> Result<u64, Refusal> {
        let parts = self.parts();
        let (storage, vault) = (self.storage(), parts.vault.as_ref());
        let mut seq = parts.publisher.advance(storage, vault).await?;
        for _ in 0..API_COMMIT_ATTEMPTS_MAX {
            let missed = vault.take_missed();
            if missed.is_empty() {
                break;
            }
            // A tenant that another node made: its objects could not be opened until now.
            for tenant in missed {
                vault.load_tenant(storage, tenant).await?;
            }
            seq = parts.publisher.reload(storage, vault).await?;
        }
        Ok(seq)
    }

    /// Returns when this node decides by `seq`.
    pub(super) async fn reach(&self, seq: u64) -> Result<(), Refusal> {
        let publisher = &self.parts().publisher;
        if publisher.seq() >= seq {
            return Ok(());
        }
        self.advance().await?;
        if publisher.wait_for(seq, Duration::from_millis(API_DEADLINE_MS / 2)).await {
            return Ok(());
        }
        Err(Refusal::Unavailable {
            why: format!("the change is stored as seq {seq}, but this node does not decide by it yet"),
        })
    }
}

/// Why a change did not come into force.
pub(super) enum CommitError {
    /// The database refused it: nothing was changed.
    Storage(StorageError),
    /// It is stored, but more is not known.
    Refused(Refusal),
}

impl CommitError {
    /// Whether the same request, read and decided anew, may well succeed: another writer was faster.
    pub(super) const fn lost_a_race(&self) -> bool {
        matches!(
            self,
            Self::Storage(
                StorageError::Conflict { .. }
                    | StorageError::ExternalIdTaken { .. }
                    | StorageError::DanglingReference { .. }
            )
        )
    }
}

impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            CommitError::Refused(refusal) => refusal,
        }
    }
}
