//! `index`: how far the full-text index is, and making it anew.

use crate::admin::{Answer, IndexLine, IndexRequest, Request};
use crate::cli::{IndexVerb, PlaceArguments};
use crate::command::{Place, bytes, unexpected};
use crate::failure::Failure;
use crate::progress;

/// `pillarbox index …`
pub(crate) fn run(verb: IndexVerb) -> Result<(), Failure> {
    let (request, place) = match verb {
        IndexVerb::Status { account, place } => (IndexRequest::Status { account }, place),
        IndexVerb::Rebuild { account, place } => (IndexRequest::Rebuild { account }, place),
    };
    lines(request, &place)?.iter().for_each(|line| println!("{}", sentence(line)));
    Ok(())
}

fn lines(request: IndexRequest, place: &PlaceArguments) -> Result<Vec<IndexLine>, Failure> {
    let request = Request::Index(request);
    let mut connection = Place::find(place)?.connect(request.mode())?;
    let bar = progress::bar("Indexing messages", 0);
    let answer = connection.call(&request, b"", &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    connection.close();
    match answer? {
        Answer::Index { lines } => Ok(lines),
        _ => Err(unexpected()),
    }
}

/// How far one account's index is.
fn sentence(line: &IndexLine) -> String {
    let IndexLine { account, indexed_count, waiting_count, split_count, .. } = line;
    let mut words = if *split_count == 0 {
        format!("{account}: no index, {waiting_count} messages are read when they are sought in")
    } else {
        let pieces = if *split_count == 1 { "piece" } else { "pieces" };
        format!(
            "{account}: {indexed_count} messages in {split_count} {pieces} ({}), {waiting_count} \
             more are read when they are sought in",
            bytes(line.file_bytes)
        )
    };
    if line.skipped_count > 0 {
        words.push_str(&format!("; {} of these cannot be indexed", line.skipped_count));
    }
    if line.document_count > 0 {
        words.push_str(&format!(
            "; {} documents, {} of which gave no text or not all",
            line.document_count, line.flawed_document_count
        ));
    }
    if line.otherwise_count > 0 {
        words.push_str(&format!(
            "; {} messages were indexed when extractors were set otherwise: 'pillarbox index \
             rebuild' makes them anew",
            line.otherwise_count
        ));
    }
    words
}
