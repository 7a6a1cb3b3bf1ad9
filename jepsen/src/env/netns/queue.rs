//! The kernel's queue of packets that a program decides on (NFQUEUE), over its netlink socket.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
        netlink::{self, SocketAddrNetlink},
        recv, send, socket_with, sockopt,
    },
};

// From linux/netlink.h.
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const KIND_ERROR: u16 = 2;
const HEADER_BYTES: usize = 16;
/// What every message of netfilter has after its header: family, version, number of the queue.
const FAMILY_BYTES: usize = 4;
const ATTRIBUTE_BYTES: usize = 4;
/// Of a kind of attribute; the others say how it is written.
const KIND_BITS: u16 = 0x3fff;

// From linux/netfilter/nfnetlink_queue.h.
const KIND_PACKET: u16 = 3 << 8;
const KIND_VERDICT: u16 = 3 << 8 | 1;
const KIND_CONFIGURE: u16 = 3 << 8 | 2;
const CONFIGURE_COMMAND: u16 = 1;
const CONFIGURE_COPY: u16 = 2;
const CONFIGURE_LENGTH: u16 = 3;
const BIND: [u8; 4] = [1, 0, 0, 0];
const COPY_PACKET: u8 = 2;
const PACKET_HEADER: u16 = 1;
const VERDICT_HEADER: u16 = 2;
const PAYLOAD: u16 = 10;

const DATAGRAM_MAX: u32 = 0xffff;
/// More than can be on its way at once.
const PACKETS_MAX: u32 = 65_536;
const RECEIVE_BYTES: usize = 96 << 10;
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// A queue that is bound to this process.
pub(super) struct Queue {
    socket: OwnedFd,
    number: u16,
    buffer: Vec<u8>,
}

/// A packet that waits for a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) id: u32,
    /// From its IP header on.
    pub(super) bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    Drop,
    Accept,
    /// Goes on with these bytes.
    Changed(&'a [u8]),
}

impl Queue {
    /// # Errors
    /// Where the kernel has no such queues, or this process may not have one.
    pub(super) fn bind(number: u16) -> io::Result<Self> {
        let family = AddressFamily::NETLINK;
        let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
        let socket = socket_with(family, kind, flags, Some(netlink::NETFILTER))?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        if sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER_BYTES).is_err() {
            // The system gives as much of it as it allows.
            let _ = sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER_BYTES);
        }
        let mut copy = DATAGRAM_MAX.to_be_bytes().to_vec();
        copy.push(COPY_PACKET);
        let attributes: [(u16, &[u8]); 3] = [
            (CONFIGURE_COMMAND, &BIND),
            (CONFIGURE_COPY, &copy),
            (CONFIGURE_LENGTH, &PACKETS_MAX.to_be_bytes()),
        ];
        send(&socket, &message(KIND_CONFIGURE, ACK, number, &attributes), SendFlags::empty())?;
        let mut buffer = vec![0; RECEIVE_BYTES];
        let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        acknowledged(&buffer[..length])?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self { socket, number, buffer })
    }

    /// The packets that came, once some have, or none after `within`.
    pub(super) fn receive(&mut self, within: Duration) -> io::Result<Vec<Queued>> {
        let timeout = Timespec::try_from(within).map_err(io::Error::other)?;
        poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout))?;
        match recv(&self.socket, &mut self.buffer[..], RecvFlags::empty()) {
            Ok((length, _)) => Ok(packets(&self.buffer[..length])),
            // Some were lost, as happens to packets.
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn decide(&self, id: u32, verdict: Verdict<'_>) -> io::Result<()> {
        let (word, bytes) = match verdict {
            Verdict::Drop => (0_u32, None),
            Verdict::Accept => (1, None),
            Verdict::Changed(bytes) => (1, Some(bytes)),
        };
        let header = [word.to_be_bytes(), id.to_be_bytes()].concat();
        let mut attributes: Vec<(u16, &[u8])> = vec![(VERDICT_HEADER, &header)];
        attributes.extend(bytes.map(|bytes| (PAYLOAD, bytes)));
        let message = message(KIND_VERDICT, 0, self.number, &attributes);
        send(&self.socket, &message, SendFlags::empty())?;
        Ok(())
    }
}

fn message(kind: u16, flags: u16, queue: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(REQUEST | flags).to_ne_bytes());
    let [high, low] = queue.to_be_bytes();
    bytes.extend([0, 0, high, low]);
    for (kind, value) in attributes {
        let length = u16::try_from(ATTRIBUTE_BYTES + value.len()).unwrap_or(u16::MAX);
        bytes.extend(length.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(*value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes
}

/// Messages, or attributes: each begins with its whole length.
fn parts<const L: usize>(mut bytes: &[u8], length_of: impl Fn([u8; L]) -> usize) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some(first) = bytes.first_chunk::<L>() {
        let length = length_of(*first);
        let Some(part) = bytes.get(..length).filter(|part| ATTRIBUTE_BYTES <= part.len()) else {
            break;
        };
        parts.push(part);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    parts
}

fn messages(bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let length_of = |bytes| usize::try_from(u32::from_ne_bytes(bytes)).unwrap_or(usize::MAX);
    let messages = parts::<4>(bytes, length_of).into_iter();
    messages.filter_map(|part| Some((word(part, 4)?, part.get(HEADER_BYTES..)?))).collect()
}

/// The number of the error that the kernel names, which is none where it acknowledges.
fn acknowledged(bytes: &[u8]) -> io::Result<()> {
    for (kind, body) in messages(bytes) {
        let code = body.first_chunk().map(|code| i32::from_ne_bytes(*code));
        if let (KIND_ERROR, Some(code)) = (kind, code) {
            return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
        }
    }
    Err(io::Error::other("the kernel did not acknowledge the queue"))
}

fn packets(bytes: &[u8]) -> Vec<Queued> {
    let of_packets = messages(bytes).into_iter().filter(|(kind, _)| *kind == KIND_PACKET);
    of_packets.filter_map(|(_, body)| packet(body.get(FAMILY_BYTES..)?)).collect()
}

fn packet(attributes: &[u8]) -> Option<Queued> {
    let (mut id, mut payload) = (None, None);
    for part in parts::<2>(attributes, |bytes| usize::from(u16::from_ne_bytes(bytes))) {
        let (kind, value) = (word(part, 2)? & KIND_BITS, part.get(ATTRIBUTE_BYTES..)?);
        if kind == PACKET_HEADER {
            id = value.first_chunk().map(|id| u32::from_be_bytes(*id));
        } else if kind == PAYLOAD {
            payload = Some(value.to_vec());
        }
    }
    Some(Queued { id: id?, bytes: payload? })
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|word| u16::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_found_in_what_the_kernel_writes() {
        let header = [7_u32.to_be_bytes(), [8, 0, 3, 0]].concat();
        let one = message(KIND_PACKET, 0, 3, &[(PACKET_HEADER, &header), (PAYLOAD, b"hello")]);
        let other = message(KIND_VERDICT, 0, 3, &[(PAYLOAD, b"no packet")]);
        let written = [one.clone(), other, one].concat();
        let found = Queued { id: 7, bytes: b"hello".to_vec() };
        assert_eq!(packets(&written), [found.clone(), found]);
        for length in 0..written.len() {
            assert!(packets(&written[..length]).len() < 2, "{length}");
        }
    }

    #[test]
    fn refusals_are_told_from_acknowledgements() {
        let told = |code: i32| {
            let mut told = message(KIND_ERROR, 0, 0, &[]);
            told.truncate(HEADER_BYTES);
            told.extend(code.to_ne_bytes());
            told.extend([0; HEADER_BYTES]);
            let length = u32::try_from(told.len()).unwrap();
            told[..4].copy_from_slice(&length.to_ne_bytes());
            acknowledged(&told)
        };
        assert!(told(0).is_ok());
        assert_eq!(told(-1).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(acknowledged(&[]).is_err());
    }
}
