//! What the tests ask of etcd beside what the directory does: its status, and its users.

use serde_json::{Value, json};

/// Posts to the gateway, and gives its answer if its status is 200.
pub(crate) fn post(url: &str, path: &str, body: &Value) -> Option<Value> {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build();
    let agent: ureq::Agent = config.into();
    let request = agent.post(format!("{url}{path}")).content_type("application/json");
    let mut response = request.send(body.to_string()).ok()?;
    let answer = response.body_mut().read_to_vec().ok()?;
    (response.status().as_u16() == 200).then(|| serde_json::from_slice(&answer).unwrap())
}

/// A member's own number, and that of the one it takes for the leader.
pub(crate) fn of(url: &str) -> Option<(String, String)> {
    let status = post(url, "/v3/maintenance/status", &json!({}))?;
    let own = status["header"]["member_id"].as_str()?.to_owned();
    Some((own, status["leader"].as_str()?.to_owned()))
}

/// Makes the user root with this password, and demands passwords from then on.
pub(crate) fn demand_passwords(url: &str, password: &str) {
    let steps = [
        ("/v3/auth/user/add", json!({ "name": "root", "password": password })),
        ("/v3/auth/role/add", json!({ "name": "root" })),
        ("/v3/auth/user/grant", json!({ "user": "root", "role": "root" })),
        ("/v3/auth/enable", json!({})),
    ];
    for (path, body) in steps {
        post(url, path, &body).unwrap_or_else(|| panic!("{path}"));
    }
}
