//! Where keys and passwords come from: a file, the environment, or a person at a terminal. Never an
//! argument, because every user of the machine can read those.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::Path;

use engine::seal::Secret;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::failure::{Exit, Failure};

/// The variable that may hold the store's passphrase.
pub(crate) const PASSPHRASE_VARIABLE: &str = "PILLARBOX_PASSPHRASE";
/// The variable that may hold an account's password for `account add` and `account passwd`.
pub(crate) const PASSWORD_VARIABLE: &str = "PILLARBOX_PASSWORD";
/// Bytes of a password, passphrase or recovery key that we read.
const SECRET_BYTES_MAX: u64 = 4096;

/// The first line of a file that holds a secret.
pub(crate) fn from_file(path: &Path) -> Result<Secret, Failure> {
    let file = std::fs::File::open(path).map_err(|cause| Failure::file("read", path, &cause))?;
    let mut text = String::new();
    file.take(SECRET_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|cause| Failure::file("read", path, &cause))?;
    let line = text.lines().next().unwrap_or("").to_owned();
    // The whole text goes the same way as the secret in it.
    drop(Secret::new(text));
    if line.is_empty() {
        return Err(Failure::new(Exit::Configuration, format!("{} is empty", path.display())));
    }
    Ok(Secret::new(line))
}

/// The secret in an environment variable, if it is set and not empty.
pub(crate) fn from_environment(variable: &str) -> Option<Secret> {
    std::env::var(variable).ok().filter(|value| !value.is_empty()).map(Secret::new)
}

/// A password for an account: from `file`, from PILLARBOX_PASSWORD, from a person (asked twice), or
/// from a pipe on standard input.
pub(crate) fn new_password(file: Option<&Path>, account: &str) -> Result<Secret, Failure> {
    if let Some(path) = file {
        return from_file(path);
    }
    if let Some(secret) = from_environment(PASSWORD_VARIABLE) {
        return Ok(secret);
    }
    if !std::io::stdin().is_terminal() {
        return first_line_of_input();
    }
    let first = ask(&format!("Password for {account}: "))?;
    let second = ask("Once more: ")?;
    if first.expose() != second.expose() {
        return Err(Failure::new(Exit::Refused, "the two passwords differ; nothing was changed"));
    }
    Ok(first)
}

/// Asks a person at the terminal without showing what is typed; fails where there is no terminal.
pub(crate) fn ask(prompt: &str) -> Result<Secret, Failure> {
    let input = std::io::stdin();
    let failed = |cause: std::io::Error| {
        Failure::new(Exit::Disk, format!("cannot read from the terminal: {cause}"))
    };
    if !input.is_terminal() {
        return first_line_of_input();
    }
    let shown = tcgetattr(&input).map_err(|cause| failed(cause.into()))?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    eprint!("{prompt}");
    let _ = std::io::stderr().flush();
    tcsetattr(&input, OptionalActions::Now, &hidden).map_err(|cause| failed(cause.into()))?;
    let line = first_line_of_input();
    let restored = tcsetattr(&input, OptionalActions::Now, &shown);
    eprintln!();
    restored.map_err(|cause| failed(cause.into()))?;
    line
}

fn first_line_of_input() -> Result<Secret, Failure> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .take(SECRET_BYTES_MAX)
        .read_line(&mut line)
        .map_err(|cause| Failure::new(Exit::Disk, format!("cannot read the input: {cause}")))?;
    let secret = line.trim_end_matches(['\r', '\n']).to_owned();
    drop(Secret::new(line));
    if secret.is_empty() {
        return Err(Failure::new(Exit::Refused, "an empty password or key is not accepted"));
    }
    Ok(Secret::new(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_gives_its_first_line_without_the_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "correct horse\r\nsecond line\n").unwrap();
        assert_eq!(from_file(&path).unwrap().expose(), "correct horse");
    }

    #[test]
    fn an_empty_secret_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "\n").unwrap();
        assert!(from_file(&path).unwrap_err().sentence.contains("is empty"));
    }
}
