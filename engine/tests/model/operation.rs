//! What may happen to a store. Numbers choose among what there is, so that a sequence still means
//! something when operations are taken out of it.

use engine::flags::FlagChange;
use proptest::prelude::*;

use crate::expected::Keep;

/// Mailboxes are called so.
pub(crate) const NAMES: [&str; 7] =
    ["INBOX", "Archive", "Lists", "Lists/rust", "Work", "Work/2026", "Junk"];
/// Accounts are called so.
pub(crate) const ACCOUNTS: [&str; 3] = ["anna@example.org", "bert@example.org", "carl@example.org"];

/// Whether a text has an attachment that others have, too, which the store keeps once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attachment {
    None,
    Shared,
}

/// Whether flags change only of what did not change lately.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Guard {
    None,
    UnchangedSince,
}

/// How a store is opened anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reopening {
    Plain,
    /// With the recovery key.
    Recovery,
    /// With the key that opens it changed meanwhile.
    KeyChanged,
    /// With state deleted.
    WithoutState,
    /// With state made anew and compared.
    Rebuilt,
}

/// What opens the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Opener {
    KeyFile(u32),
    Passphrase(u32),
}

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Append {
        at: (usize, usize),
        size: usize,
        count: usize,
        attachment: Attachment,
    },
    Deliver {
        to: [Option<usize>; 3],
        size: usize,
        attachment: Attachment,
    },
    Copy {
        account: usize,
        from: usize,
        to: usize,
        pick: u32,
    },
    Move {
        account: usize,
        from: usize,
        to: usize,
        pick: u32,
    },
    Flags {
        at: (usize, usize),
        pick: u32,
        change: FlagChange,
        flags: (bool, bool, bool),
        guard: Guard,
    },
    /// Marks some, and expunges all that are marked.
    Expunge {
        at: (usize, usize),
        pick: u32,
    },
    Create {
        account: usize,
        name: usize,
    },
    Rename {
        account: usize,
        from: usize,
        to: usize,
    },
    Delete {
        at: (usize, usize),
    },
    Subscribe {
        account: usize,
        name: usize,
        subscribed: bool,
    },
    /// Of everybody who may read it, or of the account that does it.
    Annotate {
        at: (usize, usize),
        by: Option<usize>,
        entry: u8,
        value: Option<Vec<u8>>,
    },
    /// With an account, or with everybody.
    Share {
        at: (usize, usize),
        with: Option<usize>,
        rights: Option<&'static str>,
    },
    MessageLimit {
        account: usize,
        limit: Option<u64>,
    },
    Quota {
        account: usize,
        limit: Option<u64>,
    },
    Password {
        account: usize,
    },
    AddAccount {
        name: usize,
    },
    DeleteAccount {
        name: usize,
    },
    Domain {
        added: bool,
    },
    Alias {
        number: usize,
        target: Option<usize>,
    },
    KeepAll {
        keep: Keep,
    },
    Keep {
        account: usize,
        keep: Keep,
    },
    Undelete {
        account: usize,
        pick: u32,
    },
    Purge {
        account: usize,
    },
    RotateKeys {
        account: Option<usize>,
    },
    Rewrap {
        account: Option<usize>,
    },
    ChangeKey {
        passphrase: bool,
    },
    RecoveryKey,
    Checkpoint,
    /// The index goes on a little.
    Index {
        steps: u8,
    },
    Reopen(Reopening),
    Kill,
}

impl Operation {
    /// Whether everything is looked at behind it.
    pub(crate) fn is_compared(&self) -> bool {
        matches!(self, Operation::Reopen(_) | Operation::Kill | Operation::Rewrap { .. })
    }
}

pub(crate) fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        30 => mail(),
        8 => mailboxes(),
        5 => accounts(),
        8 => kept(),
        5 => keys(),
        6 => stops(),
        9 => (1u8..12).prop_map(|steps| Operation::Index { steps }),
    ];
    prop::collection::vec(operation, 1..40)
}

fn place() -> impl Strategy<Value = (usize, usize)> {
    (account(), 0usize..7)
}

/// Most happens to one.
fn account() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(0usize), 1 => 0usize..3]
}

fn attachment() -> impl Strategy<Value = Attachment> {
    prop_oneof![4 => Just(Attachment::None), 1 => Just(Attachment::Shared)]
}

fn mail() -> impl Strategy<Value = Operation> {
    let change =
        prop_oneof![Just(FlagChange::Add), Just(FlagChange::Remove), Just(FlagChange::Replace)];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let guard = prop_oneof![3 => Just(Guard::None), 1 => Just(Guard::UnchangedSince)];
    let to = prop::option::of(0usize..7);
    prop_oneof![
        12 => (place(), 0usize..3_000, 1usize..60, attachment()).prop_map(
            |(at, size, count, attachment)| Operation::Append { at, size, count, attachment }
        ),
        2 => (place(), 1_100_000usize..1_400_000).prop_map(|(at, size)| Operation::Append {
            at, size, count: 1, attachment: Attachment::None
        }),
        6 => ([to.clone(), to.clone(), to], 0usize..3_000, attachment())
            .prop_map(|(to, size, attachment)| Operation::Deliver { to, size, attachment }),
        5 => (account(), 0usize..7, 0usize..7, any::<u32>())
            .prop_map(|(account, from, to, pick)| Operation::Copy { account, from, to, pick }),
        5 => (account(), 0usize..7, 0usize..7, any::<u32>())
            .prop_map(|(account, from, to, pick)| Operation::Move { account, from, to, pick }),
        10 => (place(), any::<u32>(), change, flags, guard).prop_map(
            |(at, pick, change, flags, guard)| Operation::Flags { at, pick, change, flags, guard }
        ),
        6 => (place(), any::<u32>()).prop_map(|(at, pick)| Operation::Expunge { at, pick }),
    ]
}

fn mailboxes() -> impl Strategy<Value = Operation> {
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..2000));
    let rights = prop::option::of(prop_oneof![Just("lr"), Just("lrswi"), Just("lrswipkxtea")]);
    prop_oneof![
        2 => (account(), 0usize..7).prop_map(|(account, name)| Operation::Create { account, name }),
        2 => (account(), 0usize..7, 0usize..7)
            .prop_map(|(account, from, to)| Operation::Rename { account, from, to }),
        2 => place().prop_map(|at| Operation::Delete { at }),
        2 => (place(), prop::option::of(0usize..3), 0u8..4, value).prop_map(
            |(at, by, entry, value)| Operation::Annotate { at, by, entry, value }
        ),
        2 => (place(), prop::option::of(0usize..3), rights)
            .prop_map(|(at, with, rights)| Operation::Share { at, with, rights }),
        1 => (account(), 0usize..7, any::<bool>()).prop_map(|(account, name, subscribed)| {
            Operation::Subscribe { account, name, subscribed }
        }),
    ]
}

fn accounts() -> impl Strategy<Value = Operation> {
    let limit = prop::option::of(10_000u64..200_000);
    prop_oneof![
        3 => (0usize..3).prop_map(|name| Operation::AddAccount { name }),
        1 => (0usize..3).prop_map(|name| Operation::DeleteAccount { name }),
        1 => (account(), limit).prop_map(|(account, limit)| Operation::Quota { account, limit }),
        1 => (account(), prop::option::of(1_000_000u64..2_000_000))
            .prop_map(|(account, limit)| Operation::MessageLimit { account, limit }),
        1 => account().prop_map(|account| Operation::Password { account }),
        1 => any::<bool>().prop_map(|added| Operation::Domain { added }),
        1 => (0usize..3, prop::option::of(0usize..3))
            .prop_map(|(number, target)| Operation::Alias { number, target }),
    ]
}

fn kept() -> impl Strategy<Value = Operation> {
    let keep = prop_oneof![
        1 => Just(Keep::Store),
        1 => Just(Keep::Off),
        1 => Just(Keep::Moment),
        3 => Just(Keep::Years),
        2 => Just(Keep::Hold),
    ];
    let all = prop_oneof![Just(Keep::Off), Just(Keep::Years)];
    prop_oneof![
        1 => all.prop_map(|keep| Operation::KeepAll { keep }),
        3 => (account(), keep).prop_map(|(account, keep)| Operation::Keep { account, keep }),
        4 => (account(), any::<u32>())
            .prop_map(|(account, pick)| Operation::Undelete { account, pick }),
        1 => account().prop_map(|account| Operation::Purge { account }),
    ]
}

fn keys() -> impl Strategy<Value = Operation> {
    let one = || prop::option::of(account());
    prop_oneof![
        4 => one().prop_map(|account| Operation::RotateKeys { account }),
        4 => one().prop_map(|account| Operation::Rewrap { account }),
        2 => Just(Operation::ChangeKey { passphrase: false }),
        1 => Just(Operation::RecoveryKey),
    ]
}

fn stops() -> impl Strategy<Value = Operation> {
    let reopening = prop_oneof![
        4 => Just(Reopening::Plain),
        1 => Just(Reopening::Recovery),
        1 => Just(Reopening::KeyChanged),
        2 => Just(Reopening::WithoutState),
        2 => Just(Reopening::Rebuilt),
    ];
    prop_oneof![
        4 => Just(Operation::Checkpoint),
        4 => reopening.prop_map(Operation::Reopen),
        4 => Just(Operation::Kill),
        // Argon2 takes its time.
        1 => Just(Operation::ChangeKey { passphrase: true }),
    ]
}
