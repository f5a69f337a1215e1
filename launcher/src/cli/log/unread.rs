//! Standard error that several processes write to and nobody may read. A pipe that is full would stop whoever writes to
//! it, PID 1 and the guest's DHCP among them: what does not fit is dropped, and counted. Each line is one write that a pipe
//! takes whole (`PIPE_BUF`, pipe(7)), so that none stands in the middle of another's.

use std::borrow::Cow;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Map, Value};
use tracing_subscriber::fmt::MakeWriter;

/// A pipe that can be polled for writing has room for so much, and takes so much at once (`PIPE_BUF`, pipe(7)).
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
            let told = format!("warning: nobody read stderr: {dropped} lines are lost\n");
            self.0.write_all(told.as_bytes())?;
        }
        if self.has_room() {
            self.0.write_all(&fitted(line))?;
        } else {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Stands where something was cut off.
const CUT: &str = " [cut]";

/// The line, with the end of its longest text cut off where it is too long; what is JSON stays so.
fn fitted(line: &[u8]) -> Cow<'_, [u8]> {
    if line.len() <= ROOM {
        return Cow::Borrowed(line);
    }
    if let Ok(mut event) = serde_json::from_slice::<Map<String, Value>>(line) {
        let mut text = written(&event);
        while text.len() > ROOM {
            let over = text.len() - ROOM;
            let longest = event.values_mut().max_by_key(|value| match value {
                Value::String(text) => text.len(),
                _ => 0,
            });
            match longest {
                // What is escaped is longer than it looks: another round may be needed.
                Some(Value::String(longest)) if longest.len() > CUT.len() => {
                    let keep = longest
                        .len()
                        .saturating_sub((over + 2 * CUT.len()).max(ROOM / 8));
                    longest.truncate(longest.floor_char_boundary(keep));
                    longest.push_str(CUT);
                }
                // An event of ours has no such many words.
                _ => break,
            }
            text = written(&event);
        }
        if text.len() <= ROOM {
            return Cow::Owned(text);
        }
    }
    let text = String::from_utf8_lossy(line);
    let keep = text.floor_char_boundary(ROOM - CUT.len() - 1);
    Cow::Owned(format!("{}{CUT}\n", &text[..keep]).into_bytes())
}

fn written(event: &Map<String, Value>) -> Vec<u8> {
    let mut text = serde_json::to_vec(event).unwrap_or_default();
    text.push(b'\n');
    text
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

    /// Four writers, each with the same pipe, as PID 1, supervisor and outer process have.
    #[test]
    fn lines_of_several_writers_stay_whole() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let writers = ["a", "b", "c", "d"].map(|letter| {
            let mut log = Patient(writer.try_clone().expect("another end"));
            std::thread::spawn(move || {
                for number in 0..2000_usize {
                    // Of a few letters, of a pipe's page, of more than two.
                    let middle = letter.repeat([3, 4085, 90, 10_000][number % 4]);
                    let line = format!("<{number} {middle}>\n");
                    log.write_all(line.as_bytes()).expect("it does not wait");
                }
            })
        });
        drop(writer);
        let mut whole = 0;
        for line in BufReader::new(reader).lines() {
            let line = line.expect("text");
            if line.starts_with("warning: nobody read stderr: ") {
                continue;
            }
            assert!(
                line.len() < ROOM && line.starts_with('<'),
                "{} {line:.50}",
                line.len()
            );
            let (_, rest) = line.split_once(' ').expect("a number");
            let rest = rest.strip_suffix('>').or_else(|| rest.strip_suffix(CUT));
            let rest = rest.unwrap_or_else(|| panic!("no end: {line:.50}"));
            let letter = rest.chars().next().expect("a letter");
            assert!(rest.chars().all(|other| other == letter), "{line:.50}");
            whole += 1;
        }
        assert!(whole > 0);
        for writer in writers {
            writer.join().expect("no panic");
        }
    }

    #[test]
    fn what_is_json_stays_json_when_it_is_cut() {
        let long = "\u{1}ü\"".repeat(3000);
        let event =
            serde_json::json!({"event": "x", "exit_code": 5, "message": long, "error": long});
        let line = format!("{event}\n");
        let cut = fitted(line.as_bytes());
        assert!(cut.len() <= ROOM && cut.ends_with(b"\n"), "{}", cut.len());
        let read: Value = serde_json::from_slice(&cut).expect("JSON");
        assert_eq!(
            (&read["event"], &read["exit_code"]),
            (&"x".into(), &5.into())
        );
        for key in ["message", "error"] {
            assert!(read[key].as_str().expect("text").ends_with(CUT), "{read}");
        }
        let text = format!("{}\n", "ü".repeat(4000));
        let cut = fitted(text.as_bytes());
        let cut = std::str::from_utf8(&cut).expect("whole letters");
        assert!(
            cut.len() <= ROOM && cut.ends_with(" [cut]\n"),
            "{}",
            cut.len()
        );
        assert!(matches!(fitted(b"short\n"), Cow::Borrowed(b"short\n")));
    }
}
