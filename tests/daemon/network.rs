//! Definitions of a network with as many homes (PPPoE) and lines (DHCP, option 82) as a test needs, and its equipment.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::support::daemon::Daemon;
use crate::support::dhcp_client::{Line, Relay};
use crate::support::radius_client::Nas;

/// Password of every home.
pub(crate) const PASSWORD: &str = "lab-password";
const SECRET: &str = "testing123-lab";
/// An address on the network of the lines.
const LINK: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The fixed address of login `fixed`.
pub(crate) const FIXED: Ipv4Addr = Ipv4Addr::new(100, 65, 0, 10);

/// Login of a home.
pub(crate) fn login(home: usize) -> String {
    format!("home{home:04}")
}

/// A line.
pub(crate) fn line(number: usize) -> Line {
    let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
    Line {
        mac: [2, 0, 0x5e, 0x10, high, low],
        circuit_id: format!("olt eth 1/1/{number}").into_bytes(),
        remote_id: format!("modem-{number}").into_bytes(),
    }
}

/// The `number`th NAS; all of them are one BRAS to the daemon.
pub(crate) fn nas(number: u8) -> Nas {
    Nas::at(Ipv4Addr::new(127, 0, 1, number), SECRET, u64::from(number))
}

/// The `number`th relay; all of them are one OLT to the daemon.
pub(crate) fn relay(number: u8) -> Relay {
    Relay::at(Ipv4Addr::new(127, 0, 2, number), LINK, u32::from(number) << 24)
}

/// Writes the definitions into `directory`.
pub(crate) fn write(directory: &Path, homes: usize, lines: usize) {
    std::fs::create_dir_all(directory).unwrap();
    let file = |name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();
    file(
        "networks.toml",
        "[homes]\nprefixes = [\"100.64.0.0/16\", \"100.65.0.0/16\"]\nrole = \"nat\"\nassignment = \"pppoe\"\n\
         gateways = [\"100.64.0.1\"]\n\
         [lines]\nprefixes = [\"198.18.0.0/16\"]\nrole = \"public\"\nassignment = \"dhcp\"\n\
         gateways = [\"198.18.0.1\"]\nlease_time = 3600\n",
    );
    file(
        "pools.toml",
        "[homes]\nnetwork = \"homes\"\nclass = \"home\"\nranges = [\"100.64.0.2-100.64.255.254\"]\n\
         [lines]\nnetwork = \"lines\"\nclass = \"line\"\nranges = [\"198.18.0.2-198.18.255.254\"]\n",
    );
    let rates = "rate_down = 100_000_000\nrate_up = 20_000_000\n";
    file(
        "plans.toml",
        &format!("[home]\n{rates}pool_class_v4 = \"home\"\n[line]\n{rates}pool_class_v4 = \"line\"\n"),
    );
    let addresses = |third: u8| {
        let all: Vec<String> = (1..=32).map(|last| format!("\"127.0.{third}.{last}\"")).collect();
        all.join(", ")
    };
    file("nas.toml", &format!("[bras]\naddresses = [{}]\nsecret = \"{SECRET}\"\n", addresses(1)));
    file("relays.toml", &format!("[olt]\naddresses = [{}]\ngroup = \"olt\"\n", addresses(2)));
    file("subscribers.toml", "[everybody]\ndisplay = \"everybody\"\n");
    let (mut services, mut accesses) = (String::new(), String::new());
    let fixed = format!("addressing = {{ ipv4 = {{ address = \"{FIXED}\" }} }}\n");
    let names = (0..homes).map(|home| (login(home), "")).chain([("fixed".to_owned(), fixed.as_str())]);
    for (name, addressing) in names {
        writeln!(services, "[{name}]\nsubscriber = \"everybody\"\nplan = \"home\"\n{addressing}").unwrap();
        let text =
            format!("service = \"{name}\"\ntype = \"pppoe\"\nlogin = \"{name}\"\npassword = \"{PASSWORD}\"");
        writeln!(accesses, "[{name}]\n{text}").unwrap();
    }
    for number in 0..lines {
        let line = line(number);
        writeln!(services, "[line{number}]\nsubscriber = \"everybody\"\nplan = \"line\"").unwrap();
        let ids = [&line.circuit_id, &line.remote_id].map(|id| String::from_utf8(id.clone()).unwrap());
        writeln!(
            accesses,
            "[line{number}]\nservice = \"line{number}\"\ntype = \"ipoe_opt82\"\nnetwork = \"lines\"\ngroup = \"olt\"\n\
             circuit_id = \"{}\"\nremote_id = \"{}\"",
            ids[0], ids[1]
        )
        .unwrap();
    }
    file("services.toml", &services);
    file("accesses.toml", &accesses);
}

/// Where the daemon listens now: it changes with every restart.
#[derive(Clone, Debug)]
pub(crate) struct Targets(Arc<Mutex<[SocketAddr; 3]>>);

impl Targets {
    /// Of this daemon.
    pub(crate) fn of(daemon: &Daemon) -> Self {
        let targets = Self(Arc::new(Mutex::new([SocketAddr::from(([127, 0, 0, 1], 9)); 3])));
        targets.follow(daemon);
        targets
    }

    /// From now on of this daemon.
    pub(crate) fn follow(&self, daemon: &Daemon) {
        let all = ["radius-auth", "radius-acct", "dhcp4"].map(|name| daemon.listener(name));
        *self.0.lock().unwrap() = all;
    }

    pub(crate) fn auth(&self) -> SocketAddr {
        self.0.lock().unwrap()[0]
    }

    pub(crate) fn acct(&self) -> SocketAddr {
        self.0.lock().unwrap()[1]
    }

    pub(crate) fn dhcp4(&self) -> SocketAddr {
        self.0.lock().unwrap()[2]
    }
}
