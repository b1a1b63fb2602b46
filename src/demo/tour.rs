//! The script of the demo: who asks what, and what has to come back.
//!
//! Everything new is written through the API under the source `demo-crm`; places, pools and plans are the example
//! definitions. The passwords and secrets are lab values that are public in `netdefs/example-isp`.

use std::net::Ipv4Addr;

use serde_json::json;

use super::DemoFailure;
use super::bras::{Bras, Session, Status};
use super::cpe::{Cpe, Line};
use super::crm::{Crm, call_unix, health};
use super::daemon::{Daemon, Home};
use super::show::Show;
use crate::model::decode::octets_to_text;
use crate::time::{Clock, SteadyClock};

/// Secret of `bras1` in the example definitions.
const BRAS_SECRET: &str = "testing123-lab";
const HOME_LOGIN: &str = "demo.home";
const HOME_PASSWORD: &str = "lab-password-demo-home";
const SHOP_LOGIN: &str = "demo.shop";
const SHOP_PASSWORD: &str = "lab-password-demo-shop";
const SHOP_ADDRESS: &str = "203.0.113.20";
const SHOP_ROUTED: &str = "203.0.113.136/29";
const CIRCUIT_ID: &str = "OLT7 eth 1/3/27/2/1:300";
const CPE_MAC: [u8; 6] = [0x02, 0x00, 0x5e, 0x00, 0x53, 0x10];
const REMOTE_ID: [u8; 6] = [0x02, 0x00, 0x5e, 0x00, 0x53, 0x02];
/// Gateway of the network `fibre-public`.
const FIBRE_GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// A tour under way.
pub(super) struct Tour<'a> {
    show: &'a Show,
    home: &'a Home,
    clock: SteadyClock,
    daemon: Option<Daemon>,
    crm: Option<Crm>,
}

impl<'a> Tour<'a> {
    /// Starts the daemon.
    pub(super) async fn begin(show: &'a Show, home: &'a Home) -> Result<Self, DemoFailure> {
        let clock = SteadyClock::start();
        show.chapter("A daemon: lastmile serve, on loopback, with netdefs/example-isp");
        show.line(format_args!("   state in {}", home.path().display()));
        let mut tour = Self { show, home, clock, daemon: None, crm: None };
        tour.start().await?;
        Ok(tour)
    }

    /// All chapters in order.
    pub(super) async fn play(&mut self) -> Result<(), DemoFailure> {
        self.write_services().await?;
        let mut bras = Bras::new(BRAS_SECRET)?;
        let mut session = Session::new(HOME_LOGIN, "02:00:5e:00:53:20");
        self.log_in(&mut bras, &mut session).await?;
        let line = Line { circuit_id: CIRCUIT_ID, remote_id: REMOTE_ID, link: FIBRE_GATEWAY };
        let mut cpe = Cpe::new(CPE_MAC, line)?;
        self.lease(&mut cpe).await?;
        self.survive(&mut bras, &mut session, &mut cpe).await?;
        self.ask(&mut bras).await?;
        self.log_out(&mut bras, &mut session).await?;
        self.show.line(format_args!("\nThe tour is over: all {} checks passed.", self.show.checks()));
        Ok(())
    }

    /// Stops the daemon as a service manager would.
    pub(super) async fn end(mut self) -> Result<(), DemoFailure> {
        let Some(daemon) = self.daemon.take() else { return Ok(()) };
        self.show.line("\nStopping the daemon ...");
        let status = daemon.stop().await?;
        self.show.check("the daemon ended in order", "exit status: 0", &status)?;
        if self.home.is_temporary() {
            self.show.line("   its state is removed");
        } else {
            self.show.line(format_args!("   its state stays in {}", self.home.path().display()));
        }
        Ok(())
    }

    async fn start(&mut self) -> Result<(), DemoFailure> {
        let before = self.clock.now().tick;
        let daemon = Daemon::start(self.home).await?;
        let millis = self.clock.now().tick.0.saturating_sub(before.0) / 1_000_000;
        let at = &daemon.listeners;
        self.show.line(format_args!("   process {}, ready after {millis} ms", daemon.pid()));
        self.show.line(format_args!("   RADIUS {} and {}, DHCP {}", at.auth, at.acct, at.dhcp4));
        self.show.line(format_args!("   API {}, metrics {}, {}", at.api, at.metrics, at.socket.display()));
        if let Some(crm) = &mut self.crm {
            crm.api = at.api;
        }
        self.daemon = Some(daemon);
        Ok(())
    }

    fn daemon(&self) -> Result<&Daemon, DemoFailure> {
        self.daemon.as_ref().ok_or(DemoFailure::Interrupted)
    }

    fn crm(&self) -> Result<&Crm, DemoFailure> {
        self.crm.as_ref().ok_or(DemoFailure::Interrupted)
    }

    async fn write_services(&mut self) -> Result<(), DemoFailure> {
        let show = self.show;
        show.chapter("The CRM: a token, a subscriber, three services");
        let listeners = self.daemon()?.listeners.clone();
        let wanted = json!({
            "name": "demo CRM", "source": "demo-crm", "lifetime_days": 1,
            "scopes": ["subscriber.*", "service.*", "access.*", "*.read"],
        });
        let issued = call_unix(show, &listeners.socket, "POST", "/v1/tokens", Some(&wanted)).await?;
        show.check("a token for the CRM", "201", &issued.status)?;
        let token = issued.text("/token");
        self.home.write_token(&token)?;
        let crm = Crm::new(listeners.api, &token);
        let spec = json!({"display": "a demo subscriber", "language": "en"});
        crm.put(show, "/v1/subscribers/ext:demo", spec).await?;
        for (name, plan, addressing) in [
            ("demo-home", "home-300", json!({})),
            ("demo-fibre", "fibre-300", json!({})),
            ("demo-shop", "business", json!({"ipv4": {"address": SHOP_ADDRESS}, "routed_v4": [SHOP_ROUTED]})),
        ] {
            let plan = format!("ext:netdefs~{plan}");
            let spec = json!({"subscriber": "ext:demo", "plan": plan, "addressing": addressing});
            crm.put(show, &format!("/v1/services/ext:{name}"), spec).await?;
        }
        let pppoe = |service: &str, login: &str, password: &str| json!({"service": format!("ext:{service}"), "type": "pppoe", "login": login, "password": password});
        let remote_id = octets_to_text(&REMOTE_ID);
        let line = json!({
            "service": "ext:demo-fibre", "type": "ipoe_opt82", "circuit_id": CIRCUIT_ID,
            "remote_id": remote_id, "network": "ext:netdefs~fibre-public", "group": "olt-east",
        });
        for (name, spec) in [
            ("demo-home", pppoe("demo-home", HOME_LOGIN, HOME_PASSWORD)),
            ("demo-fibre", line),
            ("demo-shop", pppoe("demo-shop", SHOP_LOGIN, SHOP_PASSWORD)),
        ] {
            crm.put(show, &format!("/v1/accesses/ext:{name}"), spec).await?;
        }
        self.crm = Some(crm);
        Ok(())
    }

    async fn log_in(&self, bras: &mut Bras, session: &mut Session) -> Result<(), DemoFailure> {
        let (show, at) = (self.show, self.daemon()?.listeners.clone());
        show.chapter("A BRAS: PPPoE logins over RADIUS, Message-Authenticator first");
        let refused = bras.login(show, at.auth, session, "not the password").await?;
        show.check("a wrong password", "Access-Reject", refused.code)?;
        let accepted = bras.login(show, at.auth, session, HOME_PASSWORD).await?;
        show.check("the right password", "Access-Accept", accepted.code)?;
        show.check("an address is assigned", "true", &(!session.address.is_unspecified()).to_string())?;
        for status in [Status::Start, Status::Interim] {
            let code = bras.account(show, at.acct, session, status).await?;
            show.check("accounting, answered once it is durable", "Accounting-Response", code)?;
        }
        show.line("   a business service: a fixed address, and a subnet routed to it");
        let mut shop = Session::new(SHOP_LOGIN, "02:00:5e:00:53:21");
        let accepted = bras.login(show, at.auth, &mut shop, SHOP_PASSWORD).await?;
        show.check("the shop's login", "Access-Accept", accepted.code)?;
        show.check("its fixed address", SHOP_ADDRESS, &shop.address.to_string())?;
        let route = accepted.routes.iter().any(|route| route.starts_with(SHOP_ROUTED));
        show.check("its subnet is routed to it", "true", &route.to_string())
    }

    async fn lease(&self, cpe: &mut Cpe) -> Result<(), DemoFailure> {
        let (show, server) = (self.show, self.daemon()?.listeners.dhcp4);
        show.chapter("A CPE behind an OLT: DHCP, the line named in option 82");
        let offer = cpe.discover(show, server).await?;
        show.check("a line that the CRM has written", "DHCPOFFER", offer.message)?;
        let ack = cpe.request(show, server).await?;
        show.check("the lease, answered once it is durable", "DHCPACK", ack.message)?;
        show.check("the address that was offered", &offer.address.to_string(), &ack.address.to_string())?;
        let renewed = cpe.renew(show, server).await?;
        show.check("a renewal", "DHCPACK", renewed.message)?;
        show.check("it keeps the address", &ack.address.to_string(), &renewed.address.to_string())?;
        show.check("a whole lease, in seconds", "3600", &renewed.lease_secs.to_string())
    }

    async fn survive(
        &mut self,
        bras: &mut Bras,
        session: &mut Session,
        cpe: &mut Cpe,
    ) -> Result<(), DemoFailure> {
        let show = self.show;
        show.chapter("A power cut: SIGKILL, and a start on the same state");
        if let Some(daemon) = self.daemon.take() {
            show.line(format_args!("   kill -9 {}", daemon.pid()));
            daemon.kill()?;
        }
        self.start().await?;
        let at = self.daemon()?.listeners.clone();
        let path = format!("/v1/sessions?login={HOME_LOGIN}");
        let sessions = self.crm()?.get(show, &path).await?;
        show.check("sessions of the login", "1", &sessions.count("/items").to_string())?;
        show.check("the BRAS's session", &session.id, &sessions.text("/items/0/acct_session_id"))?;
        let address = session.address.to_string();
        show.check("its address", &address, &sessions.text("/items/0/addresses/0"))?;
        let code = bras.account(show, at.acct, session, Status::Interim).await?;
        show.check("its next interim", "Accounting-Response", code)?;
        let before = cpe.address.to_string();
        let renewed = cpe.renew(show, at.dhcp4).await?;
        show.check("the CPE renews", "DHCPACK", renewed.message)?;
        show.check("and keeps its address", &before, &renewed.address.to_string())
    }

    async fn ask(&self, bras: &mut Bras) -> Result<(), DemoFailure> {
        let (show, crm, at) = (self.show, self.crm()?, self.daemon()?.listeners.clone());
        show.chapter("Three questions: is it in force? why not? how full?");
        let status = crm.get(show, "/v1/services/ext:demo-home/status").await?;
        for pointer in ["/conditions", "/targets"] {
            for item in status.body.pointer(pointer).and_then(|list| list.as_array()).into_iter().flatten() {
                show.line(format_args!("      {item}"));
            }
        }
        show.check("the service is in force", "in_force", &status.text("/phase"))?;
        show.check("with a live session", "1", &status.text("/sessions"))?;
        let mut shop = Session::new(SHOP_LOGIN, "02:00:5e:00:53:21");
        let refused = bras.login(show, at.auth, &mut shop, "mistyped").await?;
        show.check("a wrong password", "Access-Reject", refused.code)?;
        let why = crm.get(show, &format!("/v1/why?subject={SHOP_LOGIN}")).await?;
        for check in why.body.pointer("/checks").and_then(|list| list.as_array()).into_iter().flatten() {
            let text = |name: &str| check.get(name).and_then(|value| value.as_str()).unwrap_or_default();
            show.line(format_args!("      {:<7} {:<20} {}", text("result"), text("id"), text("evidence")));
        }
        show.check("the answer to why", "password-mismatch", &why.text("/decisions/0/reason"))?;
        let pool = crm.get(show, "/v1/pools/ext:netdefs~fibre/utilization").await?;
        show.line(format_args!("      {}", pool.text("/counts")));
        show.check("leases from the pool of the CPE", "1", &pool.text("/counts/granted"))
    }

    async fn log_out(&self, bras: &mut Bras, session: &mut Session) -> Result<(), DemoFailure> {
        let (show, at) = (self.show, self.daemon()?.listeners.clone());
        show.chapter("The subscriber hangs up");
        let code = bras.account(show, at.acct, session, Status::Stop).await?;
        show.check("accounting, answered once it is durable", "Accounting-Response", code)?;
        let sessions = self.crm()?.get(show, &format!("/v1/sessions?login={HOME_LOGIN}")).await?;
        show.check("live sessions of the login", "0", &sessions.count("/items").to_string())?;
        show.check("the daemon's health", "ready", &health(show, at.metrics).await?)
    }

    /// What to try while the daemon is up.
    pub(super) fn invite(&self) -> Result<(), DemoFailure> {
        let (show, at) = (self.show, &self.daemon()?.listeners);
        let home = self.home.path().display();
        let login = |name: &str, password: &str| {
            format!(
                "echo 'User-Name={name},User-Password={password},Service-Type=Framed-User,Framed-Protocol=PPP,\
                 NAS-IP-Address=127.0.0.1,Message-Authenticator=0x00' | radclient -x {} auth {BRAS_SECRET}",
                at.auth
            )
        };
        let curl = |path: &str| {
            format!(
                "curl -s -H \"Authorization: Bearer $(cat '{home}/crm.token')\" 'http://{}{path}'",
                at.api
            )
        };
        show.chapter("The daemon stays up until Ctrl-C. Try, in another terminal:");
        for (what, command) in [
            ("a login of the example definitions", login("home1001", "lab-password-1001")),
            ("the demo's own", login(HOME_LOGIN, HOME_PASSWORD)),
            ("one that is refused", login(HOME_LOGIN, "wrong")),
            (
                "a session begins",
                format!(
                    "echo 'User-Name={HOME_LOGIN},Acct-Status-Type=Start,Acct-Session-Id=by-hand,\
                     NAS-IP-Address=127.0.0.1,Message-Authenticator=0x00' | radclient -x {} acct {BRAS_SECRET}",
                    at.acct
                ),
            ),
            (
                "is the server there?",
                format!("echo 'Message-Authenticator=0x00' | radclient -x {} status {BRAS_SECRET}", at.auth),
            ),
            ("why somebody is not online", curl(&format!("/v1/why?subject={SHOP_LOGIN}"))),
            ("live sessions", curl("/v1/sessions")),
            ("leases", curl("/v1/leases")),
            ("the newest decisions", curl("/v1/decisions?limit=5")),
            ("what the API offers", curl("/v1/openapi.json")),
            ("metrics", format!("curl -s http://{}/metrics", at.metrics)),
            ("health", format!("curl -s http://{}/health/ready", at.metrics)),
        ] {
            show.line(format_args!("\n # {what}\n {command}"));
        }
        show.line(format_args!("\n The daemon's log: {home}/daemon.log"));
        Ok(())
    }
}
