// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Dates} from "../../src/attestation/Dates.sol";
import {vm} from "../Vm.sol";

contract DatesTest {
    function test_knownDates() public pure {
        check(1970, 1, 1, 0, 0, 0, 0);
        check(1999, 12, 31, 23, 59, 59, 946_684_799);
        check(2000, 2, 29, 0, 0, 0, 951_782_400);
        check(2024, 2, 29, 23, 59, 59, 1_709_251_199);
        check(2025, 6, 19, 10, 56, 11, 1_750_330_571);
        check(2049, 12, 31, 23, 59, 59, 2_524_607_999);
        check(2100, 3, 1, 0, 0, 0, 4_107_542_400);
        check(9999, 12, 31, 23, 59, 59, 253_402_300_799);
    }

    function test_refusesWhatIsNoDate() public pure {
        checkNone(1969, 12, 31, 23, 59, 59);
        checkNone(10_000, 1, 1, 0, 0, 0);
        checkNone(2025, 0, 1, 0, 0, 0);
        checkNone(2025, 13, 1, 0, 0, 0);
        checkNone(2025, 1, 0, 0, 0, 0);
        checkNone(2025, 1, 32, 0, 0, 0);
        checkNone(2025, 4, 31, 0, 0, 0);
        checkNone(2025, 2, 29, 0, 0, 0);
        checkNone(2100, 2, 29, 0, 0, 0);
        checkNone(2024, 2, 30, 0, 0, 0);
        checkNone(2025, 1, 1, 24, 0, 0);
        checkNone(2025, 1, 1, 0, 60, 0);
        checkNone(2025, 1, 1, 0, 0, 60);
    }

    /// Against counting the days of every year and month since 1970.
    function testFuzz_countsEveryDay(uint256 year, uint256 month, uint256 day, uint256 second)
        public
        pure
    {
        (year, month, day) = (1970 + year % 8_030, 1 + month % 12, 1 + day % 31);
        second %= 1 days;
        (uint256 hour, uint256 minute) = (second / 3600, second / 60 % 60);
        if (day > daysOf(year, month)) {
            return checkNone(year, month, day, hour, minute, second % 60);
        }
        uint256 total = day - 1;
        for (uint256 y = 1970; y < year; ++y) {
            total += isLeap(y) ? 366 : 365;
        }
        for (uint256 m = 1; m < month; ++m) {
            total += daysOf(year, m);
        }
        check(year, month, day, hour, minute, second % 60, total * 1 days + second);
    }

    /// One of the parts, of up to as many digits as it has in a date, out of range.
    function testFuzz_refusesPartsOutOfRange(uint256 part, uint256 value) public pure {
        uint256[6] memory parts = [uint256(2025), 6, 19, 10, 16, 3];
        uint256[6] memory first = [uint256(1970), 1, 1, 0, 0, 0];
        uint256[6] memory last = [uint256(9999), 12, 30, 23, 59, 59];
        part %= 6;
        value %= part == 0 ? 100_000 : 1_000;
        parts[part] = value;
        (bool valid,) =
            Dates.unixSeconds(parts[0], parts[1], parts[2], parts[3], parts[4], parts[5]);
        vm.assertEq(valid, value >= first[part] && value <= last[part], "valid");
    }

    function check(
        uint256 year,
        uint256 month,
        uint256 day,
        uint256 hour,
        uint256 minute,
        uint256 second,
        uint256 expected
    ) private pure {
        (bool valid, uint40 time) = Dates.unixSeconds(year, month, day, hour, minute, second);
        vm.assertTrue(valid, "valid");
        vm.assertEq(time, expected, "time");
    }

    function checkNone(
        uint256 year,
        uint256 month,
        uint256 day,
        uint256 hour,
        uint256 minute,
        uint256 second
    ) private pure {
        (bool valid, uint40 time) = Dates.unixSeconds(year, month, day, hour, minute, second);
        vm.assertTrue(!valid, "valid");
        vm.assertEq(time, 0, "time");
    }

    function isLeap(uint256 year) private pure returns (bool) {
        if (year % 400 == 0) return true;
        return year % 4 == 0 && year % 100 != 0;
    }

    function daysOf(uint256 year, uint256 month) private pure returns (uint256) {
        if (month == 2) return isLeap(year) ? 29 : 28;
        return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
    }
}
