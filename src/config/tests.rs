//! Tests of the configuration, and the writer of `docs/config.example.toml`.

use super::*;

const EXAMPLE: &str = include_str!("../../docs/config.example.toml");
const SECTIONS: &str = include_str!("sections.rs");

/// The example as it must be: the sections' and fields' doc comments, and the default values.
fn example() -> String {
    let defaults: toml::Table = toml::Table::try_from(Config::default()).unwrap();
    let mut text = String::from(
        "# Every setting with its default. Made from src/config/; BLESS=1 rewrites it.\n",
    );
    for section in [
        "store", "key", "tls", "imap", "pop3", "tokens", "lmtp", "smtp", "delivery", "limits",
        "log",
    ] {
        let mut capital = section.to_owned();
        capital[..1].make_ascii_uppercase();
        let (before, body) =
            SECTIONS.split_once(&format!("pub(crate) struct {capital}Section {{")).unwrap();
        text.push('\n');
        let lines: Vec<&str> = before.lines().rev().skip_while(|l| l.starts_with("#[")).collect();
        let doc: Vec<&str> = lines.into_iter().take_while(|l| l.starts_with("///")).collect();
        for line in doc.iter().rev() {
            text.push_str(&format!("#{}\n", line.trim_start_matches("///")));
        }
        text.push_str(&format!("[{section}]\n"));
        for line in body.lines().take_while(|line| *line != "}") {
            let line = line.trim();
            if let Some(comment) = line.strip_prefix("///") {
                text.push_str(&format!("#{comment}\n"));
            } else if let Some(field) = line.strip_prefix("pub(crate) ") {
                let name = field.split(':').next().unwrap();
                let value = &defaults[section].as_table().unwrap()[name];
                text.push_str(&format!("{name} = {value}\n"));
            }
        }
    }
    text
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
        ("[limits]\nmessage_bytes = 0", "limits.message_bytes"),
        ("[limits]\nreceiving_bytes = 5", "limits.receiving_bytes"),
        ("[limits]\nrecipients = 5000", "limits.recipients"),
        ("[tls]\nkey_file = \"key.pem\"", "[tls]"),
        ("[key]\nfile = \"a\"\ncredential = \"b\"", "[key]"),
        ("[smtp]\nconnections = 0", "[smtp]"),
        ("[imap]\nconnections_per_user = 0", "imap.connections_per_user"),
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
