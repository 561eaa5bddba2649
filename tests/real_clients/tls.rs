//! Clients that insist on TLS and on our certificate: from the first byte, and after STARTTLS.

use std::process::Command;
use std::time::Duration;

use crate::support::site::{PASSWORD, Site, USER};
use crate::support::tool;

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn curl_reads_over_tls_and_trusts_nobody_else() {
    if !tool::present("curl over TLS", &["curl"]) {
        return;
    }
    let site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    let message = [b"Subject: secret\r\n\r\n".as_slice(), &b"A line.\r\n".repeat(50_000)].concat();
    assert_eq!(site.imap().append("INBOX", "", &message).unwrap().status, "OK");
    let certificate = site.folder.join("data.tls/certificate.pem");
    for (scheme, address) in [("imaps", site.imap_tls), ("imap", site.imap)] {
        let curl = |certificate: Option<&std::path::Path>| {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--ssl-reqd", "--user"]);
            curl.arg(format!("{USER}:{PASSWORD}"));
            if let Some(certificate) = certificate {
                curl.arg("--cacert").arg(certificate);
            }
            curl.arg(format!("{scheme}://{address}/INBOX;UID=1"));
            tool::run(&mut curl, b"", DEADLINE)
        };
        let read = curl(Some(&certificate)).well(scheme);
        assert!(read.stdout.as_bytes() == message, "{scheme}: other bytes than were stored");
        // curl's code 60: the certificate is not one it trusts.
        assert_eq!(curl(None).code, Some(60), "{scheme}");
    }
}
