// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SSTORE2} from "solady/utils/SSTORE2.sol";

/// @notice Who issues certificates and a list.
/// @param x Public key, P-256.
/// @param y Public key, P-256.
/// @param name keccak256 of its Name in DER.
/// @param keyId keccak256 of its key identifier.
struct Issuer {
    bytes32 x;
    bytes32 y;
    bytes32 name;
    bytes32 keyId;
}

/// @title Revoked serial numbers, and their issuer, as the code of a contract
/// @notice Code is the cheapest storage to read from: one cold access, however much is read. A
/// record is the issuer's 128 bytes, then a hash table of 8-byte entries with linear probing: a
/// serial belongs at `keccak256(serial) % places`, or behind that up to the first empty place. The
/// table does not wrap around; behind the end of the code everything is empty.
/// @dev An entry is the first 8 bytes of the hash. Should those of a good serial equal those of a
/// revoked one nearby, it would look revoked: by chance this happens to one in 10^18. The other
/// way round is impossible.
library RevokedSerials {
    /// @notice Most serials in a record: 2,700 places, and room for the last ones to run over.
    uint256 internal constant MAX = 1800;

    uint256 private constant HEAD_BYTES = 128;
    uint256 private constant ENTRY_BITS = 64;
    uint256 private constant WINDOW_BYTES = 256;

    /// @notice Writes a record.
    /// @param issuer Whose certificates they are.
    /// @param hashes keccak256 of each serial; at most `MAX`.
    /// @return record The contract that holds it.
    /// @return places Size of the hash table; zero without serials.
    function write(Issuer memory issuer, uint256[] memory hashes)
        internal
        returns (address record, uint256 places)
    {
        // Three places for two serials.
        places = hashes.length + (hashes.length + 1) / 2;
        bytes memory code;
        uint256 table;
        assembly ("memory-safe") {
            code := mload(0x40)
            mcopy(add(code, 0x20), issuer, HEAD_BYTES)
            table := add(code, add(0x20, HEAD_BYTES))
            // Free memory may be dirty. No more than all entries can run over the last place.
            let entries := add(places, mload(hashes))
            calldatacopy(table, calldatasize(), add(shl(3, entries), 0x20))
        }
        uint256 end = _fill(table, places, hashes);
        assembly ("memory-safe") {
            mstore(code, sub(end, add(code, 0x20)))
        }
        record = SSTORE2.write(code);
    }

    /// @dev Fills the empty table at `table` and returns where its last entry ends.
    function _fill(uint256 table, uint256 places, uint256[] memory hashes)
        private
        pure
        returns (uint256 end)
    {
        end = table;
        for (uint256 i; i < hashes.length; ++i) {
            uint256 hash = hashes[i];
            assembly ("memory-safe") {
                let place := add(table, shl(3, mod(hash, places)))
                let word := mload(place)
                for {} shr(sub(256, ENTRY_BITS), word) {} {
                    place := add(place, 8)
                    word := mload(place)
                }
                hash := shr(sub(256, ENTRY_BITS), hash)
                hash := or(hash, iszero(hash))
                mstore(place, or(word, shl(sub(256, ENTRY_BITS), hash)))
                place := add(place, 8)
                if gt(place, end) { end := place }
            }
        }
    }

    /// @notice Whether `serial` is in the table of `record`.
    function contains(address record, uint256 places, uint256 serial)
        internal
        view
        returns (bool found)
    {
        if (places == 0) return false;
        assembly ("memory-safe") {
            mstore(0x00, serial)
            let hash := keccak256(0x00, 0x20)
            // Code begins with a byte that stops who calls it.
            let offset := add(add(HEAD_BYTES, 1), shl(3, mod(hash, places)))
            hash := shr(sub(256, ENTRY_BITS), hash)
            hash := or(hash, iszero(hash))
            let window := mload(0x40)
            let entry := 1
            for {} and(gt(entry, 0), iszero(found)) { offset := add(offset, WINDOW_BYTES) } {
                extcodecopy(record, window, offset, WINDOW_BYTES)
                for { let i := 0 } lt(i, WINDOW_BYTES) { i := add(i, 8) } {
                    entry := shr(sub(256, ENTRY_BITS), mload(add(window, i)))
                    found := eq(entry, hash)
                    if or(found, iszero(entry)) { break }
                }
            }
        }
    }

    /// @notice The issuer in `record`.
    function issuerOf(address record) internal view returns (Issuer memory issuer) {
        assembly ("memory-safe") {
            extcodecopy(record, issuer, 1, HEAD_BYTES)
        }
    }
}
