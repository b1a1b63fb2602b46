//! Audit rows of what is no write of an object: tokens and the clock.
//!
//! Writes of objects bring theirs along in [`crate::storage::Change`].

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Actor, App};
use crate::ids::TenantId;
use crate::storage::{Act, ActedOn, StorageError};

/// How long after a failure the row of something that has happened already is written again.
const AGAIN: Duration = Duration::from_secs(5);

/// What is done, by whom and because of what.
pub(super) struct Deed<'a> {
    pub(super) actor: &'a Actor,
    /// The API request or other cause.
    pub(super) request: &'a str,
    pub(super) tenant: TenantId,
    pub(super) on: ActedOn,
}

impl App {
    /// The audit row of a deed, with how things were before and are afterwards; neither may hold a secret.
    pub(super) fn act<T: Serialize>(&self, deed: &Deed<'_>, before: Option<&T>, after: Option<&T>) -> Act {
        let json =
            |image: Option<&T>| image.and_then(|image| serde_json::to_string(image).ok()).unwrap_or_default();
        Act {
            at: self.now(),
            actor: deed.actor.label(),
            request: deed.request.to_owned(),
            tenant: deed.tenant,
            on: deed.on,
            before_json: json(before),
            after_json: json(after),
        }
    }

    /// Writes the audit row of what has happened and cannot wait for the database: at once when it answers, else as soon as
    /// it does. A stop before that loses the row, and only the log tells.
    pub(super) async fn note_done(self: &Arc<Self>, act: Act) {
        let Err(error) = self.storage().note(act.clone()).await else { return };
        tracing::warn!(%error, actor = act.actor, request = act.request, "the audit row is not written yet");
        let app = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(AGAIN).await;
                match app.storage().note(act.clone()).await {
                    Ok(()) => return,
                    Err(StorageError::Unavailable { .. }) => {}
                    Err(error) => {
                        tracing::error!(%error, actor = act.actor, request = act.request, "the audit row cannot be written");
                        return;
                    }
                }
            }
        });
    }
}
