//! The encoding `aws-chunked`: pieces with their lengths, perhaps each with a
//! signature that builds on the one before, and headers after the last.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::api::sigv4::Chain;

/// The longest line between chunks.
const LONGEST_LINE: usize = 4096;
/// The most headers after the last chunk.
const MOST_TRAILERS: usize = 16;
const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// Takes the encoding off, a piece of input at a time.
#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    line: Vec<u8>,
    /// Where chunks are signed.
    chain: Option<Chain>,
    hash: Sha256,
    signature: String,
    trailers: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    /// The line break after a chunk.
    After,
    Trailer,
    Done,
}

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Malformed,
    Signature,
}

impl Chunked {
    pub(super) fn new(chain: Option<Chain>) -> Self {
        Self {
            state: State::Size,
            line: Vec::new(),
            chain,
            hash: Sha256::new(),
            signature: String::new(),
            trailers: Vec::new(),
        }
    }

    /// Hands over what is data in a piece of input.
    pub(super) fn feed(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        while !input.is_empty() {
            if let State::Data(left) = self.state {
                let here = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                let (data, rest) = input.split_at(here);
                if self.chain.is_some() {
                    self.hash.update(data);
                }
                out.extend_from_slice(data);
                input = rest;
                let left = left - u64::try_from(here).unwrap_or(left);
                self.state = if left == 0 {
                    State::After
                } else {
                    State::Data(left)
                };
                continue;
            }
            let end = input.iter().position(|byte| *byte == b'\n');
            let (part, rest) = input.split_at(end.map_or(input.len(), |end| end + 1));
            self.line.extend_from_slice(part);
            input = rest;
            if self.line.len() > LONGEST_LINE {
                return Err(Fault::Malformed);
            }
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                let line = line.strip_suffix(b"\n").unwrap_or(&line);
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                self.line(std::str::from_utf8(line).map_err(|_| Fault::Malformed)?)?;
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<(), Fault> {
        match self.state {
            State::Size => {
                let (size, extension) = line.split_once(';').unwrap_or((line, ""));
                let size = u64::from_str_radix(size, 16).map_err(|_| Fault::Malformed)?;
                extension
                    .strip_prefix("chunk-signature=")
                    .unwrap_or_default()
                    .clone_into(&mut self.signature);
                if size > 0 {
                    self.state = State::Data(size);
                    return Ok(());
                }
                self.check()?;
                self.state = State::Trailer;
            }
            State::After => {
                if !line.is_empty() {
                    return Err(Fault::Malformed);
                }
                self.check()?;
                self.state = State::Size;
            }
            State::Trailer if line.is_empty() => self.state = State::Done,
            State::Trailer => {
                let (name, value) = line.split_once(':').ok_or(Fault::Malformed)?;
                if self.trailers.len() == MOST_TRAILERS {
                    return Err(Fault::Malformed);
                }
                let name = name.trim().to_ascii_lowercase();
                self.trailers.push((name, value.trim().to_owned()));
            }
            State::Done => {}
            State::Data(_) => return Err(Fault::Malformed),
        }
        Ok(())
    }

    /// Checks the signature of the chunk that has ended.
    fn check(&mut self) -> Result<(), Fault> {
        let Some(chain) = &mut self.chain else {
            return Ok(());
        };
        let hash = hex::encode(std::mem::take(&mut self.hash).finalize());
        let expected = chain.next("AWS4-HMAC-SHA256-PAYLOAD", &[NOTHING, &hash]);
        if bool::from(expected.as_bytes().ct_eq(self.signature.as_bytes())) {
            Ok(())
        } else {
            Err(Fault::Signature)
        }
    }

    /// The headers after the last chunk, once everything has arrived.
    pub(super) fn finish(mut self) -> Result<Vec<(String, String)>, Fault> {
        // Some clients leave out the line that ends it.
        if !matches!(self.state, State::Trailer | State::Done) || !self.line.is_empty() {
            return Err(Fault::Malformed);
        }
        let signature = self
            .trailers
            .iter()
            .position(|(name, _)| name == TRAILER_SIGNATURE)
            .map(|place| self.trailers.remove(place).1);
        if let Some(chain) = &mut self.chain
            && !self.trailers.is_empty()
        {
            let mut hash = Sha256::new();
            for (name, value) in &self.trailers {
                hash.update(format!("{name}:{value}\n"));
            }
            let hash = hex::encode(hash.finalize());
            let expected = chain.next("AWS4-HMAC-SHA256-TRAILER", &[&hash]);
            let given = signature.unwrap_or_default();
            if !bool::from(expected.as_bytes().ct_eq(given.as_bytes())) {
                return Err(Fault::Signature);
            }
        }
        Ok(self.trailers)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Decoded = (Vec<u8>, Vec<(String, String)>);

    fn decode(input: &[u8], cut: usize, chain: Option<Chain>) -> Result<Decoded, Fault> {
        let mut chunked = Chunked::new(chain);
        let mut out = Vec::new();
        for piece in input.chunks(cut) {
            chunked.feed(piece, &mut out)?;
        }
        Ok((out, chunked.finish()?))
    }

    /// The worked example of S3's documentation.
    #[test]
    fn the_documented_signatures_are_believed() {
        let chain = || {
            Chain::new(
                "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                "20130524T000000Z",
                "us-east-1",
                "s3",
                "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
            )
            .unwrap()
        };
        let chunk = |size: usize, signature: &str| {
            let mut chunk = format!("{size:x};chunk-signature={signature}\r\n").into_bytes();
            chunk.extend(vec![b'a'; size]);
            chunk.extend(b"\r\n");
            chunk
        };
        let mut body = chunk(
            65536,
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        );
        body.extend(chunk(
            1024,
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        ));
        body.extend(chunk(
            0,
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ));
        let (data, trailers) = decode(&body, 1000, Some(chain())).unwrap();
        assert_eq!((data.len(), trailers.len()), (66560, 0));
        body[1000] = b'b';
        assert_eq!(decode(&body, 1000, Some(chain())), Err(Fault::Signature));
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for bad in [
            "x\r\n",
            "3\r\nabc",
            "3\r\nabcd\r\n0\r\n\r\n",
            "",
            "0\r\nno trailer\r\n\r\n",
        ] {
            assert_eq!(
                decode(bad.as_bytes(), 2, None),
                Err(Fault::Malformed),
                "{bad}"
            );
        }
        let long = format!("{}\r\n", "0".repeat(LONGEST_LINE + 1));
        assert_eq!(decode(long.as_bytes(), 100, None), Err(Fault::Malformed));
    }

    proptest! {
        #[test]
        fn what_was_encoded_comes_out(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..6), cut in 1..100_usize) {
            let mut body = Vec::new();
            for piece in &pieces {
                body.extend(format!("{:x}\r\n", piece.len()).bytes());
                body.extend(piece);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\nX-Amz-Checksum-Crc32:AAAAAA==\r\n\r\n");
            let (data, trailers) = decode(&body, cut, None).unwrap();
            prop_assert_eq!(data, pieces.concat());
            prop_assert_eq!(trailers, [("x-amz-checksum-crc32".to_owned(), "AAAAAA==".to_owned())]);
        }

        #[test]
        fn no_bytes_are_a_panic(body in prop::collection::vec(any::<u8>(), 0..300), cut in 1..50_usize) {
            let _ = decode(&body, cut, None);
        }
    }
}
