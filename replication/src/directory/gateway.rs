//! The messages of etcd's v3 JSON gateway, as bytes: requests are written, answers are read.
//!
//! The gateway is gRPC's messages as JSON: keys and values in base64, 64-bit numbers as texts, and
//! what is zero, false or empty left out. Answers are taken with numbers as numbers too.
//!
//! | path | asks | answer |
//! |--|--|--|
//! | `/v3/kv/range` | a row by its key | [`Row`] |
//! | `/v3/kv/put` | writes a row | |
//! | `/v3/kv/txn` | compares, then does one thing or another | [`Transacted`] |
//! | `/v3/lease/grant` | a lease of so many seconds | [`Grant`] |
//! | `/v3/lease/keepalive` | its time anew; a stream, of which one answer is read | [`Renewal`] |
//! | `/v3/lease/revoke` | its end, and that of the keys that are bound to it | |
//! | `/v3/lease/timetolive` | how long it has left | [`TimeLeft`] |
//! | `/v3/auth/authenticate` | a token for a name and a password | the token |
//!
//! An answer whose status is not 200 is a [`Refusal`]: gRPC's code and etcd's words.

use std::fmt::{self, Display};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// A lease's number. It is positive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LeaseId(i64);

impl LeaseId {
    /// From its number, if it is positive.
    pub const fn new(number: i64) -> Option<LeaseId> {
        if number > 0 { Some(LeaseId(number)) } else { None }
    }

    /// Its number.
    pub const fn number(self) -> i64 {
        self.0
    }
}

/// As `etcdctl lease` writes it.
impl Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// How often etcd's keys had been changed when something was; 0 is before the first change, so it
/// stands for a key that is not there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Revision(pub i64);

impl Revision {
    /// That of a key which is not there.
    pub const NONE: Revision = Revision(0);
}

/// Which leader's time it was when something was answered: it rises with each election.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Term(pub u64);

/// Why an answer is not understood, in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unintelligible(pub String);

type Understood<T> = Result<T, Unintelligible>;

/// A row that stands in etcd.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// When it was last changed.
    pub changed: Revision,
    /// The lease with which it goes, if any.
    pub lease: Option<LeaseId>,
}

/// What must be so for a transaction to do its first part.
#[derive(Clone, Copy, Debug)]
pub struct Compare<'a> {
    /// The key.
    pub key: &'a str,
    /// It was last changed then; [`Revision::NONE`]: it is not there.
    pub changed: Revision,
}

/// A part of a transaction.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// Reads a row.
    Read(&'a str),
    /// Writes one.
    Write {
        /// Its key.
        key: &'a str,
        /// Its value.
        value: &'a [u8],
        /// The lease with which it goes.
        lease: Option<LeaseId>,
    },
    /// Removes one.
    Remove(&'a str),
}

/// What a transaction did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transacted {
    /// Whether all comparisons held, so that its first part was done.
    pub held: bool,
    /// etcd's revision after it: that of the keys which it wrote.
    pub revision: Revision,
    /// What its reads found, in their order.
    pub found: Vec<Option<Row>>,
}

/// A lease that was granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The lease.
    pub lease: LeaseId,
    /// For how many seconds: not always what was asked for.
    pub seconds: u32,
    /// Under which leader.
    pub term: Term,
}

/// A lease whose time began anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Renewal {
    /// For how many seconds; `None`: etcd does not know it.
    pub seconds: Option<u32>,
    /// What the member that answered held for the leader's term.
    pub term: Term,
}

/// How long a lease has left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimeLeft {
    /// In seconds; `None`: etcd does not know it.
    pub seconds: Option<u32>,
    /// The keys that go with it.
    pub keys: Vec<Vec<u8>>,
}

/// etcd's own error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// gRPC's code.
    pub code: u32,
    /// Its words.
    pub words: String,
}

/// gRPC's code: the member cannot now, another may.
pub const CODE_UNAVAILABLE: u32 = 14;
/// gRPC's code: who asks is not known.
pub const CODE_UNAUTHENTICATED: u32 = 16;
/// gRPC's code: what was asked for does not exist.
pub const CODE_NOT_FOUND: u32 = 5;

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Asks for a row.
pub(crate) fn range(key: &str) -> Value {
    json!({ "key": base64(key.as_bytes()) })
}

/// Writes a row.
pub(crate) fn put(key: &str, value: &[u8], lease: Option<LeaseId>) -> Value {
    let lease = lease.map_or(0, LeaseId::number).to_string();
    json!({ "key": base64(key.as_bytes()), "value": base64(value), "lease": lease })
}

/// Does `then` if all that is compared is so, else `otherwise`.
pub(crate) fn txn(compare: &[Compare<'_>], then: &[Action<'_>], otherwise: &[Action<'_>]) -> Value {
    let compare = compare.iter().map(|Compare { key, changed }| {
        json!({
            "key": base64(key.as_bytes()),
            "target": "MOD",
            "result": "EQUAL",
            "mod_revision": changed.0.to_string(),
        })
    });
    let list = |actions: &[Action<'_>]| -> Value {
        let action = |action: &Action<'_>| match *action {
            Action::Read(key) => json!({ "request_range": range(key) }),
            Action::Write { key, value, lease } => json!({ "request_put": put(key, value, lease) }),
            Action::Remove(key) => json!({ "request_delete_range": range(key) }),
        };
        actions.iter().map(action).collect()
    };
    json!({
        "compare": compare.collect::<Value>(),
        "success": list(then),
        "failure": list(otherwise),
    })
}

/// Asks for a lease.
pub(crate) fn grant(seconds: u32) -> Value {
    json!({ "TTL": seconds.to_string() })
}

/// Names a lease.
pub(crate) fn lease(lease: LeaseId) -> Value {
    json!({ "ID": lease.0.to_string() })
}

/// Asks how long a lease has left, and for its keys.
pub(crate) fn time_to_live(lease: LeaseId) -> Value {
    json!({ "ID": lease.0.to_string(), "keys": true })
}

/// Asks for a token.
pub(crate) fn authenticate(name: &str, password: &str) -> Value {
    json!({ "name": name, "password": password })
}

/// A number of 64 bits, as text or as a number.
fn number<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<T, D::Error>
where
    T: std::str::FromStr + TryFrom<i64> + TryFrom<u64>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Text(String),
        Signed(i64),
        Unsigned(u64),
    }
    let number = match Number::deserialize(deserializer)? {
        Number::Text(text) => text.parse().ok(),
        Number::Signed(number) => T::try_from(number).ok(),
        Number::Unsigned(number) => T::try_from(number).ok(),
    };
    number.ok_or_else(|| D::Error::custom("a number that it cannot be"))
}

/// Bytes in base64.
fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(|_| D::Error::custom("no base64"))
}

#[derive(Deserialize)]
struct HeaderForm {
    #[serde(default, deserialize_with = "number")]
    revision: i64,
    #[serde(default, deserialize_with = "number")]
    raft_term: u64,
}

#[derive(Deserialize)]
struct RowForm {
    #[serde(deserialize_with = "bytes")]
    key: Vec<u8>,
    #[serde(default, deserialize_with = "bytes")]
    value: Vec<u8>,
    #[serde(deserialize_with = "number")]
    mod_revision: i64,
    #[serde(default, deserialize_with = "number")]
    lease: i64,
}

impl From<RowForm> for Row {
    fn from(form: RowForm) -> Row {
        let RowForm { key, value, mod_revision, lease } = form;
        Row { key, value, changed: Revision(mod_revision), lease: LeaseId::new(lease) }
    }
}

#[derive(Deserialize)]
struct RangeForm {
    #[serde(default)]
    kvs: Vec<RowForm>,
}

#[derive(Deserialize)]
struct ResponseForm {
    response_range: Option<RangeForm>,
}

#[derive(Deserialize)]
struct TxnForm {
    header: HeaderForm,
    #[serde(default)]
    succeeded: bool,
    #[serde(default)]
    responses: Vec<ResponseForm>,
}

#[derive(Deserialize)]
struct LeaseForm {
    header: HeaderForm,
    #[serde(rename = "ID", deserialize_with = "number")]
    id: i64,
    #[serde(rename = "TTL", default, deserialize_with = "number")]
    seconds: i64,
    #[serde(default)]
    keys: Vec<String>,
}

/// One message of a stream.
#[derive(Deserialize)]
struct StreamForm {
    result: Option<LeaseForm>,
    error: Option<RefusalForm>,
}

#[derive(Deserialize)]
struct RefusalForm {
    #[serde(alias = "grpc_code")]
    code: u32,
    message: String,
}

#[derive(Deserialize)]
struct HeadedForm {
    header: HeaderForm,
}

#[derive(Deserialize)]
struct TokenForm {
    token: String,
}

fn form<'de, T: Deserialize<'de>>(answer: &'de [u8]) -> Understood<T> {
    serde_json::from_slice(answer).map_err(|flaw| Unintelligible(flaw.to_string()))
}

fn unintelligible<T>(why: &str) -> Understood<T> {
    Err(Unintelligible(why.to_owned()))
}

fn one_row(form: RangeForm) -> Understood<Option<Row>> {
    let mut rows = form.kvs.into_iter().map(Row::from);
    match (rows.next(), rows.next()) {
        (row, None) => Ok(row),
        _ => unintelligible("several rows for one key"),
    }
}

/// Seconds that a lease has; `None` where it has none.
fn seconds(number: i64) -> Option<u32> {
    u32::try_from(number).ok().filter(|seconds| *seconds > 0)
}

/// The answer to [`range`] of `key`.
pub(crate) fn read_range(answer: &[u8], key: &str) -> Understood<Option<Row>> {
    // What has no header is no answer of etcd's: an empty object would say "not there".
    form::<HeadedForm>(answer)?;
    let row = one_row(form(answer)?)?;
    match row.as_ref().is_none_or(|row| row.key == key.as_bytes()) {
        true => Ok(row),
        false => unintelligible("another row than was asked for"),
    }
}

/// The answer to [`put`].
pub(crate) fn read_put(answer: &[u8]) -> Understood<Revision> {
    Ok(Revision(form::<HeadedForm>(answer)?.header.revision))
}

/// The answer to [`txn`] of these two parts.
pub(crate) fn read_txn(
    answer: &[u8],
    then: &[Action<'_>],
    otherwise: &[Action<'_>],
) -> Understood<Transacted> {
    let TxnForm { header, succeeded, responses } = form(answer)?;
    let ranges = responses.into_iter().filter_map(|response| response.response_range);
    let found = ranges.map(one_row).collect::<Result<Vec<_>, _>>()?;
    // Else a row that the answer leaves out would be one that is not there.
    let actions = if succeeded { then } else { otherwise };
    let asked = actions.iter().filter_map(|action| match action {
        Action::Read(key) => Some(key),
        Action::Write { .. } | Action::Remove(_) => None,
    });
    let is_found = |(key, row): (&&str, &Option<Row>)| {
        row.as_ref().is_none_or(|row| row.key == key.as_bytes())
    };
    if asked.clone().count() != found.len() || !asked.zip(&found).all(is_found) {
        return unintelligible("other rows than were asked for");
    }
    Ok(Transacted { held: succeeded, revision: Revision(header.revision), found })
}

/// The answer to [`grant`].
pub(crate) fn read_grant(answer: &[u8]) -> Understood<Grant> {
    let LeaseForm { header, id, seconds: granted, .. } = form(answer)?;
    match (LeaseId::new(id), seconds(granted)) {
        (Some(lease), Some(seconds)) => Ok(Grant { lease, seconds, term: Term(header.raft_term) }),
        _ => unintelligible("a lease without a number or without time"),
    }
}

/// The answer to a renewal of `lease`.
pub(crate) fn read_renewal(answer: &[u8], lease: LeaseId) -> Understood<Result<Renewal, Refusal>> {
    // Of a stream, the first message: it is a line.
    let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let (header, id, granted) = match form(line)? {
        StreamForm { error: Some(RefusalForm { code, message }), .. } => {
            return Ok(Err(Refusal { code, words: super::error::words(&message) }));
        }
        StreamForm { result: Some(LeaseForm { header, id, seconds, .. }), .. } => {
            (header, id, seconds)
        }
        StreamForm { .. } => return unintelligible("neither a result nor an error"),
    };
    if id != lease.0 {
        return unintelligible("another lease than was asked about");
    }
    Ok(Ok(Renewal { seconds: seconds(granted), term: Term(header.raft_term) }))
}

/// The answer to [`time_to_live`] of `lease`.
pub(crate) fn read_time_to_live(answer: &[u8], lease: LeaseId) -> Understood<TimeLeft> {
    let LeaseForm { id, seconds: left, keys, .. } = form(answer)?;
    if id != lease.0 {
        return unintelligible("another lease than was asked about");
    }
    let decoded: Result<_, _> = keys.iter().map(|key| STANDARD.decode(key)).collect();
    let Ok(keys) = decoded else { return unintelligible("a key that is no base64") };
    Ok(TimeLeft { seconds: seconds(left), keys })
}

/// An answer that says no more than that it was done.
pub(crate) fn read_done(answer: &[u8]) -> Understood<()> {
    form::<HeadedForm>(answer).map(|_| ())
}

/// The answer to [`authenticate`].
pub(crate) fn read_token(answer: &[u8]) -> Understood<String> {
    let TokenForm { token } = form(answer)?;
    // It becomes a header field of every request.
    match !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(token),
        false => unintelligible("a token that cannot be sent"),
    }
}

/// An answer whose status is not 200. A stream's error stands one level deeper.
pub(crate) fn read_refusal(answer: &[u8]) -> Understood<Refusal> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Body {
        Plain { code: u32, message: Option<String>, error: Option<String> },
        Stream { error: RefusalForm },
    }
    let (code, text) = match form(answer)? {
        Body::Plain { code, message, error } => (code, message.or(error).unwrap_or_default()),
        Body::Stream { error: RefusalForm { code, message } } => (code, message),
    };
    Ok(Refusal { code, words: super::error::words(&text) })
}

#[cfg(test)]
mod tests;
