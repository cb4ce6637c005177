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

    uint256 private constant ONES =
        0x0101010101010101010101010101010101010101010101010101010101010101;
    uint256 private constant TOP_BITS = 0x80 * ONES;
    uint256 private constant LOW_BITS = 0x7f * ONES;

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
            let differs := shr(sub(256, shl(3, length)), xor(calldataload(next), literal))
            accepted := iszero(differs)
            mstore(walk, add(next, mul(length, accepted)))
        }
    }

    /// @notice Moves over `literal` of `length ≤ 32` characters, which must come next.
    function expect(Walk memory walk, bytes32 literal, uint256 length) internal pure {
        if (!accept(walk, literal, length)) fail(walk);
    }

    /// @notice Reads a decimal number up to `max`, without sign, leading zero, fraction or exponent.
    function number(Walk memory walk, uint256 max) internal pure returns (uint256 value) {
        uint256 digits;
        assembly ("memory-safe") {
            let word := calldataload(mload(walk))
            let digit := sub(byte(0, word), 48)
            // A zero stands alone. Behind the word's last byte `byte` gives zero, no digit: at most
            // 32 digits, which cannot overflow.
            for {} lt(digit, 10) {} {
                value := add(mul(value, 10), digit)
                digits := add(digits, 1)
                if iszero(value) { break }
                digit := sub(byte(digits, word), 48)
            }
        }
        if (digits == 0 || value > max) fail(walk);
        advance(walk, digits);
    }

    /// @notice Reads `length ≤ 32` bytes in hex of either case; the last one is the lowest of
    /// `value`.
    function hexBytes(Walk memory walk, uint256 length) internal pure returns (uint256 value) {
        bool bad;
        assembly ("memory-safe") {
            let next := mload(walk)
            for { let end := add(next, shl(1, length)) } lt(next, end) { next := add(next, 1) } {
                let character := byte(0, calldataload(next))
                let digit := sub(character, 48)
                if gt(digit, 9) {
                    digit := sub(or(character, 0x20), 87)
                    bad := or(bad, gt(sub(digit, 10), 5))
                }
                value := or(shl(4, value), digit)
            }
        }
        if (bad) fail(walk);
        advance(walk, 2 * length);
    }

    /// @notice Moves over the rest of a string and its closing quote: ASCII without control
    /// characters and escapes.
    function text(Walk memory walk) internal pure {
        uint256 stops;
        while ((stops = stopsAt(walk.next)) == 0) advance(walk, 32);
        advance(walk, bytesBefore(stops));
        expect(walk, "\"", 1);
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
