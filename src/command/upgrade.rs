//! `upgrade finish`: the store may hold what this version writes.

use crate::admin::{Answer, Request};
use crate::cli::PlaceArguments;
use crate::command::{Place, ask, unexpected};
use crate::failure::{Exit, Failure};
use crate::pair;

/// `pillarbox upgrade finish`
pub(crate) fn finish(place: &PlaceArguments) -> Result<(), Failure> {
    let found = Place::find(place)?;
    if !found.is_running()? && pair::has_second(&found.directory)? {
        return Err(Failure::new(
            Exit::Refused,
            "this node is one of a pair: start both, so that this one hears up to which format \
             level the other one reads, and ask again; nothing was changed",
        ));
    }
    let Answer::Upgraded { before, now } = ask(place, &Request::UpgradeFinish)? else {
        return Err(unexpected());
    };
    if before >= now {
        println!(
            "the store is at format level {now} already, the newest that this version writes; \
             nothing was changed"
        );
        return Ok(());
    }
    println!("the store is at format level {now} now; it was at {before}");
    println!(
        "Versions of Pillarbox that read up to level {before} refuse it from now on. There is no \
         way back with this data directory: going back means the copy of it that was made before \
         the upgrade, or 'pillarbox export' here and 'pillarbox import' into a store of the older \
         version."
    );
    Ok(())
}
