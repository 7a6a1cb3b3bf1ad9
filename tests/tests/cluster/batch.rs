//! Several commands as one: all of them or none, whatever they are about.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::{Value, json};
use synckairos_client::client::{Client, Config};
use synckairos_protocol::{
    command::Intent,
    error::Kind,
    ids::{ParticipantId, SessionId},
    session::{OnOutage, Status, SyncMode},
    time::Millis,
    wire::batch::BatchResult,
};
use synckairos_tests::{
    cluster::Plan,
    http::{Answer, Http},
    load,
    sessions::{new_id, new_session, number, participant, session_id, with},
    shared::Meeting,
};

static CLUSTER: Meeting = Meeting::new(|| Plan::of(3));

async fn batch(http: &Http, commands: &[Value]) -> Answer {
    http.post_json("/v1/batch", &json!({ "commands": commands })).await
}

fn action(action: &str, session: &str) -> Value {
    json!({"action": action, "session_id": session})
}

fn game() -> Value {
    with(new_session("per_participant", &[60_000, 60_000]), "action", "create")
}

#[tokio::test]
async fn every_command_is_answered_as_its_own_route_would() {
    let cluster = CLUSTER.join().await;
    let body = game();
    let (id, black) = (session_id(&body), participant(&body, 1));
    let commands = [
        body,
        action("start", &id),
        action("switch", &id),
        with(action("switch", &id), "next_participant_id", black.as_str()),
        with(action("pause", &id), "expected_version", 4),
        action("resume", &id),
        action("complete", &id),
        action("delete", &id),
        game(),
    ];
    let answer = batch(cluster.any(1), &commands).await.expect(200);
    let results = answer.data()["results"].as_array().unwrap().clone();
    let versions: Vec<Option<u64>> =
        results.iter().map(|result| result["version"].as_u64()).collect();
    let expected: Vec<Option<u64>> = (1..=7).map(Some).chain([None, Some(1)]).collect();
    assert_eq!(versions, expected, "{}", answer.text);
    let statuses: Vec<&str> =
        results.iter().filter_map(|result| result["status"].as_str()).collect();
    let wanted =
        ["pending", "running", "running", "running", "paused", "running", "completed", "pending"];
    assert_eq!(statuses, wanted);
    assert_eq!(results[7], Value::Null);
    assert_eq!(results[3]["active_participant_id"], black);
    assert!(results[2].get("created_at").is_none(), "a switch is told as a switch is");
    assert_eq!(cluster.http().session(&id).await.status, 404);
}

#[tokio::test]
async fn what_happens_together_is_one_revision_for_everybody() {
    let cluster = CLUSTER.join().await;
    let mut games = Vec::new();
    for _ in 0..3 {
        let id = load::running_session(cluster.http()).await;
        let mut sockets = Vec::new();
        for node in &cluster.nodes {
            cluster.await_caught_up(node, synckairos_tests::wait::PATIENCE).await;
            sockets.push(node.watch(&id).await);
        }
        games.push((id, sockets));
    }
    let commands: Vec<Value> = games.iter().map(|(id, _)| action("switch", id)).collect();
    let _ = batch(cluster.any(2), &commands).await.expect(200);
    let mut revisions = Vec::new();
    for (_, sockets) in &mut games {
        for socket in sockets {
            let update = socket.expect("STATE_UPDATE").await;
            assert_eq!(update["version"], 3);
            revisions.push(number(&update["revision"]));
        }
    }
    revisions.dedup();
    assert_eq!(revisions.len(), 1, "{revisions:?}");
}

#[tokio::test]
async fn one_refusal_undoes_everything_and_says_which() {
    let cluster = CLUSTER.join().await;
    let running = load::running_session(cluster.http()).await;
    let before = cluster.http().state(&running).await;
    let (fresh, missing) = (game(), new_id());
    let table = [
        (action("start", &missing), 404, "SESSION_NOT_FOUND"),
        (action("resume", &running), 400, "INVALID_SESSION_STATE"),
        (with(action("pause", &running), "expected_version", 7), 409, "CONCURRENT_MODIFICATION"),
        (
            with(action("switch", &running), "next_participant_id", missing.as_str()),
            400,
            "PARTICIPANT_NOT_FOUND",
        ),
    ];
    for (turn, (refused, status, kind)) in table.into_iter().enumerate() {
        let commands = [fresh.clone(), action("switch", &running), refused];
        let answer = batch(cluster.any(turn), &commands).await.expect(status);
        let error = answer.error();
        assert_eq!(error["kind"], kind);
        assert_eq!(error["effect"], "none");
        assert_eq!(error["context"]["index"], 2, "{error}");
        assert!(error["message"].as_str().unwrap().starts_with("commands.2: "), "{error}");
        assert_eq!(cluster.any(turn).state(&running).await, before, "nothing happened");
        assert_eq!(cluster.any(turn).session(&session_id(&fresh)).await.status, 404);
    }
    let details = batch(cluster.http(), &[action("switch", &running), action("start", "x")]).await;
    let details = details.expect(400).error()["details"].clone();
    assert_eq!(details[0]["field"], "commands.1.session_id", "{details}");
    let many = vec![action("delete", &missing); 101];
    let too_many = batch(cluster.http(), &many).await.expect(400).error();
    assert_eq!(too_many["details"][0]["code"], "too_big", "{too_many}");
    let _ = batch(cluster.http(), &many[1..]).await.expect(200);
}

#[tokio::test]
async fn a_switch_that_lost_a_race_takes_its_batch_with_it() {
    let cluster = CLUSTER.join().await;
    let (one, two) =
        (load::running_session(cluster.http()).await, load::running_session(cluster.http()).await);
    let commands = [action("switch", &one), action("switch", &two)];
    let (mut won, mut lost) = (0, 0);
    for round in 0..40 {
        let answers = futures_util::future::join_all(
            (0..3).map(|n| batch(cluster.any(round + n), &commands)),
        )
        .await;
        for answer in answers {
            match answer.status {
                200 => won += 1,
                409 => lost += 1,
                other => panic!("{other} {}", answer.text),
            }
        }
    }
    for id in [&one, &two] {
        assert_eq!(number(&cluster.http().state(id).await["version"]), 2 + won);
    }
    eprintln!("{won} won, {lost} lost");
}

#[tokio::test]
async fn the_client_speaks_of_commands_and_results() {
    let cluster = CLUSTER.join().await;
    let nodes = cluster.nodes.iter().map(|node| format!("http://{}", node.address));
    let client = Client::new(Config::new(nodes)).unwrap();
    let session: SessionId = new_id().parse().unwrap();
    let players: [ParticipantId; 2] = [new_id().parse().unwrap(), new_id().parse().unwrap()];
    let banks = players.map(|player| (player, Millis::new(60_000)));
    let new = synckairos_client::requests::new_session(session, SyncMode::PerParticipant, &banks);
    let start = Intent::Start { session, expected_version: None };
    let create = Intent::create(new.clone(), OnOutage::Freeze);
    let results = client.batch(&[create, start.clone()]).await.unwrap();
    let [BatchResult::Session(created), BatchResult::Session(started)] = &results[..] else {
        panic!("{results:?}")
    };
    assert_eq!((created.status, started.status), (Status::Pending, Status::Running));
    assert_eq!(started.on_outage, OnOutage::Freeze);
    let switch = Intent::Switch { session, expected_version: Some(2), current: None, next: None };
    let error = client.batch(&[switch, start]).await.unwrap_err();
    assert_eq!(
        error.kind(),
        synckairos_client::error::ErrorKind::Service(Kind::InvalidSessionState)
    );
    assert_eq!(error.problem().unwrap().context["index"], 1);
    assert_eq!(client.get(session).await.unwrap(), **started);
}
