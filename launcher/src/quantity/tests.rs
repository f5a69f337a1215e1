use super::*;
use proptest::prelude::*;

fn bytes(text: &str) -> u64 {
    text.parse::<Quantity>().unwrap().to_bytes().unwrap().0
}

#[test]
fn every_form_has_its_exact_value() {
    for (text, value) in [
        ("0", 0),
        ("-0", 0),
        ("0e999999999999", 0),
        ("1", 1),
        ("+1", 1),
        ("1.", 1),
        (".5", 1),
        ("0.1", 1),
        ("500m", 1),
        ("1500m", 2),
        ("1n", 1),
        ("1000000000n", 1),
        ("2e3", 2000),
        ("2E3", 2000),
        ("2e+3", 2000),
        ("25e-1", 3),
        ("1e-999999999", 1),
        ("1k", 1000),
        ("1M", 1_000_000),
        ("1E", 1_000_000_000_000_000_000),
        ("1Ki", 1024),
        ("1.5Gi", 1_610_612_736),
        ("0.5Ki", 512),
        ("0.0001Ki", 1),
        ("7Ei", 7 << 60),
        ("128974848", 128_974_848),
        ("129e6", 129_000_000),
        ("9223372036854775807", 9_223_372_036_854_775_807),
        ("000000000000000000000000000000001", 1),
        ("1000000000000000000000000000000e-30", 1),
    ] {
        assert_eq!(bytes(text), value, "{text}");
    }
}

#[test]
fn other_texts_are_refused() {
    for text in [
        "", " ", "1 Gi", " 1", "1 ", "Gi", ".", "1.2.3", "--1", "+-1", "1e", "1e1.5", "1e1k", "1K",
        "1g", "1Mi ", "0x10", "1_000", "NaN", "inf", "1MB", "1GiB", "１",
    ] {
        assert!(text.parse::<Quantity>().is_err(), "{text:?}");
    }
}

#[test]
fn a_slip_in_the_suffix_is_answered_with_the_right_one() {
    for (text, hint) in [
        ("512MB", "512Mi"),
        ("4gb", "4Gi"),
        ("1K", "1Ki"),
        ("2GiB", "2Gi"),
        ("1 Gi", "1Gi"),
    ] {
        let error = text.parse::<Quantity>().unwrap_err();
        assert_eq!(error.hint(), format!("did you mean `{hint}`?"));
    }
}

#[test]
fn bounds_are_refused_by_name() {
    for text in [
        "8Ei",
        "9223372036854775808",
        "1e19",
        "1e2147483648",
        "99999999999999999999Ei",
    ] {
        assert!(
            matches!(
                text.parse::<Quantity>().unwrap().to_bytes(),
                Err(QuantityError::Overflow { .. })
            ),
            "{text}"
        );
    }
    assert!(matches!(
        "-1Mi".parse::<Quantity>().unwrap().to_bytes(),
        Err(QuantityError::Negative { .. })
    ));
    assert!(matches!(
        "123456789012345678901".parse::<Quantity>(),
        Err(QuantityError::TooPrecise { .. })
    ));
}

#[test]
fn numbers_are_read_as_well_as_strings() {
    for (json, value) in [
        ("\"1Gi\"", 1 << 30),
        ("1024", 1024),
        ("1e3", 1000),
        ("0.1", 1),
        ("1.5", 2),
    ] {
        let quantity: Quantity = serde_json::from_str(json).unwrap();
        assert_eq!(quantity.value().unwrap(), value, "{json}");
    }
    assert!(serde_json::from_str::<Quantity>("true").is_err());
}

proptest! {
    #[test]
    fn never_panics(text in "[-+]?[0-9.]{0,40}[a-zA-Z]{0,2}[-+]?[0-9]{0,12}") {
        if let Ok(quantity) = text.parse::<Quantity>() {
            let _ = quantity.value();
            let _ = quantity.milli_value();
            prop_assert_eq!(quantity.to_string().parse::<Quantity>(), Ok(quantity));
        }
    }

    #[test]
    fn whole_numbers_are_themselves(number in 0..=i64::MAX.unsigned_abs()) {
        prop_assert_eq!(bytes(&number.to_string()), number);
    }

    #[test]
    fn thousandths_round_up(thousandths in 0..u64::from(u32::MAX)) {
        prop_assert_eq!(bytes(&format!("{thousandths}m")), thousandths.div_ceil(1000));
        let quantity: Quantity = format!("{thousandths}m").parse().unwrap();
        prop_assert_eq!(quantity.milli_value().unwrap(), thousandths);
    }

    #[test]
    fn binary_suffixes_are_shifts(number in 0..u64::from(u32::MAX), index in 10_usize..13) {
        let (suffix, _, shift) = SUFFIXES[index];
        prop_assert_eq!(bytes(&format!("{number}{suffix}")), number << shift);
    }

    #[test]
    fn an_exponent_is_as_many_zeros(number in 0..1_000_000_u64, zeros in 0_usize..12) {
        prop_assert_eq!(bytes(&format!("{number}e{zeros}")), bytes(&format!("{number}{}", "0".repeat(zeros))));
    }
}
