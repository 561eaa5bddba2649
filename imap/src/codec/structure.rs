//! BODY and BODYSTRUCTURE on the wire (RFC 3501 section 7.4.2).

use engine::message::{KindRef, ListRef, ParameterRef, PartRef, PartsRef};

use super::envelope::put_envelope;
use super::put;

/// BODY has no extension fields, BODYSTRUCTURE has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StructureForm {
    /// `BODY`
    Short,
    /// `BODYSTRUCTURE`
    Extended,
}

/// `body`; the depth is bounded by the parser that made the structure (`MIME_DEPTH_MAX`).
pub fn put_structure(out: &mut Vec<u8>, mut structure: PartsRef<'_>, form: StructureForm) {
    put_part(out, &mut structure, 0, form);
}

/// The next part with all in it, which is in one whose body begins there.
fn put_part(
    out: &mut Vec<u8>,
    parts: &mut PartsRef<'_>,
    parent_body_offset: u32,
    form: StructureForm,
) {
    // A stored summary has as many parts as it says.
    let Some(part) = parts.next_part(parent_body_offset) else { return };
    out.push(b'(');
    match &part.kind {
        KindRef::Multipart(count) => {
            for _ in 0..*count {
                put_part(out, parts, part.body_offset, form);
            }
            out.push(b' ');
            put::string(out, part.media_subtype);
            if form == StructureForm::Extended {
                out.push(b' ');
                put_parameters(out, &part.parameters);
                put_extension(out, &part);
            }
        }
        KindRef::Message(envelope) => {
            put_basic(out, &part);
            out.push(b' ');
            put_envelope(out, envelope);
            out.push(b' ');
            put_part(out, parts, part.body_offset, form);
            out.push(b' ');
            put::number(out, u64::from(part.line_count));
            put_single_extension(out, &part, form);
        }
        KindRef::Leaf => {
            put_basic(out, &part);
            if part.media_type.eq_ignore_ascii_case(b"TEXT") {
                out.push(b' ');
                put::number(out, u64::from(part.line_count));
            }
            put_single_extension(out, &part, form);
        }
    }
    out.push(b')');
}

/// Type, subtype, parameters, id, description, encoding, octets.
fn put_basic(out: &mut Vec<u8>, part: &PartRef<'_>) {
    put::string(out, part.media_type);
    out.push(b' ');
    put::string(out, part.media_subtype);
    out.push(b' ');
    put_parameters(out, &part.parameters);
    out.push(b' ');
    put::nstring(out, part.id);
    out.push(b' ');
    put::nstring(out, part.description);
    out.push(b' ');
    put::string(out, part.encoding);
    out.push(b' ');
    put::number(out, u64::from(part.end_offset.saturating_sub(part.body_offset)));
}

fn put_single_extension(out: &mut Vec<u8>, part: &PartRef<'_>, form: StructureForm) {
    if form == StructureForm::Extended {
        out.push(b' ');
        put::nstring(out, part.md5);
        put_extension(out, part);
    }
}

/// `SP body-fld-dsp SP body-fld-lang SP body-fld-loc`
fn put_extension(out: &mut Vec<u8>, part: &PartRef<'_>) {
    out.push(b' ');
    match &part.disposition {
        Some((kind, parameters)) => {
            out.push(b'(');
            put::string(out, kind);
            out.push(b' ');
            put_parameters(out, parameters);
            out.push(b')');
        }
        None => out.extend_from_slice(b"NIL"),
    }
    out.push(b' ');
    let mut languages = part.languages.clone();
    match (languages.count_left(), languages.next()) {
        (1, Some(language)) => put::string(out, language),
        (_, Some(first)) => {
            out.push(b'(');
            put::string(out, first);
            for language in languages {
                out.push(b' ');
                put::string(out, language);
            }
            out.push(b')');
        }
        (_, None) => out.extend_from_slice(b"NIL"),
    }
    out.push(b' ');
    put::nstring(out, part.location);
}

fn put_parameters(out: &mut Vec<u8>, parameters: &ListRef<'_, ParameterRef<'_>>) {
    if parameters.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    for (index, ParameterRef { name, value }) in parameters.clone().enumerate() {
        out.push(if index == 0 { b'(' } else { b' ' });
        put::string(out, name);
        out.push(b' ');
        put::string(out, value);
    }
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use engine::message::{BodyKind, Part, StoredSummary, Summary};

    use super::*;

    fn text() -> Part {
        Part {
            body_offset: 10,
            end_offset: 1162,
            media_type: b"TEXT".to_vec(),
            media_subtype: b"PLAIN".to_vec(),
            parameters: vec![(b"CHARSET".to_vec(), b"US-ASCII".to_vec())],
            encoding: b"7BIT".to_vec(),
            line_count: 23,
            ..Part::default()
        }
    }

    fn shown(part: &Part, form: StructureForm) -> String {
        let mut out = Vec::new();
        let bytes = Summary { structure: part.clone(), ..Summary::default() }.encode();
        put_structure(&mut out, StoredSummary::of(&bytes).unwrap().structure(), form);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_text_reads_like_the_rfc() {
        let rfc = "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"US-ASCII\") NIL NIL \"7BIT\" 1152 23)";
        assert_eq!(shown(&text(), StructureForm::Short), rfc);
        let extended = rfc.replace("23)", "23 NIL NIL NIL NIL)");
        assert_eq!(shown(&text(), StructureForm::Extended), extended);
    }

    #[test]
    fn a_multipart_holds_its_parts() {
        let whole = Part {
            media_type: b"MULTIPART".to_vec(),
            media_subtype: b"MIXED".to_vec(),
            parameters: vec![(b"BOUNDARY".to_vec(), b"x".to_vec())],
            disposition: Some((b"inline".to_vec(), Vec::new())),
            languages: vec![b"de".to_vec(), b"en".to_vec()],
            kind: BodyKind::Multipart(vec![text(), text()]),
            ..Part::default()
        };
        let one = shown(&text(), StructureForm::Short);
        assert_eq!(shown(&whole, StructureForm::Short), format!("({one}{one} \"MIXED\")"));
        let extended = shown(&whole, StructureForm::Extended);
        assert!(
            extended
                .ends_with("\"MIXED\" (\"BOUNDARY\" \"x\") (\"inline\" NIL) (\"de\" \"en\") NIL)"),
            "{extended}"
        );
    }

    #[test]
    fn a_message_shows_envelope_and_structure() {
        let whole = Part {
            media_type: b"MESSAGE".to_vec(),
            media_subtype: b"RFC822".to_vec(),
            encoding: b"7BIT".to_vec(),
            end_offset: 5,
            line_count: 2,
            kind: BodyKind::Message(Box::default(), Box::new(text())),
            ..Part::default()
        };
        let one = shown(&text(), StructureForm::Short);
        let nils = "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)";
        assert_eq!(
            shown(&whole, StructureForm::Short),
            format!("(\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 5 {nils} {one} 2)")
        );
    }
}
