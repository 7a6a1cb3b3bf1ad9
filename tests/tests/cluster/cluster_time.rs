//! Cluster time runs on its line whatever the hosts' clocks do and whoever leads.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use synckairos_tests::{
    cluster::{Cluster, Plan},
    http::Http,
    load::{self, Load},
    node::Node,
    sessions::{instant, new_session, number, session_id, with},
    socket::{Frame, Socket},
    timeline::{Reading, as_f64, milliseconds},
    wait::{PATIENCE, eventually, holds, throughout},
};

const HOUR_MS: i64 = 3_600_000;
/// How far a clock may be moved by whatever happens to the hosts.
const OFF_MAX_MS: f64 = 100.0;
/// How late a push may be on a machine that has no time for it. Its effect is never late.
const PUSH_LATE_MAX_MS: f64 = 2_000.0;
const SESSIONS: u64 = 100;

fn others<'a>(cluster: &'a Cluster, node: &Node) -> Vec<&'a Node> {
    cluster.nodes.iter().filter(|other| other.id != node.id).collect()
}

fn ids(nodes: &[&Node]) -> Vec<u64> {
    nodes.iter().map(|node| node.id).collect()
}

/// One question for the time: cluster time when the test's clock said `at`, give or take.
async fn look(http: &Http) -> Option<(f64, Instant, f64)> {
    let sent = Instant::now();
    let answer = http.try_get("/v1/time").await.ok()?.json();
    let round_trip = sent.elapsed();
    let told = as_f64(number(&answer["timestamp_ms"]));
    Some((told, sent + round_trip / 2, milliseconds(round_trip) / 2.0 + 1.0))
}

/// Asks `nodes` for the time again and again: no node goes back, and none leaves the line of
/// `base` by more than `OFF_MAX_MS` and what clocks at these rates may run apart meanwhile.
async fn stays_on_its_line(nodes: &[&Node], base: Reading, span: Duration, rate_ppm_max: f64) {
    let mut last = vec![0.0; nodes.len()];
    throughout(span, async || {
        for (last, node) in last.iter_mut().zip(nodes) {
            let Some((told, at, uncertain)) = look(&node.http).await else { continue };
            assert!(*last <= told, "node {} went back from {last} to {told}", node.id);
            *last = told;
            let apart = at.saturating_duration_since(base.at).max(base.at - at);
            let drift = milliseconds(apart) * rate_ppm_max / 1_000_000.0;
            let off = told - base.projected(at);
            let allowed = OFF_MAX_MS + drift + uncertain + base.uncertain_ms;
            assert!(off.abs() <= allowed, "node {} is off by {off} of {allowed} ms", node.id);
        }
    })
    .await;
}

/// Switches a session through `nodes` again and again: each switch that is acknowledged after
/// another has a stamp that is no earlier.
async fn no_stamp_goes_back(nodes: &[&Node], session: &str, span: Duration) {
    let (mut last, mut turn) = (0, 0);
    throughout(span, async || {
        turn += 1;
        let node = nodes[turn % nodes.len()];
        if let Ok(answer) = node.http.try_command(session, "switch").await
            && answer.status == 200
        {
            let stamp = instant(&answer.data()["cycle_started_at"]);
            assert!(last <= stamp, "a stamp went back from {last} to {stamp}");
            last = stamp;
        }
    })
    .await;
    assert!(0 < last, "some were acknowledged");
}

/// What was pushed to one watcher: the session's end, and when the message came.
struct Expiry {
    due_ms: u64,
    came: Instant,
}

async fn expiry(mut socket: Socket) -> Expiry {
    loop {
        match socket.next_but_pings(PATIENCE).await {
            Some(Frame::Message(message)) if message["cause"]["type"] == "session_expired" => {
                return Expiry {
                    due_ms: number(&message["cause"]["due_ms"]),
                    came: Instant::now(),
                };
            }
            Some(Frame::Message(_)) => {}
            other => panic!("the session should have expired: {other:?}"),
        }
    }
}

/// Starts sessions that run out one after the other, from four seconds on, watched at `node`.
/// Each with its deadline in cluster time.
async fn running_out(http: &Http, node: &Node) -> Vec<(u64, Socket)> {
    let one = async |number_of: u64| {
        let bank_ms = 4_000 + number_of * 80;
        let body = with(
            new_session("per_participant", &[bank_ms]),
            "on_timeout",
            json!({"type": "end_session"}),
        );
        let id = session_id(&body);
        let _ = http.create(&body).await.expect(201);
        let socket = node.watch(&id).await;
        let started = http.command(&id, "start").await.expect(200).data();
        (instant(&started["cycle_started_at"]) + bank_ms, socket)
    };
    join_all((0..SESSIONS).map(one)).await
}

#[tokio::test]
async fn steps_of_every_wall_clock_and_a_new_leader_move_nothing() {
    let cluster = Plan::of(3).start().await;
    let leader = cluster.leader().await;
    let survivors = others(&cluster, leader);
    let base = Reading::take(&survivors[0].http).await;
    let load = Load::start(&[&survivors[0].http, &survivors[1].http], 3).await;
    let switched = load::running_session(&survivors[0].http).await;
    let sessions = running_out(&survivors[0].http, survivors[0]).await;
    let (dues, sockets): (Vec<u64>, Vec<Socket>) = sessions.into_iter().unzip();
    let expiries = join_all(sockets.into_iter().map(|socket| tokio::spawn(expiry(socket))));

    let steps = async {
        for (node, step_ms) in cluster.nodes.iter().zip([HOUR_MS, -HOUR_MS, 0]) {
            node.set_clock(step_ms, 0);
        }
        stays_on_its_line(&survivors, base, Duration::from_secs(3), 0.0).await;
        let killed = Instant::now();
        leader.kill();
        let watching = stays_on_its_line(&survivors, base, Duration::from_secs(9), 0.0);
        let agreed = async {
            cluster.leader_of(&ids(&survivors)).await;
            let led_again = Instant::now();
            // Leaders of both, and a wall clock that steps back under the one that leads.
            throughout(Duration::from_secs(2), async || {}).await;
            for node in &survivors {
                node.set_clock(-3 * HOUR_MS, 0);
            }
            led_again
        };
        let (led_again, ()) = tokio::join!(agreed, watching);
        (killed, led_again)
    };
    let stamps = no_stamp_goes_back(&survivors, &switched, Duration::from_secs(12));
    let (expiries, (killed, led_again), ()) = tokio::join!(expiries, steps, stamps);

    let leaderless = killed..led_again + Duration::from_millis(500);
    let mut late = 0;
    for (due, told) in dues.iter().zip(expiries) {
        let told = told.unwrap();
        assert_eq!(told.due_ms, *due, "the deadline decides, not who noticed it");
        let came_ms = base.projected(told.came) - as_f64(*due);
        assert!(-OFF_MAX_MS - base.uncertain_ms <= came_ms, "pushed {} ms early", -came_ms);
        if !leaderless.contains(&told.came) {
            assert!(came_ms <= PUSH_LATE_MAX_MS, "pushed {came_ms} ms late");
            late += usize::from(OFF_MAX_MS < came_ms);
        }
    }
    let of_them = usize::try_from(SESSIONS).unwrap();
    assert!(late * 20 <= of_them, "{late} of {of_them} pushes more than {OFF_MAX_MS} ms late");
    eprintln!("no leader for {:?}, {late} pushes late", led_again - killed);
    for tally in load.stop().await {
        tally.check(&survivors[0].http.state(&tally.session).await);
    }
}

#[tokio::test]
async fn clocks_that_run_apart_by_percents_move_nothing_at_a_new_leader() {
    const RATE_PPM: i64 = 30_000;
    let cluster = Plan::of(3).start().await;
    let watched = load::running_session(cluster.http()).await;
    let leader = cluster.leader().await;
    let survivors = others(&cluster, leader);
    let state = survivors[0].http.state(&watched).await;
    survivors[0].set_clock(0, RATE_PPM);
    survivors[1].set_clock(0, -RATE_PPM);
    // Long enough for clocks so far apart to leave the line by far, if followers counted alone.
    let base = Reading::take(&leader.http).await;
    stays_on_its_line(&survivors, base, Duration::from_secs(8), 0.0).await;

    let base = Reading::take(&leader.http).await;
    leader.kill();
    let rate = 30_000.0 + 500.0;
    let watching = stays_on_its_line(&survivors, base, Duration::from_secs(4), rate);
    let running: Vec<u64> = ids(&survivors);
    let (successor, ()) = tokio::join!(cluster.leader_of(&running), watching);
    assert_eq!(successor.http.state(&watched).await, state, "nobody touched it");

    // The rate changes under the leader, and its clock goes on from where it is.
    let base = Reading::take(&successor.http).await;
    successor.set_clock(HOUR_MS, 0);
    stays_on_its_line(&survivors, base, Duration::from_secs(2), 1_000.0).await;
    let offset_ms = successor.http.metric("synckairos_cluster_time_offset_ms").await;
    assert!(offset_ms < -3_500_000.0, "the step is shown: {offset_ms}");
    let warned = async || {
        let log = successor.log();
        holds(log.contains("wall clock disagree"), || String::from("no warning"))
    };
    eventually(PATIENCE, "the operator is told", warned).await;
}

#[tokio::test]
async fn a_leader_that_was_cut_off_takes_over_the_time_of_the_next() {
    let cluster = Plan::of(3).with_links().start().await;
    let deposed = cluster.leader().await;
    let rest = others(&cluster, deposed);
    cluster.links().isolate(deposed.id);
    let alone = async || {
        let log = deposed.log();
        holds(log.contains("no majority answers"), || String::from("it leads still"))
    };
    eventually(PATIENCE, "it notices that it is alone", alone).await;
    let next = cluster.leader_of(&ids(&rest)).await;
    cluster.links().heal();
    cluster.leader().await;

    // Long enough for a clock so fast to leave the line by far, if it counted alone.
    deposed.set_clock(0, 30_000);
    let base = Reading::take(&next.http).await;
    stays_on_its_line(&[deposed], base, Duration::from_secs(8), 0.0).await;
}
