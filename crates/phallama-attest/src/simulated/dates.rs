//! Dates of certificates and collateral, from seconds since 1970-01-01T00:00:00Z.

/// Year, month, day, hour, minute, second in the proleptic Gregorian calendar, UTC.
fn civil(unix_s: u64) -> [u64; 6] {
    let (mut days, of_day) = (unix_s / 86_400, unix_s % 86_400);
    let mut year = 1970;
    while days >= year_days(year) {
        days -= year_days(year);
        year += 1;
    }
    let february = year_days(year) - 337;
    let mut month = 1;
    for month_days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < month_days {
            break;
        }
        days -= month_days;
        month += 1;
    }
    [year, month, days + 1, of_day / 3600, of_day / 60 % 60, of_day % 60]
}

fn year_days(year: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if leap { 366 } else { 365 }
}

/// For the signed JSON: `2026-11-23T00:00:00Z`.
pub(super) fn iso8601(unix_s: u64) -> String {
    let [year, month, day, hour, minute, second] = civil(unix_s);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// For DER: `261123000000Z`. Years 2000 to 2049, which is what two digits can mean after 1999.
pub(super) fn utc_time(unix_s: u64) -> String {
    let [year, month, day, hour, minute, second] = civil(unix_s);
    let short = year.checked_sub(2000).filter(|short| *short < 50).expect("a year 2000 to 2049");
    format!("{short:02}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants_have_their_dates() {
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(iso8601(unix_s), text);
        }
    }

    #[test]
    fn utc_time_has_two_digits_of_year() {
        assert_eq!(utc_time(1_709_164_801), "240229000001Z");
    }
}
