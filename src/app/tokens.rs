//! API tokens: credentials of CRMs and other machines.
//!
//! A token reads `lm_pat_<id>_<secret>_<check>`: the id names the row, the secret is 32 random bytes in base 62, and the
//! check is a CRC-32C over what stands before, so that secret scanners recognise a token and a truncated copy is told
//! from a wrong one. Only the SHA-256 of the secret is stored; 256 random bits need no slow hash.
//!
//! Tokens are cached for [`TOKEN_CACHE_MS`], so that a request costs no query; a revocation on this node is seen at once,
//! one on another node within that time. With the database down the cached ones keep working.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::audit::Deed;
use super::{Action, Actor, ActorKind, App, Refusal, Resource, actor};
use crate::ids::{TenantId, TokenId};
use crate::limits::{TOKEN_CACHE_MS, TOKEN_RELOAD_MS};
use crate::model::Problems;
use crate::model::decode::{Reader, kind_of, name, number, text};
use crate::secret::{Secret, constant_time_eq};
use crate::storage::{ActedOn, TokenRow};
use crate::time::Stamp;

const PREFIX: &str = "lm_pat_";
const SECRET_BYTES: usize = 32;
/// Digits of 32 bytes in base 62: 62^43 > 2^256.
const SECRET_DIGITS: usize = 43;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// A token ends after a year at the latest, and after a year unless said otherwise.
const LIFETIME_DAYS_MAX: u64 = 365;

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is no token, not one of ours, or its secret is wrong.
    #[error("the token is not valid")]
    Invalid,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Somebody revoked it.
    #[error("the token has been revoked")]
    Revoked,
    /// Tokens cannot be read.
    #[error("tokens cannot be checked")]
    Unavailable(#[source] Refusal),
}

/// What a new token may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// Name shown to people.
    pub name: String,
    /// Namespace it writes in; `None` acts as an operator.
    pub source: Option<String>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Days until it ends.
    pub lifetime_days: u64,
    /// Operator it acts for; the maker's own when absent.
    pub tenant: Option<TenantId>,
}

impl NewToken {
    /// Reads a request body.
    pub fn decode(body: &Value) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        match Self::read(body, &mut problems) {
            Some(token) if problems.is_empty() => Ok(token),
            _ => Err(problems),
        }
    }

    fn read(body: &Value, problems: &mut Problems) -> Option<Self> {
        let mut reader = Reader::new(body, "", problems)?;
        let label = reader.required("name", text);
        let source = reader.optional("source", name);
        let scopes = reader.list("scopes", |value| {
            let scope = value.as_str().ok_or_else(|| format!("expected a string, got {}", kind_of(value)))?;
            actor::check_scope(scope).map(|()| scope.to_owned())
        });
        let days = reader.optional("lifetime_days", number(1..=LIFETIME_DAYS_MAX));
        let tenant = reader.optional("tenant", crate::model::decode::parsed::<TenantId>);
        if scopes.is_empty() {
            reader.problem("scopes", "at least one valid scope is required, such as service.write or *.read");
        }
        if label.as_ref().is_some_and(|name| name.is_empty() || name.len() > 64 || name.contains(':')) {
            reader.problem("name", "a token name has 1 to 64 bytes without `:`");
        }
        reader.finish(|| {
            Some(Self {
                name: label?,
                source,
                scopes,
                lifetime_days: days.unwrap_or(LIFETIME_DAYS_MAX),
                tenant,
            })
        })
    }
}

/// A token as shown: never its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct TokenView {
    /// Its id.
    pub id: String,
    /// Operator it acts for.
    pub tenant: String,
    /// Name shown to people.
    pub name: String,
    /// Namespace it writes in; null acts as an operator.
    pub source: Option<String>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// `active`, `expired` or `revoked`.
    pub state: &'static str,
    /// When it was made.
    #[schema(value_type = String)]
    pub created_at: Stamp,
    /// When it ends.
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Stamp>,
    /// When it was revoked.
    #[schema(value_type = Option<String>)]
    pub revoked_at: Option<Stamp>,
}

/// A token that was just made.
#[derive(Debug)]
pub struct IssuedToken {
    /// The token as it will be listed.
    pub view: TokenView,
    /// The whole text: shown this once and stored nowhere.
    pub text: Secret,
}

#[derive(Debug, Default)]
pub(super) struct TokenCache(Mutex<Cached>);

#[derive(Clone, Debug, Default)]
struct Cached {
    rows: Option<Arc<HashMap<TokenId, TokenRow>>>,
    read_at: Stamp,
}

impl App {
    /// Issues a token. The text in the answer is the only copy.
    pub async fn issue_token(
        &self,
        actor: &Actor,
        new: NewToken,
        request: &str,
    ) -> Result<IssuedToken, Refusal> {
        actor.require(Action::Admin, Resource::Token)?;
        check_reach(actor, &new)?;
        let (now, entropy) = (self.now(), self.parts().entropy.as_ref());
        let mut bytes = zeroize::Zeroizing::new([0; SECRET_BYTES]);
        entropy.fill(bytes.as_mut_slice());
        let secret = base62(&bytes);
        let id = TokenId::mint(now, entropy);
        let row = TokenRow {
            id,
            tenant: new.tenant.unwrap_or(actor.tenant),
            name: new.name,
            source: new.source,
            hash: Sha256::digest(secret.expose()).into(),
            scopes: new.scopes,
            created_at: now,
            expires_at: Some(now.plus_secs(new.lifetime_days * 86_400)),
            revoked_at: None,
        };
        self.parts().vault.load_tenant(self.storage(), row.tenant).await?;
        let view = view(&row, now);
        let deed = Deed { actor, request, tenant: row.tenant, on: ActedOn::Token(id) };
        let act = self.act(&deed, None, Some(&view));
        self.storage().put_token(row, act).await?;
        self.forget_tokens();
        tracing::info!(token = %id, name = view.name, by = actor.label(), "token issued");
        let text = compose(id, &secret);
        Ok(IssuedToken { view, text })
    }

    /// The tokens of the actor's tenant, expired and revoked ones included.
    pub async fn tokens(&self, actor: &Actor) -> Result<Vec<TokenView>, Refusal> {
        actor.require(Action::Admin, Resource::Token)?;
        let now = self.now();
        let rows = self.storage().tokens().await?;
        let own = rows.iter().filter(|row| row.tenant == actor.tenant || actor.kind == ActorKind::Operator);
        Ok(own.map(|row| view(row, now)).collect())
    }

    /// Ends a token at once.
    pub async fn revoke_token(&self, actor: &Actor, id: TokenId, request: &str) -> Result<(), Refusal> {
        actor.require(Action::Admin, Resource::Token)?;
        let missing = || Refusal::NotFound { what: format!("token {id}") };
        let named = id.to_string();
        let before =
            self.tokens(actor).await?.into_iter().find(|token| token.id == named).ok_or_else(missing)?;
        let now = self.now();
        let after = TokenView { state: "revoked", revoked_at: Some(now), ..before.clone() };
        let tenant = before.tenant.parse().unwrap_or(actor.tenant);
        let deed = Deed { actor, request, tenant, on: ActedOn::Token(id) };
        let act = self.act(&deed, Some(&before), Some(&after));
        if !self.storage().revoke_token(id, now, act).await? {
            return Err(missing());
        }
        self.forget_tokens();
        tracing::info!(token = %id, by = actor.label(), "token revoked");
        Ok(())
    }

    /// The actor behind a token.
    pub async fn authenticate(&self, token: &str) -> Result<Actor, TokenError> {
        let (id, secret) = parse(token).ok_or(TokenError::Invalid)?;
        let row = self.token(id).await?.ok_or(TokenError::Invalid)?;
        let hash: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        if !constant_time_eq(&hash, &row.hash) {
            return Err(TokenError::Invalid);
        }
        match state(&row, self.now()) {
            "revoked" => Err(TokenError::Revoked),
            "expired" => Err(TokenError::Expired),
            _ => Ok(Actor {
                tenant: row.tenant,
                source: row.source,
                id: id.to_string(),
                name: row.name,
                scopes: row.scopes,
                kind: ActorKind::Token,
            }),
        }
    }

    async fn token(&self, id: TokenId) -> Result<Option<TokenRow>, TokenError> {
        let now = self.now();
        let cached = self.tokens.0.lock().clone();
        let age = now.since(cached.read_at);
        if let Some(rows) = &cached.rows {
            let found = rows.get(&id);
            // An unknown id may be a token of another node, or a flood of guesses: look again, but not each time.
            let fresh = if found.is_some() { TOKEN_CACHE_MS } else { TOKEN_RELOAD_MS };
            if age < fresh {
                return Ok(found.cloned());
            }
        }
        match self.storage().tokens().await {
            Ok(rows) => {
                let rows: HashMap<TokenId, TokenRow> = rows.into_iter().map(|row| (row.id, row)).collect();
                let found = rows.get(&id).cloned();
                *self.tokens.0.lock() = Cached { rows: Some(Arc::new(rows)), read_at: now };
                Ok(found)
            }
            Err(error) => match cached.rows {
                Some(rows) => Ok(rows.get(&id).cloned()),
                None => Err(TokenError::Unavailable(error.into())),
            },
        }
    }

    fn forget_tokens(&self) {
        self.tokens.0.lock().rows = None;
    }
}

/// Nobody hands out more than they have.
fn check_reach(actor: &Actor, new: &NewToken) -> Result<(), Refusal> {
    let mut problems = Problems::default();
    for (index, scope) in new.scopes.iter().enumerate() {
        let wanted = actor::scopes().into_iter().filter(|known| scope_covers(scope, known));
        for missing in wanted.filter(|wanted| !actor.holds(wanted)).take(1) {
            let detail = format!("`{scope}` includes {missing}, which you do not have yourself");
            problems.add(format!("/scopes/{index}"), "validation-failed", detail);
        }
    }
    if actor.source.is_some() && new.source != actor.source {
        problems.add("/source", "validation-failed", "a token of a source issues tokens of that source only");
    }
    if new.tenant.is_some_and(|tenant| tenant != actor.tenant) && actor.kind != ActorKind::Operator {
        problems.add("/tenant", "validation-failed", "only the operator of the machine names another tenant");
    }
    if problems.is_empty() { Ok(()) } else { Err(Refusal::Invalid(problems)) }
}

fn scope_covers(held: &str, wanted: &str) -> bool {
    let probe = Actor { scopes: vec![held.to_owned()], ..Actor::operator(0) };
    probe.holds(wanted)
}

fn state(row: &TokenRow, now: Stamp) -> &'static str {
    if row.revoked_at.is_some() {
        "revoked"
    } else if row.expires_at.is_some_and(|end| end <= now) {
        "expired"
    } else {
        "active"
    }
}

fn view(row: &TokenRow, now: Stamp) -> TokenView {
    TokenView {
        id: row.id.to_string(),
        tenant: row.tenant.to_string(),
        name: row.name.clone(),
        source: row.source.clone(),
        scopes: row.scopes.clone(),
        state: state(row, now),
        created_at: row.created_at,
        expires_at: row.expires_at,
        revoked_at: row.revoked_at,
    }
}

fn compose(id: TokenId, secret: &Secret) -> Secret {
    let mut text = zeroize::Zeroizing::new(format!("{PREFIX}{}_", id.0.base32()).into_bytes());
    text.extend_from_slice(secret.expose());
    let check = format!("_{:08x}", crc32c::crc32c(&text));
    text.extend_from_slice(check.as_bytes());
    Secret::new(text.as_slice())
}

/// Splits a token into its id and its secret, if it is whole.
fn parse(token: &str) -> Option<(TokenId, &str)> {
    let (body, check) = token.rsplit_once('_')?;
    let (id, secret) = body.strip_prefix(PREFIX)?.split_once('_')?;
    let whole = format!("{:08x}", crc32c::crc32c(body.as_bytes())) == check;
    let id = crate::ids::Uid::parse_base32(id)?;
    (whole && secret.len() == SECRET_DIGITS).then_some((TokenId(id), secret))
}

/// The number that the bytes are, in base 62, with leading zeros.
fn base62(bytes: &[u8; SECRET_BYTES]) -> Secret {
    let mut number = zeroize::Zeroizing::new(*bytes);
    let mut digits = zeroize::Zeroizing::new([b'0'; SECRET_DIGITS]);
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_u32;
        for byte in number.iter_mut() {
            let value = (remainder << 8) | u32::from(*byte);
            *byte = (value / 62) as u8;
            remainder = value % 62;
        }
        *digit = DIGITS.get(remainder as usize).copied().unwrap_or(b'0');
    }
    Secret::new(digits.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Uid;

    #[test]
    fn a_token_reads_back_and_every_changed_character_is_noticed() {
        let id = TokenId(Uid(0x0192_0000_0000_7000_8000_0000_0000_0007));
        let secret = base62(&[0xff; SECRET_BYTES]);
        assert_eq!(secret.len(), SECRET_DIGITS);
        let text = compose(id, &secret);
        let text = std::str::from_utf8(text.expose()).unwrap();
        assert!(text.starts_with("lm_pat_"));
        assert_eq!(parse(text), Some((id, std::str::from_utf8(secret.expose()).unwrap())));
        for at in 0..text.len() {
            let mut wrong = text.to_owned().into_bytes();
            wrong[at] = if wrong[at] == b'7' { b'8' } else { b'7' };
            assert_eq!(parse(std::str::from_utf8(&wrong).unwrap()), None, "position {at}");
        }
        for length in 0..text.len() {
            assert_eq!(parse(&text[..length]), None);
        }
    }

    #[test]
    fn base_62_counts_like_any_other_base() {
        let mut bytes = [0; SECRET_BYTES];
        bytes[SECRET_BYTES - 1] = 62;
        let text = base62(&bytes);
        assert!(text.expose().ends_with(b"0010"));
        assert!(text.expose()[..SECRET_DIGITS - 2].iter().all(|digit| *digit == b'0'));
    }

    #[test]
    fn nobody_issues_a_token_that_can_do_more_than_they_can() {
        let mut actor = Actor::operator(0);
        actor.kind = ActorKind::Token;
        actor.scopes = vec!["token.admin".to_owned(), "*.read".to_owned()];
        actor.source = Some("crm".to_owned());
        let new = |scopes: &[&str], source: &str| NewToken {
            name: "x".to_owned(),
            source: Some(source.to_owned()),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            lifetime_days: 1,
            tenant: None,
        };
        assert!(check_reach(&actor, &new(&["service.read"], "crm")).is_ok());
        assert!(check_reach(&actor, &new(&["service.write"], "crm")).is_err());
        assert!(check_reach(&actor, &new(&["*"], "crm")).is_err());
        assert!(check_reach(&actor, &new(&["service.read"], "other")).is_err());
    }
}
