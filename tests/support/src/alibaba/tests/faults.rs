//! Planned faults.

use std::{sync::Arc, thread};

use super::{
    super::{Alibaba, Fault, Request},
    done, refused,
};

const USER: [(&str, &str); 1] = [("UserName", "orders")];

#[test]
fn faults_happen_once_before_or_after_the_effect() {
    let (cloud, key) = (Alibaba::start(), Alibaba::root());
    for (fault, status, has_effect) in [
        (Fault::THROTTLED, 400, false),
        (Fault::UNAVAILABLE, 503, false),
        (Fault::FAILS_AFTER, 500, true),
        (Fault::LostBefore, 0, false),
        (Fault::LostAfter, 0, true),
    ] {
        cloud.fail_next("CreateUser", fault);
        assert_eq!(cloud.ask(&key, Request::rpc("ram", "CreateUser", &USER)).0, status, "{fault:?}");
        assert_eq!(!cloud.left().is_empty(), has_effect, "{fault:?}");
        if !has_effect {
            done(&cloud, &key, "ram:CreateUser", &USER);
        }
        done(&cloud, &key, "ram:DeleteUser", &USER);
    }
}

#[test]
fn every_third_call_is_throttled() {
    let (cloud, key) = (Alibaba::start(), Alibaba::root());
    cloud.fail_every(3, Fault::THROTTLED);
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(cloud.ask(&key, Request::rpc("ram", "ListUsers", &[])).0);
    }
    assert_eq!(statuses, [200, 200, 400, 200, 200, 400]);
    cloud.reset();
    done(&cloud, &key, "ram:ListUsers", &[]);
    assert_eq!(cloud.calls(), ["ram:ListUsers"]);
}

#[test]
fn calls_hang_from_one_on() {
    for (fault, left) in [(Fault::HangsBefore, 0), (Fault::HangsAfter, 1)] {
        let cloud = Arc::new(Alibaba::start());
        cloud.hang_from(1, fault);
        let call = |name: &'static str| {
            let cloud = Arc::clone(&cloud);
            thread::spawn(move || {
                let create = Request::rpc("ram", "CreateUser", &[("UserName", name)]);
                cloud.ask(&Alibaba::root(), create).0
            })
        };
        let first = call("first");
        while cloud.calls().is_empty() || cloud.left().len() < left {
            thread::yield_now();
        }
        let second = call("second");
        while cloud.calls().len() < 2 {
            thread::yield_now();
        }
        // Both hang: a call is noted before it waits.
        while !first.is_finished() || !second.is_finished() {
            cloud.release();
            thread::yield_now();
        }
        assert_eq!((first.join().unwrap(), second.join().unwrap()), (0, 0));
        assert_eq!(cloud.left().len(), left, "{fault:?}");
        assert_eq!(cloud.parameters("CreateUser").len(), 2);
    }
}

#[test]
fn unknown_actions_are_refused() {
    let (cloud, key) = (Alibaba::start(), Alibaba::root());
    let id = super::instance(&cloud, &key);
    while super::state(&cloud, &key, &id) != "Running" {}
    for (action, parameters) in [
        ("ram:DeleteEverything", vec![("PolicyName", "x")]),
        ("sts:DeleteEverything", vec![]),
        ("rds:DeleteEverything", vec![("DBInstanceId", id.as_str())]),
    ] {
        assert_eq!(refused(&cloud, &key, action, &parameters).0, 404, "{action}");
    }
}
