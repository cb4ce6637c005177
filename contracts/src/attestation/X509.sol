// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttestationVerifier as V} from "../interfaces/IAttestationVerifier.sol";
import {Der} from "./Der.sol";

/// @title What certificates and revocation lists have in common
/// @notice RFC 5280, with ECDSA over P-256 and SHA-256 (RFC 5758) as the only algorithm.
library X509 {
    // SEQUENCE {OBJECT IDENTIFIER 1.2.840.10045.4.3.2}: ecdsa-with-SHA256.
    uint256 private constant ECDSA_WITH_SHA256 = 0x300a06082a8648ce3d040302;
    uint256 private constant ECDSA_WITH_SHA256_BYTES = 12;

    // SubjectPublicKeyInfo of a P-256 key, uncompressed, up to the point.
    uint256 private constant P256_KEY = 0x3059301306072a8648ce3d020106082a8648ce3d03010703420004;
    uint256 private constant P256_KEY_BYTES = 27;

    // BIT STRING without unused bits {SEQUENCE; lengths are zero here.
    uint256 private constant SIGNATURE = 0x0300003000;
    uint256 private constant SIGNATURE_MASK = 0xff80ffff80;

    // OBJECT IDENTIFIER 2.5.29.x, up to x.
    uint256 private constant STANDARD_EXTENSION = 0x0603551d;
    // OBJECT IDENTIFIER 1.2.840.113741.1.13.1.
    uint256 private constant SGX_EXTENSION = 0x06092a864886f84d010d01;
    // BOOLEAN TRUE.
    uint256 private constant TRUE = 0x0101ff;
    // keyIdentifier [0] of an AuthorityKeyIdentifier.
    uint256 private constant KEY_IDENTIFIER = 0x80;

    /// @notice Last arcs of the extensions 2.5.29.x that are understood.
    uint256 internal constant SUBJECT_KEY_ID = 14;
    uint256 internal constant KEY_USAGE = 15;
    uint256 internal constant BASIC_CONSTRAINTS = 19;
    uint256 internal constant CRL_NUMBER = 20;
    uint256 internal constant AUTHORITY_KEY_ID = 35;
    /// @notice Stands for Intel's SGX extension; no single byte of an object identifier is 128.
    uint256 internal constant SGX = 128;

    /// @notice Opens `SEQUENCE {signed part, algorithm, signature}`, which must fill `der`.
    /// @return cursor Where the content of the signed part begins.
    /// @return end Where it ends.
    /// @return hash SHA-256 of the signed part.
    /// @return r First half of the signature.
    /// @return s Second half of the signature.
    function open(bytes calldata der)
        internal
        view
        returns (uint256 cursor, uint256 end, bytes32 hash, bytes32 r, bytes32 s)
    {
        uint256 from;
        assembly ("memory-safe") {
            from := der.offset
            end := add(from, der.length)
        }
        uint256 outerEnd = end;
        (from, end) = Der.open(from, outerEnd, Der.SEQUENCE);
        Der.done(end, outerEnd);
        (cursor, end) = Der.open(from, outerEnd, Der.SEQUENCE);
        hash = Der.sha(from, end);
        (r, s) = signature(algorithm(end), outerEnd);
    }

    /// @notice Passes the one algorithm identifier.
    /// @dev The element that follows is opened next, and finds out if this one was too long.
    function algorithm(uint256 cursor) internal pure returns (uint256 next) {
        bool known;
        assembly ("memory-safe") {
            known := eq(shr(160, calldataload(cursor)), ECDSA_WITH_SHA256)
            next := add(cursor, ECDSA_WITH_SHA256_BYTES)
        }
        require(known, V.BadCertificate(V.CertificateFault.Algorithm));
    }

    /// @notice Passes a Name.
    /// @return hash keccak256 of its DER.
    function name(uint256 cursor, uint256 end) internal pure returns (bytes32 hash, uint256 next) {
        (, next) = Der.open(cursor, end, Der.SEQUENCE);
        hash = Der.keccak(cursor, next);
    }

    /// @notice Opens an Extension.
    /// @return id x for an extension 2.5.29.x, `SGX` for Intel's, zero for others.
    /// @return critical Whether it may not be skipped by who does not know it.
    /// @return value Where the content of its value begins.
    /// @return next Where the content and the extension end.
    function extension(uint256 cursor, uint256 end)
        internal
        pure
        returns (uint256 id, bool critical, uint256 value, uint256 next)
    {
        (cursor, next) = Der.open(cursor, end, Der.SEQUENCE);
        (, value) = Der.open(cursor, next, Der.OBJECT_IDENTIFIER);
        assembly ("memory-safe") {
            let head := calldataload(cursor)
            id := mul(byte(4, head), eq(shr(224, head), STANDARD_EXTENSION))
            id := or(id, mul(SGX, eq(shr(168, head), SGX_EXTENSION)))
            critical := eq(shr(232, calldataload(value)), TRUE)
            value := add(value, mul(critical, 3))
        }
        (value, cursor) = Der.open(value, next, Der.OCTET_STRING);
        Der.done(cursor, next);
    }

    /// @notice Adds the id of the extension at `cursor` to those seen before. None that is understood
    /// may come twice (RFC 5280, 4.2).
    function once(uint256 seen, uint256 id, uint256 cursor) internal pure returns (uint256 all) {
        bool known = id != 0;
        assembly ("memory-safe") {
            all := or(seen, shl(id, known))
        }
        require(!known || all != seen, V.BadDer(cursor));
    }

    /// @notice Reads an AuthorityKeyIdentifier that consists of a key identifier alone.
    /// @return hash keccak256 of the key identifier.
    function authorityKeyId(uint256 cursor, uint256 end) internal pure returns (bytes32 hash) {
        uint256 next;
        (cursor, next) = Der.open(cursor, end, Der.SEQUENCE);
        Der.done(next, end);
        return keyId(cursor, end, KEY_IDENTIFIER);
    }

    /// @notice Reads a key identifier with `tag`.
    /// @return hash keccak256 of the key identifier.
    function keyId(uint256 cursor, uint256 end, uint256 tag) internal pure returns (bytes32 hash) {
        uint256 next;
        (cursor, next) = Der.open(cursor, end, tag);
        Der.done(next, end);
        return Der.keccak(cursor, end);
    }

    /// @notice Reads a SubjectPublicKeyInfo of an uncompressed P-256 point.
    /// @dev The element that follows is opened next, and finds out if this one was too long.
    function key(uint256 cursor) internal pure returns (bytes32 x, bytes32 y, uint256 next) {
        bool known;
        assembly ("memory-safe") {
            known := eq(shr(40, calldataload(cursor)), P256_KEY)
            x := calldataload(add(cursor, P256_KEY_BYTES))
            y := calldataload(add(cursor, add(P256_KEY_BYTES, 32)))
            next := add(cursor, add(P256_KEY_BYTES, 64))
        }
        require(known, V.BadCertificate(V.CertificateFault.Algorithm));
    }

    /// @notice Reads `BIT STRING {SEQUENCE {INTEGER r, INTEGER s}}`, which must end at `end`.
    function signature(uint256 cursor, uint256 end) internal pure returns (bytes32, bytes32) {
        bool good;
        assembly ("memory-safe") {
            // At most 72 bytes: short lengths. No unused bits.
            let head := calldataload(cursor)
            let inner := byte(4, head)
            good := eq(and(shr(216, head), SIGNATURE_MASK), SIGNATURE)
            good := and(good, eq(byte(1, head), add(inner, 3)))
            good := and(good, eq(add(add(cursor, 5), inner), end))
        }
        require(good, V.BadDer(cursor));
        (uint256 r, uint256 afterR) = Der.unsigned(cursor + 5, end);
        (uint256 s, uint256 afterS) = Der.unsigned(afterR, end);
        Der.done(afterS, end);
        return (bytes32(r), bytes32(s));
    }
}
