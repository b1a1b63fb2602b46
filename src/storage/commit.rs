//! Committing a change: checks, rows, event and audit rows, and the seq, in one transaction.
//!
//! The counter row is the commit lock. It is locked first, so that no check can be overtaken by another node's write,
//! and updated last, so that the number exists only with everything it stands for. The next writer sees the counter
//! only after this transaction is visible: seq order is commit order, and a reader catching up by seq misses nothing.
//!
//! The keys, references and labels of every object touched are replaced as a whole: removed first, checked against
//! the rest, then inserted. Two objects may therefore swap a key within one change, and writes of one change may
//! refer to each other in any order.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::commit_sql as sql;
use super::rows::{Hex16, Millis, ObjectRow, clean, decode, encode};
use super::statement::{Connection, Statement};
use super::{Act, ActedOn, Change, StorageError, StoredObject, Write};
use crate::ids::Uid;
use crate::limits::{STORAGE_REFERRERS_NAMED_MAX, STORAGE_WRITE_ROWS_MAX};
use crate::model::Kind;

/// Applies `change` within the transaction of `connection` and returns its seq.
pub(super) async fn commit(connection: &mut Connection<'_>, change: &Change) -> Result<u64, StorageError> {
    let (newest, _) = connection.ask(&sql::LOCK, "{}".to_owned()).await?;
    if change.writes.is_empty() {
        return Ok(newest.cast_unsigned());
    }
    let seq = newest + 1;
    check_repeats(&change.writes)?;
    let rewritten = check_generations(connection, &change.writes).await?;
    for statement in &sql::FORGET {
        write_rows(connection, statement, &rewritten).await?;
    }
    claim_names(connection, &change.writes).await?;
    write_objects(connection, &change.writes, seq).await?;
    check_references(connection, &change.writes).await?;
    write_history(connection, change, seq).await?;
    connection.ask(&sql::COUNT, encode(&Counted { seq })?).await?;
    Ok(seq.cast_unsigned())
}

#[derive(Serialize)]
struct Acted<'a> {
    tenant: Hex16,
    kind: &'static str,
    id: Hex16,
    seq: i64,
    at: Millis,
    actor: Cow<'a, str>,
    request: Cow<'a, str>,
    before: Cow<'a, str>,
    after: Cow<'a, str>,
}

/// Writes the audit row of what changes no object, as the last step of the transaction of `connection`.
pub(super) async fn note(connection: &mut Connection<'_>, act: &Act) -> Result<(), StorageError> {
    let (newest, _) = connection.ask(&sql::LOCK, "{}".to_owned()).await?;
    let seq = newest + 1;
    let (kind, id) = match act.on {
        ActedOn::Token(token) => ("token", token.0),
        ActedOn::Clock(node) => ("clock", Uid(u128::from(node))),
    };
    let row = Acted {
        tenant: act.tenant.0.into(),
        kind,
        id: id.into(),
        seq,
        at: act.at.into(),
        actor: clean(&act.actor),
        request: clean(&act.request),
        before: clean(&act.before_json),
        after: clean(&act.after_json),
    };
    write_rows(connection, &sql::INSERT_AUDIT, &[row]).await?;
    connection.ask(&sql::COUNT, encode(&Counted { seq })?).await.map(drop)
}

/// Runs a statement that writes many rows, in pieces that keep its parameter small.
pub(super) async fn write_rows<T: Serialize>(
    connection: &mut Connection<'_>,
    statement: &Statement,
    rows: &[T],
) -> Result<(), StorageError> {
    for piece in rows.chunks(STORAGE_WRITE_ROWS_MAX) {
        connection.run(statement, encode(&piece)?).await?;
    }
    Ok(())
}

/// Asks the same question about many rows, in pieces, until one of them has an answer.
async fn first_answer<T: Serialize>(
    connection: &mut Connection<'_>,
    statement: &Statement,
    rows: &[T],
) -> Result<Option<String>, StorageError> {
    for piece in rows.chunks(STORAGE_WRITE_ROWS_MAX) {
        let (found, answer) = connection.ask(statement, encode(&piece)?).await?;
        if found > 0 {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}

#[derive(Serialize)]
struct Counted {
    seq: i64,
}

/// Which object a row belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Owner {
    tenant: Hex16,
    kind: Kind,
    id: Hex16,
}

impl Owner {
    fn of(object: &StoredObject) -> Self {
        Self {
            tenant: object.envelope.tenant.0.into(),
            kind: object.envelope.kind,
            id: object.envelope.id.into(),
        }
    }

    fn name(self) -> String {
        self.kind.format_id(self.id.into())
    }
}

fn living(writes: &[Write]) -> impl Iterator<Item = &Write> {
    writes.iter().filter(|write| write.object.envelope.deleted_at.is_none())
}

/// Finds an object written twice in one change, and two living objects of it with the same name.
fn check_repeats(writes: &[Write]) -> Result<(), StorageError> {
    let mut generations = HashMap::new();
    for write in writes {
        let owner = Owner::of(&write.object);
        let generation = write.object.envelope.generation;
        if let Some(actual) = generations.insert((owner.kind, owner.id.0), generation) {
            return Err(StorageError::Conflict {
                id: owner.name(),
                expected: write.expected_generation,
                actual,
            });
        }
    }
    let mut external_ids = HashMap::new();
    let mut keys = HashMap::new();
    for write in living(writes) {
        let owner = Owner::of(&write.object);
        if let Some(row) = ClaimedId::of(&write.object) {
            let external_id = row.external_id.clone().into_owned();
            let place = (owner.tenant.0, owner.kind, row.external_id, row.source);
            if let Some(holder) = external_ids.insert(place, owner) {
                let holder = holder.name();
                return Err(StorageError::ExternalIdTaken { external_id, holder });
            }
        }
        for key in &write.unique_keys {
            match keys.insert((owner.tenant.0, key), owner) {
                Some(holder) if holder != owner => {
                    return Err(StorageError::KeyTaken { key: key.clone(), holder: holder.name() });
                }
                _ => {}
            }
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Current {
    tenant: Hex16,
    kind: Kind,
    id: Hex16,
    generation: i64,
}

/// Compares what each writer saw with what is stored; returns the objects that exist already.
async fn check_generations(
    connection: &mut Connection<'_>,
    writes: &[Write],
) -> Result<Vec<Owner>, StorageError> {
    let owners: Vec<Owner> = writes.iter().map(|write| Owner::of(&write.object)).collect();
    let mut stored = HashMap::new();
    for piece in owners.chunks(STORAGE_WRITE_ROWS_MAX) {
        let (_, answer) = connection.ask(&sql::CURRENT, encode(&piece)?).await?;
        for row in decode::<Current>("object", &answer)? {
            let generation = row.generation.cast_unsigned();
            stored.insert((row.kind, row.id.0), (row.tenant, generation));
        }
    }
    for (write, owner) in writes.iter().zip(&owners) {
        let expected = write.expected_generation;
        let actual = match stored.get(&(owner.kind, owner.id.0)) {
            // An object of another tenant is no object, except that its id cannot be used again.
            Some((tenant, generation)) if *tenant == owner.tenant || expected == 0 => *generation,
            _ => 0,
        };
        if actual != expected {
            return Err(StorageError::Conflict { id: owner.name(), expected, actual });
        }
    }
    Ok(owners.into_iter().filter(|owner| stored.contains_key(&(owner.kind, owner.id.0))).collect())
}

#[derive(Serialize)]
struct ClaimedId<'a> {
    #[serde(flatten)]
    owner: Owner,
    external_id: Cow<'a, str>,
    source: Cow<'a, str>,
}

impl<'a> ClaimedId<'a> {
    fn of(object: &'a StoredObject) -> Option<Self> {
        let external_id = object.envelope.external_id.as_deref()?;
        Some(Self {
            owner: Owner::of(object),
            external_id: clean(external_id),
            source: clean(object.envelope.source.as_deref().unwrap_or("")),
        })
    }
}

#[derive(Serialize)]
struct Key<'a> {
    #[serde(flatten)]
    owner: Owner,
    key: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Taken {
    name: String,
    kind: Kind,
    id: Hex16,
}

/// Takes the external ids and unique keys of all living objects of the change, or says who has one of them.
async fn claim_names(connection: &mut Connection<'_>, writes: &[Write]) -> Result<(), StorageError> {
    let external_ids: Vec<ClaimedId<'_>> =
        living(writes).filter_map(|write| ClaimedId::of(&write.object)).collect();
    let keys: Vec<Key<'_>> = living(writes)
        .flat_map(|write| {
            let owner = Owner::of(&write.object);
            write.unique_keys.iter().map(move |key| Key { owner, key: clean(key) })
        })
        .collect();
    if let Some(answer) = first_answer(connection, &sql::EXTERNAL_TAKEN, &external_ids).await?
        && let Some(taken) = decode::<Taken>("external id", &answer)?.pop()
    {
        let holder = taken.kind.format_id(taken.id.into());
        return Err(StorageError::ExternalIdTaken { external_id: taken.name, holder });
    }
    if let Some(answer) = first_answer(connection, &sql::KEY_TAKEN, &keys).await?
        && let Some(taken) = decode::<Taken>("unique key", &answer)?.pop()
    {
        let holder = taken.kind.format_id(taken.id.into());
        return Err(StorageError::KeyTaken { key: taken.name, holder });
    }
    write_rows(connection, &sql::INSERT_EXTERNALS, &external_ids).await?;
    write_rows(connection, &sql::INSERT_KEYS, &keys).await
}

#[derive(Serialize)]
struct Label<'a> {
    #[serde(flatten)]
    owner: Owner,
    name: Cow<'a, str>,
    value: Cow<'a, str>,
}

async fn write_objects(
    connection: &mut Connection<'_>,
    writes: &[Write],
    seq: i64,
) -> Result<(), StorageError> {
    for piece in writes.chunks(STORAGE_WRITE_ROWS_MAX) {
        let rows: Result<Vec<ObjectRow<'_>>, StorageError> =
            piece.iter().map(|write| ObjectRow::new(&write.object, seq)).collect();
        connection.run(&sql::UPSERT_OBJECTS, encode(&rows?)?).await?;
    }
    let labels: Vec<Label<'_>> = living(writes)
        .flat_map(|write| {
            let owner = Owner::of(&write.object);
            let labels = &write.object.envelope.labels;
            labels.iter().map(move |(name, value)| Label { owner, name: clean(name), value: clean(value) })
        })
        .collect();
    write_rows(connection, &sql::INSERT_LABELS, &labels).await
}

#[derive(Serialize, Deserialize)]
struct Reference {
    tenant: Hex16,
    kind: Kind,
    id: Hex16,
    to_kind: Kind,
    to_id: Hex16,
}

/// Stores the references of living objects and checks both directions, now that every object of the change is there.
async fn check_references(connection: &mut Connection<'_>, writes: &[Write]) -> Result<(), StorageError> {
    let references: Vec<Reference> = living(writes)
        .flat_map(|write| {
            let Owner { tenant, kind, id } = Owner::of(&write.object);
            write.refs.iter().map(move |(to_kind, to)| Reference {
                tenant,
                kind,
                id,
                to_kind: *to_kind,
                to_id: (*to).into(),
            })
        })
        .collect();
    if let Some(answer) = first_answer(connection, &sql::DANGLING, &references).await?
        && let Some(dangling) = decode::<Reference>("reference", &answer)?.pop()
    {
        return Err(StorageError::DanglingReference {
            from: dangling.kind.format_id(dangling.id.into()),
            to: dangling.to_kind.format_id(dangling.to_id.into()),
        });
    }
    write_rows(connection, &sql::INSERT_REFS, &references).await?;
    let deleted: Vec<Owner> = writes
        .iter()
        .filter(|write| write.object.envelope.deleted_at.is_some())
        .map(|write| Owner::of(&write.object))
        .collect();
    match first_answer(connection, &sql::REFERRERS, &deleted).await? {
        Some(answer) => in_use(&decode("reference", &answer)?),
        None => Ok(()),
    }
}

fn in_use(references: &[Reference]) -> Result<(), StorageError> {
    let Some(first) = references.first() else {
        return Ok(());
    };
    let used: Uid = first.to_id.into();
    Err(StorageError::InUse {
        id: first.to_kind.format_id(used),
        referrers: references
            .iter()
            .filter(|reference| reference.to_id == first.to_id)
            .take(STORAGE_REFERRERS_NAMED_MAX)
            .map(|reference| reference.kind.format_id(reference.id.into()))
            .collect(),
    })
}

#[derive(Serialize)]
struct History<'a> {
    #[serde(flatten)]
    owner: Owner,
    seq: i64,
    at: Millis,
    action: &'static str,
    actor: Cow<'a, str>,
    request: Cow<'a, str>,
    before: Cow<'a, str>,
    after: Cow<'a, str>,
}

async fn write_history(
    connection: &mut Connection<'_>,
    change: &Change,
    seq: i64,
) -> Result<(), StorageError> {
    let rows: Vec<History<'_>> = change
        .writes
        .iter()
        .map(|write| {
            let deleted = write.object.envelope.deleted_at.is_some();
            History {
                owner: Owner::of(&write.object),
                seq,
                at: change.at.into(),
                action: match write.expected_generation {
                    _ if deleted => "deleted",
                    0 => "created",
                    _ => "updated",
                },
                actor: clean(&change.actor),
                request: clean(&change.request),
                before: clean(&write.before_json),
                after: if deleted { Cow::default() } else { clean(&write.object.spec_json) },
            }
        })
        .collect();
    write_rows(connection, &sql::INSERT_EVENTS, &rows).await?;
    write_rows(connection, &sql::INSERT_AUDIT, &rows).await
}
