//! A process that a test started: read line by line, killed when the test is done with it, whatever the outcome.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or a terminal's screen.
    Out,
    /// Standard error.
    Err,
}

/// One running process. Dropping it kills it, and nothing else.
#[derive(Debug)]
pub struct Started {
    child: Child,
    lines: Receiver<(Stream, String)>,
    seen: Vec<String>,
    streams: Vec<Stream>,
}

impl Started {
    /// Starts the command with its stdout and stderr read by us; stdin is left as the command has it.
    pub fn start(command: &mut Command) -> Result<Self> {
        Self::start_shown(command, |_| {})
    }

    /// The same, and hands each line to `show` as well, when it comes.
    pub fn start_shown(command: &mut Command, show: fn(&str)) -> Result<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let (sender, lines) = channel();
        forward(Stream::Out, child.stdout.take(), sender.clone(), show);
        forward(Stream::Err, child.stderr.take(), sender, show);
        Ok(Self::new(child, lines))
    }

    /// Starts the command on a terminal of its own, all three of its files; the answer's second half is what a person
    /// types with. To be the terminal's foreground, the command is to be `setsid --ctty`.
    pub fn on_terminal(command: &mut Command) -> Result<(Self, File)> {
        let terminal = openpty(None, None).context("cannot make a terminal")?;
        let slave = || -> Result<OwnedFd> { Ok(terminal.slave.try_clone()?) };
        let child = command
            .stdin(slave()?)
            .stdout(slave()?)
            .stderr(slave()?)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        // The command holds copies of its own; while any is open the screen does not end.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let screen = File::from(terminal.master);
        let (sender, lines) = channel();
        forward(Stream::Out, Some(screen.try_clone()?), sender, |_| {});
        Ok((Self::new(child, lines), screen))
    }

    fn new(child: Child, lines: Receiver<(Stream, String)>) -> Self {
        Self {
            child,
            lines,
            seen: Vec::new(),
            streams: Vec::new(),
        }
    }

    fn see(&mut self, (stream, line): (Stream, String)) {
        self.streams.push(stream);
        self.seen.push(line);
    }

    /// The next line, of stdout or stderr, that contains `text`.
    pub fn wait_for(&mut self, text: &str, within: Duration) -> Result<String> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    let found = line.1.contains(text).then(|| line.1.clone());
                    self.see(line);
                    if let Some(line) = found {
                        return Ok(line);
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!(
                    "no line with `{text}` in {within:?}; there was:\n{}",
                    self.seen.join("\n")
                ),
                Err(RecvTimeoutError::Disconnected) => bail!(
                    "it ended without a line with `{text}`; there was:\n{}",
                    self.seen.join("\n")
                ),
            }
        }
    }

    /// Waits for the end of its output and of the process itself.
    pub fn finish(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.see(line),
                Err(RecvTimeoutError::Disconnected) => return Ok(self.child.wait()?),
                Err(RecvTimeoutError::Timeout) => bail!(
                    "still running after {within:?}; there was:\n{}",
                    self.seen.join("\n")
                ),
            }
        }
    }

    /// Every line so far.
    pub fn seen(&self) -> &[String] {
        &self.seen
    }

    /// The lines of one stream so far.
    pub fn said(&self, stream: Stream) -> impl Iterator<Item = &str> {
        let lines = self.streams.iter().zip(&self.seen);
        lines.filter_map(move |(from, line)| (*from == stream).then_some(line.as_str()))
    }

    /// What the demo guest said of `key`: the rest of the last line `demo: key=`.
    pub fn demo(&self, key: &str) -> Option<&str> {
        let prefix = format!("demo: {key}=");
        self.seen
            .iter()
            .rev()
            .find_map(|line| line.split_once(&prefix))
            .map(|(_, value)| value)
    }

    /// The process itself, for its pid and its stdin.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(
            Pid::from_raw(i32::try_from(self.child.id())?),
            signal,
        )?)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Not an error when it has ended: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(
    name: Stream,
    stream: Option<impl Read + Send + 'static>,
    lines: Sender<(Stream, String)>,
    show: fn(&str),
) {
    let Some(stream) = stream else { return };
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            show(&line);
            if lines.send((name, line)).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::{Started, Stream};

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn lines_are_found_and_the_status_is_known() {
        let mut shell = Started::start(
            Command::new("sh").args(["-c", "echo one; echo demo: address=10.0.2.2/24 >&2; exit 3"]),
        )
        .unwrap();
        shell.wait_for("address", LONG).unwrap();
        assert_eq!(shell.finish(LONG).unwrap().code(), Some(3));
        assert_eq!(shell.demo("address"), Some("10.0.2.2/24"));
        assert_eq!(shell.demo("mtu"), None);
        assert_eq!(shell.said(Stream::Out).collect::<Vec<_>>(), ["one"]);
    }

    #[test]
    fn a_terminal_is_one() {
        let script = "test -t 0 -a -t 1 -a -t 2 && read -r word && echo heard $word";
        let (mut shell, mut keys) =
            Started::on_terminal(Command::new("sh").args(["-c", script])).unwrap();
        std::io::Write::write_all(&mut keys, b"this\n").unwrap();
        shell.wait_for("heard this", LONG).unwrap();
        assert!(shell.finish(LONG).unwrap().success());
    }

    #[test]
    fn what_never_comes_is_an_error_that_shows_what_came() {
        let mut shell = Started::start(Command::new("sh").args(["-c", "echo one"])).unwrap();
        let error = shell.wait_for("two", LONG).unwrap_err().to_string();
        assert!(error.contains("`two`") && error.contains("one"), "{error}");
    }
}
