//! Exchanges as clients have them, and what is none.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::seal::{PreparedPassword, ScramKeys};

use super::*;

const PASSWORDS: Offer =
    Offer { passwords: true, channel_binding: false, tokens: true, certificate: true };
const BOUND: Offer = Offer { channel_binding: true, ..PASSWORDS };
const BINDING: ChannelBinding = [7; 32];

/// One message, as text: what came of it.
fn said(mechanism: Mechanism, message: &str) -> String {
    shown(Exchange::begin(mechanism, None, PASSWORDS).answer(message.as_bytes()))
}

fn shown(step: Step) -> String {
    match step {
        Step::Challenge(bytes) => format!("+ {}", String::from_utf8_lossy(&bytes)),
        Step::Keys(name) => format!("keys of {name}"),
        Step::Check(Claim::Password { name, password }) => {
            format!("{name} has {}", password.expose())
        }
        Step::Check(Claim::Token { name, token }) => {
            format!("{} holds {}", name.unwrap_or_default(), token.expose())
        }
        Step::Check(Claim::Proven { name }) => format!("{name} has proved it"),
        Step::Check(Claim::Certificate { name }) => format!("certified {name:?}"),
        Step::Denied { why, .. } => format!("denied: {why}"),
        Step::NotPermitted => "not permitted".into(),
        Step::Malformed(_) => "malformed".into(),
    }
}

#[test]
fn one_message_says_it_all_or_nothing() {
    use Mechanism::*;
    for (mechanism, message, expected, why) in [
        (Plain, "\0demo\0pw", "demo has pw", "RFC 4616"),
        (Plain, "demo\0demo\0pw", "demo has pw", "as oneself"),
        (Plain, "root\0demo\0pw", "not permitted", "as somebody else"),
        (Plain, "\0demo", "malformed", "no password"),
        (Plain, "\0demo\0pw\0", "malformed", "too many parts"),
        (Plain, "", "malformed", "nothing"),
        (Plain, "\0de\nmo\0pw", "malformed", "a control character in a name"),
        (External, "", "certified None", "whoever the certificate names"),
        (External, "demo", "certified Some(\"demo\")", "one of them"),
        (External, "a\0b", "malformed", "NUL"),
        (
            OAuthBearer,
            "n,a=demo@x,\u{1}host=h\u{1}port=1\u{1}auth=Bearer t0k=\u{1}\u{1}",
            "demo@x holds t0k=",
            "RFC 7628 section 4.1",
        ),
        (OAuthBearer, "n,,\u{1}auth=bearer t\u{1}\u{1}", " holds t", "without a name"),
        (OAuthBearer, "n,a=a=2Cb=3D,\u{1}auth=Bearer t\u{1}\u{1}", "a,b= holds t", "escapes"),
        (OAuthBearer, "n,a=a=2b,\u{1}auth=Bearer t\u{1}\u{1}", "malformed", "a bad escape"),
        (OAuthBearer, "p=x,,\u{1}auth=Bearer t\u{1}\u{1}", "malformed", "a binding"),
        (OAuthBearer, "n,,\u{1}auth=Bearer t\u{1}", "malformed", "one separator is missing"),
        (OAuthBearer, "n,,\u{1}auth=Bearer t\u{1}\u{1}x", "malformed", "something behind"),
        (OAuthBearer, "n,,\u{1}auth=Basic t\u{1}\u{1}", "malformed", "no bearer"),
        (OAuthBearer, "n,,\u{1}auth=Bearer t\u{1}auth=Bearer u\u{1}\u{1}", "malformed", "two"),
        (OAuthBearer, "n,,\u{1}auth=Bearer a&b\u{1}\u{1}", "malformed", "not a token's letter"),
        (OAuthBearer, "\u{1}", "malformed", "nothing"),
        (XOAuth2, "user=demo@x\u{1}auth=Bearer t\u{1}\u{1}", "demo@x holds t", "as Google does"),
        (XOAuth2, "n,,\u{1}auth=Bearer t\u{1}\u{1}", "malformed", "the other form"),
    ] {
        assert_eq!(said(mechanism, message), expected, "{mechanism:?}: {why}");
    }
}

#[test]
fn login_asks_twice_and_takes_an_initial_name() {
    let mut exchange = Exchange::begin(Mechanism::Login, None, PASSWORDS);
    assert_eq!(shown(exchange.invite()), "+ Username:");
    assert_eq!(shown(exchange.answer(b"demo")), "+ Password:");
    assert_eq!(shown(exchange.answer(b"p\xc3\xa4ss")), "demo has päss");
    assert_eq!(said(Mechanism::Login, "a\nb"), "malformed");
}

/// The keys of the password "pencil" with the salt of RFC 7677 section 3.
fn pencil() -> ScramKeys {
    let password = PreparedPassword::new(&Secret::new("pencil".into())).unwrap();
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    ScramKeys::derive(&password, &salt, 4096.try_into().unwrap())
}

/// A client-final message for a server-first one, with a proof that is right.
fn client_final(bare: &str, server_first: &str, binding: &[u8]) -> String {
    use aws_lc_rs::{digest, hmac, pbkdf2};
    let nonce = server_first.strip_prefix("r=").unwrap().split(',').next().unwrap();
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let mut salted = [0; 32];
    let iterations = 4096.try_into().unwrap();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, b"pencil", &mut salted);
    let mac = |key: &[u8], message: &[u8]| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
    };
    let client_key = mac(&salted, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, &client_key);
    let unproven = format!("c={},r={nonce}", STANDARD.encode(binding));
    let message = format!("{bare},{server_first},{unproven}");
    let signature = mac(stored_key.as_ref(), message.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    format!("{unproven},p={}", STANDARD.encode(proof))
}

fn challenge(step: Step) -> String {
    match step {
        Step::Challenge(bytes) => String::from_utf8(bytes).unwrap(),
        step => panic!("{step:?}"),
    }
}

/// A whole exchange with this GS2 header and this binding behind it.
fn scram(mechanism: Mechanism, offer: Offer, header: &str, binding: &[u8]) -> String {
    let tls = offer.channel_binding.then_some(BINDING);
    let mut exchange = Exchange::begin(mechanism, tls, offer);
    let bare = "n=demo@example.org,r=abc";
    match exchange.answer(format!("{header}{bare}").as_bytes()) {
        Step::Keys(name) => assert_eq!(name, "demo@example.org"),
        step => return shown(step),
    }
    let server_first = challenge(exchange.keys(pencil(), [9; 18]));
    let expected = format!("r=abc{},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", STANDARD.encode([9; 18]));
    assert_eq!(server_first, expected);
    let binding = [header.as_bytes(), binding].concat();
    match exchange.answer(client_final(bare, &server_first, &binding).as_bytes()) {
        Step::Challenge(last) => assert!(last.starts_with(b"v=")),
        step => return shown(step),
    }
    shown(exchange.answer(b""))
}

#[test]
fn scram_binds_to_the_connection_where_it_can() {
    use Mechanism::{ScramSha256, ScramSha256Plus};
    let (right, wrong) = (BINDING.as_slice(), [8; 32]);
    let proved = "demo@example.org has proved it";
    let mismatch = "denied: the channel binding is wrong";
    for (mechanism, offer, header, binding, expected, why) in [
        (ScramSha256, PASSWORDS, "n,,", &[][..], proved, "RFC 7677"),
        (ScramSha256, PASSWORDS, "y,,", &[], proved, "we cannot bind, as the client believes"),
        (ScramSha256, BOUND, "n,,", &[], proved, "the client cannot bind"),
        (ScramSha256, BOUND, "y,,", &[], "malformed", "somebody struck -PLUS out of the list"),
        (ScramSha256, BOUND, "p=tls-exporter,,", right, "malformed", "that is -PLUS"),
        (ScramSha256Plus, BOUND, "p=tls-exporter,,", right, proved, "RFC 9266"),
        (ScramSha256Plus, BOUND, "p=tls-exporter,,", &wrong, mismatch, "another connection"),
        (ScramSha256Plus, BOUND, "p=tls-exporter,,", &[], mismatch, "no binding"),
        (ScramSha256Plus, BOUND, "p=tls-unique,,", right, "malformed", "RFC 9266 section 3"),
        (ScramSha256Plus, BOUND, "n,,", &[], "malformed", "-PLUS binds"),
        (ScramSha256Plus, BOUND, "y,,", &[], "malformed", "-PLUS binds"),
        (ScramSha256, PASSWORDS, "n,a=demo@example.org,", &[], proved, "as oneself"),
        (ScramSha256, PASSWORDS, "n,a=root,", &[], "not permitted", "as somebody else"),
        (ScramSha256, PASSWORDS, "n,x=root,", &[], "malformed", "no authzid"),
        (ScramSha256, PASSWORDS, "x,,", &[], "malformed", "no flag"),
    ] {
        assert_eq!(scram(mechanism, offer, header, binding), expected, "{mechanism:?}: {why}");
    }
}

#[test]
fn a_scram_message_that_is_changed_proves_nothing() {
    let bare = "n=demo,r=abc";
    let begun = || {
        let mut exchange = Exchange::begin(Mechanism::ScramSha256, None, PASSWORDS);
        let Step::Keys(_) = exchange.answer(format!("n,,{bare}").as_bytes()) else { panic!() };
        let server_first = challenge(exchange.keys(pencil(), [9; 18]));
        (exchange, client_final(bare, &server_first, b"n,,"))
    };
    let (_, right) = begun();
    for (from, to, expected) in [
        ("p=", "p=AAAA", "denied: the proof is wrong"),
        (",p=", ",p=AAAA,p=", "denied: the proof is wrong"),
        ("r=abc", "r=abd", "denied: the nonce is wrong"),
        ("c=biws", "c=eSws", "denied: the channel binding is wrong"),
        ("c=biws", "c=!", "malformed"),
        ("c=", "d=", "malformed"),
    ] {
        let (mut exchange, _) = begun();
        let step = exchange.answer(right.replacen(from, to, 1).as_bytes());
        assert_eq!(shown(step), expected, "{from} → {to}");
        assert_eq!(shown(exchange.answer(right.as_bytes())), "malformed", "there is one attempt");
    }
    let (mut exchange, right) = begun();
    assert!(shown(exchange.answer(right.as_bytes())).starts_with("+ v="));
    assert_eq!(shown(exchange.answer(b"x")), "malformed", "the last answer is empty");
    let mut unknown = begun().0;
    let decoy = ScramKeys::decoy(&engine::seal::Key::from_slice(&[1; 32]).unwrap(), "demo");
    unknown = match unknown {
        Exchange::Scram(_) => {
            let mut exchange = Exchange::begin(Mechanism::ScramSha256, None, PASSWORDS);
            exchange.answer(format!("n,,{bare}").as_bytes());
            exchange.keys(decoy, [9; 18]);
            exchange
        }
        other => other,
    };
    assert_eq!(shown(unknown.answer(right.as_bytes())), "denied: the proof is wrong");
}

#[test]
fn a_first_message_that_is_none_is_refused() {
    for message in ["", "n,,", "n,,n=,r=a", "n,,n=a", "n,,n=a,r=", "n,,m=x,n=a,r=b", "n,,n=a=,r=b"]
    {
        assert_eq!(said(Mechanism::ScramSha256, message), "malformed", "{message:?}");
    }
    let long = format!("n,,n=a,r={}", "x".repeat(1000));
    assert_eq!(said(Mechanism::ScramSha256, &long), "malformed", "a nonce without end");
    assert_eq!(said(Mechanism::ScramSha256, "n,,n=a=2Cb,r=x,ext=1"), "keys of a,b");
}

proptest::proptest! {
    #[test]
    fn no_message_panics(
        number in 0..Mechanism::ALL.len(),
        messages in proptest::collection::vec(
            proptest::collection::vec(
                proptest::sample::select(b"n,y=p,a=r=c=biws,=2C\0\x01auth=Bearer user=".to_vec()),
                0..60),
            1..4),
    ) {
        let (mechanism, _) = Mechanism::ALL[number];
        let mut exchange = Exchange::begin(mechanism, Some(BINDING), BOUND);
        for message in messages {
            if let Step::Keys(_) = exchange.answer(&message) {
                exchange.keys(pencil(), [1; 18]);
            }
        }
    }
}
