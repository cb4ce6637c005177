// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttestationVerifier as V, Quote} from "../interfaces/IAttestationVerifier.sol";

/// @title Quotes and reports of SGX and TDX
/// @notice Layouts: Intel, SGX ECDSA QuoteGenReference (appendix A.4) and TDX DCAP Quote Generation
/// Library (appendix A.3). Integers inside are little-endian.
/// @dev Fields are read where they lie: a report is named by its offset in calldata, and only what
/// is hashed is copied. `open` checks all lengths that the other functions rely on.
library Quotes {
    uint256 private constant HEADER_BYTES = 48;
    uint256 private constant HEADER_V5_BYTES = 54;
    uint256 private constant AUTH_BYTES = 608;

    uint256 private constant SGX_REPORT_BYTES = 384;
    uint256 private constant TD_REPORT_10_BYTES = 584;
    uint256 private constant TD_REPORT_15_BYTES = 648;
    uint256 private constant TD_REPORT_15_EX_BYTES = 885;

    uint256 private constant SGX_TYPE = 0x00;
    uint256 private constant TDX_TYPE = 0x81;
    uint256 private constant ECDSA_P256_TYPE = 2;
    uint256 private constant INTEL_VENDOR = 0x939a7233f79c4ca9940a0db3957f0607;

    // ATTRIBUTES.FLAGS of an enclave: DEBUG, PROVISION_KEY, EINITTOKEN_KEY (Intel SDM volume 3D,
    // 34.7.1).
    uint256 private constant SGX_FORBIDDEN = 0x32;
    // ATTRIBUTES of a trust domain (Intel TDX Module ABI Specification 348551-008US, table 3.23).
    // Forbidden: debug and profiling (bits 0 to 7), reserved (8 to 15, 23 to 26, 32 to 61),
    // SERVTD_EXT (17), MIGRATABLE (29). Required: SEPT_VE_DISABLE (28).
    uint256 private constant TD_FORBIDDEN = 0x3fffffff2782ffff;
    uint256 private constant TD_REQUIRED = 0x10000000;

    /// @notice SHA-256 of header and body (what the attestation key signed), of the QE report (what
    /// the PCK signed), and `Verdict.evidence`.
    struct Digests {
        bytes32 signed;
        bytes32 qeReport;
        bytes32 evidence;
    }

    /// @notice Checks lengths and header.
    /// @return report Offset of the report.
    /// @return size Its bytes, which say what it is; see `isSgx` and `isTd15`.
    function open(Quote calldata quote) internal pure returns (uint256 report, uint256 size) {
        bytes calldata signed = quote.signed;
        uint256 length = signed.length;
        require(length >= HEADER_V5_BYTES, V.BadLength(V.QuotePart.Signed, length));
        _requireAuth(quote);
        uint256 header = _offset(signed);
        uint256 version = _integer(header, 2);
        require(version >= 3 && version <= 5, V.UnsupportedQuote(V.QuotePart.Version, version));
        _requireHeader(header, version == 3 ? SGX_TYPE : TDX_TYPE);
        report = header + HEADER_BYTES;
        size = version == 3 ? SGX_REPORT_BYTES : TD_REPORT_10_BYTES;
        if (version == 5) {
            size = _sizeInV5(report);
            report = header + HEADER_V5_BYTES;
        }
        require(length == report - header + size, V.BadLength(V.QuotePart.Signed, length));
    }

    /// @notice Whether a report of this size is an enclave's; otherwise it is a trust domain's.
    function isSgx(uint256 size) internal pure returns (bool) {
        return size == SGX_REPORT_BYTES;
    }

    /// @notice Whether a report of this size is of TD 1.5, so that a second TCB is in it: the
    /// current one, after that of the launch.
    function isTd15(uint256 size) internal pure returns (bool) {
        return size >= TD_REPORT_15_BYTES;
    }

    /// @notice TEE_TCB_SVN of a trust domain's report, at launch.
    function teeTcbSvn(uint256 report) internal pure returns (bytes16) {
        return bytes16(load(report));
    }

    /// @notice TEE_TCB_SVN2 of a report of TD 1.5, now.
    function teeTcbSvn2(uint256 report) internal pure returns (bytes16) {
        return bytes16(load(report + 584));
    }

    /// @notice MRSIGNERSEAM and SEAMATTRIBUTES of a trust domain's report.
    function tdxModule(uint256 report) internal pure returns (bytes calldata module) {
        assembly ("memory-safe") {
            module.offset := add(report, 64)
            module.length := 56
        }
    }

    /// @notice Offset of the QE report.
    function qeReport(Quote calldata quote) internal pure returns (uint256) {
        return _offset(quote.auth) + 128;
    }

    /// @notice The PCK's signature over the QE report.
    function qeSignature(Quote calldata quote) internal pure returns (bytes32 r, bytes32 s) {
        uint256 auth = _offset(quote.auth);
        return (load(auth + 512), load(auth + 544));
    }

    /// @notice The attestation key's signature over header and body, and that key.
    function signature(Quote calldata quote)
        internal
        pure
        returns (bytes32 r, bytes32 s, bytes32 x, bytes32 y)
    {
        uint256 auth = _offset(quote.auth);
        return (load(auth), load(auth + 32), load(auth + 64), load(auth + 96));
    }

    /// @notice Hashes a quote with a PCK certificate's `tbsHash`. The quote has been opened.
    function digests(Quote calldata quote, bytes32 tbsHash)
        internal
        view
        returns (Digests memory result)
    {
        uint256 length = quote.signed.length;
        uint256 start = _copy(_offset(quote.signed), length, 0);
        _copy(qeReport(quote), SGX_REPORT_BYTES, length);
        assembly ("memory-safe") {
            mstore(add(start, add(length, SGX_REPORT_BYTES)), tbsHash)
        }
        result.signed = _sha256(start, length);
        result.qeReport = _sha256(start + length, SGX_REPORT_BYTES);
        result.evidence = _sha256(start, length + SGX_REPORT_BYTES + 32);
    }

    /// @notice `Verdict.evidence` of a quote that need not be opened yet.
    function evidence(Quote calldata quote, bytes32 tbsHash) internal view returns (bytes32) {
        _requireAuth(quote);
        return digests(quote, tbsHash).evidence;
    }

    /// @notice The QE report commits to the attestation key and the QE's authentication data.
    function requireKeyBound(Quote calldata quote) internal view {
        uint256 auth = _offset(quote.auth);
        uint256 start = _copy(auth + 64, 64, 0);
        _copy(auth + 576, 32, 64);
        bytes32 expected = _sha256(start, 96);
        uint256 report = qeReport(quote);
        bytes32 got = load(report + 320);
        require(got == expected && load(report + 352) == 0, V.AttestationKeyNotBound(expected, got));
    }

    /// @notice No attribute gives others access to the enclave or the trust domain.
    function requireAttributes(uint256 report, uint256 size) internal pure {
        if (isSgx(size)) {
            uint256 flags = _integer(report + 48, 8);
            uint256 set = flags & SGX_FORBIDDEN;
            require(set == 0, V.ForbiddenAttributes(flags, set));
        } else {
            uint256 attributes = _integer(report + 120, 8);
            uint256 wrong = (attributes ^ TD_REQUIRED) & (TD_REQUIRED | TD_FORBIDDEN);
            require(wrong == 0, V.ForbiddenAttributes(attributes, wrong));
            // MRSERVICETD, 48 bytes.
            bool bound = isTd15(size) && load(report + 600) | load(report + 616) != 0;
            require(!bound, V.BoundToServiceTd());
        }
    }

    /// @notice `Verdict.measurement`.
    function measurement(uint256 report, uint256 size) internal view returns (bytes32) {
        if (isSgx(size)) return load(report + 64);
        // MRTD to RTMR3 lie in the order in which they are hashed.
        bytes memory tag = "phallama/1 td measurement\x00";
        uint256 start = _copy(report + 136, 384, tag.length);
        assembly ("memory-safe") {
            mcopy(start, add(tag, 0x20), mload(tag))
        }
        return _sha256(start, tag.length + 384);
    }

    /// @notice Both halves of the report data.
    function reportData(uint256 report, uint256 size)
        internal
        pure
        returns (bytes32 data, bytes32 nonce)
    {
        uint256 offset = report + (isSgx(size) ? 320 : 520);
        return (load(offset), load(offset + 32));
    }

    /// @notice 32 bytes of calldata.
    function load(uint256 offset) internal pure returns (bytes32 word) {
        assembly ("memory-safe") {
            word := calldataload(offset)
        }
    }

    /// @notice Little-endian integer of at most 8 bytes in calldata.
    function _integer(uint256 offset, uint256 size) private pure returns (uint256 value) {
        value = uint256(load(offset)) >> (256 - 8 * size) << (64 - 8 * size);
        value = (value & 0x00ff00ff00ff00ff) << 8 | (value >> 8) & 0x00ff00ff00ff00ff;
        value = (value & 0x0000ffff0000ffff) << 16 | (value >> 16) & 0x0000ffff0000ffff;
        value = (value & 0xffffffff) << 32 | value >> 32;
    }

    function _requireAuth(Quote calldata quote) private pure {
        uint256 length = quote.auth.length;
        require(length == AUTH_BYTES, V.BadLength(V.QuotePart.Auth, length));
    }

    /// Header after the version: key type 2 | TEE type 4 | 4 | vendor 16 | 20.
    function _requireHeader(uint256 header, uint256 expectedTee) private pure {
        uint256 keyType = _integer(header + 2, 2);
        require(keyType == ECDSA_P256_TYPE, V.UnsupportedQuote(V.QuotePart.KeyType, keyType));
        uint256 tee = _integer(header + 4, 4);
        require(tee == expectedTee, V.UnsupportedQuote(V.QuotePart.TeeType, tee));
        uint256 vendor = uint256(load(header + 12)) >> 128;
        require(vendor == INTEL_VENDOR, V.UnsupportedQuote(V.QuotePart.Vendor, vendor));
    }

    /// Body descriptor of version 5: type 2 | size 4.
    function _sizeInV5(uint256 descriptor) private pure returns (uint256 size) {
        uint256 kind = _integer(descriptor, 2);
        if (kind == 2) size = TD_REPORT_10_BYTES;
        else if (kind == 3) size = TD_REPORT_15_BYTES;
        else if (kind == 4) size = TD_REPORT_15_EX_BYTES;
        else revert V.UnsupportedQuote(V.QuotePart.BodyType, kind);
        uint256 declared = _integer(descriptor + 2, 4);
        require(declared == size, V.UnsupportedQuote(V.QuotePart.BodySize, declared));
    }

    function _offset(bytes calldata data) private pure returns (uint256 offset) {
        assembly ("memory-safe") {
            offset := data.offset
        }
    }

    /// Copies calldata into free memory, `gap` bytes after its start; the memory stays free.
    function _copy(uint256 offset, uint256 size, uint256 gap) private pure returns (uint256 start) {
        assembly ("memory-safe") {
            start := mload(0x40)
            calldatacopy(add(start, gap), offset, size)
        }
    }

    function _sha256(uint256 start, uint256 size) private view returns (bytes32 digest) {
        assembly ("memory-safe") {
            if iszero(staticcall(gas(), 2, start, size, 0x00, 0x20)) { revert(0, 0) }
            digest := mload(0x00)
        }
    }
}
