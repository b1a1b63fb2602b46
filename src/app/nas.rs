//! What this node sees of a NAS, beside what was wanted of it: whether it signs its requests.

use std::collections::BTreeSet;

use serde::Serialize;

use super::App;
use super::why::Check;
use crate::decision::Decision;
use crate::ids::Uid;
use crate::model::nas::{Enforce, Requirement};
use crate::radius::signatures::Standing;
use crate::snapshot::types::Nas;
use crate::time::Stamp;

/// How a NAS stands, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct NasStatus {
    /// Whether it signs its Access-Requests (CVE-2024-3596).
    pub message_authenticator: MessageAuthenticatorStatus,
}

/// Whether a NAS signs its Access-Requests, and what follows from that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MessageAuthenticatorStatus {
    /// `required` or `not_required` by the operator's word; else `learning`, `proposed` (it has signed all of them for long
    /// enough) or `enforced` (so unsigned ones are no longer answered).
    pub standing: &'static str,
    /// Signed requests since the last unsigned one, counted up to 1,000; null where nothing is learned, and when proven.
    pub signed: Option<u32>,
    /// When the first of them came.
    #[schema(value_type = Option<String>)]
    pub since: Option<Stamp>,
    /// What to do, where something is to be done or can be taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<&'static str>,
}

const PROPOSAL: &str = "set require_message_authenticator to yes";
const TAKE_BACK: &str =
    "enforce_message_authenticator = propose, or require_message_authenticator = no, takes it back";

impl App {
    /// How a NAS stands; none when this node does not decide by it yet.
    pub fn nas_status(&self, nas: Uid) -> Option<NasStatus> {
        let snapshot = self.parts().publisher.load();
        let message_authenticator = self.signing_of(snapshot.nas(nas)?);
        Some(NasStatus { message_authenticator })
    }

    /// NASes on `auto` by standing: learning, proposed, enforced.
    pub fn signing_totals(&self) -> [(&'static str, u64); 3] {
        let mut totals = [("learning", 0), ("proposed", 0), ("enforced", 0)];
        for nas in self.parts().publisher.load().all_nas() {
            let standing = self.signing_of(nas).standing;
            if let Some((_, count)) = totals.iter_mut().find(|(name, _)| *name == standing) {
                *count += 1;
            }
        }
        totals
    }

    /// What was learned of the NASes through which somebody comes: a NAS that stopped to sign leaves its subscribers offline
    /// without a decision that names them.
    pub(super) fn signing_checks(&self, nases: &BTreeSet<Uid>) -> Vec<Check> {
        let snapshot = self.parts().publisher.load();
        let mut checks = Vec::new();
        for nas in nases.iter().filter_map(|nas| snapshot.nas(*nas)) {
            let MessageAuthenticatorStatus { standing, since: Some(since), next: Some(next), .. } =
                self.signing_of(nas)
            else {
                continue;
            };
            let refused = |decision: &Decision| {
                decision.nas == nas.id && decision.reason == "message-authenticator-learned"
            };
            let last = self.parts().decisions.recent(1, refused);
            let mut evidence =
                format!("{} has signed every Access-Request since {since}: {standing}", nas.name);
            if let Some(last) = last.first() {
                evidence = format!("{evidence}; an unsigned one was not answered at {}", last.at);
            }
            let result = if last.is_empty() { "pass" } else { "warn" };
            checks.push(Check {
                id: "nas.message_authenticator",
                result,
                evidence,
                next: Some(next.to_owned()),
            });
        }
        checks
    }

    fn signing_of(&self, nas: &Nas) -> MessageAuthenticatorStatus {
        let said = |standing| MessageAuthenticatorStatus { standing, signed: None, since: None, next: None };
        match nas.require_message_authenticator {
            Requirement::Yes => return said("required"),
            Requirement::No => return said("not_required"),
            Requirement::Auto => {}
        }
        match self.parts().signatures.standing(nas.id) {
            None => MessageAuthenticatorStatus { signed: Some(0), ..said("learning") },
            Some(Standing::Learning { signed, since }) => {
                MessageAuthenticatorStatus { signed: Some(signed), since, ..said("learning") }
            }
            Some(Standing::Proven { since }) => {
                let (standing, next) = match nas.enforce_message_authenticator {
                    Enforce::Propose => ("proposed", PROPOSAL),
                    Enforce::Auto => ("enforced", TAKE_BACK),
                };
                MessageAuthenticatorStatus { since: Some(since), next: Some(next), ..said(standing) }
            }
        }
    }
}
