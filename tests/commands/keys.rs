//! Keys and format levels, as an operator meets them.

use super::site;

#[test]
fn an_upgrade_of_a_new_store_is_finished_already() {
    let Some(mut site) = site() else { return };
    for round in ["stopped", "running"] {
        let ended = site.pillarbox(&["upgrade", "finish"]).well("upgrade finish");
        let said = "already, the newest that this version writes; nothing was changed";
        assert!(ended.stdout.contains(said), "{round}: {}", ended.stdout);
        let status = site.pillarbox(&["status", "--json"]).well("status").stdout;
        let level = |name: &str| {
            let (_, rest) = status.split_once(&format!("\"{name}\":")).expect("a line of status");
            rest.split([',', '}']).next().unwrap().to_owned()
        };
        assert_eq!(level("format_level"), level("format_level_newest"), "{round}");
        if round == "stopped" {
            site.start();
        }
    }
}
