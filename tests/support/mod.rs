//! What all tests of the whole server share: a server of their own, clients, mail and real tools.

#![allow(dead_code, reason = "every test binary uses its own part of this")]

pub(crate) mod corpus;
pub(crate) mod document;
pub(crate) mod dovecot;
pub(crate) mod imap;
pub(crate) mod ports;
pub(crate) mod random;
pub(crate) mod site;
pub(crate) mod smtp;
pub(crate) mod tool;
pub(crate) mod traced;
