//! A pair in network namespaces, with a ledger kept outside: some of `benches/pair/scenarios.py`,
//! and the runbook.

use std::process::Command;
use std::time::Duration;

use crate::support::tool;

/// Of a whole script.
const SCRIPT_DEADLINE: Duration = Duration::from_secs(300);

/// Runs a script of `benches/pair` against the binary; answers what it said.
fn script(test: &str, name: &str, arguments: &[&str]) -> Option<String> {
    if !tool::present(test, &["python3"]) {
        return None;
    }
    let path = format!("{}/benches/pair/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new("python3");
    python
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(path)
        .args(["--pillarbox", env!("CARGO_BIN_EXE_pillarbox")]);
    python.args(arguments);
    let said = tool::run(&mut python, b"", SCRIPT_DEADLINE).well(test).output();
    if said.contains("SKIPPED") {
        tool::skipped(test, &said);
        return None;
    }
    Some(said)
}

#[test]
fn a_ledger_outside_agrees_after_a_failover_and_a_partition_and_notices_what_is_wrong() {
    let chosen = "ledger_sees,failover_durable,partition_both";
    let arguments = ["--only", chosen, "--seconds", "0.5"];
    let Some(said) = script("the ledger", "scenarios.py", &arguments) else { return };
    let count = said.matches("the ledger agrees").count();
    assert_eq!(count, chosen.split(',').count(), "{said}");
}

#[test]
#[ignore = "takes minutes: benches/pair/runbook.py is run by hand"]
fn the_runbook_of_the_pair_works_to_the_letter() {
    let Some(said) = script("the runbook", "runbook.py", &[]) else { return };
    assert!(said.contains("followed to its end"), "{said}");
    assert!(said.matches("the ledger agrees").count() >= 5, "{said}");
}
