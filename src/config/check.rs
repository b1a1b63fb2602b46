//! From what was written to what the daemon uses: ranges, relations between keys, derived values.
//!
//! Every check runs even after another has failed, so that one look at the output is enough to repair the file. The
//! function is pure; the files and sockets that the configuration names are found wanting where they are opened.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::value::Size;
use super::wire::{self, Item, Origin, Source};
use super::{
    ApiConfig, Config, ConfigProblem, Dhcp4Config, JournalConfig, LimitsConfig, LogConfig, MetricsConfig,
    NetdefsConfig, NodeConfig, RadiusConfig, SecretsConfig, StorageBackend, StorageConfig,
};
use crate::document::Document;
use crate::limits;
use crate::model::decode::name;
use crate::secret::Secret;

/// The configuration that `document` and `environment` describe together.
pub(super) fn check(
    document: &Document,
    environment: BTreeMap<String, String>,
    credentials: Option<&Path>,
) -> Result<Config, Vec<ConfigProblem>> {
    let mut source = Source::new(document, environment);
    let config = sections(&mut source, credentials);
    let mut problems = source.problems;
    problems.sort_by_key(|problem| match &problem.origin {
        Origin::File(place) => (0, place.line, place.column),
        Origin::Environment(_) => (1, 0, 0),
        Origin::Default => (2, 0, 0),
    });
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(problems),
    }
}

fn sections(source: &mut Source<'_>, credentials: Option<&Path>) -> Option<Config> {
    let node = wire::Node::read(source)?;
    source.substitute("<state>", &node.state.value);
    source.substitute("<run>", &node.run.value);
    // Every table is read before the first is required, so that the problems of all are found.
    let (storage, journal) = (wire::Storage::read(source), wire::Journal::read(source));
    let (radius, dhcp4) = (wire::Radius::read(source), wire::Dhcp4::read(source));
    let (dhcp6, api) = (wire::Dhcp6::read(source), wire::Api::read(source));
    let (metrics, log) = (wire::Metrics::read(source), wire::Log::read(source));
    let (netdefs, secrets) = (wire::Netdefs::read(source), wire::Secrets::read(source));
    let limits = wire::Limits::read(source);
    let (radius, dhcp4, dhcp6, api, metrics) = (radius?, dhcp4?, dhcp6?, api?, metrics?);
    listeners(&radius, &dhcp4, &api, &metrics, source);
    if dhcp6.enabled.value {
        wrong(source, &dhcp6.enabled, "DHCPv6 is not in this version", "write `enabled = false`");
    }
    Some(Config {
        node: check_node(&node, source),
        storage: check_storage(&storage?, source),
        journal: check_journal(&journal?, source),
        radius: check_radius(radius, source),
        dhcp4: check_dhcp4(dhcp4, source),
        api: check_api(&api, source),
        metrics: MetricsConfig { listen: metrics.listen.value },
        log: check_log(log?, source),
        netdefs: check_netdefs(&netdefs?, source),
        secrets: SecretsConfig {
            key_file: absolute(&secrets?.key_file, source),
            credential: credentials.map(|directory| directory.join("master-key")),
        },
        limits: check_limits(&limits?, source),
    })
}

fn check_node(node: &wire::Node, source: &mut Source<'_>) -> NodeConfig {
    if let Err(detail) = name(&serde_json::Value::from(node.name.value.as_str())) {
        wrong(source, &node.name, &detail, "write for example `name = \"node-1\"`");
    }
    NodeConfig {
        id: within(&node.id, &(1..=u64::from(u16::MAX)), source) as u16,
        name: node.name.value.clone(),
        share: share(&node.share, source),
        state: absolute(&node.state, source),
        run: absolute(&node.run, source),
    }
}

/// `part/of`, both from 1.
fn share(item: &Item<String>, source: &mut Source<'_>) -> (u32, u32) {
    let parts =
        item.value.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    match parts {
        Some((part, of)) if (1..=of).contains(&part) && of <= NODES_MAX => (part, of),
        _ => {
            wrong(
                source,
                item,
                "a share is `part/of` with part from 1 to of",
                "write for example `share = \"1/2\"`",
            );
            (1, 1)
        }
    }
}

/// Nodes that may share one database.
const NODES_MAX: u32 = 64;

fn check_storage(storage: &wire::Storage, source: &mut Source<'_>) -> StorageConfig {
    StorageConfig {
        url: storage.url.value.clone(),
        backend: backend(&storage.url, source).unwrap_or(StorageBackend::Postgres),
    }
}

/// The URL may hold a password, so no complaint repeats it.
fn backend(url: &Item<Secret>, source: &mut Source<'_>) -> Option<StorageBackend> {
    let text = std::str::from_utf8(url.value.expose()).ok()?;
    if let Some(path) = text.strip_prefix("sqlite:") {
        let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
        if path.is_absolute() {
            return Some(StorageBackend::Sqlite(path));
        }
        let advice = "write for example `url = \"sqlite:/var/lib/lastmile/lastmile.db\"`";
        wrong(source, url, "the path after `sqlite:` is not absolute", advice);
        return None;
    }
    let host = ["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    match host {
        Some(host) if !host.is_empty() => Some(StorageBackend::Postgres),
        _ => {
            let advice = "write `sqlite:/path/file.db` or `postgres://user:password@host/database`";
            wrong(source, url, "this names no database that Lastmile knows", advice);
            None
        }
    }
}

fn check_journal(journal: &wire::Journal, source: &mut Source<'_>) -> JournalConfig {
    let segment = size_within(&journal.segment, &limits::SEGMENT_BYTES_RANGE, source);
    let backlog = journal.backlog_max.value.0;
    // One segment is being written and one is prepared ahead: less than four leaves no room for a backlog.
    if backlog < segment.saturating_mul(4) {
        let detail = format!("smaller than four segments (`journal.segment` at {})", journal.segment.origin);
        wrong(source, &journal.backlog_max, &detail, "raise it, or make the segments smaller");
    }
    let checkpoint = &journal.checkpoint_every;
    if checkpoint.value.0 > backlog && checkpoint.origin != Origin::Default {
        let at = &journal.backlog_max.origin;
        let detail = format!("larger than `journal.backlog_max` at {at}: a checkpoint would never come");
        wrong(source, checkpoint, &detail, "write for example \"256MiB\"");
    }
    let millis = u64::try_from(journal.flush_after.value.as_millis()).unwrap_or(u64::MAX);
    if !limits::FLUSH_AFTER_MS_RANGE.contains(&millis) {
        let detail = "longer than 100ms: every answer that grants an address waits for it";
        wrong(source, &journal.flush_after, detail, "write for example \"5ms\"");
    }
    JournalConfig {
        dir: absolute(&journal.dir, source),
        segment_bytes: segment,
        backlog_bytes_max: backlog,
        flush_after: journal.flush_after.value,
        checkpoint_every_bytes: checkpoint.value.0.min(backlog),
    }
}

fn check_radius(radius: wire::Radius, source: &mut Source<'_>) -> Option<RadiusConfig> {
    let config = RadiusConfig {
        workers: within(&radius.workers, &limits::WORKERS_RANGE, source) as usize,
        receive_buffer_bytes: buffer(&radius.receive_buffer, source),
        auth: radius.auth.value,
        acct: radius.acct.value,
    };
    radius.enabled.value.then_some(config)
}

fn check_dhcp4(dhcp4: wire::Dhcp4, source: &mut Source<'_>) -> Option<Dhcp4Config> {
    if let Some(listen) = dhcp4.listen.value.iter().find(|listen| listen.is_ipv6()) {
        let detail = format!("{listen} is an IPv6 address");
        wrong(source, &dhcp4.listen, &detail, "DHCPv4 listens on IPv4 addresses");
    }
    let config = Dhcp4Config {
        workers: within(&dhcp4.workers, &limits::WORKERS_RANGE, source) as usize,
        receive_buffer_bytes: buffer(&dhcp4.receive_buffer, source),
        listen: dhcp4.listen.value,
    };
    dhcp4.enabled.value.then_some(config)
}

fn check_api(api: &wire::Api, source: &mut Source<'_>) -> ApiConfig {
    let socket = absolute(&api.socket, source);
    let bytes = socket.as_os_str().len();
    if bytes > limits::SOCKET_PATH_BYTES_MAX {
        let detail =
            format!("a socket path has at most {} bytes, this one {bytes}", limits::SOCKET_PATH_BYTES_MAX);
        wrong(source, &api.socket, &detail, "choose a shorter `api.socket` or `node.run`");
    }
    ApiConfig {
        listen: api.listen.value,
        socket,
        workers: within(&api.workers, &limits::API_WORKERS_RANGE, source) as usize,
    }
}

fn check_log(log: wire::Log, source: &mut Source<'_>) -> LogConfig {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let known = |directive: &str| {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
        LEVELS.contains(&level.trim())
    };
    if !log.level.value.split(',').all(known) {
        let advice = "write for example `info` or `info,lastmile::radius=debug`";
        let detail = format!("`{}` names no level", log.level.value);
        wrong(source, &log.level, &detail, advice);
    }
    LogConfig { format: log.format.value, level: log.level.value }
}

fn check_netdefs(netdefs: &wire::Netdefs, source: &mut Source<'_>) -> NetdefsConfig {
    let mut directory =
        |item: &Item<PathBuf>| (!item.value.as_os_str().is_empty()).then(|| absolute(item, source));
    NetdefsConfig { dir: directory(&netdefs.dir), override_dir: directory(&netdefs.override_dir) }
}

fn check_limits(written: &wire::Limits, source: &mut Source<'_>) -> LimitsConfig {
    LimitsConfig {
        decisions: within(&written.decisions, &limits::DECISIONS_RANGE, source) as usize,
        duplicate_entries: within(&written.duplicate_entries, &limits::DUPLICATE_ENTRIES_RANGE, source)
            as usize,
        commits_in_flight: within(&written.commits_in_flight, &limits::COMMITS_IN_FLIGHT_RANGE, source)
            as usize,
        retention_days: within(&written.retention_days, &limits::RETENTION_DAYS_RANGE, source) as u32,
    }
}

/// Servers that are switched on have addresses, and no two sockets of a protocol share one.
fn listeners(
    radius: &wire::Radius,
    dhcp4: &wire::Dhcp4,
    api: &wire::Api,
    metrics: &wire::Metrics,
    source: &mut Source<'_>,
) {
    let mut datagrams: Vec<(&'static str, &Origin, SocketAddr)> = Vec::new();
    for (enabled, item) in [
        (radius.enabled.value, &radius.auth),
        (radius.enabled.value, &radius.acct),
        (dhcp4.enabled.value, &dhcp4.listen),
    ] {
        if !enabled {
            continue;
        }
        if item.value.is_empty() {
            let table = item.key.split('.').next().unwrap_or(item.key);
            let advice = format!("name one, or write `enabled = false` in [{table}]");
            wrong(source, item, "no address to listen on", &advice);
        }
        datagrams.extend(item.value.iter().map(|address| (item.key, &item.origin, *address)));
    }
    let streams = [&api.listen, &metrics.listen].map(|item| (item.key, &item.origin, item.value));
    for sockets in [datagrams, streams.to_vec()] {
        let mut taken: BTreeMap<SocketAddr, (&'static str, &Origin)> = BTreeMap::new();
        // The kernel gives every port 0 another number.
        for (key, origin, address) in sockets.into_iter().filter(|socket| socket.2.port() != 0) {
            if let Some((first, at)) = taken.insert(address, (key, origin)) {
                let detail = format!("{address} is already taken by `{first}` at {at}");
                source.problem(key, origin.clone(), detail, Some("choose another port".to_owned()));
            }
        }
    }
}

fn wrong<T>(source: &mut Source<'_>, item: &Item<T>, detail: &str, suggestion: &str) {
    source.problem(item.key, item.origin.clone(), detail, Some(suggestion.to_owned()));
}

fn within(item: &Item<u64>, range: &RangeInclusive<u64>, source: &mut Source<'_>) -> u64 {
    if !range.contains(&item.value) {
        let detail = format!("{} is out of range", item.value);
        let advice = format!("write a number from {} to {}", range.start(), range.end());
        wrong(source, item, &detail, &advice);
    }
    item.value
}

fn size_within(item: &Item<Size>, range: &RangeInclusive<u64>, source: &mut Source<'_>) -> u64 {
    let Size(bytes) = item.value;
    if !range.contains(&bytes) {
        let detail = format!("{bytes} bytes are out of range");
        let advice = format!("write a size from {}KiB to {}MiB", range.start() >> 10, range.end() >> 20);
        wrong(source, item, &detail, &advice);
    }
    bytes
}

fn buffer(item: &Item<Size>, source: &mut Source<'_>) -> usize {
    let bytes = size_within(item, &limits::RECEIVE_BUFFER_BYTES_RANGE, source);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The daemon's working directory is not the operator's.
fn absolute(item: &Item<PathBuf>, source: &mut Source<'_>) -> PathBuf {
    if !item.value.is_absolute() && item.origin != Origin::Default {
        let detail = format!("`{}` is not an absolute path", item.value.display());
        wrong(source, item, &detail, "begin it with `/`");
    }
    item.value.clone()
}
