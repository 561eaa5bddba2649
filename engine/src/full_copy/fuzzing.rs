//! Fuzz body of an offer; see [`crate::fuzzing`].

use super::offer::Offer;

/// An offer, as another node may send it: the hash at its end is made to fit.
pub(crate) fn offer(bytes: &[u8]) {
    let _ = Offer::decode(bytes);
    let body = bytes.get(..bytes.len().saturating_sub(32)).unwrap_or_default();
    let fitting = [body, blake3::hash(body).as_bytes()].concat();
    let Ok(offer) = Offer::decode(&fitting) else { return };
    assert_eq!(Offer::decode(&offer.encode()), Ok(offer));
}
