//! ENVELOPE on the wire (RFC 3501 section 7.4.2).

use engine::message::{AddressLists, EnvelopeRef};

use super::put;

/// `envelope`
pub fn put_envelope(out: &mut Vec<u8>, envelope: &EnvelopeRef<'_>) {
    out.push(b'(');
    put::nstring(out, envelope.date);
    out.push(b' ');
    put::nstring(out, envelope.subject);
    let mut lists = envelope.lists();
    let mut from = 0..0;
    for place in 0..AddressLists::COUNT {
        out.push(b' ');
        let begin = out.len();
        match lists.next_list() {
            Some(count) => put_addresses(out, count, &mut lists),
            None => out.extend_from_within(from.clone()),
        }
        if place == 0 {
            from = begin..out.len();
        }
    }
    out.push(b' ');
    put::nstring(out, envelope.in_reply_to);
    out.push(b' ');
    put::nstring(out, envelope.message_id);
    out.push(b')');
}

/// `"(" 1*address ")" / nil`; `address` is name, source route (always NIL), mailbox, host.
fn put_addresses(out: &mut Vec<u8>, count: u64, lists: &mut AddressLists<'_>) {
    if count == 0 {
        out.extend_from_slice(b"NIL");
        return;
    }
    out.push(b'(');
    for _ in 0..count {
        let Some(address) = lists.next_address() else { break };
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
