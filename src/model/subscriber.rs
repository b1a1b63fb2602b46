//! The CRM's customer, as little of it as the network needs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::decode::{Problems, Reader, text};

/// Desired state of a subscriber.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SubscriberSpec {
    /// Name shown to operators. The CRM keeps personal data; a contract number will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
    /// Preferred language of texts sent to the subscriber, such as `pl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

impl SubscriberSpec {
    /// Decodes the spec; see [`super::Spec::decode`].
    pub fn decode(value: &Value, pointer: &str, problems: &mut Problems) -> Option<Self> {
        let mut reader = Reader::new(value, pointer, problems)?;
        let display = reader.optional("display", text);
        let language = reader.optional("language", text);
        reader.finish(|| Some(Self { display, language }))
    }
}
