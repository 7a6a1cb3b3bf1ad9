//! The peer transport on real sockets: who is let in, and what becomes of calls and appends.

pub(super) mod harness;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, future, future::FutureExt, stream};
use openraft::raft::StreamAppendError;
use synckairos_protocol::{codec::HEADER_BYTES, limits, time::Stamp};
use synckairos_raft_store::{raft_types::LogId, wire::LogIdV1};
use tokio::{sync::Notify, time::Instant};

use super::{
    append_stream,
    connection::{DialError, PeerConnection, Priority},
    endpoint::{BindError, NotAPeer, PeerEndpoint},
    frames,
    link::Link,
    listener::Refused,
    messages::{
        AppReply, AppRequest, AppendRequest, HelloV1, OpenV1, PROTOCOL_NEWEST, RaftReplyV1,
        RaftRequestV1, VoteRequestV1, WelcomeV1,
    },
    peers::CallError,
};
use crate::{
    members::removal::Removed,
    sessions::refusal::{ReadIndex, Refusal},
};
use harness::{Cluster, Relay, Server, vote_of, within};

fn read_index(index: u64) -> AppReply {
    AppReply::ReadIndex(Ok(ReadIndex { index, now: Stamp::ZERO }))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

#[tokio::test]
async fn strangers_are_refused_by_both_sides() {
    let (ours, theirs) = (Cluster::new(), Cluster::new());
    let mut server = Server::start(ours.bind(1), |_| future::ready(read_index(0)).boxed());
    let stranger = theirs.bind(2);
    let dialled = within(PeerConnection::dial(&stranger, 1, &server.address)).await;
    assert!(matches!(dialled, Err(DialError::Handshake(_))), "a server of another authority");

    // The client gives up first there, so the server's own check needs a client that trusts it.
    let trusting = ours.bind_as(2, theirs.issue_files(2));
    let dialled = within(PeerConnection::dial(&trusting, 1, &server.address)).await;
    assert!(dialled.is_err(), "a client of another authority");
    assert!(matches!(server.refused().await, Refused::Handshake(_)));
    assert!(matches!(server.refused().await, Refused::Handshake(_)));
}

#[tokio::test]
async fn another_node_is_refused_by_the_client() {
    let cluster = Cluster::new();
    let server = Server::start(cluster.bind(3), |_| future::ready(read_index(0)).boxed());
    let client = cluster.bind(1);
    let dialled = within(PeerConnection::dial(&client, 2, &server.address)).await;
    assert!(matches!(dialled, Err(DialError::Handshake(_))));
    assert!(within(PeerConnection::dial(&client, 3, &server.address)).await.is_ok());
}

#[tokio::test]
async fn another_cluster_under_the_same_authority_is_refused() {
    let cluster = Cluster::new();
    let mut server = Server::start(cluster.bind(1), |_| future::ready(read_index(0)).boxed());
    let other = cluster.bind_identity(&cluster.identity_of_other_cluster(2));
    // It asks for the right name, as only a forger would.
    let connection = within(harness::connect_raw(&other, cluster.name(1), &server.address)).await;
    let refused = server.refused().await;
    assert!(matches!(refused, Refused::NotAPeer(NotAPeer::OtherCluster { .. })), "{refused}");
    let reason = within(connection.closed()).await.to_string();
    assert!(reason.contains("belongs to cluster"), "{reason}");
}

#[tokio::test]
async fn a_hello_must_fit_the_certificate_and_this_node() {
    let cluster = Cluster::new();
    let mut server = Server::start(cluster.bind(1), |_| future::ready(read_index(0)).boxed());
    let client = cluster.bind(2);
    let right = HelloV1 {
        cluster: client.name().cluster.to_bytes(),
        from: 2,
        to: 1,
        oldest: 1,
        newest: PROTOCOL_NEWEST,
    };
    let table = [
        (HelloV1 { from: 3, ..right.clone() }, "certificate of node 2"),
        (HelloV1 { to: 3, ..right.clone() }, "hello is for node 3"),
        (HelloV1 { cluster: [7; 16], ..right.clone() }, "hello is for cluster"),
        (HelloV1 { oldest: 900, newest: 900, ..right.clone() }, "versions 900 to 900"),
    ];
    for (hello, complaint) in table {
        let connection =
            within(harness::connect_raw(&client, cluster.name(1), &server.address)).await;
        let (mut send, _recv) = within(connection.open_bi()).await.unwrap();
        within(frames::write(&mut send, &OpenV1::Hello(hello))).await.unwrap();
        let refused = server.refused().await.to_string();
        assert!(refused.contains(complaint), "{refused}");
        let reason = within(connection.closed()).await.to_string();
        assert!(reason.contains(complaint), "{reason}");
    }
    let connection = within(harness::connect_raw(&client, cluster.name(1), &server.address)).await;
    let (mut send, mut recv) = within(connection.open_bi()).await.unwrap();
    let newer = HelloV1 { newest: 900, ..right };
    within(frames::write(&mut send, &OpenV1::Hello(newer))).await.unwrap();
    let welcome = within(frames::read_one::<WelcomeV1>(&mut recv)).await.unwrap();
    assert_eq!(welcome, WelcomeV1 { protocol: PROTOCOL_NEWEST });
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let cluster = Cluster::new();
    let taken = cluster.bind(1).local_address().unwrap();
    let holder = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    assert_ne!(taken, address);
    let data_dir = cluster.directory().join("untouched");
    let bound = PeerEndpoint::bind(address, &cluster.identity(2), &data_dir);
    assert!(matches!(bound, Err(BindError::Taken { .. })));
    assert!(!data_dir.exists());
}

#[tokio::test]
async fn replies_come_when_they_are_ready() {
    let cluster = Cluster::new();
    let (asked, release) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
    let released = release.clone();
    let server = Server::start(cluster.bind(1), move |_| {
        let (turn, release) = (asked.fetch_add(1, Ordering::SeqCst), release.clone());
        async move {
            // The first call is answered only after the second one was.
            if turn == 0 {
                release.notified().await;
            }
            read_index(turn)
        }
        .boxed()
    });
    let link = Link::new(cluster.bind(2), 1, server.address.clone(), |_, _| (), Removed::new());
    let connection = within(link.connected(soon())).await.unwrap();
    let first = connection.app.call(AppRequest::ReadIndex, soon());
    let mut first = std::pin::pin!(first);
    while first.as_mut().now_or_never().is_none() {
        let second = within(connection.app.call(AppRequest::ReadIndex, soon())).await;
        if second == Ok(read_index(1)) {
            break;
        }
    }
    // Votes have a stream of their own, whatever happens to clients' calls.
    let vote = VoteRequestV1 { vote: vote_of(2), last: None, leadership_transfer: false };
    let reply = within(connection.raft.call(RaftRequestV1::PreVote(vote), soon())).await;
    assert!(matches!(reply, Ok(RaftReplyV1::PreVote(_))));
    released.notify_one();
    assert_eq!(within(first).await, Ok(read_index(0)));
}

#[tokio::test]
async fn nobody_at_the_address_means_not_sent_and_soon() {
    let cluster = Cluster::new();
    // A socket that nobody reads: the port is certainly not a node's.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let link = Link::new(cluster.bind(1), 2, address, |_, _| (), Removed::new());
    let began = Instant::now();
    let call = link.call(AppRequest::ReadIndex, began + Duration::from_secs(60));
    assert!(matches!(within(call).await, Err(CallError::NotSent(_))));
    // The next one does not even wait for that.
    let call = link.call(AppRequest::ReadIndex, Instant::now() + Duration::from_secs(60));
    assert!(matches!(within(call).await, Err(CallError::NotSent(_))));
    let nowhere =
        Link::new(cluster.bind(3), 2, String::from("127.0.0.1"), |_, _| (), Removed::new());
    let call = nowhere.call(AppRequest::ReadIndex, soon());
    assert!(matches!(within(call).await, Err(CallError::NotSent(_))));
}

#[tokio::test]
async fn a_peer_that_dies_in_a_call_leaves_its_outcome_unknown() {
    let cluster = Cluster::new();
    let (asked, reached) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let signal = asked.clone();
    let server = Server::start(cluster.bind(1), move |_| {
        signal.notify_one();
        future::pending().boxed()
    });
    let link = Link::new(cluster.bind(2), 1, server.address.clone(), |_, _| (), Removed::new());
    let calling = tokio::spawn({
        let (link, reached) = (link.clone(), reached.clone());
        async move {
            let outcome = link.call(AppRequest::ReadIndex, soon()).await;
            reached.notify_one();
            outcome
        }
    });
    within(asked.notified()).await;
    server.endpoint.close(Duration::ZERO).await;
    within(reached.notified()).await;
    assert!(matches!(within(calling).await.unwrap(), Err(CallError::Unknown(_))));
}

#[tokio::test]
async fn a_hung_peer_holds_up_nobody_else() {
    let cluster = Cluster::new();
    let hung = Server::start(cluster.bind(1), |_| future::pending().boxed());
    let well = Server::start(cluster.bind(2), |_| future::ready(read_index(5)).boxed());
    let client = cluster.bind(3);
    let to_hung = Link::new(client.clone(), 1, hung.address.clone(), |_, _| (), Removed::new());
    let to_well = Link::new(client, 2, well.address.clone(), |_, _| (), Removed::new());
    within(to_hung.connected(soon())).await.unwrap();
    let waiting = to_hung.call(AppRequest::ReadIndex, Instant::now() + Duration::from_millis(300));
    let (waited, answered) =
        within(future::join(waiting, to_well.call(AppRequest::ReadIndex, soon()))).await;
    assert!(matches!(waited, Err(CallError::Unknown(_))));
    assert_eq!(answered, Ok(read_index(5)));
}

#[tokio::test]
async fn a_peer_that_comes_back_is_found_again() {
    let cluster = Cluster::new();
    let server = Server::start(cluster.bind(1), |_| future::ready(read_index(1)).boxed());
    let link = Link::new(cluster.bind(2), 1, server.address.clone(), |_, _| (), Removed::new());
    assert_eq!(within(link.call(AppRequest::ReadIndex, soon())).await, Ok(read_index(1)));
    let address = server.endpoint.local_address().unwrap();
    server.stop().await;
    let again = cluster.bind_at(address, &cluster.identity(1)).await;
    let _server = Server::start(again, |_| future::ready(read_index(2)).boxed());
    within(async {
        while link.call(AppRequest::ReadIndex, soon()).await != Ok(read_index(2)) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_was_killed_says_so_itself_when_it_is_back() {
    let cluster = Cluster::new();
    let before = Server::start(cluster.bind(1), |_| future::ready(read_index(1)).boxed());
    let relay = Relay::start(before.address.parse().unwrap()).await;
    let dialled = PeerConnection::dial(&cluster.bind(2), 1, &relay.address).await;
    let connection = dialled.map(Arc::new).unwrap();
    // The same node in a new process: it knows nothing of the connection but the key on its disk.
    let after = Server::start(cluster.bind(1), |_| future::ready(read_index(2)).boxed());
    relay.turn_to(after.address.parse().unwrap());
    assert_eq!(within(connection.closed()).await, quinn::ConnectionError::Reset);
}

#[tokio::test]
async fn frames_that_are_too_large_or_damaged_end_the_stream() {
    let cluster = Cluster::new();
    let mut server = Server::start(cluster.bind(1), |_| future::ready(read_index(0)).boxed());
    let client = cluster.bind(2);
    let connection = within(PeerConnection::dial(&client, 1, &server.address)).await.unwrap();
    let mut large = vec![0; HEADER_BYTES];
    let announced = u32::try_from(limits::FRAME_BYTES_MAX + 1).unwrap();
    large[6..10].copy_from_slice(&announced.to_le_bytes());
    let mut damaged = frames::encode(&OpenV1::Append).unwrap().to_vec();
    damaged[HEADER_BYTES] ^= 1;
    for (bytes, complaint) in [(large, "announced, at most"), (damaged, "checksum")] {
        let opened = connection.open(&OpenV1::AppCalls, Priority::App);
        let (mut send, _recv) = within(opened).await.unwrap();
        within(send.write_all(&bytes)).await.unwrap();
        let (complained, violation) = server.broken().await;
        assert!(complained.contains(complaint), "{complained}");
        assert!(violation);
    }
}

fn append(index: u64) -> AppendRequest {
    let at = |index| LogId::from(LogIdV1 { term: 1, index });
    AppendRequest {
        vote: vote_of(2).into(),
        prev_log_id: Some(at(index)),
        entries: Vec::new(),
        leader_commit: None,
    }
}

#[tokio::test]
async fn appends_are_answered_in_order_with_many_under_way() {
    const APPENDS: u64 = 1_000;
    let cluster = Cluster::new();
    let server = Server::start(cluster.bind(1), |_| future::ready(read_index(0)).boxed());
    let connection =
        within(PeerConnection::dial(&cluster.bind(2), 1, &server.address)).await.unwrap();
    let stream = within(connection.open(&OpenV1::Append, Priority::Append)).await.unwrap();
    let now = || Some(Stamp::from_unix_millis(77));
    let replies = append_stream::exchange(stream, stream::iter((0..APPENDS).map(append)), now);
    let replies: Vec<_> = within(replies.collect()).await;
    let matched: Vec<_> =
        replies.into_iter().map(|reply| reply.unwrap().unwrap().unwrap().index).collect();
    assert_eq!(matched, (0..APPENDS).collect::<Vec<_>>());
    assert_eq!(server.heard.load(Ordering::SeqCst), 77);
}

#[tokio::test]
async fn a_conflict_ends_the_appends() {
    let cluster = Cluster::new();
    let server = Server::start(cluster.bind(1), |_| future::ready(read_index(0)).boxed());
    let connection =
        within(PeerConnection::dial(&cluster.bind(2), 1, &server.address)).await.unwrap();
    let stream = within(connection.open(&OpenV1::Append, Priority::Append)).await.unwrap();
    let requests = [1, 2, harness::CONFLICT_AT, 4, 5].map(append);
    // More could always come: only the conflict can end this.
    let requests = stream::iter(requests).chain(stream::pending());
    let replies: Vec<_> =
        within(append_stream::exchange(stream, requests.boxed(), || None).collect()).await;
    assert_eq!(replies.len(), 3);
    let last = replies.into_iter().last().unwrap().unwrap();
    assert!(matches!(last, Err(StreamAppendError::Conflict(_))));
}

#[tokio::test]
async fn an_append_in_the_name_of_another_node_is_a_violation() {
    let cluster = Cluster::new();
    let mut server = Server::start(cluster.bind(1), |_| future::ready(read_index(0)).boxed());
    let connection =
        within(PeerConnection::dial(&cluster.bind(2), 1, &server.address)).await.unwrap();
    let stream = within(connection.open(&OpenV1::Append, Priority::Append)).await.unwrap();
    let forged = AppendRequest { vote: vote_of(3).into(), ..append(1) };
    let replies = append_stream::exchange(stream, stream::iter([forged]), || None);
    let replies: Vec<_> = within(replies.collect()).await;
    assert!(matches!(replies[..], [Err(_)]));
    let (complaint, _) = server.broken().await;
    assert!(complaint.contains("node 2 speaks for node 3"), "{complaint}");
}

#[tokio::test]
async fn refusals_travel_as_they_are() {
    let cluster = Cluster::new();
    let refusal = AppReply::ReadIndex(Err(Refusal::LeadershipLost));
    let sent = refusal.clone();
    let server = Server::start(cluster.bind(1), move |_| future::ready(sent.clone()).boxed());
    let link = Link::new(cluster.bind(2), 1, server.address.clone(), |_, _| (), Removed::new());
    assert_eq!(within(link.call(AppRequest::ReadIndex, soon())).await, Ok(refusal));
}
