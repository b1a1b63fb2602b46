//! The problem codes: status, title and explanation of each, in English and Polish.
//!
//! The table is the contract's list of codes; `GET /v1/problems/{code}` serves it without any documentation site. Details
//! of single validation problems stay English: they are read by those who write integrations.

use super::call::Language;
use super::problem::Failure;
use crate::app::Refusal;
use crate::app::tokens::TokenError;

/// One code.
#[derive(Clone, Copy, Debug)]
pub struct ProblemText {
    /// The stable code.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    titles: [&'static str; 2],
    texts: [&'static str; 2],
}

impl ProblemText {
    /// A few words.
    pub const fn title(&self, language: Language) -> &'static str {
        let [english, polish] = self.titles;
        match language {
            Language::English => english,
            Language::Polish => polish,
        }
    }

    /// What it means and what to do.
    pub const fn text(&self, language: Language) -> &'static str {
        let [english, polish] = self.texts;
        match language {
            Language::English => english,
            Language::Polish => polish,
        }
    }
}

/// Texts of a code; those of `internal` for one that is not in the table.
pub(super) fn of(code: &str) -> &'static ProblemText {
    find(code).unwrap_or(&INTERNAL)
}

/// The text of a code, if there is such a code.
pub(super) fn find(code: &str) -> Option<&'static ProblemText> {
    PROBLEMS.iter().find(|text| text.code == code)
}

const fn problem(
    status: u16,
    code: &'static str,
    titles: [&'static str; 2],
    texts: [&'static str; 2],
) -> ProblemText {
    ProblemText { code, status, retryable: matches!(status, 503), titles, texts }
}

const INTERNAL: ProblemText = problem(
    500,
    "internal",
    ["Internal error", "Błąd wewnętrzny"],
    [
        "A defect or damaged data. The log holds the cause under the request_id of the answer; please report it.",
        "Usterka programu lub uszkodzone dane. Przyczyna jest w dzienniku pod request_id z odpowiedzi; prosimy o zgłoszenie.",
    ],
);

/// Every code that the API answers with.
pub const PROBLEMS: &[ProblemText] = &[
    problem(
        400,
        "malformed-json",
        ["Malformed JSON", "Niepoprawny JSON"],
        [
            "The body is not JSON (RFC 8259), not UTF-8, or nested deeper than the limit in GET /v1/meta.",
            "Treść nie jest poprawnym JSON-em (RFC 8259), nie jest w UTF-8 albo jest zagnieżdżona głębiej, niż pozwala GET /v1/meta.",
        ],
    ),
    problem(
        400,
        "bad-cursor",
        ["Bad cursor", "Zły kursor"],
        [
            "A cursor belongs to one list with one set of filters. Repeat the filters it was made with, or start without a cursor.",
            "Kursor należy do jednej listy z jednym zestawem filtrów. Powtórz filtry, z którymi powstał, albo zacznij bez kursora.",
        ],
    ),
    problem(
        400,
        "bad-filter",
        ["Bad query parameter", "Zły parametr zapytania"],
        [
            "A query parameter is not known, given twice, or has a value that it cannot have.",
            "Parametr zapytania jest nieznany, podany dwa razy albo ma niedozwoloną wartość.",
        ],
    ),
    problem(
        401,
        "token-missing",
        ["Token missing", "Brak tokenu"],
        [
            "Send Authorization: Bearer lm_pat_…; make a token on the machine with: lastmile token create.",
            "Wyślij nagłówek Authorization: Bearer lm_pat_…; token utworzysz na serwerze poleceniem: lastmile token create.",
        ],
    ),
    problem(
        401,
        "token-invalid",
        ["Token not valid", "Token nieważny"],
        [
            "The token is cut off, misspelled, or not of this installation.",
            "Token jest ucięty, przekręcony albo z innej instalacji.",
        ],
    ),
    problem(
        401,
        "token-expired",
        ["Token expired", "Token wygasł"],
        ["Make a new token and replace the old one.", "Utwórz nowy token i zastąp nim stary."],
    ),
    problem(
        401,
        "token-revoked",
        ["Token revoked", "Token unieważniony"],
        [
            "Somebody revoked this token. Make a new one if it is still wanted.",
            "Ktoś unieważnił ten token. Jeśli nadal jest potrzebny, utwórz nowy.",
        ],
    ),
    problem(
        403,
        "action-denied",
        ["Not allowed", "Brak uprawnień"],
        [
            "The token's scopes do not cover this operation; x-action in the OpenAPI document names what it needs.",
            "Zakresy tokenu nie obejmują tej operacji; potrzebny zakres podaje x-action w dokumencie OpenAPI.",
        ],
    ),
    problem(
        403,
        "not-owner",
        ["Object of another source", "Obiekt innego źródła"],
        [
            "An object belongs to the source that made it. Write it from there, or take it over with ?adopt=true and the scope <kind>.adopt.",
            "Obiekt należy do źródła, które go utworzyło. Zmień go stamtąd albo przejmij: ?adopt=true i zakres <kind>.adopt.",
        ],
    ),
    problem(
        404,
        "not-found",
        ["Not found", "Nie znaleziono"],
        [
            "There is no such object or path, or your tenant has none.",
            "Nie ma takiego obiektu lub ścieżki albo nie ma ich u Twojego operatora.",
        ],
    ),
    problem(
        405,
        "method-not-allowed",
        ["Method not allowed", "Metoda niedozwolona"],
        ["The Allow header names the methods of this path.", "Nagłówek Allow wymienia metody tej ścieżki."],
    ),
    problem(
        409,
        "ambiguous-ref",
        ["Several objects of this name", "Kilka obiektów o tej nazwie"],
        [
            "The external id exists in several sources. Write ext:<source>~<external id> or the id.",
            "Identyfikator zewnętrzny występuje w kilku źródłach. Podaj ext:<źródło>~<identyfikator> albo id.",
        ],
    ),
    problem(
        409,
        "external-id-taken",
        ["External id taken", "Identyfikator zewnętrzny zajęty"],
        [
            "Another object of this kind and source has this external id.",
            "Inny obiekt tego rodzaju i źródła ma ten identyfikator zewnętrzny.",
        ],
    ),
    problem(
        409,
        "identity-taken",
        ["Identity taken", "Tożsamość zajęta"],
        [
            "Another access has this login, MAC address or line in the same group and network. A packet could mean either.",
            "Inny dostęp ma ten login, adres MAC lub linię w tej samej grupie i sieci. Pakiet mógłby oznaczać każdy z nich.",
        ],
    ),
    problem(
        409,
        "stale-source-version",
        ["Older than what is stored", "Starsze niż zapisane"],
        [
            "What is stored has a newer source_version. Events were delivered out of order; nothing was changed.",
            "Zapisany stan ma nowszy source_version. Zdarzenia dotarły w złej kolejności; niczego nie zmieniono.",
        ],
    ),
    problem(
        409,
        "source-version-conflict",
        ["Same version, other content", "Ta sama wersja, inna treść"],
        [
            "This source_version is stored with other content. Every change of content needs a higher version.",
            "Ten source_version jest zapisany z inną treścią. Każda zmiana treści wymaga wyższej wersji.",
        ],
    ),
    problem(
        409,
        "address-conflict",
        ["Addresses in conflict", "Konflikt adresów"],
        [
            "Addresses overlap those of another object, or lie where they cannot be used. Each entry of errors names both sides.",
            "Adresy nachodzą na adresy innego obiektu albo leżą tam, gdzie nie można ich użyć. Każdy wpis errors wymienia obie strony.",
        ],
    ),
    problem(
        409,
        "in-use",
        ["Still in use", "Nadal w użyciu"],
        [
            "Other objects refer to it, or somebody has an address from it. referrers names some.",
            "Inne obiekty się do niego odwołują albo ktoś ma z niego adres. Pole referrers wymienia niektóre.",
        ],
    ),
    problem(
        409,
        "contended",
        ["Changed by others", "Zmieniane przez innych"],
        [
            "Other writers changed the object again and again while this was tried. Try again.",
            "Inni wciąż zmieniali obiekt w trakcie zapisu. Spróbuj ponownie.",
        ],
    ),
    problem(
        412,
        "precondition-failed",
        ["Precondition failed", "Warunek niespełniony"],
        [
            "The object changed since you read it, or exists already. current_etag and changed_fields say how it stands.",
            "Obiekt zmienił się od odczytu albo już istnieje. Stan podają current_etag i changed_fields.",
        ],
    ),
    problem(
        413,
        "body-too-large",
        ["Body too large", "Treść zbyt długa"],
        [
            "GET /v1/meta names the longest body; write objects one by one.",
            "Największą długość treści podaje GET /v1/meta; zapisuj obiekty pojedynczo.",
        ],
    ),
    problem(
        415,
        "unsupported-media-type",
        ["Unsupported media type", "Nieobsługiwany typ treści"],
        [
            "Send the body with Content-Type: application/json.",
            "Wyślij treść z nagłówkiem Content-Type: application/json.",
        ],
    ),
    problem(
        422,
        "validation-failed",
        ["Validation failed", "Niepoprawne dane"],
        [
            "Every wrong member is in errors, with its JSON pointer (RFC 6901) and what would be right.",
            "Każde błędne pole jest w errors, ze wskaźnikiem JSON (RFC 6901) i poprawną postacią.",
        ],
    ),
    problem(
        422,
        "unknown-field",
        ["Unknown member", "Nieznane pole"],
        [
            "A member is not known. Nothing was written, so that a typing error does not pass unnoticed.",
            "Pole jest nieznane. Niczego nie zapisano, aby literówka nie przeszła niezauważona.",
        ],
    ),
    problem(
        422,
        "unknown-ref",
        ["Unknown reference", "Nieznane odwołanie"],
        [
            "A reference names nothing, or several objects. Write what it refers to first.",
            "Odwołanie nie wskazuje niczego albo wskazuje kilka obiektów. Najpierw zapisz to, do czego się odwołuje.",
        ],
    ),
    INTERNAL,
    problem(
        503,
        "unavailable",
        ["Not possible now", "Chwilowo niemożliwe"],
        [
            "The database does not answer, or this node has not caught up. Subscribers are served all the same; try again.",
            "Baza danych nie odpowiada albo węzeł nie nadążył. Abonenci są obsługiwani; spróbuj ponownie.",
        ],
    ),
    problem(
        503,
        "overloaded",
        ["Not finished in time", "Nie ukończono w czasie"],
        [
            "The request was not finished within its deadline. A write may have been made: repeat it, repeating is safe.",
            "Żądania nie ukończono w terminie. Zapis mógł się odbyć: powtórz go, powtarzanie jest bezpieczne.",
        ],
    ),
];

/// The detail of a failure in Polish.
pub(super) fn polish(failure: &Failure) -> String {
    match failure {
        Failure::Refused(refusal) | Failure::Token(TokenError::Unavailable(refusal)) => {
            polish_refusal(refusal)
        }
        Failure::TokenMissing => "operacja wymaga tokenu: Authorization: Bearer lm_pat_…".to_owned(),
        Failure::Token(TokenError::Invalid) => "token jest nieważny".to_owned(),
        Failure::Token(TokenError::Expired) => "token wygasł".to_owned(),
        Failure::Token(TokenError::Revoked) => "token został unieważniony".to_owned(),
        Failure::MalformedJson(place) => format!("treść nie jest dopuszczalnym JSON-em: {place}"),
        Failure::BodyTooLarge { max } => format!("treść jest dłuższa niż {max} bajtów"),
        Failure::UnsupportedMediaType { found } => {
            format!("treść jest typu `{found}`; obsługiwany jest tylko application/json")
        }
        Failure::NoRoute { path } => format!("pod {path} nic nie ma"),
        Failure::MethodNotAllowed { method, allowed } => {
            format!("{method} nie jest tu możliwe; możliwe: {allowed}")
        }
        Failure::Deadline { seconds } => {
            format!("nie ukończono w {seconds} s; zapis mógł się jednak odbyć")
        }
        Failure::Defect => "błąd wewnętrzny".to_owned(),
    }
}

fn polish_refusal(refusal: &Refusal) -> String {
    let first = || refusal.problems().first().map_or("", |problem| problem.detail.as_str()).to_owned();
    match refusal {
        Refusal::NotFound { what } => format!("nie ma: {what}"),
        Refusal::Ambiguous { reference, matches } => {
            format!("`{reference}` wskazuje kilka obiektów: {}; podaj jeden z nich", matches.join(", "))
        }
        Refusal::Denied { actor, scope } => format!("{actor} nie ma zakresu {scope}"),
        Refusal::NotOwner { object, owner } => format!("{object} należy do {owner}"),
        Refusal::Invalid(problems) => format!("błędne pola: {}; pierwsze: {}", problems.0.len(), first()),
        Refusal::Stale { given, current } => {
            format!("source_version {given} jest starszy niż zapisany {current}")
        }
        Refusal::VersionConflict { version, changed } => {
            format!("source_version {version} jest już zapisany z inną treścią ({})", changed.join(", "))
        }
        Refusal::Precondition { current, .. } => match current {
            Some(current) => format!("obiekt ma wersję {current}, inną niż w warunku"),
            None => "obiekt nie istnieje, wbrew warunkowi".to_owned(),
        },
        Refusal::ExternalIdTaken { external_id, holder } => {
            format!("identyfikator zewnętrzny `{external_id}` ma już {holder}")
        }
        Refusal::IdentityTaken { identity, holder } => format!("{identity} ma już {holder}"),
        Refusal::AddressConflict(_) => format!("konflikt adresów: {}", first()),
        Refusal::InUse { object, users } => format!("{object} jest używany przez: {}", users.join(", ")),
        Refusal::Contended { object } => format!("{object} zmieniają właśnie inni; spróbuj ponownie"),
        Refusal::BadCursor => "kursor nie należy do tej listy".to_owned(),
        Refusal::BadFilter { parameter, why } => format!("parametr `{parameter}`: {why}"),
        Refusal::Unavailable { why } => format!("chwilowo niemożliwe: {why}"),
        Refusal::Internal { .. } => "błąd wewnętrzny".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_once_and_has_all_its_texts() {
        let mut codes: Vec<&str> = PROBLEMS.iter().map(|text| text.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), PROBLEMS.len());
        for text in PROBLEMS {
            for language in [Language::English, Language::Polish] {
                assert!(!text.title(language).is_empty() && !text.text(language).is_empty(), "{}", text.code);
            }
        }
    }
}
