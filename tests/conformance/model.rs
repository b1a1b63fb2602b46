//! Random changes beside a map in memory that follows the documented rules in the plainest way.

use std::collections::BTreeMap;
use std::sync::Arc;

use lastmile::ids::{Entropy, SeededEntropy, Uid};
use lastmile::model::Kind;
use lastmile::storage::{Storage, StorageError, StoredObject, Write};

use super::values::{NOON, OTHER, TENANT, change, create, object};

/// All that was ever written, by id, deleted objects included.
#[derive(Default)]
struct Model {
    objects: BTreeMap<Uid, Write>,
    seq: u64,
}

impl Model {
    fn living(&self) -> impl Iterator<Item = &Write> {
        self.objects.values().filter(|write| write.object.envelope.deleted_at.is_none())
    }

    /// Applies a change, or returns every reason to refuse it.
    fn commit(&mut self, writes: &[Write]) -> Result<(), Vec<&'static str>> {
        let mut reasons = Vec::new();
        let mut after = Self { objects: self.objects.clone(), seq: self.seq + 1 };
        let mut touched = Vec::new();
        for write in writes {
            let envelope = &write.object.envelope;
            let stored = self.objects.get(&envelope.id).map(|stored| &stored.object.envelope);
            let same = stored.is_none_or(|stored| stored.tenant == envelope.tenant);
            let generation = stored.map_or(0, |stored| stored.generation);
            if !same || generation != write.expected_generation || touched.contains(&envelope.id) {
                reasons.push("conflict");
            }
            touched.push(envelope.id);
            let mut write = write.clone();
            write.object.envelope.seq = after.seq;
            after.objects.insert(envelope.id, write);
        }
        let living: Vec<&Write> = after.living().collect();
        for (position, one) in living.iter().enumerate() {
            let envelope = &one.object.envelope;
            for other in &living[..position] {
                let theirs = &other.object.envelope;
                if theirs.tenant != envelope.tenant {
                    continue;
                }
                if envelope.external_id.is_some()
                    && (&envelope.external_id, &envelope.source) == (&theirs.external_id, &theirs.source)
                {
                    reasons.push("external id");
                }
                if one.unique_keys.iter().any(|key| other.unique_keys.contains(key)) {
                    reasons.push("key");
                }
            }
            let meant = |to: Uid| {
                living.iter().any(|other| {
                    other.object.envelope.id == to && other.object.envelope.tenant == envelope.tenant
                })
            };
            if !one.refs.iter().all(|(_, to)| meant(*to)) {
                reasons.push(if touched.contains(&envelope.id) { "dangling" } else { "in use" });
            }
        }
        if reasons.is_empty() {
            *self = after;
            return Ok(());
        }
        Err(reasons)
    }
}

fn reason(error: &StorageError) -> &'static str {
    match error {
        StorageError::Conflict { .. } => "conflict",
        StorageError::ExternalIdTaken { .. } => "external id",
        StorageError::KeyTaken { .. } => "key",
        StorageError::DanglingReference { .. } => "dangling",
        StorageError::InUse { .. } => "in use",
        _ => "something else",
    }
}

fn random_write(dice: &SeededEntropy, model: &Model) -> Write {
    let roll = |sides: u64| dice.u64() % sides;
    let id = Uid(u128::from(roll(12)) + 1);
    let mut write = create(object(Kind::Service, id.0));
    let envelope = &mut write.object.envelope;
    if roll(8) == 0 {
        envelope.tenant = OTHER;
    }
    if let Some(stored) = model.objects.get(&id).filter(|_| roll(10) > 0) {
        envelope.tenant = stored.object.envelope.tenant;
        write.expected_generation = stored.object.envelope.generation;
    }
    envelope.generation = write.expected_generation + 1;
    envelope.deleted_at = (roll(4) == 0).then_some(lastmile::time::Stamp(NOON));
    envelope.external_id = (roll(3) > 0).then(|| format!("e{}", roll(8)));
    envelope.source = (roll(2) == 0).then(|| "crm".to_owned());
    write.object.spec_json = roll(1000).to_string();
    write.unique_keys = (0..roll(3)).map(|key| format!("k{key}{}", roll(8))).collect();
    write.refs = (0..roll(2)).map(|_| (Kind::Service, Uid(u128::from(roll(12)) + 1))).collect();
    write
}

pub(crate) async fn random_changes_agree_with_a_map_in_memory(storage: Arc<dyn Storage>) {
    let dice = SeededEntropy::new(20_261_120);
    let mut model = Model::default();
    let mut caught_up = BTreeMap::new();
    let mut position = 0;
    let mut refused: BTreeMap<&str, usize> = BTreeMap::new();
    for step in 0..600 {
        let writes: Vec<Write> = (0..=dice.u64() % 3).map(|_| random_write(&dice, &model)).collect();
        let answer = storage.commit(change(writes.clone())).await;
        match (model.commit(&writes), answer) {
            (Ok(()), Ok(seq)) => assert_eq!(seq, model.seq, "step {step}"),
            (Err(reasons), Err(error)) => {
                let reason = reason(&error);
                assert!(reasons.contains(&reason), "step {step}: {error:?} for {reasons:?}");
                *refused.entry(reason).or_default() += 1;
            }
            (expected, answer) => panic!("step {step}: {expected:?} became {answer:?} for {writes:#?}"),
        }
        if step % 5 == 0 {
            let (objects, through) = storage.changes_since(position, 4).await.unwrap();
            position = through;
            caught_up.extend(objects.into_iter().map(|object| (object.envelope.id, object)));
        }
    }
    while position < model.seq {
        let (objects, through) = storage.changes_since(position, 4).await.unwrap();
        assert!(through > position);
        position = through;
        caught_up.extend(objects.into_iter().map(|object| (object.envelope.id, object)));
    }
    let written: BTreeMap<Uid, StoredObject> =
        model.objects.iter().map(|(id, write)| (*id, write.object.clone())).collect();
    assert_eq!(caught_up, written);
    let scanned = storage.scan(Kind::Service, Uid::NIL, 100).await.unwrap();
    let living: Vec<StoredObject> = model.living().map(|write| write.object.clone()).collect();
    assert_eq!(scanned, living);
    let events = storage.events(TENANT, 0, 10_000).await.unwrap();
    assert!(events.windows(2).all(|pair| pair[0].seq <= pair[1].seq));
    // The dice must have tried everything, or the agreement means little.
    assert_eq!(refused.len(), 5, "{refused:?}");
    assert!(model.seq > 100, "{} changes were accepted", model.seq);
}
