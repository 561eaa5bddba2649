//! A second node that stays behind is told, and format levels wait for it.

use super::*;

#[test]
fn a_node_that_stays_behind_is_told_until_it_has_caught_up() {
    let mut two = Two::joined("lag_alarm_seconds = 2");
    let Two { first, second, .. } = &mut two;
    first.announce_error("the other node is LATE");
    let before = status(first).unwrap();
    let volume = &before["volumes"][0];
    assert_eq!((&volume["is_late"], &volume["exposed_records"]), (&false.into(), &0.into()));
    let level = first.pillarbox(&["upgrade", "finish"]).well("upgrade finish").stdout;
    assert!(level.contains("nothing was changed"), "a new store has the newest: {level}");

    second.kill9();
    let refused = second.pillarbox(&["upgrade", "finish"]);
    assert!(refused.output().contains("one of a pair"), "{}", refused.output());
    assert!(deliver(first, 4));
    wait_until("the first node says that the second is late", DEADLINE, || {
        let status = status(first)?;
        let volume = &status["volumes"][0];
        let is_exposed = volume["exposed_records"].as_u64()? > 0;
        let for_long = volume["lag_milliseconds"].as_u64()? >= 2000;
        (volume["is_late"] == true && is_exposed && for_long).then_some(())
    });
    let words = first.pillarbox(&["replica", "status"]).well("status").stdout;
    assert!(words.contains("LATE") && words.contains("here alone"), "{words}");
    first.await_log("is LATE");

    second.start();
    two.await_there();
    let first = &two.first;
    first.await_log("late no more");
    let after = status(first).unwrap();
    let volume = &after["volumes"][0];
    assert_eq!((&volume["is_late"], &volume["exposed_records"]), (&false.into(), &0.into()));
    assert_eq!(first.log().matches("is LATE").count(), 1, "it is told once");
}
