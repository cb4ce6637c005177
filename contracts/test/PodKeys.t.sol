// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {
    IAttestationVerifier,
    Pck,
    Quote,
    TcbStatus,
    Tee,
    Verdict
} from "../src/interfaces/IAttestationVerifier.sol";
import {AttestedKey, Binding, IPodRegistry, PodId} from "../src/interfaces/IPodRegistry.sol";
import {Fixture} from "./Fixture.sol";
import {bound, vm} from "./Vm.sol";

/// How a pod gets its key, keeps it and loses it.
contract PodKeysTest is Fixture {
    address private immutable STRANGER = addressOf("stranger");

    function setUp() public {
        deploy();
    }

    // What is recorded.

    function test_attest_recordsWhatTheVerdictSays() public {
        PodId id = listPod("another");
        share(id, true);
        Binding memory b = binding("identity");
        Quote memory quote = sgxQuote(reportData(id, b));
        Verdict memory verdict = verifier.verify(quote, leaf);
        uint40 expiry = START + COLLATERAL_LIFE;
        vm.assertEq(verdict.expiry, expiry, "verdict's expiry");
        vm.expectEmit(address(registry));
        emit IPodRegistry.Attested(
            id, IDENTITY, pck.machine, MRENCLAVE, verdict.evidence, expiry, TcbStatus.UpToDate
        );
        vm.prank(OPERATOR);
        registry.attest(id, b, quote, leaf);
        AttestedKey memory expected = AttestedKey(
            IDENTITY, expiry, Tee.Sgx, TcbStatus.UpToDate, 17, MRENCLAVE, verdict.evidence
        );
        vm.assertEq(abi.encode(registry.pod(id).key), abi.encode(expected), "key");
    }

    function test_attest_recordsATrustDomain() public {
        bring(Tee.Tdx, goodTerms());
        for (uint8 bodyType; bodyType < 5; ++bodyType) {
            if (bodyType == 1) continue;
            Binding memory b = binding(vm.toString(bodyType));
            Quote memory quote = tdQuote(bodyType, reportData(podId, b));
            vm.prank(OPERATOR);
            registry.attest(podId, b, quote, leaf);
            AttestedKey memory key = registry.pod(podId).key;
            vm.assertEq(key.identity, b.identity, "identity");
            vm.assertEq(uint256(key.tee), uint256(Tee.Tdx), "tee");
            vm.assertEq(
                key.measurement,
                sha256(bytes.concat("phallama/1 td measurement\x00", tdMeasurements())),
                "measurement"
            );
        }
    }

    function test_attest_remembersTheMachine() public view {
        (bytes26 holder, uint40 until) = registry.machineOf(pck.machine);
        vm.assertEq(bytes32(holder), bytes32(bytes26(PodId.unwrap(podId))), "holder");
        vm.assertEq(until, START + COLLATERAL_LIFE, "until");
        vm.assertEq(verifier.isKnown(pck), true, "certificate");
    }

    function test_attest_doesNotStampTheRecord() public {
        vm.warp(START + 60);
        attest(podId, "next");
        vm.assertEq(registry.pod(podId).updatedAt, START, "updatedAt");
    }

    function test_attest_limitsTheLifeOfAKey() public {
        Terms memory terms = goodTerms();
        vm.warp(START + 1);
        (terms.issuedAt, terms.nextUpdate) = (START + 1, START + 30 days);
        bringLongLists();
        bring(Tee.Sgx, terms);
        attest(podId, "identity");
        vm.assertEq(registry.pod(podId).key.expiry, START + 1 + 7 days, "expiry");
    }

    function test_attestKnown_needsARememberedCertificate() public {
        useMachine("machine_outdated.json");
        Pck memory other = pckOf(leaf);
        refuseKnown(
            "identity",
            other,
            abi.encodeWithSelector(IAttestationVerifier.UnknownPck.selector, other.tbsHash)
        );
    }

    // What is refused.

    function test_attest_refusesTheZeroIdentity() public {
        Binding memory b = binding("identity");
        b.identity = address(0);
        Quote memory quote = sgxQuote(reportData(podId, b));
        vm.expectRevert(abi.encodeWithSelector(IPodRegistry.ZeroIdentity.selector));
        vm.prank(OPERATOR);
        registry.attest(podId, b, quote, leaf);
    }

    function test_attest_isTheOperatorsAlone() public {
        Binding memory b = binding("identity");
        Quote memory quote = sgxQuote(reportData(podId, b));
        bytes memory expected =
            abi.encodeWithSelector(IPodRegistry.NotOperator.selector, podId, OPERATOR, STRANGER);
        vm.expectRevert(expected);
        vm.prank(STRANGER);
        registry.attest(podId, b, quote, leaf);
        vm.expectRevert(expected);
        vm.prank(STRANGER);
        registry.attestKnown(podId, b, quote, pck);
        vm.expectRevert(expected);
        vm.prank(STRANGER);
        registry.setSharing(podId, pck.machine, true);
    }

    function test_attest_refusesAnUnknownPod() public {
        PodId id = PodId.wrap(keccak256("none"));
        Quote memory quote = sgxQuote(0);
        bytes memory expected = abi.encodeWithSelector(IPodRegistry.UnknownPod.selector, id);
        vm.expectRevert(expected);
        registry.attest(id, binding("identity"), quote, leaf);
        vm.expectRevert(expected);
        registry.invalidate(id, IDENTITY, quote, pck);
    }

    function test_attest_passesOnWhatTheVerifierSays() public {
        Binding memory b = binding("identity");
        Quote memory quote = sgxQuote(reportData(podId, b));
        quote.auth[0] ^= 0x01;
        vm.expectRevert(
            abi.encodeWithSelector(
                IAttestationVerifier.BadSignature.selector, IAttestationVerifier.Signed.Quote
            )
        );
        vm.prank(OPERATOR);
        registry.attest(podId, b, quote, leaf);
    }

    /// Negative list: report data empty or unbound.
    function test_attest_refusesReportDataThatIsEmptyOrUnbound() public {
        Binding memory b = binding("identity");
        bytes32 expected = reportData(podId, b);
        refuseReportData(b, expected, 0, 0);
        refuseReportData(b, expected, keccak256("unbound"), 0);
        refuseReportData(b, expected, expected, bytes32(uint256(1)));
        refuseReportData(b, expected, 0, expected);
    }

    function test_attest_bindsEachPartOfTheBinding() public {
        Binding memory b = binding("identity");
        bytes32 quoted = reportData(podId, b);
        Binding memory other = binding("stranger");
        refuseReportData(other, reportData(podId, other), quoted, 0);
        other = binding("identity");
        other.modelSetRoot = keccak256("other models");
        refuseReportData(other, reportData(podId, other), quoted, 0);
        other = binding("identity");
        other.policyDigest = keccak256("other policy");
        refuseReportData(other, reportData(podId, other), quoted, 0);
    }

    function test_attest_bindsTheChain() public {
        Binding memory b = binding("identity");
        bytes32 quoted = reportData(podId, b);
        vm.chainId(2035);
        refuseReportData(b, reportData(podId, b), quoted, 0);
    }

    /// Negative list: evidence of any genuine machine accepted for a registered pod.
    function test_attest_refusesTheQuoteOfAnotherPod() public {
        PodId id = listPod("another");
        share(id, true);
        Binding memory b = binding("identity");
        bytes32 quoted = reportData(podId, b);
        (PodId kept, bytes32 expected) = (podId, reportData(id, b));
        podId = id;
        refuseReportData(b, expected, quoted, 0);
        podId = kept;
    }

    /// Negative list: measurement zero, or MRSIGNER alone. What the registry records is MRENCLAVE,
    /// whoever signed the enclave; there is nothing to switch off.
    function test_attest_recordsMrEnclaveWhateverMrSigner() public {
        Binding memory b = binding("identity");
        bytes memory data = abi.encodePacked(reportData(podId, b), bytes32(0));
        bytes32 other = keccak256("another enclave of the same signer");
        bytes memory signed =
            bytes.concat(slice(sgxSigned(0), 0, 48), sgxReport(0x05, other, MRSIGNER, 1, 1, data));
        Quote memory quote = quoteOf(signed);
        vm.prank(OPERATOR);
        registry.attestKnown(podId, b, quote, pck);
        vm.assertEq(registry.pod(podId).key.measurement, other, "measurement");
    }

    function test_attest_acceptsStatuses() public {
        string[4] memory good = [
            "UpToDate",
            "SWHardeningNeeded",
            "ConfigurationNeeded",
            "ConfigurationAndSWHardeningNeeded"
        ];
        for (uint256 i; i < good.length; ++i) {
            bringStatus(good[i]);
            attest(podId, good[i]);
            vm.assertEq(uint256(registry.pod(podId).key.status), i, good[i]);
            vm.assertEq(registry.accepts(TcbStatus(i)), true, good[i]);
        }
    }

    function test_attest_refusesStatuses() public {
        for (uint256 i = 4; i < 9; ++i) {
            vm.assertEq(registry.accepts(TcbStatus(i)), false, vm.toString(i));
        }
        bringStatus("OutOfDate");
        refuseKnown(
            "identity",
            pck,
            abi.encodeWithSelector(IPodRegistry.StatusNotAccepted.selector, TcbStatus.OutOfDate)
        );
        bringStatus("OutOfDateConfigurationNeeded");
        refuseKnown(
            "identity",
            pck,
            abi.encodeWithSelector(
                IPodRegistry.StatusNotAccepted.selector, TcbStatus.OutOfDateConfigurationNeeded
            )
        );
    }

    // One machine, one pod.

    function test_machine_backsOnePod() public {
        PodId id = listPod("alone");
        refuseMachine(id, podId, START + COLLATERAL_LIFE);
        share(id, true);
        share(podId, false);
        refuseMachine(id, podId, START + COLLATERAL_LIFE);
    }

    function test_machine_isSharedWhenBothAgree() public {
        PodId id = listPod("another");
        vm.expectEmit(address(registry));
        emit IPodRegistry.SharingSet(id, pck.machine, true);
        share(id, true);
        vm.assertEq(registry.sharing(id, pck.machine), true, "sharing");
        vm.assertEq(registry.sharing(id, keccak256("other machine")), false, "another machine");
        attest(id, "identity");
        (bytes26 holder,) = registry.machineOf(pck.machine);
        vm.assertEq(bytes32(holder), bytes32(bytes26(PodId.unwrap(podId))), "holder");
        share(podId, false);
        vm.assertEq(registry.sharing(podId, pck.machine), false, "no longer");
        refuseMachine(id, podId, START + COLLATERAL_LIFE);
    }

    function test_machine_isNotTakenFromItsHolderByAGuest() public {
        PodId id = listPod("another");
        share(id, true);
        attest(id, "identity");
        share(id, false);
        attest(podId, "identity");
        (bytes26 holder,) = registry.machineOf(pck.machine);
        vm.assertEq(bytes32(holder), bytes32(bytes26(PodId.unwrap(podId))), "holder");
        refuseMachine(id, podId, START + COLLATERAL_LIFE);
    }

    function test_machine_isFreeWhenTheKeyHasExpired() public {
        PodId id = listPod("alone");
        vm.warp(START + COLLATERAL_LIFE - 1);
        refuseMachine(id, podId, START + COLLATERAL_LIFE);
        vm.warp(START + COLLATERAL_LIFE);
        attest(id, "identity");
        (bytes26 holder, uint40 until) = registry.machineOf(pck.machine);
        vm.assertEq(bytes32(holder), bytes32(bytes26(PodId.unwrap(id))), "holder");
        vm.assertEq(until, START + 2 * COLLATERAL_LIFE, "until");
    }

    function test_machine_isNotHeldLongerByAGuest() public {
        Terms memory terms = goodTerms();
        PodId id = listPod("another");
        share(id, true);
        vm.warp(START + 1);
        (terms.issuedAt, terms.nextUpdate) = (START + 1, START + 5 days);
        bringLongLists();
        bring(Tee.Sgx, terms);
        attest(id, "identity");
        vm.assertEq(registry.pod(id).key.expiry, START + 5 days, "its own key");
        refuseMachine(listPod("alone"), podId, START + COLLATERAL_LIFE);
    }

    function test_machine_ofAnotherPodIsNotInTheWay() public {
        useMachine("machine_outdated.json");
        Pck memory other = pckOf(leaf);
        vm.warp(START + 1);
        Terms memory terms = goodTerms();
        terms.cpuSvn = other.cpuSvn;
        bringTcbInfo(tcbInfoJson(Tee.Sgx, terms));
        PodId id = listPod("alone");
        Binding memory b = binding("identity");
        Quote memory quote = sgxQuote(reportData(id, b));
        vm.prank(OPERATOR);
        registry.attest(id, b, quote, leaf);
        (bytes26 holder,) = registry.machineOf(other.machine);
        vm.assertEq(bytes32(holder), bytes32(bytes26(PodId.unwrap(id))), "its holder");
        (holder,) = registry.machineOf(pck.machine);
        vm.assertEq(bytes32(holder), bytes32(bytes26(PodId.unwrap(podId))), "the other's");
    }

    // How long a key is good.

    function test_keyGoodUntil_isExpiryPlusGrace() public view {
        vm.assertEq(registry.keyGoodUntil(podId, IDENTITY), START + 8 days, "good until");
        vm.assertEq(registry.keyGoodUntil(podId, STRANGER), 0, "never had");
        vm.assertEq(registry.keyGoodUntil(podId, address(0)), 0, "zero");
        PodId other = PodId.wrap(keccak256("other"));
        vm.assertEq(registry.keyGoodUntil(other, IDENTITY), 0, "other pod");
        vm.assertEq(registry.keyGoodUntil(other, address(0)), 0, "zero of another pod");
    }

    function test_keyGoodUntil_ofAReplacedKeyIsReplacementPlusGrace() public {
        vm.warp(START + 1 hours);
        attest(podId, "next");
        vm.assertEq(registry.keyGoodUntil(podId, IDENTITY), START + 1 hours + 7 days, "replaced");
        vm.assertEq(registry.keyGoodUntil(podId, addressOf("next")), START + 8 days, "new");
    }

    function test_keyGoodUntil_isNotExtendedByReplacement() public {
        vm.warp(START + 3 days);
        attest(podId, "next");
        vm.assertEq(registry.keyGoodUntil(podId, IDENTITY), START + 8 days, "expired on day 1");
        vm.assertEq(registry.keyGoodUntil(podId, addressOf("next")), START + 11 days, "new");
    }

    function test_keyGoodUntil_ofARenewedKeyFollowsTheNewExpiry() public {
        vm.warp(START + 2 days);
        attest(podId, "identity");
        vm.assertEq(registry.keyGoodUntil(podId, IDENTITY), START + 10 days, "renewed");
    }

    function test_keyGoodUntil_ofAKeyThatCameBackFollowsTheNewExpiry() public {
        vm.warp(START + 1 hours);
        attest(podId, "next");
        vm.warp(START + 2 hours);
        attest(podId, "identity");
        vm.assertEq(registry.keyGoodUntil(podId, IDENTITY), START + 8 days, "back");
        vm.assertEq(
            registry.keyGoodUntil(podId, addressOf("next")), START + 2 hours + 7 days, "replaced"
        );
    }

    function testFuzz_keyGoodUntil_ofAReplacedKeyNeverGrows(uint256 when, uint256 again) public {
        when = bound(when, START, START + 20 days);
        again = bound(again, when, when + 20 days);
        vm.warp(when);
        attest(podId, "next");
        uint256 first = registry.keyGoodUntil(podId, IDENTITY);
        vm.assertLe(first, START + 8 days, "not above what it had");
        vm.assertLe(first, when + 7 days, "not above the grace");
        vm.warp(again);
        attest(podId, "last");
        vm.assertEq(registry.keyGoodUntil(podId, IDENTITY), first, "settled once");
    }

    // Helpers.

    function share(PodId id, bool shared) private {
        vm.prank(OPERATOR);
        registry.setSharing(id, pck.machine, shared);
    }

    function bringStatus(string memory status) private {
        vm.warp(block.timestamp + 1);
        Terms memory terms = goodTerms();
        terms.status = status;
        bringTcbInfo(tcbInfoJson(Tee.Sgx, terms));
    }

    function refuseKnown(string memory label, Pck memory p, bytes memory expected) private {
        Binding memory b = binding(label);
        Quote memory quote = sgxQuote(reportData(podId, b));
        vm.expectRevert(expected);
        vm.prank(OPERATOR);
        registry.attestKnown(podId, b, quote, p);
    }

    function refuseReportData(Binding memory b, bytes32 expected, bytes32 data, bytes32 nonce)
        private
    {
        bytes memory report =
            sgxReport(0x05, MRENCLAVE, MRSIGNER, 1, 1, abi.encodePacked(data, nonce));
        Quote memory quote = quoteOf(bytes.concat(slice(sgxSigned(0), 0, 48), report));
        vm.expectRevert(
            abi.encodeWithSelector(IPodRegistry.WrongReportData.selector, expected, data, nonce)
        );
        vm.prank(OPERATOR);
        registry.attestKnown(podId, b, quote, pck);
    }

    function refuseMachine(PodId id, PodId holder, uint256 until) private {
        Binding memory b = binding("identity");
        Quote memory quote = sgxQuote(reportData(id, b));
        bytes32 first = bytes26(PodId.unwrap(holder));
        vm.expectRevert(
            abi.encodeWithSelector(IPodRegistry.MachineTaken.selector, pck.machine, first, until)
        );
        vm.prank(OPERATOR);
        registry.attestKnown(id, b, quote, pck);
    }
}
