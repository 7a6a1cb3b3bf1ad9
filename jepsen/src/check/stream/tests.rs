//! Streams that are as they should be, and every way in which one can be wrong.

use serde_json::json;

use super::*;
use crate::{
    check::{
        example::{Example, reread},
        verdict::Validity,
    },
    history::op::F,
    nemesis::Trouble,
};

const READER: &str = "reader-1";

/// Observers, and a reader that comes back twice: once to what is kept, once to what is not.
fn good() -> Example {
    let mut example = Example::started();
    for (f, at) in [(F::Switch, 300), (F::Switch, 400), (F::Pause, 500)] {
        example.write(f, "s", at);
    }
    example.create("gone", 600);
    example.write(F::Delete, "gone", 700);
    example.create("gone", 800);
    let version = |version| example.told("s", version);
    let (third, fourth, fifth) = (version(3), version(4), version(5));
    let n = |node| (READER, node);
    example.frame(n("n1"), 1, What::Open, 220);
    example.subscribe(n("n1"), 1, "s", (221, None));
    example.message(n("n1"), 1, third, 310);
    example.frame(n("n1"), 1, What::Close, 350);
    example.frame(n("n2"), 2, What::Open, 450);
    example.subscribe(n("n2"), 2, "s", (451, Some(3)));
    example.message(n("n2"), 2, fourth, 455);
    example.message(n("n2"), 2, json!({"type": "WARNING", "sessionId": "s", "version": 4}), 456);
    example.message(n("n2"), 2, fifth.clone(), 505);
    example.message(n("n2"), 2, json!({"type": "STALE", "since_ms": 1}), 549);
    example.frame(n("n2"), 2, What::Close, 550).value = json!({"code": 4013});
    example.frame(n("n3"), 3, What::Open, 900);
    example.subscribe(n("n3"), 3, "s", (901, Some(1)));
    let mut sync = fifth;
    (sync["type"], sync["resumed"]) = (json!("STATE_SYNC"), json!(false));
    example.message(n("n3"), 3, sync, 905);
    example.end(2_000);
    example
}

fn judge(change: impl Fn(&mut Vec<Frame>)) -> Verdict {
    let mut run = good().run();
    change(&mut run.frames);
    reread(&mut run);
    check(&run)
}

/// The messages of this kind that a subscriber was told of a version.
fn place(frames: &[Frame], subscriber: &str, (kind, version): (&str, u64)) -> usize {
    let is_it = |frame: &Frame| {
        frame.subscriber == subscriber
            && frame.value["type"] == kind
            && frame.value["sessionId"] == "s"
            && frame.value["version"] == version
    };
    frames.iter().position(is_it).unwrap()
}

fn update(frames: &mut [Frame], version: u64) -> &mut Frame {
    let at = place(frames, READER, ("STATE_UPDATE", version));
    &mut frames[at]
}

fn sync(frames: &mut [Frame]) -> &mut Frame {
    let at = place(frames, READER, ("STATE_SYNC", 5));
    &mut frames[at]
}

#[test]
fn whole_streams_are_accepted() {
    let verdict = check(&good().run());
    assert_eq!(verdict.valid, Validity::Valid, "{:?} {:?}", verdict.anomalies, verdict.why);
    let fact = |name: &str| verdict.facts[name].as_u64().unwrap();
    assert_eq!((fact("subscribers"), fact("connections"), fact("resumes")), (4, 6, 2));
    assert_eq!((fact("syncs"), fact("stale"), fact("unasked")), (1, 1, 0));
    assert_eq!(fact("ends_compared"), 6);
}

#[test]
fn the_latest_state_is_right_for_who_claims_the_future() {
    let verdict = judge(|frames| {
        for frame in frames.iter_mut().filter(|frame| frame.since == Some(1)) {
            frame.since = Some(99);
        }
    });
    assert_eq!(verdict.valid, Validity::Valid, "{:?}", verdict.anomalies);
}

#[test]
fn a_new_life_follows_on_the_end_of_the_old_one() {
    // Also on a subscription that goes on.
    let verdict = judge(|frames| {
        frames.retain(|frame| {
            let again = frame.session.as_deref() == Some("gone") && 700_000_000 < frame.time;
            !again
        });
    });
    assert_eq!(verdict.valid, Validity::Valid, "{:?}", verdict.anomalies);
}

#[test]
fn broken_streams_are_found() {
    type Change = fn(&mut Vec<Frame>);
    let cases: [(&str, Change); 13] = [
        ("4 is missing", |frames| {
            let at = place(frames, READER, ("STATE_UPDATE", 4));
            frames.remove(at);
        }),
        ("repeated", |frames| {
            let again = update(frames, 4).clone();
            let at = place(frames, READER, ("STATE_UPDATE", 5));
            frames.insert(at, again);
        }),
        ("gone back to", |frames| {
            let again = update(frames, 4).clone();
            let at = place(frames, READER, ("STATE_UPDATE", 5));
            // As if it were of another entry, or the revision alone would tell.
            frames.insert(at + 1, again);
            frames[at + 1].value["revision"] = frames[at].value["revision"].clone();
        }),
        ("were told different things", |frames| {
            update(frames, 4).value["state"]["elapsed_ms"] = json!(77);
        }),
        ("with the state at version 3", |frames| {
            update(frames, 4).value["state"]["version"] = json!(3);
        }),
        ("in a message about another session", |frames| {
            update(frames, 4).value["state"]["session_id"] = json!("t");
        }),
        ("after revision", |frames| {
            update(frames, 5).value["revision"] = json!(12);
        }),
        ("was known when it asked", |frames| {
            let old = update(frames, 4).value["state"].clone();
            let message = &mut sync(frames).value;
            (message["state"], message["version"]) = (old, json!(4));
        }),
        ("is not what that update said", |frames| {
            sync(frames).value["state"]["elapsed_ms"] = json!(77);
        }),
        ("is said to follow on version 1", |frames| {
            sync(frames).value["resumed"] = json!(true);
        }),
        ("nobody deleted", |frames| {
            let frame = sync(frames);
            frame.value = json!({"type": "SESSION_DELETED", "sessionId": "s"});
        }),
        ("after the end of the session", |frames| {
            // What was told of the new life is of the old one.
            for frame in frames.iter_mut().filter(|frame| frame.subscriber == "observer-n1-1") {
                if frame.value["sessionId"] == "gone" && frame.value["version"] == 1 {
                    let version = if frame.time < 700_000_000 { 1 } else { 2 };
                    frame.value["version"] = json!(version);
                    frame.value["state"]["version"] = json!(version);
                }
            }
            frames.retain(|frame| {
                frame.session.as_deref() != Some("gone") || frame.time < 700_000_000
            });
        }),
        ("up to 4, and 5 is the last", |frames| {
            let at = place(frames, "observer-n2-1", ("STATE_UPDATE", 5));
            frames.remove(at);
        }),
    ];
    for (what, change) in cases {
        let verdict = judge(change);
        assert_eq!(verdict.valid, Validity::Invalid, "{what}");
        let says = verdict.anomalies.iter().any(|anomaly| anomaly.what.contains(what));
        assert!(says, "{what}: {:?}", verdict.anomalies);
    }
}

/// Of each message that tells of a change, what if it were lost, or came twice, or said something
/// else?
#[test]
fn no_message_can_be_lost_doubled_or_changed() {
    let run = good().run();
    let tells = |frame: &Frame| {
        let kind = frame.value["type"].as_str().unwrap_or_default();
        ["STATE_UPDATE", "STATE_SYNC", "SESSION_DELETED"].contains(&kind)
    };
    let messages = (0..run.frames.len()).filter(|at| tells(&run.frames[*at]));
    let (mut lost, mut all) = (0, 0);
    for at in messages {
        all += 1;
        let twice = judge(|frames| frames.insert(at, frames[at].clone()));
        // Two whole states are no more than one.
        let is_sync = run.frames[at].value["type"] == "STATE_SYNC";
        assert_eq!(twice.valid == Validity::Valid, is_sync, "{:?} twice", run.frames[at]);
        if run.frames[at].value["state"].is_object() {
            let changed = judge(|frames| frames[at].value["state"]["elapsed_ms"] = json!(1_234));
            assert_eq!(changed.valid, Validity::Invalid, "{:?} changed", run.frames[at]);
        }
        let missing = judge(|frames| drop(frames.remove(at)));
        lost += u64::from(missing.valid == Validity::Invalid);
        // Nobody can tell what somebody was not told who asked for no past, or left again; or who
        // may have asked for a session when it was gone, or asks for it anew.
        let may_miss = run.frames[at].subscriber == READER
            || (run.frames[at].value["sessionId"] == "gone" && run.frames[at].time < 710_000_000);
        assert!(may_miss || missing.valid == Validity::Invalid, "{:?} lost", run.frames[at]);
    }
    assert_eq!((all, lost), (28, 19));
}

#[test]
fn who_was_there_is_told_what_led_to_the_end() {
    let mut example = Example::started();
    example.create("gone", 600);
    // By then the node has told all that there was of it, and nobody has asked to delete it.
    example.write(F::Switch, "s", 650);
    example.write(F::Delete, "gone", 700);
    example.end(1_000);
    let mut run = example.run();
    assert_eq!(check(&run).valid, Validity::Valid);
    let made = run.frames.iter().position(|frame| frame.value["state"]["session_id"] == "gone");
    run.frames.remove(made.unwrap());
    reread(&mut run);
    let verdict = check(&run);
    assert_eq!(verdict.anomalies.len(), 1);
    assert!(verdict.anomalies[0].what.contains("after version 0: 1 is missing"));
}

#[test]
fn who_claims_the_future_is_not_told_the_past() {
    let verdict = judge(|frames| {
        for frame in frames.iter_mut().filter(|frame| frame.since == Some(3)) {
            frame.since = Some(99);
        }
    });
    assert_eq!(verdict.anomalies.len(), 1, "{:?}", verdict.anomalies);
    assert!(verdict.anomalies[0].what.contains("gone back to after version 99"));
}

#[test]
fn a_version_has_one_place_in_the_log() {
    let mut run = good().run();
    // All are told the same, so only the tape as a whole shows it.
    let versions = run.frames.iter_mut().filter(|frame| frame.value["version"] == 4);
    versions.for_each(|frame| frame.value["version"] = json!(3));
    reread(&mut run);
    let verdict = check(&run);
    assert!(verdict.anomalies.iter().any(|anomaly| anomaly.what.contains("came at two revisions")));
}

/// An observer that is told of nothing from 400 on, and `rest` that happens to it.
fn silent(rest: impl Fn(&mut Vec<Frame>, &mut Run)) -> Verdict {
    let mut example = Example::started();
    for at in (300..20_300).step_by(200) {
        example.write(F::Switch, "s", at);
    }
    example.end(21_000);
    let mut run = example.run();
    let mut frames = std::mem::take(&mut run.frames);
    frames.retain(|frame| {
        let rest = (400_000_000..15_000_000_000).contains(&frame.time);
        !(rest && frame.subscriber == "observer-n3-1" && frame.what == What::Message)
    });
    // What it missed comes at last, so that nothing is lost.
    let missed: Vec<Frame> = run
        .tape
        .in_order()
        .into_iter()
        .filter(|update| (400_000_000..15_000_000_000).contains(&update.seen_ns))
        .map(|update| {
            let mut frame = frames[0].clone();
            (frame.what, frame.time) = (What::Message, 15_000_000_000);
            frame.subscriber = String::from("observer-n3-1");
            frame.value = example.told(&update.session, update.version);
            frame
        })
        .collect();
    frames.extend(missed);
    frames.sort_by_key(|frame| frame.time);
    rest(&mut frames, &mut run);
    run.frames = frames;
    reread(&mut run);
    check(&run)
}

#[test]
fn silence_without_a_word_is_found() {
    let verdict = silent(|_, _| {});
    assert_eq!(verdict.anomalies.len(), 1, "{:?}", verdict.anomalies);
    assert!(verdict.anomalies[0].what.contains("out of touch"));
    // A partition is no excuse. A process that stands still is one, for as long as it does.
    let with = |trouble, times| {
        let mut example = Example::new();
        example.fault(trouble, &["n3"], times);
        let faults = example.run().faults;
        silent(|_, run| run.faults.clone_from(&faults)).valid
    };
    assert_eq!(with(Trouble::Partition, (400, 15_000)), Validity::Invalid);
    assert_eq!(with(Trouble::Pause, (5_000, 9_500)), Validity::Valid);
    assert_eq!(with(Trouble::Pause, (100, 500)), Validity::Invalid);
}

#[test]
fn silence_with_a_word_is_accepted() {
    let told = silent(|frames, _| {
        let mut stale = frames.iter().find(|frame| frame.what == What::Open).unwrap().clone();
        (stale.time, stale.what) = (3_700_000_000, What::Message);
        stale.subscriber = String::from("observer-n3-1");
        stale.value = json!({"type": "STALE", "since_ms": 1});
        let at = frames.iter().position(|frame| stale.time < frame.time).unwrap();
        frames.insert(at, stale);
    });
    assert_eq!(told.valid, Validity::Valid, "{:?}", told.anomalies);
}

#[test]
fn who_leaves_early_cannot_tell() {
    let verdict = judge(|frames| {
        let at = place(frames, "observer-n2-1", ("STATE_UPDATE", 5));
        frames.remove(at);
        let leaves = frames.iter_mut().filter(|frame| frame.what == What::Close);
        for close in leaves.filter(|frame| frame.subscriber == "observer-n2-1") {
            close.time = 2_500_000_000;
        }
    });
    assert_eq!(verdict.valid, Validity::Unknown, "{:?}", verdict.anomalies);
    let mut run = good().run();
    run.ending.recovered = false;
    assert_eq!(check(&run).valid, Validity::Unknown);
    assert_eq!(check(&Example::new().run()).valid, Validity::Unknown);
}
