//! The wall clock, for things that people read.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default()
}

/// `2026-01-31T23:59:59Z` (RFC 3339, UTC).
pub fn rfc3339(unix_s: u64) -> String {
    let (days, seconds) = (unix_s / 86_400, unix_s % 86_400);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `47 h 59 min`, or `12 min`, or `30 s`.
pub fn duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// The beginning of a UTC day, written as `2026-11-28`.
pub fn day_unix_s(day: &str) -> Option<u64> {
    const SECONDS_PER_DAY: u64 = 86_400;
    // No more than the days of a calendar's years, so the search ends.
    let near = day.get(..4)?.parse::<u64>().ok()?.checked_sub(1970)?.checked_mul(365)?;
    (near..near.checked_add(1_000)?)
        .map(|days| days.saturating_mul(SECONDS_PER_DAY))
        .find(|unix_s| rfc3339(*unix_s).get(..10) == Some(day))
}

/// Days since 1970-01-01 to the Gregorian calendar, counting years from March so that the leap day
/// comes last.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468;
    const DAYS_PER_ERA: u64 = 146_097;
    let days = days + DAYS_TO_1970;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_days_that_there_are() {
        assert_eq!(day_unix_s("1970-01-01"), Some(0));
        assert_eq!(day_unix_s("2026-11-28"), Some(1_795_824_000));
        assert_eq!(day_unix_s("2100-03-01"), Some(4_107_542_400));
        for text in ["2026-02-30", "2026-13-01", "2026-11-2", "1969-12-31", "yesterday", ""] {
            assert_eq!(day_unix_s(text), None, "{text}");
        }
    }

    #[test]
    fn writes_durations_in_two_units() {
        for (seconds, expected) in
            [(5, "5 s"), (65, "1 min"), (7_260, "2 h 1 min"), (172_799, "47 h 59 min")]
        {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn writes_known_instants() {
        for (unix_s, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_392_000, "2026-11-23T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(unix_s), expected);
        }
    }
}
