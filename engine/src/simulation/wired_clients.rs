//! Clients of two nodes on a wire: what they ask for, what they are told, and what flags must be.

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::{ANNA, BOXES, Known, Shown, mailbox, shown, text};
use super::node::Node;
use super::wired_pair::Pair;
use crate::error::CommitError;
use crate::flags::{FlagChange, FlagList, SystemFlags};
use crate::ids::{Uid, UnixSeconds};
use crate::pair::Acknowledgement;
use crate::store::{Appended, Copied, FlagsStored, NewMessage, Store};
use crate::ticket::Ticket;
use crate::uid_set::UidSet;

/// Flags that clients set and take away.
const FLAGS: [SystemFlags; 3] = [SystemFlags::SEEN, SystemFlags::ANSWERED, SystemFlags::FLAGGED];

type Answer<T> = Ticket<Result<T, CommitError>>;

/// What a client waits for.
enum Wish {
    Append(u64, Answer<Appended>),
    Flag((u64, u8), Uid, Answer<FlagsStored>),
    Move(Answer<Copied>),
    Expunge(u64, Uid, Answer<UidSet>),
}

impl Wish {
    fn words(&self) -> String {
        match self {
            Wish::Append(number, _) => format!("to append {number}"),
            Wish::Flag(key, uid, _) => format!("to flag {key:?}, UID {uid}"),
            Wish::Move(_) => "to move".to_owned(),
            Wish::Expunge(number, uid, _) => format!("to expunge {number}, UID {uid}"),
        }
    }
}

struct Waiting {
    /// The node that was asked.
    at: usize,
    /// It takes no changes any more, its disk has failed.
    is_hopeless: bool,
    wish: Wish,
}

/// What was asked for of one flag of one message since the nodes were together.
#[derive(Default)]
struct Asked {
    values: BTreeSet<bool>,
    is_acknowledged: bool,
}

/// All clients.
#[derive(Default)]
pub(super) struct Clients {
    pub(super) known: Known,
    waiting: Vec<Waiting>,
    flags: BTreeMap<(u64, u8), Asked>,
    /// Messages that both nodes may have taken for one request.
    asked_anew: BTreeSet<u64>,
    /// Flags of each message when the nodes were together.
    before: BTreeMap<u64, u8>,
    /// Changes that were acknowledged.
    pub(super) answered: u64,
}

impl Pair {
    /// A client of a node asks for something.
    pub(super) fn ask(&mut self, at: usize) {
        let wired = &self.nodes[at];
        let (store, is_hopeless) = (wired.node.store.clone(), wired.is_stopped());
        if wired.node.is_off() || store.account(ANNA).unwrap().is_none() {
            return;
        }
        let there = shown(&store);
        self.clients.known.note_shown(&there);
        let count = u64::try_from(there.len()).unwrap();
        let kind = self.dice.below(8);
        let picked = there.get(usize::try_from(self.dice.below(count.max(1))).unwrap()).copied();
        let wish = match picked {
            Some((place, uid, _, number)) if kind > 3 => {
                let uids: UidSet = [Uid(uid)].into_iter().collect();
                let own = mailbox(&store, BOXES[place]);
                match kind {
                    4 | 5 => self.flag(&store, (place, uid, number)),
                    6 => Wish::Move(own.move_to(&uids, &mailbox(&store, BOXES[1 - place]))),
                    _ => {
                        let system = SystemFlags::DELETED;
                        let flags = FlagList { system, keywords: Vec::new() };
                        // Whether it is there is told by what follows it.
                        drop(own.store_flags(&uids, FlagChange::Add, &flags, None));
                        let known = &mut self.clients.known;
                        if !known.expunged.contains(&number) {
                            known.maybe_expunged.insert(number);
                        }
                        Wish::Expunge(number, Uid(uid), own.expunge(&uids))
                    }
                }
            }
            _ => match self.append(&store) {
                Some(wish) => wish,
                None => return,
            },
        };
        self.tell(|| format!("{at} is asked {}, of {picked:?}", wish.words()));
        self.clients.waiting.push(Waiting { at, is_hopeless, wish });
    }

    fn append(&mut self, store: &Store) -> Option<Wish> {
        let known = &mut self.clients.known;
        known.submitted += 1;
        let number = known.submitted;
        // Large ones enter ahead, for which a client of another node would wait.
        let large = !self.is_durable && self.dice.below(6) == 0 && !store.standing().follows;
        let account = store.account(ANNA).unwrap().unwrap();
        let prepared = store.prepare(&text(number, large), &[account.number()]).ok()?;
        let (flags, received) = (FlagList::default(), UnixSeconds(7));
        let message = NewMessage { prepared, flags, received };
        Some(Wish::Append(number, mailbox(store, BOXES[0]).append(vec![message])))
    }

    fn flag(&mut self, store: &Store, (place, uid, number): (usize, u32, u64)) -> Wish {
        let system = FLAGS[usize::try_from(self.dice.below(3)).unwrap()];
        let value = self.dice.below(2) == 0;
        let change = if value { FlagChange::Add } else { FlagChange::Remove };
        let flags = FlagList { system, keywords: Vec::new() };
        let uids: UidSet = [Uid(uid)].into_iter().collect();
        let key = (number, system.0);
        self.clients.flags.entry(key).or_default().values.insert(value);
        let answer = mailbox(store, BOXES[place]).store_flags(&uids, change, &flags, None);
        Wish::Flag(key, Uid(uid), answer)
    }

    /// Clients are told what became of their wishes.
    pub(super) fn gather(&mut self) {
        let before = self.clients.answered;
        for Waiting { at, is_hopeless, wish } in std::mem::take(&mut self.clients.waiting) {
            let told = self.clients.answered;
            let words = wish.words();
            if let Some(wish) = self.clients.hear(wish) {
                self.clients.waiting.push(Waiting { at, is_hopeless, wish });
            }
            if told < self.clients.answered {
                self.tell(|| format!("{at} has acknowledged {words}"));
            }
            assert!(
                !is_hopeless || told == self.clients.answered,
                "a node acknowledged what it was asked after its disk had failed"
            );
        }
        if self.is_durable && self.clients.answered > before {
            self.nodes.iter().for_each(|wired| self.has_what_was_acknowledged(&wired.node));
        }
    }

    /// A node shows everything that was acknowledged; or would after a power cut, where its primary
    /// has not heard yet that both have it, or the power is gone.
    fn has_what_was_acknowledged(&self, node: &Node) {
        let known = &self.clients.known;
        if node.is_off() || known.broken_by(&shown(&node.store)).is_some() {
            let world = node.world.after_power_loss(1).into_iter().next().unwrap();
            let (left, _) = Node::opened(world, Acknowledgement::Local);
            known.compare(&shown(&left.store));
        }
    }

    /// A node is promoted that has not heard what became of what its clients asked the other one
    /// for, and asks for it anew. What the other one's clients did to such a message meanwhile is
    /// not merged: the message is there by the same request, and all that is known of it is dropped
    /// with it (docs/reliability.md).
    pub(super) fn note_asked_anew(&mut self, at: usize) {
        let clients = &mut self.clients;
        for waiting in clients.waiting.iter().filter(|waiting| waiting.at == at) {
            if let Wish::Append(number, _) = waiting.wish {
                clients.asked_anew.insert(number);
            }
        }
    }
}

impl Clients {
    /// Whoever waits for that node is cut off.
    pub(super) fn hang_up(&mut self, at: usize) {
        self.waiting.retain(|waiting| waiting.at != at);
    }

    /// Whether nobody waits.
    pub(super) fn is_content(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Looks for an answer; gives the wish back if there is none yet.
    fn hear(&mut self, wish: Wish) -> Option<Wish> {
        let is_done = match wish {
            Wish::Append(number, answer) => match answer.now() {
                Ok(Ok(_)) => self.known.acknowledged.insert(number),
                Ok(Err(_)) => false,
                Err(answer) => return Some(Wish::Append(number, answer)),
            },
            Wish::Flag(key, uid, answer) => match answer.now() {
                Ok(Ok(stored)) => {
                    let is_set = !stored.gone.contains(uid);
                    self.flags.entry(key).or_default().is_acknowledged |= is_set;
                    is_set
                }
                Ok(Err(_)) => false,
                Err(answer) => return Some(Wish::Flag(key, uid, answer)),
            },
            Wish::Move(answer) => match answer.now() {
                Ok(moved) => moved.is_ok(),
                Err(answer) => return Some(Wish::Move(answer)),
            },
            Wish::Expunge(number, uid, answer) => match answer.now() {
                Ok(Ok(gone)) if gone.contains(uid) => {
                    self.known.maybe_expunged.remove(&number);
                    self.known.expunged.insert(number)
                }
                Ok(_) => false,
                Err(answer) => return Some(Wish::Expunge(number, uid, answer)),
            },
        };
        self.answered += u64::from(is_done);
        None
    }

    /// Both nodes are together, nothing is on its way, and this is what they show.
    pub(super) fn compare_together(&mut self, shown: &Shown) {
        self.known.note_shown(shown);
        let anew = self.asked_anew.intersection(&self.known.expunged);
        self.known.maybe_expunged.extend(anew);
        self.known.compare(shown);
        self.known.settle(shown);
        for &(_, uid, flags, number) in shown {
            for flag in FLAGS.into_iter().filter(|_| !self.asked_anew.contains(&number)) {
                let before = self.before.get(&number).is_some_and(|flags| flags & flag.0 > 0);
                let mut may_be = BTreeSet::new();
                let asked = self.flags.get(&(number, flag.0));
                may_be.extend(asked.iter().flat_map(|asked| asked.values.iter().copied()));
                if asked.is_none_or(|asked| !asked.is_acknowledged) {
                    may_be.insert(before);
                }
                let is_set = flags & flag.0 > 0;
                assert!(may_be.contains(&is_set), "{flag:?} of {number}, UID {uid}, is {is_set}");
            }
        }
        self.flags.clear();
        self.asked_anew.clear();
        self.before = shown.iter().map(|&(_, _, flags, number)| (number, flags)).collect();
    }
}
