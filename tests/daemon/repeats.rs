//! Fault F11: what arrives again. A retransmission gets the same bytes; another Acct-Delay-Time is still the same event.

use crate::kills::sessions;
use crate::network::{self, PASSWORD, Targets};
use crate::support::daemon::Settings;
use crate::support::radius_client::{Event, INTERIM, START, STOP, read_login};

#[test]
fn a_retransmission_gets_the_same_bytes_and_makes_no_second_record() {
    let directory = tempfile::tempdir().unwrap();
    let definitions = directory.path().join("definitions");
    network::write(&definitions, 2, 1);
    let settings = Settings::new(directory.path()).with_definitions(&definitions);
    let daemon = settings.start();
    let at = Targets::of(&daemon);
    let mut nas = network::nas(1);
    let login = nas.access_request(&network::login(0), PASSWORD);
    let first = nas.exchange(&login, &|| at.auth()).unwrap();
    for _ in 0..3 {
        assert_eq!(nas.exchange(&login, &|| at.auth()).unwrap(), first);
    }
    let accept = read_login(&first).accept();
    let mut event = Event {
        session: "again".to_owned(),
        login: network::login(0),
        class: accept.class,
        address: accept.address,
        ..Event::default()
    };
    for (status, seconds) in [(START, 0), (INTERIM, 60), (STOP, 120)] {
        (event.status, event.seconds, event.octets, event.delay) = (status, seconds, seconds * 11, None);
        let request = nas.accounting_request(&event);
        let response = nas.exchange(&request, &|| at.acct()).unwrap();
        assert_eq!(nas.exchange(&request, &|| at.acct()).unwrap(), response);
        // RFC 2866 §5.2: a new Acct-Delay-Time is a new Identifier, and the same event.
        for delay in [3, 9] {
            event.delay = Some(delay);
            assert!(nas.account(&|| at.acct(), &event));
        }
    }
    let metrics = daemon.metrics();
    let reason = |reason| metrics.sum("lastmile_decisions_total", &[("plane", "acct"), ("reason", reason)]);
    assert_eq!((reason("accounted"), reason("duplicate"), reason("account-duplicate")), (3, 3, 6));
    assert!(daemon.terminate().success());
    let rows = sessions(&settings.sqlite_url());
    let records: Vec<_> = rows.iter().map(|row| (row.acct_session_id.as_str(), row.records)).collect();
    assert_eq!(records, [("again", 3)]);
}
