//! ENVELOPE on the wire (RFC 3501 section 7.4.2).

use engine::message::{Address, Envelope};

use super::put;

/// `envelope`
pub fn put_envelope(out: &mut Vec<u8>, envelope: &Envelope) {
    out.push(b'(');
    put::nstring(out, envelope.date.as_deref());
    out.push(b' ');
    put::nstring(out, envelope.subject.as_deref());
    for list in [
        &envelope.from,
        &envelope.sender,
        &envelope.reply_to,
        &envelope.to,
        &envelope.cc,
        &envelope.bcc,
    ] {
        out.push(b' ');
        put_addresses(out, list);
    }
    out.push(b' ');
    put::nstring(out, envelope.in_reply_to.as_deref());
    out.push(b' ');
    put::nstring(out, envelope.message_id.as_deref());
    out.push(b')');
}

/// `"(" 1*address ")" / nil`; `address` is name, source route (always NIL), mailbox, host.
fn put_addresses(out: &mut Vec<u8>, addresses: &[Address]) {
    if addresses.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for address in addresses {
        out.push(b'(');
        put::nstring(out, address.name.as_deref());
        out.extend_from_slice(b" NIL ");
        put::nstring(out, address.mailbox.as_deref());
        out.push(b' ');
        put::nstring(out, address.host.as_deref());
        out.push(b')');
    }
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_reads_like_the_rfc() {
        let terry = vec![Address {
            name: Some(b"Terry Gray".to_vec()),
            mailbox: Some(b"gray".to_vec()),
            host: Some(b"cac.washington.edu".to_vec()),
        }];
        let envelope = Envelope {
            date: Some(b"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)".to_vec()),
            subject: Some(b"IMAP4rev1 \"WG\"".to_vec()),
            from: terry.clone(),
            sender: terry,
            ..Envelope::default()
        };
        let mut out = Vec::new();
        put_envelope(&mut out, &envelope);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev1 \\\"WG\\\"\" \
             ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) \
             ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) NIL NIL NIL NIL NIL NIL)"
        );
    }
}
