//! When an access was last accepted, and when and why last rejected (FIELD R24).
//!
//! Rejects are remembered from the last start on; the last accept is that of the live session, or the one remembered beside
//! rejects. What was before stands in the history of sessions.

use serde::Serialize;

use super::{Action, Actor, App, Refusal, Resource};
use crate::decision::explain;
use crate::ids::{NasId, Uid};
use crate::journal::record::{Holder, Owner};
use crate::last_outcome::{Accepted, Rejected};
use crate::ledger::Slot;
use crate::model::decode::octets_to_text;
use crate::model::{Kind, Ref};
use crate::snapshot::Snapshot;
use crate::snapshot::types::{Access, AccessKey};
use crate::time::Stamp;

/// What was last seen of an access on the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AccessStatus {
    /// The access.
    pub access: String,
    /// The last accept known here.
    pub last_auth: Option<LastAuth>,
    /// The last rejects since this node started.
    pub last_reject: Option<LastReject>,
}

/// An accept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LastAuth {
    /// When.
    #[schema(value_type = String)]
    pub at: Stamp,
    /// Through which NAS.
    pub nas: String,
    /// What the NAS is called.
    pub nas_name: Option<String>,
    /// Line, empty if none.
    pub line: String,
}

/// Rejects in a row for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LastReject {
    /// Stable reason code.
    pub code: &'static str,
    /// What the code means and what to do.
    pub explanation: &'static str,
    /// How many in a row.
    pub count: u32,
    /// When the first of them was.
    #[schema(value_type = String)]
    pub since: Stamp,
    /// When the last of them was.
    #[schema(value_type = String)]
    pub at: Stamp,
    /// NAS of the last.
    pub nas: String,
    /// What the NAS is called.
    pub nas_name: Option<String>,
    /// Line of the last, empty if none.
    pub line: String,
}

impl AccessStatus {
    /// The rejects in one line, when nothing was accepted after them: `password-mismatch ×214 since …`.
    pub fn standing_reject(&self) -> Option<String> {
        let reject = self.last_reject.as_ref()?;
        if self.last_auth.as_ref().is_some_and(|auth| auth.at > reject.at) {
            return None;
        }
        let nas = reject.nas_name.as_deref().unwrap_or(&reject.nas);
        let line = if reject.line.is_empty() { String::new() } else { format!(", line {}", reject.line) };
        let LastReject { code, count, since, at, .. } = reject;
        Some(format!("{code} ×{count} since {since}, last at {at} by {nas}{line}"))
    }
}

impl App {
    /// What was last seen of an access.
    pub async fn access_status(&self, actor: &Actor, reference: &Ref) -> Result<AccessStatus, Refusal> {
        actor.require(Action::Read, Resource::Object(Kind::Access))?;
        let id = self.id_of(actor, Kind::Access, reference).await?;
        let snapshot = self.parts().publisher.load_full();
        Ok(self.status_of_access(&snapshot, id))
    }

    pub(super) fn status_of_access(&self, snapshot: &Snapshot, id: Uid) -> AccessStatus {
        let remembered = self.parts().last.of(id);
        let online = snapshot.access(id).and_then(|access| self.accepted_session(access));
        let accepted = remembered.accepted.into_iter().chain(online).max_by_key(|accepted| accepted.at);
        AccessStatus {
            access: Kind::Access.format_id(id),
            last_auth: accepted.map(|accepted| last_auth(snapshot, &accepted)),
            last_reject: remembered.rejected.map(|rejected| last_reject(snapshot, &rejected)),
        }
    }

    /// The accept that the live session of an access came from.
    fn accepted_session(&self, access: &Access) -> Option<Accepted> {
        let state = self.parts().ledger.holder(Holder(access.service.0))?;
        let slots = state.slots.iter().filter(|slot| is_of(slot, access));
        let accepts = slots.filter_map(|slot| match (&slot.session, &slot.pending) {
            (_, Some(pending)) => {
                Some(Accepted { at: pending.at, nas: pending.nas.0, line: smallvec::SmallVec::new() })
            }
            (Some(session), None) => {
                Some(Accepted { at: session.started_at, nas: session.nas.0, line: session.line.clone() })
            }
            (None, None) => None,
        });
        accepts.max_by_key(|accepted| accepted.at)
    }
}

/// Whether a slot is used by way of this access. An Accept without a session has no login: it is the service's.
fn is_of(slot: &Slot, access: &Access) -> bool {
    match &access.key {
        AccessKey::Login(login) => {
            slot.session.as_ref().is_none_or(|session| session.login.eq_ignore_ascii_case(login))
        }
        AccessKey::Mac(mac) => slot.owner.mac == *mac,
        AccessKey::Line { remote_id, circuit_id } => {
            slot.owner.line == Owner::line_key(remote_id.as_deref(), circuit_id.as_deref())
        }
    }
}

fn name_of(snapshot: &Snapshot, nas: Uid) -> Option<String> {
    snapshot.nas(nas).map(|nas| nas.name.to_string())
}

fn last_auth(snapshot: &Snapshot, accepted: &Accepted) -> LastAuth {
    LastAuth {
        at: accepted.at,
        nas: NasId(accepted.nas).to_string(),
        nas_name: name_of(snapshot, accepted.nas),
        line: octets_to_text(&accepted.line),
    }
}

fn last_reject(snapshot: &Snapshot, rejected: &Rejected) -> LastReject {
    LastReject {
        code: rejected.code,
        explanation: explain(rejected.code),
        count: rejected.count,
        since: rejected.since,
        at: rejected.at,
        nas: NasId(rejected.nas).to_string(),
        nas_name: name_of(snapshot, rejected.nas),
        line: octets_to_text(&rejected.line),
    }
}
