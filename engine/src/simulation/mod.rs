//! Whole stores in a world that follows from a seed: disk, tables, time, randomness and the order
//! in which committer and checkpointer step.
//!
//! | file | holds |
//! |--|--|
//! | `world` | what a simulated store stands on, and what power cuts leave of it |
//! | `cuts` | one script, and the power cut during every call of the disk |
//! | `model`, `clients` | what accounts should hold; who asks for changes and reads |
//! | `kept` | what is kept after it was expunged, for both |
//! | `run` | all of it at random, from a seed |
//! | `faults` | calls that fail once, disks that are full |
//! | `damage` | bits that flip, writes that land elsewhere |
//! | `keys` | keys of accounts that begin and end, at every point |
//! | `index` | what the full-text index answers |
//! | `pair` | two nodes, what is on its way between them, and either of them dying |
//! | `node`, `ledger` | a node of a pair; what clients of a pair know |
//! | `way_back` | two nodes that were apart come together |
//! | `wire`, `wired_node` | a wire that delays, loses and breaks; a node of a pair at its end |
//! | `wired_clients` | who asks for changes on either, and what flags must be |
//! | `wired_pair` | two nodes, everything that can happen to them and to the wire, at any step |
//! | `proposals` | changes of another node, which take effect once |
//! | `idle` | what a quiet server costs |
//! | `seeds` | many runs, and a failing one with fewer steps |
//! | `cases`, `house` | what runs found once, each as a script; what scripts are about |
//! | `proof` | rows of state that are not what was changed, and base images |
//!
//! Compiled for tests only.

mod cases;
mod clients;
mod cuts;
mod damage;
mod faults;
mod give_up;
mod house;
mod idle;
mod index;
mod kept;
mod keys;
mod ledger;
mod model;
mod node;
mod pair;
mod proof;
mod proposals;
mod run;
mod seeds;
mod way_back;
mod wire;
mod wired_clients;
mod wired_node;
mod wired_pair;
mod world;
