//! Does accounting confirm what is accepted? Says so in the log when it does not (FIELD R2), and shows each NAS in the metrics.
//!
//! A blocked port 1813 or a wrong accounting secret takes nobody offline, so nobody complains, and addresses stay with
//! holders that nothing is heard of. Looked at every five minutes, off the packet path.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::ids::Uid;
use crate::model::nas::Accounting;
use crate::nas_activity::{Activity, NasActivity};
use crate::snapshot::publish::Publisher;
use crate::telemetry::metrics::Metrics;

/// How often it is looked.
const LOOK: Duration = Duration::from_mins(5);

/// Warns of NASes whose accepts are not followed by Starts, for as long as the daemon runs.
pub(crate) async fn watch(activity: Arc<NasActivity>, publisher: Arc<Publisher>) {
    let mut turn = tokio::time::interval(LOOK);
    let mut before: BTreeMap<Uid, Activity> = BTreeMap::new();
    loop {
        turn.tick().await;
        let snapshot = publisher.load_full();
        let mut now = BTreeMap::new();
        for nas in snapshot.all_nas().filter(|nas| nas.accounting != Accounting::Absent) {
            let counted = activity.of(nas.id);
            let known = before.get(&nas.id).copied().unwrap_or_default();
            if counted.is_unconfirmed_since(&known) {
                let (accepts, starts) = (counted.accepts - known.accepts, counted.starts - known.starts);
                tracing::warn!(
                    nas = %nas.name,
                    accepts,
                    starts,
                    "this NAS reports too few of the sessions that it was given in the last five minutes: is its accounting port blocked, its accounting secret wrong?"
                );
            }
            now.insert(nas.id, counted);
        }
        before = now;
    }
}

/// Brings the metrics of each NAS up to date before they are rendered.
pub(crate) fn refresh(metrics: &Metrics, activity: &NasActivity, publisher: &Publisher) {
    let snapshot = publisher.load();
    for nas in snapshot.all_nas() {
        let counted = activity.of(nas.id);
        let of_nas: [&str; 1] = [&nas.name];
        for (counter, total) in [
            (metrics.nas_accepts.with_label_values(&of_nas), counted.accepts),
            (metrics.nas_starts.with_label_values(&of_nas), counted.starts),
        ] {
            counter.inc_by(total.saturating_sub(counter.get()));
        }
        let heard = metrics.nas_heard.with_label_values(&of_nas);
        heard.set(i64::try_from(counted.heard.secs()).unwrap_or(i64::MAX));
    }
}
