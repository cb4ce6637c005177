// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Calendar dates as unix seconds
/// @notice For the dates of certificates and of Intel's JSON, all UTC.
library Dates {
    // Byte m: days of month m in a common year.
    uint256 private constant MONTHS = 0x001f1c1f1e1f1e1f1f1e1f1e1f << 152;

    /// @notice Unix seconds of a date and a time of day in UTC, without leap seconds.
    /// @return valid Whether there is such a second in the years 1970 to 9999.
    /// @return time Unix seconds; zero if not valid.
    /// @dev Counts years from March, so that the leap day comes last. In assembly, because a
    /// certificate has two dates and the compiler's moves about the stack cost more than the sums.
    function unixSeconds(
        uint256 year,
        uint256 month,
        uint256 day,
        uint256 hour,
        uint256 minute,
        uint256 second
    ) internal pure returns (bool valid, uint40 time) {
        assembly ("memory-safe") {
            // Divisible by 4, and by 16 if divisible by 25.
            let leap := iszero(and(year, sub(shl(shl(1, iszero(mod(year, 25))), 4), 1)))
            let days_ := add(byte(month, MONTHS), and(leap, eq(month, 2)))
            valid := and(lt(sub(day, 1), days_), lt(sub(year, 1970), 8030))
            valid := and(valid, and(lt(hour, 24), and(lt(minute, 60), lt(second, 60))))
            year := sub(year, lt(month, 3))
            // Months from March have 31, 30, 31, 30 and 31 days, again and again.
            day := add(day, div(add(mul(153, mod(add(month, 9), 12)), 2), 5))
            day := add(day, sub(add(mul(year, 365), shr(2, year)), div(year, 100)))
            day := sub(add(day, div(year, 400)), 719469)
            time := add(mul(add(mul(add(mul(day, 24), hour), 60), minute), 60), second)
            // The last second of the year 9999 is 253,402,300,799: below 2^38.
            time := mul(time, valid)
        }
    }
}
