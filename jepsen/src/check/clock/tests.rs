//! Clocks that run as they should, and every way in which time can be made or lost.

use super::*;
use crate::{
    check::{
        example::{EPOCH_MS, Example, iso, reread, retell},
        verdict::Validity,
    },
    history::op::F,
    nemesis::{Target, Trouble},
};

/// Switches every 50 ms until `until`.
fn play(example: &mut Example, (from, until): (u64, u64)) {
    for at in (from..until).step_by(50) {
        example.write(F::Switch, "s", at);
    }
}

/// A session that is played, pauses, goes on, is credited an outage, and runs out.
fn good() -> Example {
    let mut example = Example::started();
    play(&mut example, (300, 1_000));
    example.write(F::Pause, "s", 1_000);
    example.write(F::Resume, "s", 1_400);
    example.credit("s", (2_000, 3_000));
    play(&mut example, (3_100, 4_000));
    example.create("t", 4_000);
    example.write(F::Start, "t", 4_100);
    let due = example.expire("s", 3);
    example.write(F::Switch, "t", due + 20);
    for at in (200..due).step_by(500) {
        example.sample(at, 1, "n1");
        let now = example.clock(at + 11);
        let told = serde_json::json!({"timestamp_ms": now});
        example.op((F::Time, None), Value::Null, (at + 10, at + 12), Ok(told));
    }
    example.end(due + 100);
    example
}

fn wrong(change: impl Fn(&mut Run)) -> Verdict {
    let mut run = good().run();
    change(&mut run);
    reread(&mut run);
    check(&run)
}

#[track_caller]
fn says(verdict: &Verdict, what: &str) {
    let said = verdict.anomalies.iter().any(|anomaly| anomaly.what.contains(what));
    assert!(said, "nothing like {what:?} in {:?}", verdict.anomalies);
}

#[track_caller]
fn accepted(verdict: &Verdict) {
    assert_eq!(verdict.valid, Validity::Valid, "{:?} {:?}", verdict.anomalies, verdict.why);
}

#[test]
fn time_that_runs_as_it_should_is_accepted() {
    let verdict = check(&good().run());
    accepted(&verdict);
    assert_eq!(verdict.facts["expiries"], 1);
    assert_eq!(verdict.facts["expiry_late_ms"]["count"], 1);
    assert!(verdict.facts["widest_interval_ms"].as_f64().unwrap() < 9.0);
    let series = series(&good().run());
    assert!(30 < series.len());
    assert!(series.iter().all(|point| point.low_ms <= 1.0 && -1.0 <= point.high_ms));
    assert_eq!(check(&Example::new().run()).valid, Validity::Unknown);
}

#[test]
fn what_is_charged_is_what_ran() {
    let state = |version, change: fn(&mut Value)| {
        wrong(|run| retell(run, "s", version, |message| change(&mut message["state"])))
    };
    let used = |state: &mut Value, seat: usize, more: i64| {
        let participant = &mut state["participants"][seat]["time_used_ms"];
        *participant = json!(participant.as_i64().unwrap() + more);
    };
    // 2 is the start, 3 the first switch, 17 the pause, 18 the resume, 19 the credit.
    says(&wrong(|run| retell(run, "s", 3, |m| used(&mut m["state"], 0, 1))), "was charged");
    says(&wrong(|run| retell(run, "s", 3, |m| used(&mut m["state"], 1, 1))), "and ran 0 ms");
    says(&wrong(|run| retell(run, "s", 17, |m| used(&mut m["state"], 0, -5))), "was charged");
    says(&wrong(|run| retell(run, "s", 18, |m| used(&mut m["state"], 0, 400))), "and ran 0 ms");
    says(&state(4, |state| state["elapsed_ms"] = json!(7)), "elapsed_ms grew by");
    says(
        &state(4, |state| state["cycle_started_at"] = json!(iso(EPOCH_MS))),
        "the clock runs from",
    );
    says(
        &state(19, |state| state["cycle_started_at"] = json!(iso(EPOCH_MS + 9_000))),
        "given back",
    );
}

/// Of each version, what if one millisecond were made or lost somewhere?
#[test]
fn no_millisecond_is_made_or_lost() {
    let run = good().run();
    let mut looked_at = 0;
    for update in run.tape.sessions.values().flatten() {
        for field in ["time_used_ms", "elapsed_ms", "updated_at"] {
            for by in [-1_i64, 1] {
                let verdict = wrong(|run| {
                    retell(run, &update.session, update.version, |message| {
                        let state = &mut message["state"];
                        let more = |value: &Value| json!(value.as_i64().unwrap() + by);
                        match field {
                            "time_used_ms" => {
                                let used = &mut state["participants"][0][field];
                                *used = more(used);
                            }
                            "elapsed_ms" => state[field] = more(&state[field]),
                            _ => {
                                let at = crate::check::state::stamp_ms(state, field).unwrap() + by;
                                state[field] = json!(iso(u64::try_from(at).unwrap()));
                            }
                        }
                    })
                });
                // A stamp of a session whose clock does not run is one that nothing else follows from.
                let free = field == "updated_at"
                    && update.state.as_ref().is_some_and(|state| state["status"] == "pending");
                assert!(free || verdict.valid == Validity::Invalid, "{update:?} {field} {by}");
                looked_at += 1;
            }
        }
    }
    assert!(200 < looked_at);
}

#[test]
fn clocks_run_out_when_they_were_to() {
    let last = |run: &Run| run.tape.sessions["s"].last().unwrap().version;
    let at = |run: &mut Run, change: &dyn Fn(&mut Value)| retell(run, "s", last(run), change);
    let due = good().run().tape.sessions["s"].last().unwrap().cause["due_ms"].as_i64().unwrap();
    says(&wrong(|run| at(run, &|m| m["cause"]["due_ms"] = json!(due + 1))), "is stamped");
    // Noticed late, and stamped when it was noticed.
    says(
        &wrong(|run| {
            at(run, &|m| {
                m["cause"]["due_ms"] = json!(due + 3);
                m["state"]["updated_at"] = json!(iso(u64::try_from(due).unwrap() + 3));
            });
        }),
        "that was to run out at",
    );
    // A switch that came in the same millisecond.
    says(
        &wrong(|run| at(run, &|m| m["cause"] = json!({"type": "switched", "reason": "command"}))),
        "took effect on a clock that had run out",
    );
    says(&wrong(|run| retell(run, "s", 5, |m| m["cause"]["due_ms"] = json!(1))), "is stamped");
}

#[test]
fn clocks_do_not_run_out_early() {
    let early = |by_ms: u64| {
        wrong(|run| {
            let last = run.tape.sessions["s"].last().unwrap().version;
            for frame in &mut run.frames {
                let message = &frame.value;
                if message["sessionId"] == "s" && message["version"] == last {
                    frame.time -= by_ms * 1_000_000;
                }
            }
            run.frames.sort_by_key(|frame| frame.time);
        })
    };
    says(&early(40), "before it was due");
    accepted(&early(3));
}

#[test]
fn clocks_that_do_not_run_out_are_found() {
    let run = |expires: bool, granted_later: bool| {
        let mut example = Example::started();
        example.create("t", 300);
        example.write(F::Start, "t", 400);
        for at in (500..80_000).step_by(500) {
            example.write(F::Switch, "t", at);
        }
        if expires {
            example.expire("s", 15_000);
        }
        example.end(80_100);
        let mut run = example.run();
        for frame in run.frames.iter_mut().filter(|_| granted_later) {
            if frame.value["type"] == "SUBSCRIBED" && frame.value["sessionId"] == "s" {
                frame.time = 79_000 * 1_000_000;
            }
        }
        run.frames.sort_by_key(|frame| frame.time);
        check(&run)
    };
    says(&run(true, false), "a clock had not run out after the cluster had worked");
    says(&run(false, false), "and nobody was told of it");
    // Whoever waits for a subscription is told late of what came before it.
    accepted(&run(true, true));
}

#[test]
fn stamps_never_decrease() {
    let early = |version: u64| {
        wrong(|run| {
            let early = json!(iso(EPOCH_MS + 9));
            retell(run, "t", version, |message| message["state"]["updated_at"] = early.clone());
        })
    };
    says(&early(2), "before that of the version before it");
    says(&early(2), "before that of t at revision");
    says(&early(1), "before that of s at revision");
}

/// Two leaders: until 1000 and from 1500 on, with cluster time `moved_ms` farther on.
fn elected(moved_ms: i64, change: impl Fn(&mut Example)) -> Verdict {
    let mut example = Example::started();
    for at in (0..1_000).step_by(100) {
        example.sample(at, 1, "n1");
    }
    play(&mut example, (300, 1_000));
    example.ahead_ms = moved_ms;
    for at in (1_400..4_000).step_by(100) {
        example.sample(at, 2, "n2");
    }
    play(&mut example, (1_500, 4_000));
    change(&mut example);
    example.end(4_100);
    check(&example.run())
}

#[test]
fn leader_changes_move_time_by_little() {
    for moved_ms in [-90, 0, 90] {
        let verdict = elected(moved_ms, |_| {});
        accepted(&verdict);
        assert_eq!(verdict.facts["leader_changes"], 1);
    }
    let moved = elected(90, |_| {}).facts["largest_move_at_a_leader_change_ms"].as_f64().unwrap();
    assert!((85.0..95.0).contains(&moved), "{moved}");
    for (moved_ms, what) in [(-200, "behind anything"), (200, "ahead of anything")] {
        says(&elected(moved_ms, |_| {}), what);
    }
    // Slow packets bring the leader's word later.
    accepted(&elected(-400, |example| {
        example.fault(Trouble::Packet, &["n1"], (500, 2_000));
    }));
    // Later, not sooner.
    says(
        &elected(400, |example| {
            example.fault(Trouble::Packet, &["n1"], (500, 2_000));
        }),
        "ahead of anything",
    );
    // A wall clock that jumps is no reason.
    says(
        &elected(5_000, |example| {
            example.fault(Trouble::Clock, &["n2"], (500, 2_000));
        }),
        "ahead of anything",
    );
}

#[test]
fn who_has_heard_nothing_may_go_on_from_the_log_or_the_wall() {
    let killed = |example: &mut Example| {
        example.exit("n2", 1_050, "kill");
    };
    // 500 ms passed without anybody who leads, but the wall clock went on.
    says(&elected(-480, killed), "behind anything");
    accepted(&elected(-120, killed));
    says(&elected(2_000, killed), "ahead of anything");
    // Unless its wall clock was wrong.
    let wrong_wall = |moved_ms| {
        elected(moved_ms, |example| {
            killed(example);
            example.fault(Trouble::Clock, &["n2"], (500, 2_000));
        })
    };
    accepted(&wrong_wall(-480));
    accepted(&wrong_wall(2_000));
    let known = |moved_ms, offset_ms: i64| {
        elected(moved_ms, |example| {
            killed(example);
            let fault = example.fault(Trouble::Clock, &["n2"], (500, 2_000));
            fault.evidence = json!({"wall_offset_ms": offset_ms});
        })
    };
    accepted(&known(2_000, 2_500));
    says(&known(2_000, 1_000), "ahead of anything");
    accepted(&known(-480, -2_500));
    says(&known(-480, -200), "behind anything");
    says(&known(-480, 200), "behind anything");
    // Another one's end is none of its business, that of all is.
    says(
        &elected(-120, |example| {
            example.exit("n3", 1_050, "kill");
        }),
        "behind anything",
    );
    accepted(&elected(-120, |example| {
        example.fault(Trouble::Kill, &["n1"], (1_010, 1_050)).planned.target = Target::All;
    }));
}

#[test]
fn time_neither_jumps_nor_runs_at_another_rate() {
    let run = |ahead_ms: fn(u64) -> i64, drift: Option<Value>| {
        let mut example = Example::started();
        for at in (300..30_000).step_by(100) {
            example.ahead_ms = ahead_ms(at);
            example.write(F::Switch, "s", at);
        }
        if let Some(evidence) = drift {
            example.fault(Trouble::Drift, &["n1"], (200, 30_000)).evidence = evidence;
        }
        example.end(30_100);
        check(&example.run())
    };
    says(&run(|at| if at < 10_000 { 0 } else { 30 }, None), "ahead of anything");
    says(&run(|at| if at < 10_000 { 0 } else { -30 }, None), "behind anything");
    let slew = |at: u64| i64::try_from(at / 2_500).unwrap();
    accepted(&run(slew, None));
    let percents = |at: u64| i64::try_from(at * 3 / 100).unwrap();
    says(&run(percents, None), "ahead of anything");
    accepted(&run(percents, Some(Value::Null)));
    accepted(&run(percents, Some(json!({"rate_ppm": {"n1": -30_000}}))));
    says(&run(percents, Some(json!({"rate_ppm": 10_000}))), "ahead of anything");
}

#[test]
fn nodes_tell_the_right_time_and_never_an_earlier_one() {
    let told = |node: &'static str, by_ms: i64| {
        move |run: &mut Run| {
            let ops = run.events.iter_mut().filter(|event| event.f == "time");
            let event = ops.skip(8).find(|event| !event.value.is_null()).unwrap();
            let now = event.value["timestamp_ms"].as_i64().unwrap();
            event.value["timestamp_ms"] = json!(now + by_ms);
            assert_eq!(event.node.as_deref(), Some(node));
        }
    };
    says(&wrong(told("n1", 150)), "ahead of cluster time");
    says(&wrong(told("n1", -150)), "behind cluster time");
    says(&wrong(told("n1", -600)), "before one that it had told");
    accepted(&wrong(told("n1", 80)));
    let sampled = |by_ms: u64| {
        wrong(|run| {
            let sample = run.samples.iter_mut().filter(|sample| sample.node == "n3").nth(6);
            sample.unwrap().cluster_time_ms += by_ms;
        })
    };
    says(&sampled(300), "ahead of cluster time");
    accepted(&sampled(200));
    // Whoever was just cut off need not know the time; nor does another process know what was told.
    let mut example = good();
    example.fault(Trouble::Partition, &["n1"], (1_000, 6_000));
    let mut run = example.run();
    told("n1", 150)(&mut run);
    reread(&mut run);
    accepted(&check(&run));
    example.exit("n1", 2_205, "kill");
    let mut run = example.run();
    told("n1", -600)(&mut run);
    reread(&mut run);
    accepted(&check(&run));
}
