//! Authentication for the application: one password for everybody, and access tokens that carry user and expiry.
//!
//! A token carries everything that is known about it, so that logins need no memory. It provides no security: anyone
//! who knows the seed can forge one.

use std::time::Duration;

use http::{HeaderMap, header};
use jiff::Timestamp;

use crate::sim::dialect::Refusal;
use crate::sim::options::Options;
use crate::sim::text;

/// The cookie that a login sets; it is equivalent to the access token.
pub(super) const COOKIE: &str = "sim_session";
/// The token was valid, and has expired.
pub(super) const EXPIRED: Refusal = Refusal::Denied("The access token has expired.");

/// The password, and the key that tokens are made with.
#[derive(Debug)]
pub(super) struct Accounts {
    password: String,
    key: u64,
    lifetime: Duration,
}

impl Accounts {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            password: options.app_password.clone(),
            key: text::hash(options.seed, b"access token"),
            lifetime: options.token_lifetime,
        }
    }

    /// The lifetime of a token.
    pub(super) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// An access token, if the password is right; already expired if `expired` is set.
    pub(super) fn log_in(
        &self,
        email: &str,
        password: &str,
        now: Timestamp,
        expired: bool,
    ) -> Result<String, Refusal> {
        if password != self.password {
            return Err(Refusal::Denied("Wrong e-mail address or password."));
        }
        let lifetime = i64::try_from(self.lifetime.as_millis()).unwrap_or(i64::MAX);
        let until = if expired { 0 } else { now.as_millisecond().saturating_add(lifetime) };
        let user = text::hash(self.key, email.to_ascii_lowercase().as_bytes());
        Ok(format!("{user:016x}.{until}.{:016x}", self.seal(user, until)))
    }

    /// The user of a request: by its bearer token, or by its cookie if it has no bearer token.
    pub(super) fn user(&self, headers: &HeaderMap, now: Timestamp) -> Result<u64, Refusal> {
        let token = match headers.get(header::AUTHORIZATION) {
            Some(value) => value.to_str().ok().and_then(bearer),
            None => headers.get_all(header::COOKIE).iter().find_map(|value| cookie(value.to_str().ok()?)),
        };
        let token = token.ok_or(Refusal::Denied("An access token is needed."))?;
        let (user, until) = self.open(token).ok_or(Refusal::Denied("This is no access token."))?;
        if now.as_millisecond() >= until { Err(EXPIRED) } else { Ok(user) }
    }

    /// The user and the expiry in a token, if it is valid.
    fn open(&self, token: &str) -> Option<(u64, i64)> {
        let mut parts = token.split('.');
        let user = u64::from_str_radix(parts.next()?, 16).ok()?;
        let until = parts.next()?.parse().ok()?;
        let seal = u64::from_str_radix(parts.next()?, 16).ok()?;
        (parts.next().is_none() && seal == self.seal(user, until)).then_some((user, until))
    }

    fn seal(&self, user: u64, until: i64) -> u64 {
        text::hash(text::hash(self.key, &user.to_le_bytes()), &until.to_le_bytes())
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie(value: &str) -> Option<&str> {
    value.split(';').find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts::new(&Options { token_lifetime: Duration::from_mins(1), ..Options::default() })
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn a_token_lets_its_user_in_until_it_expires() {
        let accounts = accounts();
        let token = accounts.log_in("Ada@example.net", "demo", at(1000), false).unwrap();
        let user = |now, headers: &HeaderMap| accounts.user(headers, at(now));
        let bearer = with(header::AUTHORIZATION, &format!("Bearer {token}"));
        let ada = user(1059, &bearer).unwrap();
        assert_eq!(user(1060, &bearer), Err(EXPIRED));
        let cookie = with(header::COOKIE, &format!("a=b; {COOKIE}={token}"));
        assert_eq!(user(1059, &cookie), Ok(ada));
        let other = accounts.log_in("bob@example.net", "demo", at(1000), false).unwrap();
        assert_ne!(user(1059, &with(header::AUTHORIZATION, &format!("bearer {other}"))), Ok(ada));
        let again = accounts.log_in("ada@EXAMPLE.net", "demo", at(1010), false).unwrap();
        assert_eq!(user(1059, &with(header::AUTHORIZATION, &format!("bearer {again}"))), Ok(ada));
    }

    #[test]
    fn a_missing_or_invalid_token_is_refused_with_a_reason() {
        let accounts = accounts();
        let told = |headers: &HeaderMap| accounts.user(headers, at(1000)).unwrap_err().message();
        assert_eq!(told(&HeaderMap::new()), "An access token is needed.");
        assert_eq!(told(&with(header::AUTHORIZATION, "Basic abc")), "An access token is needed.");
        assert_eq!(told(&with(header::AUTHORIZATION, "Bearer abc")), "This is no access token.");
        let expired = accounts.log_in("a@b", "demo", at(1000), true).unwrap();
        assert_eq!(
            told(&with(header::AUTHORIZATION, &format!("Bearer {expired}"))),
            "The access token has expired."
        );
        let forged = expired.replacen(".0.", ".99999999999999.", 1);
        assert_eq!(
            told(&with(header::AUTHORIZATION, &format!("Bearer {forged}"))),
            "This is no access token."
        );
        assert!(accounts.log_in("a@b", "guess", at(1000), false).is_err());
    }
}
