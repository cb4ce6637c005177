// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttestationVerifier} from "../interfaces/IAttestationVerifier.sol";
import {Dates} from "./Dates.sol";

/// @title A strict walk over JSON in calldata, and the record that it writes
/// @notice Every character belongs either to a literal that the caller names or to a value that is
/// read: no whitespace, no escapes, keys in one order. What differs is `BadJson(offset)`, with the
/// offset of the literal or value that was expected.
/// @dev No step looks for the end of the JSON. Steps only move forward and `close` wants the walk
/// to stand exactly at the end, so one that ran past it is refused there.
library Json {
    /// @notice Where a walk stands.
    /// @param next Offset in calldata of the next character.
    /// @param start Offset in calldata of the first character.
    /// @param out Memory address of the next byte to write.
    /// @param record What has been written; its length is right after `close` only.
    struct Walk {
        uint256 next;
        uint256 start;
        uint256 out;
        bytes record;
    }

    /// Constants are written out: an expression would be computed, and checked, at every use.
    uint256 private constant ONES =
        0x0101010101010101010101010101010101010101010101010101010101010101;
    uint256 private constant TOP_BITS =
        0x8080808080808080808080808080808080808080808080808080808080808080;
    uint256 private constant LOW_BITS =
        0x7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f;

    /// The lower half of every lane of 16, 32, 64 or 128 bits.
    uint256 private constant LANES_16 =
        0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff;
    uint256 private constant LANES_32 =
        0x0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff;
    uint256 private constant LANES_64 =
        0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff;
    uint256 private constant LANES_128 =
        0x0000000000000000ffffffffffffffff0000000000000000ffffffffffffffff;

    bytes32 private constant DATE = "0000-00-00T00:00:00Z";
    uint256 private constant DATE_LENGTH = 20;
    /// `DATE`, with 0xf0 for what may differ in a digit and 0xff for what may differ in no byte.
    uint256 private constant DATE_FIXED =
        0xf0f0f0f0fff0f0fff0f0fff0f0fff0f0fff0f0ff000000000000000000000000;

    /// @notice Starts a walk whose record gets at most `capacity` bytes.
    function open(bytes calldata json, uint256 capacity) internal pure returns (Walk memory walk) {
        // `put` writes whole words: up to 31 bytes behind the last one.
        walk.record = new bytes(capacity + 31);
        assembly ("memory-safe") {
            mstore(walk, json.offset)
            mstore(add(walk, 0x20), json.offset)
            mstore(add(walk, 0x40), add(mload(add(walk, 0x60)), 0x20))
        }
    }

    /// @notice Ends a walk: it must have come to the end of `json` exactly.
    function close(Walk memory walk, bytes calldata json)
        internal
        pure
        returns (bytes memory record)
    {
        if (walk.next - walk.start != json.length) fail(walk);
        record = walk.record;
        uint256 size = written(walk);
        assembly ("memory-safe") {
            mstore(record, size)
        }
    }

    /// @notice Refuses the JSON at the character that comes next.
    function fail(Walk memory walk) internal pure {
        revert IAttestationVerifier.BadJson(walk.next - walk.start);
    }

    /// @notice Moves over `literal` of `length ≤ 32` characters if it comes next.
    function accept(Walk memory walk, bytes32 literal, uint256 length)
        internal
        pure
        returns (bool accepted)
    {
        assembly ("memory-safe") {
            let next := mload(walk)
            if iszero(shr(sub(256, shl(3, length)), xor(calldataload(next), literal))) {
                accepted := 1
                mstore(walk, add(next, length))
            }
        }
    }

    /// @notice Moves over `literal` of `length ≤ 32` characters, which must come next.
    function expect(Walk memory walk, bytes32 literal, uint256 length) internal pure {
        uint256 differs;
        assembly ("memory-safe") {
            let next := mload(walk)
            differs := shr(sub(256, shl(3, length)), xor(calldataload(next), literal))
            if iszero(differs) { mstore(walk, add(next, length)) }
        }
        if (differs != 0) fail(walk);
    }

    /// @notice Reads a decimal number up to `max`, without sign, leading zero, fraction or exponent.
    function number(Walk memory walk, uint256 max) internal pure returns (uint256 value) {
        uint256 digits = 1;
        bool bad;
        assembly ("memory-safe") {
            let word := calldataload(mload(walk))
            value := sub(byte(0, word), 48)
            bad := gt(value, 9)
            // Behind the word's last byte `byte` gives zero, no digit: at most 32 digits, which
            // cannot overflow.
            for { let digit := sub(byte(1, word), 48) } lt(digit, 10) {} {
                value := add(mul(value, 10), digit)
                digits := add(digits, 1)
                digit := sub(byte(digits, word), 48)
            }
            bad := or(or(bad, gt(value, max)), and(gt(digits, 1), eq(byte(0, word), 48)))
        }
        if (bad) fail(walk);
        advance(walk, digits);
    }

    /// @notice Reads `length ≤ 16` bytes in hex of either case; the last one is the lowest of
    /// `value`.
    function hexBytes(Walk memory walk, uint256 length) internal pure returns (uint256 value) {
        unchecked {
            uint256 unused = 256 - 16 * length;
            uint256 word = uint256(load(walk.next)) >> unused;
            uint256 low = word & LOW_BITS;
            uint256 lowerCase = low | 0x20 * ONES;
            // Each sum has a byte's top bit if the byte is at least 0x30, 0x3a, 0x61 or 0x67.
            uint256 digits = (low + 0x50 * ONES) & ~(low + 0x46 * ONES);
            uint256 letters = (lowerCase + 0x1f * ONES) & ~(lowerCase + 0x19 * ONES) & TOP_BITS;
            uint256 good = (digits | letters) & ~word;
            if (~good & TOP_BITS & type(uint256).max >> unused != 0) fail(walk);
            value = joined((word & 0x0f * ONES) + (letters >> 7) * 9);
            advance(walk, 2 * length);
        }
    }

    /// @notice Reads 32 bytes in hex of either case.
    function hexWord(Walk memory walk) internal pure returns (uint256 value) {
        value = hexBytes(walk, 16) << 128;
        value |= hexBytes(walk, 16);
    }

    /// @notice Moves to the end of a string, where the caller must expect its quote: to the first
    /// character that is a quote, a backslash, a control character or not ASCII.
    function text(Walk memory walk) internal pure {
        uint256 stops;
        while ((stops = stopsAt(walk.next)) == 0) advance(walk, 32);
        advance(walk, bytesBefore(stops));
    }

    /// @notice Reads a date `YYYY-MM-DDThh:mm:ssZ` from 1970 on, in unix seconds.
    function date(Walk memory walk) internal pure returns (uint40 time) {
        uint256 digits = uint256(load(walk.next) ^ DATE);
        // Where a digit belongs there is 0 to 15 now; what is above 9 carries into the next bits.
        bool valid;
        unchecked {
            valid = digits & DATE_FIXED == 0 && (digits + 6 * ONES) & DATE_FIXED & 0x10 * ONES == 0;
        }
        if (valid) (valid, time) = timeOf(digits);
        if (!valid) fail(walk);
        advance(walk, DATE_LENGTH);
    }

    /// @notice Writes the lowest `length ≤ 32` bytes of `value` to the record.
    function put(Walk memory walk, uint256 value, uint256 length) internal pure {
        assembly ("memory-safe") {
            let out := mload(add(walk, 0x40))
            mstore(out, shl(sub(256, shl(3, length)), value))
            mstore(add(walk, 0x40), add(out, length))
        }
    }

    /// @notice Replaces a byte that was written by the lowest byte of `value`.
    function patch(Walk memory walk, uint256 offset, uint256 value) internal pure {
        assembly ("memory-safe") {
            mstore8(add(add(mload(add(walk, 0x60)), 0x20), offset), value)
        }
    }

    /// @notice Number of bytes written so far.
    function written(Walk memory walk) internal pure returns (uint256 size) {
        assembly ("memory-safe") {
            size := sub(sub(mload(add(walk, 0x40)), mload(add(walk, 0x60))), 0x20)
        }
    }

    /// Moves forward by `length` characters.
    function advance(Walk memory walk, uint256 length) private pure {
        unchecked {
            walk.next += length;
        }
    }

    /// The 32 bytes of calldata from `offset` on, zeros behind its end.
    function load(uint256 offset) private pure returns (bytes32 word) {
        assembly ("memory-safe") {
            word := calldataload(offset)
        }
    }

    /// The top bit of each of the 32 bytes at `offset` that a string cannot contain: quotes,
    /// backslashes, control characters and what is not ASCII.
    function stopsAt(uint256 offset) private pure returns (uint256) {
        uint256 word = uint256(load(offset));
        uint256 low = word & LOW_BITS;
        unchecked {
            // Each sum has a byte's top bit unless the byte is the one in question.
            uint256 goes = (low + 0x60 * ONES) & ((low ^ 0x22 * ONES) + LOW_BITS)
                & ((low ^ 0x5c * ONES) + LOW_BITS) & ~word;
            return ~goes & TOP_BITS;
        }
    }

    /// Number of zero bytes before the first byte of `word` that is not; `word` is not zero.
    function bytesBefore(uint256 word) private pure returns (uint256 count) {
        assembly ("memory-safe") {
            count := shl(4, iszero(shr(128, word)))
            count := or(count, shl(3, iszero(shr(192, shl(shl(3, count), word)))))
            count := or(count, shl(2, iszero(shr(224, shl(shl(3, count), word)))))
            count := or(count, shl(1, iszero(shr(240, shl(shl(3, count), word)))))
            count := or(count, iszero(shr(248, shl(shl(3, count), word))))
        }
    }

    /// 32 bytes of four bits each as 16 bytes.
    function joined(uint256 nibbles) private pure returns (uint256 value) {
        value = (nibbles | nibbles >> 4) & LANES_16;
        value = (value | value >> 8) & LANES_32;
        value = (value | value >> 16) & LANES_64;
        value = (value | value >> 32) & LANES_128;
        value = (value | value >> 64) & type(uint128).max;
    }

    /// The date whose digits stand where those of `DATE` do, as values.
    function timeOf(uint256 digits) private pure returns (bool valid, uint40 time) {
        return Dates.unixSeconds(
            pair(digits, 0) * 100 + pair(digits, 2),
            pair(digits, 5),
            pair(digits, 8),
            pair(digits, 11),
            pair(digits, 14),
            pair(digits, 17)
        );
    }

    /// Two decimal digits from byte `index` on.
    function pair(uint256 digits, uint256 index) private pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := add(mul(byte(index, digits), 10), byte(add(index, 1), digits))
        }
    }
}
