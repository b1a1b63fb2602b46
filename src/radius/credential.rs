//! Checking what the subscriber proves itself with: PAP (RFC 2865 §5.2) and CHAP (RFC 2865 §5.3, RFC 1994).
//!
//! Pure functions in constant time. The result is a reason code; it never says how close a wrong password was.

use super::request::Facts;
use super::wire::hiding::{ChapPassword, PasswordBuffer, reveal_user_password};
use super::wire::integrity::SharedKey;
use super::wire::packet::Packet;
use crate::limits::RADIUS_PASSWORD_BYTES_MAX;
use crate::secret::{Secret, constant_time_eq};

/// Checks the request's password against `expected`.
pub(super) fn check(
    packet: &Packet<'_>,
    facts: &Facts<'_>,
    key: &SharedKey,
    expected: Option<&Secret>,
) -> Result<(), &'static str> {
    if facts.eap {
        return Err("eap-unsupported");
    }
    let Some(expected) = expected else { return Err("no-password") };
    if let Some(hidden) = facts.user_password {
        let mut buffer: PasswordBuffer = [0; RADIUS_PASSWORD_BYTES_MAX];
        let clear = reveal_user_password(key, packet.authenticator(), hidden, &mut buffer)
            .map_err(|error| error.reason());
        let matches = clear.map(|clear| constant_time_eq(clear, expected.expose()));
        zeroize::Zeroize::zeroize(&mut buffer);
        return if matches? { Ok(()) } else { Err("password-mismatch") };
    }
    let Some(value) = facts.chap_password else { return Err("no-credentials") };
    let chap = ChapPassword::parse(value).ok_or("chap-malformed")?;
    let challenge = facts.chap_challenge.unwrap_or(packet.authenticator());
    // RFC 1994 §4.1 asks for unpredictable challenges; an empty one would make the response a password hash.
    if challenge.is_empty() {
        return Err("chap-malformed");
    }
    if chap.matches(expected, challenge) { Ok(()) } else { Err("password-mismatch") }
}
