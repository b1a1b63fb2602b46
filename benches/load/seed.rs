//! The state that a daemon under load starts from: a CRM's objects as they would stand in storage.
//!
//! One plan, one pool of 4 M addresses, one NAS on 127.0.0.0/8, one relay group on 127.0.1.0/24, and a subscriber, a service
//! and an access each. Made once for a number of subscribers and copied for every run, because a million takes minutes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use lastmile::ids::{SystemEntropy, TenantId, Uid};
use lastmile::model::{Envelope, Kind, Problems, Ref, Spec};
use lastmile::storage::{Change, Storage, StoredObject, Write};
use lastmile::time::Stamp;
use lastmile::vault::{MasterKey, Vault};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Objects written in one change.
const OBJECTS_PER_CHANGE: usize = 9_000;

/// What the accesses are recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recognised {
    /// Logins `user000000` and on.
    ByLogin,
    /// Lines by option 82, numbered.
    ByLine,
}

/// What a state is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Population {
    /// How many.
    pub(crate) subscribers: u32,
    /// How they are recognised.
    pub(crate) recognised: Recognised,
    /// The NAS's shared secret.
    pub(crate) secret: String,
    /// Password of every login.
    pub(crate) password: String,
}

/// The states made so far.
#[derive(Default)]
pub(crate) struct States {
    made: Vec<(Population, PathBuf)>,
    /// Where they are kept for the next time; below a temporary directory when not given.
    kept: Option<PathBuf>,
    temporary: Vec<TempDir>,
}

impl States {
    /// States that are kept in, and taken from, a directory.
    pub(crate) fn kept_in(kept: Option<PathBuf>) -> Self {
        Self { kept, ..Self::default() }
    }

    /// A fresh copy of the state of `population`.
    pub(crate) fn copy(&mut self, population: &Population) -> anyhow::Result<TempDir> {
        if !self.made.iter().any(|(known, _)| known == population) {
            let state = self.make(population)?;
            self.made.push((population.clone(), state));
        }
        let made = self.made.iter().find(|(known, _)| known == population);
        let (_, template) = made.context("the state that was just made is missing")?;
        let copy = tempfile::tempdir()?;
        for file in fs::read_dir(template)? {
            let file = file?;
            fs::copy(file.path(), copy.path().join(file.file_name()))?;
        }
        Ok(copy)
    }

    fn make(&mut self, population: &Population) -> anyhow::Result<PathBuf> {
        let state = if let Some(kept) = &self.kept {
            let state = kept.join(format!("{:?}-{}", population.recognised, population.subscribers));
            if state.exists() {
                return Ok(state);
            }
            state
        } else {
            let temporary = tempfile::tempdir()?;
            let state = temporary.path().join("state");
            self.temporary.push(temporary);
            state
        };
        // Under its own name only when it is whole.
        let unfinished = state.with_extension("unfinished");
        fs::create_dir_all(&unfinished)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(seed(&unfinished, population))?;
        drop(runtime);
        wait_until_closed()?;
        fs::rename(&unfinished, &state)?;
        Ok(state)
    }
}

/// SQLite closes on threads of its own, which write to the files until they end.
fn wait_until_closed() -> anyhow::Result<()> {
    for _ in 0..6_000 {
        let tasks = fs::read_dir("/proc/self/task")?;
        // A thread that is gone by now has no name.
        let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        if !names.into_iter().any(|name| name.starts_with("sqlx-sqlite")) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    anyhow::bail!("the seeded database was not closed within a minute")
}

/// Writes objects in changes of bounded size.
struct Seeder {
    storage: Arc<dyn Storage>,
    vault: Vault,
    pending: Vec<Write>,
    written: u64,
}

impl Seeder {
    async fn add(&mut self, kind: Kind, external_id: String, spec: Value) -> anyhow::Result<Ref> {
        let mut problems = Problems::default();
        let spec = Spec::decode(kind, &spec, "/spec", &mut problems)
            .with_context(|| format!("{kind:?} {external_id}: {problems:?}"))?;
        // One after the other in time, as a CRM writes them: ids that are ordered keep SQLite's trees in order.
        self.written += 1;
        let id = Uid::mint(Stamp(1_790_000_000_000 + self.written), &SystemEntropy);
        let secrets: Vec<_> =
            spec.secrets().into_iter().filter_map(|(name, field)| Some((name, field.secret()?))).collect();
        let sealed = if secrets.is_empty() {
            None
        } else {
            self.vault.seal_secrets(TenantId::DEFAULT, kind, id, &secrets)
        };
        let refs = spec.refs().into_iter().map(|(_, kind, found)| (kind, found.resolved())).collect();
        let at = Stamp::from_secs(1_790_000_000);
        let envelope = Envelope {
            kind,
            id,
            tenant: TenantId::DEFAULT,
            source: Some("load".to_owned()),
            external_id: Some(external_id),
            generation: 1,
            source_version: None,
            labels: std::collections::BTreeMap::new(),
            annotations: std::collections::BTreeMap::new(),
            created_at: at,
            updated_at: at,
            updated_by: "load".to_owned(),
            deleted_at: None,
            seq: 0,
        };
        let object = StoredObject { envelope, spec_json: serde_json::to_string(&spec)?, sealed };
        let unique_keys = spec.unique_keys();
        self.pending.push(Write {
            object,
            expected_generation: 0,
            unique_keys,
            refs,
            before_json: String::new(),
        });
        if self.pending.len() >= OBJECTS_PER_CHANGE {
            self.flush().await?;
        }
        Ok(Ref::Id(kind, id))
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        let writes = std::mem::take(&mut self.pending);
        let at = Stamp::from_secs(1_790_000_000);
        self.storage.commit(Change { at, actor: "load".into(), request: "seed".into(), writes }).await?;
        Ok(())
    }
}

async fn seed(state: &Path, population: &Population) -> anyhow::Result<()> {
    let Population { subscribers, recognised, secret, password } = population;
    let master = MasterKey::load_or_create(&state.join("secret.key"), &SystemEntropy)?;
    let vault = Vault::new(&master, Arc::new(SystemEntropy));
    let storage = lastmile::storage::open(&format!("sqlite:{}", state.join("lastmile.db").display())).await?;
    vault.load_tenant(storage.as_ref(), TenantId::DEFAULT).await?;
    let mut seeder = Seeder { storage, vault, pending: Vec::new(), written: 0 };
    let network =
        json!({"prefixes": ["100.64.0.0/10"], "gateways": ["100.127.255.254"], "dns": ["192.0.2.53"]});
    let network = seeder.add(Kind::Network, "load".into(), network).await?.to_string();
    let pool = json!({"network": network, "class": "load", "ranges": ["100.64.0.0-100.127.255.253"]});
    seeder.add(Kind::Pool, "load".into(), pool).await?;
    let plan = json!({"pool_class_v4": "load", "rate_down": 300_000_000, "rate_up": 50_000_000});
    let plan = seeder.add(Kind::Plan, "load".into(), plan).await?.to_string();
    let nas = json!({"addresses": ["127.0.0.0/8"], "secret": secret, "accounting": "proven"});
    seeder.add(Kind::Nas, "load".into(), nas).await?;
    let relay = json!({"addresses": ["127.0.1.0/24"], "network": network, "group": "load"});
    seeder.add(Kind::Relay, "load".into(), relay).await?;
    for number in 0..*subscribers {
        let subscriber = seeder.add(Kind::Subscriber, format!("c{number}"), json!({})).await?.to_string();
        let service = json!({"subscriber": subscriber, "plan": plan});
        let service = seeder.add(Kind::Service, format!("s{number}"), service).await?.to_string();
        let [high, upper, lower, low] = number.to_be_bytes();
        let access = match recognised {
            Recognised::ByLogin => {
                json!({"service": service, "type": "pppoe", "login": format!("user{number:06}"), "password": password})
            }
            Recognised::ByLine => json!({
                "service": service,
                "type": "ipoe_opt82",
                "circuit_id": format!("0x{number:08x}"),
                "remote_id": format!("0x0200{high:02x}{upper:02x}{lower:02x}{low:02x}"),
            }),
        };
        seeder.add(Kind::Access, format!("a{number}"), access).await?;
    }
    seeder.flush().await
}
