//! The daemon under load: its state seeded through storage, then `lastmile serve` as it ships.
//!
//! Default durability, applier and metrics on. Subscribers, services and accesses are written as a CRM's would stand in
//! storage; one plan, one pool of 4 M addresses, one NAS on 127.0.0.0/8, one relay group on 127.0.1.0/24.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::Context;
use lastmile::ids::{SystemEntropy, TenantId, Uid};
use lastmile::model::{Envelope, Kind, Problems, Ref, Spec};
use lastmile::storage::{Change, Storage, StoredObject, Write};
use lastmile::time::{Clock, Stamp, SteadyClock};
use lastmile::vault::{MasterKey, Vault};
use serde_json::{Value, json};

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

/// A daemon started for one run, with its state.
pub(crate) struct Daemon {
    child: Child,
    state: tempfile::TempDir,
    pub(crate) auth: SocketAddr,
    pub(crate) acct: SocketAddr,
    pub(crate) dhcp4: SocketAddr,
    metrics: SocketAddr,
    /// Seconds from start to ready.
    pub(crate) ready_secs: f64,
}

impl Daemon {
    /// Seeds a state of `subscribers` and starts `lastmile serve` on it.
    pub(crate) fn start(
        subscribers: u32,
        recognised: Recognised,
        secret: &str,
        password: &str,
        workers: usize,
    ) -> anyhow::Result<Self> {
        let state = tempfile::tempdir()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(seed(state.path(), subscribers, recognised, secret, password))?;
        let config = configure(state.path(), workers)?;
        let clock = SteadyClock::start();
        let mut child = Command::new(env!("CARGO_BIN_EXE_lastmile"))
            .args(["serve", "--print-listeners", "--config"])
            .arg(config)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the daemon")?;
        let listeners = read_listeners(&mut child)?;
        let ready_secs = seconds(&clock);
        let at = |name: &str| {
            let found = listeners.iter().find(|(known, _)| known == name).map(|(_, address)| *address);
            found.with_context(|| format!("the daemon printed no {name} listener"))
        };
        Ok(Self {
            auth: at("radius-auth")?,
            acct: at("radius-acct")?,
            dhcp4: at("dhcp4")?,
            metrics: at("metrics")?,
            child,
            state,
            ready_secs,
        })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// One number of /metrics.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.metrics_text().unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
    }

    fn metrics_text(&self) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.metrics)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Waits until the applier has written everything; gives the backlog found and the seconds it took.
    pub(crate) fn drain(&self) -> (f64, f64) {
        let backlog = self.metric("lastmile_applier_lag_records");
        let clock = SteadyClock::start();
        while self.metric("lastmile_applier_lag_records") > 0.0 && seconds(&clock) < 300.0 {
            std::thread::yield_now();
        }
        (backlog, seconds(&clock))
    }

    /// Where its state lies.
    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds since the clock was started.
fn seconds(clock: &SteadyClock) -> f64 {
    clock.now().tick.0 as f64 / 1e9
}

fn read_listeners(child: &mut Child) -> anyhow::Result<Vec<(String, SocketAddr)>> {
    let output = child.stdout.take().context("the daemon has no output")?;
    let mut listeners = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        if line == "ready" {
            return Ok(listeners);
        }
        let mut words = line.split_whitespace().skip(1);
        if let (Some(name), Some(Ok(address))) = (words.next(), words.next().map(str::parse)) {
            listeners.push((name.to_owned(), address));
        }
    }
    anyhow::bail!("the daemon ended before it was ready")
}

fn configure(state: &Path, workers: usize) -> anyhow::Result<PathBuf> {
    let path = state.join("lastmile.toml");
    let text = format!(
        "[node]\nstate = \"{state}\"\nrun = \"{state}/run\"\n\
         [radius]\nauth = [\"127.0.0.1:0\"]\nacct = [\"127.0.0.1:0\"]\nworkers = {workers}\n\
         [dhcp4]\nlisten = [\"127.0.0.1:0\"]\nworkers = {workers}\n\
         [api]\nlisten = \"127.0.0.1:0\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n[log]\nlevel = \"warn\"\n",
        state = state.display(),
    );
    fs::write(&path, text)?;
    Ok(path)
}

/// Writes objects in changes of bounded size.
struct Seeder {
    storage: Arc<dyn Storage>,
    vault: Vault,
    pending: Vec<Write>,
}

impl Seeder {
    async fn add(&mut self, kind: Kind, external_id: String, spec: Value) -> anyhow::Result<Ref> {
        let mut problems = Problems::default();
        let spec = Spec::decode(kind, &spec, "/spec", &mut problems)
            .with_context(|| format!("{kind:?} {external_id}: {problems:?}"))?;
        let id = Uid::mint(Stamp::from_secs(1_790_000_000), &SystemEntropy);
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

async fn seed(
    state: &Path,
    subscribers: u32,
    recognised: Recognised,
    secret: &str,
    password: &str,
) -> anyhow::Result<()> {
    let master = MasterKey::load_or_create(&state.join("secret.key"), &SystemEntropy)?;
    let vault = Vault::new(&master, Arc::new(SystemEntropy));
    let storage = lastmile::storage::open(&format!("sqlite:{}", state.join("lastmile.db").display())).await?;
    vault.load_tenant(storage.as_ref(), TenantId::DEFAULT).await?;
    let mut seeder = Seeder { storage, vault, pending: Vec::new() };
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
    for number in 0..subscribers {
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
