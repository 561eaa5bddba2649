//! Where in etcd a volume of a cluster stands.

/// Bytes of a prefix or name at most.
const NAME_BYTES_MAX: usize = 128;

/// The keys of one volume of one cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    primary: String,
    lease: String,
}

/// A name that cannot be part of a key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{0:?} cannot be part of a key in etcd: letters, digits, '.', '_' and '-', at most \
     {NAME_BYTES_MAX} of them, and in the prefix '/' between them"
)]
pub struct PlaceError(pub String);

impl Place {
    /// The place of `volume` of `cluster`, below `prefix`: `PREFIX/CLUSTER/VOLUME/…`.
    ///
    /// # Errors
    /// When a name could not be told from another, or not be typed.
    pub fn new(prefix: &str, cluster: &str, volume: &str) -> Result<Place, PlaceError> {
        let parts = prefix.strip_prefix('/').unwrap_or(prefix).split('/');
        for name in parts.chain([cluster, volume]) {
            if !is_name(name) {
                return Err(PlaceError(name.to_owned()));
            }
        }
        if prefix.len() > NAME_BYTES_MAX {
            return Err(PlaceError(prefix.to_owned()));
        }
        let key = |last| format!("{prefix}/{cluster}/{volume}/{last}");
        Ok(Place { primary: key("primary"), lease: key("lease") })
    }

    /// The key under which the [`super::standing::Standing`] is.
    pub fn primary(&self) -> &str {
        &self.primary
    }

    /// The key that is there while the primary's lease runs.
    pub fn lease(&self) -> &str {
        &self.lease
    }
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_from_every_other() {
        let place = Place::new("/mail/pillarbox", "house", "main").unwrap();
        assert_eq!(place.primary(), "/mail/pillarbox/house/main/primary");
        assert_eq!(place.lease(), "/mail/pillarbox/house/main/lease");
        let long = "x".repeat(129);
        let table = [
            ("", "house", "main", "no prefix"),
            ("/", "house", "main", "an empty prefix"),
            ("a//b", "house", "main", "nothing between"),
            ("a/", "house", "main", "a slash at the end"),
            ("a", "ho/me", "main", "a slash in a name"),
            ("a", "", "main", "no cluster"),
            ("a", "house", "", "no volume"),
            ("a", "house", "ma in", "a blank"),
            ("a", "house", "ma\u{e4}n", "no ASCII"),
            ("a", "house", long.as_str(), "a long name"),
        ];
        for (prefix, cluster, volume, reason) in table {
            assert!(Place::new(prefix, cluster, volume).is_err(), "{reason}");
        }
    }
}
