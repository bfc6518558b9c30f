//! The cloud does not let us in, or is not there.

use super::{
    account::{Faults, lab_api},
    lab::{Hafail, chapter},
};

/// `deploy` and `plan` name it, say what to do, end with code 6 and change
/// nothing.
pub fn refuses() {
    let _chapter = chapter("no way into the cloud");
    lab_api("DELETE", "calls", "");
    let nowhere = Hafail::new().variable("AWS_ENDPOINT_URL", Some("http://127.0.0.1:9"));
    let nobody = Hafail::new()
        .variable("AWS_ACCESS_KEY_ID", None)
        .variable("AWS_SECRET_ACCESS_KEY", None)
        .variable("AWS_EC2_METADATA_DISABLED", Some("true"));
    let failover = ["failover", "--region", "us-east-1", "--yes"];
    nowhere
        .fails(&failover, 6, "no-hosts")
        .says("AWS_ENDPOINT_URL");
    let commands: [&[&str]; 2] = [&["deploy", "--yes"], &["plan"]];
    for arguments in commands {
        nowhere.fails(arguments, 6, "cloud-unreachable");
        nobody.fails(arguments, 6, "credentials");
        let _faults = Faults::all("AuthFailure", None);
        Hafail::new()
            .fails(arguments, 6, "credentials")
            .says("AuthFailure");
    }
    let calls: Vec<serde_json::Value> = serde_json::from_str(&lab_api("GET", "calls", "")).unwrap();
    assert!(!calls.is_empty(), "the account was asked");
    let changing = calls.iter().filter(|call| call["changes"] == true);
    assert_eq!(changing.count(), 0, "nothing was asked for: {calls:?}");
}
