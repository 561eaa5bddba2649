//! In which language a message is written: that of the small words which every text has.
//!
//! The first words of a message's subject and body are looked up in a table of such words; the
//! language that most of them belong to is the message's. That takes microseconds, where
//! statistics of letters take hundreds of them, and twenty words are enough. Greek and Arabic tell
//! by their letters, and Cyrillic without letters of its own is Russian.
//!
//! | a text is | then its words are stemmed as |
//! |--|--|
//! | in a language of the table | that one |
//! | in none, or too short to tell | English |

use std::collections::HashMap;
use std::sync::LazyLock;

use super::super::token::Tokens;
use crate::message::text::{SearchText, fold};

/// Version of the rules and the table of this file: an index made by other ones is made again.
pub(crate) const LANGUAGE_VERSION: u16 = 1;
/// Words of a message that are looked up.
const WORDS_MAX: usize = 160;
/// Bytes of each text of a message that are looked at for them.
const TEXT_BYTES_MAX: usize = 4 << 10;
/// Votes for Ukrainian of a word with a letter of its own, beside the one of each for Russian.
const OWN_LETTER: u32 = 4;
/// Words of the table that a text has at least.
const FOUND_MIN: u32 = 2;
/// No word of the table has more bytes.
const WORD_BYTES_MAX: usize = 24;

/// A language, by the number that splits have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Language(pub(crate) u8);

impl Language {
    pub(crate) const UNKNOWN: Language = Language(0);
    pub(crate) const ENGLISH: Language = Language(1);
    pub(crate) const GERMAN: Language = Language(2);
    pub(crate) const FRENCH: Language = Language(3);
    pub(crate) const SPANISH: Language = Language(4);
    pub(crate) const ITALIAN: Language = Language(5);
    pub(crate) const PORTUGUESE: Language = Language(6);
    pub(crate) const DUTCH: Language = Language(7);
    pub(crate) const DANISH: Language = Language(8);
    pub(crate) const NORWEGIAN: Language = Language(9);
    pub(crate) const SWEDISH: Language = Language(10);
    pub(crate) const FINNISH: Language = Language(11);
    pub(crate) const HUNGARIAN: Language = Language(12);
    pub(crate) const ROMANIAN: Language = Language(13);
    pub(crate) const TURKISH: Language = Language(14);
    pub(crate) const POLISH: Language = Language(15);
    pub(crate) const CZECH: Language = Language(16);
    pub(crate) const RUSSIAN: Language = Language(17);
    pub(crate) const UKRAINIAN: Language = Language(18);
    pub(crate) const GREEK: Language = Language(19);
    pub(crate) const ARABIC: Language = Language(20);
    /// One more than the highest number.
    const COUNT: u8 = 21;

    /// Those whose words are stemmed.
    pub(crate) fn all() -> impl Iterator<Item = Language> {
        (Language::ENGLISH.0..Language::COUNT).map(Language)
    }

    /// The language by whose rules a message's words are stemmed, if this is found to be its own.
    pub(crate) fn of_stems(self) -> Language {
        if (Language::ENGLISH.0..Language::COUNT).contains(&self.0) {
            self
        } else {
            Language::ENGLISH
        }
    }

    /// Of a message.
    pub(crate) fn of(text: &SearchText) -> Language {
        let mut votes = Votes::default();
        for subject in text.field_texts("subject").chain(text.body_texts()) {
            if !votes.count(subject) {
                break;
            }
        }
        votes.winner()
    }
}

/// Some languages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Languages(u32);

impl Languages {
    pub(crate) const ALL: Languages = Languages(u32::MAX);

    pub(crate) fn contains(self, language: Language) -> bool {
        self.0 >> (language.0 & 31) & 1 == 1
    }

    pub(crate) fn insert(&mut self, language: Language) {
        self.0 |= 1 << (language.0 & 31);
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Small words, in the form that texts have once they are folded.
const WORDS: [(Language, &str); 18] = [
    (
        Language::ENGLISH,
        "the and of to in is that for it you with was on are this be have not but they from we \
         your will would can or has been there what which if do about please any our",
    ),
    (
        Language::GERMAN,
        "der die und das ist nicht ich sie zu den von mit ein eine auf für es im dem auch wir als \
         sich war aber wie noch bei oder ihr werden haben wird bitte sind kann nach zum einen",
    ),
    (
        Language::FRENCH,
        "le la les et des est une vous pour dans que qui pas je nous sur avec ce il sont au du \
         par plus mais ou cette votre être ont bonjour merci aux leur elle",
    ),
    (
        Language::SPANISH,
        "el los las y que es una por con para se del no su al lo más como pero si muy está hay \
         este esta gracias usted sobre tiene también desde ya nos",
    ),
    (
        Language::ITALIAN,
        "il di che è la per un una non sono con si del della ma anche come più gli questo questa \
         alla nel da ho grazie dei delle sul lo le io mi essere",
    ),
    (
        Language::PORTUGUESE,
        "o os as e que não uma para com do da em um se por mais como mas foi ao dos das isso você \
         está são pelo pela muito também já obrigado seu sua",
    ),
    (
        Language::DUTCH,
        "de het een van en is dat niet ik je op te met voor zijn er maar aan die ook wij bij naar \
         dan nog wat hebben wordt heeft deze geen uw als kan",
    ),
    (
        Language::DANISH,
        "og det at er en på til af ikke der jeg med har den for vi de et kan som du skal mig men \
         hvad fra efter hvis ved meget være også nogen bliver",
    ),
    (
        Language::NORWEGIAN,
        "og det at er en på til av ikke jeg med har den for vi de et kan som du skal meg men hva \
         fra etter hvis ved mye være også noen blir dere",
    ),
    (
        Language::SWEDISH,
        "och det att är en på till av inte jag med har den för vi de ett kan som du ska mig men \
         vad från efter om vid mycket vara också någon blir hej",
    ),
    (
        Language::FINNISH,
        "ja on ei se että en hän oli mutta kun niin ovat tai jos mitä tämä minä sinä me olen myös \
         vain voi nyt sitä ole kuin kiitos joka sekä mukaan",
    ),
    (
        Language::HUNGARIAN,
        "a az és hogy nem is egy van ez de csak meg volt már el ha azt mint még vagy ezt lesz \
         kell nagyon lehet minden köszönöm mert után akkor",
    ),
    (
        Language::ROMANIAN,
        "și în de la cu nu o că un pe este din pentru mai care sunt ce dar fi ca să au al sau am \
         după dacă prin foarte acest aceasta mulțumesc",
    ),
    (
        Language::TURKISH,
        "ve bir bu da için ile çok ne o ben de var mi daha gibi ama değil kadar sonra olarak olan \
         her şey biz ki en ya size teşekkürler iyi",
    ),
    (
        Language::POLISH,
        "i w nie na się z do to że jest jak o co po tak ale za od są dla czy przez był może już \
         tylko przy oraz który proszę dziękuję jego",
    ),
    (
        Language::CZECH,
        "a se v na je že to s z do i o ve by ale si jako za po jsem pro tak jsou nebo podle který \
         může prosím děkuji byl když ještě",
    ),
    (
        Language::RUSSIAN,
        "и в не на что я с он как это по но они мы за у вы из для от так же было если только или \
         ещё спасибо был когда",
    ),
    (
        Language::UKRAINIAN,
        "і в не на що я з як це та до у за про від ми але ви для є так або ще його буде дякую був \
         коли також",
    ),
];

/// Of each word, the languages that have it.
static TABLE: LazyLock<HashMap<String, Languages>> = LazyLock::new(|| {
    let mut table: HashMap<String, Languages> = HashMap::new();
    for (language, words) in WORDS {
        for word in words.split_whitespace() {
            table.entry(fold(word)).or_default().insert(language);
        }
    }
    table
});

/// How many words of a text belong to which language.
#[derive(Default)]
struct Votes {
    looked_up: usize,
    found: [u32; COUNT],
}

/// One more than the highest number of a language.
const COUNT: usize = 21;
const _: () = assert!(COUNT == 21 && Language::COUNT == 21, "one number");

impl Votes {
    /// Counts words of a text; says whether more may count.
    fn count(&mut self, text: &str) -> bool {
        let mut end = text.len().min(TEXT_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        for token in Tokens::of(text.get(..end).unwrap_or_default()) {
            if self.looked_up == WORDS_MAX {
                return false;
            }
            self.looked_up += 1;
            self.count_word(token.text);
        }
        true
    }

    fn count_word(&mut self, word: &str) {
        match word.chars().next() {
            Some('\u{370}'..='\u{3FF}') => return self.add(Language::GREEK),
            Some('\u{600}'..='\u{6FF}') => return self.add(Language::ARABIC),
            Some('\u{400}'..='\u{4FF}') => {
                self.add(Language::RUSSIAN);
                let own = |letter| matches!(letter, 'і' | 'ї' | 'є' | 'ґ');
                if word.chars().any(own) {
                    (0..OWN_LETTER).for_each(|_| self.add(Language::UKRAINIAN));
                }
            }
            _ => {}
        }
        if word.len() > WORD_BYTES_MAX {
            return;
        }
        let Some(languages) = TABLE.get(word) else { return };
        Language::all().filter(|one| languages.contains(*one)).for_each(|one| self.add(one));
    }

    fn add(&mut self, language: Language) {
        if let Some(votes) = self.found.get_mut(usize::from(language.0)) {
            *votes += 1;
        }
    }

    /// The language with most words; of equals the one that comes first in the table.
    fn winner(&self) -> Language {
        let most = self.found.iter().max().copied().unwrap_or(0);
        if most < FOUND_MIN {
            return Language::UNKNOWN;
        }
        let of = |one: &Language| self.found.get(usize::from(one.0)) == Some(&most);
        Language::all().find(of).unwrap_or(Language::UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_sentences_tell_their_language() {
        let table = [
            (Language::ENGLISH, "Please find the invoice attached, and let us know if it is fine."),
            (Language::GERMAN, "Anbei die Rechnung. Wir bitten Sie, den Betrag zu überweisen."),
            (Language::FRENCH, "Vous trouverez la facture dans ce message, merci pour tout."),
            (Language::SPANISH, "Le enviamos la factura por correo; gracias por su paciencia."),
            (Language::ITALIAN, "In allegato la fattura che è stata inviata per la spedizione."),
            (Language::PORTUGUESE, "Segue em anexo a fatura; você não precisa pagar mais."),
            (
                Language::DUTCH,
                "In de bijlage vindt u het document, dat is voor u en niet voor mij.",
            ),
            (Language::DANISH, "Jeg sender regningen til dig, og hvad der ikke er af betydning."),
            (Language::NORWEGIAN, "Jeg sender regningen til deg, hva som ikke er av betydning."),
            (Language::SWEDISH, "Jag skickar fakturan till dig och det är inte bråttom."),
            (Language::FINNISH, "Lasku on liitteenä, mutta se ei ole kiireellinen, kiitos."),
            (Language::HUNGARIAN, "A számla nem sürgős, és ez csak egy másolat, köszönöm."),
            (Language::ROMANIAN, "Factura este în atașament și nu mai este nevoie de altceva."),
            (Language::TURKISH, "Fatura ekte ve bu çok acil değil, teşekkürler."),
            (Language::POLISH, "Faktura jest w załączniku i nie jest to pilne, dziękuję."),
            (Language::CZECH, "Faktura je v příloze a není to naléhavé, děkuji, že jste psali."),
            (Language::RUSSIAN, "Счёт во вложении, и это не срочно, спасибо."),
            (Language::UKRAINIAN, "Рахунок у вкладенні, і це не терміново, дякую за все."),
            (Language::GREEK, "Το τιμολόγιο είναι συνημμένο και δεν επείγει."),
            (Language::ARABIC, "الفاتورة مرفقة وليست عاجلة"),
            (Language::UNKNOWN, "harbour master"),
            (Language::UNKNOWN, "請求書を添付します"),
            (Language::UNKNOWN, ""),
        ];
        for (expected, text) in table {
            let message = format!("Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n");
            let summary = crate::message::Summary::parse(message.as_bytes());
            let found = Language::of(&SearchText::new(message.as_bytes(), &summary.structure));
            assert_eq!(found, expected, "{text}");
        }
    }
}
