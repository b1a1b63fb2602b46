//! What was: bindings, closed sessions, decisions of late, change events.

use serde::Serialize;

use super::live_views::{BindingView, SessionView};
use super::{Action, Actor, App, Refusal, Resource};
use crate::decision::{Decision, Outcome, Plane, explain};
use crate::ids::Uid;
use crate::model::Kind;
use crate::model::decode::octets_to_text;
use crate::storage::{EventRow, ObservedFilter, Page};
use crate::time::Stamp;

/// The outcome of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DecisionView {
    /// When the request arrived.
    #[schema(value_type = String)]
    pub at: Stamp,
    /// Which part decided.
    pub plane: Plane,
    /// Kind of message.
    pub message: &'static str,
    /// What became of it.
    pub outcome: Outcome,
    /// Stable reason code.
    pub reason: &'static str,
    /// What the reason means and what to do.
    pub explanation: &'static str,
    /// Address it came from.
    pub source: Option<String>,
    /// NAS or relay, once known.
    pub nas: Option<String>,
    /// Service, once known.
    pub service: Option<String>,
    /// Login as received, empty if none.
    pub login: String,
    /// MAC address, if one was seen.
    pub mac: Option<String>,
    /// Line, empty if none.
    pub line: String,
    /// Address asked for, granted or contested.
    pub prefix: Option<String>,
    /// More in words, empty if the reason says it all.
    pub detail: String,
}

/// A change of desired state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct EventView {
    /// Commit number.
    pub seq: u64,
    /// When.
    #[schema(value_type = String)]
    pub at: Stamp,
    /// `<kind>.created`, `<kind>.updated` or `<kind>.deleted`.
    #[serde(rename = "type")]
    pub event: String,
    /// The object.
    pub object: String,
    /// Who.
    pub actor: String,
    /// The request or other cause.
    pub request: String,
}

/// Which decisions are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecisionFilter {
    /// Only with this outcome.
    pub outcome: Option<String>,
    /// Only of this part.
    pub plane: Option<String>,
    /// Only with this reason code.
    pub reason: Option<String>,
    /// Only about this login, MAC address, address or line.
    pub subject: Option<String>,
}

impl App {
    /// Who held what, oldest first.
    pub async fn bindings(
        &self,
        actor: &Actor,
        filter: ObservedFilter,
        after: Option<String>,
        limit: usize,
    ) -> Result<Page<BindingView>, Refusal> {
        actor.require(Action::Read, Resource::Binding)?;
        let page = self.storage().bindings(actor.tenant, filter, after, limit).await?;
        let items = page.items.into_iter().map(BindingView::from).collect();
        Ok(Page { items, next: page.next, as_of_seq: page.as_of_seq })
    }

    /// Sessions as storage has them, newest first.
    pub async fn stored_sessions(
        &self,
        actor: &Actor,
        filter: ObservedFilter,
        after: Option<String>,
        limit: usize,
    ) -> Result<Page<SessionView>, Refusal> {
        actor.require(Action::Read, Resource::Session)?;
        let snapshot = self.parts().publisher.load_full();
        let page = self.storage().sessions(actor.tenant, filter, after, limit).await?;
        let items = page.items.into_iter().map(|row| SessionView::stored(&snapshot, row)).collect();
        Ok(Page { items, next: page.next, as_of_seq: page.as_of_seq })
    }

    /// The newest decisions, newest first.
    pub fn decisions(
        &self,
        actor: &Actor,
        filter: &DecisionFilter,
        limit: usize,
    ) -> Result<Vec<DecisionView>, Refusal> {
        actor.require(Action::Read, Resource::Decision)?;
        let is = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
        let found = self.parts().decisions.recent(limit, |decision| {
            decision.tenant == actor.tenant
                && is(&filter.outcome, decision.outcome.name())
                && is(&filter.plane, decision.plane.name())
                && is(&filter.reason, decision.reason)
                && filter.subject.as_deref().is_none_or(|subject| decision.concerns(subject))
        });
        Ok(found.into_iter().map(DecisionView::from).collect())
    }

    /// Changes after `after`, oldest first.
    pub async fn events(&self, actor: &Actor, after: u64, limit: usize) -> Result<Vec<EventView>, Refusal> {
        actor.require(Action::Read, Resource::Event)?;
        let rows = self.storage().events(actor.tenant, after, limit).await?;
        Ok(rows.into_iter().map(EventView::from).collect())
    }
}

impl From<EventRow> for EventView {
    fn from(row: EventRow) -> Self {
        Self {
            seq: row.seq,
            at: row.at,
            event: format!("{}.{}", row.kind.name(), row.action),
            object: row.kind.format_id(row.object),
            actor: row.actor,
            request: row.request,
        }
    }
}

impl From<Decision> for DecisionView {
    fn from(decision: Decision) -> Self {
        let id = |uid: Uid, kind: Kind| (uid != Uid::NIL).then(|| kind.format_id(uid));
        let nas = if decision.plane == Plane::Dhcp4 { Kind::Relay } else { Kind::Nas };
        Self {
            at: decision.at,
            plane: decision.plane,
            message: decision.message,
            outcome: decision.outcome,
            reason: decision.reason,
            explanation: explain(decision.reason),
            source: decision.source.map(|source| source.to_string()),
            nas: id(decision.nas, nas),
            service: id(decision.service, Kind::Service),
            login: octets_to_text(&decision.login),
            mac: decision.mac.map(|mac| mac.to_string()),
            line: octets_to_text(&decision.line),
            prefix: decision.prefix.map(|prefix| prefix.to_string()),
            detail: octets_to_text(&decision.detail),
        }
    }
}
