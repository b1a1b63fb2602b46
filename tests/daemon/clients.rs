//! Other people's DHCP clients behind other people's relay, in network namespaces:
//!
//! ```text
//!   lastmile 10.99.0.1 ── 10.99.0.2 dhcrelay -a ─┬─ olt0 198.18.0.1 ── udhcpc, known by option 82
//!                                                └─ olt1 198.19.0.1 ── dhclient, known by its MAC address
//! ```

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use lastmile::ids::TenantId;
use lastmile::storage::ObservedFilter;
use rustix::process::Signal;

use crate::network;
use crate::support::daemon::{Daemon, Settings};
use crate::support::netns::{Namespaces, Program};
use crate::support::skip;

const MAC: &str = "02:00:5e:20:00:01";

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn definitions(directory: &Path) -> PathBuf {
    let definitions = directory.join("definitions");
    network::write(&definitions, 0, 2);
    let file = |name: &str| definitions.join(name);
    let relay = "[relay]\naddresses = [\"198.18.0.1\", \"198.19.0.1\"]\ngroup = \"olt\"\n";
    std::fs::write(file("relays.toml"), relay).unwrap();
    append(
        &file("networks.toml"),
        "[macs]\nprefixes = [\"198.19.0.0/16\"]\nrole = \"public\"\nassignment = \"dhcp\"\n\
         gateways = [\"198.19.0.1\"]\nlease_time = 3600\n",
    );
    append(
        &file("pools.toml"),
        "[macs]\nnetwork = \"macs\"\nclass = \"line\"\nranges = [\"198.19.0.2-198.19.255.254\"]\n",
    );
    append(
        &file("accesses.toml"),
        &format!(
            "[by-port]\nservice = \"line0\"\ntype = \"ipoe_opt82\"\nnetwork = \"lines\"\ngroup = \"olt\"\n\
             circuit_id = \"olt0\"\n\
             [by-mac]\nservice = \"line1\"\ntype = \"ipoe_mac\"\nnetwork = \"macs\"\ngroup = \"olt\"\nmac = \"{MAC}\"\n"
        ),
    );
    definitions
}

fn network_of(namespaces: &Namespaces) {
    namespaces.join(("server", "core0"), ("relay", "core0"));
    namespaces.join(("relay", "olt0"), ("modem", "wan"));
    namespaces.join(("relay", "olt1"), ("phone", "wan"));
    namespaces.ip("server", "address add 10.99.0.1/24 dev core0");
    namespaces.ip("server", "route add 198.18.0.0/15 via 10.99.0.2");
    namespaces.ip("relay", "address add 10.99.0.2/24 dev core0");
    namespaces.ip("relay", "address add 198.18.0.1/16 dev olt0");
    namespaces.ip("relay", "address add 198.19.0.1/16 dev olt1");
    namespaces.ip("phone", &format!("link set wan address {MAC}"));
    let forward = ["sysctl", "-w", "net.ipv4.ip_forward=1"].map(str::to_owned);
    let line: Vec<String> = namespaces.wrapper("relay").into_iter().chain(forward).collect();
    assert!(Command::new(&line[0]).args(&line[1..]).output().unwrap().status.success());
}

/// What both clients run when something has happened: tells it, and configures the interface.
fn script(directory: &Path) -> String {
    let path = directory.join("client-script");
    let text = "#!/bin/sh\n\
        event=${reason:-$1} ip=${new_ip_address:-$ip} router=${new_routers:-$router}\n\
        case $event in\n\
        bound | renew | BOUND | RENEW | REBOOT)\n\
            ip address replace $ip/16 dev $interface && ip route replace default via $router\n\
            echo \"event $event $ip\" ;;\n\
        deconfig | PREINIT | RELEASE) ip address flush dev $interface; ip link set $interface up; echo \"event $event\" ;;\n\
        esac\n";
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn is_missing(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    let missing = !found.is_ok_and(|output| output.status.success());
    if missing {
        skip(&format!("no {program}"));
    }
    missing
}

fn start_relay(namespaces: &Namespaces) -> Program {
    let arguments = ["-4", "-d", "-a", "--no-pid", "-id", "olt0", "-id", "olt1", "-iu", "core0", "10.99.0.1"];
    let mut relay = namespaces.spawn("relay", "dhcrelay", &arguments);
    relay.until_line("Sending on   Socket/fallback");
    relay
}

#[test]
fn udhcpc_and_dhclient_behind_dhcrelay_get_renew_and_release_their_address() {
    if ["udhcpc", "dhclient", "dhcrelay", "sysctl"].into_iter().any(is_missing) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let Some(namespaces) = Namespaces::make(&["server", "relay", "modem", "phone"]) else { return };
    network_of(&namespaces);
    let mut settings = Settings::new(directory.path()).with_definitions(&definitions(directory.path()));
    settings.set("dhcp4.listen", "[\"10.99.0.1:67\"]");
    settings.wrapper = namespaces.wrapper("server");
    let daemon = settings.start();
    let _relay = start_relay(&namespaces);
    let script = script(directory.path());

    let mut udhcpc = namespaces.spawn("modem", "udhcpc", &["-f", "-i", "wan", "-s", &script]);
    udhcpc.until_line("event deconfig");
    let modem = udhcpc.until_line("event bound");
    assert!(modem.starts_with("198.18."), "{modem}");
    udhcpc.signal(Signal::USR1);
    assert_eq!(udhcpc.until_line("event renew"), modem);
    until_granted(&daemon, &settings, &modem, true);
    udhcpc.signal(Signal::USR2);
    udhcpc.until_line("event deconfig");
    until_granted(&daemon, &settings, &modem, false);

    let file = |name: &str| directory.path().join(name).display().to_string();
    let (leases, pid, config) = (file("dhclient.leases"), file("dhclient.pid"), file("dhclient.conf"));
    std::fs::write(&config, "timeout 30;\n").unwrap();
    let common = ["-4", "-cf", &config, "-lf", &leases, "-pf", &pid, "-sf", &script];
    let run = |more: &[&str]| {
        let arguments: Vec<&str> = more.iter().copied().chain(common).chain(["wan"]).collect();
        namespaces.spawn("phone", "dhclient", &arguments)
    };
    let mut dhclient = run(&["-d"]);
    let phone = dhclient.until_line("event BOUND");
    assert!(phone.starts_with("198.19."), "{phone}");
    // Its lease file is written by then.
    dhclient.until_line("bound to");
    drop(dhclient);
    let mut dhclient = run(&["-d"]);
    assert_eq!(dhclient.until_line("event REBOOT"), phone);
    dhclient.until_line("bound to");
    drop(dhclient);
    until_granted(&daemon, &settings, &phone, true);
    run(&["-d", "-r"]).until_line("event RELEASE");
    until_granted(&daemon, &settings, &phone, false);
    assert!(daemon.terminate().success());
}

/// Waits until storage shows an address as granted, or not any more.
fn until_granted(daemon: &Daemon, settings: &Settings, address: &str, granted: bool) {
    let what = format!("{address} is granted: {granted}");
    daemon.until(&what, |_| {
        let states = states(&settings.sqlite_url());
        let of_address = states.iter().find(|(prefix, _)| prefix.starts_with(address));
        (of_address.is_some_and(|(_, state)| state == "granted") == granted).then_some(())
    });
}

/// Addresses and their states in storage.
fn states(url: &str) -> Vec<(String, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let storage = lastmile::storage::open(url).await.unwrap();
        let page = storage.grants(TenantId::DEFAULT, ObservedFilter::default(), None, 100).await.unwrap();
        page.items.into_iter().map(|row| (row.prefix.to_string(), row.state)).collect()
    })
}
