//! The stand-in for Alibaba Cloud as a process: `alibaba ADDRESS POLICY.json`. It listens at the address, with real
//! databases behind the instances of RDS, makes a user with the policy, prints its own address and the user's access key
//! as JSON, and ends when its standard input is closed. A line on standard input asks what exists, and is answered as a
//! JSON list.

#![expect(clippy::print_stdout, clippy::expect_used, reason = "a program of the tests")]

use std::{env, fs, io};

use bindery_test_support::alibaba::{Alibaba, REGION};
use serde_json::json;

fn main() {
    let mut arguments = env::args().skip(1);
    let (Some(address), Some(policy)) = (arguments.next(), arguments.next()) else {
        panic!("usage: alibaba ADDRESS POLICY.json");
    };
    let policy = fs::read_to_string(&policy).expect("the file of the policy");
    let cloud = Alibaba::start_with_databases(&address);
    let key = cloud.key("broker", &policy);
    let started =
        json!({"url": cloud.url(), "region": REGION, "accessKeyId": key.id, "accessKeySecret": key.secret});
    println!("{started}");
    for line in io::stdin().lines() {
        line.expect("standard input");
        println!("{}", json!(cloud.left()));
    }
}
