//! The least client that QMP can have: a blocking socket, a line out, lines in until the reply. Whatever stands at the other
//! end is measured with it alike.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Result, ensure};
use camino::Utf8Path;

/// A connection.
pub(crate) struct Wire {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
    line: Vec<u8>,
    /// Events that came between replies.
    pub(crate) events: u64,
}

impl Wire {
    /// Greeted and negotiated, with `capability` if there is one.
    pub(crate) fn connect(path: &Utf8Path, capability: Option<&str>) -> Result<Self> {
        let stream = UnixStream::connect(path)?;
        let mut wire = Self {
            lines: BufReader::new(stream.try_clone()?),
            stream,
            line: Vec::new(),
            events: 0,
        };
        wire.read_line()?;
        let enable = capability
            .map(|name| format!("\"{name}\""))
            .unwrap_or_default();
        wire.send(&format!(
            "{{\"execute\":\"qmp_capabilities\",\"arguments\":{{\"enable\":[{enable}]}}}}\n"
        ))?;
        wire.reply()?;
        Ok(wire)
    }

    /// One command without arguments, and its reply.
    pub(crate) fn call(&mut self, command: &str) -> Result<()> {
        self.send(&format!("{{\"execute\":\"{command}\",\"id\":1}}\n"))?;
        self.reply()
    }

    /// Bytes as they are.
    pub(crate) fn send(&mut self, text: &str) -> Result<()> {
        Ok(self.stream.write_all(text.as_bytes())?)
    }

    /// Another handle to write to.
    pub(crate) fn writer(&self) -> Result<UnixStream> {
        Ok(self.stream.try_clone()?)
    }

    /// The next reply; events before it are counted.
    pub(crate) fn reply(&mut self) -> Result<()> {
        loop {
            self.read_line()?;
            // What is looked for stands in front, or behind the id.
            if self.has(b"\"event\"") {
                self.events += 1;
            } else {
                let line = String::from_utf8_lossy(&self.line);
                ensure!(self.has(b"\"return\""), "refused: {line}");
                return Ok(());
            }
        }
    }

    /// Events up to so many in all.
    pub(crate) fn events_until(&mut self, count: u64) -> Result<()> {
        while self.events < count {
            self.read_line()?;
            self.events += u64::from(self.has(b"\"event\""));
        }
        Ok(())
    }

    fn read_line(&mut self) -> Result<()> {
        self.line.clear();
        let read = self.lines.read_until(b'\n', &mut self.line)?;
        ensure!(read > 0, "the other end closed the connection");
        Ok(())
    }

    fn has(&self, word: &[u8]) -> bool {
        self.line.windows(word.len()).any(|part| part == word)
    }
}
