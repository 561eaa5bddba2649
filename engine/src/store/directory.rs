//! Who has an account, who takes mail for an address, and passwords.

use std::sync::Arc;

use crate::commit::{Change, NewAccountChange};
use crate::error::{AuthError, CommitError, ReadError, Remedy};
use crate::format_level;
use crate::ids::AccountNumber;
use crate::record::{AccountUpdate, PolicyChange};
use crate::seal::{PreparedPassword, ScramKeys, Secret, StoredPassword, dummy_verify};
use crate::state::{ALIAS_STEPS_MAX, Policy, normalize_address, normalize_domain};

use super::{Account, AccountEntry, AliasEntry, NewAccount, Resolution, Store};

/// Accounts that one address may lead to.
const TARGETS_MAX: usize = crate::limits::BLOB_ACCOUNTS_MAX;

impl Store {
    /// Who takes mail for an address: an account, an alias's targets, or the domain's catch-all.
    ///
    /// # Errors
    /// [`ReadError`], if state cannot be read.
    pub fn resolve(&self, address: &str) -> Result<Resolution, ReadError> {
        let policy = self.inner.committed.policy();
        if address.eq_ignore_ascii_case("postmaster") {
            return Ok(self.postmaster(&policy));
        }
        let Some((local, domain)) = normalize_address(address) else {
            return Ok(Resolution::NoSuchUser);
        };
        if !policy.domains.contains(&domain) {
            return Ok(Resolution::NoSuchDomain);
        }
        let mut accounts = Vec::new();
        let detail = self.resolve_step(&policy, &local, &domain, 0, &mut accounts);
        if accounts.is_empty() {
            return Ok(Resolution::NoSuchUser);
        }
        Ok(Resolution::Accounts { accounts, detail })
    }

    /// `postmaster` without a domain is whoever it is in any of our domains (RFC 5321 section
    /// 4.5.1).
    fn postmaster(&self, policy: &Policy) -> Resolution {
        for domain in &policy.domains {
            let mut accounts = Vec::new();
            self.resolve_step(policy, "postmaster", domain, 0, &mut accounts);
            if !accounts.is_empty() {
                return Resolution::Accounts { accounts, detail: None };
            }
        }
        Resolution::NoSuchUser
    }

    /// Adds the accounts behind an address; answers the detail that was taken off.
    fn resolve_step(
        &self,
        policy: &Policy,
        local: &str,
        domain: &str,
        step: usize,
        accounts: &mut Vec<AccountNumber>,
    ) -> Option<String> {
        let plain = local.split_once('+').map(|(user, detail)| (user, detail.to_owned()));
        let candidates = [Some((local, None)), plain.map(|(user, detail)| (user, Some(detail)))];
        for (user, detail) in candidates.into_iter().flatten() {
            let address = format!("{user}@{domain}");
            if let Some(number) = self.inner.committed.account_named(&address) {
                if !accounts.contains(&number) && accounts.len() < TARGETS_MAX {
                    accounts.push(number);
                }
                return detail;
            }
            if let Some(targets) = policy.aliases.get(&address) {
                self.follow(policy, targets, step, accounts);
                return detail;
            }
        }
        if let Some(targets) = policy.aliases.get(&format!("@{domain}")) {
            self.follow(policy, targets, step, accounts);
        }
        None
    }

    fn follow(
        &self,
        policy: &Policy,
        targets: &[String],
        step: usize,
        accounts: &mut Vec<AccountNumber>,
    ) {
        if step >= ALIAS_STEPS_MAX {
            return;
        }
        for (local, domain) in targets.iter().filter_map(|target| normalize_address(target)) {
            self.resolve_step(policy, &local, &domain, step + 1, accounts);
        }
    }

    /// The account, if this was its password a short while ago and still is: what
    /// [`Store::authenticate`] finds slowly. `None` says nothing about the password.
    ///
    /// # Errors
    /// [`ReadError`], if state cannot be read.
    pub fn authenticate_again(
        &self,
        name: &str,
        password: &Secret,
    ) -> Result<Option<Account>, ReadError> {
        let (Some(account), Ok(password)) = (self.account(name)?, PreparedPassword::new(password))
        else {
            return Ok(None);
        };
        let Some(stored) = self.stored_password(account.number)? else { return Ok(None) };
        let now = self.inner.clock.monotonic();
        let is_known = self.inner.recent_passwords.has(account.number, (&stored, &password), now);
        Ok(is_known.then_some(account))
    }

    /// Checks a password (Argon2id: tens of milliseconds of CPU; call it where blocking is
    /// allowed).
    ///
    /// # Errors
    /// [`AuthError::Refused`] for a wrong name as for a wrong password, after the same time.
    pub fn authenticate(&self, name: &str, password: &Secret) -> Result<Account, AuthError> {
        let (Some(account), Ok(password)) = (self.account(name)?, PreparedPassword::new(password))
        else {
            dummy_verify(self.inner.password_cost);
            return Err(AuthError::Refused);
        };
        let stored = self.stored_password(account.number)?.ok_or(AuthError::Refused)?;
        if !stored.verify(&password) {
            return Err(AuthError::Refused);
        }
        let now = self.inner.clock.monotonic();
        self.inner.recent_passwords.keep(account.number, (&stored, &password), now);
        Ok(account)
    }

    /// What a SCRAM-SHA-256 server needs to check a proof of this account's password (RFC 5802). Of
    /// a name without an account keys that look alike, stay the same, and that no proof fits, so
    /// that names cannot be probed.
    ///
    /// # Errors
    /// [`ReadError`], if state cannot be read.
    pub fn scram_keys(&self, name: &str) -> Result<ScramKeys, ReadError> {
        if let Some(account) = self.account(name)?
            && let Some(stored) = self.stored_password(account.number)?
        {
            return Ok(stored.scram().clone());
        }
        let name = match normalize_address(name) {
            Some((local, domain)) => format!("{local}@{domain}"),
            None => name.to_lowercase(),
        };
        Ok(ScramKeys::decoy(&self.inner.keys.volume_key(), &name))
    }

    /// `None` if the account was deleted just now.
    fn stored_password(&self, account: AccountNumber) -> Result<Option<StoredPassword>, ReadError> {
        let Some(state) = self.inner.committed.account(account) else { return Ok(None) };
        let stored = StoredPassword::decode(&state.profile.credentials);
        stored.map(Some).map_err(|error| ReadError::Sealed {
            what: "the password",
            account,
            why: error.to_string(),
        })
    }

    /// The account of that login name.
    ///
    /// # Errors
    /// [`ReadError`], if state cannot be read.
    pub fn account(&self, name: &str) -> Result<Option<Account>, ReadError> {
        let Some((local, domain)) = normalize_address(name) else { return Ok(None) };
        let number = self.inner.committed.account_named(&format!("{local}@{domain}"));
        number.map_or(Ok(None), |number| self.account_by_number(number))
    }

    /// The account of that number.
    ///
    /// # Errors
    /// [`ReadError`], if state cannot be read.
    pub fn account_by_number(&self, number: AccountNumber) -> Result<Option<Account>, ReadError> {
        Ok(self.inner.committed.account(number).map(|state| Account {
            inner: Arc::clone(&self.inner),
            number,
            name: state.profile.name.as_str().into(),
        }))
    }

    /// Makes an account with INBOX, Archive, Drafts, Junk, Sent and Trash. Its key is durable in
    /// both copies of the key table before the record that names it.
    ///
    /// # Errors
    /// A name that is taken, or whose domain is not ours; a password that cannot be one.
    pub fn create_account(&self, new: NewAccount) -> Result<AccountNumber, CommitError> {
        let bad = |why| CommitError::BadName { name: new.name.clone(), why };
        let (local, domain) =
            normalize_address(&new.name).ok_or_else(|| bad("an account is named user@domain"))?;
        if local.is_empty() || local.contains('+') {
            return Err(bad("a user's name is not empty and contains no '+'"));
        }
        let name = format!("{local}@{domain}");
        if self.inner.committed.account_named(&name).is_some() {
            return Err(CommitError::AlreadyExists { what: format!("the account {name}") });
        }
        drop(self.inner.room.take(0)?);
        let update = AccountUpdate {
            name,
            credentials: self.credentials(&new.password)?,
            quota_bytes: new.quota_bytes,
        };
        let keys = &self.inner.keys;
        let number = keys.draw_account_number();
        match self.inner.committed.format_level() {
            ..format_level::KEY_GENERATIONS => keys.add_account(number),
            _ => keys.add_account_with_naming(number),
        }
        .map_err(key_table_error)?;
        let (generation, _) = keys.current(number).ok_or(CommitError::NoSuchAccount)?;
        let new = NewAccountChange { number, generation, update };
        let made = self.inner.submit(|promise| Change::CreateAccount { new, promise }).wait();
        if let Err(error) = made {
            // Where the log failed, its records may yet be found at the next opening, which needs
            // the key then, or removes it.
            if error.remedy() != Remedy::Stop
                && let Err(left) = keys.remove_account(number)
            {
                tracing::warn!("the key of an account that was not made stays for now: {left}");
            }
            return Err(error);
        }
        Ok(number)
    }

    fn credentials(&self, password: &Secret) -> Result<Vec<u8>, CommitError> {
        let password = PreparedPassword::new(password)?;
        let stored = StoredPassword::make(&self.inner.sealer, &password, self.inner.password_cost)
            .map_err(key_table_error)?;
        Ok(stored.encode().to_vec())
    }

    /// Every account, by name.
    ///
    /// # Errors
    /// [`ReadError`], if state cannot be read.
    pub fn accounts(&self) -> Result<Vec<AccountEntry>, ReadError> {
        let mut entries: Vec<AccountEntry> = self
            .inner
            .committed
            .accounts()
            .into_iter()
            .map(|state| AccountEntry {
                number: state.number,
                name: state.profile.name.clone(),
                message_count: state.usage.message_count,
                message_bytes: state.usage.message_bytes,
                quota_bytes: state.profile.quota_bytes,
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Replaces a password.
    ///
    /// # Errors
    /// An account that does not exist, or a password that cannot be one.
    pub fn set_password(
        &self,
        number: AccountNumber,
        password: &Secret,
    ) -> Result<(), CommitError> {
        let credentials = self.credentials(password)?;
        self.update_account(number, |update| update.credentials = credentials)
    }

    /// Sets or lifts the limit of an account's mail.
    ///
    /// # Errors
    /// An account that does not exist.
    pub fn set_quota(
        &self,
        number: AccountNumber,
        quota_bytes: Option<u64>,
    ) -> Result<(), CommitError> {
        self.update_account(number, |update| update.quota_bytes = quota_bytes)
    }

    fn update_account(
        &self,
        account: AccountNumber,
        change: impl FnOnce(&mut AccountUpdate),
    ) -> Result<(), CommitError> {
        let state = self.inner.committed.account(account).ok_or(CommitError::NoSuchAccount)?;
        let mut update = (*state.profile).clone();
        change(&mut update);
        self.inner.submit(|promise| Change::UpdateAccount { account, update, promise }).wait()
    }

    /// Deletes an account: record, then key, then certificate. Its mail is unreadable when this
    /// returns.
    ///
    /// # Errors
    /// An account that does not exist.
    pub fn delete_account(&self, account: AccountNumber) -> Result<(), CommitError> {
        self.inner.submit(|promise| Change::DeleteAccount { account, promise }).wait()?;
        // What the tables hold of it is deleted while its key can still open it, and what it shares
        // with others is in the tables before its records cannot be read any more. If that fails,
        // the next opening goes on here.
        if !self.checkpoint() {
            return Err(self.inner.refusal());
        }
        self.inner.keys.remove_account(account).map_err(key_table_error)?;
        self.inner.submit(|promise| Change::AccountDestroyed { account, promise }).wait()
    }

    /// Makes a domain that mail is taken for.
    ///
    /// # Errors
    /// A name that is taken or no domain.
    pub fn add_domain(&self, domain: &str) -> Result<(), CommitError> {
        self.policy(PolicyChange::DomainPut(valid_domain(domain)?))
    }

    /// Every domain, sorted.
    ///
    /// # Errors
    /// [`ReadError`], if state cannot be read.
    pub fn domains(&self) -> Result<Vec<String>, ReadError> {
        Ok(self.inner.committed.policy().domains.iter().cloned().collect())
    }

    /// Removes a domain that has neither accounts nor aliases.
    ///
    /// # Errors
    /// A domain that does not exist or is in use.
    pub fn delete_domain(&self, domain: &str) -> Result<(), CommitError> {
        self.policy(PolicyChange::DomainDelete(valid_domain(domain)?))
    }

    /// Makes or replaces an alias, or a catch-all (`@domain`).
    ///
    /// # Errors
    /// A name that is no address, or an account's; targets that are no addresses.
    pub fn add_alias(&self, alias: AliasEntry) -> Result<(), CommitError> {
        let bad = |name: &str, why| CommitError::BadName { name: name.to_owned(), why };
        if alias.targets.is_empty() || alias.targets.len() > TARGETS_MAX {
            return Err(bad(&alias.address, "it has no targets, or too many"));
        }
        let mut targets = Vec::with_capacity(alias.targets.len());
        for target in &alias.targets {
            match normalize_address(target) {
                Some((local, domain)) if !local.is_empty() => {
                    targets.push(format!("{local}@{domain}"));
                }
                _ => return Err(bad(target, "it is not an address")),
            }
        }
        self.policy(PolicyChange::AliasPut { address: alias_address(&alias.address)?, targets })
    }

    /// Every alias, sorted.
    ///
    /// # Errors
    /// [`ReadError`], if state cannot be read.
    pub fn aliases(&self) -> Result<Vec<AliasEntry>, ReadError> {
        let policy = self.inner.committed.policy();
        let entry = |(address, targets): (&String, &Vec<String>)| AliasEntry {
            address: address.clone(),
            targets: targets.clone(),
        };
        Ok(policy.aliases.iter().map(entry).collect())
    }

    /// Removes an alias.
    ///
    /// # Errors
    /// An alias that does not exist.
    pub fn delete_alias(&self, address: &str) -> Result<(), CommitError> {
        self.policy(PolicyChange::AliasDelete(alias_address(address)?))
    }

    fn policy(&self, change: PolicyChange) -> Result<(), CommitError> {
        let changes = vec![change];
        self.inner.submit(|promise| Change::Policy { changes, promise }).wait()
    }
}

fn valid_domain(domain: &str) -> Result<String, CommitError> {
    normalize_domain(domain)
        .ok_or_else(|| CommitError::BadName { name: domain.to_owned(), why: "it is not a domain" })
}

fn alias_address(address: &str) -> Result<String, CommitError> {
    normalize_address(address).map(|(local, domain)| format!("{local}@{domain}")).ok_or_else(|| {
        CommitError::BadName { name: address.to_owned(), why: "an alias is name@domain or @domain" }
    })
}

fn key_table_error(error: crate::seal::KeyError) -> CommitError {
    CommitError::Read(ReadError::Table(error.to_string()))
}
