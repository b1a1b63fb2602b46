//! Which accesses a text names: the login, MAC address or line that a packet would show.
//!
//! The snapshot's indexes are asked first, in every scope in which a packet could come: each NAS and relay group, each
//! network. They know neither a login in other letters nor one half of a line of two, so when nothing at all is known by the
//! text, all accesses are looked at ([`scan`]): some thirty milliseconds for a million.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{TenantId, Uid};
use crate::model::Mac;
use crate::model::decode::octets_from_text;
use crate::snapshot::Snapshot;
use crate::snapshot::types::{Access, AccessKey};

/// The accesses that the indexes have under `subject`, in id order, at most `limit`.
pub(super) fn look_up(
    snapshot: &Snapshot,
    tenant: TenantId,
    subject: &str,
    limit: usize,
) -> Vec<Arc<Access>> {
    let groups = groups(snapshot, tenant);
    let networks = || {
        let own = snapshot.networks().filter(move |network| network.space.tenant == tenant);
        std::iter::once(None).chain(own.map(|network| Some(network.id)))
    };
    let mut found: BTreeMap<Uid, Arc<Access>> = BTreeMap::new();
    let mut note = |access: Option<&Arc<Access>>| {
        if let Some(access) = access {
            found.insert(access.id, Arc::clone(access));
        }
    };
    let lower = subject.to_ascii_lowercase();
    let mac = Mac::parse(subject.as_bytes());
    let line = octets_from_text(subject).unwrap_or_default();
    for group in groups {
        for login in [subject, &lower] {
            note(snapshot.access_by_login(tenant, group, login.as_bytes()));
        }
        for network in networks() {
            note(mac.and_then(|mac| snapshot.access_by_mac(tenant, group, network, mac)));
            note(snapshot.access_by_line(tenant, group, network, None, Some(&line)));
            note(snapshot.access_by_line(tenant, group, network, Some(&line), None));
        }
    }
    found.into_values().take(limit).collect()
}

/// The first accesses of all that `subject` names, in no particular order, at most `limit`.
pub(super) fn scan(snapshot: &Snapshot, tenant: TenantId, subject: &str, limit: usize) -> Vec<Arc<Access>> {
    let mac = Mac::parse(subject.as_bytes());
    let line = octets_from_text(subject).unwrap_or_default();
    let is_named = |access: &Access| match &access.key {
        AccessKey::Login(login) => login.eq_ignore_ascii_case(subject.as_bytes()),
        AccessKey::Mac(own) => mac == Some(*own),
        AccessKey::Line { remote_id, circuit_id } => {
            [remote_id, circuit_id].into_iter().flatten().any(|part| **part == *line)
        }
    };
    let own = snapshot.accesses().filter(|access| access.tenant == tenant && is_named(access));
    own.take(limit).cloned().collect()
}

/// The groups in which a packet could come, none included.
fn groups(snapshot: &Snapshot, tenant: TenantId) -> Vec<Option<&str>> {
    let of_nas = snapshot.all_nas().filter(|nas| nas.tenant == tenant).map(|nas| nas.group.as_deref());
    let of_relays =
        snapshot.all_relays().filter(|relay| relay.tenant == tenant).map(|relay| relay.group.as_deref());
    let mut groups: Vec<Option<&str>> = std::iter::once(None).chain(of_nas).chain(of_relays).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::compiled;
    use crate::model::Kind;

    const OBJECTS: &[(Kind, &str, &str)] = &[
        (Kind::Network, "home", r#"{"prefixes": ["10.0.0.0/24"]}"#),
        (Kind::Relay, "olt", r#"{"addresses": ["10.0.0.1"], "group": "east"}"#),
        (Kind::Nas, "bras", r#"{"addresses": ["192.0.2.1"], "secret": "correct horse", "group": "west"}"#),
        (Kind::Plan, "basic", "{}"),
        (Kind::Service, "s", r#"{"subscriber": "somebody", "plan": "basic"}"#),
        (
            Kind::Access,
            "jan",
            r#"{"service": "s", "type": "pppoe", "login": "jan", "password": "x", "group": "west"}"#,
        ),
        (Kind::Access, "jan-too", r#"{"service": "s", "type": "pppoe", "login": "jan", "password": "x"}"#),
        (Kind::Access, "eva", r#"{"service": "s", "type": "pppoe", "login": "Eva", "password": "x"}"#),
        (
            Kind::Access,
            "mac",
            r#"{"service": "s", "type": "ipoe_mac", "mac": "02:00:5e:00:53:01", "network": "home"}"#,
        ),
        (
            Kind::Access,
            "port",
            r#"{"service": "s", "type": "ipoe_opt82", "circuit_id": "0x000a", "group": "east", "network": "home"}"#,
        ),
        (
            Kind::Access,
            "halves",
            r#"{"service": "s", "type": "ipoe_opt82", "circuit_id": "port 1", "remote_id": "onu 7"}"#,
        ),
    ];

    fn named(
        by: impl Fn(&Snapshot, TenantId, &str, usize) -> Vec<Arc<Access>>,
        subject: &str,
    ) -> Vec<String> {
        let objects = compiled(OBJECTS);
        let snapshot = Snapshot::of(&objects, 1);
        let name = |access: &Arc<Access>| {
            let object = objects.iter().find(|object| object.envelope.id == access.id).unwrap();
            object.envelope.external_id.clone().unwrap()
        };
        let mut names: Vec<String> = by(&snapshot, TenantId::DEFAULT, subject, 10).iter().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn the_indexes_find_an_identity_in_every_scope_in_which_a_packet_could_come() {
        assert_eq!(named(look_up, "jan"), ["jan", "jan-too"]);
        assert_eq!(named(look_up, "JAN"), ["jan", "jan-too"]);
        assert_eq!(named(look_up, "0200.5e00.5301"), ["mac"]);
        assert_eq!(named(look_up, "0x000a"), ["port"]);
        assert!(named(look_up, "nobody").is_empty());
    }

    #[test]
    fn what_no_index_has_is_found_by_looking_at_all() {
        for (subject, access) in [("eva", "eva"), ("port 1", "halves"), ("onu 7", "halves")] {
            assert!(named(look_up, subject).is_empty(), "{subject}");
            assert_eq!(named(scan, subject), [access]);
        }
        assert_eq!(named(scan, "02-00-5E-00-53-01"), ["mac"]);
    }
}
