//! Dovecot in the place of Pillarbox, with its own configuration, on the same ports.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::site::{OTHER_USER, PASSWORD, USER};

/// Writes its users; its mail lies in `data`.
pub(crate) fn prepare(folder: &Path, data: &Path) {
    std::fs::create_dir(data).unwrap();
    let nobody = 65_534;
    std::os::unix::fs::chown(data, Some(nobody), Some(nobody)).expect("Dovecot is started by root");
    let users = format!("{USER}:{{PLAIN}}{PASSWORD}\n{OTHER_USER}:{{PLAIN}}{PASSWORD}\n");
    std::fs::write(folder.join("users"), users).unwrap();
}

/// How it is started, in the foreground.
pub(crate) fn command(folder: &Path, data: &Path, imap: SocketAddr, lmtp: SocketAddr) -> Command {
    let (folder, data) = (folder.display(), data.display());
    // Some formats of Dovecot bring back expunged mail after a crash: a test may want another.
    let format = std::env::var("PILLARBOX_TEST_DOVECOT_FORMAT").unwrap_or("sdbox".to_owned());
    let (imap_port, lmtp_port) = (imap.port(), lmtp.port());
    let config = format!(
        "base_dir = {folder}/run\n\
         state_dir = {folder}/state\n\
         log_path = {folder}/dovecot.log\n\
         protocols = imap lmtp\n\
         listen = 127.0.0.1\n\
         ssl = no\n\
         disable_plaintext_auth = no\n\
         mail_location = {format}:{data}/%u\n\
         first_valid_uid = 1\n\
         mail_max_userip_connections = 0\n\
         recipient_delimiter = +\n\
         passdb {{\n driver = passwd-file\n args = {folder}/users\n}}\n\
         userdb {{\n driver = static\n args = uid=65534 gid=65534 home={data}/%u\n}}\n\
         service imap-login {{\n inet_listener imap {{\n port = {imap_port}\n }}\n \
         inet_listener imaps {{\n port = 0\n }}\n}}\n\
         service lmtp {{\n inet_listener lmtp {{\n address = 127.0.0.1\n \
         port = {lmtp_port}\n }}\n}}\n\
         namespace inbox {{\n inbox = yes\n separator = /\n}}\n"
    );
    let path = Path::new(&folder.to_string()).join("dovecot.conf");
    std::fs::write(&path, config).unwrap();
    let mut command = Command::new("dovecot");
    command.arg("-F").arg("-c").arg(path);
    command
}
