//! What this node has learned of its NASes' signatures: read at start, reported, written beside the ledger.
//!
//! Node-local and small; written off the packet path, at once when a proof comes or goes, else at most once a minute. A
//! file that cannot be used costs a day of learning, so it stops nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::kept;
use crate::ids::{NasId, Uid};
use crate::model::nas::{Enforce, Requirement};
use crate::radius::signatures::{Signatures, Standing};
use crate::snapshot::Snapshot;
use crate::snapshot::publish::Publisher;
use crate::snapshot::types::Nas;

/// Name of the file in the state directory.
const FILE: &str = "nas.signatures";
/// How often the proofs are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Looks between two writes while nothing but counts has changed.
const LOOKS_PER_WRITE: u32 = 12;

/// What was learned before this start.
pub(crate) fn load(directory: &Path) -> Arc<Signatures> {
    let path = directory.join(FILE);
    let unusable = |why: &dyn std::fmt::Display| {
        tracing::warn!(file = %path.display(), %why, "what was learned of the NASes' signatures is lost; learning begins anew");
    };
    match fs::read(&path) {
        Ok(image) => match Signatures::load(&image) {
            Ok(signatures) => return Arc::new(signatures),
            Err(damage) => unusable(&damage),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => unusable(&error),
    }
    Arc::default()
}

/// Learns from now on about exactly those NASes of which the operator has not said whether they sign.
pub(crate) fn follow(signatures: &Arc<Signatures>, publisher: &Publisher) {
    signatures.follow(unsaid(&publisher.load()));
    let signatures = Arc::clone(signatures);
    publisher.subscribe(move |publication| {
        // Most changes are of subscribers.
        if !unsaid(publication.before).eq(unsaid(publication.snapshot)) {
            signatures.follow(unsaid(publication.snapshot));
        }
    });
}

/// NASes on `auto`.
fn unsaid(snapshot: &Snapshot) -> impl Iterator<Item = Uid> {
    let is_auto = |nas: &&Arc<Nas>| nas.require_message_authenticator == Requirement::Auto;
    snapshot.all_nas().filter(is_auto).map(|nas| nas.id)
}

/// The file, and what it says now.
pub(crate) struct Learned {
    path: PathBuf,
    signatures: Arc<Signatures>,
    publisher: Arc<Publisher>,
    written: parking_lot::Mutex<Vec<u8>>,
}

impl Learned {
    pub(crate) fn new(directory: &Path, signatures: Arc<Signatures>, publisher: Arc<Publisher>) -> Self {
        let written = parking_lot::Mutex::new(signatures.image());
        Self { path: directory.join(FILE), signatures, publisher, written }
    }

    /// Writes the file if it says something else by now.
    pub(crate) fn write(&self) {
        let mut written = self.written.lock();
        let image = self.signatures.image();
        if *written == image {
            return;
        }
        match kept::replace(&self.path, &image) {
            Ok(()) => *written = image,
            Err(error) => {
                tracing::warn!(%error, file = %self.path.display(), "what was learned of the NASes' signatures could not be written");
            }
        }
    }

    fn proven(&self) -> BTreeMap<Uid, Enforce> {
        let snapshot = self.publisher.load();
        let is_proven = |nas: Uid| matches!(self.signatures.standing(nas), Some(Standing::Proven { .. }));
        let proven = snapshot.all_nas().filter(|nas| is_proven(nas.id));
        proven.map(|nas| (nas.id, nas.enforce_message_authenticator)).collect()
    }

    /// Says what came and went since `before`.
    fn report(&self, before: &BTreeMap<Uid, Enforce>, now: &BTreeMap<Uid, Enforce>) {
        let snapshot = self.publisher.load();
        let name =
            |id: Uid| snapshot.nas(id).map_or_else(|| NasId(id).to_string(), |nas| nas.name.to_string());
        for (id, enforce) in now.iter().filter(|(id, enforce)| before.get(*id) != Some(*enforce)) {
            match enforce {
                Enforce::Auto => {
                    tracing::warn!(nas = %name(*id), "this NAS signs every Access-Request: from now on unsigned ones are not answered; enforce_message_authenticator = propose takes it back");
                }
                Enforce::Propose => {
                    tracing::info!(nas = %name(*id), "this NAS signs every Access-Request: set its require_message_authenticator to yes");
                }
            }
        }
        for id in before.keys().filter(|id| !now.contains_key(*id)) {
            if unsaid(&snapshot).any(|nas| nas == *id) {
                tracing::warn!(nas = %name(*id), "an unsigned Access-Request came under the address of this NAS, which had signed all of them; learning begins anew");
            }
        }
    }
}

/// Reports proofs and writes the file, for as long as the daemon runs.
pub(crate) async fn learn(learned: Arc<Learned>) {
    let mut turn = tokio::time::interval(LOOK);
    let (mut before, mut looks) = (learned.proven(), 0);
    loop {
        turn.tick().await;
        let now = learned.proven();
        learned.report(&before, &now);
        looks += 1;
        if now != before || looks >= LOOKS_PER_WRITE {
            let learned = Arc::clone(&learned);
            let _ = tokio::task::spawn_blocking(move || learned.write()).await;
            looks = 0;
        }
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_is_read_back_and_a_damaged_file_starts_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        assert_eq!(load(directory.path()).standing(Uid(1)), None, "nothing is there");
        // One NAS: 3 signed requests since second 1,000.
        let mut image = b"LMSIGNED\0\0\0\x01\0\0\0\x01".to_vec();
        image.extend_from_slice(&1_u128.to_be_bytes());
        image.extend_from_slice(&(1_000_u64 << 24 | 3).to_be_bytes());
        image.extend_from_slice(&crc32c::crc32c(&image).to_be_bytes());
        let publisher = Arc::new(Publisher::new(Snapshot::empty()));
        let learned = Learned::new(directory.path(), Arc::default(), Arc::clone(&publisher));
        learned.write();
        assert!(!path.exists(), "nothing has changed");
        let loaded = Arc::new(Signatures::load(&image).unwrap());
        let changed = Learned { signatures: loaded, ..learned };
        changed.write();
        let again = load(directory.path());
        assert_eq!(again.image(), image);
        assert!(matches!(again.standing(Uid(1)), Some(Standing::Learning { signed: 3, .. })));
        image[20] ^= 1;
        fs::write(&path, &image).unwrap();
        assert_eq!(load(directory.path()).standing(Uid(1)), None);
    }
}
