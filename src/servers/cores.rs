//! Which core answers which socket, and what each keeps while it waits.

use std::sync::Arc;

use crate::decision::{Decision, Plane};
use crate::dhcp::v4::core::Dhcp4Core;
use crate::dhcp::v4::core::Pending as PendingAck;
use crate::journal::Durable;
use crate::journal::record::Record;
use crate::ledger::Ledger;
use crate::pipeline::{Batch, Datagram, Outgoing, Protocol, Verdict, World};
use crate::radius::{AcctCore, AuthCore, HeldReply};
use crate::snapshot::Snapshot;

/// The cores of this daemon.
#[derive(Debug)]
pub struct Cores {
    /// RADIUS authentication.
    pub auth: AuthCore,
    /// RADIUS accounting.
    pub acct: AcctCore,
    /// DHCPv4.
    pub dhcp4: Dhcp4Core,
}

/// One of the cores, by what a socket serves.
pub type Core = Plane;

/// What a core keeps while the journal is awaited.
#[derive(Debug)]
pub enum Pending {
    /// An Access-Accept.
    Auth(HeldReply),
    /// An Accounting-Response.
    Acct(HeldReply),
    /// A DHCPACK.
    Dhcp4(PendingAck),
}

/// A verdict of any core.
#[derive(Debug)]
pub struct AnyVerdict {
    /// The reply to send now, if any; it lies in the buffer.
    pub reply: Option<Outgoing>,
    /// Records nobody waits for.
    pub write: Vec<Record>,
    /// What waits, with the records it waits for.
    pub wait: Option<(Vec<Record>, Pending)>,
}

fn any<P>(verdict: Verdict<P>, wrap: impl FnOnce(P) -> Pending) -> AnyVerdict {
    match verdict {
        Verdict::Discard { write } => AnyVerdict { reply: None, write, wait: None },
        Verdict::Send { reply, write } => AnyVerdict { reply: Some(reply), write, wait: None },
        Verdict::Wait { wait_for, write, pending } => {
            AnyVerdict { reply: None, write, wait: Some((wait_for, wrap(pending))) }
        }
    }
}

impl Cores {
    /// Lets the core of `plane` decide.
    pub fn admit(
        self: &Arc<Self>,
        plane: Plane,
        world: &World<'_>,
        datagram: &Datagram<'_>,
        out: &mut [u8],
    ) -> (AnyVerdict, Decision) {
        match plane {
            Plane::Auth => {
                let admitted = self.auth.admit(world, datagram, out);
                (any(admitted.verdict, Pending::Auth), admitted.decision)
            }
            Plane::Acct => {
                let admitted = self.acct.admit(world, datagram, out);
                (any(admitted.verdict, Pending::Acct), admitted.decision)
            }
            Plane::Dhcp4 => {
                let admitted = self.dhcp4.admit(world, datagram, out);
                (any(admitted.verdict, Pending::Dhcp4), admitted.decision)
            }
        }
    }

    /// Asks for the memory that the core of `plane` will need for a batch.
    pub fn look_ahead(&self, plane: Plane, snapshot: &Snapshot, ledger: &Ledger, batch: Batch<'_, '_>) {
        match plane {
            Plane::Auth => self.auth.look_ahead(snapshot, ledger, batch),
            Plane::Acct => self.acct.look_ahead(snapshot, ledger, batch),
            Plane::Dhcp4 => self.dhcp4.look_ahead(snapshot, ledger, batch),
        }
    }

    /// Encodes the reply of what is durable.
    pub fn finish(&self, pending: &Pending, durable: Durable, out: &mut [u8]) -> Option<Outgoing> {
        match pending {
            Pending::Auth(pending) => self.auth.finish(pending, durable, out),
            Pending::Acct(pending) => self.acct.finish(pending, durable, out),
            Pending::Dhcp4(pending) => self.dhcp4.finish(pending, durable, out),
        }
    }

    /// The journal failed.
    pub fn fail(&self, pending: &Pending) {
        match pending {
            Pending::Auth(pending) => self.auth.fail(pending),
            Pending::Acct(pending) => self.acct.fail(pending),
            Pending::Dhcp4(pending) => self.dhcp4.fail(pending),
        }
    }
}
