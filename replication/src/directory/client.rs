//! A client of etcd's v3 JSON gateway: several endpoints, each tried in turn, none waited for
//! longer than was said.
//!
//! The endpoint that answered last is asked first. One that cannot be reached, is too late, says
//! that it cannot now, or answers what is no answer of etcd's, is passed over; what etcd refuses is
//! final. So a request takes at most the answer's timeout times the number of endpoints, and it may
//! take effect twice: every change that is made through [`super::Directory`] compares first, and
//! finding that what it wanted stands there is success.
//!
//! HTTP is ureq's, without a runtime: plain calls, one deadline for a request as a whole. Nothing
//! is taken from the environment: no proxy, no other authorities. Each request has a connection of
//! its own: one that was kept may be broken when it is needed, as after a restart of etcd, and a
//! few requests a second do not need it.
//!
//! # Invariants
//! 1. No call waits longer than its patience for one endpoint.
//! 2. No answer is kept beyond [`ANSWER_BYTES_MAX`].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use engine::seal::Secret;
use parking_lot::Mutex;
use serde_json::Value;
use ureq::{Agent, Timeout};

use super::error::{Attempt, EtcdError, Why, words};
use super::gateway::{
    self, Action, CODE_NOT_FOUND, CODE_UNAUTHENTICATED, CODE_UNAVAILABLE, Compare, Grant, LeaseId,
    Refusal, Renewal, Revision, Row, Term, TimeLeft, Transacted, Unintelligible,
};
use super::options::{self, ENDPOINTS_MAX, EtcdOptions, OptionsError};

/// Bytes of an answer at most: ours have some hundred.
pub const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// Bytes of the head of an answer at most.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// gRPC's codes that speak of the member that was asked, not of what was asked: cancelled, unknown,
/// deadline exceeded, internal, unavailable.
const CODES_OF_A_MEMBER: &[u32] = &[1, 2, 4, 13, CODE_UNAVAILABLE];

/// A client, which any number of threads may use.
pub struct Client {
    agent: Agent,
    endpoints: Vec<String>,
    /// The index of the endpoint that answered last.
    preferred: AtomicUsize,
    login: Option<(String, Secret)>,
    /// Of the login; forgotten when etcd no longer knows it.
    token: Mutex<Option<String>>,
    answer_timeout: Duration,
}

/// What became of a request at one endpoint.
enum Failure {
    /// Another may do better.
    Next(Why),
    /// etcd understood, and will not.
    Refused(Refusal),
}

impl From<Unintelligible> for Failure {
    fn from(Unintelligible(why): Unintelligible) -> Failure {
        Failure::Next(Why::Unintelligible(words(&why)))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let Refusal { code, words } = refusal;
        match CODES_OF_A_MEMBER.contains(&code) {
            true => Failure::Next(Why::Unavailable { code, words }),
            false => Failure::Refused(Refusal { code, words }),
        }
    }
}

/// How a whole answer is read.
type Reader<'a, T> = &'a dyn Fn(&[u8]) -> Result<Result<T, Refusal>, Unintelligible>;

impl Client {
    /// A client for these options. It connects when it is first asked.
    ///
    /// # Errors
    /// When the options cannot be used.
    pub fn new(options: EtcdOptions) -> Result<Client, OptionsError> {
        let count = options.endpoints.len();
        if count == 0 || count > ENDPOINTS_MAX {
            return Err(OptionsError::EndpointCount(count));
        }
        if options.connect_timeout.is_zero() || options.answer_timeout.is_zero() {
            return Err(OptionsError::Timeout);
        }
        let endpoints: Result<Vec<_>, _> =
            options.endpoints.iter().map(|text| options::endpoint(text)).collect();
        let endpoints = endpoints?;
        let secured = endpoints.iter().find(|endpoint| endpoint.starts_with("https:"));
        if let (Some(endpoint), None) = (secured, &options.authorities_pem) {
            return Err(OptionsError::Authority(endpoint.clone()));
        }
        let config = Agent::config_builder()
            .tls_config(options::tls(&options)?)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .max_response_header_size(HEAD_BYTES_MAX)
            .max_idle_connections(0)
            .timeout_connect(Some(options.connect_timeout))
            .build();
        Ok(Client {
            agent: config.into(),
            endpoints,
            preferred: AtomicUsize::new(0),
            login: options.login,
            token: Mutex::new(None),
            answer_timeout: options.answer_timeout,
        })
    }

    /// The row of a key, as of now.
    ///
    /// # Errors
    /// When etcd gives no answer.
    pub fn range(&self, key: &str) -> Result<Option<Row>, EtcdError> {
        let read = |answer: &[u8]| gateway::read_range(answer, key).map(Ok);
        self.call("/v3/kv/range", &gateway::range(key), self.answer_timeout, &read)
    }

    /// Writes a row, whatever is there.
    ///
    /// # Errors
    /// When etcd gives no answer.
    pub fn put(
        &self,
        key: &str,
        value: &[u8],
        lease: Option<LeaseId>,
    ) -> Result<Revision, EtcdError> {
        let read = |answer: &[u8]| gateway::read_put(answer).map(Ok);
        let body = gateway::put(key, value, lease);
        let outcome = self.call("/v3/kv/put", &body, self.answer_timeout, &read);
        outcome.map_err(|error| lease_unknown(error, lease))
    }

    /// Does `then` if all that is compared is so, else `otherwise`, in one piece.
    ///
    /// # Errors
    /// When etcd gives no answer.
    pub fn transact(
        &self,
        compare: &[Compare<'_>],
        then: &[Action<'_>],
        otherwise: &[Action<'_>],
    ) -> Result<Transacted, EtcdError> {
        let read = |answer: &[u8]| gateway::read_txn(answer, then, otherwise).map(Ok);
        let body = gateway::txn(compare, then, otherwise);
        let lease = then.iter().chain(otherwise).find_map(|action| match action {
            Action::Write { lease, .. } => *lease,
            Action::Read(_) | Action::Remove(_) => None,
        });
        let outcome = self.call("/v3/kv/txn", &body, self.answer_timeout, &read);
        outcome.map_err(|error| lease_unknown(error, lease))
    }

    /// A lease of so many seconds, or of as many as etcd will.
    ///
    /// # Errors
    /// When etcd gives no answer within `patience` per endpoint.
    pub fn grant(&self, seconds: u32, patience: Duration) -> Result<Grant, EtcdError> {
        let read = |answer: &[u8]| gateway::read_grant(answer).map(Ok);
        self.call("/v3/lease/grant", &gateway::grant(seconds), patience, &read)
    }

    /// Begins a lease's time anew. A member that still is in a leader's term before `term` is
    /// passed over: what it renews, no other knows of.
    ///
    /// # Errors
    /// When etcd gives no answer within `patience` per endpoint, or does not know the lease.
    pub fn keep_alive(
        &self,
        lease: LeaseId,
        term: Term,
        patience: Duration,
    ) -> Result<Renewal, EtcdError> {
        let read = |answer: &[u8]| {
            let outcome = gateway::read_renewal(answer, lease)?;
            match outcome.as_ref().is_ok_and(|renewal| renewal.term < term) {
                true => Ok(Err(Refusal {
                    code: CODE_UNAVAILABLE,
                    words: "it is behind the other members".to_owned(),
                })),
                false => Ok(outcome),
            }
        };
        let outcome = self.call("/v3/lease/keepalive", &gateway::lease(lease), patience, &read);
        match outcome.map_err(|error| lease_unknown(error, Some(lease)))? {
            Renewal { seconds: None, .. } => Err(EtcdError::LeaseUnknown(lease)),
            renewal => Ok(renewal),
        }
    }

    /// Ends a lease, and the keys that are bound to it.
    ///
    /// # Errors
    /// When etcd gives no answer, or does not know the lease.
    pub fn revoke(&self, lease: LeaseId) -> Result<(), EtcdError> {
        let read = |answer: &[u8]| gateway::read_done(answer).map(Ok);
        let body = gateway::lease(lease);
        let outcome = self.call("/v3/lease/revoke", &body, self.answer_timeout, &read);
        outcome.map_err(|error| lease_unknown(error, Some(lease)))
    }

    /// How long a lease has left.
    ///
    /// # Errors
    /// When etcd gives no answer.
    pub fn time_to_live(&self, lease: LeaseId) -> Result<TimeLeft, EtcdError> {
        let read = |answer: &[u8]| gateway::read_time_to_live(answer, lease).map(Ok);
        let body = gateway::time_to_live(lease);
        self.call("/v3/lease/timetolive", &body, self.answer_timeout, &read)
    }

    /// How long one endpoint may take.
    pub fn answer_timeout(&self) -> Duration {
        self.answer_timeout
    }

    /// Asks one endpoint after the other.
    fn call<T>(
        &self,
        path: &str,
        body: &Value,
        patience: Duration,
        read: Reader<'_, T>,
    ) -> Result<T, EtcdError> {
        let body = body.to_string();
        let first = self.preferred.load(Ordering::Relaxed);
        let mut attempts = Vec::new();
        let endpoints = self.endpoints.iter().enumerate();
        for (index, endpoint) in endpoints.cycle().skip(first).take(self.endpoints.len()) {
            let until = Until { end: Instant::now() + patience, patience };
            let outcome = self.ask(endpoint, path, &body, &until, read);
            match outcome {
                Ok(answer) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(Failure::Refused(Refusal { code, words })) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Err(EtcdError::Refused { endpoint: endpoint.clone(), code, words });
                }
                Err(Failure::Next(why)) => {
                    attempts.push(Attempt { endpoint: endpoint.clone(), why });
                }
            }
        }
        match attempts.iter().all(|attempt| matches!(attempt.why, Why::Unintelligible(_))) {
            true => Err(EtcdError::Unintelligible(attempts)),
            false => Err(EtcdError::Unreachable(attempts)),
        }
    }

    /// Asks one endpoint, with a token where there is a login; with a new one if the old is
    /// unknown.
    fn ask<T>(
        &self,
        endpoint: &str,
        path: &str,
        body: &str,
        until: &Until,
        read: Reader<'_, T>,
    ) -> Result<T, Failure> {
        let Some((name, password)) = &self.login else {
            return self.post((endpoint, path), body, None, until, read);
        };
        let known = self.token.lock().clone();
        if let Some(token) = known {
            match self.post((endpoint, path), body, Some(&token), until, read) {
                Err(Failure::Refused(refusal)) if is_token_unknown(&refusal) => {}
                outcome => return outcome,
            }
        }
        // Whoever comes here meanwhile gets a token of its own: one more does no harm.
        let login = gateway::authenticate(name, password.expose()).to_string();
        let place = (endpoint, "/v3/auth/authenticate");
        let read_token = |answer: &[u8]| gateway::read_token(answer).map(Ok);
        let token = self.post(place, &login, None, until, &read_token)?;
        *self.token.lock() = Some(token.clone());
        self.post((endpoint, path), body, Some(&token), until, read)
    }

    /// One request and its answer.
    fn post<T>(
        &self,
        (endpoint, path): (&str, &str),
        body: &str,
        token: Option<&str>,
        until: &Until,
        read: Reader<'_, T>,
    ) -> Result<T, Failure> {
        let failed = |error| failure(error, until);
        let mut request = self
            .agent
            .post(format!("{endpoint}{path}"))
            .config()
            .timeout_global(Some(until.left()?))
            .build()
            .content_type("application/json");
        if let Some(token) = token {
            request = request.header("Authorization", token);
        }
        let mut response = request.send(body).map_err(failed)?;
        let status = response.status().as_u16();
        let limited = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let answer = limited.read_to_vec().map_err(failed)?;
        if status == 200 {
            return Ok(read(&answer)??);
        }
        match gateway::read_refusal(&answer) {
            Ok(refusal) => Err(refusal.into()),
            Err(_) => Err(Failure::Next(Why::Unintelligible(format!("status {status}")))),
        }
    }
}

/// When an endpoint is given up.
struct Until {
    end: Instant,
    patience: Duration,
}

impl Until {
    fn left(&self) -> Result<Duration, Failure> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Failure::Next(Why::Late(self.patience))) } else { Ok(left) }
    }
}

/// etcd restarted, or the token was not used for long, or users changed.
fn is_token_unknown(refusal: &Refusal) -> bool {
    refusal.code == CODE_UNAUTHENTICATED || refusal.words.contains("auth store is old")
}

fn lease_unknown(error: EtcdError, lease: Option<LeaseId>) -> EtcdError {
    match (error, lease) {
        (EtcdError::Refused { code: CODE_NOT_FOUND, .. }, Some(lease)) => {
            EtcdError::LeaseUnknown(lease)
        }
        (error, _) => error,
    }
}

/// ureq's error, as ours.
fn failure(error: ureq::Error, until: &Until) -> Failure {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    Failure::Next(match error {
        ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            Why::Connection("no connection in time".to_owned())
        }
        ureq::Error::Timeout(_) => Why::Late(until.patience),
        ureq::Error::Io(cause) if matches!(cause.kind(), TimedOut | WouldBlock) => {
            Why::Late(until.patience)
        }
        ureq::Error::Protocol(_)
        | ureq::Error::Http(_)
        | ureq::Error::LargeResponseHeader(..)
        | ureq::Error::BodyExceedsLimit(_) => Why::Unintelligible(words(&error.to_string())),
        error => Why::Connection(words(&error.to_string())),
    })
}
