//! The vault: seals what must not be readable in the database or in a file, and opens it again.
//!
//! A master key of 32 random bytes lives in a file of mode 0600 or in a systemd credential, never in the database. Each
//! tenant has a data key, stored sealed under the master key and equal on every node; secrets of objects are sealed under
//! the data key. Sealing is XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha over RFC 8439 §2.8): with a random 24-byte nonce
//! two seals never meet, however many nodes seal under one key.
//!
//! Invariants: every seal is bound to what it is for (tenant, kind, object, member), so that a sealed value moved to
//! another row does not open; keys are wiped when dropped and never printed. It keeps no plaintext.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::Mac as _;
use parking_lot::{Mutex, RwLock};

use crate::ids::{Entropy, TenantId, Uid};
use crate::model::Kind;
use crate::secret::Secret;
use crate::snapshot::image::Seal;
use crate::storage::Open;
use crate::storage::{Storage, StorageError, StoredObject};

/// Length of the master key and of every key it protects, in bytes.
pub const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// First byte of everything sealed; another one means another way of sealing.
const VERSION: u8 = 1;
/// Name of the installation's key for the RADIUS Class attribute.
const CLASS: &str = "class";
const DATA: &str = "data";

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key file cannot be read or written.
    #[error("cannot {doing} the master key {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's own error.
        #[source]
        source: std::io::Error,
    },
    /// The file does not hold a key.
    #[error("{} holds {found} bytes, a master key has {KEY_BYTES}; restore it from the backup", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes found.
        found: usize,
    },
    /// Others may read the file.
    #[error("{} can be read by others (mode {mode:03o}); run chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A stored key was sealed under another master key.
    #[error(
        "the stored key `{name}` does not open: the master key is not the one this database was written with"
    )]
    WrongMaster {
        /// Name of the stored key.
        name: String,
    },
    /// The database did not give the key.
    #[error("cannot read the stored keys")]
    Storage(#[from] StorageError),
}

/// The key under which all others are sealed.
#[derive(Clone)]
pub struct MasterKey(Secret);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(<secret>)")
    }
}

impl MasterKey {
    /// From 32 bytes that the caller keeps.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Secret::new(bytes))
    }

    /// Reads the key file; makes it, with mode 0600, when there is none.
    pub fn load_or_create(path: &Path, entropy: &dyn Entropy) -> Result<Self, VaultError> {
        match Self::load(path) {
            Err(VaultError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Self::create(path, entropy)
            }
            other => other,
        }
    }

    /// Reads the key file, which nobody else may be able to read.
    pub fn load(path: &Path) -> Result<Self, VaultError> {
        let failed = |source| VaultError::Io { doing: "read", path: path.to_owned(), source };
        let bytes = Secret::new(std::fs::read(path).map_err(failed)?);
        let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
        // systemd hands credentials out with mode 0440 in a directory that only the service can enter.
        if mode & 0o007 != 0 || (mode & 0o070 != 0 && mode != 0o440) {
            return Err(VaultError::Exposed { path: path.to_owned(), mode });
        }
        if bytes.len() != KEY_BYTES {
            return Err(VaultError::Length { path: path.to_owned(), found: bytes.len() });
        }
        Ok(Self(bytes))
    }

    /// Writes a new key beside its place and links it there, so that a crash leaves a whole key or none and two first
    /// starts at once agree on one.
    fn create(path: &Path, entropy: &dyn Entropy) -> Result<Self, VaultError> {
        let failed = |source| VaultError::Io { doing: "write", path: path.to_owned(), source };
        let key = random_key(entropy);
        let draft = path.with_extension(format!("{:016x}", entropy.u64()));
        let written = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
        let mut file = written.map_err(failed)?;
        let linked = file
            .write_all(key.expose())
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::hard_link(&draft, path));
        let removed = std::fs::remove_file(&draft);
        match linked {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Self::load(path),
            other => other.and(removed).map_err(failed)?,
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        std::fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(Self(key))
    }

    fn derive(&self, purpose: &str) -> Secret {
        Secret::new(keyed_hash(&self.0, &[b"lastmile derive", purpose.as_bytes()]))
    }
}

/// Seals and opens secrets; see the module.
pub struct Vault {
    keys: Secret,
    image: Secret,
    data: RwLock<BTreeMap<TenantId, Arc<Secret>>>,
    /// Tenants whose objects were asked for before their key was loaded.
    missed: Mutex<BTreeSet<TenantId>>,
    entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("tenants", &self.data.read().len()).finish_non_exhaustive()
    }
}

impl Vault {
    /// A vault that knows no tenant yet: it opens images, so that a node can start without its database.
    pub fn new(master: &MasterKey, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            keys: master.derive("stored keys"),
            image: master.derive("snapshot image"),
            data: RwLock::new(BTreeMap::new()),
            missed: Mutex::new(BTreeSet::new()),
            entropy,
        }
    }

    /// Loads the data key of a tenant, making it when the installation has none.
    pub async fn load_tenant(&self, storage: &dyn Storage, tenant: TenantId) -> Result<(), VaultError> {
        if self.data.read().contains_key(&tenant) {
            return Ok(());
        }
        let key = self.stored_key(storage, tenant, DATA).await?;
        self.data.write().insert(tenant, Arc::new(key));
        Ok(())
    }

    /// Tenants whose objects could not be opened since the last call because their key was not loaded.
    pub fn take_missed(&self) -> Vec<TenantId> {
        std::mem::take(&mut *self.missed.lock()).into_iter().collect()
    }

    /// The key that signs the RADIUS Class attribute: one for all nodes, so that any of them takes accounting for a
    /// session that another one authorised (FIELD R5).
    pub async fn class_key(&self, storage: &dyn Storage) -> Result<Secret, VaultError> {
        self.stored_key(storage, TenantId::DEFAULT, CLASS).await
    }

    async fn stored_key(
        &self,
        storage: &dyn Storage,
        tenant: TenantId,
        name: &str,
    ) -> Result<Secret, VaultError> {
        let aad = key_aad(tenant, name);
        let candidate = self.seal_under(&self.keys, &aad, random_key(self.entropy.as_ref()).expose());
        let stored = storage.key(tenant, name.to_owned(), candidate).await?;
        open_under(&self.keys, &aad, &stored)
            .filter(|key| key.len() == KEY_BYTES)
            .map(Secret::new)
            .ok_or_else(|| VaultError::WrongMaster { name: name.to_owned() })
    }

    /// Seals the secrets of an object, each bound to its place. `None` when the tenant's key is not loaded.
    pub fn seal_secrets(
        &self,
        tenant: TenantId,
        kind: Kind,
        id: Uid,
        secrets: &[(&str, &Secret)],
    ) -> Option<Vec<u8>> {
        let key = self.data_key(tenant)?;
        let sealed: Vec<(&str, Vec<u8>)> = secrets
            .iter()
            .map(|(member, secret)| {
                let aad = secret_aad(tenant, kind, id, member);
                (*member, self.seal_under(&key, &aad, secret.expose()))
            })
            .collect();
        postcard::to_allocvec(&sealed).ok()
    }

    /// Eight hexadecimal digits by which people see whether a secret was changed. Bound to the object, so that two
    /// subscribers with one password do not show it.
    pub fn fingerprint(
        &self,
        tenant: TenantId,
        kind: Kind,
        id: Uid,
        member: &str,
        secret: &Secret,
    ) -> String {
        let key = self.data_key(tenant).unwrap_or_default();
        let hash = keyed_hash(&key, &[&secret_aad(tenant, kind, id, member), secret.expose()]);
        let (first, _) = hash.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
        format!("{:08x}", u32::from_be_bytes(*first))
    }

    fn data_key(&self, tenant: TenantId) -> Option<Arc<Secret>> {
        let key = self.data.read().get(&tenant).map(Arc::clone);
        if key.is_none() {
            self.missed.lock().insert(tenant);
        }
        key
    }

    fn seal_under(&self, key: &Secret, aad: &[u8], clear: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        self.entropy.fill(&mut nonce);
        let mut sealed = vec![VERSION];
        sealed.extend_from_slice(&nonce);
        let encrypted = cipher(key)
            .and_then(|cipher| cipher.encrypt(XNonce::from_slice(&nonce), Payload { msg: clear, aad }).ok());
        // Encryption fails only for texts beyond 256 GiB; nothing is then sealed and nothing will open.
        sealed.extend(encrypted.unwrap_or_default());
        sealed
    }
}

impl Open for Vault {
    fn secrets(&self, stored: &StoredObject) -> Option<Vec<(String, Secret)>> {
        let Some(sealed) = &stored.sealed else {
            return Some(Vec::new());
        };
        let envelope = &stored.envelope;
        let key = self.data_key(envelope.tenant)?;
        let members: Vec<(String, Vec<u8>)> = postcard::from_bytes(sealed).ok()?;
        members
            .into_iter()
            .map(|(member, sealed)| {
                let aad = secret_aad(envelope.tenant, envelope.kind, envelope.id, &member);
                Some((member, Secret::new(open_under(&key, &aad, &sealed)?)))
            })
            .collect()
    }
}

impl Seal for Vault {
    fn seal(&self, aad: &[u8], clear: &[u8]) -> Vec<u8> {
        self.seal_under(&self.image, aad, clear)
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        open_under(&self.image, aad, sealed)
    }
}

fn random_key(entropy: &dyn Entropy) -> Secret {
    let mut key = zeroize::Zeroizing::new([0; KEY_BYTES]);
    entropy.fill(key.as_mut_slice());
    Secret::new(key.as_slice())
}

fn cipher(key: &Secret) -> Option<XChaCha20Poly1305> {
    XChaCha20Poly1305::new_from_slice(key.expose()).ok()
}

fn open_under(key: &Secret, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (version, rest) = sealed.split_first()?;
    let (nonce, encrypted) = rest.split_at_checked(NONCE_BYTES)?;
    if *version != VERSION {
        return None;
    }
    cipher(key)?.decrypt(XNonce::from_slice(nonce), Payload { msg: encrypted, aad }).ok()
}

/// HMAC-SHA-256 over length-prefixed parts (RFC 2104).
fn keyed_hash(key: &Secret, parts: &[&[u8]]) -> Vec<u8> {
    let Ok(mut mac) = <hmac::Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(key.expose()) else {
        return Vec::new();
    };
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

fn key_aad(tenant: TenantId, name: &str) -> Vec<u8> {
    [b"key\0".as_slice(), &tenant.0.bytes(), name.as_bytes()].concat()
}

fn secret_aad(tenant: TenantId, kind: Kind, id: Uid, member: &str) -> Vec<u8> {
    let kind = kind.name().as_bytes();
    [b"secret\0".as_slice(), &tenant.0.bytes(), kind, b"\0", &id.bytes(), member.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SeededEntropy;

    fn vault() -> Vault {
        let vault = Vault::new(&MasterKey::new([7; KEY_BYTES]), Arc::new(SeededEntropy::new(1)));
        vault.data.write().insert(TenantId::DEFAULT, Arc::new(Secret::new([9; KEY_BYTES])));
        vault
    }

    fn stored(kind: Kind, id: Uid, sealed: Vec<u8>) -> StoredObject {
        let envelope = crate::model::Envelope {
            kind,
            id,
            tenant: TenantId::DEFAULT,
            source: None,
            external_id: None,
            generation: 1,
            source_version: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            created_at: crate::time::Stamp::ZERO,
            updated_at: crate::time::Stamp::ZERO,
            updated_by: String::new(),
            deleted_at: None,
            seq: 1,
        };
        StoredObject { envelope, spec_json: String::new(), sealed: Some(sealed) }
    }

    #[test]
    fn a_sealed_secret_opens_only_in_the_place_it_was_sealed_for() {
        let vault = vault();
        let secret = Secret::new("s3cret-canary");
        let seal =
            |kind, id| vault.seal_secrets(TenantId::DEFAULT, kind, id, &[("password", &secret)]).unwrap();
        let sealed = seal(Kind::Access, Uid(5));
        assert!(!sealed.windows(6).any(|window| window == b"canary"));
        let opened = vault.secrets(&stored(Kind::Access, Uid(5), sealed.clone())).unwrap();
        assert_eq!(opened, [("password".to_owned(), secret.clone())]);
        assert!(vault.secrets(&stored(Kind::Access, Uid(6), sealed.clone())).is_none());
        assert!(vault.secrets(&stored(Kind::Nas, Uid(5), sealed.clone())).is_none());
        assert_ne!(sealed, seal(Kind::Access, Uid(5)), "every seal has a nonce of its own");
    }

    #[test]
    fn damaged_seals_do_not_open_and_do_not_panic() {
        let vault = vault();
        let sealed = Seal::seal(&vault, b"place", b"content");
        assert_eq!(Seal::open(&vault, b"place", &sealed).as_deref(), Some(b"content".as_slice()));
        for length in 0..sealed.len() {
            assert!(Seal::open(&vault, b"place", &sealed[..length]).is_none());
        }
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(Seal::open(&vault, b"place", &damaged).is_none(), "byte {at}");
        }
    }

    #[test]
    fn an_unknown_tenant_is_noted_for_loading() {
        let vault = vault();
        let other = TenantId(Uid(77));
        assert!(vault.seal_secrets(other, Kind::Nas, Uid(1), &[]).is_none());
        assert_eq!(vault.take_missed(), [other]);
        assert!(vault.take_missed().is_empty());
    }

    #[test]
    fn fingerprints_tell_two_secrets_apart_and_hide_equal_ones_of_two_objects() {
        let vault = vault();
        let of = |id, secret: &str| {
            vault.fingerprint(TenantId::DEFAULT, Kind::Access, Uid(id), "password", &Secret::new(secret))
        };
        assert_eq!(of(1, "a").len(), 8);
        assert_eq!(of(1, "a"), of(1, "a"));
        assert_ne!(of(1, "a"), of(1, "b"));
        assert_ne!(of(1, "a"), of(2, "a"));
    }

    #[test]
    fn the_master_key_is_made_once_for_the_owner_alone_and_refused_when_others_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        let entropy = SeededEntropy::new(3);
        let made = MasterKey::load_or_create(&path, &entropy).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read = MasterKey::load_or_create(&path, &entropy).unwrap();
        assert_eq!(made.0, read.0);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no draft is left behind");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(MasterKey::load(&path), Err(VaultError::Exposed { mode: 0o644, .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, b"short").unwrap();
        assert!(matches!(MasterKey::load(&path), Err(VaultError::Length { found: 5, .. })));
    }
}
