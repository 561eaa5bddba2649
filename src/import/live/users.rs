//! The list of accounts to bring: a line each, words between blanks.
//!
//! ```text
//! # account here     user there     password there (none: that of --password-file)
//! anna@example.org   anna           correct horse
//! ben@example.org    ben@old.example
//! ```
//! The password is the rest of its line.

use std::path::Path;

use engine::seal::Secret;

use crate::failure::{Exit, Failure};

/// Bytes of a list.
const LIST_BYTES_MAX: u64 = 64 << 20;

/// An account to bring.
pub(super) struct User {
    /// Its name here.
    pub(super) account: String,
    /// Its name there.
    pub(super) user: String,
    pub(super) password: Option<Secret>,
}

/// Reads a list.
pub(super) fn read(path: &Path) -> Result<Vec<User>, Failure> {
    use std::io::Read;
    let unreadable = |cause: std::io::Error| Failure::file("read", path, &cause);
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(LIST_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    let users = parse(&text).map_err(|number| {
        let sentence = format!(
            "line {number} of {} is no account: write ACCOUNT USER [PASSWORD]",
            path.display()
        );
        Failure::new(Exit::Usage, sentence)
    });
    // Passwords go the same way as each of them.
    drop(Secret::new(text));
    users
}

/// The accounts; the number of the first line that is none.
fn parse(text: &str) -> Result<Vec<User>, usize> {
    let mut users = Vec::new();
    for (line, number) in text.lines().zip(1usize..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (account, rest) = line.split_once(char::is_whitespace).ok_or(number)?;
        let rest = rest.trim_start();
        let (user, password) = match rest.split_once(char::is_whitespace) {
            Some((user, password)) => (user, Some(Secret::new(password.trim_start().to_owned()))),
            None => (rest, None),
        };
        users.push(User { account: account.to_owned(), user: user.to_owned(), password });
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_lines_of_words() {
        let text = "# who\n\n a@example.org\tanna  correct horse \nb@example.org ben\n";
        let users = parse(text).unwrap();
        let seen: Vec<_> = users
            .iter()
            .map(|one| {
                let password = one.password.as_ref().map(Secret::expose);
                (one.account.as_str(), one.user.as_str(), password)
            })
            .collect();
        assert_eq!(
            seen,
            [("a@example.org", "anna", Some("correct horse")), ("b@example.org", "ben", None)]
        );
        assert_eq!(parse("# x\nalone\n").err(), Some(2));
    }
}
