// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttestationVerifier as V} from "../interfaces/IAttestationVerifier.sol";
import {Der} from "./Der.sol";
import {X509} from "./X509.sol";

/// @notice What an X.509 certificate of this PKI says.
/// @param tbsHash SHA-256 of the signed part.
/// @param r First half of its signature.
/// @param s Second half of its signature.
/// @param serial Serial number.
/// @param issuerName keccak256 of the issuer's Name in DER.
/// @param subjectName keccak256 of the subject's Name in DER.
/// @param notBefore Unix seconds, first second of validity.
/// @param notAfter Unix seconds, last second of validity.
/// @param x Public key, P-256.
/// @param y Public key, P-256.
/// @param authorityKeyId keccak256 of the issuer's key identifier; zero without the extension.
/// @param keyId keccak256 of the subject's key identifier; zero without the extension.
/// @param keyUsage First byte of the bit string: bit 7 is digitalSignature.
/// @param isCa cA of the basic constraints.
struct Certificate {
    bytes32 tbsHash;
    bytes32 r;
    bytes32 s;
    uint256 serial;
    bytes32 issuerName;
    bytes32 subjectName;
    uint256 notBefore;
    uint256 notAfter;
    bytes32 x;
    bytes32 y;
    bytes32 authorityKeyId;
    bytes32 keyId;
    uint256 keyUsage;
    bool isCa;
}

/// @title Certificates of roots, CAs and signers
/// @notice X.509 version 3 with P-256 keys (RFC 5280). Reads and checks the form; signatures, dates
/// and revocation are for the caller.
library Certificates {
    // [0] {INTEGER 2}: version 3.
    uint256 private constant VERSION_3 = 0xa003020102;
    uint256 private constant EXTENSIONS = 0xa3;
    // BOOLEAN TRUE.
    uint256 private constant TRUE = 0x0101ff;

    uint256 private constant DIGITAL_SIGNATURE = 0x80;
    uint256 private constant KEY_CERT_SIGN_AND_CRL_SIGN = 0x06;

    /// @notice Reads a certificate.
    function parse(bytes calldata der) internal view returns (Certificate memory c) {
        (uint256 cursor, uint256 end, bytes32 tbsHash, bytes32 r, bytes32 s) = X509.open(der);
        (c.tbsHash, c.r, c.s) = (tbsHash, r, s);
        require(Der.word(cursor) >> 216 == VERSION_3, V.BadDer(cursor));
        (c.serial, cursor) = Der.unsigned(cursor + 5, end);
        (c.issuerName, cursor) = X509.name(X509.algorithm(cursor), end);
        cursor = _validity(cursor, end, c);
        (c.subjectName, cursor) = X509.name(cursor, end);
        (c.x, c.y, cursor) = X509.key(cursor);
        uint256 next;
        (cursor, next) = Der.open(cursor, end, EXTENSIONS);
        Der.done(next, end);
        (cursor, next) = Der.open(cursor, end, Der.SEQUENCE);
        Der.done(next, end);
        _extensions(cursor, end, c);
    }

    /// @notice A CA: it may sign certificates and lists, and has a key identifier to bind them to.
    function requireCa(Certificate memory c) internal pure {
        require(c.isCa, V.BadCertificate(V.CertificateFault.NotACa));
        bool mayIssue = c.keyUsage & KEY_CERT_SIGN_AND_CRL_SIGN == KEY_CERT_SIGN_AND_CRL_SIGN;
        require(mayIssue, V.BadCertificate(V.CertificateFault.KeyUsage));
        require(c.keyId != 0, V.BadCertificate(V.CertificateFault.NoKeyIdentifier));
    }

    /// @notice Not a CA; it may sign data.
    function requireEndEntity(Certificate memory c) internal pure {
        require(!c.isCa, V.BadCertificate(V.CertificateFault.IsACa));
        bool maySign = c.keyUsage & DIGITAL_SIGNATURE != 0;
        require(maySign, V.BadCertificate(V.CertificateFault.KeyUsage));
    }

    function _validity(uint256 cursor, uint256 end, Certificate memory c)
        private
        pure
        returns (uint256 next)
    {
        (cursor, next) = Der.open(cursor, end, Der.SEQUENCE);
        (c.notBefore, cursor) = Der.time(cursor, next);
        (c.notAfter, cursor) = Der.time(cursor, next);
        Der.done(cursor, next);
    }

    function _extensions(uint256 cursor, uint256 end, Certificate memory c) private pure {
        uint256 seen;
        while (cursor < end) {
            (uint256 id, bool critical, uint256 value, uint256 next) = X509.extension(cursor, end);
            seen = X509.once(seen, id, cursor);
            if (id == X509.AUTHORITY_KEY_ID) {
                c.authorityKeyId = X509.authorityKeyId(value, next);
            } else if (id == X509.SUBJECT_KEY_ID) {
                c.keyId = X509.keyId(value, next, Der.OCTET_STRING);
            } else if (id == X509.KEY_USAGE) {
                c.keyUsage = _keyUsage(value, next);
            } else if (id == X509.BASIC_CONSTRAINTS) {
                c.isCa = _isCa(value, next);
            } else {
                require(!critical, V.BadCertificate(V.CertificateFault.UnknownCriticalExtension));
            }
            cursor = next;
        }
    }

    /// @dev First byte of a BIT STRING of one or two bytes, whose unused bits are zero.
    function _keyUsage(uint256 cursor, uint256 end) private pure returns (uint256) {
        (uint256 content, uint256 next) = Der.open(cursor, end, Der.BIT_STRING);
        Der.done(next, end);
        uint256 size = end - content;
        require(size == 2 || size == 3, V.BadDer(cursor));
        uint256 unused = Der.word(content) >> 248;
        uint256 last = Der.word(end - 1) >> 248;
        require(unused < 8 && last % 2 ** unused == 0, V.BadDer(cursor));
        return (Der.word(content) >> 240) & 0xff;
    }

    /// @dev `SEQUENCE {cA BOOLEAN DEFAULT FALSE, pathLenConstraint INTEGER OPTIONAL}`. Chains here
    /// have one CA below the root: no length is too short for a leaf. It has one byte.
    function _isCa(uint256 cursor, uint256 end) private pure returns (bool) {
        uint256 next;
        (cursor, next) = Der.open(cursor, end, Der.SEQUENCE);
        Der.done(next, end);
        if (cursor == end) return false;
        require(Der.word(cursor) >> 232 == TRUE, V.BadDer(cursor));
        cursor += 3;
        if (cursor != end) {
            (uint256 length, uint256 next_) = Der.unsigned(cursor, end);
            require(length < 256, V.BadDer(cursor));
            cursor = next_;
        }
        Der.done(cursor, end);
        return true;
    }
}
