//! Documents that tests make themselves, and mail with them.

use base64::Engine;

/// A PDF of one page with this text, which stands in it in hexadecimal digits.
pub(crate) fn pdf(text: &str) -> Vec<u8> {
    let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let page = format!("BT /F1 12 Tf 50 700 Td <{digits}> Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R \
         /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{page}\nendstream", page.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let mut pdf = String::from("%PDF-1.4\n");
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (number, object) in (1..).zip(&objects) {
        table += &format!("{:010} 00000 n \n", pdf.len());
        pdf += &format!("{number} 0 obj\n{object}\nendobj\n");
    }
    let begin = pdf.len();
    pdf += &table;
    pdf += &format!("trailer\n<< /Size {} /Root 1 0 R >>\n", objects.len() + 1);
    pdf += &format!("startxref\n{begin}\n%%EOF\n");
    pdf.into_bytes()
}

/// A message with a text and a document.
pub(crate) fn mail_with(text: &str, (media_type, name): (&str, &str), document: &[u8]) -> Vec<u8> {
    let encoded = base64::engine::general_purpose::STANDARD.encode(document);
    let lines: Vec<&str> =
        encoded.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!(
        "From: a@example.net\r\nTo: demo@example.org\r\nSubject: enclosed\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=q\r\n\r\n--q\r\n\r\n{text}\r\n--q\r\n\
         Content-Type: {media_type}\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{}\r\n--q--\r\n",
        lines.join("\r\n")
    )
    .into_bytes()
}
