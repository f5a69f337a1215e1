//! Standard error that nobody may read. A pipe that is full would stop whoever writes to it, PID 1 and the guest's DHCP
//! among them: what does not fit is dropped, and counted.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing_subscriber::fmt::MakeWriter;

/// A pipe that can be polled for writing has room for so much (`PIPE_BUF`, pipe(7)).
const ROOM: usize = 4096;

/// Makes a writer for each line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unread;

/// Lines that did not fit since the last one that did.
static DROPPED: AtomicU64 = AtomicU64::new(0);

impl<'a> MakeWriter<'a> for Unread {
    type Writer = Patient<io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        Patient(io::stderr())
    }
}

/// Writes a line where that does not wait. The kernel says so of a moment ago, which another writer may have used since:
/// a file of our own that does not block would be sure, but cannot be had of every pipe (`/proc/self/fd/2` is opened with
/// the pipe's permissions).
#[derive(Debug)]
pub(super) struct Patient<W>(W);

impl<W: Write + AsFd> Patient<W> {
    fn has_room(&self) -> bool {
        let mut ready = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
        // What cannot be polled is no pipe.
        poll(&mut ready, PollTimeout::ZERO).unwrap_or(1) > 0
    }

    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let dropped = DROPPED.load(Ordering::Relaxed);
        if dropped > 0 && self.has_room() {
            DROPPED.fetch_sub(dropped, Ordering::Relaxed);
            writeln!(
                self.0,
                "warning: nobody read stderr: {dropped} lines are lost"
            )?;
        }
        for part in line.chunks(ROOM) {
            if !self.has_room() {
                DROPPED.fetch_add(1, Ordering::Relaxed);
                break;
            }
            self.0.write_all(part)?;
        }
        Ok(())
    }
}

impl<W: Write + AsFd> Write for Patient<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_line(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn a_full_pipe_stops_nobody_and_what_is_lost_is_told() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let mut log = Patient(writer);
        let line = format!("{}\n", "x".repeat(99));
        // Ten times what a pipe holds.
        for _ in 0..6554 {
            log.write_all(line.as_bytes()).expect("it does not wait");
        }
        let mut lines = BufReader::new(reader).lines();
        let mut next = || lines.next().expect("a line").expect("text");
        let read: usize = 300;
        for _ in 0..read {
            assert_eq!(next().len(), 99);
        }
        log.write_all(b"again\n").expect("there is room");
        drop(log);
        let rest: Vec<String> = std::iter::from_fn(|| lines.next())
            .map(|line| line.expect("text"))
            .collect();
        let told = rest
            .iter()
            .find_map(|line| line.strip_prefix("warning: nobody read stderr: "));
        let lost: usize = told
            .and_then(|told| told.split(' ').next())
            .expect("it is told")
            .parse()
            .expect("a number");
        let whole = rest.iter().filter(|line| line.len() == 99).count();
        assert_eq!(read + whole + lost, 6554);
        assert_eq!(rest.last().map(String::as_str), Some("again"));
    }
}
