//! The image: what comes back, what is refused.

use std::os::unix::fs::PermissionsExt;

use lastmile::model::{Kind, Object};
use lastmile::snapshot::Snapshot;
use lastmile::snapshot::delta::Change;
use lastmile::snapshot::image::{self, ImageError, Seal, VERSION};
use serde_json::json;

use crate::delta::describe;
use crate::installation::{TENANT, access, id, nas, network, object, pool, service, uid};

/// Hides nothing from an attacker, but shows what was sealed and what it was bound to.
struct Mask;

impl Seal for Mask {
    fn seal(&self, aad: &[u8], clear: &[u8]) -> Vec<u8> {
        let masked = clear.iter().map(|byte| byte ^ 0xa5);
        aad.iter().copied().chain(masked).collect()
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let masked = sealed.strip_prefix(aad)?;
        Some(masked.iter().map(|byte| byte ^ 0xa5).collect())
    }
}

fn installation() -> Snapshot {
    let all = json!({
        "ipv4": {"address": "10.0.0.5"},
        "ipv6_wan": "none",
        "ipv6_pd": {"prefix": "2001:db8:5::/56"},
        "routed_v4": ["192.0.2.0/29"],
        "routed_v6": ["2001:db8:f::/48"],
        "vrf": "green",
    });
    let dhcp = json!({
        "prefixes": ["10.2.0.0/16", "2001:db8:2::/48"],
        "vrf": "blue",
        "dns": ["192.0.2.53", "2001:db8::53"],
        "options": [{"code": 66, "value": "0x00ff"}],
        "routes": [{"to": "192.0.2.0/24", "via": "10.2.0.1"}],
        "unknown_clients": {"pool_class": "guests"},
    });
    let objects: Vec<Object> = vec![
        network(1, "10.0.0.0/16", None),
        object(Kind::Network, 2, 3, &dhcp),
        pool(1, 1, "10.0.1.0/24", &json!({"group": "north", "exhausted_action": "reject", "draining": true})),
        pool(2, 2, "2001:db8:2::/56", &json!({"prefix_len": 64, "order": 4})),
        object(Kind::Plan, 1, 4, &json!({"rate_down": 5_000_000, "pool_class_v4": "home", "vrf": "blue"})),
        nas(1, &["10.0.0.9", "2001:db8::/64"], Some("edge")),
        object(
            Kind::Nas,
            2,
            5,
            &json!({
                "addresses": ["10.0.0.9"], "secret": "secret number one", "previous_secret": "secret number two",
                "ipoe_password": "ipoe", "vendor": "juniper", "login_case": "lower", "accounting": "absent",
                "reply_message_authenticator": "when_signed", "require_message_authenticator": "auto",
            }),
        ),
        object(Kind::Relay, 1, 6, &json!({"addresses": ["10.0.0.1"], "network": id(Kind::Network, 1)})),
        service(1, 1, &json!({})),
        service(2, 1, &all),
        access(1, &json!({"type": "pppoe", "login": "jan", "password": "hunter22", "enabled": false})),
        access(2, &json!({"type": "ipoe_mac", "mac": "02:00:5e:00:53:01", "bind_vlan": 7})),
        access(
            3,
            &json!({
                "service": id(Kind::Service, 1), "type": "ipoe_opt82", "circuit_id": "0x0006", "remote_id": "olt",
                "group": "north", "network": id(Kind::Network, 2), "bind_mac": "02:00:5e:00:53:02",
            }),
        ),
    ];
    let unreadable = Change::Unreadable(Kind::Service, uid(Kind::Service, 9));
    Snapshot::of(&objects, 41).with_changes(&[unreadable], 42)
}

fn bytes_of(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = Vec::new();
    let size = image::write_to(&mut bytes, snapshot, &Mask).unwrap();
    assert_eq!(size, bytes.len() as u64);
    bytes
}

#[test]
fn a_snapshot_comes_back_from_its_image_with_everything_in_it() {
    let snapshot = installation();
    let read = image::read_from(&mut bytes_of(&snapshot).as_slice(), &Mask).unwrap();
    assert_eq!(describe(&read), describe(&snapshot));
    assert_eq!(read.seq(), 42);
    let access = read.access_by_login(TENANT, None, b"jan").unwrap();
    assert_eq!(access.password.as_ref().unwrap().expose(), b"hunter22");
    let secrets = |snapshot: &Snapshot| {
        let nas = snapshot.nas(uid(Kind::Nas, 2)).unwrap();
        (nas.secrets.clone(), nas.ipoe_password.clone(), nas.digest)
    };
    assert_eq!(secrets(&read), secrets(&snapshot));
    assert_eq!(secrets(&read).0.len(), 2);
}

#[test]
fn a_snapshot_of_several_blocks_comes_back_whole() {
    let objects: Vec<Object> = (0..30_000).map(|number| service(number, 1, &json!({}))).collect();
    let snapshot = Snapshot::of(&objects, 1);
    let bytes = bytes_of(&snapshot);
    assert!(bytes.len() > lastmile::limits::SNAPSHOT_IMAGE_BLOCK_BYTES);
    let read = image::read_from(&mut bytes.as_slice(), &Mask).unwrap();
    assert_eq!(read.services_len(), 30_000);
    let (first, second) = (blocks(&bytes)[0].clone(), blocks(&bytes)[1].clone());
    let mut swapped = bytes[..first.start].to_vec();
    swapped.extend_from_slice(&bytes[second.clone()]);
    swapped.extend_from_slice(&bytes[first.clone()]);
    swapped.extend_from_slice(&bytes[second.end..]);
    refused(&swapped);
    let mut dropped = bytes[..first.start].to_vec();
    dropped.extend_from_slice(&bytes[first.end..]);
    refused(&dropped);
    refused(&bytes[..second.start]);
}

/// Where the blocks lie: a length and a checksum, then the sealed bytes.
fn blocks(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut at = 24;
    while let Some(length) = bytes.get(at..at + 4) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        found.push(at..at + 8 + length);
        at += 8 + length;
    }
    found
}

fn refused(bytes: &[u8]) {
    let result = image::read_from(&mut &bytes[..], &Mask);
    assert!(matches!(result, Err(ImageError::Damaged { .. })), "{result:?}");
}

#[test]
fn an_image_with_any_byte_changed_or_missing_or_added_is_refused() {
    let bytes = bytes_of(&installation());
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(image::read_from(&mut damaged.as_slice(), &Mask).is_err(), "byte {at}");
        refused(&bytes[..at]);
    }
    let mut longer = bytes;
    longer.push(0);
    refused(&longer);
}

#[test]
fn a_block_of_another_image_is_refused_even_when_it_was_sealed_here() {
    let snapshot = installation();
    let (one, two) = (bytes_of(&snapshot), bytes_of(&snapshot.with(&[], 43)));
    let mut mixed = one[..24].to_vec();
    mixed.extend_from_slice(&two[24..]);
    refused(&mixed);
}

#[test]
fn an_image_of_another_version_is_named_as_such() {
    let mut bytes = bytes_of(&installation());
    bytes[8..12].copy_from_slice(&(VERSION + 1).to_be_bytes());
    let result = image::read_from(&mut bytes.as_slice(), &Mask);
    assert!(matches!(result, Err(ImageError::Version { found }) if found == VERSION + 1));
}

#[test]
fn an_image_file_is_private_complete_and_replaced_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot.image");
    let snapshot = installation();
    // A writer that was interrupted left half a file behind.
    std::fs::write(path.with_added_extension("new"), b"half").unwrap();
    image::write(&path, &Snapshot::empty(), &Mask).unwrap();
    image::write(&path, &snapshot, &Mask).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    assert_eq!(describe(&image::read(&path, &Mask).unwrap()), describe(&snapshot));
    let stored = std::fs::read(&path).unwrap();
    assert!(!stored.windows(8).any(|window| window == b"hunter22"));
    assert!(matches!(image::read(&directory.path().join("none"), &Mask), Err(ImageError::Io { .. })));
}
