// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttestationVerifier as V, Pck} from "../interfaces/IAttestationVerifier.sol";
import {Dates} from "./Dates.sol";
import {Der} from "./Der.sol";
import {SgxExtension} from "./SgxExtension.sol";
import {X509} from "./X509.sol";

/// @notice Who signed a PCK certificate, and how.
/// @param name keccak256 of the issuer's Name in DER.
/// @param keyId keccak256 of the issuer's key identifier; zero without the extension.
/// @param r First half of the signature.
/// @param s Second half of the signature.
struct Issuance {
    bytes32 name;
    bytes32 keyId;
    bytes32 r;
    bytes32 s;
}

/// @title Certificates of machines' provisioning certification keys
/// @notice X.509 version 3 in the shape that Intel's *SGX PCK Certificate and CRL Profile
/// Specification*, 1.5, prescribes and Intel's CAs issue. Any other shape is refused.
/// @dev Every verification with a certificate runs this, and a walk by `Der` costs three times as
/// much: whole words are compared with constants, which are the DER up to a value, its tag and
/// length included. Lengths that vary are zero in the constants and checked against each other.
library PckCertificates {
    // SEQUENCE {SEQUENCE {[0] {INTEGER 2}; both sequences have more than 255 bytes.
    uint256 private constant ENVELOPE = 0x3082000030820000a003020102;
    uint256 private constant ENVELOPE_MASK = 0xffff0000ffff0000ffffffffff;
    uint256 private constant ENVELOPE_BYTES = 13;

    // SEQUENCE {UTCTime, UTCTime}, with "0" for each digit.
    uint256 private constant VALIDITY =
        0x301e170d3030303030303030303030305a170d3030303030303030303030305a;
    // Added to digits, carries those above nine into the upper half of the byte.
    uint256 private constant SIX_PER_DIGIT =
        0x0000000006060606060606060606060600000006060606060606060606060600;
    // Zero in dates whose digits have had the "0" taken off.
    uint256 private constant NO_DIGIT =
        0xfffffffff0f0f0f0f0f0f0f0f0f0f0f0fffffff0f0f0f0f0f0f0f0f0f0f0f0ff;
    uint256 private constant DATE_BITS = 120;

    // [3] {SEQUENCE; both have more than 255 bytes.
    uint256 private constant EXTENSIONS = 0xa382000030820000;
    uint256 private constant EXTENSIONS_MASK = 0xffff0000ffff0000;
    uint256 private constant EXTENSIONS_BYTES = 8;

    // Extensions. A key identifier has 20 bytes.
    uint256 private constant AUTHORITY_KEY_ID = 0x301f0603551d23041830168014;
    uint256 private constant AUTHORITY_KEY_ID_BYTES = 13;
    uint256 private constant KEY_ID_BYTES = 20;
    // Critical: digitalSignature and nonRepudiation.
    uint256 private constant KEY_USAGE = 0x300e0603551d0f0101ff0404030206c0;
    uint256 private constant KEY_USAGE_BYTES = 16;
    // Critical: empty, not a CA.
    uint256 private constant BASIC_CONSTRAINTS = 0x300c0603551d130101ff04023000;
    uint256 private constant BASIC_CONSTRAINTS_BYTES = 14;
    // 2.5.29.x, not critical, shorter than 128 bytes: x and two lengths are zero here.
    uint256 private constant PLAIN = 0x30000603551d000400;
    uint256 private constant PLAIN_MASK = 0xff80ffffffff80ff80;
    // Bit x: 2.5.29.x is one of the three above, for x = 15, 19 and 35.
    uint256 private constant KNOWN = 0x800088000;

    /// @notice Reads a certificate. Signature, dates and revocation are for the caller.
    /// @return pck What it says, but for `issuer`, which is zero.
    /// @return by Who signed it.
    function read(bytes calldata leaf) internal view returns (Pck memory pck, Issuance memory by) {
        (uint256 cursor, uint256 end) = _open(leaf, pck, by);
        (pck.serial, cursor) = Der.unsigned(cursor, end);
        (by.name, cursor) = X509.name(X509.algorithm(cursor), end);
        cursor = _validity(cursor, pck);
        (, cursor) = Der.open(cursor, end, Der.SEQUENCE);
        (pck.x, pck.y, cursor) = X509.key(cursor);
        _extensions(cursor, end, pck, by);
    }

    /// @dev Passes what comes before the serial number; hash and signature are done with.
    function _open(bytes calldata leaf, Pck memory pck, Issuance memory by)
        private
        view
        returns (uint256 cursor, uint256 end)
    {
        uint256 outerEnd;
        bool good;
        assembly ("memory-safe") {
            cursor := leaf.offset
            let head := calldataload(cursor)
            let outer := and(shr(224, head), 0xffff)
            let inner := and(shr(192, head), 0xffff)
            good := eq(and(shr(152, head), ENVELOPE_MASK), ENVELOPE)
            good := and(good, and(gt(outer, 0xff), gt(inner, 0xff)))
            good := and(good, eq(add(outer, 4), leaf.length))
            outerEnd := add(cursor, leaf.length)
            cursor := add(cursor, 4)
            end := add(add(cursor, 4), inner)
        }
        require(good, V.BadDer(cursor));
        pck.tbsHash = Der.sha(cursor, end);
        cursor += ENVELOPE_BYTES - 4;
        (by.r, by.s) = X509.signature(X509.algorithm(end), outerEnd);
    }

    /// @dev Two UTCTimes, in years up to 2049.
    function _validity(uint256 cursor, Pck memory pck) private pure returns (uint256 next) {
        uint256 digits = Der.word(cursor) ^ VALIDITY;
        unchecked {
            bool good = ((digits + SIX_PER_DIGIT) | digits) & NO_DIGIT == 0;
            require(good, V.BadDer(cursor));
        }
        pck.notBefore = _seconds(cursor, digits >> 128);
        pck.notAfter = _seconds(cursor, digits >> 8);
        next = cursor + 32;
    }

    /// @dev From twelve digits, a byte each.
    function _seconds(uint256 cursor, uint256 digits) private pure returns (uint40 time) {
        bool valid;
        unchecked {
            // Six numbers of two digits, in 16 bits each.
            uint256 pairs = (digits >> 8 & 0x00ff00ff00ff00ff00ff00ff) * 10
                + (digits & 0x00ff00ff00ff00ff00ff00ff);
            (valid, time) = Dates.unixSeconds(
                2000 + (pairs >> 80),
                pairs >> 64 & 0xff,
                pairs >> 48 & 0xff,
                pairs >> 32 & 0xff,
                pairs >> 16 & 0xff,
                pairs & 0xff
            );
            require(valid && pairs >> 80 < 50, V.BadDer(cursor));
        }
    }

    function _extensions(uint256 cursor, uint256 end, Pck memory pck, Issuance memory by)
        private
        view
    {
        cursor = _openExtensions(cursor, end);
        bool maySign;
        while (true) {
            bool usage;
            (cursor, usage) = _passPlain(cursor, end);
            maySign = maySign || usage;
            if (cursor >= end) break;
            if (Der.word(cursor) >> 152 == AUTHORITY_KEY_ID) {
                require(by.keyId == 0, V.BadDer(cursor));
                cursor += AUTHORITY_KEY_ID_BYTES + KEY_ID_BYTES;
                by.keyId = Der.keccak(cursor - KEY_ID_BYTES, cursor);
            } else if (SgxExtension.isAt(cursor)) {
                // Once: a machine has one identity.
                require(pck.machine == 0, V.BadDer(cursor));
                cursor = SgxExtension.read(cursor, pck);
            } else {
                cursor = _passOther(cursor, end);
            }
        }
        Der.done(cursor, end);
        require(maySign, V.BadCertificate(V.CertificateFault.KeyUsage));
        require(pck.machine != 0, V.BadCertificate(V.CertificateFault.NoSgxExtension));
    }

    function _openExtensions(uint256 cursor, uint256 end) private pure returns (uint256 content) {
        bool good;
        assembly ("memory-safe") {
            let head := calldataload(cursor)
            let outer := and(shr(224, head), 0xffff)
            let inner := and(shr(192, head), 0xffff)
            good := eq(and(shr(192, head), EXTENSIONS_MASK), EXTENSIONS)
            good := and(good, and(eq(outer, add(inner, 4)), gt(inner, 0xff)))
            content := add(cursor, EXTENSIONS_BYTES)
            good := and(good, eq(add(content, inner), end))
        }
        require(good, V.BadDer(cursor));
    }

    /// @dev Passes extensions as long as they are usage and constraints of a leaf, or need not be
    /// known.
    /// @return next Where the first other one begins, or the extensions end.
    /// @return usage Whether the usage was among them.
    function _passPlain(uint256 cursor, uint256 end)
        private
        pure
        returns (uint256 next, bool usage)
    {
        assembly ("memory-safe") {
            next := cursor
            for {} lt(next, end) {} {
                let head := calldataload(next)
                if eq(shr(128, head), KEY_USAGE) {
                    usage := 1
                    next := add(next, KEY_USAGE_BYTES)
                    continue
                }
                if eq(shr(144, head), BASIC_CONSTRAINTS) {
                    next := add(next, BASIC_CONSTRAINTS_BYTES)
                    continue
                }
                if sub(and(shr(184, head), PLAIN_MASK), PLAIN) { break }
                if sub(add(byte(8, head), 7), byte(1, head)) { break }
                if and(shr(byte(6, head), KNOWN), 1) { break }
                next := add(add(next, 2), byte(1, head))
            }
        }
    }

    /// @dev Passes an extension of another shape, if it need not be known.
    function _passOther(uint256 cursor, uint256 end) private pure returns (uint256 next) {
        uint256 id;
        bool critical;
        (id, critical,, next) = X509.extension(cursor, end);
        require(id != X509.BASIC_CONSTRAINTS, V.BadCertificate(V.CertificateFault.IsACa));
        require(id != X509.KEY_USAGE, V.BadCertificate(V.CertificateFault.KeyUsage));
        require(id != X509.SGX, V.BadCertificate(V.CertificateFault.SgxField));
        require(id != X509.AUTHORITY_KEY_ID, V.BadDer(cursor));
        require(!critical, V.BadCertificate(V.CertificateFault.UnknownCriticalExtension));
    }
}
