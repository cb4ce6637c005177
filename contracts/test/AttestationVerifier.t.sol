// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {
    IAttestationVerifier as V,
    Pck,
    Quote,
    TcbStatus,
    Tee,
    Verdict
} from "../src/interfaces/IAttestationVerifier.sol";
import {DerWriter} from "./DerWriter.sol";
import {Simulation} from "./Simulation.sol";
import {bound, vm} from "./Vm.sol";

/// One thing wrong in a good quote, its certificate or what authorities say: one error each.
contract AttestationVerifierTest is Simulation {
    uint256 private constant START = 1_800_000_000;
    bytes32 private constant DATA = keccak256("report data");
    uint256 private constant BODY = 48;
    uint64 private constant SEPT_VE_DISABLE = 0x10000000;

    function setUp() public {
        vm.warp(START);
        startVerifier();
        bring(Tee.Tdx, goodTerms());
        vm.warp(START + 1);
    }

    // Verdicts.

    function test_verify_anEnclave() public view {
        Quote memory quote = sgxQuote(DATA);
        Verdict memory expected = Verdict({
            tee: Tee.Sgx,
            status: TcbStatus.UpToDate,
            evaluationNumber: 17,
            expiry: uint40(START + COLLATERAL_LIFE),
            measurement: MRENCLAVE,
            machine: machineOf(pck),
            evidence: evidenceOf(quote),
            reportData: DATA,
            nonce: 0
        });
        same(verifier.verify(quote, leaf), expected);
    }

    function test_verify_aTrustDomain() public view {
        uint8[4] memory bodyTypes = [0, 2, 3, 4];
        for (uint256 i; i < 4; ++i) {
            Quote memory quote = tdQuote(bodyTypes[i], DATA);
            Verdict memory expected = Verdict({
                tee: Tee.Tdx,
                status: TcbStatus.UpToDate,
                evaluationNumber: 17,
                expiry: uint40(START + COLLATERAL_LIFE),
                measurement: sha256(
                    bytes.concat("phallama/1 td measurement\x00", tdMeasurements())
                ),
                machine: machineOf(pck),
                evidence: evidenceOf(quote),
                reportData: DATA,
                nonce: 0
            });
            same(verifier.verify(quote, leaf), expected);
        }
    }

    function test_verifyKnown_givesTheSameVerdict() public {
        Quote memory sgx = sgxQuote(DATA);
        Quote memory td = tdQuote(0, DATA);
        verifier.admitPck(leaf);
        same(verifier.verifyKnown(sgx, pck), verifier.verify(sgx, leaf));
        same(verifier.verifyKnown(td, pck), verifier.verify(td, leaf));
    }

    function test_verifyAndAdmit_givesTheSameVerdictAndRemembers() public {
        Quote memory quote = sgxQuote(DATA);
        vm.assertEq(verifier.isKnown(pck), false, "before");
        Verdict memory verdict = verifier.verifyAndAdmit(quote, leaf);
        same(verdict, verifier.verify(quote, leaf));
        vm.assertEq(verifier.isKnown(pck), true, "after");
    }

    function test_verifyAndAdmit_remembersNothingWhenItRefuses() public {
        Quote memory quote = sgxQuote(DATA);
        quote.auth[0] ^= 0x01;
        vm.expectRevert(badSignature(V.Signed.Quote));
        verifier.verifyAndAdmit(quote, leaf);
        vm.assertEq(verifier.isKnown(pck), false, "not remembered");
    }

    function test_admitPck_givesWhatTheCertificateSays() public {
        string memory json = vm.readFile(string.concat(SIMULATED, "machine.json"));
        Pck memory got = verifier.admitPck(leaf);
        vm.assertEq(got.tbsHash, vm.parseJsonBytes32(json, ".pck_tbs_hash"), "tbsHash");
        vm.assertEq(got.x, vm.parseJsonBytes32(json, ".pck_x"), "x");
        vm.assertEq(got.y, vm.parseJsonBytes32(json, ".pck_y"), "y");
        vm.assertEq(got.issuer, vm.parseJsonBytes32(json, ".pck_issuer"), "issuer");
        vm.assertEq(got.serial, vm.parseJsonUint(json, ".pck_serial"), "serial");
        vm.assertEq(got.machine, vm.parseJsonBytes32(json, ".pck_machine"), "machine");
        vm.assertEq(got.machine, machineOf(pck), "machine, computed");
        vm.assertEq(
            bytes.concat(got.instance), vm.parseJsonBytes(json, ".pck_instance"), "instance"
        );
        vm.assertEq(bytes.concat(got.cpuSvn), vm.parseJsonBytes(json, ".pck_cpu_svn"), "cpuSvn");
        vm.assertEq(bytes.concat(got.fmspc), vm.parseJsonBytes(json, ".pck_fmspc"), "fmspc");
        vm.assertEq(bytes.concat(got.pceId), vm.parseJsonBytes(json, ".pck_pce_id"), "pceId");
        vm.assertEq(got.pceSvn, vm.parseJsonUint(json, ".pck_pce_svn"), "pceSvn");
        vm.assertEq(got.notBefore, vm.parseJsonUint(json, ".pck_not_before"), "notBefore");
        vm.assertEq(got.notAfter, vm.parseJsonUint(json, ".pck_not_after"), "notAfter");
    }

    // Remembered certificates.

    function test_verifyKnown_refusesACertificateThatIsNotRemembered() public {
        refuseKnown(sgxQuote(DATA), pck, unknownPck());
    }

    function test_verifyKnown_comparesEveryField() public {
        verifier.admitPck(leaf);
        Quote memory quote = sgxQuote(DATA);
        bytes memory encoded = abi.encode(pck);
        for (uint256 i; i < encoded.length; i += 32) {
            // The last byte of a word is part of every field but those that begin it.
            uint256 place = i == 192 || i == 224 || i == 256 || i == 288 ? i : i + 31;
            encoded[place] ^= 0x01;
            Pck memory changed = abi.decode(encoded, (Pck));
            refuseKnown(
                quote, changed, abi.encodeWithSelector(V.UnknownPck.selector, changed.tbsHash)
            );
            encoded[place] ^= 0x01;
        }
    }

    // Lengths and header.

    function test_refuses_otherLengths() public {
        Quote memory quote = sgxQuote(DATA);
        quote.auth = bytes.concat(quote.auth, hex"00");
        refuse(quote, abi.encodeWithSelector(V.BadLength.selector, V.QuotePart.Auth, 609));
        quote.auth = slice(quote.auth, 0, 607);
        refuse(quote, abi.encodeWithSelector(V.BadLength.selector, V.QuotePart.Auth, 607));
        refuseLength(bytes.concat(sgxSigned(DATA), hex"00"));
        refuseLength(slice(sgxSigned(DATA), 0, 431));
        refuseLength(slice(sgxSigned(DATA), 0, 53));
        refuseLength("");
        refuseLength(bytes.concat(tdSigned(0, DATA), hex"00"));
        refuseLength(slice(tdSigned(2, DATA), 0, 637));
        refuseLength(slice(tdSigned(3, DATA), 0, 701));
        refuseLength(bytes.concat(tdSigned(4, DATA), hex"00"));
    }

    function test_refuses_otherVersions() public {
        refuseHeader(sgxSigned(DATA), 0, 2, V.QuotePart.Version, 2);
        refuseHeader(sgxSigned(DATA), 0, 6, V.QuotePart.Version, 6);
        refuseHeader(sgxSigned(DATA), 1, 1, V.QuotePart.Version, 259);
        // An enclave has version 3 alone, a trust domain the others.
        refuseHeader(sgxSigned(DATA), 0, 4, V.QuotePart.TeeType, 0);
        refuseHeader(tdSigned(0, DATA), 0, 3, V.QuotePart.TeeType, 0x81);
    }

    function test_refuses_otherKeyTypesTeesAndVendors() public {
        refuseHeader(sgxSigned(DATA), 2, 3, V.QuotePart.KeyType, 3);
        refuseHeader(sgxSigned(DATA), 4, 1, V.QuotePart.TeeType, 1);
        refuseHeader(tdSigned(0, DATA), 7, 1, V.QuotePart.TeeType, 0x01000081);
        uint256 vendor = 0x939a7233f79c4ca9940a0db3957f0607;
        refuseHeader(sgxSigned(DATA), 12, 0x92, V.QuotePart.Vendor, vendor - (1 << 120));
        refuseHeader(tdSigned(4, DATA), 27, 0x06, V.QuotePart.Vendor, vendor - 1);
    }

    function test_refuses_otherBodyTypesAndSizes() public {
        refuseHeader(tdSigned(2, DATA), 48, 1, V.QuotePart.BodyType, 1);
        refuseHeader(tdSigned(2, DATA), 48, 5, V.QuotePart.BodyType, 5);
        refuseHeader(tdSigned(2, DATA), 49, 1, V.QuotePart.BodyType, 258);
        refuseHeader(tdSigned(2, DATA), 48, 3, V.QuotePart.BodySize, 584);
        refuseHeader(tdSigned(3, DATA), 53, 1, V.QuotePart.BodySize, 648 + (1 << 24));
    }

    // Signatures.

    function test_refuses_aQuoteThatTheAttestationKeyDidNotSign() public {
        Quote memory quote = sgxQuote(DATA);
        quote.auth[63] ^= 0x01;
        refuse(quote, badSignature(V.Signed.Quote));
        quote = sgxQuote(DATA);
        quote.signed[BODY + 320] ^= 0x01;
        refuse(quote, badSignature(V.Signed.Quote));
        quote = tdQuote(4, DATA);
        quote.signed[938] ^= 0x01;
        refuse(quote, badSignature(V.Signed.Quote));
    }

    function test_refuses_aQeReportThatThePckDidNotSign() public {
        Quote memory quote = sgxQuote(DATA);
        quote.auth[512] ^= 0x01;
        refuse(quote, badSignature(V.Signed.QeReport));
        quote = sgxQuote(DATA);
        quote.auth[128] ^= 0x01;
        refuse(quote, badSignature(V.Signed.QeReport));
    }

    function test_refuses_anAttestationKeyThatTheQeReportDoesNotName() public {
        Quote memory quote = sgxQuote(DATA);
        bytes memory auth = quote.auth;
        bytes32 got = bytes32(slice(auth, 448, 480));
        auth[607] ^= 0x01;
        bytes32 expected = sha256(bytes.concat(slice(auth, 64, 128), slice(auth, 576, 608)));
        refuse(quote, abi.encodeWithSelector(V.AttestationKeyNotBound.selector, expected, got));
        auth[607] ^= 0x01;
        auth[64] ^= 0x01;
        expected = sha256(bytes.concat(slice(auth, 64, 128), slice(auth, 576, 608)));
        refuse(quote, abi.encodeWithSelector(V.AttestationKeyNotBound.selector, expected, got));
    }

    function test_refuses_moreInTheReportDataOfTheQe() public {
        bytes memory report = qeReport(Tee.Sgx);
        report[383] = 0x01;
        bytes32 bound_ = bytes32(slice(report, 320, 352));
        refuse(
            quoteUnder(sgxSigned(DATA), report),
            abi.encodeWithSelector(V.AttestationKeyNotBound.selector, bound_, bound_)
        );
    }

    /// Negative list: a chain that is bypassed. Each link is verified each time: a leaf of no CA,
    /// of another root's CA, and one whose signature is another's.
    function test_negative_chainBypass() public {
        Quote memory quote = sgxQuote(DATA);
        bytes memory good = leaf;
        bytes memory tbs = DerWriter.signedPart(leaf);
        leaf = DerWriter.signed(tbs, scalarOf("another root", "PCK platform CA"));
        refuse(quote, badSignature(V.Signed.Pck));
        leaf = DerWriter.signed(tbs, rootScalar());
        refuse(quote, badSignature(V.Signed.Pck));
        leaf = DerWriter.signed(tbs, caScalar());
        verifier.verify(quote, leaf);
        leaf = good;
        leaf[leaf.length - 1] ^= 0x01;
        refuse(quote, badSignature(V.Signed.Pck));
    }

    function test_refuses_aCertificateThatNamesAnotherIssuer() public {
        Quote memory quote = sgxQuote(DATA);
        bytes memory name = DerWriter.subject(caCertificate);
        bytes memory other = bytes.concat(name);
        other[name.length - 1] ^= 0x01;
        bytes memory tbs = DerWriter.signedPart(leaf);
        leaf = DerWriter.signed(DerWriter.replaced(tbs, name, other), caScalar());
        refuse(
            quote, abi.encodeWithSelector(V.WrongIssuer.selector, keccak256(name), keccak256(other))
        );
    }

    function testFuzz_refusesWhatIsNoQuote(bytes memory signed, bytes memory auth) public {
        (bool good,) =
            address(verifier).call(abi.encodeCall(verifier.verify, (Quote(signed, auth), leaf)));
        vm.assertEq(good, false, "any bytes");
        Quote memory quote = Quote(bytes.concat(slice(sgxSigned(DATA), 0, 48), signed), auth);
        (good,) = address(verifier).call(abi.encodeCall(verifier.verify, (quote, leaf)));
        vm.assertEq(good, false, "behind a good header");
    }

    function testFuzz_verify_givesTheReportDataThatWasQuoted(bytes32 data, uint8 kind) public view {
        uint8[5] memory bodyTypes = [0, 0, 2, 3, 4];
        kind = uint8(bound(kind, 0, 4));
        Quote memory quote = kind == 0 ? sgxQuote(data) : tdQuote(bodyTypes[kind], data);
        Verdict memory verdict = verifier.verify(quote, leaf);
        vm.assertEq(verdict.reportData, data, "data");
        vm.assertEq(verdict.evidence, evidenceOf(quote), "evidence");
    }

    // Quoting enclave.

    function test_refuses_anotherQuotingEnclave() public {
        bytes memory report = qeReport(Tee.Sgx);
        report[128] ^= 0x01;
        bytes32 signer_ = qeSigner(Tee.Sgx);
        refuseQe(report, V.QeField.MrSigner, signer_, signer_ ^ bytes32(uint256(1) << 248));
        report = qeReport(Tee.Sgx);
        report[257] = 0x02;
        refuseQe(report, V.QeField.IsvProdId, bytes32(uint256(1)), bytes32(uint256(0x201)));
        report = qeReport(Tee.Sgx);
        report[16] = 0x01;
        refuseQe(report, V.QeField.MiscSelect, 0, bytes32(uint256(0x01000000)));
        report = qeReport(Tee.Sgx);
        report[49] = 0x01;
        refuseQe(
            report,
            V.QeField.Attributes,
            bytes32(uint256(0x11 << 120)),
            bytes32(uint256(0x1101 << 112))
        );
    }

    function test_refuses_theQuotingEnclaveOfTheOtherTee() public {
        refuse(
            quoteUnder(sgxSigned(DATA), qeReport(Tee.Tdx)),
            abi.encodeWithSelector(
                V.WrongQuotingEnclave.selector,
                V.QeField.MrSigner,
                qeSigner(Tee.Sgx),
                qeSigner(Tee.Tdx)
            )
        );
    }

    function test_refuses_aQuotingEnclaveBelowEveryLevel() public {
        bytes memory report = qeReport(Tee.Sgx);
        report[258] = 0x07;
        refuse(quoteUnder(sgxSigned(DATA), report), abi.encodeWithSelector(V.NoQeLevel.selector, 7));
    }

    // Attributes.

    /// Negative list: DEBUG accepted.
    function test_negative_debugAccepted() public {
        refuseEnclaveFlags(0x07, 0x02);
        for (uint256 i; i < 8; ++i) {
            refuseTdAttributes(0, uint64(SEPT_VE_DISABLE | (1 << i)), uint64(1 << i));
        }
        bytes memory report = qeReport(Tee.Sgx);
        report[48] |= 0x02;
        refuseQe(report, V.QeField.Attributes, 0, bytes32(uint256(0x02 << 120)));
    }

    function test_refuses_provisioningAndLaunchKeys() public {
        refuseEnclaveFlags(0x15, 0x10);
        refuseEnclaveFlags(0x25, 0x20);
        refuseEnclaveFlags(0x37, 0x32);
    }

    function test_refuses_attributesOfTrustDomains() public {
        refuseTdAttributes(0, 0, SEPT_VE_DISABLE);
        refuseTdAttributes(2, SEPT_VE_DISABLE | (1 << 29), 1 << 29);
        refuseTdAttributes(3, SEPT_VE_DISABLE | (1 << 17), 1 << 17);
        refuseTdAttributes(4, SEPT_VE_DISABLE | (1 << 8), 1 << 8);
        refuseTdAttributes(4, SEPT_VE_DISABLE | (1 << 61), 1 << 61);
    }

    function testFuzz_attributesOfTrustDomains(uint64 attributes) public {
        uint64 forbidden = 0x3fffffff2782ffff;
        uint64 wrong = (attributes & forbidden) | (~attributes & SEPT_VE_DISABLE);
        Quote memory quote = quoteOf(withAttributes(tdSigned(0, DATA), attributes));
        if (wrong == 0) verifier.verify(quote, leaf);
        else refuse(quote, forbiddenAttributes(attributes, wrong));
    }

    function test_refuses_aTrustDomainBoundToAServiceTd() public {
        for (uint256 i = 600; i < 648; i += 47) {
            bytes memory signed = tdSigned(3, DATA);
            signed[54 + i] = 0x01;
            refuse(quoteOf(signed), abi.encodeWithSelector(V.BoundToServiceTd.selector));
            signed = tdSigned(4, DATA);
            signed[54 + i] = 0x01;
            refuse(quoteOf(signed), abi.encodeWithSelector(V.BoundToServiceTd.selector));
        }
    }

    // Helpers.

    function refuse(Quote memory quote, bytes memory expected) private {
        vm.expectRevert(expected);
        verifier.verify(quote, leaf);
    }

    function refuseKnown(Quote memory quote, Pck memory pck_, bytes memory expected) private {
        vm.expectRevert(expected);
        verifier.verifyKnown(quote, pck_);
    }

    function refuseLength(bytes memory signed) private {
        Quote memory quote = Quote(signed, new bytes(608));
        refuse(
            quote, abi.encodeWithSelector(V.BadLength.selector, V.QuotePart.Signed, signed.length)
        );
    }

    /// Sets one byte of a header and signs again.
    function refuseHeader(
        bytes memory signed,
        uint256 offset,
        uint8 value,
        V.QuotePart part,
        uint256 got
    ) private {
        Quote memory quote = quoteOf(signed);
        quote.signed[offset] = bytes1(value);
        refuse(quote, abi.encodeWithSelector(V.UnsupportedQuote.selector, part, got));
    }

    function refuseQe(bytes memory report, V.QeField field, bytes32 expected, bytes32 got) private {
        refuse(
            quoteUnder(sgxSigned(DATA), report),
            abi.encodeWithSelector(V.WrongQuotingEnclave.selector, field, expected, got)
        );
    }

    function refuseEnclaveFlags(uint8 flags, uint256 forbidden) private {
        bytes memory signed = sgxSigned(DATA);
        signed[BODY + 48] = bytes1(flags);
        refuse(quoteOf(signed), forbiddenAttributes(flags, forbidden));
    }

    function refuseTdAttributes(uint8 bodyType, uint64 attributes, uint64 wrong) private {
        Quote memory quote = quoteOf(withAttributes(tdSigned(bodyType, DATA), attributes));
        refuse(quote, forbiddenAttributes(attributes, wrong));
    }

    function withAttributes(bytes memory signed, uint64 attributes)
        private
        pure
        returns (bytes memory)
    {
        uint256 start = (signed[0] == 0x04 ? 48 : 54) + 120;
        for (uint256 i; i < 8; ++i) {
            signed[start + i] = bytes1(uint8(attributes >> (8 * i)));
        }
        return signed;
    }

    function forbiddenAttributes(uint256 attributes, uint256 wrong)
        private
        pure
        returns (bytes memory)
    {
        return abi.encodeWithSelector(V.ForbiddenAttributes.selector, attributes, wrong);
    }

    function badSignature(V.Signed what) private pure returns (bytes memory) {
        return abi.encodeWithSelector(V.BadSignature.selector, what);
    }

    function unknownPck() private view returns (bytes memory) {
        return abi.encodeWithSelector(V.UnknownPck.selector, pck.tbsHash);
    }

    function machineOf(Pck memory) private view returns (bytes32) {
        string memory json = vm.readFile(string.concat(SIMULATED, "machine.json"));
        bytes memory ppid = vm.parseJsonBytes(json, ".ppid");
        return sha256(bytes.concat("phallama/1 machine\x00", ppid));
    }

    function evidenceOf(Quote memory quote) private view returns (bytes32) {
        return sha256(bytes.concat(quote.signed, slice(quote.auth, 128, 512), pck.tbsHash));
    }

    function same(Verdict memory got, Verdict memory expected) private pure {
        vm.assertEq(abi.encode(got), abi.encode(expected), "verdict");
    }
}
