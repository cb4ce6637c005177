//! Dates of certificates and collateral, from seconds since 1970-01-01T00:00:00Z.

use super::der;

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First second, since 1970 (UTC).
    pub not_before_unix_s: u64,
    /// Last second, since 1970 (UTC).
    pub not_after_unix_s: u64,
}

impl Default for Validity {
    /// 2020-01-01T00:00:00Z to 2045-12-31T23:59:59Z: fixed, so that certificates are the same in
    /// every process.
    fn default() -> Self {
        Self { not_before_unix_s: 1_577_836_800, not_after_unix_s: 2_398_377_599 }
    }
}

impl Validity {
    pub(super) fn to_der(self) -> Vec<u8> {
        der::sequence(&[&time(self.not_before_unix_s), &time(self.not_after_unix_s)])
    }
}

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

/// In DER: UTCTime through 2049, GeneralizedTime from 2050 on (RFC 5280, section 4.1.2.5).
pub(super) fn time(unix_s: u64) -> Vec<u8> {
    let [year, month, day, hour, minute, second] = civil(unix_s);
    let rest = format!("{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    if year < 2050 {
        der::utc_time(&format!("{:02}{rest}", year % 100))
    } else {
        der::generalized_time(&format!("{year:04}{rest}"))
    }
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
    fn years_have_two_digits_before_2050_and_four_from_then_on() {
        for (unix_s, tag, text) in [
            (1_709_164_801, 0x17, "240229000001Z"),
            (2_524_607_999, 0x17, "491231235959Z"),
            (2_524_608_000, 0x18, "20500101000000Z"),
        ] {
            assert_eq!(time(unix_s), der::tlv(tag, text.as_bytes()));
        }
    }
}
