//! What a failing run says: records and sessions in few words.

use lastmile::ids::SessionId;
use lastmile::journal::record::{Holder, Record, ReleaseReason};
use lastmile::time::Stamp;

use crate::rig::{T0, prefix, session};

/// A stamp as seconds since the run began.
pub fn clock(stamp: Stamp) -> String {
    if stamp == Stamp::MAX {
        "ever".to_owned()
    } else {
        format!("{}.{:03}", stamp.since(T0) / 1_000, stamp.since(T0) % 1_000)
    }
}

/// Records in the few words that a trace needs.
pub fn brief(records: &[Record]) -> String {
    let of = |holder: Holder| (0..40).find(|number| crate::rig::holder(*number) == holder).unwrap_or(99);
    let text = |record: &Record| match record {
        Record::Grant(grant) => format!(
            "grant {}/{} {} at {} until {}{}{}",
            of(grant.holder),
            grant.slot,
            grant.prefix,
            clock(grant.at),
            clock(grant.ends_at),
            if grant.lease.is_some() { " leased" } else { "" },
            if grant.renewal { " renewal" } else { "" },
        ),
        Record::Release(release) => format!(
            "release {}/{} {} at {} {:?}",
            of(release.holder),
            release.slot,
            release.prefix,
            clock(release.at),
            release.reason
        ),
        Record::Session(known) => {
            let session = name(known.session);
            format!("{:?} {session} of {}/{}", known.event, of(known.holder), known.slot)
        }
        Record::Nas(record) => format!("restart {:?}", record.nas),
        Record::Start(start) => format!("start at {}", clock(start.at)),
        Record::Hold(hold) => format!("hold until {}", clock(hold.leases)),
        Record::Learned(learned) => {
            format!("learned from node {} at {}", learned.node, clock(learned.at))
        }
    };
    format!("[{}]", records.iter().map(text).collect::<Vec<_>>().join("; "))
}

/// What an admission answers and writes.
pub fn spoken(admission: &lastmile::ledger::Admission) -> String {
    let told: Vec<_> = admission.addresses.iter().map(|granted| granted.prefix).collect();
    format!("{told:?} waits {} writes {}", brief(&admission.wait_for), brief(&admission.write))
}

/// The number of a session in this run.
pub fn name(id: SessionId) -> String {
    (0..40_000)
        .find(|number| session(*number) == id)
        .map_or_else(|| "none".to_owned(), |number| format!("s{number}"))
}

/// A record that names a holder, for [`brief`].
pub fn holder_line(holder: Holder) -> Record {
    Record::Release(lastmile::journal::record::ReleaseRecord {
        at: T0,
        tenant: lastmile::ids::TenantId::DEFAULT,
        vrf: smallvec::SmallVec::default(),
        prefix: prefix("0.0.0.0"),
        holder,
        slot: 0,
        reason: ReleaseReason::Operator,
        evidence_at: T0,
    })
}
