//! The dialects: what differs between SMTP and LMTP. Submission comes with its own issue.

use crate::codec::command::Hello;

/// Which protocol a listener speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// SMTP as the MX of our domains (RFC 5321): one answer for a message, mail for others is
    /// relaying.
    Smtp,
    /// LMTP for a mail server in front (RFC 2033): one answer for each recipient.
    Lmtp,
}

impl Dialect {
    /// As greetings and log lines name it.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Smtp => "ESMTP",
            Dialect::Lmtp => "LMTP",
        }
    }

    /// Whether that greeting belongs to it: LMTP knows LHLO only (RFC 2033 section 4.1).
    pub(crate) fn speaks(self, hello: Hello) -> bool {
        match self {
            Dialect::Smtp => hello != Hello::Lhlo,
            Dialect::Lmtp => hello == Hello::Lhlo,
        }
    }
}
