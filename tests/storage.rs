//! Storage on SQLite and on a PostgreSQL that the test starts: the conformance suite, schemas, and databases that are
//! away, silent or newer than the program.

#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

mod conformance;
mod support;

use std::sync::Arc;
use std::time::Duration;

use lastmile::ids::{TenantId, Uid};
use lastmile::model::Kind;
use lastmile::storage::{self, Lookup, Storage, StorageError, migrate};
use sqlx::{Connection, PgConnection, Row, SqliteConnection};
use support::postgres::TestPostgres;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Far more than anything bounded takes: only a hang reaches it.
const HANG: Duration = Duration::from_mins(1);

fn sqlite_url(directory: &tempfile::TempDir) -> String {
    format!("sqlite:{}", directory.path().join("made/lastmile.db").display())
}

/// Runs every check on a storage of its own, and reports all that failed.
async fn run_suite(open: impl AsyncFn(&str) -> Arc<dyn Storage>) {
    let mut failed = Vec::new();
    for (name, check) in conformance::CHECKS {
        let storage = open(name).await;
        if let Err(error) = tokio::spawn(check(storage)).await {
            failed.push(format!("{name}: {error}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_passes_the_conformance_suite() {
    let directory = tempfile::tempdir().unwrap();
    run_suite(async |name| {
        let path = directory.path().join(name).join("lastmile.db");
        storage::open(&format!("sqlite:{}", path.display())).await.unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_passes_the_conformance_suite() {
    let Some(postgres) = TestPostgres::start() else {
        return;
    };
    run_suite(async |name| {
        // The names of checks are longer than PostgreSQL's.
        let number = conformance::CHECKS.iter().position(|(check, _)| *check == name).unwrap();
        storage::open(&postgres.fresh_database(&format!("check{number}"))).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_database_file_and_its_directory_are_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_url(&directory);
    let file = directory.path().join("made/lastmile.db");
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let storage = storage::open(&url).await.unwrap();
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    for entry in std::fs::read_dir(file.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    drop(storage);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    storage::open(&url).await.unwrap();
    assert_eq!(mode(&file), 0o600);
}

#[tokio::test]
async fn a_database_that_a_newer_program_migrated_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_url(&directory);
    assert_eq!(migrate::status(&url).await.unwrap(), (0, migrate::KNOWN));
    assert!(!directory.path().join("made").exists());
    assert_eq!(migrate::migrate(&url).await.unwrap(), (0, migrate::KNOWN));
    assert_eq!(migrate::migrate(&url).await.unwrap(), (migrate::KNOWN, migrate::KNOWN));
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let newer = "INSERT INTO schema (version, name) VALUES (1000, 'from the future')";
    sqlx::raw_sql(newer).execute(&mut connection).await.unwrap();
    assert_eq!(migrate::status(&url).await.unwrap(), (1000, migrate::KNOWN));
    assert_refuses_newer(storage::open(&url).await);
    let Some(postgres) = TestPostgres::start() else {
        return;
    };
    let url = postgres.url();
    assert_eq!(migrate::status(&url).await.unwrap(), (0, migrate::KNOWN));
    storage::open(&url).await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(newer).execute(&mut connection).await.unwrap();
    assert_refuses_newer(storage::open(&url).await);
}

fn assert_refuses_newer(opened: Result<Arc<dyn Storage>, StorageError>) {
    let error = opened.err().unwrap();
    let known = migrate::KNOWN;
    assert!(matches!(error, StorageError::SchemaTooNew { found: 1000, .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("up to {known}")), "{error}");
}

/// The schema in words that do not depend on how it came about.
async fn sqlite_schema(url: &str) -> String {
    let mut connection = SqliteConnection::connect(url).await.unwrap();
    let text = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type DESC, name";
    let rows = sqlx::query(text).fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(0) + ";\n").collect()
}

async fn postgres_schema(url: &str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let text = "SELECT format('%s.%s %s%s%s%s', table_name, column_name, data_type,
           coalesce(' COLLATE ' || collation_name, ''), CASE is_nullable WHEN 'NO' THEN ' NOT NULL' ELSE '' END,
           coalesce(' DEFAULT ' || column_default, ''))
         FROM information_schema.columns WHERE table_schema = 'public'
         UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
         UNION ALL SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
           WHERE connamespace = 'public'::regnamespace
         UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
         ORDER BY 1";
    let rows = sqlx::query(text).fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(0) + "\n").collect()
}

/// Compares with the file that shows the schema to reviewers; `UPDATE=1` rewrites it.
#[expect(
    clippy::disallowed_methods,
    reason = "the switch that rewrites expectations comes from whoever runs the test"
)]
fn assert_golden(name: &str, found: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var("UPDATE").is_ok() {
        std::fs::write(&path, found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(&path).unwrap(), "{name}: a released migration never changes");
}

#[tokio::test]
async fn a_database_migrated_release_by_release_equals_a_fresh_one() {
    let directory = tempfile::tempdir().unwrap();
    let url = |name| format!("sqlite:{}", directory.path().join(name).display());
    for version in 1..=migrate::KNOWN {
        let found = migrate::migrate_to(&url("old"), version).await.unwrap();
        assert_eq!(found, (version - 1, version));
    }
    storage::open(&url("fresh")).await.unwrap();
    let fresh = sqlite_schema(&url("fresh")).await;
    assert_eq!(sqlite_schema(&url("old")).await, fresh);
    assert_golden("schema.sqlite.sql", &fresh);
    let Some(postgres) = TestPostgres::start() else {
        return;
    };
    let (old, fresh) = (postgres.fresh_database("old"), postgres.fresh_database("fresh"));
    for version in 1..=migrate::KNOWN {
        migrate::migrate_to(&old, version).await.unwrap();
    }
    // Two nodes that start at once do not trip over each other.
    let (one, two) = tokio::join!(storage::open(&fresh), storage::open(&fresh));
    one.and(two).unwrap();
    let fresh = postgres_schema(&fresh).await;
    assert_eq!(postgres_schema(&old).await, fresh);
    assert_golden("schema.postgres.txt", &fresh);
}

#[tokio::test]
async fn both_dialects_have_the_same_tables_and_columns() {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_url(&directory);
    storage::open(&url).await.unwrap();
    let Some(postgres) = TestPostgres::start() else {
        return;
    };
    storage::open(&postgres.url()).await.unwrap();
    let mut sqlite = SqliteConnection::connect(&url).await.unwrap();
    let text = "SELECT t.name || '.' || c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c
                WHERE t.type = 'table' ORDER BY 1";
    let ours: Vec<String> = sqlx::query_scalar(text).fetch_all(&mut sqlite).await.unwrap();
    let mut other = PgConnection::connect(&postgres.url()).await.unwrap();
    let text = "SELECT (table_name || '.' || column_name) COLLATE \"C\" FROM information_schema.columns
                WHERE table_schema = 'public' ORDER BY 1";
    let theirs: Vec<String> = sqlx::query_scalar(text).fetch_all(&mut other).await.unwrap();
    assert_eq!(ours, theirs);
}

#[tokio::test]
async fn an_audit_row_keeps_both_images_and_cannot_be_rewritten() {
    use conformance::values::{change, create, object, update};
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_url(&directory);
    let storage = storage::open(&url).await.unwrap();
    let first = create(object(Kind::Plan, 1));
    storage.commit(change([first.clone()])).await.unwrap();
    let mut second = update(&first);
    second.object.spec_json = "{\"n\":2}".to_owned();
    storage.commit(change([second])).await.unwrap();
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let text = "SELECT actor || '|' || request || '|' || before || '|' || after FROM audit ORDER BY seq";
    let rows: Vec<String> = sqlx::query_scalar(text).fetch_all(&mut connection).await.unwrap();
    assert_eq!(rows, ["test|req_1||{\"n\":1}", "test|req_1|{\"n\":1}|{\"n\":2}"]);
    let rewritten = sqlx::raw_sql("UPDATE audit SET actor = 'nobody'").execute(&mut connection).await;
    assert!(rewritten.unwrap_err().to_string().contains("append-only"));
}

#[tokio::test]
async fn errors_name_what_failed_and_never_the_password() {
    for url in
        ["mysql://root:hunter22@host/db", "postgres://jan:hunter22@127.0.0.1:1/db", "sqlite:", "hunter22"]
    {
        let error = timeout(HANG, storage::open(url)).await.unwrap().err().unwrap();
        let text = format!("{error} {error:?} {:?}", std::error::Error::source(&error));
        assert!(!text.contains("hunter22"), "{text}");
    }
}

async fn ask(storage: &dyn Storage) -> Result<usize, StorageError> {
    let lookup = Lookup::Id(Uid(1));
    let answer = storage.find(TenantId::DEFAULT, Kind::Plan, lookup);
    timeout(HANG, answer).await.unwrap().map(|found| found.len())
}

async fn write(storage: &dyn Storage) -> Result<u64, StorageError> {
    timeout(HANG, storage.raise_epoch(1)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_went_away_is_unavailable_until_it_is_back() {
    let Some(mut postgres) = TestPostgres::start() else {
        return;
    };
    let storage = storage::open(&postgres.url()).await.unwrap();
    assert_eq!(write(&*storage).await.unwrap(), 1);
    postgres.stop();
    let error = ask(&*storage).await.unwrap_err();
    assert!(matches!(error, StorageError::Unavailable { .. }), "{error:?}");
    let error = write(&*storage).await.unwrap_err();
    assert!(matches!(error, StorageError::Unavailable { .. }), "{error:?}");
    postgres.restart();
    assert_eq!(write(&*storage).await.unwrap(), 2);
    assert_eq!(ask(&*storage).await.unwrap(), 0);
}

/// Passes bytes on until it is told to swallow them: connections stay open and nothing comes back.
struct Tunnel {
    port: u16,
    swallow: tokio::sync::watch::Sender<bool>,
}

impl Tunnel {
    #[expect(clippy::disallowed_methods, reason = "the test stands between the storage and its database")]
    fn to(target: u16) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (swallow, told) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut told = told.clone();
                tokio::spawn(async move {
                    let swallowed = async |told: &mut tokio::sync::watch::Receiver<bool>| {
                        told.wait_for(|swallow| *swallow).await.map(drop)
                    };
                    let passing = async {
                        let mut far = TcpStream::connect(("127.0.0.1", target)).await?;
                        tokio::io::copy_bidirectional(&mut near, &mut far).await.map(drop)
                    };
                    tokio::select! {
                        _ = passing => {}
                        _ = swallowed(&mut told) => {
                            let _ = told.wait_for(|swallow| !*swallow).await;
                        }
                    }
                    drop(near);
                });
            }
        });
        Self { port, swallow }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_behind_a_silent_network_is_unavailable_and_recovers() {
    let Some(postgres) = TestPostgres::start() else {
        return;
    };
    let tunnel = Tunnel::to(postgres.port());
    let url = format!("postgres://lastmile@127.0.0.1:{}/postgres", tunnel.port);
    let storage = storage::open(&url).await.unwrap();
    assert_eq!(write(&*storage).await.unwrap(), 1);
    tunnel.swallow.send(true).unwrap();
    let (asked, written) = tokio::join!(ask(&*storage), write(&*storage));
    let (asked, written) = (asked.unwrap_err(), written.unwrap_err());
    assert!(matches!(asked, StorageError::Unavailable { .. }), "{asked:?}");
    assert!(matches!(written, StorageError::Unavailable { .. }), "{written:?}");
    tunnel.swallow.send(false).unwrap();
    assert_eq!(write(&*storage).await.unwrap(), 2);
}
