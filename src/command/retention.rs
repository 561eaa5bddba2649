//! `retention`, `account retention`, `undelete`: what is kept after it was expunged.

use crate::admin::{Answer, KeptLine, Request, RetentionAnswer, RetentionRequest, Setting, Wanted};
use crate::cli::{PlaceArguments, RetentionArguments, UndeleteArguments};
use crate::command::{Place, ask, bytes, unexpected, when};
use crate::failure::Failure;
use crate::progress;

const DAY: u64 = 86_400;

/// `30`, `off`; for an account also `hold` and `store`.
pub(crate) fn setting(text: &str) -> Result<Setting, String> {
    match text {
        "off" => Ok(Setting::Off),
        "hold" => Ok(Setting::Hold),
        "store" => Ok(Setting::Store),
        days => match days.strip_suffix('d').unwrap_or(days).parse::<u64>() {
            Ok(days @ 1..=36_500) => Ok(Setting::Seconds(days * DAY)),
            _ => Err("write a number of days from 1 to 36500, or off; for an account also hold, \
                      or store for what the store's setting says"
                .to_owned()),
        },
    }
}

/// `pillarbox retention …`
pub(crate) fn store(arguments: &RetentionArguments) -> Result<(), Failure> {
    let shortened = arguments.low_space.as_deref().map(|what| what == "shorten");
    let request = match (arguments.setting, shortened) {
        (None, None) => RetentionRequest::Show { account: None },
        (setting, shortened) => RetentionRequest::Store { setting, shortened },
    };
    println!("{}", settings_words(&request_answer(&arguments.place, request)?)?);
    Ok(())
}

/// `pillarbox account retention …`
pub(crate) fn account(
    name: String,
    setting: Option<Setting>,
    place: &PlaceArguments,
) -> Result<(), Failure> {
    let request = match setting {
        None => RetentionRequest::Show { account: Some(name.clone()) },
        Some(setting) => RetentionRequest::Account { account: name.clone(), setting },
    };
    println!("{name}: {}", settings_words(&request_answer(place, request)?)?);
    Ok(())
}

/// `pillarbox undelete …`
pub(crate) fn undelete(arguments: UndeleteArguments) -> Result<(), Failure> {
    let UndeleteArguments { user: account, mailbox, since, list, dry_run, place } = arguments;
    let wanted = Wanted { mailbox, since };
    if list {
        return show_kept(&account, &wanted, &place);
    }
    let request = Request::Retention(RetentionRequest::Undelete {
        account: account.clone(),
        wanted,
        dry_run,
    });
    let mut connection = Place::find(&place)?.connect(request.mode())?;
    let bar = progress::bar("Bringing back messages", 0);
    let answer = connection.call(&request, b"", &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    connection.close();
    let Answer::Retention(RetentionAnswer::Back { mailboxes }) = answer? else {
        return Err(unexpected());
    };
    let words = if dry_run { "would come back to" } else { "came back to" };
    for (mailbox, count) in &mailboxes {
        println!("{count} messages {words} {mailbox}");
    }
    if mailboxes.is_empty() {
        println!("nothing of that is kept; 'pillarbox undelete {account} --list' shows what is");
    }
    Ok(())
}

fn show_kept(account: &str, wanted: &Wanted, place: &PlaceArguments) -> Result<(), Failure> {
    let mut connection = None;
    let mut from = None;
    let mut count = 0u64;
    loop {
        let (account, wanted) = (account.to_owned(), wanted.clone());
        let request = Request::Retention(RetentionRequest::List { account, wanted, from });
        let connection = match connection.as_mut() {
            Some(connection) => connection,
            None => connection.insert(Place::find(place)?.connect(request.mode())?),
        };
        let answer = connection.call(&request, b"", &mut |_, _| {})?;
        let Answer::Retention(RetentionAnswer::Kept { messages, next }) = answer else {
            return Err(unexpected());
        };
        for line in &messages {
            count += 1;
            println!("{}", kept_words(line));
        }
        if next.is_none() {
            break;
        }
        from = next;
    }
    if let Some(connection) = connection {
        connection.close();
    }
    if count == 0 {
        println!("nothing is kept of {account}");
    }
    Ok(())
}

fn kept_words(line: &KeptLine) -> String {
    let until = line.until.map_or_else(|| "hold".to_owned(), when::show);
    format!(
        "{}\tUID {}\treceived {}\texpunged {}\tkept until {until}\t{}\t{}",
        line.mailbox,
        line.uid,
        when::show(line.received),
        when::show(line.expunged_at),
        bytes(line.message_bytes),
        line.subject
    )
}

fn request_answer(
    place: &PlaceArguments,
    request: RetentionRequest,
) -> Result<RetentionAnswer, Failure> {
    match ask(place, &Request::Retention(request))? {
        Answer::Retention(answer) => Ok(answer),
        _ => Err(unexpected()),
    }
}

fn settings_words(answer: &RetentionAnswer) -> Result<String, Failure> {
    let RetentionAnswer::Settings { store, shortened, account } = answer else {
        return Err(unexpected());
    };
    let Some(account) = account else {
        let low = if *shortened { "shortens it, but no hold" } else { "does not shorten it" };
        return Ok(format!("expunged mail is {}; low space {low}", kept_for(*store)));
    };
    let setting = match account.setting {
        Setting::Store => format!("{}, as the store's setting says", kept_for(*store)),
        own => kept_for(own),
    };
    let (count, size) = (account.message_count, bytes(account.message_bytes));
    Ok(format!("expunged mail is {setting}; {count} messages of {size} are kept now"))
}

fn kept_for(setting: Setting) -> String {
    match setting {
        Setting::Store => "kept as the store says".to_owned(),
        Setting::Off => "not kept".to_owned(),
        Setting::Hold => "kept until the hold is lifted".to_owned(),
        Setting::Seconds(seconds) if seconds % DAY == 0 => {
            format!("kept for {} days", seconds / DAY)
        }
        Setting::Seconds(seconds) => format!("kept for {seconds} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_is_a_number_of_days_or_a_word() {
        let table = [
            ("30", Some(Setting::Seconds(30 * DAY)), "days"),
            ("30d", Some(Setting::Seconds(30 * DAY)), "days, said"),
            ("off", Some(Setting::Off), "a word"),
            ("hold", Some(Setting::Hold), "a word"),
            ("0", None, "off is said by its word"),
            ("forever", None, "no such word"),
            ("99999999", None, "longer than a life"),
        ];
        for (text, expected, reason) in table {
            assert_eq!(setting(text).ok(), expected, "{reason}: {text}");
        }
    }
}
