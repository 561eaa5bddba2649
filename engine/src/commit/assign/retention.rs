//! Retention: what an expunge keeps, what comes back, what goes for good.

use crate::commit::change::{RetentionChange, Undeleted};
use crate::error::CommitError;
use crate::flags::SystemFlags;
use crate::format_level;
use crate::ids::{AccountNumber, MailboxId, Uid};
use crate::limits::RECORD_MESSAGES_MAX;
use crate::record::{Body, RetentionBody, Transfer};
use crate::state::{RetainedKey, RetentionSetting, Until, VolumeRetention};

use super::Assigner;

impl Assigner<'_> {
    /// Until when what an account expunges now is kept; `None`: not at all.
    pub(super) fn kept_until(&self, account: AccountNumber) -> Result<Option<Until>, CommitError> {
        Ok(self.retention_of(account)?.until(self.next_stamp_time()))
    }

    /// The setting that holds for an account.
    fn retention_of(&self, account: AccountNumber) -> Result<RetentionSetting, CommitError> {
        let own = self.existing_account(account)?.retention.setting;
        Ok(own.or(self.changes.volume_retention(self.context.committed)))
    }

    pub(super) fn change_retention(&mut self, change: RetentionChange) {
        match change {
            RetentionChange::Account { account, setting, promise } => {
                let result = self.set_retention(account, setting);
                self.reply(promise, result);
            }
            RetentionChange::Volume { retention, promise } => {
                let result = self.set_volume_retention(retention);
                self.reply(promise, result);
            }
            RetentionChange::Undelete { account, keys, promise } => {
                let result = self.undelete(account, &keys);
                self.reply(promise, result);
            }
            RetentionChange::Purge { account, keys, low_space, promise } => {
                let result = self.purge(account, keys, low_space);
                self.reply(promise, result);
            }
        }
    }

    fn set_retention(
        &mut self,
        account: AccountNumber,
        setting: RetentionSetting,
    ) -> Result<(), CommitError> {
        self.existing_account(account)?;
        self.check_retention_level()?;
        self.emit(account, Body::Retention(RetentionBody::Account(setting)))?;
        Ok(())
    }

    fn set_volume_retention(&mut self, retention: VolumeRetention) -> Result<(), CommitError> {
        self.check_retention_level()?;
        let body = Body::Retention(RetentionBody::Volume(retention));
        self.emit(AccountNumber::VOLUME, body)?;
        Ok(())
    }

    /// Without a setting no other record of retention is ever made.
    fn check_retention_level(&self) -> Result<(), CommitError> {
        if self.context.format_level < format_level::RETENTION {
            return Err(CommitError::NotPermitted {
                what: "the store has a format level below 3, which knows no retention; raise it \
                       with 'pillarbox upgrade finish'",
            });
        }
        Ok(())
    }

    /// Brings back messages of one mailbox: into that mailbox if it is there, else into the one
    /// that has its name now, else into a new one of that name.
    fn undelete(
        &mut self,
        account: AccountNumber,
        keys: &[RetainedKey],
    ) -> Result<Undeleted, CommitError> {
        if keys.len() > RECORD_MESSAGES_MAX {
            let limit = crate::width::u64_of(RECORD_MESSAGES_MAX);
            return Err(CommitError::TooLarge { what: "the number of messages", limit });
        }
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let message = self.changes.retained(self.context.committed, account, *key)?;
            found.extend(message.map(|message| (*key, message)));
        }
        let Some((first, message)) = found.first() else { return Ok(Undeleted::default()) };
        let source = first.mailbox;
        if found.iter().any(|(key, _)| key.mailbox != source) {
            return Err(CommitError::NotPermitted { what: "messages come back by mailbox" });
        }
        let name = message.mailbox_name.clone();
        let bytes = found.iter().map(|(_, message)| u64::from(message.row.size)).sum();
        self.check_quota(account, (crate::width::u64_of(found.len()), bytes))?;
        let mailbox = self.mailbox_to_return_to(account, source, &name)?;
        for (_, message) in &found {
            self.check_keywords((account, mailbox), &message.row.keywords)?;
        }
        let uid = self.next_uids((account, mailbox), crate::width::u32_of(found.len()))?;
        let messages = found.iter().zip(uid.0..).map(|((key, message), uid)| {
            let mut row = message.row.clone();
            row.uid = Uid(uid);
            // It would go again with the next expunge of its mailbox.
            row.flags = row.flags.without(SystemFlags::DELETED);
            row.saved = self.now();
            row.instance = self.new_instance();
            (key.until, Transfer { source_uid: key.uid, blob: message.blob.0, row })
        });
        let messages: Vec<(Until, Transfer)> = messages.collect();
        let body = RetentionBody::Undelete { source, mailbox, messages };
        self.emit(account, Body::Retention(body))?;
        let state = self.existing_account(account)?;
        Ok(Undeleted {
            mailbox: state.names.name_of(mailbox).unwrap_or_default().to_owned(),
            uids: (uid.0..).take(found.len()).map(Uid).collect(),
        })
    }

    fn mailbox_to_return_to(
        &mut self,
        account: AccountNumber,
        source: MailboxId,
        name: &str,
    ) -> Result<MailboxId, CommitError> {
        let state = self.existing_account(account)?;
        if state.names.name_of(source).is_some() {
            return Ok(source);
        }
        match state.names.id_of(name) {
            Some(mailbox) => Ok(mailbox),
            None => self.create_mailbox(account, name, None),
        }
    }

    /// Judged here, so that a hold that was set meanwhile keeps what it finds.
    fn purge(
        &mut self,
        account: AccountNumber,
        mut keys: Vec<RetainedKey>,
        low_space: bool,
    ) -> Result<u64, CommitError> {
        let setting = self.retention_of(account)?;
        let shortened = self.changes.volume_retention(self.context.committed).shortened;
        let now = self.next_stamp_time();
        keys.truncate(RECORD_MESSAGES_MAX);
        let mut going = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(message) = self.changes.retained(self.context.committed, account, key)? else {
                continue;
            };
            let is_shortened = low_space && shortened && setting != RetentionSetting::Hold;
            if is_shortened || setting.is_over(key.until, message.expunged_at, now) {
                going.push(key);
            }
        }
        let count = crate::width::u64_of(going.len());
        if count > 0 {
            self.emit(account, Body::Retention(RetentionBody::Purge(going)))?;
        }
        Ok(count)
    }

    /// A held account is not deleted: its key would go, and with it what the hold keeps.
    pub(super) fn refuse_if_held(&self, account: AccountNumber) -> Result<(), CommitError> {
        if self.retention_of(account)? == RetentionSetting::Hold {
            return Err(CommitError::NotPermitted {
                what: "the account is under a legal hold; lift it first with 'pillarbox account \
                       retention'",
            });
        }
        Ok(())
    }
}
