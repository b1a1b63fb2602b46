//! Who is asking: from the facts of a request to an access (FIELD R18, DESIGN "identity precedence").
//!
//! For PPP only the login counts. Passwordless IPoE authorisation exists where the NAS has a fixed password for it, and
//! only for requests that are not PPP: then the line comes first, the MAC address second.
//!
//! An access may be bound to a network. RADIUS does not name one; the VLAN in NAS-Port-Id does where exactly one network of
//! the operator has it. Then the access must be of that network or of any; on a network that is not known, a login is
//! found all the same and a line or MAC address only when it is bound to none.

use std::borrow::Cow;
use std::sync::Arc;

use super::request::Facts;
use crate::ids::Uid;
use crate::snapshot::Snapshot;
use crate::snapshot::types::{Access, Nas, Network};

/// An access that was found, and how.
#[derive(Clone, Debug)]
pub(super) struct Identified {
    /// The access.
    pub(super) access: Arc<Access>,
    /// Whether the subscriber proves itself with a password of its own.
    pub(super) personal: bool,
    /// The other service, which a weaker identifier names.
    pub(super) conflict: Option<Uid>,
}

/// The login after the NAS profile's name rules.
pub(super) fn login_of<'a>(nas: &Nas, login: &'a [u8]) -> Cow<'a, [u8]> {
    let login = login.trim_ascii();
    let login = match login.iter().rposition(|byte| *byte == b'@') {
        Some(at) if nas.strip_realm => login.get(..at).unwrap_or(login),
        _ => login,
    };
    if nas.lower_logins && login.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(login.to_ascii_lowercase())
    } else {
        Cow::Borrowed(login)
    }
}

/// The network that the request comes from, if it is known.
pub(super) fn network_of<'s>(
    snapshot: &'s Snapshot,
    nas: &Nas,
    facts: &Facts<'_>,
) -> Option<&'s Arc<Network>> {
    let vlan = facts.vlan()?;
    let mut on_vlan = snapshot
        .networks()
        .filter(|network| network.space.tenant == nas.tenant && network.spec.vlan == Some(vlan));
    let network = on_vlan.next()?;
    on_vlan.next().is_none().then_some(network)
}

/// Finds the access by login.
pub(super) fn by_login(snapshot: &Snapshot, nas: &Nas, facts: &Facts<'_>) -> Option<Identified> {
    let login = login_of(nas, facts.login?);
    let access = snapshot.access_by_login(nas.tenant, nas.group.as_deref(), &login)?;
    Some(Identified { access: Arc::clone(access), personal: true, conflict: None })
}

/// Finds the access by line, then by MAC address; the line wins when they disagree.
pub(super) fn by_place(snapshot: &Snapshot, nas: &Nas, facts: &Facts<'_>) -> Option<Identified> {
    let group = nas.group.as_deref();
    let network = network_of(snapshot, nas, facts).map(|network| network.id);
    let line = (facts.circuit_id.is_some() || facts.remote_id.is_some())
        .then(|| snapshot.access_by_line(nas.tenant, group, network, facts.remote_id, facts.circuit_id))
        .flatten();
    let mac = facts.mac().and_then(|mac| snapshot.access_by_mac(nas.tenant, group, network, mac));
    let conflict =
        line.zip(mac).filter(|(line, mac)| line.service != mac.service).map(|(_, mac)| mac.service);
    line.or(mac).map(|access| Identified { access: Arc::clone(access), personal: false, conflict })
}

/// Finds whoever a packet of any kind is about: for accounting, where nothing is proved by a password.
pub(super) fn anyhow(snapshot: &Snapshot, nas: &Nas, facts: &Facts<'_>) -> Option<Identified> {
    if facts.is_ppp() {
        return by_login(snapshot, nas, facts);
    }
    by_login(snapshot, nas, facts).or_else(|| by_place(snapshot, nas, facts))
}
