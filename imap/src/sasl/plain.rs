//! PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login-00): the password itself.

use engine::seal::Secret;

use super::{Claim, Step, text};

/// `message = [authzid] UTF8NUL authcid UTF8NUL passwd`
pub(super) fn plain(message: &[u8]) -> Step {
    let mut parts = message.split(|&byte| byte == 0).map(std::str::from_utf8);
    let (Some(Ok(acting_as)), Some(Ok(name)), Some(Ok(password)), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Step::Malformed("The answer is not what PLAIN wants");
    };
    if !acting_as.is_empty() && acting_as != name {
        return Step::NotPermitted;
    }
    match text(name.as_bytes()) {
        Some(name) => password_of(name.to_owned(), password),
        None => Step::Malformed("The answer is not what PLAIN wants"),
    }
}

/// LOGIN: name and password, each asked for.
#[derive(Debug, Default)]
pub(crate) struct Login {
    name: Option<String>,
}

impl Login {
    /// What is asked now. Clients look at the words, so these are the usual ones.
    pub(super) fn question(&self) -> &'static [u8] {
        match self.name {
            None => b"Username:",
            Some(_) => b"Password:",
        }
    }

    pub(super) fn answer(&mut self, message: &[u8]) -> Step {
        let Some(name) = self.name.take() else {
            let Some(name) = text(message) else { return Step::Malformed("That is no name") };
            self.name = Some(name.to_owned());
            return Step::Challenge(self.question().to_vec());
        };
        match std::str::from_utf8(message) {
            Ok(password) => password_of(name, password),
            Err(_) => Step::Malformed("The password is not UTF-8"),
        }
    }
}

fn password_of(name: String, password: &str) -> Step {
    Step::Check(Claim::Password { name, password: Secret::new(password.to_owned()) })
}
