//! The guest counts aloud, on its console and over one TCP connection to a server outside.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use tests::counting::{counted, in_order, number};
use tests::run::{BOOT, Run};
use tests::world::World;

/// What was heard so far.
pub(crate) struct Aloud {
    network: Receiver<u64>,
    last: u64,
}

impl Aloud {
    /// Has the guest's shell begin, five numbers a second.
    pub(crate) fn begin(run: &mut Run, world: &World) -> Result<Self> {
        run.shell()?;
        let server = world.server()?;
        let outside = server.local_addr()?;
        let mut console = run.keyboard()?;
        let count = "(i=0; while :; do i=$((i+1)); echo count=$i=; usleep 200000; done)";
        let (address, port) = (outside.ip(), outside.port());
        writeln!(console, "{count} | tee /dev/console | nc {address} {port}")?;
        let network = listen(server);
        run.wait_for("count=1=", BOOT)?;
        Ok(Self { network, last: 0 })
    }

    /// Every number is one more than the one before, on the console and on the network: the guest never began anew, and
    /// nothing that it said was lost. How far it came on the network.
    pub(crate) fn check(&mut self, run: &Run) -> Result<u64> {
        counted(run).context("on the console")?;
        self.last = in_order(self.last, self.network.try_iter()).context("on the network")?;
        Ok(self.last)
    }

    /// It still counts: some more numbers come on both ways.
    pub(crate) fn goes_on(&mut self, run: &mut Run) -> Result<u64> {
        let before = self.check(run)?;
        run.wait_for(&format!("count={}=", before + 3), BOOT)?;
        while self.last < before + 3 {
            let number = self.network.recv_timeout(BOOT);
            let number = number.context("the guest's connection says no more")?;
            self.last = in_order(self.last, [number])?;
        }
        self.check(run)
    }
}

fn listen(server: TcpListener) -> Receiver<u64> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let Ok((stream, _)) = server.accept() else {
            return;
        };
        let _no_deadline = stream.set_read_timeout(None::<Duration>);
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            let heard = number(&line).is_none_or(|number| sender.send(number).is_ok());
            if !heard {
                return;
            }
        }
    });
    receiver
}
