//! Handlers of what the network does: status, sessions, leases, history, explanations.

use std::time::Duration;

use super::call::{Answering, Call, Reply};
use super::problem::Failure;
use super::render;
use crate::app::Refusal;
use crate::app::history::DecisionFilter;
use crate::app::live::LiveFilter;
use crate::app::status::StatusWait;
use crate::ids::{ServiceId, SessionId, Uid};
use crate::model::{Kind, Mac, Prefix, Ref};
use crate::storage::ObservedFilter;

pub(super) fn status(call: Call) -> Answering {
    Box::pin(async move {
        let seconds = call.query.parsed::<u32>("timeout", "a number of seconds")?.unwrap_or(0);
        let wait = StatusWait {
            generation: call.query.parsed("wait_generation", "a generation")?,
            timeout: Duration::from_secs(u64::from(seconds)),
        };
        Reply::json(&call.app.service_status(&call.actor, &call.reference()?, wait).await?)
    })
}

pub(super) fn access_status(call: Call) -> Answering {
    Box::pin(async move { Reply::json(&call.app.access_status(&call.actor, &call.reference()?).await?) })
}

pub(super) fn utilization(call: Call) -> Answering {
    Box::pin(async move { Reply::json(&call.app.utilization(&call.actor, &call.reference()?).await?) })
}

pub(super) fn sessions(call: Call) -> Answering {
    Box::pin(async move {
        let (after, limit) = (call.query.after(call.operation)?, call.query.limit()?);
        match call.query.text("state") {
            None | Some("live") => {
                for name in ["from", "to"] {
                    if call.query.text(name).is_some() {
                        return Err(Refusal::filter(name, "is for state=closed").into());
                    }
                }
                let filter = live_filter(&call).await?;
                let page = call.app.live_sessions(&call.actor, &filter, after.as_deref(), limit)?;
                render::page(&call, page)
            }
            Some("closed") => {
                let filter =
                    ObservedFilter { state: Some("closed".to_owned()), ..observed_filter(&call).await? };
                let page = call.app.stored_sessions(&call.actor, filter, after, limit).await?;
                render::page(&call, page)
            }
            Some(_) => Err(Refusal::filter("state", "write live or closed").into()),
        }
    })
}

pub(super) fn session(call: Call) -> Answering {
    Box::pin(async move {
        let text = call.decoded_segment()?;
        let missing = || Failure::from(Refusal::NotFound { what: format!("session `{text}`") });
        let id = text.parse::<SessionId>().map_err(|_| missing())?;
        Reply::json(&call.app.session(&call.actor, id).await?)
    })
}

pub(super) fn leases(call: Call) -> Answering {
    Box::pin(async move {
        let (after, limit) = (call.query.after(call.operation)?, call.query.limit()?);
        let filter = live_filter(&call).await?;
        let page = call.app.live_leases(&call.actor, &filter, after.as_deref(), limit)?;
        render::page(&call, page)
    })
}

pub(super) fn lease(call: Call) -> Answering {
    Box::pin(async move {
        let text = call.decoded_segment()?;
        let missing = || Failure::from(Refusal::NotFound { what: format!("address `{text}`") });
        let prefix = text.parse::<Prefix>().map_err(|_| missing())?;
        let vrf = call.query.text("vrf").unwrap_or_default();
        Reply::json(&call.app.lease(&call.actor, vrf, prefix)?)
    })
}

pub(super) fn bindings(call: Call) -> Answering {
    Box::pin(async move {
        let (after, limit) = (call.query.after(call.operation)?, call.query.limit()?);
        let filter = observed_filter(&call).await?;
        let page = call.app.bindings(&call.actor, filter, after, limit).await?;
        render::page(&call, page)
    })
}

pub(super) fn decisions(call: Call) -> Answering {
    Box::pin(async move {
        let text = |name: &str| call.query.text(name).map(str::to_owned);
        let filter = DecisionFilter {
            outcome: text("outcome"),
            plane: text("plane"),
            reason: text("reason"),
            subject: text("subject"),
        };
        render::items(&call.app.decisions(&call.actor, &filter, call.query.limit()?)?)
    })
}

pub(super) fn why(call: Call) -> Answering {
    Box::pin(async move {
        let subject = call.query.text("subject").unwrap_or_default();
        Reply::json(&call.app.why(&call.actor, subject).await?)
    })
}

pub(super) fn events(call: Call) -> Answering {
    Box::pin(async move {
        let after = call.query.parsed::<u64>("after", "a seq")?.unwrap_or(0);
        render::items(&call.app.events(&call.actor, after, call.query.limit()?).await?)
    })
}

async fn live_filter(call: &Call) -> Result<LiveFilter, Failure> {
    Ok(LiveFilter {
        service: named(call, "service", Kind::Service).await?.map(ServiceId),
        mac: call.query.parsed::<Mac>("mac", "a MAC address")?,
        nas: named(call, "nas", Kind::Nas).await?,
        login: call.query.text("login").map(str::to_owned),
        prefix: call.query.parsed::<Prefix>("prefix", "an address or prefix")?,
        vrf: call.query.text("vrf").map(str::to_owned),
    })
}

async fn observed_filter(call: &Call) -> Result<ObservedFilter, Failure> {
    for name in ["nas", "login", "vrf"] {
        if call.query.text(name).is_some() {
            return Err(Refusal::filter(name, "history cannot be searched by this").into());
        }
    }
    Ok(ObservedFilter {
        service: named(call, "service", Kind::Service).await?.map(ServiceId),
        mac: call.query.parsed::<Mac>("mac", "a MAC address")?,
        prefix: call.query.parsed::<Prefix>("prefix", "an address or prefix")?,
        state: None,
        from: call.query.stamp("from")?,
        to: call.query.stamp("to")?,
    })
}

/// The object that a filter names. An id is taken as it is: history outlives what it is about.
async fn named(call: &Call, name: &str, kind: Kind) -> Result<Option<Uid>, Failure> {
    let Some(reference) = call.query.parsed::<Ref>(name, "a reference")? else { return Ok(None) };
    if let Ref::Id(of, uid) = &reference {
        let same = (*of == kind).then_some(Some(*uid));
        return same
            .ok_or_else(|| Refusal::filter(name, format!("that is the id of a {}", of.name())).into());
    }
    let reader = crate::app::Actor { scopes: vec!["*.read".to_owned()], ..call.actor.clone() };
    match call.app.id_of(&reader, kind, &reference).await {
        Ok(uid) => Ok(Some(uid)),
        Err(Refusal::NotFound { .. }) => {
            Err(Refusal::filter(name, format!("there is no {} {reference}", kind.name())).into())
        }
        Err(other) => Err(other.into()),
    }
}
