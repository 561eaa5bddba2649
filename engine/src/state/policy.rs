//! Domains and aliases: who takes mail for an address.
//!
//! ```text
//! value   format 1, list(domain), list(address, list(target))
//! ```
//! Addresses are kept in lower case; `@domain` is that domain's catch-all.

use std::collections::{BTreeMap, BTreeSet};

use super::saved::FORMAT;
use crate::encoding::{Broken, Decoder, Encoder};
use crate::record::PolicyChange;

/// Steps from alias to alias that are followed.
pub(crate) const ALIAS_STEPS_MAX: usize = 8;

/// Every domain and alias.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) domains: BTreeSet<String>,
    pub(crate) aliases: BTreeMap<String, Vec<String>>,
}

impl Policy {
    pub(crate) fn apply(&mut self, change: &PolicyChange) {
        match change {
            PolicyChange::DomainPut(name) => {
                self.domains.insert(name.clone());
            }
            PolicyChange::DomainDelete(name) => {
                self.domains.remove(name);
            }
            PolicyChange::AliasPut { address, targets } => {
                self.aliases.insert(address.clone(), targets.clone());
            }
            PolicyChange::AliasDelete(address) => {
                self.aliases.remove(address);
            }
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u8(FORMAT);
        out.count(self.domains.len());
        self.domains.iter().for_each(|domain| out.text(domain));
        out.count(self.aliases.len());
        for (address, targets) in &self.aliases {
            out.text(address);
            out.count(targets.len());
            targets.iter().for_each(|target| out.text(target));
        }
        out.bytes
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Policy, Broken> {
        let mut from = Decoder::new(value);
        if from.u8()? != FORMAT {
            return Err("its format is not known to this version");
        }
        let domains = from.list(|from| Ok(from.text()?.to_owned()))?.into_iter().collect();
        let aliases = from
            .list(|from| {
                let address = from.text()?.to_owned();
                Ok((address, from.list(|from| Ok(from.text()?.to_owned()))?))
            })?
            .into_iter()
            .collect();
        from.end()?;
        Ok(Policy { domains, aliases })
    }
}

/// An address in the form in which it is compared: lower case, no blanks around; `None` if it has
/// no domain, an empty one, or a byte that no address has.
pub(crate) fn normalize_address(address: &str) -> Option<(String, String)> {
    let address = address.trim();
    if address.len() > 320 || address.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return None;
    }
    let (local, domain) = address.rsplit_once('@')?;
    Some((local.to_lowercase(), normalize_domain(domain)?))
}

/// A domain in the form in which it is compared.
pub(crate) fn normalize_domain(domain: &str) -> Option<String> {
    let domain = domain.trim().trim_end_matches('.').to_lowercase();
    let valid = !domain.is_empty()
        && domain.len() <= 255
        && domain.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
        });
    valid.then_some(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_reads_back() {
        let mut policy = Policy::default();
        policy.apply(&PolicyChange::DomainPut("example.org".into()));
        policy.apply(&PolicyChange::AliasPut {
            address: "@example.org".into(),
            targets: vec!["demo@example.org".into()],
        });
        assert_eq!(Policy::decode(&policy.encode()), Ok(policy));
    }

    #[test]
    fn addresses_are_compared_in_lower_case() {
        let normal = |a| normalize_address(a);
        assert_eq!(normal("Demo@Example.ORG."), Some(("demo".into(), "example.org".into())));
        assert_eq!(normal("nobody"), None);
        assert_eq!(normal("a@b c"), None);
        assert_eq!(normal("a@"), None);
    }
}
