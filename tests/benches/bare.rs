//! A QEMU without a launcher, with the very same arguments and files.

use std::io::{BufRead, stdin};
use std::os::fd::OwnedFd;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::Result;
use camino::Utf8Path;
use launcher::apply::files;
use launcher::monitor::spawn::spawn;
use launcher::net::setup::{Taps, open_taps};
use launcher::plan::LaunchPlan;
use launcher::qemu::spawn_request;
use launcher::storage::prepare::{Prepared, prepare};
use qmp::{Options, Session};
use serde_json::json;

use crate::sample::ms;

/// Any answer.
pub(crate) const ANSWER: Duration = Duration::from_secs(120);

/// A running one.
pub(crate) struct Bare {
    /// From fork to `cont`'s answer; to the first answer where the guest is left paused.
    pub(crate) ms: f64,
    /// Its monitor.
    pub(crate) session: Session,
    pub(crate) child: Child,
}

/// Everything that a bare QEMU needs, made before the clock runs.
pub(crate) struct Ready<'a> {
    plan: &'a LaunchPlan,
    files: Vec<OwnedFd>,
    _images: Prepared,
    _taps: Taps,
}

impl<'a> Ready<'a> {
    pub(crate) fn make(plan: &'a LaunchPlan) -> Result<Self> {
        let images = prepare(&plan.storage)?;
        let taps = open_taps(&plan.network)?;
        Ok(Self {
            plan,
            files: files::open(plan, &taps)?,
            _images: images,
            _taps: taps,
        })
    }

    /// Starts it, in the environment of ours and with `env` more.
    pub(crate) async fn start(self, env: &[(&str, &str)]) -> Result<Bare> {
        let plan = self.plan;
        let (child, started) = self.spawn(env)?;
        let session = greeted(plan).await?;
        let last = match plan.lifecycle.start_paused {
            true => "query-status",
            false => "cont",
        };
        session.execute_raw(last, json!({}), ANSWER).await?;
        Ok(Bare {
            ms: ms(started),
            session,
            child,
        })
    }

    /// Starts it and leaves its monitor alone.
    pub(crate) fn spawn(self, env: &[(&str, &str)]) -> Result<(Child, Instant)> {
        let mut request = spawn_request(self.plan);
        let more = env
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        request.env.extend(more);
        let started = Instant::now();
        Ok((spawn(&request, self.files)?, started))
    }
}

async fn greeted(plan: &LaunchPlan) -> Result<Session> {
    let options = Options {
        greeting: ANSWER,
        ..Options::default()
    };
    Ok(Session::connect(plan.paths.qmp(plan.uid).as_std_path(), options).await?)
}

impl Bare {
    pub(crate) async fn start(plan: &LaunchPlan) -> Result<Self> {
        Ready::make(plan)?.start(&[]).await
    }

    /// From `quit` to the process gone, in ms.
    pub(crate) async fn stop(mut self) -> Result<f64> {
        let started = Instant::now();
        // It may end before it answers.
        let _answer = self.session.execute_raw("quit", json!({}), ANSWER).await;
        self.child.wait()?;
        Ok(ms(started))
    }
}

/// `bench --bare PLAN`: as PID 1 of a pod, where many start at once. Says when it is ready, waits for the word, says how
/// long it took, and quits at the next word.
#[expect(clippy::print_stdout, reason = "the bench reads it")]
pub(crate) async fn serve(plan: &Utf8Path) -> Result<()> {
    let plan: LaunchPlan = serde_json::from_str(&std::fs::read_to_string(plan)?)?;
    let mut words = stdin().lock().lines();
    let ready = Ready::make(&plan)?;
    println!("ready");
    words.next().transpose()?;
    let bare = ready.start(&[]).await?;
    println!("{}", bare.ms);
    words.next().transpose()?;
    bare.stop().await?;
    Ok(())
}
