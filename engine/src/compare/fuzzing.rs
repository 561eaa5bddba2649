//! Fuzz body of what two nodes ask each other; see [`crate::fuzzing`].

use super::question::{Answer, Question};
use crate::check::ChunkQuestion;

/// A question or an answer while two nodes are compared, or a question for a chunk: each tries.
pub(crate) fn inquiry(bytes: &[u8]) {
    if let Ok(question) = Question::decode(bytes) {
        assert_eq!(Question::decode(&question.encode()), Ok(question));
    }
    if let Ok(answer) = Answer::decode(bytes) {
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
    }
    if let Ok(question) = ChunkQuestion::decode(bytes) {
        assert_eq!(question.encode(), bytes, "each byte counts");
    }
}
