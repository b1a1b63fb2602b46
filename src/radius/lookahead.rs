//! What the decisions about a batch of requests will read, asked for before the first of them is made.
//!
//! A login follows a chain of pointers through the snapshot, the ledger and the duplicate cache, and among a million
//! services each link is a wait for memory. Here all datagrams of a batch go one link further at a time, so that their
//! waits overlap ([`crate::prefetch`]). Nothing is verified, decided or changed: a datagram that is not understood is left
//! out, and whoever is looked up in vain is looked up again by the decision. Logins and Classes only; what else identifies
//! an access or a session is found without this.

use smallvec::SmallVec;

use super::duplicate::{DuplicateCache, Key};
use super::identify::login_of;
use super::wire::attribute::kind;
use super::wire::class::ClassKey;
use super::wire::packet::Packet;
use crate::ids::SessionId;
use crate::journal::record::Holder;
use crate::ledger::Ledger;
use crate::pipeline::Batch;
use crate::prefetch;
use crate::snapshot::Snapshot;
use crate::snapshot::types::{Access, AccessKey};

/// Datagrams of a batch that need no allocation.
const TOGETHER: usize = crate::limits::DATAGRAMS_PER_CALL_MAX;

/// Goes through the batch step by step.
pub(super) fn look_ahead(
    duplicates: &DuplicateCache,
    snapshot: &Snapshot,
    ledger: &Ledger,
    batch: Batch<'_, '_>,
) {
    let mut requests: SmallVec<[u64; TOGETHER]> = SmallVec::new();
    let mut logins: SmallVec<[u64; TOGETHER]> = SmallVec::new();
    for (bytes, source) in batch {
        let Ok(packet) = Packet::parse(bytes) else { continue };
        let identifier = packet.find(kind::NAS_IDENTIFIER).map(|attribute| attribute.value);
        let Ok(nas) = snapshot.nas_by_source(source.ip().to_canonical(), identifier) else { continue };
        let request = Key::new(source, packet.code().0, packet.identifier(), *packet.authenticator()).hash();
        duplicates.touch(request);
        requests.push(request);
        let class = packet.find(kind::CLASS).and_then(|class| ClassKey::named(class.value));
        if let Some(session) = class {
            ledger.touch_id(SessionId(session));
        }
        let Some(login) = packet.find(kind::USER_NAME) else { continue };
        let login = login_of(nas, login.value);
        logins.extend(snapshot.touch_login(nas.tenant, nas.group.as_deref(), &login));
    }
    for request in &requests {
        duplicates.touch_chain(*request);
    }
    for login in &logins {
        snapshot.touch_filed(*login);
    }
    let accesses: SmallVec<[&Access; TOGETHER]> =
        logins.iter().filter_map(|login| snapshot.filed_at(*login)).collect();
    for access in &accesses {
        prefetch::touch(*access);
    }
    for access in &accesses {
        if let AccessKey::Login(login) = &access.key {
            prefetch::touch(&**login);
        }
        if let Some(password) = &access.password {
            prefetch::touch(&**password);
        }
        snapshot.touch_service_way(access.service);
        ledger.touch(Holder(access.service.0));
    }
    for access in &accesses {
        if let Some(password) = &access.password {
            prefetch::touch(password.expose());
        }
        snapshot.touch_service(access.service);
        ledger.touch_slot(Holder(access.service.0));
    }
    for access in &accesses {
        if let Some(service) = snapshot.service(access.service) {
            prefetch::touch(&**service);
        }
        ledger.touch_session(Holder(access.service.0));
    }
}
