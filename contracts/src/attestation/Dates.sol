// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DateTimeLib} from "solady/utils/DateTimeLib.sol";

/// @title Calendar dates as unix seconds
/// @notice For the dates of certificates and of Intel's JSON, all UTC.
library Dates {
    uint256 private constant LAST_YEAR = 9999;

    /// @notice Unix seconds of a date and a time of day in UTC, without leap seconds.
    /// @return valid Whether there is such a second in the years 1970 to 9999.
    /// @return time Unix seconds; zero if not valid.
    function unixSeconds(
        uint256 year,
        uint256 month,
        uint256 day,
        uint256 hour,
        uint256 minute,
        uint256 second
    ) internal pure returns (bool valid, uint40 time) {
        valid = year <= LAST_YEAR
            && DateTimeLib.isSupportedDateTime(year, month, day, hour, minute, second);
        if (!valid) return (false, 0);
        // The last second of the year 9999 is 253,402,300,799: below 2^38.
        time = uint40(DateTimeLib.dateTimeToTimestamp(year, month, day, hour, minute, second));
    }
}
