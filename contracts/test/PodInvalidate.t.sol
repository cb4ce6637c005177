// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {
    IAttestationVerifier,
    Quote,
    TcbStatus,
    Tee
} from "../src/interfaces/IAttestationVerifier.sol";
import {AttestedKey, IPodRegistry, PodId} from "../src/interfaces/IPodRegistry.sol";
import {Fixture} from "./Fixture.sol";
import {vm} from "./Vm.sol";

/// Ending a key whose platform has fallen out: every ground, and what is none.
contract PodInvalidateTest is Fixture {
    address private immutable STRANGER = addressOf("stranger");
    uint256 private constant LATER = START + 1 hours;
    uint256 private constant AT_ONCE = LATER - 1;
    uint256 private constant IN_A_DAY = LATER + 1 days;

    Quote private quote;

    function setUp() public {
        deploy();
        quote = sgxQuote(reportData(podId, binding("identity")));
        vm.warp(LATER);
    }

    // Grounds.

    function test_invalidate_whenThePckIsRevoked() public {
        revokeByCa(abi.encodePacked(pck.serial));
        ends(AT_ONCE);
    }

    function test_invalidate_whenTheCaIsRevoked() public {
        revokeByRoot(serialOf(caScalar()));
        // Perhaps only because it was issued again.
        ends(IN_A_DAY);
    }

    function test_invalidate_whenTheTcbLevelIsRevoked() public {
        bringStatus("Revoked");
        ends(AT_ONCE);
    }

    function test_invalidate_whenTheQuotingEnclaveIsRevoked() public {
        Terms memory terms = goodTerms();
        terms.qeStatus = "Revoked";
        bringQeIdentity(qeIdentityJson(Tee.Sgx, terms));
        ends(AT_ONCE);
    }

    function test_invalidate_whenThePlatformIsOutOfDate() public {
        bringStatus("OutOfDate");
        ends(IN_A_DAY);
    }

    function test_invalidate_whenTheQuotingEnclaveIsOutOfDate() public {
        Terms memory terms = goodTerms();
        terms.qeStatus = "OutOfDate";
        bringQeIdentity(qeIdentityJson(Tee.Sgx, terms));
        ends(IN_A_DAY);
    }

    /// Intel's library knows three states of a quoting enclave; this is its out of date.
    function test_invalidate_whenTheQuotingEnclaveNeedsConfiguration() public {
        Terms memory terms = goodTerms();
        terms.qeStatus = "ConfigurationNeeded";
        bringQeIdentity(qeIdentityJson(Tee.Sgx, terms));
        vm.assertTrue(
            verifier.verify(quote, leaf).status == TcbStatus.OutOfDate, "platform and enclave"
        );
        ends(IN_A_DAY);
    }

    function test_invalidate_whenThePlatformIsBelowEveryLevel() public {
        Terms memory terms = goodTerms();
        terms.pceSvn = 14;
        bringTcbInfo(tcbInfoJson(Tee.Sgx, terms));
        ends(IN_A_DAY);
    }

    function test_invalidate_whenTheQuotingEnclaveIsBelowEveryLevel() public {
        Terms memory terms = goodTerms();
        terms.qeIsvSvn = 9;
        bringQeIdentity(qeIdentityJson(Tee.Sgx, terms));
        ends(IN_A_DAY);
    }

    function test_invalidate_whenIntelNamesAnotherQuotingEnclave() public {
        string memory json = qeIdentityJson(Tee.Sgx, goodTerms());
        bringQeIdentity(vm.replace(json, '"isvprodid":1', '"isvprodid":7'));
        ends(IN_A_DAY);
    }

    function test_invalidate_whenTheTdxModuleHasNoLevel() public {
        attestTrustDomain();
        string memory json = tcbInfoJson(Tee.Tdx, goodTerms());
        bringTcbInfo(vm.replace(json, '"isvsvn":5', '"isvsvn":6'));
        ends(IN_A_DAY);
    }

    function test_invalidate_whenTheTdxModuleIsUnknown() public {
        attestTrustDomain();
        string memory json = tcbInfoJson(Tee.Tdx, goodTerms());
        bringTcbInfo(vm.replace(json, "TDX_01", "TDX_03"));
        ends(IN_A_DAY);
    }

    function test_invalidate_whenTheTdxModuleIsAnother() public {
        attestTrustDomain();
        string memory json = tcbInfoJson(Tee.Tdx, goodTerms());
        bringTcbInfo(vm.replace(json, '"mrsigner":"00', '"mrsigner":"01'));
        ends(IN_A_DAY);
    }

    // Former keys.

    function test_invalidate_reachesAKeyThatWasReplaced() public {
        attest(podId, "next");
        uint256 goodUntil = registry.keyGoodUntil(podId, addressOf("next"));
        revokeByCa(abi.encodePacked(pck.serial));
        ends(AT_ONCE);
        vm.assertEq(registry.pod(podId).key.identity, addressOf("next"), "current key");
        vm.assertEq(registry.keyGoodUntil(podId, addressOf("next")), goodUntil, "needs its own");
        quote = sgxQuote(reportData(podId, binding("next")));
        registry.invalidate(podId, addressOf("next"), quote, pck);
        vm.assertEq(registry.keyGoodUntil(podId, addressOf("next")), AT_ONCE, "ended too");
    }

    function test_invalidate_reachesAKeyThatWasEndedBefore() public {
        bringStatus("OutOfDate");
        ends(IN_A_DAY);
        vm.warp(LATER + 60);
        revokeByCa(abi.encodePacked(pck.serial));
        ends(LATER + 59);
    }

    function test_invalidate_ofAFormerKeyNeedsItsQuote() public {
        attest(podId, "next");
        bringStatus("OutOfDate");
        bytes32 expected = bytes32(bytes27(evidenceOf(quote, pck.tbsHash)));
        quote = sgxQuote(reportData(podId, binding("next")));
        bytes32 got = evidenceOf(quote, pck.tbsHash);
        vm.expectRevert(abi.encodeWithSelector(IPodRegistry.OtherEvidence.selector, expected, got));
        end();
    }

    // What is left.

    function test_invalidate_leavesThePodWithoutAKey() public {
        bringStatus("OutOfDate");
        end();
        AttestedKey memory none;
        vm.assertEq(abi.encode(registry.pod(podId).key), abi.encode(none), "key");
        // Again, and later: nothing is given back.
        vm.warp(LATER + 60);
        ends(IN_A_DAY);
    }

    function test_invalidate_letsThePodComeBack() public {
        bringStatus("OutOfDate");
        end();
        vm.warp(LATER + 60);
        bringStatus("UpToDate");
        attest(podId, "identity");
        vm.assertEq(registry.keyGoodUntil(podId, IDENTITY), START + 8 days, "back");
    }

    function test_invalidate_doesNotExtendTheGrace() public {
        bringLongLists();
        vm.warp(START + 8 days - 1 hours);
        bringStatus("OutOfDate");
        bringQeIdentity(qeIdentityJson(Tee.Sgx, goodTerms()));
        end();
        vm.assertEq(registry.keyGoodUntil(podId, IDENTITY), START + 8 days, "as before");
    }

    function test_invalidate_isTooLateAfterTheGrace() public {
        vm.warp(START + 8 days + 1);
        vm.expectRevert(abi.encodeWithSelector(IPodRegistry.NoKey.selector, podId, IDENTITY));
        end();
    }

    function test_invalidate_needsAKey() public {
        PodId id = listPod("without");
        vm.expectRevert(abi.encodeWithSelector(IPodRegistry.NoKey.selector, id, IDENTITY));
        registry.invalidate(id, IDENTITY, quote, pck);
    }

    // No grounds.

    function test_invalidate_refusesAPlatformThatIsStillGood() public {
        refused(abi.encodeWithSelector(IPodRegistry.StillGood.selector, podId));
        bringStatus("ConfigurationAndSWHardeningNeeded");
        refused(abi.encodeWithSelector(IPodRegistry.StillGood.selector, podId));
    }

    function test_invalidate_refusesExpiredCollateral() public {
        vm.warp(START + COLLATERAL_LIFE);
        refused(
            abi.encodeWithSelector(
                IAttestationVerifier.NotValidNow.selector,
                IAttestationVerifier.Signed.RootCrl,
                START,
                START + COLLATERAL_LIFE,
                START + COLLATERAL_LIFE
            )
        );
    }

    function test_invalidate_refusesARevokedSignerOfCollateral() public {
        bytes memory serial = serialOf(signerScalar());
        revokeByRoot(serial);
        refused(
            abi.encodeWithSelector(
                IAttestationVerifier.Revoked.selector,
                IAttestationVerifier.Signed.Signer,
                uint160(bytes20(serial))
            )
        );
    }

    function test_invalidate_refusesTheSameQuoteWithAnotherSignature() public {
        bringStatus("OutOfDate");
        quote.auth[0] ^= 0x01;
        refused(
            abi.encodeWithSelector(
                IAttestationVerifier.BadSignature.selector, IAttestationVerifier.Signed.Quote
            )
        );
    }

    function test_invalidate_refusesAnotherQuote() public {
        bringStatus("OutOfDate");
        bytes32 expected = registry.pod(podId).key.evidence;
        quote = sgxQuote(keccak256("other"));
        bytes32 got = evidenceOf(quote, pck.tbsHash);
        refused(abi.encodeWithSelector(IPodRegistry.OtherEvidence.selector, expected, got));
    }

    function test_invalidate_refusesAnotherCertificate() public {
        bringStatus("OutOfDate");
        bytes32 expected = registry.pod(podId).key.evidence;
        pck.tbsHash = keccak256("other");
        bytes32 got = evidenceOf(quote, pck.tbsHash);
        refused(abi.encodeWithSelector(IPodRegistry.OtherEvidence.selector, expected, got));
    }

    function test_invalidate_refusesACertificateThatDoesNotSayThis() public {
        bringStatus("OutOfDate");
        pck.cpuSvn = 0;
        refused(abi.encodeWithSelector(IAttestationVerifier.UnknownPck.selector, pck.tbsHash));
    }

    function test_invalidate_refusesWhatIsNoQuote() public {
        quote.auth = "";
        refused(
            abi.encodeWithSelector(
                IAttestationVerifier.BadLength.selector, IAttestationVerifier.QuotePart.Auth, 0
            )
        );
    }

    /// Whoever gives too little gas must not end a key.
    function test_invalidate_refusesToRunOutOfGas() public {
        bringStatus("OutOfDate");
        for (uint256 gas = 20_000; gas < 150_000; gas += 1000) {
            try registry.invalidate{gas: gas}(podId, IDENTITY, quote, pck) {
                vm.assertEq(registry.keyGoodUntil(podId, IDENTITY), IN_A_DAY, "ended in order");
                return;
            } catch {
                vm.assertEq(registry.keyGoodUntil(podId, IDENTITY), START + 8 days, "kept");
            }
        }
        vm.assertTrue(false, "150,000 gas must do");
    }

    // Helpers.

    /// A stranger ends the key, which may settle until `expected`.
    function ends(uint256 expected) private {
        vm.expectEmit(address(registry));
        emit IPodRegistry.Invalidated(podId, IDENTITY, expected);
        end();
        vm.assertEq(registry.keyGoodUntil(podId, IDENTITY), expected, "good until");
    }

    function end() private {
        vm.prank(STRANGER);
        registry.invalidate(podId, IDENTITY, quote, pck);
    }

    function refused(bytes memory expected) private {
        vm.expectRevert(expected);
        vm.prank(STRANGER);
        registry.invalidate(podId, IDENTITY, quote, pck);
        vm.assertEq(registry.keyGoodUntil(podId, IDENTITY), START + 8 days, "kept");
    }

    function bringStatus(string memory status) private {
        Terms memory terms = goodTerms();
        terms.status = status;
        bringTcbInfo(tcbInfoJson(Tee.Sgx, terms));
    }

    function revokeByCa(bytes memory serial) private {
        bytes[] memory serials = new bytes[](1);
        serials[0] = serial;
        bringCaCrl(serials);
    }

    function revokeByRoot(bytes memory serial) private {
        bytes[] memory serials = new bytes[](1);
        serials[0] = serial;
        bringRootCrl(serials);
    }

    /// The pod's key, attested by a trust domain a second ago.
    function attestTrustDomain() private {
        vm.warp(LATER - 1);
        bring(Tee.Tdx, goodTerms());
        quote = tdQuote(0, reportData(podId, binding("identity")));
        vm.prank(OPERATOR);
        registry.attestKnown(podId, binding("identity"), quote, pck);
        vm.warp(LATER);
    }

    function evidenceOf(Quote memory q, bytes32 tbsHash) private pure returns (bytes32) {
        return sha256(bytes.concat(q.signed, slice(q.auth, 128, 512), tbsHash));
    }
}
