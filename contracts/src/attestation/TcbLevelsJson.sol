// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TcbStatus} from "../interfaces/IAttestationVerifier.sol";
import {Json} from "./Json.sol";

/// @title The parts that TCB information and QE identities share
/// @dev `,"advisoryIDs":[…]` may be missing or empty; the advisories stay in the event's JSON.
library TcbLevelsJson {
    using Json for Json.Walk;

    /// @notice More levels than this are refused, far above what Intel lists.
    uint256 internal constant MAX_LEVELS = 64;
    /// @notice Bytes of a packed level of an ISV SVN: `isvsvn 2 | status 1`.
    uint256 internal constant ISV_LEVEL = 3;

    /// @notice Reads `"issueDate":"…","nextUpdate":"…",`.
    function dates(Json.Walk memory walk)
        internal
        pure
        returns (uint40 issuedAt, uint40 nextUpdate)
    {
        walk.expect("\"issueDate\":\"", 13);
        issuedAt = walk.date();
        walk.expect("\",\"nextUpdate\":\"", 16);
        nextUpdate = walk.date();
        walk.expect("\",", 2);
    }

    /// @notice Reads `"tcbEvaluationDataNumber":…,`.
    function evaluationNumber(Json.Walk memory walk) internal pure returns (uint32 value) {
        walk.expect("\"tcbEvaluationDataNumber\":", 26);
        value = uint32(walk.number(type(uint32).max));
        walk.expect(",", 1);
    }

    /// @notice Reads `"tcbLevels":[…]}` with levels of an ISV SVN and writes them in their order.
    /// @param maxSvn The greatest SVN that the structure allows.
    /// @param allowed Statuses that the structure allows: bit `1 << status`.
    /// @return count Number of levels, at least one.
    function isvLevels(Json.Walk memory walk, uint256 maxSvn, uint256 allowed)
        internal
        pure
        returns (uint256 count)
    {
        walk.expect("\"tcbLevels\":[", 13);
        do {
            if (count++ == MAX_LEVELS) walk.fail();
            walk.expect("{\"tcb\":{\"isvsvn\":", 17);
            walk.put(walk.number(maxSvn), 2);
            walk.put(uint256(rating(walk, allowed)), 1);
        } while (walk.accept(",", 1));
        walk.expect("]}", 2);
    }

    /// @notice Reads the rest of a level, from the end of its `tcb` on.
    function rating(Json.Walk memory walk, uint256 allowed)
        internal
        pure
        returns (TcbStatus rated)
    {
        walk.expect("},\"tcbDate\":\"", 13);
        walk.date();
        walk.expect("\",\"tcbStatus\":\"", 15);
        uint256 start = walk.next;
        rated = status(walk);
        if (allowed >> uint256(rated) & 1 == 0) {
            walk.next = start;
            walk.fail();
        }
        if (walk.accept(",\"advisoryIDs\":[", 16) && !walk.accept("]", 1)) {
            walk.expect("\"", 1);
            do {
                walk.text();
            } while (walk.accept("\",\"", 3));
            walk.expect("\"]", 2);
        }
        walk.expect("}", 1);
    }

    /// Reads a status and its closing quote.
    function status(Json.Walk memory walk) private pure returns (TcbStatus) {
        if (walk.accept("UpToDate\"", 9)) return TcbStatus.UpToDate;
        if (walk.accept("OutOfDate\"", 10)) return TcbStatus.OutOfDate;
        if (walk.accept("SWHardeningNeeded\"", 18)) return TcbStatus.SWHardeningNeeded;
        if (walk.accept("ConfigurationNeeded\"", 20)) return TcbStatus.ConfigurationNeeded;
        if (walk.accept("Revoked\"", 8)) return TcbStatus.Revoked;
        if (walk.accept("OutOfDateConfigurationNeeded\"", 29)) {
            return TcbStatus.OutOfDateConfigurationNeeded;
        }
        walk.expect("ConfigurationAndSWHardeningNeede", 32);
        walk.expect("d\"", 2);
        return TcbStatus.ConfigurationAndSWHardeningNeeded;
    }
}
