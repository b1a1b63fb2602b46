//! What a node has learned of its NAS's signatures outlives it, is acted on, and may be lost without harm (FIELD R17).

use std::path::Path;

use lastmile::radius::wire::encode::Signing;

use crate::network::{self, PASSWORD, Targets};
use crate::support::daemon::{Daemon, Settings};
use crate::support::radius_client::{Login, Nas};

/// Puts the mark of proof on the only NAS of the file, as a thousand signed requests in a day would.
fn prove(file: &Path) {
    let mut image = std::fs::read(file).unwrap();
    assert_eq!(image.len(), 16 + 24 + 4, "header, one NAS, checksum");
    let word = u64::from_be_bytes(image[32..40].try_into().unwrap());
    assert_eq!(word & 0xffff, 1, "one signed request so far");
    image[32..40].copy_from_slice(&(word | 1 << 16).to_be_bytes());
    let checksum = crc32c::crc32c(&image[..40]);
    image[40..].copy_from_slice(&checksum.to_be_bytes());
    std::fs::write(file, image).unwrap();
}

fn is_accepted(daemon: &Daemon, nas: &mut Nas) -> Option<bool> {
    let at = Targets::of(daemon);
    let login = nas.login(&|| at.auth(), &network::login(0), PASSWORD)?;
    Some(matches!(login, Login::Accept(_)))
}

fn signing(daemon: &Daemon, state: &str) -> u64 {
    daemon.metrics().sum("lastmile_radius_nas_signing", &[("state", state)])
}

#[test]
fn a_nas_that_was_proven_to_sign_is_held_to_it_after_a_restart_and_a_damaged_file_begins_anew() {
    let directory = tempfile::tempdir().unwrap();
    let definitions = directory.path().join("definitions");
    network::write(&definitions, 1, 1);
    let nases = definitions.join("nas.toml");
    let mut text = std::fs::read_to_string(&nases).unwrap();
    text.push_str("require_message_authenticator = \"auto\"\nenforce_message_authenticator = \"auto\"\n");
    std::fs::write(&nases, text).unwrap();
    let settings = Settings::new(directory.path()).with_definitions(&definitions);
    let mut nas = network::nas(1);

    let daemon = settings.start();
    nas.signing = Signing::Omitted;
    assert_eq!(is_accepted(&daemon, &mut nas), Some(true));
    nas.signing = Signing::First;
    assert_eq!(is_accepted(&daemon, &mut nas), Some(true));
    assert_eq!(signing(&daemon, "learning"), 1);
    assert!(daemon.terminate().success());

    let file = directory.path().join("state/nas.signatures");
    prove(&file);
    let daemon = settings.start();
    assert_eq!(signing(&daemon, "enforced"), 1);
    nas.signing = Signing::Omitted;
    nas.tries = 1;
    assert_eq!(is_accepted(&daemon, &mut nas), None);
    let reason = [("reason", "message-authenticator-learned")];
    assert_eq!(daemon.metrics().sum("lastmile_decisions_total", &reason), 1);
    nas.signing = Signing::First;
    assert_eq!(is_accepted(&daemon, &mut nas), Some(true));
    assert!(daemon.terminate().success());

    let mut image = std::fs::read(&file).unwrap();
    image[20] ^= 1;
    std::fs::write(&file, image).unwrap();
    let daemon = settings.start();
    assert_eq!(signing(&daemon, "learning"), 1);
    nas.signing = Signing::Omitted;
    assert_eq!(is_accepted(&daemon, &mut nas), Some(true));
    let (_, log) = daemon.terminate_and_log();
    assert!(log.contains("learning begins anew"), "{log}");
}
