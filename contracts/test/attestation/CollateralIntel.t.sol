// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttestationVerifier as V, Pck, Tee} from "../../src/interfaces/IAttestationVerifier.sol";
import {deployVerifier} from "../Deploy.sol";
import {RealQuotes} from "../RealQuotes.sol";
import {vm} from "../Vm.sol";

/// Intel's own certificates, lists and information, brought as anybody would.
contract CollateralIntelTest {
    bytes32 private constant INTEL_ROOT_SHA256 =
        0x44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3;
    // 2025-06-20T00:00:00Z, and 2026-10-20T00:00:00Z.
    uint256 private constant JUNE_2025 = 1_750_377_600;
    uint256 private constant OCTOBER_2026 = 1_792_454_400;

    V private verifier;
    bytes32 private ca;
    bytes32 private signer;

    function setUp() public {
        bytes[] memory chain = certificates("sgx_quote", ".pck_crl_issuer_chain");
        verifier = deployVerifier(chain[1]);
        vm.assertEq(verifier.ROOT_CERTIFICATE_SHA256(), INTEL_ROOT_SHA256, "Intel's root");
    }

    function test_bringsEverythingForEachQuote() public {
        vm.warp(JUNE_2025);
        bring("sgx_quote");
        verifier.admitPck(leafOf("sgx_quote"));
        (uint32 number, uint40 issuedAt, uint40 nextUpdate) =
            verifier.tcbInfo(Tee.Sgx, 0x00a067110000);
        vm.assertEq(number, 17, "evaluation number");
        vm.assertEq(issuedAt, 1_750_330_571, "2025-06-19T10:56:11Z");
        vm.assertEq(nextUpdate, 1_752_922_571, "2025-07-19T10:56:11Z");
        bringMore("tdx_quote");
        verifier.admitPck(leafOf("tdx_quote"));
    }

    function test_replacesListsByThoseOfAYearLater() public {
        vm.warp(JUNE_2025);
        bring("sgx_quote");
        bringMore("tdx_quote");
        vm.warp(OCTOBER_2026);
        // Intel's lists all have the number 1: their dates tell which is newer.
        upsertCrl(verifier.ROOT(), "tdx_quote_td15ex", ".root_ca_crl");
        upsertCrl(ca, "tdx_quote_td15ex", ".pck_crl");
        Pck memory pck = verifier.admitPck(leafOf("tdx_quote_td15ex"));
        vm.assertEq(pck.issuer, ca, "issuer");
        (, uint40 nextUpdate, uint256 crlNumber,) = verifier.ca(ca);
        vm.assertEq(nextUpdate, 1_794_011_306, "2026-11-07T00:28:26Z");
        vm.assertEq(crlNumber, 1, "number");
        (bytes memory info, bytes memory signature) =
            signedText("tdx_quote_td15ex", ".tcb_info", ".tcb_info_signature");
        verifier.upsertTcbInfo(info, signature, signer);
    }

    /// The list of the Processor CA for the Platform CA.
    function test_refusesTheListOfTheOtherCa() public {
        vm.warp(JUNE_2025);
        bring("sgx_quote");
        bytes32 processor = ca;
        bringMore("tdx_quote");
        (uint40 notAfter,,, bool revoked) = verifier.ca(processor);
        vm.assertEq(notAfter, 2_000_285_410, "2033-05-21T10:50:10Z");
        vm.assertEq(revoked, false, "revoked");
        bytes memory der = list("tdx_quote", ".pck_crl");
        (bool ran, bytes memory why) =
            address(verifier).call(abi.encodeCall(verifier.upsertCrl, (processor, der)));
        vm.assertEq(ran, false, "refused");
        vm.assertEq(bytes32(bytes4(why)), bytes32(V.WrongIssuer.selector), "error");
    }

    function bring(string memory file) private {
        upsertCrl(verifier.ROOT(), file, ".root_ca_crl");
        signer = verifier.admitSigner(certificates(file, ".tcb_info_issuer_chain")[0]);
        bringMore(file);
    }

    /// All but what has been brought for another machine already.
    function bringMore(string memory file) private {
        ca = verifier.admitCa(certificates(file, ".pck_crl_issuer_chain")[0]);
        upsertCrl(ca, file, ".pck_crl");
        (bytes memory text, bytes memory signature) =
            signedText(file, ".tcb_info", ".tcb_info_signature");
        verifier.upsertTcbInfo(text, signature, signer);
        (text, signature) = signedText(file, ".qe_identity", ".qe_identity_signature");
        verifier.upsertQeIdentity(text, signature, signer);
    }

    function upsertCrl(bytes32 issuer, string memory file, string memory member) private {
        verifier.upsertCrl(issuer, list(file, member));
    }

    function list(string memory file, string memory member) private view returns (bytes memory) {
        return unhex(vm.parseJsonString(RealQuotes.collateral(file), member));
    }

    function certificates(string memory file, string memory member)
        private
        view
        returns (bytes[] memory)
    {
        return RealQuotes.certificates(vm.parseJsonString(RealQuotes.collateral(file), member));
    }

    function signedText(string memory file, string memory text, string memory signature)
        private
        view
        returns (bytes memory, bytes memory)
    {
        string memory json = RealQuotes.collateral(file);
        return (bytes(vm.parseJsonString(json, text)), unhex(vm.parseJsonString(json, signature)));
    }

    function leafOf(string memory file) private view returns (bytes memory leaf) {
        (, leaf) = RealQuotes.load(file);
    }

    function unhex(string memory digits) private pure returns (bytes memory) {
        return vm.parseBytes(string.concat("0x", digits));
    }
}
