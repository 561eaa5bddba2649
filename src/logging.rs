//! The log: lines on standard error, where systemd or a person picks them up.

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;
use crate::failure::{Exit, Failure};

/// The variable that overrides the level, in the syntax of `log.level`.
pub(crate) const LEVEL_VARIABLE: &str = "PILLARBOX_LOG";

/// Checks a level such as `info` or `info,imap=debug`.
pub(crate) fn level(text: &str) -> Result<EnvFilter, Failure> {
    EnvFilter::try_new(text).map_err(|why| {
        Failure::new(
            Exit::Configuration,
            format!("log.level {text:?} is not understood ({why}); try \"info\""),
        )
    })
}

/// Starts logging for the process; a second call changes nothing.
pub(crate) fn start(level_text: &str, format: LogFormat) -> Result<(), Failure> {
    let from_environment = std::env::var(LEVEL_VARIABLE).ok();
    let filter = level(from_environment.as_deref().unwrap_or(level_text))?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(
            std::io::IsTerminal::is_terminal(&std::io::stderr()) && format == LogFormat::Text,
        );
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    drop(started);
    Ok(())
}
