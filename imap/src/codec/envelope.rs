//! ENVELOPE on the wire (RFC 3501 section 7.4.2).

use engine::message::{AddressRef, AddressesRef, EnvelopeRef, ListRef};

use super::put;

/// `envelope`
pub fn put_envelope(out: &mut Vec<u8>, envelope: &EnvelopeRef<'_>) {
    out.push(b'(');
    put::nstring(out, envelope.date);
    out.push(b' ');
    put::nstring(out, envelope.subject);
    let AddressesRef { from, sender, reply_to, to, cc, bcc } = envelope.addresses();
    for list in [from, sender, reply_to, to, cc, bcc] {
        out.push(b' ');
        put_addresses(out, list);
    }
    out.push(b' ');
    put::nstring(out, envelope.in_reply_to);
    out.push(b' ');
    put::nstring(out, envelope.message_id);
    out.push(b')');
}

/// `"(" 1*address ")" / nil`; `address` is name, source route (always NIL), mailbox, host.
fn put_addresses(out: &mut Vec<u8>, addresses: ListRef<'_, AddressRef<'_>>) {
    if addresses.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for address in addresses {
        out.push(b'(');
        put::nstring(out, address.name);
        out.extend_from_slice(b" NIL ");
        put::nstring(out, address.mailbox);
        out.push(b' ');
        put::nstring(out, address.host);
        out.push(b')');
    }
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use engine::message::{Address, Envelope, StoredSummary, Summary};

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
        let bytes = Summary { envelope, ..Summary::default() }.encode();
        put_envelope(&mut out, &StoredSummary::of(&bytes).unwrap().envelope());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev1 \\\"WG\\\"\" \
             ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) \
             ((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) NIL NIL NIL NIL NIL NIL)"
        );
    }
}
