use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::testing::Edit;

pub(crate) fn refusal() -> Refusal {
    Refusal { code: Code::QueueFull, retry_after_ms: 2_500 }
}

/// Every rule of decoding with one edit of the valid refusal that breaks it.
pub(crate) fn cases() -> Vec<(&'static str, Edit, RefusalError)> {
    let set = |at: usize, bytes: &[u8]| Edit::Set(at, bytes.to_vec());
    vec![
        ("empty", Edit::Cut(0), RefusalError::Size(0)),
        ("cut", Edit::Cut(63), RefusalError::Size(63)),
        ("trailing byte", Edit::Append(vec![0]), RefusalError::Size(65)),
        ("magic", set(0, b"PHKB"), RefusalError::Magic(*b"PHKB")),
        ("unknown code", set(4, &[0, 99]), RefusalError::Code(99)),
        ("code of a frame", set(4, &[0, 21]), RefusalError::Code(21)),
        ("padding", set(63, &[1]), RefusalError::Padding),
    ]
}

#[test]
fn rejects_each_broken_rule() {
    let valid = refusal().encode();
    for (name, edit, expected) in cases() {
        assert_eq!(Refusal::decode(&edit.apply(&valid)), Err(expected), "{name}");
    }
}

#[test]
fn every_code_round_trips_where_it_may_stand() {
    for code in Code::ALL.iter().copied() {
        assert_eq!(Code::from_u16(code.as_u16()), Some(code));
        assert!(code.in_refusal() || code.in_frame(), "{code:?} stands nowhere");
        let refusal = Refusal { code, ..refusal() };
        assert_eq!(Refusal::decode(&refusal.encode()).is_ok(), code.in_refusal(), "{code:?}");
        let error =
            PodError { code, retry_after_ms: 1, cumulative: Amount::MAX, message: "é".into() };
        assert_eq!(PodError::decode(&error.encode()).is_ok_and(|e| e == error), code.in_frame());
    }
}

#[test]
fn codes_are_those_of_the_page() {
    let page = include_str!("../../../../spec/wire.md");
    let section = page.split("## Codes").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: BTreeSet<_> = section
        .lines()
        .filter_map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let id: u16 = cells.get(1)?.parse().ok()?;
            let place = cells[4].split([':', '`']).next()?;
            let place = (place.contains("refusal"), place.contains("frame"));
            Some((id, cells[2].to_owned(), cells[3].parse::<u16>().ok()?, place))
        })
        .collect();
    let ours: BTreeSet<_> = Code::ALL
        .iter()
        .map(|code| {
            let place = (code.in_refusal(), code.in_frame());
            (code.as_u16(), code.name().to_owned(), code.http_status(), place)
        })
        .collect();
    assert_eq!(rows, ours);
}

#[test]
fn long_message_is_cut_between_characters() {
    let error = PodError {
        code: Code::InvalidRequest,
        retry_after_ms: 0,
        cumulative: Amount::ZERO,
        message: "€".repeat(100),
    };
    let decoded = PodError::decode(&error.encode()).unwrap();
    assert_eq!(decoded.message, "€".repeat(66));
}

proptest! {
    #[test]
    fn refusal_parser_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        prop_assert!(Refusal::decode(&bytes).is_err());
    }

    #[test]
    fn any_error_that_decodes_encodes_to_itself(
        code in 0u16..40, rest in prop::collection::vec(any::<u8>(), 0..240),
    ) {
        let bytes = [&code.to_be_bytes()[..], &rest].concat();
        if let Ok(error) = PodError::decode(&bytes) {
            prop_assert_eq!(error.encode(), bytes);
        }
    }
}
