//! `account`, `domain`, `alias`: who gets mail.

use crate::admin::{Answer, QuotaLine, Request};
use crate::cli::{AccountVerb, AliasVerb, DomainVerb};
use crate::command::{ask, bytes, retention, unexpected};
use crate::failure::{Exit, Failure};
use crate::secrets;

/// `pillarbox account …`
pub(crate) fn account(verb: AccountVerb) -> Result<(), Failure> {
    match verb {
        AccountVerb::Add { name, password_file, quota, place } => {
            let password = secrets::new_password(password_file.as_deref(), &name)?;
            let request = Request::AccountAdd {
                name: name.clone(),
                password: password.expose().to_owned(),
                quota_bytes: quota,
            };
            ask(&place, &request)?;
            println!("account {name} is ready");
        }
        AccountVerb::List { place } => {
            let Answer::Accounts { accounts } = ask(&place, &Request::AccountList)? else {
                return Err(unexpected());
            };
            for line in accounts {
                let quota = line.quota_bytes.map(|limit| format!(" of {}", bytes(limit)));
                println!(
                    "{}\t{} messages\t{}{}",
                    line.name,
                    line.message_count,
                    bytes(line.message_bytes),
                    quota.unwrap_or_default()
                );
            }
        }
        AccountVerb::Passwd { name, password_file, place } => {
            let password = secrets::new_password(password_file.as_deref(), &name)?;
            let request = Request::AccountPassword {
                name: name.clone(),
                password: password.expose().to_owned(),
            };
            ask(&place, &request)?;
            println!("the password of {name} is changed");
        }
        AccountVerb::Quota { name, bytes, messages, place } => {
            let request = Request::AccountQuota {
                name: name.clone(),
                bytes: bytes.unwrap_or_default(),
                messages: messages.unwrap_or_default(),
            };
            let Answer::Quota(line) = ask(&place, &request)? else { return Err(unexpected()) };
            println!("{name}: {}", quota_words(&line));
        }
        AccountVerb::Retention { name, setting, place } => {
            retention::account(name, setting, &place)?;
        }
        AccountVerb::Delete { name, yes: false, .. } => {
            return Err(Failure::new(
                Exit::Usage,
                format!("this destroys the key of {name} and with it all its mail; add --yes"),
            ));
        }
        AccountVerb::Delete { name, yes: true, place } => {
            ask(&place, &Request::AccountDelete { name: name.clone() })?;
            println!("account {name} is deleted and its key destroyed");
            println!("  here: its mail is unreadable now");
            println!("  on a follower: this store has none");
            println!(
                "  in backups: copies of the data directory from before hold the key; its mail is \
                 readable in them until they are gone"
            );
        }
    }
    Ok(())
}

fn quota_words(line: &QuotaLine) -> String {
    let of = |limit: Option<String>| match limit {
        Some(limit) => format!(" of {limit}"),
        None => ", no limit".to_owned(),
    };
    format!(
        "{}{}; {} messages{}",
        bytes(line.byte_count),
        of(line.byte_limit.map(bytes)),
        line.message_count,
        of(line.message_limit.map(|limit| limit.to_string()))
    )
}

/// `pillarbox domain …`
pub(crate) fn domain(verb: DomainVerb) -> Result<(), Failure> {
    match verb {
        DomainVerb::Add { domain, place } => {
            ask(&place, &Request::DomainAdd { domain: domain.clone() })?;
            println!("mail is taken for {domain}");
        }
        DomainVerb::List { place } => {
            let Answer::Domains { domains } = ask(&place, &Request::DomainList)? else {
                return Err(unexpected());
            };
            domains.iter().for_each(|domain| println!("{domain}"));
        }
        DomainVerb::Delete { domain, place } => {
            ask(&place, &Request::DomainDelete { domain: domain.clone() })?;
            println!("no more mail is taken for {domain}");
        }
    }
    Ok(())
}

/// `pillarbox alias …`
pub(crate) fn alias(verb: AliasVerb) -> Result<(), Failure> {
    match verb {
        AliasVerb::Add { address, targets, place } => {
            let words = format!("mail for {address} goes to {}", targets.join(", "));
            ask(&place, &Request::AliasAdd { address, targets })?;
            println!("{words}");
        }
        AliasVerb::List { place } => {
            let Answer::Aliases { aliases } = ask(&place, &Request::AliasList)? else {
                return Err(unexpected());
            };
            for alias in aliases {
                println!("{}\t{}", alias.address, alias.targets.join(" "));
            }
        }
        AliasVerb::Delete { address, place } => {
            ask(&place, &Request::AliasDelete { address: address.clone() })?;
            println!("the alias {address} is gone");
        }
    }
    Ok(())
}
