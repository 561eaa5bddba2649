//! The TLS handshake of a connection, at once or after STARTTLS or STLS.

use std::net::SocketAddr;

use tokio_rustls::TlsAcceptor;

use super::{Ended, Wire};
use crate::config::Config;
use crate::login::TlsFacts;

impl Wire {
    /// Wraps the stream into TLS. All bytes that came in before are thrown away, so that a command
    /// that somebody put before the handshake is not carried out after it (RFC 9051 section 11.1).
    pub(crate) async fn handshake(
        &mut self,
        config: &Config,
        peer: SocketAddr,
    ) -> Result<TlsFacts, Ended> {
        let Some(tls) = config.tls.clone() else {
            tracing::error!("a TLS port is open, but there is no certificate");
            return Err(Ended::Closed);
        };
        // In a box, because what it takes would else be taken as long as the connection lives.
        let accepting = Box::pin(TlsAcceptor::from(tls).accept(self.take_stream()));
        match tokio::time::timeout(config.limits.login_timeout, accepting).await {
            Ok(Ok(stream)) => {
                let facts = TlsFacts::of(stream.get_ref().1);
                self.put_stream(Box::new(stream));
                Ok(facts)
            }
            Ok(Err(error)) => {
                tracing::info!(rip = %peer.ip(), %error, "TLS handshake failed");
                Err(Ended::Closed)
            }
            Err(_) => {
                tracing::info!(rip = %peer.ip(), "TLS handshake took too long");
                Err(Ended::Closed)
            }
        }
    }
}
