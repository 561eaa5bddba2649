//! Retired keys in words.

use engine::{RetiredKey, RewrapProgress};

/// What `status` shows of retired keys, and of re-wrapping.
pub(crate) fn status_lines(
    retired: &[RetiredKey],
    rewrap: Option<RewrapProgress>,
) -> [(&'static str, String); 3] {
    let most = |count: fn(&RetiredKey) -> u64| retired.iter().map(count).max().unwrap_or_default();
    let held = match retired {
        [] => "nothing".to_owned(),
        _ => format!(
            "records in up to {} segments, headers in up to {}; {} segments not read yet",
            most(|key| key.record_segments),
            most(|key| key.header_segments),
            most(|key| key.unread_segments)
        ),
    };
    let rewrap = match rewrap {
        None => "not going on".to_owned(),
        Some(RewrapProgress { is_imaging: true, segment_total, .. }) => {
            format!("base images first, then {segment_total} segments")
        }
        Some(RewrapProgress { segment_count, segment_total, .. }) => {
            format!("{segment_count} of {segment_total} segments")
        }
    };
    [
        ("retired_keys", retired.len().to_string()),
        ("retired_keys_held_by", held),
        ("rewrap", rewrap),
    ]
}
