//! Plans on a real network of sockets.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UdpSocket,
    time::timeout,
};

use super::*;
use crate::env::loopback::Loopback;

const WITHIN: Duration = Duration::from_secs(20);

fn planned(trouble: Trouble, form: &str) -> Planned {
    let (form, target) = (form.to_owned(), Target::One);
    Planned { id: 9, at_ms: 0, for_ms: 0, trouble, form, target, pick: 5 }
}

fn names() -> Vec<String> {
    ["n1", "n2", "n3"].map(str::to_owned).to_vec()
}

/// Installs the plan on `n1`, and lets it and the others talk until the fault has had an effect.
async fn carried_out(trouble: Trouble, form: &str) -> (u64, Map<String, Value>) {
    let network = Network::Loopback(Loopback::new().unwrap());
    let (mut places, mut sockets, mut listeners) = (Vec::new(), Vec::new(), Vec::new());
    for name in names() {
        let place = network.add(&name).await.unwrap();
        sockets.push(UdpSocket::bind(place.peer_listen).await.unwrap());
        listeners.push(tokio::net::TcpListener::bind(place.http_listen).await.unwrap());
        places.push(place);
    }
    let planned = planned(trouble, form);
    let (fault, hit) = decide(&planned, &names()[..1], &names(), false).unwrap();
    assert!(hit.contains(&names()[0]), "{hit:?}");
    install(&network, planned.id, &fault).await.unwrap();
    let talk = async {
        while network.effect(planned.id).await.unwrap().touched() == 0 {
            for (socket, place) in
                sockets.iter().flat_map(|socket| places.iter().map(move |place| (socket, place)))
            {
                // More than the largest packet of QUIC.
                socket.send_to(&[0; 1_300], place.peer).await.unwrap();
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(WITHIN, talk).await.unwrap();
    let mut evidence = Map::new();
    let touched = heal(&network, planned.id, &mut evidence).await.unwrap();
    assert_eq!(network.heal(planned.id).await.unwrap(), Effect::default());
    (touched, evidence)
}

#[tokio::test]
async fn every_form_between_nodes_has_an_effect_that_is_seen() {
    for trouble in [Trouble::Partition, Trouble::Packet] {
        for form in forms(trouble) {
            let (touched, evidence) = carried_out(trouble, form.word).await;
            assert!(0 < touched, "{}", form.word);
            assert_eq!(evidence["touched"], touched);
            assert!(!evidence["effect"].as_object().unwrap().is_empty(), "{}", form.word);
        }
    }
}

#[tokio::test]
async fn nodes_without_traffic_show_no_effect() {
    let network = Network::Loopback(Loopback::new().unwrap());
    for name in names() {
        network.add(&name).await.unwrap();
    }
    let planned = planned(Trouble::Partition, "halves");
    let (fault, _) = decide(&planned, &names()[..1], &names(), false).unwrap();
    install(&network, planned.id, &fault).await.unwrap();
    assert_eq!(heal(&network, planned.id, &mut Map::new()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_cut_off_node_is_found_to_refuse() {
    let network = Network::Loopback(Loopback::new().unwrap());
    let place = network.add("n1").await.unwrap();
    let _listener = tokio::net::TcpListener::bind(place.http_listen).await.unwrap();
    let open = async { while refuses(place.http).await {} };
    timeout(WITHIN, open).await.unwrap();
    let planned = planned(Trouble::ClientPartition, clients::CUT);
    let (fault, _) = decide(&planned, &names()[..1], &names(), false).unwrap();
    install(&network, planned.id, &fault).await.unwrap();
    let closed = async { while !refuses(place.http).await {} };
    timeout(WITHIN, closed).await.unwrap();
}

#[tokio::test]
async fn every_form_between_clients_and_nodes_has_an_effect_that_is_seen() {
    for form in forms(Trouble::ClientPartition) {
        let network = Network::Loopback(Loopback::new().unwrap());
        let place = network.add("n1").await.unwrap();
        let listener = tokio::net::TcpListener::bind(place.http_listen).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        // It exists before the fault, so that a cut resets it.
        let first = async {
            loop {
                if let Ok(stream) = TcpStream::connect(place.http).await {
                    return stream;
                }
            }
        };
        let mut first = timeout(WITHIN, first).await.unwrap();
        first.write_all(b"hello").await.unwrap();
        timeout(WITHIN, first.read_u8()).await.unwrap().unwrap();
        let mut streams = vec![first];
        let planned = planned(Trouble::ClientPartition, form.word);
        let (fault, hit) = decide(&planned, &names()[..1], &names(), false).unwrap();
        assert_eq!(hit, ["n1"]);
        install(&network, planned.id, &fault).await.unwrap();
        let talk = async {
            while network.effect(planned.id).await.unwrap().touched() == 0 {
                for stream in &mut streams {
                    let _ = stream.write_all(b"hello").await;
                }
                streams.extend(TcpStream::connect(place.http).await);
            }
        };
        timeout(WITHIN, talk).await.unwrap();
        let touched = heal(&network, planned.id, &mut Map::new()).await.unwrap();
        assert!(0 < touched, "{}", form.word);
    }
}

#[test]
fn what_cannot_be_done_is_skipped() {
    let few = decide(&planned(Trouble::Partition, "halves"), &names()[..1], &names()[..1], false);
    assert!(matches!(few, Err(FaultOutcome::Skipped(_))), "{few:?}");
    for trouble in [Trouble::Partition, Trouble::Packet, Trouble::ClientPartition] {
        let unknown = decide(&planned(trouble, "nonsense"), &names()[..1], &names(), false);
        assert!(matches!(unknown, Err(FaultOutcome::Skipped(_))), "{unknown:?}");
    }
}
