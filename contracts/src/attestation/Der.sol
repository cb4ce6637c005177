// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttestationVerifier as V} from "../interfaces/IAttestationVerifier.sol";
import {Dates} from "./Dates.sol";

/// @title DER read in place
/// @notice The elements of X.690 that X.509 certificates and revocation lists need. A cursor is an
/// offset into the call's data. Whatever is not the expected element, or sticks out of its parent,
/// reverts with `BadDer(cursor)`.
/// @dev `end` must not lie behind the end of the call's data; the `bytes calldata` of a function
/// never does.
library Der {
    uint256 internal constant INTEGER = 0x02;
    uint256 internal constant BIT_STRING = 0x03;
    uint256 internal constant OCTET_STRING = 0x04;
    uint256 internal constant OBJECT_IDENTIFIER = 0x06;
    uint256 internal constant UTC_TIME = 0x17;
    uint256 internal constant GENERALIZED_TIME = 0x18;
    uint256 internal constant SEQUENCE = 0x30;

    /// @notice The element with `tag` at `cursor`, inside a parent that ends at `end`.
    /// @dev Lengths are definite and as short as they can be: one byte below 128, else 81, 82 or 83
    /// and the length in that many bytes.
    /// @return content Where its content begins.
    /// @return next Where it ends.
    function open(uint256 cursor, uint256 end, uint256 tag)
        internal
        pure
        returns (uint256 content, uint256 next)
    {
        bool short;
        assembly ("memory-safe") {
            // Another tag makes the difference negative or far too great.
            let length := sub(shr(240, calldataload(cursor)), shl(8, tag))
            content := add(cursor, 2)
            next := add(content, length)
            short := lt(length, 0x80)
        }
        if (!short) (content, next) = _openLong(cursor, tag);
        require(next <= end, V.BadDer(cursor));
    }

    function _openLong(uint256 cursor, uint256 tag)
        private
        pure
        returns (uint256 content, uint256 next)
    {
        bool good;
        assembly ("memory-safe") {
            let head := calldataload(cursor)
            let count := sub(byte(1, head), 0x80)
            let length := shr(sub(256, shl(3, count)), shl(16, head))
            content := add(add(cursor, 2), count)
            next := add(content, length)
            good := and(eq(byte(0, head), tag), lt(sub(count, 1), 3))
            // No leading zero byte, and no long form where the short one does.
            good := and(good, gt(shr(shl(3, sub(count, 1)), length), 0))
            good := and(good, gt(length, 0x7f))
        }
        require(good, V.BadDer(cursor));
    }

    /// @notice The cursor must have reached `end`.
    function done(uint256 cursor, uint256 end) internal pure {
        require(cursor == end, V.BadDer(cursor));
    }

    /// @notice An INTEGER from 0 to 2^256 − 1, in as few bytes as it can have.
    function unsigned(uint256 cursor, uint256 end)
        internal
        pure
        returns (uint256 value, uint256 next)
    {
        bool good;
        assembly ("memory-safe") {
            let head := calldataload(cursor)
            let size := sub(shr(240, head), 0x0200)
            next := add(add(cursor, 2), size)
            // Not empty, not too long, and no other tag; not negative; inside the parent.
            good := and(lt(sub(size, 1), 33), iszero(gt(next, end)))
            good := and(good, lt(byte(2, head), 0x80))
            switch or(byte(2, head), eq(size, 1))
            case 0 {
                // A zero byte may lead for the sign's sake alone.
                good := and(good, gt(byte(3, head), 0x7f))
                size := sub(size, 1)
            }
            default { good := and(good, lt(size, 33)) }
            value := shr(sub(256, shl(3, size)), calldataload(sub(next, size)))
        }
        require(good, V.BadDer(cursor));
    }

    /// @notice A UTCTime (years 1970 to 2049) or GeneralizedTime in the form of RFC 5280: UTC, with
    /// seconds, without fractions.
    /// @return unix Seconds since 1970-01-01T00:00:00Z.
    function time(uint256 cursor, uint256 end) internal pure returns (uint256 unix, uint256 next) {
        uint256 digits;
        bool good;
        assembly ("memory-safe") {
            let head := calldataload(cursor)
            let long := eq(shr(240, head), 0x180f)
            good := or(long, eq(shr(240, head), 0x170d))
            next := add(add(cursor, 15), shl(1, long))
            good := and(good, iszero(gt(next, end)))
            good := and(good, eq(byte(add(14, shl(1, long)), head), 0x5a))
            digits := and(shr(128, head), 0xffffffffffffffffffffffffffff)
            if iszero(long) {
                // "19" before years from 50 on, "20" before the others.
                digits := shr(16, digits)
                let century := sub(0x3230, mul(gt(byte(2, head), 0x34), 0xf7))
                digits := or(digits, shl(96, century))
            }
        }
        (bool real, uint256 value) = _unix(digits);
        require(good && real, V.BadDer(cursor));
        unix = value;
    }

    /// @dev From 14 digits of ASCII.
    function _unix(uint256 digits) private pure returns (bool real, uint256 unix) {
        uint256 pairs;
        assembly ("memory-safe") {
            digits := xor(digits, 0x3030303030303030303030303030)
            let beyond := or(digits, add(digits, 0x0606060606060606060606060606))
            real := iszero(and(beyond, 0xf0f0f0f0f0f0f0f0f0f0f0f0f0f0))
            // Seven pairs of digits, each a number in 16 bits.
            pairs := mul(and(shr(8, digits), 0x00ff00ff00ff00ff00ff00ff00ff), 10)
            pairs := add(pairs, and(digits, 0x00ff00ff00ff00ff00ff00ff00ff))
        }
        if (!real) return (false, 0);
        unchecked {
            return Dates.unixSeconds(
                (pairs >> 96) * 100 + (pairs >> 80 & 0xff),
                pairs >> 64 & 0xff,
                pairs >> 48 & 0xff,
                pairs >> 32 & 0xff,
                pairs >> 16 & 0xff,
                pairs & 0xff
            );
        }
    }

    /// @notice The 32 bytes at `cursor`; zeros behind the end of the call's data.
    function word(uint256 cursor) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := calldataload(cursor)
        }
    }

    /// @notice keccak256 of the call's data from `from` up to `to`.
    function keccak(uint256 from, uint256 to) internal pure returns (bytes32 digest) {
        assembly ("memory-safe") {
            let input := mload(0x40)
            calldatacopy(input, from, sub(to, from))
            digest := keccak256(input, sub(to, from))
        }
    }

    /// @notice SHA-256 of the call's data from `from` up to `to`.
    function sha(uint256 from, uint256 to) internal view returns (bytes32 digest) {
        assembly ("memory-safe") {
            let input := mload(0x40)
            calldatacopy(input, from, sub(to, from))
            // The precompile fails only for lack of gas, and then nothing may go on.
            if iszero(staticcall(gas(), 2, input, sub(to, from), 0x00, 0x20)) {
                revert(0, 0)
            }
            digest := mload(0x00)
        }
    }
}
