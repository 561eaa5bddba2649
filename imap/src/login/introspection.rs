//! Who holds a token, asked of whoever gave it out (OAuth 2.0 Token Introspection, RFC 7662).
//!
//! # Invariants
//! 1. A token crosses the network encrypted, or does not leave this machine.
//! 2. A positive answer is kept for the configured time, and never longer than the token is valid;
//!    a negative one is not kept.
//! 3. At most [`QUESTIONS_MAX`] questions are open at a time, each within its timeout and
//!    [`ANSWER_BYTES_MAX`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::seal::Secret;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use zeroize::Zeroizing;

use super::http::{ANSWER_BYTES_MAX, HttpAnswer, form_encoded, parse, post};
use crate::stream::ByteStream;

const QUESTIONS_MAX: usize = 16;
/// Answers kept; some hundred bytes each.
const KEPT_MAX: usize = 10_000;

/// Where tokens are checked, and how.
pub struct TokenOptions {
    /// `https://host[:port]/path`; `http://` to this machine alone.
    pub endpoint: String,
    /// What the endpoint knows us by.
    pub client_id: String,
    /// What we prove it with.
    pub client_secret: Secret,
    /// The field of the answer that holds the account's name, such as `username` or `email`.
    pub account_claim: String,
    /// A scope that the token must have; empty for none.
    pub scope: String,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long a positive answer is kept.
    pub cache_time: Duration,
    /// Whom we trust to be the endpoint; for `https://`.
    pub tls: Option<Arc<ClientConfig>>,
}

/// Options that cannot work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenOptionsError {
    /// Neither `https://` nor `http://`.
    #[error("the endpoint is not an address such as https://login.example.org/introspect")]
    NoAddress,
    /// `http://` to another machine.
    #[error("tokens would cross the network unencrypted; use https:// or a loopback address")]
    Unencrypted,
}

/// Asks about tokens.
pub(crate) struct Introspection {
    options: TokenOptions,
    endpoint: Endpoint,
    questions: Semaphore,
    /// By the hash of the token, which is not kept itself.
    kept: Mutex<HashMap<[u8; 32], Kept>>,
}

struct Kept {
    holder: String,
    until: Instant,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Endpoint {
    encrypted: bool,
    /// As in the address: what the Host field says.
    authority: String,
    host: String,
    port: u16,
    path: String,
}

/// The endpoint gave no answer, which is logged.
pub(super) struct NoAnswer;

impl Introspection {
    pub(crate) fn new(options: TokenOptions) -> Result<Introspection, TokenOptionsError> {
        let endpoint = endpoint(&options.endpoint)?;
        let questions = Semaphore::new(QUESTIONS_MAX);
        Ok(Introspection { options, endpoint, questions, kept: Mutex::default() })
    }

    /// The name of the account that a token stands for; `None` if it is not valid.
    pub(super) async fn holder(&self, token: &Secret) -> Result<Option<String>, NoAnswer> {
        let now = Instant::now();
        if let Some(kept) = self.kept.lock().get(&hash_of(token))
            && kept.until > now
        {
            return Ok(Some(kept.holder.clone()));
        }
        let asked = tokio::time::timeout(self.options.timeout, self.ask(token)).await;
        let answer = match asked {
            Ok(Ok(answer)) if answer.status == 200 => answer,
            Ok(Ok(HttpAnswer { status, .. })) => {
                return Err(no_answer(&format!("status {status}")));
            }
            Ok(Err(error)) => return Err(no_answer(&error.to_string())),
            Err(_) => return Err(no_answer("it takes too long")),
        };
        let unix_now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let Ok(answer) = serde_json::from_slice(&answer.body) else {
            return Err(no_answer("its answer is not JSON"));
        };
        let Some((holder, valid_for)) = self.judge(&answer, unix_now) else { return Ok(None) };
        let until = now + valid_for.unwrap_or(Duration::MAX).min(self.options.cache_time);
        self.keep(token, Kept { holder: holder.clone(), until });
        Ok(Some(holder))
    }

    /// Holder and remaining life of a token that is valid (RFC 7662 section 2.2).
    fn judge(
        &self,
        answer: &serde_json::Value,
        now: Duration,
    ) -> Option<(String, Option<Duration>)> {
        if answer.get("active")?.as_bool() != Some(true) {
            return None;
        }
        let wanted = self.options.scope.as_str();
        if !wanted.is_empty() {
            let scopes = answer.get("scope")?.as_str()?;
            scopes.split(' ').find(|scope| *scope == wanted)?;
        }
        let valid_for = match answer.get("exp") {
            None => None,
            Some(end) => {
                Some(Duration::from_secs(end.as_u64()?).checked_sub(now).filter(|d| !d.is_zero())?)
            }
        };
        let holder = answer.get(&self.options.account_claim)?.as_str()?;
        Some((holder.to_owned(), valid_for))
    }

    fn keep(&self, token: &Secret, answer: Kept) {
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT_MAX {
            let now = Instant::now();
            kept.retain(|_, kept| kept.until > now);
            if kept.len() >= KEPT_MAX {
                kept.clear();
            }
        }
        kept.insert(hash_of(token), answer);
    }

    async fn ask(&self, token: &Secret) -> std::io::Result<HttpAnswer> {
        let _question = self.questions.acquire().await.map_err(std::io::Error::other)?;
        let Endpoint { encrypted, host, port, .. } = &self.endpoint;
        let tcp = TcpStream::connect((host.as_str(), *port)).await?;
        if !*encrypted {
            return self.converse(tcp, token).await;
        }
        let name = ServerName::try_from(host.clone()).map_err(std::io::Error::other)?;
        let Some(tls) = self.options.tls.clone() else {
            return Err(std::io::Error::other("no authority is known that certifies it"));
        };
        let connector = TlsConnector::from(tls);
        self.converse(connector.connect(name, tcp).await?, token).await
    }

    async fn converse(
        &self,
        mut stream: impl ByteStream,
        token: &Secret,
    ) -> std::io::Result<HttpAnswer> {
        let (id, secret) = (&self.options.client_id, self.options.client_secret.expose());
        // RFC 6749 section 2.3.1: both are encoded as a form first.
        let pair = Zeroizing::new(format!("{}:{}", form_encoded(id), form_encoded(secret)));
        let authorization = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        let token = form_encoded(token.expose());
        let form = Zeroizing::new(format!("token={token}&token_type_hint=access_token"));
        let Endpoint { authority, path, .. } = &self.endpoint;
        let request = Zeroizing::new(post(authority, path, &authorization, &form));
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut bytes = Vec::new();
        loop {
            // An end without a farewell is an end; what is missing then shows in the answer.
            let ended = match stream.read_buf(&mut bytes).await {
                Ok(count) => count == 0,
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => true,
                Err(error) => return Err(error),
            };
            match parse(&bytes, ended, ANSWER_BYTES_MAX) {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) if bytes.len() <= ANSWER_BYTES_MAX => {}
                Ok(None) => return Err(std::io::Error::other("its answer is too long")),
                Err(why) => return Err(std::io::Error::other(why.0)),
            }
        }
    }
}

fn hash_of(token: &Secret) -> [u8; 32] {
    *blake3::hash(token.expose().as_bytes()).as_bytes()
}

fn no_answer(why: &str) -> NoAnswer {
    tracing::warn!(why, "the token endpoint gives no answer");
    NoAnswer
}

/// `https://host[:port]/path`
fn endpoint(address: &str) -> Result<Endpoint, TokenOptionsError> {
    let secure = address.strip_prefix("https://").map(|rest| (rest, true, 443));
    let found = secure.or_else(|| address.strip_prefix("http://").map(|rest| (rest, false, 80)));
    let (rest, encrypted, usual_port) = found.ok_or(TokenOptionsError::NoAddress)?;
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let is_clean = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_clean(rest) || authority.contains('@') {
        return Err(TokenOptionsError::NoAddress);
    }
    let has_port = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    let (host, port) = match has_port {
        Some((host, port)) => (host, port.parse().map_err(|_| TokenOptionsError::NoAddress)?),
        None => (authority, usual_port),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.is_empty() {
        return Err(TokenOptionsError::NoAddress);
    }
    let is_here = host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    if !encrypted && !is_here {
        return Err(TokenOptionsError::Unencrypted);
    }
    Ok(Endpoint { encrypted, authority: authority.to_owned(), host, port, path: path.to_owned() })
}

#[cfg(test)]
#[path = "introspection_tests.rs"]
mod tests;
