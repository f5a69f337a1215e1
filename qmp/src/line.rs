//! Lines out of a byte stream, however it is cut, and never more than the limit in memory.

/// How much of an overlong line's end is kept: enough to find the id of the reply it was.
const TAIL: usize = 96;

/// Cuts a byte stream into lines.
#[derive(Debug)]
pub struct Lines {
    buffer: Vec<u8>,
    limit: usize,
    /// Bytes thrown away of a line that is over the limit; its tail is in `buffer`.
    overlong: Option<u64>,
}

/// One line, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// All of it. Never empty.
    Whole(Vec<u8>),
    /// It was over the limit, and its bytes are gone.
    TooLong {
        /// How long it was.
        bytes: u64,
        /// Its last bytes, at most 96.
        tail: Vec<u8>,
    },
}

impl Lines {
    /// A reader that holds at most `limit` bytes of a line.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            limit: limit.max(TAIL),
            overlong: None,
        }
    }

    /// Takes bytes off `chunk` until a line is whole, and answers it. `None`: all of `chunk` was taken.
    pub fn feed(&mut self, chunk: &mut &[u8]) -> Option<Line> {
        while let Some(at) = chunk.iter().position(|byte| *byte == b'\n') {
            let (head, rest) = chunk.split_at(at);
            self.take(head);
            *chunk = &rest[1..];
            if let Some(line) = self.finish() {
                return Some(line);
            }
        }
        self.take(chunk);
        *chunk = &[];
        None
    }

    /// Bytes of the line that has begun and not ended.
    pub fn partial(&self) -> u64 {
        self.overlong.unwrap_or(self.buffer.len() as u64)
    }

    fn take(&mut self, bytes: &[u8]) {
        if let Some(count) = &mut self.overlong {
            *count += bytes.len() as u64;
        } else if self.buffer.len() + bytes.len() > self.limit {
            self.overlong = Some((self.buffer.len() + bytes.len()) as u64);
        } else {
            self.buffer.extend_from_slice(bytes);
            return;
        }
        // Only the tail stays, in a buffer of its own size.
        let new = &bytes[bytes.len().saturating_sub(TAIL)..];
        let old = &self.buffer[self.buffer.len().saturating_sub(TAIL - new.len())..];
        self.buffer = [old, new].concat();
    }

    fn finish(&mut self) -> Option<Line> {
        let mut bytes = std::mem::take(&mut self.buffer);
        if let Some(count) = self.overlong.take() {
            return Some(Line::TooLong {
                bytes: count,
                tail: bytes,
            });
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        (!bytes.is_empty()).then_some(Line::Whole(bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the reader should answer, computed from the whole stream at once.
    fn model(stream: &[u8], limit: usize) -> Vec<Line> {
        let mut pieces: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
        pieces.pop();
        pieces
            .into_iter()
            .filter_map(|piece| {
                if piece.len() > limit {
                    let tail = piece[piece.len() - TAIL..].to_vec();
                    let bytes = piece.len() as u64;
                    return Some(Line::TooLong { bytes, tail });
                }
                let piece = piece.strip_suffix(b"\r").unwrap_or(piece);
                (!piece.is_empty()).then(|| Line::Whole(piece.to_vec()))
            })
            .collect()
    }

    fn read(stream: &[u8], limit: usize, cuts: &[usize]) -> Vec<Line> {
        let mut lines = Lines::new(limit);
        let mut seen = Vec::new();
        let mut rest = stream;
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let size = (*cuts.next().expect("never empty")).min(rest.len());
            let (mut chunk, after) = rest.split_at(size);
            while let Some(line) = lines.feed(&mut chunk) {
                seen.push(line);
            }
            assert!(lines.buffer.len() <= limit);
            rest = after;
        }
        seen
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_lines(
            pieces in prop::collection::vec((0usize..400, prop::sample::select(vec!["\n", "\r\n", "\n\n", ""])), 0..20),
            cuts in prop::collection::vec(1usize..300, 1..8),
            limit in TAIL..260,
        ) {
            let mut stream = Vec::new();
            for (index, (size, end)) in pieces.iter().enumerate() {
                stream.extend((0..*size).map(|at| b"abc{}\"\r"[(at + index) % 7]));
                stream.extend(end.as_bytes());
            }
            prop_assert_eq!(read(&stream, limit, &cuts), model(&stream, limit));
        }
    }

    #[test]
    fn a_partial_line_is_counted_and_not_given() {
        let mut lines = Lines::new(1000);
        let mut chunk: &[u8] = b"{\"return\"";
        assert_eq!(lines.feed(&mut chunk), None);
        assert_eq!(lines.partial(), 9);
    }
}
