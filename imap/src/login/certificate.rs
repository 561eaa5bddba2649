//! Whom a client's certificate names: its e-mail addresses, or else its common name (RFC 5280
//! sections 4.1 and 4.2.1.6). Only what TLS has verified is read here.
//!
//! ```text
//! Certificate ::= SEQUENCE { SEQUENCE {                        the part that was signed
//!     [0] version OPTIONAL, INTEGER, SEQUENCE,                 serial, algorithm
//!     SEQUENCE, SEQUENCE, SEQUENCE subject, SEQUENCE,          issuer, validity, …, key
//!     [1] OPTIONAL, [2] OPTIONAL, [3] { SEQUENCE of extensions } OPTIONAL }, … }
//! ```

/// `[0] EXPLICIT`, `[1]` and so on; primitive and constructed.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const RFC822_NAME: u8 = 0x81;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
/// UTF8String, PrintableString, IA5String: texts that UTF-8 can read.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];
/// id-at-commonName
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// id-ce-subjectAltName
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// Names of one certificate that are looked at.
const NAMES_MAX: usize = 16;

/// One element after another (ITU-T X.690), in definite form.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            let (bytes, behind) = rest.split_at_checked(usize::from(first & 0x7f))?;
            if bytes.is_empty() || bytes.len() > 4 {
                return None;
            }
            length = bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
            rest = behind;
        }
        let (content, behind) = rest.split_at_checked(length)?;
        self.0 = behind;
        Some((tag, content))
    }

    /// The content of the next element, if it has that tag.
    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let (tag, content) = self.next()?;
        (tag == wanted).then_some(content)
    }
}

/// E-mail addresses of the subject's other names; if there are none, its common names.
pub(crate) fn names(certificate: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let Some((subject, extensions)) = subject_and_extensions(certificate) else { return names };
    if let Some(alternatives) = extensions.and_then(alternative_names) {
        let mut alternatives = Der(alternatives);
        while let Some((tag, content)) = alternatives.next() {
            if tag == RFC822_NAME && names.len() < NAMES_MAX {
                names.extend(std::str::from_utf8(content).ok().map(str::to_owned));
            }
        }
    }
    if names.is_empty() {
        names.extend(common_names(subject).take(NAMES_MAX).map(str::to_owned));
    }
    names
}

fn subject_and_extensions(certificate: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let mut signed = Der(Der(Der(certificate).expect(SEQUENCE)?).expect(SEQUENCE)?);
    let mut after_version = signed;
    if after_version.next()?.0 == VERSION {
        signed = after_version;
    }
    // Serial, algorithm, issuer, validity.
    for _ in 0..4 {
        signed.next()?;
    }
    let subject = signed.expect(SEQUENCE)?;
    signed.next()?;
    let mut extensions = None;
    while let Some((tag, content)) = signed.next() {
        if tag == EXTENSIONS {
            extensions = Der(content).expect(SEQUENCE);
        }
    }
    Some((subject, extensions))
}

/// The names in the extension that holds them.
fn alternative_names(extensions: &[u8]) -> Option<&[u8]> {
    let mut extensions = Der(extensions);
    while let Some((_, content)) = extensions.next() {
        let mut fields = Der(content);
        if fields.expect(OBJECT_IDENTIFIER) != Some(SUBJECT_ALT_NAME) {
            continue;
        }
        while let Some((tag, value)) = fields.next() {
            if tag == OCTET_STRING {
                return Der(value).expect(SEQUENCE);
            }
        }
    }
    None
}

fn common_names(subject: &[u8]) -> impl Iterator<Item = &str> {
    let mut sets = Der(subject);
    std::iter::from_fn(move || sets.next()).filter_map(|(tag, set)| {
        let mut attribute = Der(Der(set).expect(SEQUENCE).filter(|_| tag == SET)?);
        if attribute.expect(OBJECT_IDENTIFIER)? != COMMON_NAME {
            return None;
        }
        let (tag, value) = attribute.next()?;
        std::str::from_utf8(value).ok().filter(|_| TEXTS.contains(&tag))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn made(common_name: &str, addresses: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["host.example.org".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, common_name);
        for address in addresses {
            params.subject_alt_names.push(SanType::Rfc822Name((*address).try_into().unwrap()));
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn addresses_come_first_and_else_the_common_name() {
        let certificate = made("Demo", &["demo@example.org", "two@example.org"]);
        assert_eq!(names(&certificate), ["demo@example.org", "two@example.org"]);
        assert_eq!(names(&made("demo@example.org", &[])), ["demo@example.org"]);
        assert_eq!(names(b""), [""; 0]);
    }

    #[test]
    fn a_certificate_that_is_cut_or_changed_anywhere_does_no_harm() {
        let certificate = made("demo@example.org", &["demo@example.org"]);
        for length in 0..certificate.len() {
            let _ = names(&certificate[..length]);
            for byte in [0, 0x30, 0x7f, 0x84, 0xff] {
                let mut changed = certificate.clone();
                changed[length] = byte;
                assert!(names(&changed).len() <= NAMES_MAX);
            }
        }
    }
}
