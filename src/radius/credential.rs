//! Checking what the subscriber proves itself with: PAP (RFC 2865 §5.2) and CHAP (RFC 2865 §5.3, RFC 1994).
//!
//! Pure functions in constant time. The result is a reason code; it never says how close a wrong password was.

use zeroize::Zeroizing;

use super::gate::Passed;
use super::wire::hiding::{ChapPassword, HidingError, PasswordBuffer, reveal_user_password};
use crate::limits::RADIUS_PASSWORD_BYTES_MAX;
use crate::secret::{Secret, constant_time_eq};

/// Checks the request's password against `expected`.
pub(super) fn check(passed: &Passed<'_>, expected: Option<&Secret>) -> Result<(), &'static str> {
    let facts = &passed.facts;
    if facts.eap {
        return Err("eap-unsupported");
    }
    let Some(expected) = expected else { return Err("no-password") };
    if facts.user_password.is_some() {
        let matches = pap_matches(passed, expected).map_err(|error| error.reason())?;
        return if matches { Ok(()) } else { Err("password-mismatch") };
    }
    let Some(value) = facts.chap_password else { return Err("no-credentials") };
    let chap = ChapPassword::parse(value).ok_or("chap-malformed")?;
    let challenge = facts.chap_challenge.unwrap_or(passed.packet.authenticator());
    // RFC 1994 §4.1 asks for unpredictable challenges; an empty one would make the response a password hash.
    if challenge.is_empty() {
        return Err("chap-malformed");
    }
    if chap.matches(expected, challenge) { Ok(()) } else { Err("password-mismatch") }
}

/// Whether User-Password is `expected` under a secret that the request may have been made with. An unsigned request
/// shows only by this which one it was.
pub(super) fn pap_matches(passed: &Passed<'_>, expected: &Secret) -> Result<bool, HidingError> {
    let Some(hidden) = passed.facts.user_password else { return Ok(false) };
    let mut buffer: Zeroizing<PasswordBuffer> = Zeroizing::new([0; RADIUS_PASSWORD_BYTES_MAX]);
    for (index, key) in passed.keys() {
        let clear = reveal_user_password(key, passed.packet.authenticator(), hidden, &mut buffer)?;
        if constant_time_eq(clear, expected.expose()) {
            passed.made_with(index);
            return Ok(true);
        }
    }
    Ok(false)
}
