//! Tests of the configuration, and the writer of `docs/config.example.toml`.

use super::*;

const EXAMPLE: &str = include_str!("../../docs/config.example.toml");
const SECTIONS: &str = include_str!("sections.rs");
const EXTRACTORS: &str = include_str!("extractor.rs");
/// `tests/documents.rs` runs it.
const PDF_COMMAND: &str = "[\"pdftotext\", \"-q\", \"-enc\", \"UTF-8\", \"/dev/stdin\", \"-\"]";

/// The example as it must be: the sections' and fields' doc comments, and the default values.
fn example() -> String {
    let defaults: toml::Table = toml::Table::try_from(Config::default()).unwrap();
    let mut text = String::from(
        "# Every setting with its default. Made from src/config/; BLESS=1 rewrites it.\n",
    );
    for section in [
        "store",
        "key",
        "tls",
        "imap",
        "pop3",
        "clients",
        "tokens",
        "lmtp",
        "smtp",
        "delivery",
        "documents",
        "pair",
        "limits",
        "log",
    ] {
        push_section(&mut text, section, section, &defaults[section]);
        if section == "documents" {
            push_extractor(&mut text);
        }
        if section == "pair" {
            push_section(&mut text, "etcd", "pair.etcd", &defaults["pair"]["etcd"]);
        }
    }
    text
}

/// Adds a section with its defaults; tables in it stand by themselves.
fn push_section(text: &mut String, section: &str, header: &str, defaults: &toml::Value) {
    let body = push_head(text, SECTIONS, section);
    text.push_str(&format!("[{header}]\n"));
    let mut comments = String::new();
    for line in body.lines().take_while(|line| *line != "}") {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix("///") {
            comments.push_str(&format!("#{comment}\n"));
        } else if let Some(field) = line.strip_prefix("pub(crate) ") {
            let name = field.split(':').next().unwrap();
            let (comment, value) = (std::mem::take(&mut comments), &defaults[name]);
            if value.is_table() {
                continue;
            }
            text.push_str(&comment);
            if let Some(range) = range_of(header, name) {
                text.push_str(&format!("# From {range}.\n"));
            }
            text.push_str(&format!("{name} = {value}\n"));
        }
    }
}

/// Adds the comment of a section; answers the fields behind it.
fn push_head<'s>(text: &mut String, source: &'s str, section: &str) -> &'s str {
    let mut capital = section.to_owned();
    capital[..1].make_ascii_uppercase();
    let (before, body) =
        source.split_once(&format!("pub(crate) struct {capital}Section {{")).unwrap();
    text.push('\n');
    let is_beside = |line: &&str| line.starts_with("#[") || line.starts_with("// ");
    let is_beside = |line: &&str| is_beside(line) || *line == "//";
    let lines: Vec<&str> = before.lines().rev().skip_while(is_beside).collect();
    let doc: Vec<&str> = lines.into_iter().take_while(|l| l.starts_with("///")).collect();
    for line in doc.iter().rev() {
        text.push_str(&format!("#{}\n", line.trim_start_matches("///")));
    }
    body
}

/// Adds an extractor of PDF, switched off: its lines have no blank behind the `#`.
fn push_extractor(text: &mut String) {
    let body = push_head(text, EXTRACTORS, "extractor");
    let defaults = toml::Table::try_from(ExtractorSection::default()).unwrap();
    text.push_str("#[[extractor]]\n");
    for line in body.lines().take_while(|line| *line != "}") {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix("///") {
            text.push_str(&format!("#{comment}\n"));
        } else if let Some(field) = line.strip_prefix("pub(crate) ") {
            let name = field.split(':').next().unwrap();
            let value = match name {
                "types" => "[\"application/pdf\", \"application/x-pdf\", \".pdf\"]".to_owned(),
                "command" => PDF_COMMAND.to_owned(),
                "url" => "\"http://127.0.0.1:9998/tika\"".to_owned(),
                _ => defaults[name].to_string(),
            };
            // It has a command already.
            let off = if name == "url" { "# " } else { "#" };
            text.push_str(&format!("{off}{name} = {value}\n"));
        }
    }
}

#[test]
fn the_extractor_of_the_example_is_one() {
    let switched_on = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
        _ => format!("{line}\n"),
    };
    let text: String = EXAMPLE.lines().map(switched_on).collect();
    let config = Config::parse(&text).unwrap();
    let [pdf] = &config.extractors[..] else { panic!("{text}") };
    assert!(pdf.types.iter().any(|kind| kind.fits("application/pdf", "")));
    assert_eq!(pdf.command[0], "pdftotext");
    let usual = ExtractorSection::default();
    assert_eq!(pdf.timeout_seconds, usual.timeout_seconds);
    assert_eq!(pdf.memory_bytes, usual.memory_bytes);
}

/// "1 to 5" for a number that has bounds, as a number outside of them is refused.
fn range_of(section: &str, key: &str) -> Option<String> {
    let refused = Config::parse(&format!("[{section}]\n{key} = {}\n", i64::MAX)).err()?;
    let (_, range) = refused.split_once("does not lie between ")?;
    Some(range.replace(" and ", " to "))
}

#[test]
fn the_example_file_is_the_default_configuration_with_its_comments() {
    if std::env::var_os("BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/config.example.toml");
        std::fs::write(path, example()).unwrap();
        return;
    }
    assert_eq!(EXAMPLE, example(), "run this test with BLESS=1 and commit what it wrote");
    assert_eq!(Config::parse(EXAMPLE).unwrap(), Config::default());
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_key() {
    let cases = [
        ("[imap]\nlisten_tsl = []\n", "line 2: there is no key \"listen_tsl\"", "\"listen_tls\""),
        ("\n\n[imapp]\n", "line 3: there is no key \"imapp\"", "\"imap\""),
        ("[log]\n\nlevle = \"info\"", "line 3: there is no key \"levle\"", "\"level\""),
    ];
    for (text, starts, names) in cases {
        let message = Config::parse(text).unwrap_err();
        assert!(message.starts_with(starts), "{text:?} gave {message:?}");
        assert!(message.contains(&format!("did you mean {names}")), "{text:?} gave {message:?}");
    }
}

#[test]
fn values_that_cannot_work_are_refused_with_the_key_that_is_wrong() {
    let cases = [
        ("[imap]\nlisten = [\"everywhere\"]", "imap.listen"),
        ("[limits]\nreceiving_bytes = 5", "limits.receiving_bytes"),
        ("[tls]\nkey_file = \"key.pem\"", "[tls]"),
        ("[key]\nfile = \"a\"\ncredential = \"b\"", "[key]"),
        ("[pop3]\nlisten_tls = [\"995\"]", "pop3.listen_tls"),
        ("[tokens]\nintrospection_url = \"https://id.example.org/\"", "[tokens] needs client_id"),
        ("[log]\nlevel = \"info,=,=\"", "log.level"),
    ];
    for (text, names) in cases {
        let mut config = Config::parse(text).unwrap();
        if config.key == KeySection::default() {
            config.key.file = PathBuf::from("demo.key");
        }
        let failure = config.server_options().unwrap_err();
        assert!(failure.sentence.contains(names), "{text:?} gave {:?}", failure.sentence);
        assert_eq!(failure.exit, Exit::Configuration, "{text:?}");
    }
}

#[test]
fn a_wrong_value_is_refused_with_its_line_and_its_key() {
    let cases = [
        ("[imap]\n\ncommand_bytes = 1", "line 3: imap.command_bytes: 1 does not lie between 8192 "),
        ("[imap]\nsearch_depth = 501", "line 2: imap.search_depth: 501 does not lie between 1 "),
        ("[imap]\nidle_command_seconds = -1", "line 2: imap.idle_command_seconds: -1 does not "),
        ("[imap]\nsort_bytes = \"big\"", "line 2: imap.sort_bytes: invalid type: string"),
        ("[imap]\nconnections_per_user = 0", "line 2: imap.connections_per_user: 0 does not lie "),
        ("[smtp]\nconnections = 0", "line 2: smtp.connections: 0 does not lie between 1 and "),
        ("clients.failed_logins = 0", "line 1: clients.failed_logins: 0 does not lie between 1 "),
        ("[pop3]\ncommand_bytes = 2.5", "line 2: pop3.command_bytes: invalid type: floating"),
        ("[limits]\nmessage_bytes = 0", "line 2: limits.message_bytes: 0 does not lie between "),
        ("[limits]\nrecipients = 5000", "line 2: limits.recipients: 5000 does not lie between "),
        ("[store]\nsegment_bytes = 5", "line 2: store.segment_bytes: 5 does not lie between "),
        ("[delivery]\nover_quota = \"drop\"", "line 2: delivery.over_quota: unknown variant"),
        ("[lmtp]\nbare_newlines = 1", "line 2: lmtp.bare_newlines: "),
    ];
    for (text, starts) in cases {
        let message = Config::parse(text).unwrap_err();
        assert!(message.starts_with(starts), "{text:?} gave {message:?}");
    }
}

#[test]
fn every_setting_of_what_clients_may_do_reaches_the_server() {
    let options = |text: &str| {
        let mut config = Config::parse(text).unwrap();
        config.key.file = PathBuf::from("demo.key");
        format!("{:?}", config.server_options().unwrap())
    };
    let default = options("");
    let defaults: toml::Table = toml::Table::try_from(Config::default()).unwrap();
    let mut tried = 0;
    for section in ["imap", "pop3", "clients", "lmtp", "smtp", "delivery", "documents", "limits"] {
        for (key, value) in defaults[section].as_table().unwrap() {
            let other = match value {
                toml::Value::Integer(number) => (number + 1).to_string(),
                toml::Value::Boolean(is_on) => (!is_on).to_string(),
                toml::Value::Array(_) => "[\"192.0.2.1:5\"]".to_owned(),
                toml::Value::String(text) => match text.as_str() {
                    "retry" | "normalise" => "\"refuse\"".to_owned(),
                    "refuse" => "\"normalise\"".to_owned(),
                    "loopback" => "\"never\"".to_owned(),
                    _ => "\"other\"".to_owned(),
                },
                _ => panic!("{section}.{key} is of a kind of its own"),
            };
            let text = format!("[{section}]\n{key} = {other}\n");
            assert_ne!(options(&text), default, "{text:?} changes nothing");
            tried += 1;
        }
    }
    assert!(tried > 40, "{tried} settings");
}

#[test]
fn a_file_beside_the_directory_never_lies_inside_it() {
    assert_eq!(beside(Path::new("some/store/"), ".key"), PathBuf::from("some/store.key"));
    assert_eq!(beside(Path::new("store"), ".tls"), PathBuf::from("store.tls"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        let _ = Config::parse(&text);
    }

    #[test]
    fn distance_is_zero_only_between_equals(one in "[a-z]{0,9}", other in "[a-z]{0,9}") {
        proptest::prop_assert_eq!(distance(&one, &other) == 0, one == other);
        proptest::prop_assert_eq!(distance(&one, &other), distance(&other, &one));
    }
}
