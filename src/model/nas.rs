//! A RADIUS client (BRAS, BNG, NAS) and how to speak with it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Prefix;
use super::decode::{Problems, Reader, SecretField, boolean, name, number, parsed, text, word};

/// Whether requests must carry Message-Authenticator (CVE-2024-3596).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Requirement {
    /// Always.
    #[default]
    Yes,
    /// Learned from traffic.
    Auto,
    /// Never.
    No,
}

/// What follows when a NAS with `require_message_authenticator = auto` has been seen to sign every Access-Request for long
/// enough (FIELD R17).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Enforce {
    /// It is shown, and the operator decides.
    #[default]
    Propose,
    /// Unsigned Access-Requests are no longer answered.
    Auto,
}

/// When replies to Access-Requests carry Message-Authenticator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignReplies {
    /// In every reply, first.
    #[default]
    Always,
    /// Only when the request carried one, for boxes that refuse it otherwise.
    WhenSigned,
}

/// What this NAS's accounting has been seen to prove (FIELD R2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Accounting {
    /// Accounting arrives reliably: sessions end by Stop.
    Proven,
    /// There is none.
    Absent,
    /// Not known yet.
    #[default]
    Unknown,
}

/// Letter case of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// As received.
    #[default]
    Keep,
    /// Lowered before comparing.
    Lower,
}

/// Desired state of a NAS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NasSpec {
    /// Addresses it sends from, single or prefixes.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<Prefix>,
    /// NAS-Identifier that tells apart clients behind one address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    /// Shared secret, write-only.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    pub secret: SecretField,
    /// The previous secret, accepted during a rotation, write-only.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    pub previous_secret: SecretField,
    /// Vendor of the box, for attribute compilation.
    #[serde(default = "generic")]
    pub vendor: String,
    /// NAS group: a redundant pair, and the scope of pools and line identities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whether Access-Requests must carry Message-Authenticator.
    #[serde(default)]
    pub require_message_authenticator: Requirement,
    /// What follows from `auto` there when the NAS has been seen to sign.
    #[serde(default)]
    pub enforce_message_authenticator: Enforce,
    /// Whether Access-Requests with Proxy-State must carry Message-Authenticator.
    #[serde(default = "auto")]
    pub limit_proxy_state: Requirement,
    /// When our replies carry Message-Authenticator.
    #[serde(default)]
    pub reply_message_authenticator: SignReplies,
    /// What its accounting proves.
    #[serde(default)]
    pub accounting: Accounting,
    /// Fixed password of passwordless IPoE authorisation; none means it is off. Write-only.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    pub ipoe_password: SecretField,
    /// Letter case of logins.
    #[serde(default)]
    pub login_case: Case,
    /// Whether `@realm` is removed from logins.
    #[serde(default)]
    pub strip_realm: bool,
    /// Longest delay of a reject in milliseconds, below half of the NAS's own timeout.
    #[serde(default = "reject_delay_max")]
    pub reject_delay_max: u32,
    /// Smallest Acct-Interim-Interval the box accepts, in seconds.
    #[serde(default = "interim_min")]
    pub interim_min: u32,
    /// Whether the peer is a proxy (its Proxy-State is its own).
    #[serde(default)]
    pub proxy: bool,
}

fn generic() -> String {
    "generic".to_owned()
}

const fn auto() -> Requirement {
    Requirement::Auto
}

const fn reject_delay_max() -> u32 {
    500
}

const fn interim_min() -> u32 {
    60
}

const REQUIREMENTS: &[(&str, Requirement)] =
    &[("yes", Requirement::Yes), ("auto", Requirement::Auto), ("no", Requirement::No)];
const ENFORCING: &[(&str, Enforce)] = &[("propose", Enforce::Propose), ("auto", Enforce::Auto)];
const SIGNING: &[(&str, SignReplies)] =
    &[("always", SignReplies::Always), ("when_signed", SignReplies::WhenSigned)];
const ACCOUNTING: &[(&str, Accounting)] =
    &[("proven", Accounting::Proven), ("absent", Accounting::Absent), ("unknown", Accounting::Unknown)];
const CASES: &[(&str, Case)] = &[("keep", Case::Keep), ("lower", Case::Lower)];
const VENDORS: &[(&str, &str)] = &[
    ("generic", "generic"),
    ("mikrotik", "mikrotik"),
    ("cisco", "cisco"),
    ("juniper", "juniper"),
    ("huawei", "huawei"),
    ("nokia", "nokia"),
    ("accel-ppp", "accel-ppp"),
];

impl NasSpec {
    /// Decodes the spec; see [`super::Spec::decode`].
    pub fn decode(value: &Value, pointer: &str, problems: &mut Problems) -> Option<Self> {
        let mut reader = Reader::new(value, pointer, problems)?;
        let spec = Self {
            addresses: reader.list("addresses", parsed::<Prefix>),
            identifier: reader.optional("identifier", text),
            secret: reader.required("secret", SecretField::decode).unwrap_or_default(),
            previous_secret: reader.optional("previous_secret", SecretField::decode).unwrap_or_default(),
            vendor: reader.optional("vendor", word(VENDORS)).unwrap_or("generic").to_owned(),
            group: reader.optional("group", name),
            require_message_authenticator: reader
                .optional("require_message_authenticator", word(REQUIREMENTS))
                .unwrap_or_default(),
            enforce_message_authenticator: reader
                .optional("enforce_message_authenticator", word(ENFORCING))
                .unwrap_or_default(),
            limit_proxy_state: reader
                .optional("limit_proxy_state", word(REQUIREMENTS))
                .unwrap_or(Requirement::Auto),
            reply_message_authenticator: reader
                .optional("reply_message_authenticator", word(SIGNING))
                .unwrap_or_default(),
            accounting: reader.optional("accounting", word(ACCOUNTING)).unwrap_or_default(),
            ipoe_password: reader.optional("ipoe_password", SecretField::decode).unwrap_or_default(),
            login_case: reader.optional("login_case", word(CASES)).unwrap_or_default(),
            strip_realm: reader.optional("strip_realm", boolean).unwrap_or(false),
            reject_delay_max: reader
                .optional("reject_delay_max", number(0..=5_000))
                .map_or_else(reject_delay_max, |millis| millis as u32),
            interim_min: reader
                .optional("interim_min", number(60..=86_400))
                .map_or_else(interim_min, |secs| secs as u32),
            proxy: reader.optional("proxy", boolean).unwrap_or(false),
        };
        if spec.addresses.is_empty() {
            reader.problem("addresses", "at least one address or prefix is required");
        }
        if spec.proxy && spec.limit_proxy_state == Requirement::Yes {
            reader.problem(
                "limit_proxy_state",
                "a proxy adds Proxy-State to every request: auto or no, or it is no proxy",
            );
        }
        if let Some(secret) = spec.secret.secret()
            && secret.len() < 8
        {
            reader.problem("secret", "shorter than 8 bytes: guessed in minutes from one captured packet");
        }
        reader.finish(|| Some(spec))
    }

    /// One client per (address, NAS-Identifier).
    pub(super) fn unique_keys(&self) -> Vec<String> {
        let identifier = self.identifier.as_deref().unwrap_or("");
        self.addresses.iter().map(|address| format!("nas:{address}:{identifier}")).collect()
    }
}
