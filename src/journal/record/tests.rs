//! Every kind of record comes back as it was written, old versions too, and hostile bytes are errors.

use super::*;

fn sample() -> Vec<Record> {
    let prefix = "100.64.0.7".parse().unwrap();
    vec![
        Record::Grant(GrantRecord {
            at: Stamp(1),
            tenant: TenantId::DEFAULT,
            vrf: SmallVec::from_slice(b"biz"),
            prefix,
            role: Role::V4,
            holder: Holder(77),
            slot: 1,
            pool: PoolId::default(),
            network: NetworkId::default(),
            owner: Owner { line: 9, mac: Mac([2, 0, 0, 0, 0, 1]) },
            line: SmallVec::from_slice(b"ge-1/0/1.0:43"),
            nas: NasId::default(),
            session: SessionId::default(),
            lease: Some(LeaseFacts::default()),
            ends_at: Stamp(5),
            digest: 3,
            renewal: false,
        }),
        Record::Release(ReleaseRecord {
            at: Stamp(2),
            tenant: TenantId::DEFAULT,
            vrf: SmallVec::new(),
            prefix,
            holder: Holder(77),
            slot: 0,
            reason: ReleaseReason::Declined,
            evidence_at: Stamp(1),
        }),
        Record::Nas(NasRecord { at: Stamp(3), tenant: TenantId::DEFAULT, nas: NasId::default(), on: true }),
        Record::Start(StartRecord { at: Stamp(4), hold_until: Stamp(9) }),
        Record::Hold(HoldRecord { at: Stamp(5), leases: Stamp(8), accepts: Stamp(9) }),
    ]
}

fn release() -> ReleaseRecord {
    let mut all = sample().into_iter();
    all.find_map(|record| if let Record::Release(release) = record { Some(release) } else { None }).unwrap()
}

#[test]
fn every_record_reads_back_from_its_payload() {
    let learned =
        LearnedRecord { at: Stamp(5), node: 2, sequence: 17, fact: Fact::Release(Box::new(release())) };
    for record in sample().into_iter().chain([Record::Learned(learned)]) {
        let mut payload = Vec::new();
        record.encode(&mut payload);
        assert_eq!(Record::decode(record.kind(), record.version(), &payload), Ok(record.clone()));
        assert!(Record::decode(record.kind(), record.version(), &payload[..payload.len() - 1]).is_err());
        assert_eq!(Record::from_bytes(&record.to_bytes()), Ok(record));
    }
    assert!(Record::from_bytes(&[KIND_GRANT]).is_err());
}

#[test]
fn a_release_of_version_one_speaks_of_its_own_moment() {
    let new = release();
    let mut payload = Vec::new();
    Record::Release(new.clone()).encode(&mut payload);
    // Version 2 appends one number.
    let old = &payload[..payload.len() - 1];
    let read = Record::decode(KIND_RELEASE, 1, old);
    assert_eq!(read, Ok(Record::Release(ReleaseRecord { evidence_at: new.at, ..new })));
}

#[test]
fn a_newer_version_or_kind_is_refused_by_name() {
    assert_eq!(
        Record::decode(KIND_GRANT, 2, &[]),
        Err(RecordError::Unknown { kind: KIND_GRANT, version: 2 })
    );
    assert_eq!(Record::decode(99, 1, &[]), Err(RecordError::Unknown { kind: 99, version: 1 }));
}

#[test]
fn clients_without_a_service_never_collide_with_minted_ids() {
    assert!(Holder::client(u128::MAX).is_client());
    assert!(!Holder(TenantId::DEFAULT.0.0).is_client());
}
