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
    function testFuzz_countsEveryDay(uint256 seed) public pure {
        uint256 year = 1970 + seed % 331;
        uint256 month = seed / 331 % 14;
        uint256 day = seed / 5_000 % 33;
        uint256 second = seed / 200_000 % 100_000;
        bool exists = month >= 1 && month <= 12 && day >= 1 && day <= daysOf(year, month);
        uint256 clock = second / 3600;
        exists = exists && clock < 24;
        if (!exists) {
            checkNone(year, month, day, clock, second / 60 % 60, second % 60);
            return;
        }
        uint256 total = day - 1;
        for (uint256 y = 1970; y < year; ++y) {
            total += isLeap(y) ? 366 : 365;
        }
        for (uint256 m = 1; m < month; ++m) {
            total += daysOf(year, m);
        }
        uint256 expected = total * 1 days + second;
        check(year, month, day, clock, second / 60 % 60, second % 60, expected);
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
