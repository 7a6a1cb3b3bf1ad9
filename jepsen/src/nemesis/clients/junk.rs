//! Bytes that no node should get.

use std::iter::repeat_n;

use rand::{Rng, RngCore, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

/// A session that nobody makes.
pub(super) const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// A WebSocket that begins in good order.
pub(super) const UPGRADE: &str = "GET /ws?sessionId=00000000-0000-0000-0000-000000000000&since=0 \
    HTTP/1.1\r\nhost: node\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Nodes take heads of 16 KiB, bodies of 1 MiB and messages of 64 KiB at most.
const LARGE: usize = 80 << 10;
const NOISE_MAX: usize = 4 << 10;
const HEADERS: usize = 400;

pub(super) struct Junk {
    /// It is sent as frames of a WebSocket.
    pub(super) after_upgrade: bool,
    pub(super) bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Noise,
    LongLine,
    LongHeader,
    ManyHeaders,
    /// A length and chunks: where proxies and servers do not agree, one smuggles requests.
    TwoLengths,
    WrongLength,
    BrokenChunk,
    NotJson,
    DeepJson,
    FrameNoise,
    /// Clients have to mask what they send.
    Unmasked,
    LongControl,
    LargeMessage,
    /// Announces eight exabytes.
    HugeFrame,
    NotText,
    ReservedBits,
}

const KINDS: [Kind; 16] = [
    Kind::Noise,
    Kind::LongLine,
    Kind::LongHeader,
    Kind::ManyHeaders,
    Kind::TwoLengths,
    Kind::WrongLength,
    Kind::BrokenChunk,
    Kind::NotJson,
    Kind::DeepJson,
    Kind::FrameNoise,
    Kind::Unmasked,
    Kind::LongControl,
    Kind::LargeMessage,
    Kind::HugeFrame,
    Kind::NotText,
    Kind::ReservedBits,
];

impl Junk {
    pub(super) fn draw(random: &mut ChaCha8Rng) -> Self {
        let kind = KINDS.choose(random).copied().unwrap_or(Kind::Noise);
        Self { after_upgrade: kind.is_frame(), bytes: kind.bytes(random) }
    }
}

impl Kind {
    const fn is_frame(self) -> bool {
        match self {
            Self::Noise
            | Self::LongLine
            | Self::LongHeader
            | Self::ManyHeaders
            | Self::TwoLengths
            | Self::WrongLength
            | Self::BrokenChunk
            | Self::NotJson
            | Self::DeepJson => false,
            Self::FrameNoise
            | Self::Unmasked
            | Self::LongControl
            | Self::LargeMessage
            | Self::HugeFrame
            | Self::NotText
            | Self::ReservedBits => true,
        }
    }

    fn bytes(self, random: &mut ChaCha8Rng) -> Vec<u8> {
        match self {
            Self::Noise | Self::FrameNoise => {
                let mut noise = vec![0; random.random_range(1..=NOISE_MAX)];
                random.fill_bytes(&mut noise);
                noise
            }
            Self::LongLine => head(&format!("GET /{} HTTP/1.1", letters(LARGE)), &[]),
            Self::LongHeader => {
                head("GET /v1/time HTTP/1.1", &[format!("x-long: {}", letters(LARGE))])
            }
            Self::ManyHeaders => {
                let headers: Vec<String> = (0..HEADERS).map(|n| format!("x-{n}: y")).collect();
                head("GET /v1/time HTTP/1.1", &headers)
            }
            Self::TwoLengths => post(
                &["content-length: 6", "transfer-encoding: chunked"],
                b"0\r\n\r\nGET /v1/time HTTP/1.1\r\n\r\n",
            ),
            Self::WrongLength => post(&["content-length: -1"], b"{}"),
            Self::BrokenChunk => post(&["transfer-encoding: chunked"], b"zz\r\n{}\r\n0\r\n\r\n"),
            Self::NotJson => {
                post(&["content-length: 9", "connection: close"], b"{\"a\": \xff\xfe}")
            }
            Self::DeepJson => {
                let deep = letters_of('[', LARGE);
                let length = format!("content-length: {}", deep.len());
                post(&[&length, "connection: close"], deep.as_bytes())
            }
            Self::Unmasked => vec![0x81, 0x02, b'{', b'}'],
            // A ping of 200 bytes; 125 are allowed.
            Self::LongControl => frame(0x89, &[b'x'; 200]),
            Self::LargeMessage => frame(0x81, &vec![b' '; LARGE]),
            Self::HugeFrame => {
                [&[0x81, 0xff][..], &(u64::MAX >> 1).to_be_bytes(), &[1, 2, 3, 4, 5]].concat()
            }
            Self::NotText => frame(0x81, &[0xff, 0xfe, 0xfd]),
            Self::ReservedBits => frame(0xf1, b"{}"),
        }
    }
}

/// A request whose end nobody lives to see.
pub(super) fn endless(random: &mut ChaCha8Rng) -> Vec<u8> {
    let padding = letters(LARGE);
    if random.random() {
        head("GET /v1/time HTTP/1.1", &[format!("x-padding: {padding}")])
    } else {
        post(&["content-length: 99000"], padding.as_bytes())
    }
}

fn head(line: &str, headers: &[String]) -> Vec<u8> {
    let mut head = format!("{line}\r\nhost: node\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

fn post(headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut lines = vec![String::from("content-type: application/json")];
    lines.extend(headers.iter().map(|header| (*header).to_owned()));
    [&head("POST /v1/sessions HTTP/1.1", &lines)[..], body].concat()
}

/// A frame as clients send it: masked, with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    let length = payload.len();
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short <= 125 => frame.push(0x80 | short),
        (_, Ok(middle)) => {
            frame.push(0x80 | 126);
            frame.extend(middle.to_be_bytes());
        }
        (_, Err(_)) => {
            frame.push(0x80 | 127);
            frame.extend(u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

fn letters(many: usize) -> String {
    letters_of('a', many)
}

fn letters_of(letter: char, many: usize) -> String {
    repeat_n(letter, many).collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn frames_say_how_long_they_are() {
        assert_eq!(frame(0x81, b"{}"), [0x81, 0x82, 0, 0, 0, 0, b'{', b'}']);
        let middle = frame(0x89, &[b'x'; 200]);
        assert_eq!(middle[..8], [0x89, 0xfe, 0, 200, 0, 0, 0, 0]);
        assert_eq!(middle.len(), 208);
        let large = frame(0x81, &vec![b' '; 70_000]);
        assert_eq!(large[..10], [0x81, 0xff, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
    }

    #[test]
    fn every_kind_is_drawn_and_is_junk() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for kind in KINDS {
            assert!(!kind.bytes(&mut random).is_empty(), "{kind:?}");
        }
        let drawn: Vec<Junk> = (0..200).map(|_| Junk::draw(&mut random)).collect();
        assert!(drawn.iter().any(|junk| junk.after_upgrade));
        assert!(drawn.iter().any(|junk| !junk.after_upgrade && LARGE < junk.bytes.len()));
    }
}
