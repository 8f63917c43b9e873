//! Hashes of everything that distinguishes a pair or target of one plan from that of the next: what is sent, when, and
//! where, and how the answers are evaluated. They cover what the plan's types serialize; fields that do not count are
//! skipped there, with the reason. Fingerprints are compared within a process and mean nothing outside of it.

use super::{Auth, JsonTemplate, PairPlan, Target, Tokenizer, canonical};
use std::fmt;
use std::path::Path;

/// Equal as long as nothing has changed. It is never shown, because it differs between processes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

impl PairPlan {
    /// Changes with everything that a run of this pair depends on. CPU-bound if there are many prompts.
    pub fn fingerprint(&self) -> Fingerprint {
        // The order of keys is sent, too; in a body with templates it is not serialized, as it is no part of a revision.
        let bodies = self.profile.scenario.all().filter_map(|step| step.json_body());
        let keys: Vec<&str> = bodies.flat_map(JsonTemplate::keys).collect();
        Fingerprint(canonical::sha256_in_order_of(&(self, keys)))
    }
}

impl Target {
    /// Changes with everything that its client depends on, except the contents of [`Self::files`].
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(canonical::sha256_in_order_of(self))
    }

    /// The files that its client reads when it is created. Secret files are not included: they are read again when they
    /// change.
    pub fn files(&self) -> Vec<&Path> {
        let identity = self.tls.identity.iter().flat_map(|it| [&it.cert_file, &it.key_file]);
        let tokenizer = self.tokenizer.iter().filter_map(|tokenizer| match tokenizer {
            Tokenizer::File(path) => Some(path),
            Tokenizer::O200kBase | Tokenizer::Cl100kBase => None,
        });
        let token_roots = match &self.auth {
            Auth::OAuth2(oauth2) => oauth2.ca_file.iter(),
            _ => None.iter(),
        };
        self.tls
            .ca_file
            .iter()
            .chain(identity)
            .chain(tokenizer)
            .chain(token_roots)
            .map(|path| &**path)
            .collect()
    }
}

#[cfg(test)]
mod tests;
