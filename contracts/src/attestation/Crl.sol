// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttestationVerifier as V} from "../interfaces/IAttestationVerifier.sol";
import {Der} from "./Der.sol";
import {X509} from "./X509.sol";

/// @notice What a certificate revocation list says.
/// @param tbsHash SHA-256 of the signed part.
/// @param r First half of its signature.
/// @param s Second half of its signature.
/// @param issuerName keccak256 of the issuer's Name in DER.
/// @param authorityKeyId keccak256 of the issuer's key identifier; zero without the extension.
/// @param number CRL number, below 2^96; zero without the extension.
/// @param thisUpdate Unix seconds, first second of validity.
/// @param nextUpdate Unix seconds, last second of validity.
/// @param serials keccak256 of the revoked serial numbers as 32 bytes each.
struct Crl {
    bytes32 tbsHash;
    bytes32 r;
    bytes32 s;
    bytes32 issuerName;
    bytes32 authorityKeyId;
    uint256 number;
    uint256 thisUpdate;
    uint256 nextUpdate;
    uint256[] serials;
}

/// @title Certificate revocation lists
/// @notice Version 2 (RFC 5280, section 5), complete lists of one issuer: what a delta list or a
/// list of a distribution point has is critical and unknown here, so such lists are refused.
library Crls {
    // INTEGER 1: version 2.
    uint256 private constant VERSION_2 = 0x020101;
    uint256 private constant EXTENSIONS = 0xa0;
    uint256 private constant NUMBER_MAX = type(uint96).max;

    /// @notice Reads a list. Its signature and dates are for the caller.
    function parse(bytes calldata der) internal view returns (Crl memory crl) {
        uint256 cursor;
        uint256 end;
        (cursor, end, crl.tbsHash, crl.r, crl.s) = X509.open(der);
        require(Der.word(cursor) >> 232 == VERSION_2, V.BadDer(cursor));
        (crl.issuerName, cursor) = X509.name(X509.algorithm(cursor + 3), end);
        (crl.thisUpdate, cursor) = Der.time(cursor, end);
        (crl.nextUpdate, cursor) = Der.time(cursor, end);
        uint256 next;
        // Absent when nothing is revoked.
        if (Der.word(cursor) >> 248 == Der.SEQUENCE) {
            (cursor, next) = Der.open(cursor, end, Der.SEQUENCE);
            crl.serials = _serials(cursor, next);
            cursor = next;
        }
        (cursor, next) = Der.open(cursor, end, EXTENSIONS);
        Der.done(next, end);
        (cursor, next) = Der.open(cursor, end, Der.SEQUENCE);
        Der.done(next, end);
        _extensions(cursor, end, crl);
    }

    function _extensions(uint256 cursor, uint256 end, Crl memory crl) private pure {
        uint256 seen;
        while (cursor < end) {
            (uint256 id, bool critical, uint256 value, uint256 next) = X509.extension(cursor, end);
            seen = X509.once(seen, id, cursor);
            if (id == X509.AUTHORITY_KEY_ID) {
                crl.authorityKeyId = X509.authorityKeyId(value, next);
            } else if (id == X509.CRL_NUMBER) {
                uint256 afterNumber;
                (crl.number, afterNumber) = Der.unsigned(value, next);
                Der.done(afterNumber, next);
                require(crl.number <= NUMBER_MAX, V.BadDer(value));
            } else {
                require(!critical, V.BadCertificate(V.CertificateFault.UnknownCriticalExtension));
            }
            cursor = next;
        }
    }

    /// @dev The array grows behind the free memory while it is read; nothing else allocates.
    function _serials(uint256 cursor, uint256 end) private pure returns (uint256[] memory serials) {
        uint256 slot;
        assembly ("memory-safe") {
            serials := mload(0x40)
            slot := add(serials, 0x20)
        }
        while (cursor < end) {
            uint256 serial;
            (serial, cursor) = _entry(cursor, end);
            assembly ("memory-safe") {
                mstore(0x00, serial)
                mstore(slot, keccak256(0x00, 0x20))
                slot := add(slot, 0x20)
            }
        }
        assembly ("memory-safe") {
            mstore(serials, sub(shr(5, sub(slot, serials)), 1))
            mstore(0x40, slot)
        }
    }

    /// @dev `SEQUENCE {serial INTEGER, date Time, extensions SEQUENCE OPTIONAL}`.
    function _entry(uint256 cursor, uint256 end)
        private
        pure
        returns (uint256 serial, uint256 next)
    {
        (cursor, next) = Der.open(cursor, end, Der.SEQUENCE);
        (serial, cursor) = Der.unsigned(cursor, next);
        uint256 tag = Der.word(cursor) >> 248;
        if (tag != Der.GENERALIZED_TIME) tag = Der.UTC_TIME;
        (, cursor) = Der.open(cursor, next, tag);
        if (cursor == next) return (serial, next);
        (cursor, end) = Der.open(cursor, next, Der.SEQUENCE);
        Der.done(end, next);
        while (cursor < next) {
            bool critical;
            (, critical,, cursor) = X509.extension(cursor, next);
            require(!critical, V.BadCertificate(V.CertificateFault.UnknownCriticalExtension));
        }
    }
}
