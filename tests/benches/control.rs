//! Round trips over one connection: raw QMP, and through the supervisor's socket.

use std::time::{Duration, Instant};

use anyhow::Result;
use camino::Utf8PathBuf;
use qmp::{Options, Session};
use serde_json::json;

use crate::launch::{Bare, SHAPES, guest, planned, program, vmi};
use crate::pod::Pod;
use crate::report::Report;

const CALLS: usize = 1000;
const ANSWER: Duration = Duration::from_secs(20);

/// `query-status`, and `stop` with `cont`, in turns.
pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let text = vmi(&SHAPES[0])?;
    let directory = tempfile::tempdir()?;
    let file = Utf8PathBuf::try_from(directory.path().join("vmi.json"))?;
    std::fs::write(&file, &text)?;
    let bare = Bare::start(&planned(&text).await?).await?;
    let mut pod = Pod::start(&program()?, &file, &guest())?;
    pod.event("guest-running")?;
    let path = pod.root()?.join("run/kubevirt-private/control.sock");
    let options = || Options {
        enable: vec![launcher::control::ALLOW_WRITE.to_owned()],
        ..Options::default()
    };
    // The socket comes a moment after the guest.
    let mut ours = Session::connect(path.as_std_path(), options()).await;
    for _ in 0..100 {
        if ours.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        ours = Session::connect(path.as_std_path(), options()).await;
    }
    let ours = ours?;
    let (mut raw, mut through) = (Vec::new(), Vec::new());
    let (mut raw_pause, mut through_pause) = (Vec::new(), Vec::new());
    for call in 0..CALLS {
        raw.push(timed(&bare.session, &["query-status"]).await?);
        through.push(timed(&ours, &["query-status"]).await?);
        if call % 10 == 0 {
            raw_pause.push(timed(&bare.session, &["stop", "cont"]).await?);
            through_pause.push(timed(&ours, &["stop", "cont"]).await?);
        }
    }
    report.add(
        "status",
        "µs",
        &[("raw QMP", raw), ("through the supervisor", through)],
    );
    report.add(
        "pause and resume",
        "µs",
        &[
            ("raw QMP", raw_pause),
            ("through the supervisor", through_pause),
        ],
    );
    drop(ours);
    pod.end()?;
    bare.stop().await?;
    Ok(())
}

async fn timed(session: &Session, commands: &[&str]) -> Result<f64> {
    let started = Instant::now();
    for command in commands {
        session.execute_raw(command, json!({}), ANSWER).await?;
    }
    Ok(started.elapsed().as_secs_f64() * 1e6)
}
