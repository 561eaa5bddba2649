//! What a merge did, by rule.

/// Counts of what became of the steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MergeTally {
    /// Steps in all.
    pub steps: u64,
    /// Messages that came anew.
    pub messages_added: u64,
    /// Of them, those whose mailbox the others had deleted.
    pub messages_recovered: u64,
    /// Messages copied from where the others have them.
    pub messages_copied: u64,
    /// Messages moved.
    pub messages_moved: u64,
    /// Moves that stayed where the others had moved or expunged the message.
    pub moves_dropped: u64,
    /// Messages that were there already, by their request.
    pub requests_there: u64,
    /// Messages whose flags were set.
    pub flags_set: u64,
    /// Flags of messages where the others set them later.
    pub flags_dropped: u64,
    /// Messages expunged.
    pub messages_expunged: u64,
    /// Mailboxes made.
    pub mailboxes_made: u64,
    /// Mailboxes that both sides made, or had, by the same name.
    pub mailboxes_same: u64,
    /// Mailboxes deleted.
    pub mailboxes_deleted: u64,
    /// Mailboxes that stay because mail came into them.
    pub mailboxes_kept: u64,
    /// Names, subscriptions, metadata, rights, limits, accounts, policy taken over.
    pub settings_taken: u64,
    /// The same where the others set them later, or it means nothing any more.
    pub settings_dropped: u64,
    /// Steps of accounts that were deleted.
    pub of_deleted_accounts: u64,
    /// Messages that got another UID, because theirs had been given on both sides.
    pub messages_renumbered: u64,
}

impl std::ops::Add for MergeTally {
    type Output = MergeTally;

    fn add(self, other: MergeTally) -> MergeTally {
        MergeTally {
            steps: self.steps + other.steps,
            messages_added: self.messages_added + other.messages_added,
            messages_recovered: self.messages_recovered + other.messages_recovered,
            messages_copied: self.messages_copied + other.messages_copied,
            messages_moved: self.messages_moved + other.messages_moved,
            moves_dropped: self.moves_dropped + other.moves_dropped,
            requests_there: self.requests_there + other.requests_there,
            flags_set: self.flags_set + other.flags_set,
            flags_dropped: self.flags_dropped + other.flags_dropped,
            messages_expunged: self.messages_expunged + other.messages_expunged,
            mailboxes_made: self.mailboxes_made + other.mailboxes_made,
            mailboxes_same: self.mailboxes_same + other.mailboxes_same,
            mailboxes_deleted: self.mailboxes_deleted + other.mailboxes_deleted,
            mailboxes_kept: self.mailboxes_kept + other.mailboxes_kept,
            settings_taken: self.settings_taken + other.settings_taken,
            settings_dropped: self.settings_dropped + other.settings_dropped,
            of_deleted_accounts: self.of_deleted_accounts + other.of_deleted_accounts,
            messages_renumbered: self.messages_renumbered + other.messages_renumbered,
        }
    }
}

impl MergeTally {
    /// Every count with its name, for people.
    pub fn counts(&self) -> [(&'static str, u64); 18] {
        [
            ("steps", self.steps),
            ("messages added", self.messages_added),
            ("recovered", self.messages_recovered),
            ("copied", self.messages_copied),
            ("moved", self.messages_moved),
            ("moves dropped", self.moves_dropped),
            ("there already", self.requests_there),
            ("flags set", self.flags_set),
            ("flags dropped", self.flags_dropped),
            ("expunged", self.messages_expunged),
            ("mailboxes made", self.mailboxes_made),
            ("mailboxes of equal name", self.mailboxes_same),
            ("mailboxes deleted", self.mailboxes_deleted),
            ("mailboxes kept", self.mailboxes_kept),
            ("settings taken", self.settings_taken),
            ("settings dropped", self.settings_dropped),
            ("of deleted accounts", self.of_deleted_accounts),
            ("renumbered", self.messages_renumbered),
        ]
    }
}
