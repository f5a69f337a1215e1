//! How long nobody answers between two supervisors: people on the control socket, the guest on port 67.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tests::dhcp_client::Client;

const ANSWER: Duration = Duration::from_secs(30);

/// From a question that is asked of nobody to its answer.
#[derive(Default)]
pub(crate) struct Gaps {
    control: Vec<Duration>,
    dhcp: Vec<Duration>,
    takeover: Vec<Duration>,
}

impl Gaps {
    /// The supervisor has just been killed: asks both, and waits for their answers.
    pub(crate) fn measure(&mut self, control: UnixStream, client: &mut Client) -> Result<()> {
        let asked = Instant::now();
        client.discover()?;
        let (control, dhcp) = std::thread::scope(|scope| {
            let greeted = scope.spawn(move || -> Result<Duration> {
                control.set_read_timeout(Some(ANSWER))?;
                let mut greeting = String::new();
                BufReader::new(control).read_line(&mut greeting)?;
                ensure!(
                    greeting.contains("QMP"),
                    "the control socket said `{greeting}`"
                );
                Ok(asked.elapsed())
            });
            let dhcp = client.offered(ANSWER).map(|()| asked.elapsed());
            (greeted.join().expect("it does not panic"), dhcp)
        });
        self.control.push(control?);
        self.dhcp.push(dhcp?);
        Ok(())
    }

    /// The supervisors' own word, from their start to QEMU in hand.
    pub(crate) fn told(&mut self, lines: &[String]) {
        let told = lines.iter().filter(|line| line.contains("QEMU is in hand"));
        self.takeover.extend(told.filter_map(|line| {
            let (_, rest) = line.rsplit_once('(')?;
            let millis: f64 = rest.strip_suffix(" ms)")?.parse().ok()?;
            Some(Duration::from_secs_f64(millis / 1000.0))
        }));
    }

    /// For people.
    #[expect(clippy::print_stdout, reason = "what a long run is read for")]
    pub(crate) fn report(mut self) {
        for (what, gaps) in [
            ("control: from connect to greeting", &mut self.control),
            ("DHCP: from DISCOVER to OFFER", &mut self.dhcp),
            ("takeover: from start to QEMU in hand", &mut self.takeover),
        ] {
            gaps.sort();
            println!(
                "{what}: {} times, median {:?}, longest {:?}",
                gaps.len(),
                gaps.get(gaps.len() / 2).copied().unwrap_or_default(),
                gaps.last().copied().unwrap_or_default()
            );
        }
    }
}
