//! Why a use-case did not do what was asked, with everything a caller needs to do better.
//!
//! `Display` is the English text for people. Codes are the contract: they are never renamed. The API turns a refusal into
//! a problem document (RFC 9457) and adds the text in other languages; nothing here knows of HTTP.

use crate::model::Problems;
use crate::model::decode::Problem;
use crate::storage::StorageError;
use crate::vault::VaultError;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing, or the actor may not know of it.
    #[error("there is no {what}")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// Several objects have this external id in different sources.
    #[error("`{reference}` names several objects: {}; name one of them", matches.join(", "))]
    Ambiguous {
        /// The reference.
        reference: String,
        /// What it could mean.
        matches: Vec<String>,
    },
    /// The actor's scopes do not cover the action.
    #[error("{actor} lacks the scope {scope}")]
    Denied {
        /// Who.
        actor: String,
        /// What would be needed.
        scope: String,
    },
    /// The object belongs to another source.
    #[error("{object} belongs to {owner}")]
    NotOwner {
        /// Which object.
        object: String,
        /// Whose it is.
        owner: String,
    },
    /// The input is wrong; every problem is listed.
    #[error("{} wrong: {}", plural(.0.0.len(), "member is", "members are"), .0.0.first().map_or("", |problem| &problem.detail))]
    Invalid(Problems),
    /// An older version than the stored one.
    #[error("source_version {given} is older than the stored {current}")]
    Stale {
        /// Version given.
        given: i64,
        /// Version stored.
        current: i64,
    },
    /// The same version with different content.
    #[error("source_version {version} is already stored with other content ({})", changed.join(", "))]
    VersionConflict {
        /// The version.
        version: i64,
        /// Members that differ.
        changed: Vec<String>,
    },
    /// If-Match or If-None-Match does not hold.
    #[error("the object is at {}, not as the precondition says", current.as_deref().unwrap_or("no version: it does not exist"))]
    Precondition {
        /// Its entity tag now.
        current: Option<String>,
        /// Members in which the request differs from what is stored.
        changed: Vec<String>,
    },
    /// Another object has this external id.
    #[error("external id `{external_id}` is taken by {holder}")]
    ExternalIdTaken {
        /// The id.
        external_id: String,
        /// Who has it.
        holder: String,
    },
    /// Another access has this login, MAC address or line.
    #[error("{identity} is already used by {holder}")]
    IdentityTaken {
        /// The login, MAC address or line.
        identity: String,
        /// Who has it.
        holder: String,
    },
    /// Addresses contradict those of other objects; both sides are named.
    #[error("{}", .0.0.first().map_or("addresses contradict each other", |problem| &problem.detail))]
    AddressConflict(Problems),
    /// The object is still needed.
    #[error("{object} is still used by {}", users.join(", "))]
    InUse {
        /// Which object.
        object: String,
        /// Some of what uses it.
        users: Vec<String>,
    },
    /// Somebody else changed the object again and again while this was tried.
    #[error("{object} is being changed by others; try again")]
    Contended {
        /// Which object.
        object: String,
    },
    /// A cursor is damaged or belongs to another list.
    #[error(
        "the cursor does not belong to this list: repeat the filters it was made with, or start without one"
    )]
    BadCursor,
    /// A query parameter is wrong.
    #[error("query parameter `{parameter}`: {why}")]
    BadFilter {
        /// Which.
        parameter: String,
        /// Why.
        why: String,
    },
    /// The database or this node cannot do it now.
    #[error("not possible at the moment: {why}")]
    Unavailable {
        /// What is missing.
        why: String,
    },
    /// A defect or damaged data; the log has the cause.
    #[error("an internal error")]
    Internal {
        /// For the log, not for the caller.
        why: String,
    },
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

impl Refusal {
    /// A single wrong member.
    pub fn invalid(pointer: &str, detail: impl Into<String>) -> Self {
        let mut problems = Problems::default();
        problems.add(pointer, "validation-failed", detail);
        Self::Invalid(problems)
    }

    /// A wrong query parameter.
    pub fn filter(parameter: &str, why: impl Into<String>) -> Self {
        Self::BadFilter { parameter: parameter.to_owned(), why: why.into() }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not-found",
            Self::Ambiguous { .. } => "ambiguous-ref",
            Self::Denied { .. } => "action-denied",
            Self::NotOwner { .. } => "not-owner",
            Self::Invalid(problems) => code_of(problems),
            Self::Stale { .. } => "stale-source-version",
            Self::VersionConflict { .. } => "source-version-conflict",
            Self::Precondition { .. } => "precondition-failed",
            Self::ExternalIdTaken { .. } => "external-id-taken",
            Self::IdentityTaken { .. } => "identity-taken",
            Self::AddressConflict(_) => "address-conflict",
            Self::InUse { .. } => "in-use",
            Self::Contended { .. } => "contended",
            Self::BadCursor => "bad-cursor",
            Self::BadFilter { .. } => "bad-filter",
            Self::Unavailable { .. } => "unavailable",
            Self::Internal { .. } => "internal",
        }
    }

    /// The members that are wrong, each with its pointer.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid(problems) | Self::AddressConflict(problems) => &problems.0,
            _ => &[],
        }
    }

    /// What would help, where that is known.
    pub fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::Denied { scope, .. } => format!("use a token that has the scope {scope}"),
            Self::NotOwner { owner, .. } if owner == crate::netdefs::definitions::SOURCE => {
                "change the file and apply it, or take the object over with ?adopt=true".to_owned()
            }
            Self::NotOwner { .. } => {
                "write it with a token of that source, or take it over with ?adopt=true".to_owned()
            }
            Self::Precondition { .. } => "read the object again and decide anew".to_owned(),
            Self::Stale { .. } => "read the object; the stored state is newer than yours".to_owned(),
            Self::VersionConflict { .. } => "raise source_version with every change of content".to_owned(),
            Self::InUse { .. } => "change or delete what uses it first".to_owned(),
            Self::Ambiguous { .. } => "write ext:<source>~<external id>, or the id".to_owned(),
            _ => return None,
        })
    }

    /// A command that shows more, where there is one.
    pub fn command(&self) -> Option<String> {
        match self {
            Self::IdentityTaken { identity, .. } => {
                identity.split_once(' ').map(|(_, value)| format!("lastmile why '{value}'"))
            }
            Self::Unavailable { .. } => Some("lastmile status".to_owned()),
            _ => None,
        }
    }
}

/// One code for several problems: the most specific that they share.
fn code_of(problems: &Problems) -> &'static str {
    let mut codes = problems.0.iter().map(|problem| problem.code);
    let first = codes.next().unwrap_or("validation-failed");
    if codes.all(|code| code == first) { first } else { "validation-failed" }
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::ExternalIdTaken { external_id, holder } => {
                Self::ExternalIdTaken { external_id, holder }
            }
            StorageError::KeyTaken { key, holder } => key_taken(&key, holder),
            StorageError::Conflict { id, .. } => Self::Contended { object: id },
            StorageError::InUse { id, referrers } => Self::InUse { object: id, users: referrers },
            StorageError::DanglingReference { to, .. } => {
                let mut problems = Problems::default();
                problems.add("/spec", "unknown-ref", format!("{to} has been deleted"));
                Self::Invalid(problems)
            }
            StorageError::Unavailable { doing, .. } => {
                Self::Unavailable { why: format!("the database does not answer ({doing})") }
            }
            other => Self::Internal { why: chain(&other) },
        }
    }
}

impl From<VaultError> for Refusal {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Storage(error) => error.into(),
            other => Self::Internal { why: chain(&other) },
        }
    }
}

/// A unique key in the words of the member it comes from.
fn key_taken(key: &str, holder: String) -> Refusal {
    let (kind, rest) = key.split_once(':').unwrap_or(("", key));
    let address = |text: &str| {
        let mut problems = Problems::default();
        problems.add("/spec", "address-conflict", format!("{text} is already used by {holder}"));
        Refusal::AddressConflict(problems)
    };
    let last = rest.split_once(':').map_or(rest, |(_, last)| last);
    match kind {
        "nas" => address(&format!("NAS address {}", rest.trim_end_matches(':'))),
        "relay" => address(&format!("relay address {rest}")),
        "address" => address(last),
        "pppoe" => Refusal::IdentityTaken { identity: format!("login {last}"), holder },
        "mac" => {
            let mac = rest.splitn(3, ':').nth(2).unwrap_or(rest);
            Refusal::IdentityTaken { identity: format!("MAC {mac}"), holder }
        }
        "line" => {
            let line = rest.splitn(3, ':').nth(2).unwrap_or(rest);
            Refusal::IdentityTaken { identity: format!("line {}", line.trim_matches(':')), holder }
        }
        _ => Refusal::IdentityTaken { identity: format!("key {rest}"), holder },
    }
}

/// An error with its causes in one line, for the log.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_key_is_told_in_words_of_the_network() {
        let text = |key: &str| {
            let refusal = key_taken(key, "acc_1".to_owned());
            (refusal.code(), refusal.to_string())
        };
        assert_eq!(
            text("pppoe:edge:jan"),
            ("identity-taken", "login jan is already used by acc_1".to_owned())
        );
        assert_eq!(
            text("mac:::02:00:5e:00:53:01"),
            ("identity-taken", "MAC 02:00:5e:00:53:01 is already used by acc_1".to_owned())
        );
        assert_eq!(text("line:olt::r1:c1").1, "line r1:c1 is already used by acc_1");
        assert_eq!(
            text("nas:192.0.2.1:"),
            ("address-conflict", "NAS address 192.0.2.1 is already used by acc_1".to_owned())
        );
        assert_eq!(text("address::192.0.2.9").1, "192.0.2.9 is already used by acc_1");
    }
}
