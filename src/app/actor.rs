//! Who asks, and what they may do.
//!
//! Every use-case takes an [`Actor`] and calls [`Actor::require`] before anything else. A scope is `resource.verb`, such
//! as `service.write`; `service.*`, `*.read` and `*` stand for several. Being allowed to write a kind of object is one
//! thing, owning the object another: see [`super::objects`].

use super::refusal::Refusal;
use crate::ids::TenantId;
use crate::model::Kind;
use crate::model::decode::nearest;

/// How the actor proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorKind {
    /// An API token: a CRM or other machine.
    Token,
    /// A person on the machine itself, through the Unix socket.
    Operator,
    /// The daemon, for what it does by itself.
    System,
}

impl ActorKind {
    /// Name in audit rows and in `updated_by`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Operator => "operator",
            Self::System => "system",
        }
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Operator it acts for.
    pub tenant: TenantId,
    /// Namespace it writes in; `None` acts as an operator.
    pub source: Option<String>,
    /// Id of its credential, such as `tok_…` or `uid-0`.
    pub id: String,
    /// Name shown to people.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// How it proved who it is.
    pub kind: ActorKind,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Looking.
    Read,
    /// Making, changing and deleting.
    Write,
    /// Taking over what another source owns.
    Adopt,
    /// Issuing and revoking credentials.
    Admin,
}

/// To what it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Objects of one kind.
    Object(Kind),
    /// Objects of any kind, as a whole set.
    Definitions,
    /// RADIUS sessions.
    Session,
    /// DHCP leases and other grants.
    Lease,
    /// History of who held what.
    Binding,
    /// Outcomes of requests, and explanations made of them.
    Decision,
    /// Change events.
    Event,
    /// API tokens.
    Token,
    /// The daemon itself.
    System,
}

impl Action {
    /// The verb of a scope.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Adopt => "adopt",
            Self::Admin => "admin",
        }
    }
}

impl Resource {
    /// The resource of a scope.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Object(kind) => kind.name(),
            Self::Definitions => "definitions",
            Self::Session => "session",
            Self::Lease => "lease",
            Self::Binding => "binding",
            Self::Decision => "decision",
            Self::Event => "event",
            Self::Token => "token",
            Self::System => "system",
        }
    }
}

/// The scope that `action` on `resource` needs.
pub fn scope(action: Action, resource: Resource) -> String {
    format!("{}.{}", resource.name(), action.name())
}

impl Actor {
    /// The daemon, for what it does by itself, such as applying the definitions it was configured with.
    pub fn system() -> Self {
        Self {
            tenant: TenantId::DEFAULT,
            source: None,
            id: "daemon".to_owned(),
            name: "daemon".to_owned(),
            scopes: vec!["*".to_owned()],
            kind: ActorKind::System,
        }
    }

    /// A person on the machine, who may do everything.
    pub fn operator(uid: u32) -> Self {
        let name = if uid == 0 { "root".to_owned() } else { format!("uid {uid}") };
        Self {
            tenant: TenantId::DEFAULT,
            source: None,
            id: format!("uid-{uid}"),
            name,
            scopes: vec!["*".to_owned()],
            kind: ActorKind::Operator,
        }
    }

    /// Whether the actor may do `action` to `resource`.
    pub fn may(&self, action: Action, resource: Resource) -> bool {
        self.holds(&scope(action, resource))
    }

    /// Whether one of its scopes covers `wanted`.
    pub fn holds(&self, wanted: &str) -> bool {
        self.scopes.iter().any(|held| covers(held, wanted))
    }

    /// Refuses unless the actor may do `action` to `resource`.
    pub fn require(&self, action: Action, resource: Resource) -> Result<(), Refusal> {
        if self.may(action, resource) {
            return Ok(());
        }
        Err(Refusal::Denied { actor: self.name.clone(), scope: scope(action, resource) })
    }

    /// As written into audit rows and `updated_by`: `token:tok_…:crm-isp`.
    pub fn label(&self) -> String {
        format!("{}:{}:{}", self.kind.name(), self.id, self.name)
    }
}

/// Whether holding `held` is enough where `wanted` is asked for. Adopting and issuing tokens are never implied by a
/// wildcard over resources, other than `*` alone.
fn covers(held: &str, wanted: &str) -> bool {
    if held == "*" || held == wanted {
        return true;
    }
    let (Some((resource, verb)), Some((held_resource, held_verb))) =
        (wanted.split_once('.'), held.split_once('.'))
    else {
        return false;
    };
    let verbs = held_verb == verb || held_verb == "*";
    match held_resource {
        "*" => held_verb == verb && matches!(verb, "read" | "write"),
        _ => held_resource == resource && verbs,
    }
}

/// Every scope that something asks for.
pub fn scopes() -> Vec<String> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        for action in [Action::Read, Action::Write, Action::Adopt] {
            all.push(scope(action, Resource::Object(kind)));
        }
    }
    for resource in [
        Resource::Session,
        Resource::Lease,
        Resource::Binding,
        Resource::Decision,
        Resource::Event,
        Resource::System,
    ] {
        all.push(scope(Action::Read, resource));
    }
    all.push(scope(Action::Write, Resource::Definitions));
    all.push(scope(Action::Admin, Resource::Token));
    all.push(scope(Action::Admin, Resource::System));
    all
}

/// Checks that a scope covers something; the error says what was probably meant.
pub fn check_scope(text: &str) -> Result<(), String> {
    let all = scopes();
    if all.iter().any(|known| covers(text, known)) {
        return Ok(());
    }
    let known: Vec<&str> = all.iter().map(String::as_str).collect();
    let hint = nearest(text, &known).map_or_else(
        || format!("known scopes: {}, *.read, *", known.join(", ")),
        |near| format!("did you mean `{near}`?"),
    );
    Err(format!("`{text}` covers no action; {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_cover_what_they_say_and_no_more() {
        for (held, wanted, expected) in [
            ("service.write", "service.write", true),
            ("service.write", "service.read", false),
            ("service.*", "service.adopt", true),
            ("service.*", "access.read", false),
            ("*.read", "binding.read", true),
            ("*.write", "definitions.write", true),
            ("*.admin", "token.admin", false),
            ("*.*", "token.admin", false),
            ("*", "token.admin", true),
            ("", "token.admin", false),
        ] {
            assert_eq!(covers(held, wanted), expected, "{held} for {wanted}");
        }
    }

    #[test]
    fn a_scope_that_covers_nothing_is_named_with_its_neighbour() {
        assert!(check_scope("service.*").is_ok());
        assert!(check_scope("servce.write").unwrap_err().contains("`service.write`"));
        assert!(check_scope("*.admin").is_err());
    }
}
