//! What Outlook packs into `winmail.dat` (MS-OXTNEF): the names of attachments, the subject, the
//! plain body; so that a message is found by them.
//!
//! ```text
//! signature  u32   0x223E9F78
//! key        u16
//! attributes, each:
//!   level    u8    1 message, 2 attachment
//!   id       u32
//!   length   u32   bytes of the value
//!   value
//!   checksum u16   of the value; not looked at
//! ```
//! All numbers little-endian. What does not fit ends the reading; what was found so far counts.

use super::decode::charset_decode;

const SIGNATURE: [u8; 4] = [0x78, 0x9F, 0x3E, 0x22];
const SUBJECT: u32 = 0x0001_8004;
const ATTACH_TITLE: u32 = 0x0001_8010;
const BODY: u32 = 0x0002_800C;
const TRANSPORT_FILENAME: u32 = 0x0006_9001;
/// Attributes of one file that are looked at.
const ATTRIBUTES_MAX: usize = 4096;

/// The texts in a file.
pub(super) fn texts(file: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    let Some(mut rest) = file.strip_prefix(&SIGNATURE).and_then(|rest| rest.get(2..)) else {
        return texts;
    };
    for _ in 0..ATTRIBUTES_MAX {
        let Some((id, value, after)) = attribute(rest) else { break };
        if matches!(id, SUBJECT | ATTACH_TITLE | BODY | TRANSPORT_FILENAME) {
            let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
            let text = charset_decode(b"", value.get(..end).unwrap_or(value));
            if !text.is_empty() && !texts.contains(&text) {
                texts.push(text);
            }
        }
        rest = after;
    }
    texts
}

fn attribute(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (_level, rest) = bytes.split_first()?;
    let (id, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (value, rest) = rest.split_at_checked(length)?;
    Some((u32::from_le_bytes(*id), value, rest.get(2..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(file: &mut Vec<u8>, level: u8, id: u32, value: &[u8]) {
        file.push(level);
        file.extend_from_slice(&id.to_le_bytes());
        file.extend_from_slice(&(value.len() as u32).to_le_bytes());
        file.extend_from_slice(value);
        file.extend_from_slice(&[0, 0]);
    }

    #[test]
    fn names_subject_and_body_are_found() {
        let mut file = SIGNATURE.to_vec();
        file.extend_from_slice(&[1, 0]);
        put(&mut file, 1, SUBJECT, b"Budget\0");
        put(&mut file, 1, 0x0006_9003, &[1, 2, 3]);
        put(&mut file, 1, BODY, b"See the sheet.\0");
        put(&mut file, 2, ATTACH_TITLE, b"plan\xE4.xls\0");
        assert_eq!(texts(&file), ["Budget", "See the sheet.", "planä.xls"]);
        file.truncate(file.len() - 4);
        assert_eq!(texts(&file), ["Budget", "See the sheet."], "a file that ends early");
        assert!(texts(b"no such file").is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            texts(&[&SIGNATURE[..], &[0, 0], &bytes].concat());
        }
    }
}
