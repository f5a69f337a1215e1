//! Log lines by names that stay, a few of a kind at a time, so that a guest cannot fill the log. Nothing of the guest's
//! own text is written, only addresses and numbers.

use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::time::Duration;

use tracing::{debug, warn};

use super::budget::LogBudget;
use super::error::{Service, ServiceError};
use super::intake::Trouble;

/// The events that every server has.
#[derive(Debug, Clone, Copy)]
pub(in crate::net) struct Names {
    pub(in crate::net) flood: &'static str,
    pub(in crate::net) ignored: &'static str,
    pub(in crate::net) receive_failed: &'static str,
    pub(in crate::net) send_failed: &'static str,
}

/// What one server reports.
pub(in crate::net) struct Report {
    pub(in crate::net) link: String,
    service: Service,
    names: Names,
    /// By the event's name, of which there are a dozen.
    budgets: HashMap<&'static str, LogBudget>,
}

impl Report {
    pub(in crate::net) fn new(service: Service, link: &str, names: Names) -> Self {
        Self {
            link: link.to_owned(),
            service,
            names,
            budgets: HashMap::new(),
        }
    }

    /// Its socket cannot be read any more.
    pub(in crate::net) fn gone(&self, source: io::Error) -> ServiceError {
        ServiceError::Receive {
            service: self.service,
            link: self.link.clone(),
            source,
        }
    }

    /// How many lines of this name were left out, when this one may be written.
    pub(in crate::net) fn line(&mut self, event: &'static str, now: Duration) -> Option<u64> {
        self.budgets.entry(event).or_default().line(now)
    }

    pub(in crate::net) fn trouble(&mut self, now: Duration, trouble: &Trouble) {
        let event = match trouble {
            Trouble::Flood => self.names.flood,
            Trouble::Receive(_) => self.names.receive_failed,
        };
        let Some(left_out) = self.line(event, now) else {
            return;
        };
        let (service, link) = (self.service, &self.link);
        match trouble {
            Trouble::Flood => warn!(
                event,
                link, left_out, "{service}: more requests on {link} than are answered"
            ),
            Trouble::Receive(error) => warn!(
                event, link, %error, left_out,
                "{service}: cannot read on {link}, trying on: {error}"
            ),
        }
    }

    pub(in crate::net) fn ignored(&mut self, now: Duration, reason: &impl Display) {
        let event = self.names.ignored;
        if let Some(left_out) = self.line(event, now) {
            let (service, link) = (self.service, &self.link);
            debug!(event, link, %reason, left_out, "{service}: ignored on {link}: {reason}");
        }
    }

    pub(in crate::net) fn send_failed(
        &mut self,
        now: Duration,
        to: &impl Display,
        error: &io::Error,
    ) {
        let event = self.names.send_failed;
        if let Some(left_out) = self.line(event, now) {
            let (service, link) = (self.service, &self.link);
            warn!(
                event, link, %to, %error, left_out,
                "{service}: no reply to {to} on {link}: {error}"
            );
        }
    }
}
