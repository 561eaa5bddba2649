//! `replica`: a second node, and which of the two is primary.

use crate::admin::{Answer, PairRequest, Request};
use crate::cli::{JoinArguments, PlaceArguments, ReplicaVerb};
use crate::command::store::init_key;
use crate::command::{Place, ask, bytes, unexpected};
use crate::failure::{Exit, Failure};
use crate::pair::{self, Compared, MissingLine, PairLine, PairStatus};
use crate::progress;

/// `pillarbox replica …`
pub(crate) fn run(verb: ReplicaVerb) -> Result<(), Failure> {
    match verb {
        ReplicaVerb::Invite { address, place } => invite(address, &place),
        ReplicaVerb::Join(arguments) => join(&arguments),
        ReplicaVerb::Status { json, place } => status(json, &place),
        ReplicaVerb::Compare { json, place } => compare(json, &place),
        ReplicaVerb::Promote { place } => promote(&place),
        ReplicaVerb::Switch { place } => switch(&place),
        ReplicaVerb::Forget { place } => forget(&place),
        ReplicaVerb::FullSync { yes, stop, place } => full_sync((yes, stop), &place),
    }
}

fn invite(address: String, place: &PlaceArguments) -> Result<(), Failure> {
    let request = Request::Replica(PairRequest::Invite { address });
    let Answer::Invitation { token } = ask(place, &request)? else { return Err(unexpected()) };
    println!("On the second node, within ten minutes:");
    println!();
    println!("    pillarbox replica join {token} DIRECTORY --new-key-file DIRECTORY.key");
    println!();
    println!("Whoever has this line can read all mail; it is good once.");
    Ok(())
}

fn join(arguments: &JoinArguments) -> Result<(), Failure> {
    let init = &arguments.init;
    let address = arguments.address.as_deref().unwrap_or_default();
    let key = init_key(init)?;
    let peer = pair::join(&arguments.token, &init.directory, key, address)?;
    println!("made the second node of a pair in {}", init.directory.display());
    println!("the first node is {}, at {}", peer.node, peer.address);
    println!("its recovery key opens this node, too; start it with 'pillarbox serve'");
    Ok(())
}

fn status(json: bool, place: &PlaceArguments) -> Result<(), Failure> {
    let request = Request::Replica(PairRequest::Status);
    let Answer::Pair(status) = ask(place, &request)? else { return Err(unexpected()) };
    if json {
        let text = serde_json::to_string_pretty(&status).map_err(|error| {
            Failure::new(Exit::Refused, format!("the status cannot be shown: {error}"))
        })?;
        println!("{text}");
        return Ok(());
    }
    println!("{}", node_sentence(&status));
    for word in status.etcd.iter().chain(&status.merge_mode) {
        println!("{word}");
    }
    status.volumes.iter().for_each(|line| println!("{}", volume_sentence(line)));
    Ok(())
}

fn node_sentence(status: &PairStatus) -> String {
    match (&status.peer, status.is_connected) {
        (None, _) => "there is no second node; 'pillarbox replica invite' asks one".to_owned(),
        (Some(peer), true) => format!(
            "the other node is {peer} at {}, connected, {} microseconds away",
            status.address, status.round_trip_microseconds
        ),
        (Some(peer), false) => {
            format!("the other node is {peer} at {}, and NOT connected", status.address)
        }
    }
}

fn volume_sentence(line: &PairLine) -> String {
    let PairLine { volume, role, last, .. } = line;
    let mut words = format!("volume {volume}: {role}, log up to {last}");
    if role == "primary"
        && let Some(noted) = &line.noted
    {
        let records = line.lag_records.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
        words.push_str(&format!(
            "; the other node has it up to {noted}: {records} positions behind, {} on their way \
             for {} ms",
            bytes(line.lag_bytes),
            line.lag_milliseconds
        ));
        match line.exposed_records {
            Some(0) => {}
            Some(count) => {
                words.push_str(&format!("; up to {count} acknowledged ones are here alone"))
            }
            None => words.push_str("; how many acknowledged ones are here alone is not known"),
        }
        if line.is_late {
            words.push_str("; that is LATE");
        }
        if !line.is_there {
            words.push_str("; it is AWAY or catching up");
        }
    }
    if line.is_degraded {
        words.push_str("; mail is acknowledged that is on THIS NODE ALONE");
    }
    if let Some((arrived, of)) = line.copy {
        let of = if of == 0 { "an unknown number".to_owned() } else { bytes(of) };
        words.push_str(&format!("; a full copy is on its way: {} of {of}", bytes(arrived)));
    }
    if line.is_merging {
        words.push_str("; what this node had alone is being merged");
    }
    if let Some(merged) = &line.merged {
        let counts = merged.iter().filter(|(_, count)| **count > 0);
        let counts: Vec<String> = counts.map(|(rule, count)| format!("{rule} {count}")).collect();
        let counts = if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
        words.push_str(&format!("; merged: {counts}"));
    }
    if line.healed > 0 {
        let count = line.healed;
        words.push_str(&format!("; {count} DAMAGED pieces of messages were healed from the other"));
    }
    if let (Some(count @ 1..), Some(at)) = (line.differences, &line.compared_at) {
        words.push_str(&format!("; the nodes DIFFER in {count} things as of {at}"));
    }
    if let Some(trouble) = &line.trouble {
        words.push_str(&format!("; TROUBLE: {trouble}"));
    }
    words
}

fn compare(json: bool, place: &PlaceArguments) -> Result<(), Failure> {
    let request = Request::Replica(PairRequest::Compare);
    let mut connection = Place::find(place)?.connect(request.mode())?;
    let bar = progress::bar("Comparing accounts", 0);
    let answer = connection.call(&request, b"", &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    connection.close();
    let Answer::Compared { volumes } = answer? else { return Err(unexpected()) };
    if json {
        let text = serde_json::to_string_pretty(&volumes).map_err(|error| {
            Failure::new(Exit::Refused, format!("what was found cannot be shown: {error}"))
        })?;
        println!("{text}");
    }
    let mut count = 0;
    for Compared { volume, at, accounts, bytes: read, difference_count, differences } in volumes {
        count += difference_count;
        if json {
            continue;
        }
        for difference in &differences {
            println!("volume {volume}: {}", difference.sentence);
        }
        println!(
            "volume {volume}: {accounts} accounts compared as of {at}, {} read: {}",
            bytes(read),
            match difference_count {
                0 => "both nodes hold the same".to_owned(),
                count => format!("{count} things DIFFER"),
            }
        );
    }
    match count {
        0 => Ok(()),
        _ => Err(Failure::new(
            Exit::Refused,
            "the two nodes differ; nothing was changed, see docs/replication.md",
        )),
    }
}

fn forget(place: &PlaceArguments) -> Result<(), Failure> {
    let Answer::Done = ask(place, &Request::Replica(PairRequest::Forget))? else {
        return Err(unexpected());
    };
    println!("there is no second node any more; mail is on this one alone");
    println!("'pillarbox replica invite' asks another one");
    Ok(())
}

fn full_sync((yes, stop): (bool, bool), place: &PlaceArguments) -> Result<(), Failure> {
    if !yes && !stop {
        return Err(Failure::new(
            Exit::Usage,
            "this node becomes a copy of the other one, and what it alone has is thrown away; say \
             --yes if that is wanted",
        ));
    }
    let request = Request::Replica(PairRequest::FullSync { stop });
    let Answer::Done = ask(place, &request)? else { return Err(unexpected()) };
    match stop {
        true => println!("the full copy is given up; what this node had before is still here"),
        false => println!("a full copy begins; 'pillarbox replica status' says how far it is"),
    }
    Ok(())
}

fn switch(place: &PlaceArguments) -> Result<(), Failure> {
    let Answer::Done = ask(place, &Request::Replica(PairRequest::Switch))? else {
        return Err(unexpected());
    };
    println!("the node that followed is primary now, and the other one follows it");
    Ok(())
}

fn promote(place: &PlaceArguments) -> Result<(), Failure> {
    let request = Request::Replica(PairRequest::Promote);
    let Answer::Promoted { epoch, missing } = ask(place, &request)? else {
        return Err(unexpected());
    };
    println!("this node is primary now, in epoch {epoch}");
    println!("{}", missing_sentence(missing));
    println!(
        "What the other node acknowledged and did not ship is on it alone: keep its directory."
    );
    Ok(())
}

/// What the new primary may lack, as far as it can know.
fn missing_sentence(missing: Option<MissingLine>) -> String {
    let Some(MissingLine { silent_milliseconds, positions }) = missing else {
        return "The other node was not heard of since this one started: how much is missing here \
                is not known."
            .to_owned();
    };
    let positions = match positions {
        Some(0) => "nothing is missing here".to_owned(),
        Some(count) => format!("{count} positions are MISSING here"),
        None => "it is not known how much is missing here".to_owned(),
    };
    format!(
        "The other node was last heard of {}.{:03} seconds ago; of what it had told of when it \
         came, {positions}.",
        silent_milliseconds / 1000,
        silent_milliseconds % 1000,
    )
}
